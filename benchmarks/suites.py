"""Read every picture below some folders as the program does and as others do, and compare.

    python benchmarks/suites.py Pillow/Tests image-tiff/tests

For the test suites of picture formats, full of what is rare, odd or damaged. Every file is read in
a process with limits of time and memory, which may die. The other readers are Pillow and, where
they are installed, tifffile and OpenCV, each reduced to the same meaning: upright; palettes and
CMYK as RGB; alpha not multiplied into colours; up to 15 bits scaled to 8 or 16; measurements as
plain numbers. A file ends as

    equal           one of the others makes the same of it
    refused         none of them makes anything of it, either
    refused alone   one of them does
    unjudged        only we make something of it
    different       they make something else of it
    crashed         the process died
    timed out

Prints a line for every file that is not equal, and a table. Exit status 1 after the last three.
"""

import argparse
import collections
import contextlib
import importlib.util
import itertools
import multiprocessing
import os
import resource
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
ENDS = ("equal", "refused", "refused alone", "unjudged", "different", "crashed", "timed out")
FAILURES = ENDS[4:]
LEAST = 1 / 255  # what one step of 8 bits is, of a full range
ORIENTATION = 274  # the tag of EXIF and TIFF
MOST_PAGES = 10_000
PNG_BIT_DEPTH = 24  # the byte of a PNG that has it
LOSSY_COMPRESSIONS, CONVERTED_COLOURS = (6, 7, 34712, 34927, 50001), (5, 6, 8)  # of TIFF


# --- Other readers --------------------------------------------------------------------------------


def read_with_pillow(path: Path) -> np.ndarray:
    """Read with Pillow: upright, as grey, RGB or RGBA, or as plain numbers."""
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        bits = max(getattr(image, "tag_v2", {}).get(258, (16,)))
        picture = ImageOps.exif_transpose(image)
        if image.format == "PNG" and image.mode == "L" and "transparency" in image.info:
            bits = path.read_bytes()[PNG_BIT_DEPTH]  # Pillow forgets to scale what is transparent
            picture.info["transparency"] *= 255 // (2**bits - 1)
        if picture.mode.startswith("I;16"):
            pixels = np.asarray(picture).astype(np.uint16)
            pixels = np.rint(pixels * (65535 / (2**bits - 1))).astype(np.uint16)
            if "transparency" not in picture.info:
                return pixels
            alpha = np.where(pixels == picture.info["transparency"], 0, 65535).astype(np.uint16)
            return np.stack([pixels, pixels, pixels, alpha], axis=-1)
        if picture.mode in ("I", "F"):
            return np.asarray(picture).astype(np.float32)
        if "transparency" in picture.info or picture.mode in ("LA", "PA", "RGBA", "RGBa"):
            return np.asarray(picture.convert("RGBA"))
        return np.asarray(picture.convert("L" if picture.mode in ("1", "L") else "RGB"))


def read_with_tifffile(path: Path) -> np.ndarray:
    """Read a TIFF with tifffile: its channels, or its pages if all are grey and of one size."""
    import tifffile
    from tifffile import PHOTOMETRIC

    with tifffile.TiffFile(path) as tiff:
        pages = list(itertools.islice(tiff.pages, MOST_PAGES))  # some chains have no end
        page, numbers = pages[0], pages[0].asarray()
        shapes = {(each.shape, each.dtype, each.photometric) for each in pages}
        if page.ndim == 2 and len(pages) > 1 and len(shapes) == 1 and page.bitspersample > 1:
            places = {each.offset: each for each in pages}
            numbers = np.stack([each.asarray() for each in places.values()], axis=-1)
        elif page.axes.startswith("S"):
            numbers = np.moveaxis(numbers, 0, -1)
        if numbers.dtype.kind == "c":
            raise ValueError("complex numbers are no picture")
        if page.photometric == PHOTOMETRIC.PALETTE:
            numbers = (np.moveaxis(page.colormap, 0, -1) >> 8).astype(np.uint8)[numbers]
        elif numbers.dtype.kind == "u" and numbers.itemsize <= 2 and page.bitspersample < 16:
            full, bits = np.iinfo(numbers.dtype).max, page.bitspersample
            numbers = np.rint(numbers * (full / (2**bits - 1))).astype(numbers.dtype)
        elif numbers.dtype == bool:
            numbers = np.where(numbers, np.uint8(255), np.uint8(0))
        full = np.iinfo(numbers.dtype).max if numbers.dtype.kind == "u" else 1
        if page.photometric == PHOTOMETRIC.MINISWHITE and full <= 65535 and full > 1:
            numbers = full - numbers
        if page.photometric == PHOTOMETRIC.SEPARATED and numbers.dtype.kind == "u":
            left = 1 - numbers[..., :4] / full
            colours = np.rint(left[..., :3] * left[..., 3:] * full).astype(numbers.dtype)
            numbers = np.concatenate([colours, numbers[..., 4:]], axis=-1)
        if page.extrasamples == (1,) and numbers.dtype.kind == "u":
            colours = numbers[..., :-1] * (full / np.maximum(numbers[..., -1:], 1))
            colours = np.rint(colours.clip(0, full)).astype(numbers.dtype)
            numbers = np.concatenate([colours, numbers[..., -1:]], axis=-1)
        plain = numbers.dtype in (np.uint8, np.uint16)
        tag = page.tags.get(ORIENTATION)
        return turn(numbers if plain else numbers.astype(np.float32), tag.value if tag else 1)


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn pixels as EXIF says, by Pillow's names for it."""
    from PIL import Image

    ways = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
    ways |= {6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}
    way = ways.get(orientation)
    if way is None:
        return pixels
    places = np.arange(pixels.shape[0] * pixels.shape[1], dtype=np.int32).reshape(pixels.shape[:2])
    turned = np.asarray(Image.fromarray(places).transpose(Image.Transpose[way]))
    return pixels.reshape(-1, *pixels.shape[2:])[turned]


def read_with_opencv(path: Path) -> np.ndarray:
    """Read with OpenCV, and turn what OpenCV does not turn when it reads with transparency."""
    import cv2
    from PIL import Image

    cv2.setNumThreads(1)
    pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("OpenCV says nothing")
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4):
        pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    with contextlib.suppress(Exception), Image.open(path) as image:
        if image.format != "TIFF":
            pixels = turn(pixels, image.getexif().get(ORIENTATION, 1))
    return pixels if pixels.dtype in (np.uint8, np.uint16) else pixels.astype(np.float32)


def read_with_numpy(path: Path) -> np.ndarray:
    """Read an array of NumPy's as plain numbers."""
    array = np.load(path, allow_pickle=False)
    if isinstance(array, np.lib.npyio.NpzFile):
        (array,) = array.values()
    if array.ndim not in (2, 3) or array.dtype.kind not in "biuf":
        raise ValueError("no picture")
    return array if array.dtype in (np.uint8, np.uint16) else array.astype(np.float32)


READERS = {
    "Pillow": read_with_pillow,
    "tifffile": read_with_tifffile,
    "OpenCV": read_with_opencv,
    "NumPy": read_with_numpy,
}


# --- Comparison -----------------------------------------------------------------------------------


def unify(pixels: np.ndarray) -> np.ndarray:
    """Return pixels as shares of the full range, with 4 channels if they are colours; what is
    transparent has no colour."""
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.dtype.kind == "f" or pixels.shape[2] > 4:
        return pixels.astype(np.float64)
    values = pixels / np.iinfo(pixels.dtype).max
    if values.shape[2] in (1, 3):
        values = np.concatenate([values, np.ones_like(values[..., :1])], axis=-1)
    colours = values[..., :-1] * values[..., -1:]
    return np.concatenate([np.broadcast_to(colours, (*colours.shape[:2], 3)), values[..., -1:]], -1)


def difference(ours: np.ndarray, theirs: np.ndarray, exact: bool) -> str:
    """Say how two readings differ; an empty string if they do not."""
    kinds = [f"{pixels.dtype} {pixels.shape}" for pixels in (ours, theirs)]
    if theirs.itemsize > ours.itemsize or (theirs.dtype.kind == "f") != (ours.dtype.kind == "f"):
        return f"{kinds[0]} for {kinds[1]}"
    if np.array_equal(ours, theirs):
        return ""
    one, other = unify(ours), unify(theirs)
    if one.shape != other.shape:
        return f"{kinds[0]} for {kinds[1]}"
    has_alpha = one.shape[2] == 4 and (one[..., 3] < 1).any()
    limit = 1.01 * LEAST if exact else 4 * LEAST
    if ours.dtype.kind == "f" or exact and ours.dtype == theirs.dtype and not has_alpha:
        limit = 0
    apart = np.abs(one - other)
    if apart.max(initial=0) <= limit:
        return ""
    return f"up to {apart.max():.3g} apart in {(apart > limit).mean():.0%} of values"


def judge(path: Path, read_picture: Callable, tell: Callable) -> None:
    """Read a file, tell how that ended, then compare, and tell how that ended."""
    from pix2pix.talk.errors import UserError

    ours, refusal = None, ""
    try:
        ours = read_picture(path)
        tell("unjudged", "the other reader died")
    except UserError as error:
        refusal = str(error).removeprefix(f"{path}: ")
        tell("refused", refusal)
    differences = {}
    exact = not is_lossy(path)
    for name, reader in READERS.items():
        with contextlib.suppress(Exception):
            theirs = reader(path)
            if ours is None:
                tell("refused alone", f"{refusal}; {name}: {theirs.dtype} {theirs.shape}")
                return
            differences[name] = difference(ours, theirs, exact)
            if not differences[name]:
                tell("equal", name)
                return
    if ours is None:
        tell("refused", refusal)
    elif differences:
        tell("different", "; ".join(f"{name}: {said}" for name, said in differences.items()))
    else:
        tell("unjudged", f"{ours.dtype} {ours.shape}")


def is_lossy(path: Path) -> bool:
    """Tell whether decoders may differ a little: by compression, or by how colours become RGB."""
    from PIL import Image

    with contextlib.suppress(Exception), Image.open(path) as image:
        if image.format == "TIFF":
            compression, colours = (image.tag_v2.get(tag, 1) for tag in (259, 262))
            return compression in LOSSY_COMPRESSIONS or colours in CONVERTED_COLOURS
        return image.format not in ("PNG", "BMP", "GIF")
    with contextlib.suppress(Exception):  # of a TIFF that Pillow does not know
        import tifffile

        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages[0]
            lossy = page.compression in LOSSY_COMPRESSIONS
            return lossy or page.photometric in CONVERTED_COLOURS
    return False


# --- Processes that may die -----------------------------------------------------------------------


def work(pipe, megabytes: int) -> None:
    """Judge files whose paths come through a pipe, in silence and in so much memory."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)
    warnings.simplefilter("ignore")
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
    from pix2pix.pictures.picture_files import read_picture

    resource.setrlimit(resource.RLIMIT_AS, (megabytes * 2**20, megabytes * 2**20))
    pipe.send(("ready", ""))
    while path := pipe.recv():
        try:
            judge(path, read_picture, lambda end, reason: pipe.send((end, reason)))
        except BaseException as error:
            pipe.send(("crashed", f"{type(error).__name__}: {error}"))
        pipe.send(("done", ""))


class Worker:
    """A process that judges files, and a new one whenever it has died."""

    def __init__(self, seconds: float, megabytes: int) -> None:
        self.seconds, self.megabytes, self.process = seconds, megabytes, None

    def start(self) -> None:
        """Start a process and wait until it is ready."""
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, self.megabytes), daemon=True)
        self.process.start()
        other.close()
        self.pipe.recv()

    def judge(self, path: Path) -> tuple[str, str]:
        """Return how reading a file ends, and why."""
        if self.process is None:
            self.start()
        self.pipe.send(path)
        verdict = ("crashed", "the process died")
        while True:
            if not self.pipe.poll(self.seconds):
                self.stop()
                return verdict if verdict[0] != "crashed" else ("timed out", "")
            try:
                end, reason = self.pipe.recv()
            except (EOFError, ConnectionResetError):
                self.stop()
                return verdict
            if end == "done":
                return verdict
            verdict = end, reason

    def stop(self) -> None:
        """End the process, if there is one, whatever it does."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
        self.process = None


def judge_all(paths: list[Path], workers: list[Worker]) -> dict[Path, tuple[str, str]]:
    """Judge files with several workers; return for each how that ended, and why."""
    free = collections.deque(workers)

    def judge_next(path: Path) -> tuple[str, str]:
        worker = free.popleft()
        try:
            return worker.judge(path)
        finally:
            free.append(worker)

    try:
        with ThreadPoolExecutor(len(workers)) as threads:
            return dict(zip(paths, threads.map(judge_next, paths), strict=True))
    finally:
        for worker in workers:
            worker.stop()


# --- Files and table ------------------------------------------------------------------------------


def format_of(path: Path) -> str:
    """Name the format of a picture by its content, or its suffix if nobody knows the content;
    an empty string for a file that is no picture by either."""
    from PIL import Image

    from pix2pix.pictures.picture_files import SUFFIXES

    with contextlib.suppress(Exception), open(path, "rb") as file:
        starts = {b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF"}
        starts[b"\x93NUM"] = "NPY"
        if found := starts.get(file.read(4)):
            return found
    with contextlib.suppress(Exception), Image.open(path) as image:
        return image.format
    suffix = path.suffix.lower()
    return suffix.removeprefix(".").upper() if suffix in SUFFIXES else ""


def print_table(formats: dict[Path, str], verdicts: dict[Path, tuple[str, str]]) -> None:
    """Print how many files of each format ended how."""
    table = collections.defaultdict(collections.Counter)
    for path, (end, _) in verdicts.items():
        table[formats[path]][end] += 1
    rows = sorted(table.items(), key=lambda row: -row[1].total())
    rows.append(("all", sum(table.values(), collections.Counter())))
    print(f"{'':<10}{'files':>7}", *(f"{end:>14}" for end in ENDS))
    for name, ends in rows:
        print(f"{name:<10}{ends.total():>7}", *(f"{ends[end]:>14}" for end in ENDS))
    agreeing = collections.Counter(reason for end, reason in verdicts.values() if end == "equal")
    print("first to agree:", ", ".join(f"{name} {n}" for name, n in agreeing.most_common()))


def main() -> None:
    """Find, judge, count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60, help="for one file")
    parser.add_argument("--megabytes", type=int, default=8192, help="of memory, for a process")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    found = {p: format_of(p) for d in options.folders for p in sorted(d.rglob("*")) if p.is_file()}
    formats = {path: name for path, name in found.items() if name}
    workers = [Worker(options.seconds, options.megabytes) for _ in range(options.workers)]
    verdicts = judge_all(list(formats), workers)
    for path, (end, reason) in verdicts.items():
        if end != "equal":
            print(f"{end:<14} {path}: {reason}")
    print_table(formats, verdicts)
    missing = [name for name in ("tifffile", "cv2") if importlib.util.find_spec(name) is None]
    if missing:
        print("not installed:", *missing)
    sys.exit(any(end in FAILURES for end, _ in verdicts.values()))


if __name__ == "__main__":
    main()

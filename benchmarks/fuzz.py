"""Damage pictures at random and see what reading makes of them.

    python benchmarks/fuzz.py --count 1000 --seed 0

Every damaged file must end in one of three ways: the line that names it, the pixels of the whole
picture, or, in a format without checksums, the pixels that another decoder finds in the same bytes.
A traceback, a second line, a hang, or a wrong pixel in a PNG is a failure. Then `inspect` is run on
the folder of all of them, as a user would. Prints a table; exit status 1 after a failure.
"""

import argparse
import collections
import contextlib
import faulthandler
import io
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from pix2pix.commands.inspect_dataset.command import inspect_dataset
from pix2pix.options.train import Inspect
from pix2pix.pairs.synthetic import draw_facade
from pix2pix.pictures.picture_files import SUFFIXES, read_picture
from pix2pix.talk.errors import UserError

KINDS = {  # how a picture is written, and another decoder where there is one
    "png": ({"format": "PNG"}, None),
    "jpeg": ({"format": "JPEG", "quality": 90}, "Pillow"),
    "bmp": ({"format": "BMP"}, tf.io.decode_bmp),
    "gif": ({"format": "GIF"}, tf.io.decode_gif),
    "webp": ({"format": "WEBP"}, None),
    "tiff": ({"format": "TIFF"}, None),
    "tiff-lzw": ({"format": "TIFF", "compression": "tiff_lzw"}, None),
    "tiff-deflate": ({"format": "TIFF", "compression": "tiff_adobe_deflate"}, None),
}
DAMAGES = ("flipped", "cut", "overwritten", "renamed")


def damage(encoded: bytes, how: str, rng: np.random.Generator) -> bytes:
    """A damaged copy."""
    data = bytearray(encoded)
    if how == "flipped":
        for place in rng.integers(len(data), size=rng.integers(1, 5)):
            data[place] ^= 1 << rng.integers(8)
    elif how == "cut":
        del data[rng.integers(len(data)) :]
    elif how == "overwritten":
        start = rng.integers(len(data))
        data[start : start + 64] = rng.bytes(len(data[start : start + 64]))
    return bytes(data)


def otherwise(data: bytes, decoder) -> np.ndarray | None:
    """What another decoder makes of the same bytes, if it can."""
    with contextlib.suppress(Exception):
        if decoder == "Pillow":
            with Image.open(io.BytesIO(data)) as image:
                return np.asarray(image.convert("RGB"))
        pixels = decoder(data).numpy()
        return pixels[0] if pixels.ndim == 4 else pixels
    return None


def judge(path: Path, whole: np.ndarray, kind: str) -> str:
    """How reading a damaged file ends."""
    try:
        pixels = read_picture(path)
    except UserError as error:
        named = str(error).startswith(f"{path}: ") and "\n" not in str(error)
        return "refused" if named else "FAILED: badly said"
    except BaseException as error:
        return f"FAILED: {type(error).__name__}"
    if np.array_equal(pixels, whole):
        return "whole"
    if kind == "png":
        return "FAILED: wrong pixels"
    decoder = KINDS[kind][1]
    theirs = decoder and otherwise(path.read_bytes(), decoder)
    if theirs is None:
        return "changed, no second opinion"
    same = theirs.shape == pixels.shape and np.abs(theirs.astype(int) - pixels).max() <= 3
    return "changed, decoders agree" if same else "changed, decoders differ"


def main() -> None:
    """Damage, read, count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    faulthandler.dump_traceback_later(600, exit=True)  # a hang is a failure, too
    rng = np.random.default_rng(options.seed)
    table = collections.defaultdict(collections.Counter)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(options.count):
            kind, how = list(KINDS)[number % len(KINDS)], DAMAGES[number // len(KINDS) % 4]
            photo = draw_facade(options.seed, number, (48, 64))[0]
            encoded = io.BytesIO()
            Image.fromarray(photo).save(encoded, **KINDS[kind][0])
            suffix = rng.choice(sorted(SUFFIXES)) if how == "renamed" else f".{kind}"
            path = folder / f"{number:04}{suffix.split('-')[0]}"
            path.write_bytes(encoded.getvalue())
            whole = read_picture(path)
            path.write_bytes(damage(encoded.getvalue(), how, rng))
            table[kind, how][judge(path, whole, kind)] += 1
        try:
            inspect_dataset(Inspect(dataset=name, task="sketch", output=folder / "runs"))
            ended = "found nothing broken"
        except UserError as error:
            ended = f"ended with: {error}".replace(name, "FOLDER")
    for (kind, how), ends in table.items():
        print(f"{kind:<13} {how:<12}", ", ".join(f"{n} {end}" for end, n in sorted(ends.items())))
    total = sum(table.values(), collections.Counter())
    print("all".ljust(26), ", ".join(f"{n} {end}" for end, n in sorted(total.items())))
    print("inspect", ended)
    sys.exit(any(end.startswith("FAILED") for end in total))


if __name__ == "__main__":
    main()

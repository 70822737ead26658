"""translate: read → resize or pad → windows → generator → blend → full size → write.

Reading and writing go on in threads while the generator works. A picture is one window, unless its
resolution is kept.
"""

import glob
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from pix2pix.commands.open_run import TrainedRun, open_run, prepare_source
from pix2pix.commands.translate.picture_files import PictureFiles
from pix2pix.commands.translate.video import frame_rate, is_video, read_frames, write_frames
from pix2pix.commands.translate.windows import (
    Job,
    Loaded,
    generate_pictures,
    place_windows,
    window_size,
)
from pix2pix.options.commands import Translate
from pix2pix.pairs.pair_folders import check_is_file, read_pair, read_whole, stack_channels
from pix2pix.pictures.label_maps import snap_to_classes
from pix2pix.pictures.picture_files import SUFFIXES, check_memory, write_picture
from pix2pix.pictures.pixels import (
    convert_channels,
    from_pixels,
    problem_with,
    resize,
    shown_parts,
    to_pixels,
    to_results,
    to_values,
)
from pix2pix.pictures.sides import PHOTOS, Side
from pix2pix.talk.errors import UsageError, UserError
from pix2pix.talk.files import (
    FullDiskError,
    explain_unwritten,
    map_ahead,
    replace_when_complete,
)
from pix2pix.talk.lines import say_row
from pix2pix.talk.notebook import live_output
from pix2pix.talk.progress import say_progress


@live_output()
def translate(options: Translate) -> PictureFiles:
    """Translate pictures and videos; return the paths of the results."""
    if options.batch_size < 1 or options.samples < 0:
        raise UsageError("--batch-size must be above 0, and --samples not below.")
    trained = open_run(options.run)
    found = find_jobs(options, trained)
    make_folder(options.output)
    jobs = [job for job in found if options.overwrite or not any(map(os.path.exists, job.results))]
    videos = [job for job in jobs if is_video(job.path)]
    pictures = [job for job in jobs if not is_video(job.path)]
    problems = translate_pictures(pictures, trained, options)
    for job in videos:
        try:
            translate_video(job, trained, options)
        except UserError as error:
            skip(error, problems)
    if existing := len(found) - len(jobs):
        what = "of other pictures or an older checkpoint perhaps; --overwrite makes them anew"
        say_row("Left", f"{existing:,} that exist already, {what}")
    place = options.output
    if names_a_file(options.output):
        place = " and ".join(str(path) for job in jobs for path in job.results)
    if jobs:
        say_row("Wrote", f"{len(jobs) - len(problems):,} of {len(jobs):,} to {place}")
    if problems:
        raise UserError(f"{len(problems):,} could not be translated, see above.")
    return PictureFiles(path for job in found for path in job.results)


# --- What to translate ----------------------------------------------------------------------------


def find_inputs(names: tuple[str, ...], output: Path) -> dict[Path, Path]:
    """Find the pictures and videos to translate, and what each is called inside its folder.

    Earlier results that lie in such a folder are left out."""
    if not names:
        raise UsageError("translate wants to know what: name pictures, folders or patterns.")
    inputs, results = {}, real_path(output)
    for name in names:
        matches = [name] if os.path.exists(name) else sorted(glob.glob(name, recursive=True))
        paths = [Path(match) for match in matches]
        named = {path: Path(path.name) for path in paths if path.is_file()}
        for folder in paths:
            holds_results = real_path(folder) in results.parents
            for path in sorted(folder.glob("**/[!.]*")):
                is_known = path.suffix.lower() in SUFFIXES or is_video(path)
                is_result = holds_results and results in real_path(path).parents
                if is_known and not is_result and not path.is_dir():
                    named[path] = path.relative_to(folder)
        if not named:
            raise UserError(f"{name}: no pictures there. Name pictures, folders or patterns.")
        inputs |= named
    return inputs


def find_partners(options: Translate) -> dict[Path, tuple[Path, ...]]:
    """Find, for each input in the first of several folders, those of its name in the others.

    Single pictures belong together whatever their names."""
    first, *others = [find_inputs((name,), options.output) for name in options.inputs]
    partners = dict.fromkeys(first, ())
    for folder, inputs in zip(options.inputs[1:], others, strict=True):
        by_name = {name.with_suffix(""): path for path, name in inputs.items()}
        for path, name in first.items():
            only = [*inputs] if len(first) == len(inputs) == 1 else [None]
            partner = by_name.get(name.with_suffix(""), only[0])
            if partner is None:
                raise UserError(f"{path}: no partner in {folder}.")
            partners[path] += (partner,)
    return partners


def real_path(path: Path) -> Path:
    """Return a path without links; unlike Path.resolve, also of a link that leads to itself."""
    return Path(os.path.realpath(path))


def find_jobs(options: Translate, trained: TrainedRun) -> list[Job]:
    """List the inputs and where their results go, no two to the same place."""
    parts, names, partners = trained.found.source.parts, options.inputs, {}
    if parts and len(names) == len(parts):
        partners, names = find_partners(options), names[:1]
    jobs, owners, inputs = [], {}, find_inputs(names, options.output)
    if names_a_file(options.output) and len(inputs) > 1:
        what = f"a folder for {len(inputs):,} inputs"
        raise UsageError(f"--output must be {what}, not a file: {options.output}.")
    originals = {real_path(path) for path in inputs}
    for path, name in inputs.items():
        results = result_paths(path, name, trained, options)
        job = Job(path, results, partners.get(path, ()))
        for result in job.results:
            other = owners.setdefault(real_path(result), path)
            if other != path:
                raise UserError(
                    f"{other} and {path} would both become {result}. Translate them one after the "
                    "other, or use --format same."
                )
            if real_path(result) in originals:
                raise UserError(f"{result} is one of the inputs. Choose another --output.")
        jobs.append(job)
    return jobs


def names_a_file(output: Path) -> bool:
    """Tell whether results go to one file, and not into a folder."""
    is_known = output.suffix.lower() in SUFFIXES or is_video(output)
    return is_known and not output.is_dir()


def make_folder(output: Path) -> None:
    """Make the folder of the results, so that one that cannot be written to is told at once."""
    folder = output.parent if names_a_file(output) else output
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = "it is a file" if folder.is_file() else error.strerror
        what = "no folder that results can be written to"
        raise UserError(f"--output {output}: {what} ({reason}). Choose another.") from error


def result_paths(path: Path, name: Path, trained: TrainedRun, options: Translate) -> list[Path]:
    """Name the results of an input: one, or one for each sample."""
    if is_video(path) and options.samples:
        raise UsageError(f"--samples is for pictures, and {path} is a video.")
    result = options.output / name
    if names_a_file(options.output):
        result = options.output
    elif options.format != "same" and not is_video(path):
        deep = trained.found.target_bits == 32 or trained.found.target_channels > 4
        too_deep = deep and options.format == "png" and not options.side_by_side
        suffix = "tif" if too_deep else options.format
        result = result.with_suffix(f".{suffix}")
    if not options.samples or options.side_by_side:
        return [result]
    return [result.with_stem(f"{result.stem}-{k}") for k in range(1, options.samples + 1)]


# --- Pictures and videos --------------------------------------------------------------------------


def translate_pictures(jobs: list[Job], trained: TrainedRun, options: Translate) -> list[UserError]:
    """Translate all pictures that can be read; return what is wrong with the others."""

    def load(job: Job) -> Loaded | UserError:
        try:
            return load_picture(job, trained, options)
        except UserError as error:  # no reason to give up the others
            return error

    def write(made: tuple[Loaded, list[np.ndarray]]) -> UserError | None:
        loaded, images = made
        pictures = finish_pictures(loaded, images, trained, options)
        as_measurements = trained.found.target.measured and not options.side_by_side
        like = None if options.side_by_side else loaded.job.path  # where on earth it lies
        for path, pixels in zip(loaded.job.results, pictures, strict=True):
            try:
                write_picture(path, pixels, like, as_measurements)
            except UserError as error:
                return error
            except OSError as error:
                return explain_unwritten(path, error)
        return None

    problems = []
    outcomes = map_ahead(load, jobs, options.batch_size)
    sound = leave_out_problems(outcomes, problems, trained, options)
    made = generate_pictures(sound, trained, options)
    for count, problem in enumerate(map_ahead(write, made, options.batch_size), 1):
        if problem:
            skip(problem, problems)
        say_progress("Translating", count, len(jobs), f"{count:,} of {len(jobs):,}")
    return problems


def skip(problem: UserError, problems: list[UserError]) -> None:
    """Say what could not be translated, and add it to the problems; a full disk ends all."""
    if isinstance(problem, FullDiskError):
        raise problem
    problems.append(problem)
    say_row("Skipped", str(problem))


def leave_out_problems(
    outcomes: Iterable[Loaded | UserError],
    problems: list[UserError],
    trained: TrainedRun,
    options: Translate,
) -> Iterator[Loaded]:
    """Pass on what could be loaded; say what could not, and add it to the problems."""
    warned = False
    for outcome in outcomes:
        if isinstance(outcome, UserError):
            skip(outcome, problems)
            continue
        if not options.pairs and not warned and looks_like_pair(outcome.pixels, trained):
            what = "looks like a pair of the training; --pairs translates its source half"
            say_row("Careful", f"{outcome.job.path} {what}")
            warned = True
        yield outcome


def translate_video(job: Job, trained: TrainedRun, options: Translate) -> None:
    """Translate a video frame by frame."""

    def load_frame(pixels: np.ndarray) -> Loaded:
        return load_pixels(job, pixels, trained, options)

    def finish_frame(made: tuple[Loaded, list[np.ndarray]]) -> np.ndarray:
        return finish_pictures(*made, trained, options)[0]

    check_is_file(job.path)
    rate, result = frame_rate(job.path), job.results[0]
    with closing(read_frames(job.path, rate)) as originals:
        loaded = map_ahead(load_frame, originals, options.batch_size)
        made = generate_pictures(loaded, trained, options)
        frames = map_ahead(finish_frame, made, options.batch_size)
        try:
            result.parent.mkdir(parents=True, exist_ok=True)
            with replace_when_complete(result) as temporary:
                write_frames(frames, rate, job.path, temporary)
        except OSError as error:
            raise explain_unwritten(result, error) from error


# --- Before and after the generator ---------------------------------------------------------------


def load_picture(job: Job, trained: TrainedRun, options: Translate) -> Loaded:
    """Read a picture, or the source half of a pair, or the pictures that make a source."""
    files = job.path, *job.partners
    check_memory(job.path, bytes_per_pixel(trained, options))
    if job.partners:
        pixels = stack_channels(files, [read_whole(file, options.max_pixels) for file in files])
    else:
        pictures = read_pair(files, options.pairs, options.max_pixels)
        pixels = pictures[-1 if trained.found.direction == "BtoA" else 0]
    return load_source(job, pixels, trained, options)


def bytes_per_pixel(trained: TrainedRun, options: Translate) -> int:
    """Estimate the memory that a translation takes for each pixel of the picture: for itself, and
    for its results while they are blended and written."""
    found = trained.found
    source = found.source_channels * (4 if found.source.measured else 1)
    result = found.target_channels * 4 * trained.task.zoom**2
    return source + result * (options.samples or 1)


def load_source(job: Job, pixels: np.ndarray, trained: TrainedRun, options: Translate) -> Loaded:
    """Bring a source to the size at which it is translated, if the run is for such pictures."""
    found = trained.found
    pixels = snap_to_classes(pixels, found.source.classes)
    problem = problem_with(pixels, found.source_channels, found.source)
    if problem := problem or trained.task.problem_with(pixels):
        raise UserError(f"{job.path}: {problem}.")
    return load_pixels(job, pixels, trained, options)


def load_pixels(job: Job, pixels: np.ndarray, trained: TrainedRun, options: Translate) -> Loaded:
    """Bring a picture to the size at which it is translated, and choose its windows."""
    side, zoom, (height, width) = trained.found.source, trained.task.zoom, pixels.shape[:2]
    window = window_size(trained)
    if keeps_resolution(trained, options):
        lacking = [(0, max(0, window[0] - height)), (0, max(0, window[1] - width)), (0, 0)]
        seen = np.pad(pixels, lacking, "symmetric") if np.any(lacking) else pixels
    elif trained.options.fit == "crop":  # windows cover also what the training would have cut off
        scale = max(window[0] / height, window[1] / width)
        size = max(window[0], round(scale * height)), max(window[1], round(scale * width))
        seen = resize(pixels, size, side=side)
    else:
        seen = resize(pixels, window, side=side)
    rows = place_windows(seen.shape[0], window[0], zoom)
    columns = place_windows(seen.shape[1], window[1], zoom)
    return Loaded(job, pixels, seen, rows, columns)


def keeps_resolution(trained: TrainedRun, options: Translate) -> bool:
    """Tell whether pictures keep their resolution, which is what some trainings have seen."""
    return options.native or trained.options.crop or trained.task.keeps_resolution


def looks_like_pair(pixels: np.ndarray, trained: TrainedRun) -> bool:
    """Tell whether a picture has the shape of the side-by-side pairs the run was trained on."""
    if not trained.found.pair_shape:
        return False
    height, width = trained.found.pair_shape
    return abs(pixels.shape[1] / pixels.shape[0] * height / width - 1) < 0.02


def finish_pictures(
    loaded: Loaded, images: list[np.ndarray], trained: TrainedRun, options: Translate
) -> list[np.ndarray]:
    """Make what is written of what was generated of a picture."""
    source, target = trained.found.source, trained.found.target
    images = [bring_to_full_size(image, loaded, trained, options) for image in images]
    if not options.side_by_side:
        return images
    columns = show_pixels(loaded.pixels, source)
    for image in images:
        columns += show_pixels(image, target)
    return [place_side_by_side(columns)]


def show_pixels(pixels: np.ndarray, side: Side) -> list[np.ndarray]:
    """Return what is shown of a picture: itself, or pictures of what it measures."""
    if not side.ranges:
        return [pixels]
    values = to_values(pixels, pixels.shape[2], side)
    return [to_pixels(shown) for shown in shown_parts("", values, side).values()]


def bring_to_full_size(
    image: np.ndarray, loaded: Loaded, trained: TrainedRun, options: Translate
) -> np.ndarray:
    """Bring a result to the size of its input, with what its task keeps of that in full detail."""
    height, width = (side * trained.task.zoom for side in loaded.pixels.shape[:2])
    target, bits = trained.found.target, trained.found.target_bits
    if target.classes and options.labels == "exact":
        image = snap_to_classes(image, target.classes)
    elif target.classes:
        target = PHOTOS
    if keeps_resolution(trained, options) or image.shape[:2] == (height, width):
        return image[:height, :width]
    image = resize(image, (height, width), Image.Resampling.BICUBIC, target)
    if not trained.task.keeps_source:
        return image
    source = prepare_source(loaded.pixels, trained)
    generated = tf.constant(to_values(image, image.shape[2], target))
    return to_results(trained.task.restore_source(generated, source), bits, target)


def place_side_by_side(pictures: list[np.ndarray]) -> np.ndarray:
    """Place pictures in a row, as high as the last one, in 8 bits."""
    counts = [3 if picture.shape[2] == 2 else picture.shape[2] for picture in pictures]
    row = []
    for picture in pictures:
        same_height = resize(convert_channels(picture, max(counts)), pictures[-1].shape[:2])
        row.append(to_pixels(from_pixels(same_height)))
    return np.concatenate(row, axis=1)

"""translate: which pictures and videos, read, through the generator, and written.

Reading and writing go on in threads while the generator works.
"""

import glob
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np

from pix2pix.commands.open_run import TrainedRun, open_run
from pix2pix.commands.translate.picture_files import PictureFiles
from pix2pix.commands.translate.translator import Canvas, Job, Loaded, Translator, keep_steady
from pix2pix.commands.translate.video import frame_rate, is_video, read_frames, write_frames
from pix2pix.commands.translate.volumes import name_result, translate_volume
from pix2pix.options.commands import Translate
from pix2pix.pairs.file_pairs import check_is_file, read_pair, read_whole, stack_channels
from pix2pix.pictures.ignored import NODATA
from pix2pix.pictures.picture_files import SUFFIXES, check_memory, write_picture
from pix2pix.pictures.volumes.volume_files import is_nifti, is_volume, without_ending
from pix2pix.talk.errors import UsageError, UserError
from pix2pix.talk.files import FullDiskError, explain_unwritten, map_ahead, replace_when_complete
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
    work = Work(Translator(trained, options))
    work.translate_pictures(
        [job for job in jobs if not (is_video(job.path) or is_volume(job.path))]
    )
    for job in jobs:
        if is_video(job.path):
            work.translate_video(job)
        elif is_volume(job.path):
            work.translate_volume(job)
    if existing := len(found) - len(jobs):
        what = "of other pictures or an older checkpoint perhaps; --overwrite makes them anew"
        say_row("Left", f"{existing:,} that exist already, {what}")
    place = str(options.output)
    if names_a_file(options.output):
        place = " and ".join(str(path) for job in jobs for path in job.results)
    if jobs:
        say_row("Wrote", f"{len(jobs) - len(work.problems):,} of {len(jobs):,} to {place}")
    if work.problems:
        raise UserError(f"{len(work.problems):,} could not be translated, see above.")
    return PictureFiles(path for job in found for path in job.results)


# --- What to translate ----------------------------------------------------------------------------


def find_inputs(names: tuple[str, ...], output: Path) -> dict[Path, Path]:
    """Find the pictures and videos to translate, and what each is called inside its folder.

    Earlier results that lie in such a folder are left out."""
    if not names:
        raise UsageError("translate wants to know what: name pictures, folders or patterns.")
    inputs: dict[Path, Path] = {}
    results = real_path(output)
    for name in names:
        matches = [name] if os.path.exists(name) else sorted(glob.glob(name, recursive=True))
        paths = [Path(match) for match in matches]
        named = {path: Path(path.name) for path in paths if path.is_file() or is_volume(path)}
        for folder in paths:
            holds_results = real_path(folder) in results.parents
            below = sorted(folder.glob("**/[!.]*"))
            if holds_results:  # earlier ones are left out
                below = [path for path in below if results not in real_path(path).parents]
            known = [path for path in below if is_picture_or_video(path)]
            for path in known or filter(is_volume, below):  # volumes beside them are passed over
                named[path] = path.relative_to(folder)
        if not named:
            raise UserError(f"{name}: no pictures there. Name pictures, folders or patterns.")
        inputs |= named
    return inputs


def is_picture_or_video(path: Path) -> bool:
    """Tell by its name whether a file is a picture or a video; a folder is none."""
    is_known = path.suffix.lower() in SUFFIXES or is_video(path)
    return is_known and not path.is_dir()


def find_partners(options: Translate) -> dict[Path, tuple[Path, ...]]:
    """Find, for each input in the first of several folders, those of its name in the others.

    Single pictures belong together whatever their names."""
    first, *others = [find_inputs((name,), options.output) for name in options.inputs]
    partners: dict[Path, tuple[Path, ...]] = dict.fromkeys(first, ())
    for folder, inputs in zip(options.inputs[1:], others, strict=True):
        by_name = {bare_name(path, name): path for path, name in inputs.items()}
        for path, name in first.items():
            partner = by_name.get(bare_name(path, name))
            if len(first) == len(inputs) == 1:
                (partner,) = inputs
            if partner is None:
                raise UserError(f"{path}: no partner in {folder}.")
            partners[path] += (partner,)
    return partners


def bare_name(path: Path, name: Path) -> Path:
    """Return what an input is called inside its folder, without what says its format."""
    return name.with_name(without_ending(path).name)


def real_path(path: Path) -> Path:
    """Return a path without links; unlike Path.resolve, also of a link that leads to itself."""
    return Path(os.path.realpath(path))


def find_jobs(options: Translate, trained: TrainedRun) -> list[Job]:
    """List the inputs and where their results go, no two to the same place."""
    parts, names, partners = trained.found.source.parts, options.inputs, {}
    if parts and len(names) == len(parts):
        partners, names = find_partners(options), names[:1]
    jobs, inputs = [], find_inputs(names, options.output)
    owners: dict[Path, Path] = {}
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
    return (is_picture_or_video(output) or is_nifti(output)) and not output.is_dir()


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
    if is_volume(path):
        return [name_result(path, result, options)]
    if names_a_file(options.output):
        if is_nifti(result):
            raise UsageError(f"--output {result}: {path} is no volume. Name a picture or a folder.")
    elif options.format != "same" and not is_video(path):
        deep = trained.found.target_bits == 32 or trained.found.target_channels > 4
        too_deep = deep and options.format == "png" and not options.side_by_side
        suffix = "tif" if too_deep else options.format
        result = result.with_suffix(f".{suffix}")
    if not options.samples or options.side_by_side:
        return [result]
    return [result.with_stem(f"{result.stem}-{k}") for k in range(1, options.samples + 1)]


# --- Pictures and videos --------------------------------------------------------------------------


class Work:
    """Reads, translates and writes; what cannot be translated is said, and no reason to give up
    the others."""

    def __init__(self, translator: Translator) -> None:
        self.translator, self.trained = translator, translator.trained
        self.options = translator.options
        self.problems: list[UserError] = []
        self.is_warned = False  # of a picture that looks like a pair

    def translate_pictures(self, jobs: list[Job]) -> None:
        """Translate all pictures that can be read."""
        ahead = self.options.batch_size
        loaded = self.leave_out_problems(map_ahead(self.read, jobs, ahead))
        written = map_ahead(self.write, self.translator.generate(loaded), ahead)
        for count, problem in enumerate(written, 1):
            if problem:
                self.skip(problem)
            say_progress("Translating", count, len(jobs), f"{count:,} of {len(jobs):,}")

    def translate_video(self, job: Job) -> None:
        """Translate a video frame by frame."""
        try:
            check_is_file(job.path)
            rate, result = frame_rate(job.path), job.results[0]
            with closing(read_frames(job.path, rate)) as originals:
                fit = partial(self.translator.fit, job=job)
                loaded = map_ahead(fit, originals, self.options.batch_size)
                made = self.translator.generate(loaded)
                if self.options.windows != "alone":
                    made = keep_steady(made)
                finished = map_ahead(self.translator.finish, made, self.options.batch_size)
                frames = (pictures[0] for pictures in finished)
                try:
                    result.parent.mkdir(parents=True, exist_ok=True)
                    with replace_when_complete(result) as temporary:
                        write_frames(frames, rate, job.path, temporary)
                except OSError as error:
                    raise explain_unwritten(result, error) from error
        except UserError as error:
            self.skip(error)

    def translate_volume(self, job: Job) -> None:
        """Translate a volume slice by slice."""
        try:
            translate_volume(self.translator, job)
        except UserError as error:
            self.skip(error)

    def read(self, job: Job) -> Loaded | UserError:
        """Read a picture, or the source half of a pair, or the pictures that make a source; return
        what is wrong with it if it cannot be translated."""
        files, most = (job.path, *job.partners), self.options.max_pixels
        may_lack = self.trained.options.ignore == NODATA
        try:
            check_is_file(job.path)
            check_memory(job.path, self.translator.bytes_per_pixel)
            if job.partners:
                pixels = stack_channels(files, [read_whole(file, most, may_lack) for file in files])
            else:
                pictures = read_pair(files, self.options.pairs, most, may_lack)
                pixels = pictures[-1 if self.trained.found.direction == "BtoA" else 0]
        except UserError as error:
            return error
        try:
            return self.translator.load(pixels, job)
        except UserError as error:
            return UserError(f"{job.path}: {error}.")

    def leave_out_problems(self, outcomes: Iterable[Loaded | UserError]) -> Iterator[Loaded]:
        """Pass on what could be loaded; say what could not."""
        for outcome in outcomes:
            if isinstance(outcome, UserError):
                self.skip(outcome)
                continue
            if not self.is_warned and self.looks_like_pair(outcome.pixels):
                what = "looks like a pair of the training; --pairs translates its source half"
                say_row("Careful", f"{outcome.job.path} {what}")
                self.is_warned = True
            yield outcome

    def looks_like_pair(self, pixels: np.ndarray) -> bool:
        """Tell whether a picture has the shape of the side-by-side pairs the run was trained on."""
        if self.options.pairs or not self.trained.found.pair_shape:
            return False
        height, width = self.trained.found.pair_shape
        return abs(pixels.shape[1] / pixels.shape[0] * height / width - 1) < 0.02

    def write(self, canvas: Canvas) -> UserError | None:
        """Write the results of a picture; return what is wrong if that cannot be done."""
        job, alone = canvas.loaded.job, not self.options.side_by_side
        as_measurements = self.trained.found.target.measured and alone
        like = job.path if alone else None  # where on earth it lies
        for path, pixels in zip(job.results, self.translator.finish(canvas), strict=True):
            try:
                write_picture(path, pixels, like, as_measurements)
            except UserError as error:
                return error
            except OSError as error:
                return explain_unwritten(path, error)
        return None

    def skip(self, problem: UserError) -> None:
        """Say what could not be translated; a full disk ends all."""
        if isinstance(problem, FullDiskError):
            raise problem
        self.problems.append(problem)
        say_row("Skipped", str(problem))

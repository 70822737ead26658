"""Volumes for translate: slice by slice through the generator, then one of the same geometry."""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from pix2pix.commands.translate.translator import Canvas, Job, Loaded, Translator
from pix2pix.options.commands import Translate
from pix2pix.pairs.file_pairs import read_whole, stack_channels
from pix2pix.pairs.volumes.volume_pairs import check_same_place
from pix2pix.pictures.ignored import NODATA
from pix2pix.pictures.label_maps import classify
from pix2pix.pictures.picture_files import memory_size
from pix2pix.pictures.sides import LabelClass
from pix2pix.pictures.volumes.geometry import axes_of_slices, scale_affine, to_pictures
from pix2pix.pictures.volumes.nifti import ENDINGS, write_nifti
from pix2pix.pictures.volumes.volume import Volume, VolumeMemory, VolumeSlice
from pix2pix.pictures.volumes.volume_files import is_nifti, open_volume
from pix2pix.talk.errors import UsageError, UserError
from pix2pix.talk.files import explain_unwritten, map_ahead
from pix2pix.talk.progress import say_progress

COPIES = 3  # of a result: in numbers of 64 bits while it is made ready, and packed


def name_result(path: Path, result: Path, options: Translate) -> Path:
    """Return the name of the result of a volume, always a NIfTI file; refuse what is asked of
    pictures alone."""
    for flag, is_asked in (
        ("--samples", options.samples),
        ("--side-by-side", options.side_by_side),
        ("--pairs", options.pairs),
    ):
        if is_asked:
            raise UsageError(f"{flag} is for pictures, and {path} is a volume.")
    if is_nifti(result):
        return result
    if result == options.output:
        raise UsageError(f"--output {result}: {path} is a volume. Name a .nii.gz or a folder.")
    if options.format == "same":
        raise UsageError(f"--format same: {path} is DICOM, and results are NIfTI. Leave it out.")
    return result.with_name(result.name + ENDINGS[-1])


def translate_volume(translator: Translator, job: Job) -> None:
    """Translate a volume, and those that make the source with it, and write the result."""
    memory, axis = VolumeMemory(), translator.trained.options.axis
    volumes = [open_volume(path, memory) for path in (job.path, *job.partners)]
    check_same_place(volumes, axis)
    check_memory_for(volumes[0], translator)
    count, ahead = volumes[0].count_slices(axis), translator.options.batch_size
    read = partial(read_source, volumes, translator, job)
    canvases = translator.generate(map_ahead(read, range(count), ahead))
    made = map_ahead(partial(finish_slice, translator, job.path), canvases, ahead)
    voxels, affine = fill_volume(volumes[0], axis, made)
    try:
        write_nifti(job.results[0], voxels, affine, volumes[0])
    except OSError as error:
        raise explain_unwritten(job.results[0], error) from error


def check_memory_for(volume: Volume, translator: Translator) -> None:
    """Refuse a volume whose result takes more memory than this machine has."""
    zoom = translator.trained.task.zoom
    needed = math.prod(volume.shape) * zoom**2 * np.dtype(np.float32).itemsize * COPIES
    there_is = memory_size()
    if needed > there_is:
        takes = f"translating it takes about {needed / 1e9:.1f} GB"
        has = f"this machine has {there_is / 1e9:.1f}"
        raise UserError(f"{volume.path}: {takes}, and {has}. Translate parts of it.")


def read_source(volumes: list[Volume], translator: Translator, job: Job, index: int) -> Loaded:
    """Read a slice of each volume, with as many beside it as in the training, as one source."""
    trained, most = translator.trained, translator.options.max_pixels
    may_lack = trained.options.ignore == NODATA
    slices = [
        VolumeSlice(volume, trained.options.axis, index, trained.options.slices)
        for volume in volumes
    ]
    files = tuple(slices)
    pictures = [read_whole(file, most, may_lack) for file in files]
    pixels = stack_channels(files, pictures) if len(pictures) > 1 else pictures[0]
    try:
        return translator.load(pixels, job)
    except UserError as error:
        raise UserError(f"{slices[0]}: {error}.") from error


def finish_slice(translator: Translator, path: Path, canvas: Canvas) -> np.ndarray:
    """Make the numbers of a slice, [height, width], of what was generated."""
    (pixels,), classes = translator.finish(canvas), translator.trained.found.target.classes
    if classes:
        return to_numbers(pixels, classes)
    if pixels.shape[2] > 1:
        what = f"the run makes {pixels.shape[2]} channels, and a voxel has one number"
        raise UserError(f"{path}: {what}. Use a run that was trained on volumes.")
    return pixels[..., 0]


def to_numbers(pixels: np.ndarray, classes: tuple[LabelClass, ...]) -> np.ndarray:
    """Turn the colours of classes into their numbers."""
    numbers = np.array([label.number for label in classes])
    small = np.abs(numbers).max() <= np.iinfo(np.int16).max
    return numbers.astype(np.int16 if small else np.int32)[classify(pixels, classes)]


def fill_volume(
    volume: Volume, axis: str, slices: Iterator[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Put slices into an array like that of a volume, perhaps with more pixels in each; return it
    and its affine."""
    voxels, affine = np.empty(0), volume.affine
    count = volume.count_slices(axis)
    for index, pixels in enumerate(slices):
        if not voxels.size:
            shape = shape_with(volume, axis, pixels.shape)
            affine = scale_affine(volume.affine, volume.shape, shape)
            voxels = np.empty(shape, pixels.dtype, order="F")  # as NIfTI files have them
        to_pictures(voxels, volume.affine, axis)[index] = pixels
        say_progress("Translating", index + 1, count, f"{index + 1:,} of {count:,} slices")
    return voxels, affine


def shape_with(volume: Volume, axis: str, size: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of an array like that of a volume, whose slices have another size."""
    _, rows, columns = axes_of_slices(volume.affine, axis)
    shape = list(volume.shape)
    shape[rows], shape[columns] = size
    return tuple(shape)

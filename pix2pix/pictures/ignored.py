"""Parts of a target that do not count: black wedges, no-data, what is transparent or masked.

On the way to a training they are a mask beside the pictures of a pair; in values they are NaN, as
what is missing is elsewhere. No loss and no measure sees them: both pictures that are compared are
made alike there.
"""

from collections import defaultdict
from functools import lru_cache
from pathlib import Path

import numpy as np
import tensorflow as tf

from pix2pix.pictures.georeference import read_no_data
from pix2pix.pictures.picture_files import SUFFIXES, read_picture
from pix2pix.pictures.pixels import resize
from pix2pix.pictures.sides import parse_colour
from pix2pix.talk.errors import UserError
from pix2pix.talk.files import File

ALPHA, NODATA = "alpha", "nodata"
MASKED = 255  # in a mask; what counts is 0, and what has come near a masked pixel is between
NEARLY = 16  # levels of 255, by which a picture that was saved with loss differs from a colour


def set_apart(rule: str, file: File, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find what does not count in a target by --ignore, and even it out, so that it changes nothing
    when the target is resized or moved: return the target, and a mask [height, width, 1]."""
    mask = find_ignored(rule, file, pixels)
    if mask.all():
        raise UserError(f"{file}: nothing in it counts with --ignore {rule}")
    if not mask.any():
        return pixels, mask
    mean = pixels[mask[..., 0] == 0].mean(axis=0).astype(pixels.dtype)
    return np.where(mask, mean, pixels), mask


def find_ignored(rule: str, file: File, pixels: np.ndarray) -> np.ndarray:
    """Return a mask [height, width, 1] of what does not count in a target."""
    if rule == ALPHA:
        is_ignored = is_transparent(pixels)
    elif rule == NODATA:
        is_ignored = has_no_data(pixels, read_no_data(file))
    elif Path(rule).is_dir():
        is_ignored = read_mask(Path(rule), file, pixels.shape[:2])
    else:
        is_ignored = has_colour(pixels, parse_colour(rule))
    return np.where(is_ignored, MASKED, 0).astype(np.uint8)[..., None]


def read_mask(folder: Path, file: File, size: tuple[int, int]) -> np.ndarray:
    """Read which part of a picture is masked: what is bright in the picture of its name in a
    folder, or in one below it that is named like the folders of the picture."""
    *_, outer, inner = "", "", *file.absolute().parent.parts
    for place in (folder / outer / inner, folder / outer, folder / inner, folder):
        paths = list_masks(place, time_of(place)).get(file.stem, [])
        if len(paths) > 1:
            raise UserError(f"{paths[0]}: one of several masks of {file}; leave one")
        if paths:
            pixels = read_picture(paths[0])
            brightness = pixels[..., : 1 if pixels.shape[2] < 3 else 3].max(axis=-1, keepdims=True)
            mask = np.where(brightness > brightness.max() / 2, MASKED, 0).astype(np.uint8)
            return resize(mask, size)[..., 0] > MASKED / 2
    raise UserError(f"{file}: no mask of its name in {folder}, which --ignore names")


@lru_cache(maxsize=16)
def list_masks(folder: Path, changed: int) -> dict[str, list[Path]]:
    """List the pictures in a folder, which was last changed at some time, by their stems."""
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for path in folder.glob("*"):
        if path.suffix.lower() in SUFFIXES:
            by_stem[path.stem].append(path)
    return dict(by_stem)


def time_of(folder: Path) -> int:
    """Return when a folder was last changed, in nanoseconds; 0 if there is none."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


def has_colour(pixels: np.ndarray, colour: tuple[int, int, int] | None) -> np.ndarray:
    """Return where a picture has exactly a colour, or, from its border inwards, nearly."""
    if colour is None:
        raise UserError("--ignore names neither a colour nor a folder that is there")
    if pixels.dtype == np.float32:
        raise UserError("--ignore COLOUR is for pictures of 8 or 16 bits; nodata is for numbers")
    levels = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1]
    distance = np.abs(levels / (np.iinfo(pixels.dtype).max / 255) - colour[: levels.shape[2]])
    is_near = (distance <= NEARLY).all(axis=-1)
    found = np.all(distance < 1 / 255, axis=-1)
    for turns in range(4):  # each of them brings another border to the top
        from_top = np.logical_and.accumulate(np.rot90(is_near, turns), axis=0)
        found |= np.rot90(from_top, -turns)
    return found


def is_transparent(pixels: np.ndarray) -> np.ndarray:
    """Return where a picture is more transparent than not."""
    if pixels.shape[2] not in (2, 4) or pixels.dtype == np.float32:
        return np.zeros(pixels.shape[:2], bool)
    return pixels[..., -1] < np.iinfo(pixels.dtype).max / 2


def has_no_data(pixels: np.ndarray, number: float | None) -> np.ndarray:
    """Return where a channel has no number, or all have the one that means no data in a file."""
    missing = np.zeros(pixels.shape[:2], bool)
    if pixels.dtype == np.float32:
        missing |= np.isnan(pixels).any(axis=-1)
    if number is not None:
        missing |= (pixels == number).all(axis=-1)
    return missing


# --- In values ------------------------------------------------------------------------------------


def leave_out(target: tf.Tensor, generated: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Make what does not count in a target alike in it and in what was generated."""
    counts = tf.math.is_finite(target)
    return tf.where(counts, target, 0.0), tf.where(counts, generated, 0.0)


def fill(values: tf.Tensor) -> tf.Tensor:
    """Return values with grey where they are missing."""
    return tf.where(tf.math.is_finite(values), values, 0.0)

"""What pixels are, and what is done with them: values, channels, size.

Pixels are arrays [height, width, channels] of 8 or 16 bits, or of 32-bit floating point numbers;
1 to 4 channels are grey, grey with transparency, RGB, and RGBA, unless the picture's side says that
they are measured. Networks compute with the same values from -1 to 1.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from pix2pix.pictures.sides import PHOTOS, Side
from pix2pix.talk.errors import UserError

MEASURED_SHARE = 0.1  # percent of the numbers that --range auto leaves out at either end
LEAST_ALPHA = 1 / 65535  # what is more transparent has no colour
MEASURED_SAMPLE = 10_000  # pixels of a picture that it looks at
CHANNEL_NAMES = {1: "grey", 2: "grey with transparency", 3: "RGB", 4: "RGBA"}
LUMA = (0.299, 0.587, 0.114)  # how bright red, green and blue are (ITU-R BT.601)


class Kind(NamedTuple):
    """What kind of pixels a picture has."""

    channels: int
    bits: int

    @property
    def nbytes(self) -> int:
        """Return how many bytes a pixel has."""
        return self.channels * self.bits // 8


def kind_of(pixels: np.ndarray) -> Kind:
    """Return the kind of a picture's pixels."""
    return Kind(pixels.shape[2], 8 * pixels.itemsize)


# --- Values ---------------------------------------------------------------------------------------


def from_pixels(pixels: np.ndarray) -> np.ndarray:
    """Turn whole numbers into values from -1 to 1, the range of the generator's tanh."""
    return pixels / np.float32(np.iinfo(pixels.dtype).max / 2) - 1


def in_values(pixels: tf.Tensor) -> tf.Tensor:
    """Turn pixels of 8 bits into values as `from_pixels` does; leave values as they are."""
    return pixels if pixels.dtype == tf.float32 else tf.cast(pixels, tf.float32) / (255 / 2) - 1


def to_pixels(values: tf.Tensor, bits: int = 8) -> np.ndarray:
    """Turn values from -1 to 1 into whole numbers of 8 or 16 bits, rounded."""
    full = 2**bits - 1
    return np.rint((np.asarray(values) + 1) * (full / 2)).clip(0, full).astype(f"uint{bits}")


def to_values(pixels: np.ndarray, channels: int, side: Side) -> np.ndarray:
    """Turn a picture of a side into so many channels with values from -1 to 1."""
    if problem := problem_with(pixels, channels, side):
        raise UserError(f"A picture {problem}.")
    if not side.measured:
        pixels = convert_channels(pixels, channels)
    if not side.ranges:
        return from_pixels(pixels)
    low, high = np.array(side.ranges, np.float32).T
    return (2 * (pixels - low) / (high - low) - 1).clip(-1, 1)


def problem_with(pixels: np.ndarray, channels: int, side: Side) -> str:
    """Say why a picture cannot be one of a side with so many channels; nothing if it can."""
    count = pixels.shape[2]
    if count != channels and (side.measured or count > 4):
        return f"has {count} channels, and those of the training have {channels}"
    if pixels.dtype == np.float32 and not side.ranges:
        return "has 32 bits, and those of the training have 8 or 16"
    return ""


def to_results(values: np.ndarray, bits: int, side: Side) -> np.ndarray:
    """Turn values from -1 to 1 into a picture of a side: 8 or 16 bits, or 32 of floating point."""
    if not side.ranges:
        return to_pixels(values, bits)
    low, high = np.array(side.ranges, np.float32).T
    numbers = (np.asarray(values) + 1) / 2 * (high - low) + low
    if bits == 32:
        return numbers.astype(np.float32)
    return np.rint(numbers).clip(0, 2**bits - 1).astype(f"uint{bits}")


def find_ranges(pictures: Iterable[np.ndarray], each: bool) -> tuple[tuple[float, float], ...]:
    """Find the range in which nearly all numbers of some pictures lie: of all channels, or each."""
    samples = []
    for picture in pictures:
        pixels = picture.reshape(-1, picture.shape[2])
        samples.append(pixels[:: 1 + len(pixels) // MEASURED_SAMPLE])
    numbers = np.concatenate(samples)
    if not numbers.size:
        raise UserError("--range auto and each need numbers, and these pictures have none")
    columns = numbers.T if each else [numbers.ravel()]
    ranges = []
    for column in columns:
        low, high = np.percentile(column, [MEASURED_SHARE, 100 - MEASURED_SHARE])
        low, high = (float(f"{limit:.6g}") for limit in (low, high))  # short to read
        ranges.append((low, high if high > low else low + 1))
    return tuple(ranges)


# --- Channels and size ----------------------------------------------------------------------------


def has_alpha(pixels: np.ndarray) -> bool:
    """Tell whether the last channel is transparency."""
    return pixels.shape[2] in (2, 4)


def drop_opaque_alpha(pixels: np.ndarray) -> np.ndarray:
    """Leave away alpha that is opaque everywhere: it says nothing."""
    is_opaque = has_alpha(pixels) and (pixels[..., -1] == np.iinfo(pixels.dtype).max).all()
    return pixels[..., :-1] if is_opaque else pixels


def convert_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Make a picture grey, RGB or RGBA (1, 3 or 4 channels).

    Where alpha is dropped, what it hid becomes white; alpha that is added is opaque.
    """
    if pixels.shape[2] == channels < 4:
        return pixels
    full = np.iinfo(pixels.dtype).max
    colour, alpha = pixels[..., :3], np.full_like(pixels[..., :1], full)
    if has_alpha(pixels):
        colour, alpha = pixels[..., :-1], pixels[..., -1:]
    if channels < 4:
        colour = full - (full - colour.astype(float)) * (alpha / full)
    if channels == 1 and colour.shape[2] == 3:
        colour = colour @ np.array(LUMA)[:, None]
    if channels >= 3:
        colour = np.broadcast_to(colour, (*colour.shape[:2], 3))
    if channels == 4:  # no colour where alpha is 0, as after resizing
        return np.concatenate([colour * (alpha > 0), alpha], axis=-1)
    return np.rint(colour).astype(alpha.dtype)


def resize(pixels: np.ndarray, size: tuple[int, int], side: Side = PHOTOS) -> np.ndarray:
    """Bring a picture to (height, width); a colour weighs as much as it is opaque.

    Between two classes of a label map there is nothing, and measured channels are resized alone."""
    if pixels.shape[:2] == size:
        return pixels
    method = Image.Resampling.NEAREST if side.classes else Image.Resampling.BILINEAR
    if side.measured or pixels.dtype == np.float32:
        return resize_measured(pixels, size, method)
    channels, full = pixels.shape[2], np.float32(np.iinfo(pixels.dtype).max)
    if pixels.dtype == np.uint8:  # Pillow weights colours by their alpha
        pixels = pixels[..., 0] if channels == 1 else np.ascontiguousarray(pixels)
        return resize_with_pillow(pixels, size, method).reshape(*size, channels)
    if has_alpha(pixels):
        alpha = pixels[..., -1:] / full
    else:
        alpha = np.ones_like(pixels[..., :1], np.float32)
    weighted = np.moveaxis(pixels * alpha, -1, 0)
    planes = [resize_with_pillow(plane, size, method) for plane in weighted]
    small_alpha = resize_with_pillow(alpha[..., 0], size, method)[..., None]
    pixels = np.stack(planes, axis=-1) / np.maximum(small_alpha, 1 / full)
    if channels in (2, 4):
        pixels[..., -1:] = small_alpha * full
    return np.rint(pixels).clip(0, full).astype(np.uint16)


def resize_measured(pixels: np.ndarray, size: tuple[int, int], method: int) -> np.ndarray:
    """Bring measured channels to (height, width), each by itself."""
    planes = np.moveaxis(pixels, -1, 0).astype(np.float32)
    resized = np.stack([resize_with_pillow(plane, size, method) for plane in planes], axis=-1)
    if pixels.dtype == np.float32:
        return resized
    return np.rint(resized).clip(0, np.iinfo(pixels.dtype).max).astype(pixels.dtype)


def resize_values(values: np.ndarray, size: tuple[int, int], side: Side) -> np.ndarray:
    """Bring values from -1 to 1, [height, width, channels], to (height, width), bicubically; a
    colour weighs as much as it is opaque."""
    shares, alpha = (values + 1) / 2, None  # of white
    if has_alpha(values) and not side.measured:
        alpha = shares[..., -1:]
        shares = np.concatenate([shares[..., :-1] * alpha, alpha], axis=-1)
    planes = np.moveaxis(shares.astype(np.float32), -1, 0)
    shares = np.stack([resize_share(plane, size) for plane in planes], axis=-1)
    if alpha is not None:
        shares[..., :-1] /= np.maximum(shares[..., -1:], LEAST_ALPHA)
    return (2 * shares - 1).clip(-1, 1)


def resize_share(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring one channel of shares to (height, width). What overshoots beside an edge is cut off
    before it can spread, as in a picture of 8 bits."""
    wide = resize_with_pillow(plane, (plane.shape[0], size[1]), Image.Resampling.BICUBIC)
    return resize_with_pillow(wide.clip(0, 1), size, Image.Resampling.BICUBIC).clip(0, 1)


def resize_with_pillow(part: np.ndarray, size: tuple[int, int], method: int) -> np.ndarray:
    """Resize what Pillow knows to (height, width): 8 bits, or one channel of floats."""
    return np.asarray(Image.fromarray(part).resize(size[::-1], method))


# --- Showing --------------------------------------------------------------------------------------


def describe_channels(channels: int) -> str:
    """Name the channels of a picture: `grey`, `RGB`, or `5 channels`."""
    return CHANNEL_NAMES.get(channels, f"{channels} channels")


def stripe(values: np.ndarray) -> np.ndarray:
    """Return values [..., height, width, channels] with stripes where they are missing."""
    values = np.asarray(values)
    missing = np.isnan(values)
    if not missing.any():
        return values
    row, column = np.indices(values.shape[-3:-1])
    stripes = np.where((row + column) // 4 % 2, 0.6, 0.2).astype(values.dtype)
    return np.where(missing, stripes[..., None], values)


def shown_channels(values: tf.Tensor, side: Side) -> tf.Tensor:
    """Return the channels of values [..., channels] that can be looked at.

    Of measured channels the first three are shown as red, green and blue; two as red and green."""
    values, channels = stripe(values), values.shape[-1]
    if channels in (1, 3) or (channels == 4 and not side.measured):
        return values
    black = np.full((*values.shape[:-1], 3), -1, np.float32)
    return np.concatenate([values, black], axis=-1)[..., :3]


def shown_parts(title: str, values: tf.Tensor, side: Side) -> dict[str, tf.Tensor]:
    """Return what is shown of values by title: one picture, or one for each part of a source."""
    if not side.parts:
        return {title: shown_channels(values, side)}
    ends = np.cumsum([part.channels for part in side.parts])[:-1]
    pieces = zip(side.parts, np.split(np.asarray(values), ends, axis=-1), strict=True)
    return {f"{title}: {part.name}": shown_channels(piece, side) for part, piece in pieces}

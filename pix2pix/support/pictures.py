"""What pixels are, and what is done with them: values, channels, size.

Pixels are arrays [height, width, channels] of 8 or 16 bits; 1 to 4 channels are grey, grey with
transparency, RGB, and RGBA. Networks compute with the same values from -1 to 1.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

CHANNEL_NAMES = {1: "grey", 2: "grey with transparency", 3: "RGB", 4: "RGBA"}
LUMA = (0.299, 0.587, 0.114)  # how bright red, green and blue are (ITU-R BT.601)


class Kind(NamedTuple):
    """What kind of pixels a picture has."""

    channels: int
    bits: int


def kind_of(pixels: np.ndarray) -> Kind:
    """Return the kind of a picture's pixels."""
    return Kind(pixels.shape[2], 8 * pixels.itemsize)


# --- Values ---------------------------------------------------------------------------------------


def from_pixels(pixels: np.ndarray) -> np.ndarray:
    """Turn whole numbers into values from -1 to 1, the range of the generator's tanh."""
    return pixels / np.float32(np.iinfo(pixels.dtype).max / 2) - 1


def to_pixels(values: tf.Tensor, bits: int = 8) -> np.ndarray:
    """Turn values from -1 to 1 into whole numbers of 8 or 16 bits, rounded."""
    full = 2**bits - 1
    return np.rint((np.asarray(values) + 1) * (full / 2)).clip(0, full).astype(f"uint{bits}")


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


def resize(
    pixels: np.ndarray, size: tuple[int, int], method: int = Image.Resampling.BILINEAR
) -> np.ndarray:
    """Bring a picture to (height, width); a colour weighs as much as it is opaque."""
    if pixels.shape[:2] == size:
        return pixels
    channels, full = pixels.shape[2], np.float32(np.iinfo(pixels.dtype).max)
    if pixels.dtype == np.uint8:  # Pillow weights colours by their alpha
        pixels = pixels[..., 0] if channels == 1 else np.ascontiguousarray(pixels)
        return resize_with_pillow(pixels, size, method).reshape(*size, channels)
    if has_alpha(pixels):
        alpha = pixels[..., -1:] / full
    else:
        alpha = np.ones_like(pixels[..., :1], np.float32)
    planes = np.moveaxis(pixels * alpha, -1, 0)
    planes = [resize_with_pillow(plane, size, method) for plane in planes]
    small_alpha = resize_with_pillow(alpha[..., 0], size, method)[..., None]
    pixels = np.stack(planes, axis=-1) / np.maximum(small_alpha, 1 / full)
    if channels in (2, 4):
        pixels[..., -1:] = small_alpha * full
    return np.rint(pixels).clip(0, full).astype(np.uint16)


def resize_with_pillow(part: np.ndarray, size: tuple[int, int], method: int) -> np.ndarray:
    """Resize what Pillow knows to (height, width): 8 bits, or one channel of floats."""
    return np.asarray(Image.fromarray(part).resize(size[::-1], method))

"""Any picture file ↔ pixels: formats, channels, depth, orientation, size.

Pixels are arrays [height, width, channels] of 8 or 16 bits; 1 to 4 channels are grey, grey with
transparency, RGB, and RGBA. Networks compute with the same values from -1 to 1.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, PLANAR_CONFIGURATION

from pix2pix.support.files import replace_when_complete
from pix2pix.support.terminal import UserError, first_line

SUFFIXES = {".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
CHANNEL_NAMES = {1: "grey", 2: "grey with transparency", 3: "RGB", 4: "RGBA"}
LUMA = (0.299, 0.587, 0.114)  # how bright red, green and blue are (ITU-R BT.601)

PNG_BIT_DEPTH = 24  # where a PNG has it: behind the signature, in its first chunk
PNG_EXIF_CHUNK = b"eXIf"
TIFF_WHITE_IS_ZERO = 0  # of its photometric interpretation
TIFF_SEPARATE_PLANES = 2  # of its planar configuration
MIRRORED_COLUMNS, MIRRORED_ROWS, TRANSPOSED = (2, 3, 6, 7), (3, 4, 7, 8), (5, 6, 7, 8)  # in EXIF


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


# --- Reading --------------------------------------------------------------------------------------


def read_picture(path: Path) -> np.ndarray:
    """Read a picture the right way up, [height, width, 1 to 4 channels].

    Palettes, CMYK and the like become RGB; of an animation, the first picture is taken.
    """
    try:
        with Image.open(path) as image:
            pixels = DECODERS.get(image.format, decode_with_pillow)(path, image)
            orientation = read_orientation(path, image)
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        if pixels.ndim != 3 or pixels.shape[2] > 4:
            raise ValueError(f"its shape is {pixels.shape}")
    except ModuleNotFoundError as error:
        raise UserError(f"{path}: pip install tifffile imagecodecs to read it") from error
    except Exception as error:  # decoders raise a dozen kinds for damaged files
        raise UserError(f"{path}: not a readable picture ({first_line(error)})") from error
    return turn_upright(pixels, orientation)


def decode_png(path: Path, image: Image.Image) -> np.ndarray:
    """Decode a PNG with TensorFlow, which is faster, minds checksums, and knows 16 bits."""
    encoded = path.read_bytes()
    is_deep = encoded[PNG_BIT_DEPTH] == 16
    if has_transparent_colour(image) and not is_deep:
        return decode_with_pillow(path, image)
    return tf.io.decode_png(encoded, dtype=tf.uint16 if is_deep else tf.uint8).numpy()


def decode_jpeg(path: Path, image: Image.Image) -> np.ndarray:
    """Decode a JPEG with TensorFlow, which is faster; but not one in CMYK."""
    if image.mode not in ("L", "RGB"):
        return decode_with_pillow(path, image)
    return tf.io.decode_jpeg(path.read_bytes(), dct_method="INTEGER_ACCURATE").numpy()


def decode_tiff(path: Path, image: Image.Image) -> np.ndarray:
    """Decode a TIFF; if it has 16 bits in several channels, Pillow would cut them to 8."""
    bits = max(image.tag_v2.get(BITSPERSAMPLE, (8,)))
    if bits != 16 or image.mode in ("I", "F"):
        return decode_with_pillow(path, image)
    if image.mode.startswith("I;16"):
        pixels = np.asarray(image).astype(np.uint16)
    else:
        import tifffile

        pixels = tifffile.imread(path, key=0)
        if image.tag_v2.get(PLANAR_CONFIGURATION) == TIFF_SEPARATE_PLANES:
            pixels = np.moveaxis(pixels, 0, -1)
    if image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == TIFF_WHITE_IS_ZERO:
        return 65535 - pixels
    return pixels


def decode_with_pillow(path: Path, image: Image.Image) -> np.ndarray:
    """Decode a picture of 8 bits in any format as grey, grey with transparency, RGB or RGBA."""
    if image.mode in ("I", "F"):
        raise ValueError("32 bits a channel; convert it to 16")
    if image.mode == "LA":
        mode = "LA"
    elif "transparency" in image.info or image.mode[-1] in "Aa":
        mode = "RGBA"
    else:
        mode = "L" if image.mode in ("1", "L") else "RGB"
    return np.asarray(image.convert(mode))


DECODERS = {"PNG": decode_png, "JPEG": decode_jpeg, "TIFF": decode_tiff}  # by Pillow's names


def has_transparent_colour(image: Image.Image) -> bool:
    """Tell whether one colour of the picture stands for transparency."""
    return "transparency" in image.info and image.mode in ("1", "L", "RGB")


def read_orientation(path: Path, image: Image.Image) -> int:
    """Read how the camera was held: 1 to 8, as EXIF counts the ways to turn and mirror."""
    if image.format == "PNG" and PNG_EXIF_CHUNK not in path.read_bytes():
        return 1  # without asking Pillow, which decodes the whole PNG to know
    return image.getexif().get(ExifTags.Base.Orientation, 1)


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn and mirror a picture as its orientation says."""
    if orientation in TRANSPOSED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in MIRRORED_ROWS:
        pixels = pixels[::-1]
    if orientation in MIRRORED_COLUMNS:
        pixels = pixels[:, ::-1]
    return pixels


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


# --- Writing --------------------------------------------------------------------------------------


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Save a picture in the format its name says; 16 bits only as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_when_complete(path) as temporary:
        if path.suffix.lower() == ".png":  # twice as fast as compressed in full, and 9% larger
            temporary.write_bytes(tf.io.encode_png(pixels, compression=1).numpy())
            return
        pixels = to_pixels(from_pixels(pixels))
        if path.suffix.lower() not in (".webp", ".tif", ".tiff"):  # the others have no alpha
            pixels = convert_channels(pixels, min(3, pixels.shape[2]))
        pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
        Image.fromarray(pixels).save(temporary, quality=95)

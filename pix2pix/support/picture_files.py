"""Any picture file ↔ pixels: formats, depth, orientation."""

from io import BytesIO
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, PLANAR_CONFIGURATION

from pix2pix.support.files import replace_when_complete
from pix2pix.support.huge_pictures import (
    MAX_PIXELS,
    cut_into_strips,
    decode_into_file,
    is_huge,
    write_png_rows,
)
from pix2pix.support.pictures import convert_channels, from_pixels, to_pixels
from pix2pix.support.terminal import UserError, first_line

SUFFIXES = {".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}

PNG_BIT_DEPTH = 24  # where a PNG has it: behind the signature, in its first chunk
PNG_EXIF_CHUNK = b"eXIf"
TIFF_WHITE_IS_ZERO = 0  # of its photometric interpretation
TIFF_SEPARATE_PLANES = 2  # of its planar configuration
MIRRORED_COLUMNS, MIRRORED_ROWS, TRANSPOSED = (2, 3, 6, 7), (3, 4, 7, 8), (5, 6, 7, 8)  # in EXIF

# --- Reading --------------------------------------------------------------------------------------


def read_picture(path: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a picture the right way up, [height, width, 1 to 4 channels], of at most so many pixels.

    Palettes, CMYK and the like become RGB; of an animation, the first picture is taken.
    """
    try:
        with Image.open(path) as image:
            if (count := image.width * image.height) > max_pixels:
                way_out = f"translate --max-pixels {count} reads it all the same"
                raise UserError(f"{path}: has {count:,} pixels; {way_out}")
            pixels = DECODERS.get(image.format, decode_with_pillow)(path, image)
            orientation = read_orientation(path, image)
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        if pixels.ndim != 3 or pixels.shape[2] > 4:
            raise ValueError(f"its shape is {pixels.shape}")
    except UserError:
        raise
    except ModuleNotFoundError as error:
        raise UserError(f"{path}: pip install tifffile imagecodecs to read it") from error
    except Exception as error:  # decoders raise a dozen kinds for damaged files
        raise UserError(f"{path}: not a readable picture ({first_line(error)})") from error
    return turn_upright(pixels, orientation)


def decode_png(path: Path, image: Image.Image) -> np.ndarray:
    """Decode a PNG with TensorFlow, which is faster, minds checksums, and knows 16 bits."""
    with path.open("rb") as file:
        is_deep = file.read(PNG_BIT_DEPTH + 1)[-1] == 16
    if (has_transparent_colour(image) or is_huge(image.size)) and not is_deep:
        return decode_with_pillow(path, image)
    return tf.io.decode_png(path.read_bytes(), dtype=tf.uint16 if is_deep else tf.uint8).numpy()


def decode_jpeg(path: Path, image: Image.Image) -> np.ndarray:
    """Decode a JPEG with TensorFlow, which is faster; but not one in CMYK."""
    if image.mode not in ("L", "RGB") or is_huge(image.size):
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
    return decode_into_file(image, mode) if is_huge(image.size) else np.asarray(image.convert(mode))


DECODERS = {"PNG": decode_png, "JPEG": decode_jpeg, "TIFF": decode_tiff}  # by Pillow's names


def has_transparent_colour(image: Image.Image) -> bool:
    """Tell whether one colour of the picture stands for transparency."""
    return "transparency" in image.info and image.mode in ("1", "L", "RGB")


def read_orientation(path: Path, image: Image.Image) -> int:
    """Read how the camera was held: 1 to 8, as EXIF counts the ways to turn and mirror."""
    if (
        image.format == "PNG"
        and not is_huge(image.size)
        and PNG_EXIF_CHUNK not in path.read_bytes()
    ):
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


# --- Writing --------------------------------------------------------------------------------------


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Save a picture in the format its name says; 16 bits only as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_when_complete(path) as temporary:
        if path.suffix.lower() == ".png" and is_huge(pixels.shape[:2]):
            strips = cut_into_strips(pixels)
            write_png_rows(temporary, pixels.shape, 8 * pixels.itemsize, strips)
            return
        if path.suffix.lower() == ".png":  # twice as fast as compressed in full, and 9% larger
            temporary.write_bytes(tf.io.encode_png(pixels, compression=1).numpy())
            return
        pixels = to_pixels(from_pixels(pixels))
        if path.suffix.lower() not in (".webp", ".tif", ".tiff"):  # the others have no alpha
            pixels = convert_channels(pixels, min(3, pixels.shape[2]))
        pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
        encoded = BytesIO()  # on a disk that is nearly full, Pillow may lose the end of a file
        kind = Image.registered_extensions()[path.suffix.lower()]
        Image.fromarray(pixels).save(encoded, kind, quality=95)
        temporary.write_bytes(encoded.getbuffer())

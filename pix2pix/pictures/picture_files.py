"""Any picture file ↔ pixels: formats, depth, orientation, measurements."""

import logging
import math
import os
import warnings
import zipfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
import tensorflow as tf
from PIL import ExifTags, Image, UnidentifiedImageError
from tifffile import PHOTOMETRIC

from pix2pix.pictures import tiff_files
from pix2pix.pictures.georeference import read_geo_tags
from pix2pix.pictures.pixels import convert_channels, from_pixels, to_pixels
from pix2pix.pictures.tiff_pages import orientation_of, read_pages
from pix2pix.talk.errors import UserError, first_line
from pix2pix.talk.files import File, replace_when_complete

ARRAY_SUFFIXES = {".npy", ".npz"}
TIFF_SUFFIXES = {".tif", ".tiff"}
SUFFIXES = {".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".png", ".webp"}
SUFFIXES |= TIFF_SUFFIXES | ARRAY_SUFFIXES

MAX_PIXELS = 178_956_970  # in a picture that is not known to be large; also Pillow's limit
LARGEST = 2 * MAX_PIXELS  # of TIFFs and arrays
LARGEST_FOR_TENSORFLOW = 2**27  # pixels; it decodes no JPEG of four times as many bytes
LARGEST_PNG = 2**31 - 1  # numbers; TensorFlow encodes fewer
PNG_START, JPEG_START = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
ARRAY_STARTS = (b"\x93NUMPY", b"PK\x03\x04")  # .npy and .npz
PNG_BIT_DEPTH = 24  # where a PNG has it: behind the signature, in its first chunk
PNG_ORIENTATIONS = (b"eXIf", b"Raw profile type exif", b"tiff:Orientation")  # where it may be said
MIRRORED_COLUMNS, MIRRORED_ROWS, TRANSPOSED = (2, 3, 6, 7), (3, 4, 7, 8), (5, 6, 7, 8)  # in EXIF

Image.MAX_IMAGE_PIXELS = None  # Pillow's limit, and its warning from half of it on
warnings.filterwarnings("ignore", module=r"PIL\.")  # what matters is raised
logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)

# --- Reading --------------------------------------------------------------------------------------


def read_picture(
    path: File, max_pixels: int = MAX_PIXELS, may_lack_numbers: bool = False
) -> np.ndarray:
    """Read a picture from a file as `decode_picture` does."""
    try:
        with path.open("rb") as file:
            return decode_picture(file, max_pixels, may_lack_numbers)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except OSError as error:
        raise UserError(f"{path}: not a readable picture ({first_line(error)})") from error


def decode_picture(
    file: BinaryIO, max_pixels: int = MAX_PIXELS, may_lack_numbers: bool = False
) -> np.ndarray:
    """Decode a picture the right way up, [height, width, channels], of at most so many pixels.

    Colours have 1 to 4 channels of 8 or 16 bits; palettes, CMYK and the like become RGB.
    Measurements have any number of channels, of 8 or 16 bits or else of float32. Of an animation,
    the first picture is taken. What is wrong is said without a name of the file.
    """
    count = math.prod(read_size(file))
    if count > max_pixels:
        way_out = f"translate --max-pixels {count} reads it all the same"
        raise UserError(f"has {count:,} pixels; {way_out}")
    try:
        file.seek(0)
        start = file.read(8)
        decoders = [decode for begin, decode in DECODERS.items() if start.startswith(begin)]
        decode = decoders[0] if decoders else decode_with_pillow
        pixels = take_numbers(decode(file), may_lack_numbers)
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        if pixels.ndim != 3 or not pixels.size:
            raise ValueError(f"its shape is {pixels.shape}")
    except ModuleNotFoundError as error:
        raise UserError("pip install imagecodecs to read it") from error
    except UnidentifiedImageError as error:
        why = "its beginning is damaged, or its format not known"
        raise UserError(f"not a readable picture ({why})") from error
    except Exception as error:  # decoders raise a dozen kinds for damaged files
        raise UserError(f"not a readable picture ({first_line(error)})") from error
    return pixels


def read_size(file: Path | BinaryIO) -> tuple[int, int]:
    """Read the sides of a picture in its head; of what Pillow does not know, 0."""
    with suppress(Exception), Image.open(file) as image:
        return image.size
    return 0, 0


def check_memory(path: Path, bytes_per_pixel: int) -> None:
    """Refuse a picture whose translation, at so many bytes for each pixel, takes more memory than
    this machine has."""
    count = math.prod(read_size(path))
    needed, there_is = count * bytes_per_pixel, memory_size()
    if needed > there_is:
        takes = f"translating it takes about {needed / 1e9:.1f} GB"
        has = f"this machine has {there_is / 1e9:.1f}"
        raise UserError(f"{path}: has {count:,} pixels; {takes}, and {has}. Translate parts of it.")


def memory_size() -> float:
    """Return how many bytes of memory this machine has; where it does not tell, endless ones."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # on Windows there is no such function
        return math.inf


def holds_measurements(path: File) -> bool:
    """Tell from the head of a file whether its channels are measurements, and not colours with
    perhaps transparency; of a file that is not readable, no."""
    with suppress(Exception), path.open("rb") as file:
        start = file.read(8)
        if start.startswith(tiff_files.STARTS):
            pages = read_pages(file)
            return len(pages) > 1 or tiff_files.is_measured(pages[0])
        return start.startswith(ARRAY_STARTS)
    return False


def take_numbers(array: np.ndarray, may_lack_numbers: bool) -> np.ndarray:
    """Keep whole numbers of 8 and 16 bits without sign; turn all others into float32, of which some
    may be NaN if that is allowed."""
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{array.dtype} is no kind of numbers for pixels")
    native = array.dtype.newbyteorder("=")
    if native in (np.uint8, np.uint16):
        return array.astype(native, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found just below
        numbers = array.astype(np.float32, copy=False)
    if np.isinf(numbers).any():
        raise ValueError("some numbers are infinite; replace them")
    if not may_lack_numbers and np.isnan(numbers).any():
        raise ValueError(
            "some numbers are missing (NaN); replace them, or train with --ignore nodata"
        )
    return numbers


def check_size(height: int, width: int, channels: int) -> None:
    """Refuse what would need more memory than the largest RGBA picture."""
    if height * width * max(1, channels / 4) > LARGEST:
        size = f"{height:,}×{width:,} pixels of {channels:,} channels"
        raise ValueError(f"{size} are more than {LARGEST:,} RGBA pixels")


# --- Formats --------------------------------------------------------------------------------------


def decode_png(file: BinaryIO) -> np.ndarray:
    """Decode a PNG with TensorFlow, which is faster, minds checksums, and knows 16 bits."""
    file.seek(0)
    bits = file.read(PNG_BIT_DEPTH + 1)[-1]
    if math.prod(read_size(file)) > LARGEST_FOR_TENSORFLOW and bits < 16:
        return decode_with_pillow(file)
    file.seek(0)
    encoded = file.read()
    with Image.open(file) as image:
        dtype = tf.uint16 if bits == 16 else tf.uint8
        pixels = tf.io.decode_png(encoded, dtype=dtype).numpy()
        if "transparency" in image.info and image.mode != "P":
            pixels = add_transparent_colour(pixels, image.info["transparency"], bits)
        if any(name in encoded for name in PNG_ORIENTATIONS):
            pixels = turn_upright(pixels, read_orientation(image))  # for which Pillow decodes it
    return pixels


def add_transparent_colour(
    pixels: np.ndarray, colour: int | tuple[int, ...], bits: int
) -> np.ndarray:
    """Make RGBA of grey or RGB in which one colour, of so many bits, stands for transparency."""
    full, largest = np.iinfo(pixels.dtype).max, 2**bits - 1
    key = (np.array(colour) & largest) * (full // largest)  # grey of 1 to 4 bits is now of 8
    alpha = np.where((pixels == key).all(-1, keepdims=True), 0, full).astype(pixels.dtype)
    return np.concatenate([pixels.repeat(4 - pixels.shape[2], -1)[..., :3], alpha], axis=-1)


def decode_jpeg(file: BinaryIO) -> np.ndarray:
    """Decode a JPEG with TensorFlow, which is faster; but not one in CMYK."""
    with Image.open(file) as image:
        if image.mode not in ("L", "RGB") or math.prod(image.size) > LARGEST_FOR_TENSORFLOW:
            return decode_with_pillow(file)
        orientation = read_orientation(image)
    file.seek(0)
    pixels = tf.io.decode_jpeg(file.read(), dct_method="INTEGER_ACCURATE").numpy()
    return turn_upright(pixels, orientation)


def decode_tiff(file: BinaryIO) -> np.ndarray:
    """Decode a TIFF with tifffile; or with Pillow what only that decodes."""
    pages = read_pages(file)
    first = pages[0]
    if len(pages) == 1 and tiff_files.suits_pillow(first):
        with suppress(UnidentifiedImageError):
            pixels = decode_with_pillow(file)
            is_inverted = pixels.dtype == np.uint16 and first.photometric == PHOTOMETRIC.MINISWHITE
            return 65535 - pixels if is_inverted else pixels
    if len(pages) > 1 or not any(read_size(file)):  # else its pixels are counted already
        channels = first.samplesperpixel * first.imagedepth * len(pages)
        check_size(first.imagelength, first.imagewidth, channels)
    return turn_upright(tiff_files.decode_pages(pages), orientation_of(first))


def decode_npy(file: IO[bytes]) -> np.ndarray:
    """Decode an array of numbers: [height, width], or [height, width, channels]."""
    file.seek(0)
    version = np.lib.format.read_magic(file)
    read_head = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in read_head:
        raise ValueError(f"version {version} of .npy")
    shape, _, dtype = read_head[version](file)
    if len(shape) not in (2, 3):
        raise ValueError(f"an array of shape {shape}, not [height, width, channels]")
    if dtype.hasobject:
        raise ValueError("an array of Python's objects, not of numbers")
    height, width, *channels = shape
    check_size(height, width, sum(channels) or 1)
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def decode_npz(file: BinaryIO) -> np.ndarray:
    """Decode the only array of an archive."""
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        if len(names) != 1:
            raise ValueError(f"{len(names)} arrays in it, not one")
        with archive.open(names[0]) as member:
            return decode_npy(member)


def decode_with_pillow(file: BinaryIO) -> np.ndarray:
    """Decode a picture in any format as grey, grey with transparency, RGB or RGBA."""
    with Image.open(file) as image:
        if image.mode.startswith("I;16") and image.format == "TIFF":
            pixels = np.asarray(image).astype(np.uint16)
        elif image.mode.startswith(("I", "F")):
            what = f"more than 8 bits in {image.format}"
            raise ValueError(f"{what}; PNG, TIFF and .npy may have them")
        else:
            pixels = np.asarray(image.convert(choose_mode(image)))
        return turn_upright(pixels, read_orientation(image))


def choose_mode(image: Image.Image) -> str:
    """Choose what to convert a picture of 8 bits to, by Pillow's names."""
    if image.mode in ("LA", "La"):
        return "LA"
    if "transparency" in image.info or image.mode[-1] in "Aa":
        return "RGBA"
    return "L" if image.mode in ("1", "L") else "RGB"


DECODERS = {  # by how a file begins; all others are Pillow's
    PNG_START: decode_png,
    JPEG_START: decode_jpeg,
    **dict.fromkeys(tiff_files.STARTS, decode_tiff),
    **dict(zip(ARRAY_STARTS, (decode_npy, decode_npz), strict=True)),
}


def read_orientation(image: Image.Image) -> int:
    """Read how the camera was held: 1 to 8, as EXIF counts the ways to turn and mirror.

    Of a TIFF that was decoded it is 1: Pillow has turned it.
    """
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


def write_picture(
    path: Path, pixels: np.ndarray, like: Path | None = None, as_measurements: bool = False
) -> None:
    """Save a picture in the format its name says.

    PNG, TIFF and NumPy's formats keep 16 bits; the latter two also float32, and any number of
    channels, which a TIFF can call measurements. It lies on earth where `like`, a GeoTIFF, does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix.lower()
    check_format(path, pixels)
    with replace_when_complete(path) as temporary:
        if suffix in ARRAY_SUFFIXES:
            write_array(temporary, pixels)
        elif suffix in TIFF_SUFFIXES:
            geo_tags = read_geo_tags(like, pixels.shape[:2]) if like else []
            temporary.write_bytes(tiff_files.encode_tiff(pixels, as_measurements, geo_tags))
        elif suffix != ".png":
            write_with_pillow(temporary, pixels)
        elif pixels.size < LARGEST_PNG:  # twice as fast as compressed in full, and 9% larger
            temporary.write_bytes(tf.io.encode_png(pixels, compression=1).numpy())
        else:
            save_image(temporary, pixels, compress_level=1)


def check_format(path: Path, pixels: np.ndarray) -> None:
    """Refuse pixels that the format of a path cannot hold."""
    suffix, (height, width, channels) = path.suffix.lower(), pixels.shape
    if suffix in TIFF_SUFFIXES | ARRAY_SUFFIXES:
        return
    is_deep_and_huge = suffix == ".png" and pixels.itemsize > 1 and pixels.size >= LARGEST_PNG
    if channels > 4 or pixels.dtype.kind == "f" or is_deep_and_huge:
        what = f"{height:,}×{width:,} pixels, {channels} channels of {8 * pixels.itemsize} bits"
        raise UserError(f"{path}: {suffix} cannot hold {what}; choose --format tif or npy.")


def write_array(path: Path, pixels: np.ndarray) -> None:
    """Save an array as .npy or .npz: [height, width] of one channel, else with channels."""
    pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    with path.open("wb") as file:
        if path.suffix.lower() == ".npy":
            np.save(file, pixels)
        else:
            np.savez_compressed(file, picture=pixels)


def write_with_pillow(path: Path, pixels: np.ndarray) -> None:
    """Save a picture of 8 bits in any other format; of these only WebP has alpha."""
    pixels = to_pixels(from_pixels(pixels))
    if path.suffix.lower() != ".webp":
        pixels = convert_channels(pixels, min(3, pixels.shape[2]))
    save_image(path, pixels, quality=95)


def save_image(path: Path, pixels: np.ndarray, **options: object) -> None:
    """Save pixels that Pillow knows, in the format of the path's suffix.

    On a disk that is nearly full, Pillow itself may lose the end of a file without a word."""
    encoded, kind = BytesIO(), Image.registered_extensions()[path.suffix.lower()]
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.save(encoded, kind, **options)
    path.write_bytes(encoded.getbuffer())

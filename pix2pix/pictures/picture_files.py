"""Any picture file ↔ pixels: formats, depth, orientation, measurements."""

import logging
import math
import os
import warnings
import zipfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tensorflow as tf
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from pix2pix.pictures import tiff_files
from pix2pix.pictures.huge_pictures import (
    MAX_PIXELS,
    cut_into_strips,
    decode_into_file,
    is_huge,
    read_size,
    write_png_rows,
)
from pix2pix.pictures.pixels import convert_channels, from_pixels, to_pixels
from pix2pix.talk.errors import UserError, first_line
from pix2pix.talk.files import replace_when_complete

ARRAY_SUFFIXES = {".npy", ".npz"}
TIFF_SUFFIXES = {".tif", ".tiff"}
SUFFIXES = {".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".png", ".webp"}
SUFFIXES |= TIFF_SUFFIXES | ARRAY_SUFFIXES

LARGEST = 2 * MAX_PIXELS  # of TIFFs and arrays that are decoded as a whole
ARRAY_STARTS = (b"\x93NUMPY", b"PK\x03\x04")  # .npy and .npz
PNG_BIT_DEPTH = 24  # where a PNG has it: behind the signature, in its first chunk
PNG_ORIENTATIONS = (b"eXIf", b"Raw profile type exif", b"tiff:Orientation")  # where it may be said
MIRRORED_COLUMNS, MIRRORED_ROWS, TRANSPOSED = (2, 3, 6, 7), (3, 4, 7, 8), (5, 6, 7, 8)  # in EXIF

warnings.filterwarnings("ignore", module=r"PIL\.")  # what matters is raised
logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)

# --- Reading --------------------------------------------------------------------------------------


def read_picture(path: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a picture the right way up, [height, width, channels], of at most so many pixels.

    Colours have 1 to 4 channels of 8 or 16 bits; palettes, CMYK and the like become RGB.
    Measurements have any number of channels, of 8 or 16 bits or else of float32. Of an animation,
    the first picture is taken.
    """
    count = math.prod(read_size(path))
    if count > max_pixels:
        way_out = f"translate --max-pixels {count} reads it all the same"
        raise UserError(f"{path}: has {count:,} pixels; {way_out}")
    try:
        with path.open("rb") as file:
            start = file.read(8)
            decoders = [decode for begin, decode in DECODERS.items() if start.startswith(begin)]
            decode = decoders[0] if decoders else decode_with_pillow
            pixels = take_numbers(decode(file))
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        if pixels.ndim != 3 or not pixels.size:
            raise ValueError(f"its shape is {pixels.shape}")
    except ModuleNotFoundError as error:
        raise UserError(f"{path}: pip install tifffile imagecodecs to read it") from error
    except UnidentifiedImageError as error:
        why = "its beginning is damaged, or its format not known"
        raise UserError(f"{path}: not a readable picture ({why})") from error
    except Exception as error:  # decoders raise a dozen kinds for damaged files
        raise UserError(f"{path}: not a readable picture ({first_line(error)})") from error
    return pixels


def holds_measurements(path: Path) -> bool:
    """Tell from the head of a file whether its channels are measurements, and not colours with
    perhaps transparency; of a file that is not readable, no."""
    with suppress(Exception), path.open("rb") as file:
        start = file.read(8)
        if start.startswith(tiff_files.STARTS):
            pages = tiff_files.read_pages(file)
            return tiff_files.is_stack(pages) or pages[0].is_measured
        return start.startswith(ARRAY_STARTS)
    return False


def take_numbers(array: np.ndarray) -> np.ndarray:
    """Keep whole numbers of 8 and 16 bits without sign; turn all others into float32."""
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{array.dtype} is no kind of numbers for pixels")
    native = array.dtype.newbyteorder("=")
    if native in (np.uint8, np.uint16):
        return array.astype(native, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found just below
        numbers = array.astype(np.float32, copy=False)
    if not np.isfinite(numbers).all():
        raise ValueError("some numbers are infinite or not a number; replace them")
    return numbers


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
    if is_huge(read_size(file)) and bits < 16:
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
        if image.mode not in ("L", "RGB") or is_huge(image.size):
            return decode_with_pillow(file)
        orientation = read_orientation(image)
    file.seek(0)
    pixels = tf.io.decode_jpeg(file.read(), dct_method="INTEGER_ACCURATE").numpy()
    return turn_upright(pixels, orientation)


def decode_tiff(file: BinaryIO) -> np.ndarray:
    """Decode a TIFF with Pillow, if it knows this kind in full; else with tifffile."""
    pages = tiff_files.read_pages(file)
    first = pages[0]
    if first.suits_pillow and not tiff_files.is_stack(pages):
        with suppress(UnidentifiedImageError):
            pixels = decode_with_pillow(file)
            is_inverted = (
                pixels.dtype == np.uint16 and first.photometric == tiff_files.WHITE_IS_ZERO
            )
            return 65535 - pixels if is_inverted else pixels
    check_size(first.height, first.width, first.samples * len(pages))
    return turn_upright(tiff_files.decode_with_tifffile(file, pages), first.orientation)


def decode_npy(file: BinaryIO) -> np.ndarray:
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
    check_size(*shape[:2], shape[2] if len(shape) == 3 else 1)
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
            mode, huge = choose_mode(image), is_huge(image.size)
            pixels = decode_into_file(image, mode) if huge else np.asarray(image.convert(mode))
        return turn_upright(pixels, read_orientation(image))


def choose_mode(image: Image.Image) -> str:
    """Choose what to convert a picture of 8 bits to, by Pillow's names."""
    if image.mode in ("LA", "La"):
        return "LA"
    if "transparency" in image.info or image.mode[-1] in "Aa":
        return "RGBA"
    return "L" if image.mode in ("1", "L") else "RGB"


DECODERS = {  # by how a file begins; all others are Pillow's
    b"\x89PNG\r\n\x1a\n": decode_png,
    b"\xff\xd8\xff": decode_jpeg,
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
    suffix, channels = path.suffix.lower(), pixels.shape[2]
    if suffix not in TIFF_SUFFIXES | ARRAY_SUFFIXES and (channels > 4 or pixels.dtype.kind == "f"):
        what = f"{channels} channels of {8 * pixels.itemsize} bits"
        raise UserError(f"{path}: {suffix} cannot hold {what}; choose --format tif or npy.")
    with replace_when_complete(path) as temporary:
        if suffix == ".png" and is_huge(pixels.shape[:2]):
            strips = cut_into_strips(pixels)
            write_png_rows(temporary, pixels.shape, 8 * pixels.itemsize, strips)
        elif suffix == ".png":  # twice as fast as compressed in full, and 9% larger
            temporary.write_bytes(tf.io.encode_png(pixels, compression=1).numpy())
        elif suffix in ARRAY_SUFFIXES:
            write_array(temporary, pixels)
        elif suffix in TIFF_SUFFIXES:
            geo_tags = tiff_files.read_geo_tags(like, pixels.shape[:2]) if like else {}
            try:
                write_tiff(temporary, pixels, as_measurements, geo_tags)
            except ModuleNotFoundError as error:
                raise UserError(f"{path}: pip install tifffile to write it") from error
        else:
            write_with_pillow(temporary, pixels)


def write_array(path: Path, pixels: np.ndarray) -> None:
    """Save an array as .npy or .npz: [height, width] of one channel, else with channels."""
    pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    with path.open("wb") as file:
        if path.suffix.lower() == ".npy":
            np.save(file, pixels)
        else:
            np.savez_compressed(file, picture=pixels)


def write_tiff(
    path: Path, pixels: np.ndarray, as_measurements: bool, geo_tags: dict[int, tuple]
) -> None:
    """Save a TIFF; what Pillow knows with Pillow, so that tifffile may be missing."""
    is_grey = pixels.shape[2] == 1 and pixels.dtype.kind == "u"
    is_common = pixels.dtype == np.uint8 and pixels.shape[2] <= 4 and not as_measurements
    if not (is_grey or is_common):
        tiff_files.write_with_tifffile(path, pixels, as_measurements, geo_tags)
        return
    tags = ImageFileDirectory_v2()
    for tag, values in geo_tags.items():
        tags.tagtype[tag] = tiff_files.GEO_TAGS[tag]
        if tags.tagtype[tag] == tiff_files.TEXT:
            values = b"".join(values).decode("latin-1").rstrip("\0")
        tags[tag] = values
    save_image(path, pixels, tiffinfo=tags)


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

"""TIFF as far as Pillow does not know it: what a file holds, odd depths, stacks, georeferences.

A TIFF is a chain of pages, each with numbered tags. The channels of a page are colours, perhaps
with transparency, or measurements, such as the bands of a satellite; a stack of grey pages of one
size is measured, too.
"""

import ctypes
import logging
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # of a file; + is BigTIFF
BIG_VERSION = 43  # the code of +
TYPES = {1: "B", 2: "c", 3: "H", 4: "I", 11: "f", 12: "d", 13: "I", 16: "Q", 18: "Q"}  # of values
TEXT, SHORT, DOUBLE = 2, 3, 12  # some of the types
LARGEST_TAG = 2**20  # bytes; none of those read here comes near

SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
ORIENTATION, SAMPLES, PLANES, INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT = 274, 277, 284, 332, 338, 339
PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, NO_DATA = 33550, 33922, 34264, 42113
GEO_KEYS, GEO_NUMBERS, GEO_TEXTS = 34735, 34736, 34737
GEO_TAGS = dict.fromkeys((PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, GEO_NUMBERS), DOUBLE)
GEO_TAGS |= {GEO_KEYS: SHORT, GEO_TEXTS: TEXT, NO_DATA: TEXT}  # the types of their values
GEO_LENGTHS = {PIXEL_SCALE: 3, TIE_POINTS: 6, TRANSFORMATION: 16}  # or, of points, a multiple
RASTER_TYPE_KEY, PIXEL_IS_POINT = 1025, 2

# Photometric interpretations, and how many channels each has
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, SEPARATED, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1}
COLOURS |= {SEPARATED: 4, YCBCR: 3, LAB: 3}
UNSIGNED, SIGNED, FLOAT, UNDEFINED = 1, 2, 3, 4  # sample formats; the others are complex
UNSPECIFIED, ASSOCIATED = 0, 1  # extra samples; associated alpha is multiplied into the colours
CMYK_INKS, SEPARATE_PLANES = 1, 2
WITH_LIBTIFF = {1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925, 50000}  # compressions Pillow knows
DECODED_TO_RGB = {7, 34927, 50001}  # JPEG and WebP

logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)  # it logs what it also raises
with suppress(AttributeError, OSError):  # where libtiff can be reached, it shall not print
    for handler in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        getattr(ctypes.CDLL(Image.core.__file__), handler)(None)


class TiffPage(NamedTuple):
    """What a page says about its channels; pages of a stack say all the same."""

    width: int
    height: int
    samples: int
    bits: tuple[int, ...]
    sample_format: int
    photometric: int
    extra_samples: tuple[int, ...]
    compression: int
    orientation: int
    is_reduced: bool  # a preview of another page
    ink_set: int
    has_planes: bool  # channel after channel, and not pixel after pixel

    @property
    def is_cmyk(self) -> bool:
        """Tell whether the first four channels are cyan, magenta, yellow and black."""
        return (self.photometric, self.ink_set) == (SEPARATED, CMYK_INKS) and self.samples >= 4

    @property
    def is_measured(self) -> bool:
        """Tell whether the channels are measurements, and not colours with perhaps alpha."""
        if max(self.bits) > 16 or self.sample_format not in (UNSIGNED, UNDEFINED):
            return True
        if self.photometric == PALETTE or self.is_cmyk:
            return False
        surplus = self.samples - COLOURS.get(self.photometric, self.samples)
        if surplus != 1:
            return surplus > 1 or self.photometric == SEPARATED
        if not self.extra_samples:  # what the fourth one is was left out by old programs
            return self.photometric != RGB
        return self.extra_samples[0] == UNSPECIFIED

    @property
    def suits_pillow(self) -> bool:
        """Tell whether Pillow, if it opens the file, decodes the page in full."""
        if self.is_measured or self.compression not in WITH_LIBTIFF:
            return False
        if self.has_planes and (self.samples == 2 or ASSOCIATED in self.extra_samples):
            return False  # Pillow mistakes one plane for another
        return max(self.bits) <= 8 or self.bits == (16,) and self.samples == 1

    @property
    def may_begin_stack(self) -> bool:
        """Tell whether the page is grey, and not a page of a scanned text, which has 1 bit."""
        is_grey = self.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO) and self.samples == 1
        return is_grey and min(self.bits) >= 8 and not self.is_reduced


# --- What a file holds ----------------------------------------------------------------------------


def read_directories(file: BinaryIO) -> Iterator[dict[int, tuple]]:
    """Yield the tags of page after page: number → values, of those types that are known."""
    file.seek(0)
    start = file.read(16)
    order = "<" if start.startswith(b"II") else ">"
    is_big = BIG_VERSION in start[2:4]
    entry = struct.Struct(order + ("HHQ8s" if is_big else "HHI4s"))
    word = struct.Struct(order + ("Q" if is_big else "I"))
    count = struct.Struct(order + ("Q" if is_big else "H"))
    (place,), visited = word.unpack_from(start, word.size), set()
    while place and place not in visited:  # some chains bite their own tail
        visited.add(place)
        file.seek(place)
        (length,) = count.unpack(file.read(count.size))
        if length * entry.size > LARGEST_TAG:
            raise ValueError(f"{length:,} tags in a page")
        entries = file.read(length * entry.size)
        following = file.read(word.size).ljust(word.size, b"\0")
        yield {
            tag: read_values(file, order, kind, number, held, word)
            for tag, kind, number, held in entry.iter_unpack(entries)
            if kind in TYPES and number * struct.calcsize(TYPES[kind]) <= LARGEST_TAG
        }
        (place,) = word.unpack(following)


def read_values(
    file: BinaryIO, order: str, kind: int, number: int, held: bytes, word: struct.Struct
) -> tuple:
    """Read the values of a tag, which are held in its entry if they fit, else elsewhere."""
    form = struct.Struct(f"{order}{number}{TYPES[kind]}")
    if form.size > len(held):
        file.seek(*word.unpack(held))
        held = file.read(form.size)
    return form.unpack_from(held) if len(held) >= form.size else ()


def read_pages(file: BinaryIO) -> list[TiffPage]:
    """Read what all pages say about their channels.

    Where the chain of pages breaks off, the first one is enough, unless it begins a stack."""
    pages = []
    try:
        for tags in read_directories(file):
            pages.append(describe_page(tags))
    except (struct.error, OverflowError) as error:
        if not pages or pages[0].may_begin_stack:
            raise ValueError("its list of pages is damaged or cut short") from error
        return pages[:1]
    if not pages:
        raise ValueError("a TIFF without a page")
    return pages


def describe_page(tags: dict[int, tuple]) -> TiffPage:
    """Describe the channels of a page by its tags; those that are absent have their defaults."""

    def value(tag: int, default: int) -> int:
        return (tags.get(tag) or (default,))[0]

    bits = tags.get(BITS) or (1,)
    return TiffPage(
        width=value(WIDTH, 0),
        height=value(HEIGHT, 0),
        samples=value(SAMPLES, 1),
        bits=bits if len(set(bits)) > 1 else bits[:1],
        sample_format=max(tags.get(SAMPLE_FORMAT) or (UNSIGNED,)),
        photometric=value(PHOTOMETRIC, WHITE_IS_ZERO),
        extra_samples=tags.get(EXTRA_SAMPLES, ()),
        compression=value(COMPRESSION, 1),
        orientation=value(ORIENTATION, 1),
        is_reduced=bool(value(SUBFILE_TYPE, 0) & 1),
        ink_set=value(INK_SET, CMYK_INKS),
        has_planes=value(PLANES, 1) == SEPARATE_PLANES,
    )


def is_stack(pages: list[TiffPage]) -> bool:
    """Tell whether pages are the channels of one picture: several, grey, and alike in all."""
    return len(pages) > 1 and pages[0].may_begin_stack and len(set(pages)) == 1


# --- Decoding -------------------------------------------------------------------------------------


def decode_with_tifffile(file: BinaryIO, pages: list[TiffPage]) -> np.ndarray:
    """Decode a stack, or the first page: colours of 8 or 16 bits, or measurements as they are."""
    import tifffile

    count, first = len(pages) if is_stack(pages) else 1, pages[0]
    if first.photometric not in COLOURS or first.photometric == LAB:
        raise ValueError(f"colours of a kind that is not known here, {first.photometric}")
    if first.photometric == YCBCR and first.compression not in DECODED_TO_RGB:
        raise ValueError(f"YCbCr of {max(first.bits)} bits, which is not known here")
    if len(first.bits) > 1:
        raise ValueError(f"channels of different depth: {first.bits} bits")
    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        try:
            decoded = [decode_page(tiff.pages[number], first) for number in range(count)]
        except ValueError as error:
            if "requires the 'imagecodecs' package" not in str(error):
                raise
            raise ModuleNotFoundError(str(error)) from error
    return np.stack(decoded, axis=-1) if count > 1 else decoded[0]


def decode_page(page: "tifffile.TiffPage", described: TiffPage) -> np.ndarray:  # noqa: F821
    """Decode a page: whole numbers of up to 16 bits scaled to 8 or 16, others as they are."""
    pixels = page.asarray()
    if page.axes.startswith("S"):
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.dtype.kind not in "bu" or max(described.bits) > 16:
        return pixels
    if described.photometric == PALETTE:
        colours = np.moveaxis(page.colormap >> 8, 0, -1).astype(np.uint8)
        return colours[pixels[..., 0] if pixels.ndim == 3 else pixels]
    pixels = scale_to_full(pixels, described.bits[0])
    if described.photometric == WHITE_IS_ZERO:
        pixels = np.iinfo(pixels.dtype).max - pixels
    return pixels if described.is_measured else to_straight_colours(pixels, described)


def scale_to_full(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Scale 1 to 16 bits so that the largest number is that of 8 or of 16 bits."""
    dtype = np.dtype(np.uint8 if bits <= 8 else np.uint16)
    if bits == 8 * dtype.itemsize:
        return pixels.astype(dtype)
    return np.rint(pixels * (np.iinfo(dtype).max / (2**bits - 1))).astype(dtype)


def to_straight_colours(pixels: np.ndarray, described: TiffPage) -> np.ndarray:
    """Turn CMYK into RGB, and colours that alpha was multiplied into to what they were."""
    full, count = np.iinfo(pixels.dtype).max, COLOURS[described.photometric]
    if described.samples == count and not described.is_cmyk:
        return pixels
    colours, alpha = pixels[..., :count].astype(float), pixels[..., count : count + 1]
    if described.extra_samples[:1] == (ASSOCIATED,):
        colours = (colours * (full / np.maximum(alpha, 1))).clip(0, full)
    if described.is_cmyk:
        light = full - colours
        colours = light[..., :3] * (light[..., 3:] / full)
    colours = np.rint(colours).astype(pixels.dtype)
    if described.extra_samples[:1] == (UNSPECIFIED,):  # a spot colour beside CMYK
        return colours
    return np.concatenate([colours, alpha], axis=-1)


# --- Writing --------------------------------------------------------------------------------------


def write_with_tifffile(
    path: Path, pixels: np.ndarray, as_measurements: bool, geo_tags: dict[int, tuple]
) -> None:
    """Write pixels of any depth and number of channels, as measurements or as colours."""
    import tifffile

    channels = pixels.shape[2]
    is_colour = not as_measurements and channels <= 4 and pixels.dtype.kind == "u"
    surplus = channels - (3 if is_colour and channels >= 3 else 1)
    tifffile.imwrite(
        path,
        pixels if channels > 1 else pixels[..., 0],
        photometric="rgb" if is_colour and channels >= 3 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha" if is_colour else "unspecified"] * surplus,
        metadata=None,
        extratags=[
            (tag, GEO_TAGS[tag], len(values), b"".join(values) if GEO_TAGS[tag] == TEXT else values)
            for tag, values in geo_tags.items()
        ],
    )


def read_geo_tags(original: Path, size: tuple[int, int]) -> dict[int, tuple]:
    """Read where on earth a GeoTIFF lies, for a picture of the same place of (height, width);
    of any other file, nothing."""
    with original.open("rb") as file:
        if file.read(4) not in STARTS:
            return {}
        tags = next(read_directories(file), {})
    geo_tags = {tag: tags[tag] for tag in GEO_TAGS if tags.get(tag)}
    is_odd = any(len(geo_tags.get(tag, ())) % length for tag, length in GEO_LENGTHS.items())
    if not geo_tags or is_odd or tags.get(ORIENTATION, (1,)) != (1,):
        return {}
    down, across = size[0] / tags[HEIGHT][0], size[1] / tags[WIDTH][0]
    keys = geo_tags.get(GEO_KEYS, ())
    centre = 0.0
    for place in range(4, len(keys), 4):  # behind a head of 4: key, where, count, value
        if keys[place] == RASTER_TYPE_KEY and keys[place + 3] == PIXEL_IS_POINT:
            centre = 0.5  # places are counted from the centre of the first pixel
    return geo_tags | scale_places(geo_tags, down, across, centre)


def scale_places(
    geo_tags: dict[int, tuple], down: float, across: float, centre: float
) -> dict[int, tuple]:
    """Return the tags that say where pixels lie, for a picture so many times higher and wider."""
    scaled = {}
    if PIXEL_SCALE in geo_tags:
        scale = np.array(geo_tags[PIXEL_SCALE][:3])
        scaled[PIXEL_SCALE] = tuple((scale / (across, down, 1)).tolist())
    if TIE_POINTS in geo_tags:
        points = np.array(geo_tags[TIE_POINTS]).reshape(-1, 6)
        points[:, :2] = (points[:, :2] + centre) * (across, down) - centre
        scaled[TIE_POINTS] = tuple(points.ravel().tolist())
    if TRANSFORMATION in geo_tags:
        to_old = np.diag([1 / across, 1 / down, 1, 1])
        to_old[:2, 3] = centre / across - centre, centre / down - centre
        matrix = np.array(geo_tags[TRANSFORMATION][:16]).reshape(4, 4) @ to_old
        scaled[TRANSFORMATION] = tuple(matrix.ravel().tolist())
    return scaled

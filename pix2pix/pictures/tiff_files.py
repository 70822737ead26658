"""What a TIFF means, which tifffile reads and writes: colours or measurements, and where they lie.

The channels of a page are colours, perhaps with transparency, or measurements, such as the bands of
a satellite; a stack of grey pages of one size is measured, too.
"""

import importlib.util
import logging
from io import BytesIO
from typing import BinaryIO

import numpy as np
import tifffile
from tifffile import EXTRASAMPLE, PHOTOMETRIC, PLANARCONFIG, SAMPLEFORMAT, TiffFile, TiffPage

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # of a file; + is BigTIFF
MOST_PAGES = 4096  # of a stack

GREY = (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK)
COLOURS = dict.fromkeys((*GREY, PHOTOMETRIC.PALETTE), 1)  # how many channels each kind has
COLOURS |= {PHOTOMETRIC.RGB: 3, PHOTOMETRIC.YCBCR: 3, PHOTOMETRIC.CIELAB: 3}
COLOURS |= {PHOTOMETRIC.SEPARATED: 4}
ORIENTATION, INK_SET, CMYK_INKS = 274, 332, 1  # two tags, and a value of the second

LOSSLESS = {5, 8, 32773, 32946, 34925, 50000}  # LZW, Deflate, PackBits, LZMA, Zstandard
WITH_PILLOW = LOSSLESS | {1, 2, 3, 4, 6, 7}  # besides what is not compressed: CCITT, JPEG
WITH_TIFFFILE = LOSSLESS | {1} if importlib.util.find_spec("imagecodecs") else {1}
DECODED_TO_RGB = {7, 34927, 50001}  # JPEG and WebP

logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)  # it logs what it also raises

# --- What a file holds ----------------------------------------------------------------------------


def read_pages(file: BinaryIO) -> list[TiffPage]:
    """Read the pages whose channels make a picture: the first, or all of a stack."""
    file.seek(0)
    tiff = TiffFile(file, is_lsm=False, is_ndpi=False, is_scanimage=False)  # whoever wrote it
    if not tiff.pages:
        raise ValueError("a TIFF without a page")
    if not may_begin_stack(tiff.pages.first):
        return [tiff.pages.first]
    pages: list[TiffPage] = []
    places = set()
    for page in tiff.pages:
        if page.offset in places:  # some chains bite their own tail
            return pages
        if len(pages) == MOST_PAGES:
            raise ValueError(f"more than {MOST_PAGES:,} pages")
        pages.append(page)
        places.add(page.offset)
        if describe_page(page) != describe_page(pages[0]):
            return pages[:1]
    file.seek(tiff.pages.next_page_offset)
    if any(file.read(tiff.tiff.offsetsize)):  # there should be another page
        raise ValueError("its list of pages is damaged or cut short")
    return pages


def may_begin_stack(page: TiffPage) -> bool:
    """Tell whether a page is grey, and not a page of a scanned text, which has 1 bit."""
    is_grey = page.photometric in GREY and page.samplesperpixel == 1
    return is_grey and bits_of(page) >= 8 and not page.is_reduced


def describe_page(page: TiffPage) -> tuple:
    """Return what the pages of a stack have in common."""
    size = page.imagelength, page.imagewidth, page.samplesperpixel, page.is_reduced
    numbers = page.bitspersample, page.sampleformat, page.photometric, page.compression
    return *size, *numbers, orientation_of(page)


def bits_of(page: TiffPage) -> int:
    """Return how many bits a sample has, or the largest sample."""
    return int(np.max(page.bitspersample))


def orientation_of(page: TiffPage) -> int:
    """Return how a page is to be turned, as EXIF counts the ways."""
    return page.tags.valueof(ORIENTATION, 1)


def is_cmyk(page: TiffPage) -> bool:
    """Tell whether the first four channels are cyan, magenta, yellow and black."""
    inks = page.tags.valueof(INK_SET, CMYK_INKS)
    is_separated = page.photometric == PHOTOMETRIC.SEPARATED
    return is_separated and inks == CMYK_INKS and page.samplesperpixel >= 4


def is_measured(page: TiffPage) -> bool:
    """Tell whether the channels are measurements, and not colours with perhaps alpha."""
    if bits_of(page) > 16 or page.sampleformat not in (SAMPLEFORMAT.UINT, SAMPLEFORMAT.VOID):
        return True
    if page.photometric == PHOTOMETRIC.PALETTE or is_cmyk(page):
        return False
    surplus = page.samplesperpixel - COLOURS.get(page.photometric, page.samplesperpixel)
    if surplus != 1:
        return surplus > 1 or page.photometric == PHOTOMETRIC.SEPARATED
    if not page.extrasamples:  # what the fourth one is was left out by old programs
        return page.photometric != PHOTOMETRIC.RGB
    return page.extrasamples[0] == EXTRASAMPLE.UNSPECIFIED


def suits_pillow(page: TiffPage) -> bool:
    """Tell whether Pillow decodes a page in full that tifffile alone does not decode, or not as the
    colours that are meant."""
    if is_measured(page) or page.compression not in WITH_PILLOW:
        return False
    is_associated = EXTRASAMPLE.ASSOCALPHA in page.extrasamples
    if page.planarconfig == PLANARCONFIG.SEPARATE and (page.samplesperpixel == 2 or is_associated):
        return False  # Pillow mistakes one plane for another
    bits = bits_of(page)
    if bits > 8 and (bits, page.samplesperpixel) != (16, 1):
        return False
    is_plain = bits % 8 == 0 and not is_associated
    is_plain &= page.photometric not in (PHOTOMETRIC.PALETTE, PHOTOMETRIC.YCBCR)
    return not is_plain or page.compression not in WITH_TIFFFILE


# --- Decoding -------------------------------------------------------------------------------------


def decode_pages(pages: list[TiffPage]) -> np.ndarray:
    """Decode a stack, or a page: colours of 8 or 16 bits, or measurements as they are."""
    first = pages[0]
    if first.photometric not in COLOURS or first.photometric == PHOTOMETRIC.CIELAB:
        raise ValueError(f"colours of a kind that is not known here, {first.photometric:d}")
    if first.photometric == PHOTOMETRIC.YCBCR and first.compression not in DECODED_TO_RGB:
        raise ValueError(f"YCbCr of {bits_of(first)} bits, which is not known here")
    if isinstance(first.bitspersample, tuple):
        raise ValueError(f"channels of different depth: {first.bitspersample} bits")
    try:
        decoded = [decode_page(page) for page in pages]
    except (NotImplementedError, ValueError) as error:
        if "requires the 'imagecodecs' package" not in str(error):
            raise
        raise ModuleNotFoundError(str(error)) from error
    return np.stack(decoded, axis=-1) if len(pages) > 1 else decoded[0]


def decode_page(page: TiffPage) -> np.ndarray:
    """Decode a page: whole numbers of up to 16 bits scaled to 8 or 16, others as they are."""
    pixels = page.asarray()
    if page.axes.startswith("S"):
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.dtype.kind not in "bu" or bits_of(page) > 16:
        return pixels
    if page.photometric == PHOTOMETRIC.PALETTE:
        colours = np.moveaxis(page.colormap >> 8, 0, -1).astype(np.uint8)
        return colours[pixels[..., 0] if pixels.ndim == 3 else pixels]
    pixels = scale_to_full(pixels, bits_of(page))
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        pixels = np.iinfo(pixels.dtype).max - pixels
    return pixels if is_measured(page) else to_straight_colours(pixels, page)


def scale_to_full(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Scale 1 to 16 bits so that the largest number is that of 8 or of 16 bits."""
    full_bits = 8 if bits <= 8 else 16
    if bits == full_bits:
        return pixels.astype(f"uint{full_bits}")
    full, largest = 2**full_bits - 1, 2**bits - 1
    return np.rint(pixels * (full / largest)).astype(f"uint{full_bits}")


def to_straight_colours(pixels: np.ndarray, page: TiffPage) -> np.ndarray:
    """Turn CMYK into RGB, and colours that alpha was multiplied into to what they were."""
    full, count = np.iinfo(pixels.dtype).max, COLOURS[page.photometric]
    is_associated = page.extrasamples[:1] == (EXTRASAMPLE.ASSOCALPHA,)
    if not is_associated and not is_cmyk(page):
        return pixels
    colours, alpha = pixels[..., :count].astype(float), pixels[..., count : count + 1]
    if is_associated:
        colours = (colours * (full / np.maximum(alpha, 1))).clip(0, full)
    if is_cmyk(page):
        light = full - colours
        colours = light[..., :3] * (light[..., 3:] / full)
    colours = np.rint(colours).astype(pixels.dtype)
    if page.extrasamples[:1] == (EXTRASAMPLE.UNSPECIFIED,):  # a spot colour beside CMYK
        return colours
    return np.concatenate([colours, alpha], axis=-1)


# --- Writing --------------------------------------------------------------------------------------


def encode_tiff(
    pixels: np.ndarray, as_measurements: bool = False, geo_tags: list[tuple] | None = None
) -> memoryview:
    """Encode pixels of any depth and number of channels, as measurements or as colours, with more
    tags as imwrite wants them."""
    channels, encoded = pixels.shape[2], BytesIO()
    is_colour = not as_measurements and channels <= 4 and pixels.dtype.kind == "u"
    surplus = channels - (3 if is_colour and channels >= 3 else 1)
    tifffile.imwrite(
        encoded,
        pixels if channels > 1 else pixels[..., 0],
        photometric="rgb" if is_colour and channels >= 3 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha" if is_colour else "unspecified"] * surplus,
        metadata=None,
        extratags=geo_tags,
    )
    return encoded.getbuffer()

"""What the numbers in a TIFF mean, which tifffile reads and writes: colours or measurements.

The channels of a page are colours, perhaps with transparency, or measurements, such as the bands of
a satellite; a stack of grey pages of one size is measured, too.
"""

from io import BytesIO

import numpy as np
from tifffile import (
    COMPRESSION,
    EXTRASAMPLE,
    PHOTOMETRIC,
    PLANARCONFIG,
    SAMPLEFORMAT,
    TiffPage,
    imwrite,
)

from pix2pix.pictures.tiff_pages import GREY

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # of a file; + is BigTIFF
COLOURS = {  # how many channels each kind has
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.YCBCR: 3,
    PHOTOMETRIC.CIELAB: 3,
    PHOTOMETRIC.SEPARATED: 4,
}
INK_SET, CMYK_INKS = 332, 1  # a tag, and a value of it

# CCITT, LZW, JPEG, Deflate, PackBits, LZMA and Zstandard. tifffile alone lacks most of them, and
# imagecodecs is stricter with some: it refuses a last strip that has more rows than the picture.
WITH_PILLOW = {2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925, 50000}
DECODED_TO_RGB = {7, 34927, 50001}  # JPEG and WebP

# --- What a page holds ----------------------------------------------------------------------------


def bits_of(page: TiffPage) -> int:
    """Return how many bits a sample has, or the largest sample."""
    return int(np.max(page.bitspersample))


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
    """Tell whether Pillow is to decode a page: it knows it in full, and tifffile, at least without
    imagecodecs, does not, or not the colours."""
    bits, is_associated = bits_of(page), EXTRASAMPLE.ASSOCALPHA in page.extrasamples
    if is_measured(page) or bits > 8 and (bits, page.samplesperpixel) != (16, 1):
        return False
    if page.planarconfig == PLANARCONFIG.SEPARATE and (page.samplesperpixel == 2 or is_associated):
        return False  # Pillow mistakes one plane for another
    if page.compression != COMPRESSION.NONE:
        return page.compression in WITH_PILLOW
    is_plain = page.photometric in (*GREY, PHOTOMETRIC.RGB, PHOTOMETRIC.SEPARATED)
    return not is_plain or bits < 8 or is_associated or page.imagedepth > 1


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
    if first.imagedepth > 1:
        raise ValueError(f"a volume of {first.imagedepth:,} slices")
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
    imwrite(
        encoded,
        pixels if channels > 1 else pixels[..., 0],
        photometric="rgb" if is_colour and channels >= 3 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha" if is_colour else "unspecified"] * surplus,
        metadata=None,
        extratags=geo_tags,
    )
    return encoded.getbuffer()

"""Which pages of a TIFF make a picture, whatever a damaged or hostile file says of them."""

import logging
import math
from typing import Any, BinaryIO

from tifffile import PHOTOMETRIC, TiffFile, TiffPage

LARGEST_TAGS = 2**25  # bytes, of a page
MOST_PAGES = 4096  # of a stack
GREY = (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK)
ORIENTATION = 274  # a tag

logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)  # it logs what it also raises


class TagReader:
    """A file of which only so much is read as a page may have of tags: tifffile believes a small
    file that claims to have a thousand, each as long as itself."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.left: float = LARGEST_TAGS

    def read(self, size: int = -1) -> bytes:
        """Read so many bytes, or all."""
        content = self.file.read(size)
        self.left -= len(content)
        if self.left < 0:
            raise ValueError(f"a page with more than {LARGEST_TAGS:,} bytes of tags")
        return content

    def __getattr__(self, name: str) -> Any:
        """Find all else in the file."""
        return getattr(self.file, name)


def read_pages(file: BinaryIO) -> list[TiffPage]:
    """Read the pages whose channels make a picture: the first, or all of a stack."""
    file.seek(0)
    reader = TagReader(file)
    tiff = TiffFile(reader, is_lsm=False, is_ndpi=False, is_scanimage=False)  # whoever wrote it
    if not tiff.pages:
        raise ValueError("a TIFF without a page")
    first = tiff.pages.first
    pages = read_stack(tiff, reader) if may_begin_stack(first) else [first]
    reader.left = math.inf  # for the pixels
    return pages


def read_stack(tiff: TiffFile, reader: TagReader) -> list[TiffPage]:
    """Read all pages if they are alike, and so the channels of one picture; else the first."""
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
        reader.left = LARGEST_TAGS
    reader.seek(tiff.pages.next_page_offset)
    if any(reader.read(tiff.tiff.offsetsize)):  # there should be another page
        raise ValueError("its list of pages is damaged or cut short")
    return pages


def may_begin_stack(page: TiffPage) -> bool:
    """Tell whether a page is grey, and not a page of a scanned text, which has 1 bit."""
    is_grey = page.photometric in GREY and page.samplesperpixel == 1
    return is_grey and page.bitspersample >= 8 and not page.is_reduced


def describe_page(page: TiffPage) -> tuple:
    """Return what the pages of a stack have in common."""
    size = page.imagelength, page.imagewidth, page.samplesperpixel, page.is_reduced
    numbers = page.bitspersample, page.sampleformat, page.photometric, page.compression
    return *size, *numbers, orientation_of(page)


def orientation_of(page: TiffPage) -> int:
    """Return how a page is to be turned: 1 to 8, as EXIF counts the ways."""
    return page.tags.valueof(ORIENTATION, 1)

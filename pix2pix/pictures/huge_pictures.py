"""Pictures too large for the memory: decoded into a temporary file, and written row by row."""

import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

MAX_PIXELS = 178_956_970  # in a picture that is not known to be large; also Pillow's limit
HUGE = 2**27  # pixels; TensorFlow decodes no JPEG of four times as many bytes
STRIP_HEIGHT = 256  # of what is decoded at a time
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # by channels
PNG_LEFT_FILTER = 1  # what the pixel to the left has is subtracted

Image.MAX_IMAGE_PIXELS = None  # Pillow's, and its warning from half of it on


def is_huge(size: tuple[int, int]) -> bool:
    """Tell by its two sides whether a picture should not be in memory as a whole."""
    return size[0] * size[1] > HUGE


def read_size(file: Path | BinaryIO) -> tuple[int, int]:
    """Read the sides of a picture in its head; of what is no picture, 0."""
    with suppress(Exception), Image.open(file) as image:
        return image.size
    return 0, 0


def decode_into_file(image: Image.Image, mode: str) -> np.ndarray:
    """Decode a picture of 8 bits, in a mode of Pillow's, into a temporary file.

    It goes when the array goes; of the array, only what is looked at is in memory."""
    with tempfile.TemporaryFile() as file:
        for top in range(0, image.height, STRIP_HEIGHT):
            bottom = min(top + STRIP_HEIGHT, image.height)
            file.write(image.crop((0, top, image.width, bottom)).convert(mode).tobytes())
        return np.memmap(file, np.uint8, "r", shape=(image.height, image.width, len(mode)))


def cut_into_strips(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """Cut a picture into strips of its rows."""
    for top in range(0, len(pixels), STRIP_HEIGHT):
        yield pixels[top : top + STRIP_HEIGHT]


def write_png_rows(
    path: Path, shape: tuple[int, int, int], bits: int, strips: Iterable[np.ndarray]
) -> None:
    """Write a PNG [height, width, 1, 3 or 4 channels] of strips of its rows, one after the other.

    It is compressed as quickly as may be."""
    height, width, channels = shape
    colour_type, packer = PNG_COLOUR_TYPES[channels], zlib.compressobj(1)
    with path.open("wb") as file:
        file.write(PNG_SIGNATURE)
        write_chunk(file, b"IHDR", struct.pack(">2I5B", width, height, bits, colour_type, 0, 0, 0))
        for strip in strips:
            write_chunk(file, b"IDAT", packer.compress(filter_rows(strip)))
        write_chunk(file, b"IDAT", packer.flush())
        write_chunk(file, b"IEND", b"")


def filter_rows(strip: np.ndarray) -> bytes:
    """Turn rows of pixels into what a PNG compresses: each byte less the one a pixel before it."""
    big_endian = np.ascontiguousarray(strip, strip.dtype.newbyteorder(">"))
    step = strip.shape[2] * strip.itemsize
    rows = big_endian.view(np.uint8).reshape(len(strip), strip.shape[1] * step)
    filtered = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = PNG_LEFT_FILTER
    filtered[:, 1 : 1 + step] = rows[:, :step]
    filtered[:, 1 + step :] = rows[:, step:] - rows[:, :-step]
    return filtered.tobytes()


def write_chunk(file: BinaryIO, kind: bytes, content: bytes) -> None:
    """Write a part of a PNG: its length, its kind, its content, and a checksum."""
    checksum = zlib.crc32(kind + content)
    file.write(struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum))

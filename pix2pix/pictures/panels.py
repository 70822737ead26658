"""Pictures in rows and titled columns, as one PNG."""

from pathlib import Path

import matplotlib.figure
import tensorflow as tf

from pix2pix.pictures.pixels import to_pixels
from pix2pix.talk.files import replace_when_complete


def draw_panel(path: Path, columns: dict[str, tf.Tensor]) -> None:
    """Save a table of pictures as PNG: titled columns, pixel for pixel, small ones enlarged."""
    arrays = {title: to_pixels(images) for title, images in columns.items()}
    count, *size = next(iter(arrays.values())).shape[:3]
    zoom, gap, title_height = max(1, 256 // max(size)), 8, 28  # the last two in pixels
    dpi = 128  # a power of two divides without a remainder, so that no row of pixels is lost
    row_height, column_width = (length * zoom + gap for length in size)
    width, height = len(arrays) * column_width + gap, count * row_height + title_height
    figure = matplotlib.figure.Figure((width / dpi, height / dpi), dpi=dpi, facecolor="white")
    for column, (title, images) in enumerate(arrays.items()):
        left = gap + column * column_width
        middle = (left + (column_width - gap) / 2) / width, 1 - title_height / 2 / height
        figure.text(*middle, title, ha="center", va="center", fontsize=8)
        for row, image in enumerate(images.repeat(zoom, axis=1).repeat(zoom, axis=2)):
            image = image.repeat(3, axis=-1) if image.shape[-1] == 1 else image
            bottom = height - title_height - (row + 1) * row_height + gap
            figure.figimage(image, left, bottom)
    with replace_when_complete(path) as temporary:
        figure.savefig(temporary)

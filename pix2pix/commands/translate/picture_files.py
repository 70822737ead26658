"""The results of translate, as a notebook shows them."""

import io
import math
from contextlib import suppress
from pathlib import Path

from PIL import Image, UnidentifiedImageError

SHEET_COLUMNS, SHEET_PICTURES, SHEET_SIDE = 4, 12, 192  # the last in pixels


class PictureFiles(list[Path]):
    """Paths of pictures; a notebook shows the first ones as a contact sheet."""

    def _repr_png_(self) -> bytes | None:
        """Draw the contact sheet."""
        thumbnails = []
        for path in self[:SHEET_PICTURES]:
            with suppress(UnidentifiedImageError):  # by a video, an array, a TIFF with bands
                image = Image.open(path).convert("RGBA")
                image.thumbnail((SHEET_SIDE, SHEET_SIDE))
                thumbnails.append(image)
        if not thumbnails:
            return None
        rows = math.ceil(len(thumbnails) / SHEET_COLUMNS)
        columns = min(len(thumbnails), SHEET_COLUMNS)
        sheet = Image.new("RGBA", (columns * SHEET_SIDE, rows * SHEET_SIDE))
        for k, image in enumerate(thumbnails):
            row, column = divmod(k, SHEET_COLUMNS)
            sheet.paste(image, (column * SHEET_SIDE, row * SHEET_SIDE))
        png = io.BytesIO()
        sheet.save(png, "png")
        return png.getvalue()

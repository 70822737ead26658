"""Where on earth a GeoTIFF lies: read from one file, and written to the next, of another size."""

from pathlib import Path

import numpy as np

from pix2pix.pictures.tiff_files import STARTS
from pix2pix.pictures.tiff_pages import orientation_of, read_pages
from pix2pix.talk.files import File

PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, GEO_KEYS, GEO_NUMBERS = 33550, 33922, 34264, 34735, 34736
NO_DATA = 42113
GEO_TEXTS = (34737, NO_DATA)  # those of keys, and what stands for no data
GEO_LENGTHS = {PIXEL_SCALE: 3, TIE_POINTS: 6, TRANSFORMATION: 16}  # or, of points, a multiple
PIXEL_IS_POINT = [1025, 0, 1, 2]  # one of the keys
TEXT, SHORT, DOUBLE = 2, 3, 12  # types of values


def read_geo_tags(original: Path, size: tuple[int, int]) -> list[tuple]:
    """Read where on earth a GeoTIFF lies, for a picture of the same place of (height, width): tags
    as imwrite wants them; of any other file, none."""
    with original.open("rb") as file:
        if file.read(4) not in STARTS:
            return []
        page = read_pages(file)[0]
        numbers = {}
        for tag in (PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, GEO_KEYS, GEO_NUMBERS):
            if tag in page.tags:
                numbers[tag] = np.atleast_1d(page.tags[tag].value).tolist()
        geo_tags = []
        for tag in filter(page.tags.get, GEO_TEXTS):  # byte for byte, as keys count the places
            file.seek(page.tags[tag].valueoffset)
            geo_tags.append((tag, TEXT, 0, file.read(page.tags[tag].count), True))
    is_odd = any(len(numbers.get(tag, ())) % length for tag, length in GEO_LENGTHS.items())
    if is_odd or orientation_of(page) != 1:
        return []
    numbers |= scale_places(numbers, size[0] / page.imagelength, size[1] / page.imagewidth)
    for tag, values in numbers.items():
        geo_tags.append((tag, SHORT if tag == GEO_KEYS else DOUBLE, len(values), values, True))
    return geo_tags


def read_no_data(path: File) -> float | None:
    """Read the number that stands for no data in a GeoTIFF; None if there is none."""
    with path.open("rb") as file:
        if file.read(4) not in STARTS:
            return None
        text = read_pages(file)[0].tags.valueof(NO_DATA)
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def scale_places(places: dict[int, list], down: float, across: float) -> dict[int, list]:
    """Return the tags that say where pixels lie, for a picture so many times higher and wider."""
    keys, scaled = places.get(GEO_KEYS, []), {}
    fours = [keys[place : place + 4] for place in range(4, len(keys), 4)]  # behind a head
    centre = 0.5 if PIXEL_IS_POINT in fours else 0.0  # of the first pixel, where counting begins
    if PIXEL_SCALE in places:
        scale = np.array(places[PIXEL_SCALE][:3])
        scaled[PIXEL_SCALE] = (scale / (across, down, 1)).tolist()
    if TIE_POINTS in places:
        points = np.array(places[TIE_POINTS], float).reshape(-1, 6)
        points[:, :2] = (points[:, :2] + centre) * (across, down) - centre
        scaled[TIE_POINTS] = points.ravel().tolist()
    if TRANSFORMATION in places:
        to_old = np.diag([1 / across, 1 / down, 1, 1])
        to_old[:2, 3] = centre / across - centre, centre / down - centre
        matrix = np.array(places[TRANSFORMATION][:16]).reshape(4, 4) @ to_old
        scaled[TRANSFORMATION] = matrix.ravel().tolist()
    return scaled

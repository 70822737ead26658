"""Label maps: pictures whose colours, or whose numbers, are classes and nothing in between."""

import colorsys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
from keras import ops
from numpy.lib.stride_tricks import sliding_window_view

from pix2pix.pictures.pixels import convert_channels, from_pixels, to_pixels
from pix2pix.pictures.sides import (
    MOST_CLASSES,
    MOST_NUMBER,
    LabelClass,
    name_facades,
    parse_class,
    to_hex,
)
from pix2pix.talk.errors import UserError

MOST_FOUND = 64  # classes; what has more colours is a photo
EVEN = 8  # levels by which neighbours may differ
SAME_COLOUR = 32  # levels by which the colours of one class may differ, as JPEG changes them
EXACT_COLOUR = 6  # levels by which they do so on average; in photos it is at least twice as much
LEAST_SHARE = 0.001  # of the even pixels that a class has
MOST_OTHERS = 0.02  # share of the even pixels that are of no class
MOSTLY_EVEN = 0.9  # share that is even in maps of two classes; in line drawings it is less
FRINGE = 2  # pixels at an edge between two classes that JPEG may colour anyhow
CODE = np.array([2**16, 2**8, 1])  # turns a colour into one number
GOLDEN_RATIO = 0.618034  # of the way round all hues, from one class to the next


# --- Finding classes ------------------------------------------------------------------------------


def read_classes(path: Path) -> tuple[LabelClass, ...]:
    """Read the classes from a text file: `NUMBER RED GREEN BLUE NAME` in each line.

    Without NUMBER, they are counted from 0. Empty lines and those that begin with # are notes."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        lines = [line for line in lines if line.strip() and not line.startswith("#")]
        classes = [parse_class(line, index) for index, line in enumerate(lines)]
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: must have lines of NUMBER RED GREEN BLUE NAME for --classes ({error})."
        ) from error
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise UserError(f"{path}: has {len(classes)} classes; --classes wants 2 to {MOST_CLASSES}.")
    return tuple(classes)


@dataclass
class ColourCounts:
    """How many pixels of some pictures have which colour, each colour as one number."""

    exact: Counter[int] = field(default_factory=Counter)  # all pixels, until there are too many
    even: Counter[int] = field(default_factory=Counter)  # pixels that are like their neighbours
    pixels: int = 0
    single: bool = True  # whether all pictures have one channel

    def add(self, picture: np.ndarray) -> None:
        """Count the colours of a picture.

        Even pixels are counted apart: at edges JPEG makes colours that mean nothing."""
        self.single &= picture.shape[2] == 1
        colours = convert_channels(picture.astype(np.uint8), 3).astype(int)
        self.pixels += picture.shape[0] * picture.shape[1]
        if len(self.exact) <= MOST_FOUND:
            self.exact.update(count_colours(colours))
        inner = colours[1:, 1:]
        steps = np.abs(inner - colours[:-1, 1:]), np.abs(inner - colours[1:, :-1])
        self.even.update(count_colours(inner[np.maximum(*steps).max(axis=-1) <= EVEN]))

    def find_palette(self) -> list[int]:
        """Return the colours that are classes, the most frequent first; none of a photo."""
        if len(self.exact) <= MOST_FOUND:  # kept without loss: all are classes, however rare
            palette = [code for code, _ in self.exact.most_common()]
        else:
            palette = gather_colours(self.even)
        is_mostly_even = self.even.total() >= MOSTLY_EVEN * self.pixels
        fewest = 2 if is_mostly_even else 3
        return palette if fewest <= len(palette) <= MOST_FOUND else []


def find_classes(pictures: Iterable[np.ndarray]) -> tuple[LabelClass, ...]:
    """Find the classes of label maps, the most frequent first; nothing if they are none."""
    counts = ColourCounts()
    for picture in pictures:
        if picture.shape[2] > 4 or (picture.dtype != np.uint8 and not is_index_map(picture)):
            return ()
        counts.add(picture)
    colours = [(code >> 16, code >> 8 & 255, code & 255) for code in counts.find_palette()]
    if colours and counts.single and max(max(colours)) < MOST_FOUND:
        return name_numbers(blue for _, _, blue in colours)
    return name_facades(
        LabelClass(colour[0] if counts.single else index, colour, to_hex(colour))
        for index, colour in enumerate(colours)
    )


def count_colours(colours: np.ndarray) -> Counter[int]:
    """Count colours [..., 3], each as one number."""
    codes, counts = np.unique(colours.reshape(-1, 3) @ CODE, return_counts=True)
    return Counter(dict(zip(codes.tolist(), counts.tolist(), strict=True)))


def is_index_map(picture: np.ndarray) -> bool:
    """Tell whether a picture of more than 8 bits has nothing but small class numbers."""
    return picture.shape[2] == 1 and picture.dtype == np.uint16 and picture.max() < 256


def gather_colours(counts: Counter[int]) -> list[int]:
    """Choose the colours that all others are like; none if too many are unlike all."""
    codes = np.array(list(counts), int)
    shares = np.array(list(counts.values())) / max(1, counts.total())
    colours = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1)
    palette, unlike = list[int](), 0.0
    while shares.sum() > 0 and len(palette) <= MOST_FOUND:
        best = shares.argmax()
        distances = np.abs(colours - colours[best]).max(axis=-1)
        same = distances <= SAME_COLOUR
        if shares[same].sum() < LEAST_SHARE:
            break
        palette.append(int(codes[best]))
        unlike += (distances[same] * shares[same]).sum()
        shares[same] = 0
    return palette if shares.sum() <= MOST_OTHERS and unlike <= EXACT_COLOUR else []


def name_numbers(numbers: Iterable[int]) -> tuple[LabelClass, ...]:
    """Return classes of numbers, each in a colour that is far from the last one's."""
    classes = []
    for number in sorted(numbers):
        hue, light = number * GOLDEN_RATIO % 1, 1 - 0.5 * (number % 2)
        red, green, blue = (round(255 * x) for x in colorsys.hsv_to_rgb(hue, 0.8, light))
        classes.append(LabelClass(number, (red, green, blue), f"class {number}"))
    return tuple(classes)


# --- From pixels to classes -----------------------------------------------------------------------


def palette_of(classes: tuple[LabelClass, ...]) -> np.ndarray:
    """Return the colours of classes: [classes, 3]."""
    return np.array([label.colour for label in classes], np.uint8)


def are_among(classes: tuple[LabelClass, ...], older: tuple[LabelClass, ...]) -> bool:
    """Tell whether there are classes, each in nearly the colour of an older one."""
    if not classes or not older:
        return False
    colours, others = (palette_of(each).astype(int) for each in (classes, older))
    distances = np.abs(colours[:, None] - others).max(axis=-1)
    return bool((distances.min(axis=1) <= SAME_COLOUR).all())


def classify(pixels: np.ndarray, classes: tuple[LabelClass, ...]) -> np.ndarray:
    """Return the index of the class of each pixel: by its number, or by its colour.

    Near an edge only the classes beside it count: JPEG colours the edge like a third one."""
    if pixels.shape[2] == 1:
        numbers = pixels[..., 0].astype(int).clip(0, MOST_NUMBER)
        known = np.array([label.number for label in classes])
        nearest = np.abs(np.arange(numbers.max() + 1)[:, None] - known).argmin(axis=-1)
        return nearest[numbers]
    if pixels.dtype == np.uint16:
        pixels = to_pixels(from_pixels(pixels))  # as the colours of classes have 8 bits
    colours = convert_channels(pixels, 3).astype(np.float32)
    palette = palette_of(classes).astype(np.float32)
    products = np.tensordot(palette, colours, (1, 2))  # of whole numbers, so nothing is rounded
    distances = (palette**2).sum(-1)[:, None, None] - 2 * products + (colours**2).sum(-1)
    nearest = distances.argmin(axis=0)
    if distances.min(axis=0).max() == 0:
        return nearest
    certain = (distances <= SAME_COLOUR**2) & (distances == distances.min(axis=0))
    beside = widen(certain)
    distances[~beside & beside.any(axis=0)] = np.inf
    return distances.argmin(axis=0)


def widen(masks: np.ndarray) -> np.ndarray:
    """Widen masks [masks, height, width] by FRINGE pixels on all sides."""
    for axis in (1, 2):
        padding = [(FRINGE, FRINGE) if each == axis else (0, 0) for each in range(masks.ndim)]
        padded = np.pad(masks, padding)
        masks = np.any(sliding_window_view(padded, 2 * FRINGE + 1, axis), axis=-1)
    return masks


def snap_to_classes(pixels: np.ndarray, classes: tuple[LabelClass, ...]) -> np.ndarray:
    """Give each pixel of a label map the exact colour of its class: RGB."""
    return palette_of(classes)[classify(pixels, classes)] if classes else pixels


def one_channel_per_class(
    source: keras.KerasTensor, classes: tuple[LabelClass, ...]
) -> keras.KerasTensor:
    """Turn label maps in RGB, from -1 to 1, into one channel for each class: 1 there, else 0.

    The nearest colour p of x has the least |x - p|², and so the most 2x·p - |p|²."""
    if not classes:
        return source
    palette = palette_of(classes) / np.float32(127.5) - 1
    nearness = ops.subtract(ops.matmul(source, 2 * palette.T), (palette**2).sum(axis=-1))
    nearest = ops.equal(nearness, ops.max(nearness, axis=-1, keepdims=True))
    return ops.cast(nearest, "float32")  # unlike argmax, all formats of export know this

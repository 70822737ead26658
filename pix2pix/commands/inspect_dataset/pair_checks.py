"""What makes trainings fail, measured on pixels: pairs that are shifted, repeated, of one colour or
partly blank, and a direction that looks turned round.

Each pair is measured once, by itself, on small grey pictures; what is told of a dataset follows
from these few numbers. A thing is told only where it is almost certain: docs/TROUBLE.md has how the
thresholds, chosen on the 500 pairs of facades, do there.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from pix2pix.pairs.alignment import (
    GREY_SIDE,
    SMALLEST_SHARE,
    SMALLEST_SHIFT,
    WHOLE,
    correlate,
    describe_shift,
    find_peaks,
    step_sizes,
    to_small_grey,
)

THUMBNAIL_SIDE = 24
FLAT = 0.01  # standard deviation of a grey picture, from 0 to 1, that is of one colour
ALIKE = 0.98  # correlation of the thumbnails of repeated pictures
PAIRS_AT_ONCE = 64  # are compared with all training pairs

CERTAIN = 10.0  # deviations from chance: so well a target must fit its source where it is shifted

EVEN = 2 / 255  # by which neighbours may differ within an area of one colour
LEVELS, LEVELS_OF_DRAWINGS = 128, 8  # of grey; and how many of them a label map or drawing has
EXACT = 0.5 / 255  # by which pixels of one blank differ at most
LEAST_BLANK = 0.03  # of a picture, that counts
FEW = 0.1  # of the pictures: so many may have a blank, and nothing is told
SAME_BLANK = 0.5  # overlap of a blank in the source with it, by their union: the source tells of it
DRAWN, PAINTED = 0.5, 0.25  # shares of such areas: more in label maps, less in photos


class SideMeasures(NamedTuple):
    """What is measured of one picture of a pair."""

    thumbnail: np.ndarray  # [height, width], 8 bits, from its darkest to its brightest pixel
    is_flat: bool
    evenness: float  # the share of areas of a few even colours


class PairMeasures(NamedTuple):
    """What is measured of a pair, or of a photo, which has one side only."""

    title: str
    sides: tuple[SideMeasures, ...]
    shift: tuple[float, float]  # pixels, down and right, of target against source; 0, 0 if unsure
    blank: float = 0.0  # share of the target that is a blank the source does not have


def measure_pair(title: str, pictures: Sequence[np.ndarray]) -> PairMeasures:
    """Measure source and target, or a photo alone: [height, width, channels] of any type."""
    greys = [to_small_grey(picture) for picture in pictures]
    steps = [step_sizes(grey) for grey in greys]
    sides = tuple(measure_side(grey, step) for grey, step in zip(greys, steps, strict=True))
    shift = (0.0, 0.0)
    if len(sides) == 2 and not any(side.is_flat for side in sides):
        shift = find_shift(steps[0], steps[1], size=pictures[-1].shape[:2])
    is_whole = len(sides) == 2 and not sides[-1].is_flat
    blank = measure_blank(*greys) if is_whole else 0.0
    return PairMeasures(title, sides, shift, blank)


def measure_side(grey: np.ndarray, steps: np.ndarray) -> SideMeasures:
    """Measure one small grey picture, given the steps between its pixels."""
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    thumbnail = np.asarray(Image.fromarray(grey).resize(side, Image.Resampling.BOX))
    thumbnail = thumbnail - thumbnail.min()
    thumbnail = np.rint(thumbnail * (255 / max(thumbnail.max(), 1e-9))).astype(np.uint8)
    return SideMeasures(thumbnail, bool(grey.std() < FLAT), measure_evenness(grey, steps))


# --- Shifted --------------------------------------------------------------------------------------


def find_shift(
    source_steps: np.ndarray, target_steps: np.ndarray, size: tuple[int, int]
) -> tuple[float, float]:
    """Find how far the target lies below and right of the source, in pixels of a picture of `size`.

    Return zeros where that is little or not certain."""
    fits = correlate(source_steps, target_steps, WHOLE.length)
    ((down, right),) = find_peaks(fits, WHOLE) * size / GREY_SIDE
    is_large = math.hypot(down, right) > max(SMALLEST_SHIFT, SMALLEST_SHARE * max(size))
    return (float(down), float(right)) if fits.max() > CERTAIN and is_large else (0.0, 0.0)


# --- Repeated -------------------------------------------------------------------------------------


def find_repeated(
    training: Sequence[PairMeasures], others: Sequence[PairMeasures]
) -> list[tuple[PairMeasures, PairMeasures]]:
    """Find the other pairs that look like a training pair on both sides; list them with that one.

    Pairs that have nothing but pictures of one colour are left out."""
    others = [pair for pair in others if not all(side.is_flat for side in pair.sides)]
    if not training or not others:
        return []
    repeated, training_vectors = [], to_vectors(training)
    for first in range(0, len(others), PAIRS_AT_ONCE):
        some = others[first : first + PAIRS_AT_ONCE]
        sides = zip(to_vectors(some), training_vectors, strict=True)
        alike = np.min([theirs @ ours.T for theirs, ours in sides], axis=0)
        for pair, row in zip(some, alike, strict=True):
            if row.max() >= ALIKE:
                repeated.append((pair, training[row.argmax()]))
    return repeated


def to_vectors(measures: Sequence[PairMeasures]) -> list[np.ndarray]:
    """Turn the thumbnails of each side into unit vectors [pairs, values], whose products are
    correlations; pictures of one colour, which have no pattern to compare, are all alike."""
    vectors = []
    for sides in zip(*(pair.sides for pair in measures), strict=True):
        values = np.stack([side.thumbnail.ravel() for side in sides]).astype(np.float32)
        values -= values.mean(axis=1, keepdims=True)
        values /= np.linalg.norm(values, axis=1, keepdims=True) + 1e-9
        is_flat = np.array([[side.is_flat] for side in sides])
        vectors.append(np.hstack([values * ~is_flat, is_flat]).astype(np.float32))
    return vectors


# --- Blank ----------------------------------------------------------------------------------------


def measure_blank(source: np.ndarray, target: np.ndarray) -> float:
    """Return the share of a grey target that has the very colour of one of its corners, as where a
    photo was turned upright and filled up; 0 if the source has a like area there."""
    blank = max(areas_of_corners(target), key=np.sum)
    overlaps = [(blank & area).sum() / (blank | area).sum() for area in areas_of_corners(source)]
    return float(blank.mean()) if max(overlaps) < SAME_BLANK else 0.0


def areas_of_corners(grey: np.ndarray) -> list[np.ndarray]:
    """Return, for each corner of a picture, where the picture has its colour."""
    return [np.abs(grey - grey[y, x]) <= EXACT for y in (0, -1) for x in (0, -1)]


def describe_blanks(pairs: Sequence[PairMeasures], name: str) -> Iterator[tuple[str, str]]:
    """Say how many targets of a split have a blank, if they are more than a few and photos."""
    blank = [pair.title for pair in pairs if pair.blank >= LEAST_BLANK]
    many = len(blank) > FEW * len(pairs)
    if many and np.median([pair.sides[-1].evenness for pair in pairs]) < PAINTED:
        of_all = f"{len(blank):,} of {len(pairs):,} {name} targets"
        yield "Blank", f"{of_all} have a blank corner that no source tells of, e.g. {blank[0]}"


# --- Turned round ---------------------------------------------------------------------------------


def measure_evenness(grey: np.ndarray, steps: np.ndarray) -> float:
    """Return the share of the area that is even and of few levels of grey, as in label maps."""
    even = grey[(steps <= EVEN).all(axis=0)]
    levels = np.rint(even * (LEVELS - 1)).astype(int)
    counts = np.sort(np.bincount(levels, minlength=LEVELS))
    return float(counts[-LEVELS_OF_DRAWINGS:].sum() / grey.size)


def looks_drawn(pictures: Sequence[np.ndarray]) -> bool:
    """Tell whether pictures look like drawings or label maps, and not like photos."""
    greys = [to_small_grey(picture) for picture in pictures]
    return bool(np.median([measure_evenness(grey, step_sizes(grey)) for grey in greys]) > DRAWN)


def looks_turned_round(measures: Sequence[PairMeasures]) -> bool:
    """Tell whether the targets look like label maps or drawings, and the sources like photos."""
    sides = [pair.sides for pair in measures if len(pair.sides) == 2]
    if not sides:
        return False
    source, target = np.median([[side.evenness for side in pair] for pair in sides], axis=0)
    return bool(source < PAINTED and target > DRAWN)


# --- What is told ---------------------------------------------------------------------------------


def describe_findings(
    measures: dict[str, list[PairMeasures]], unit: str
) -> Iterator[tuple[str, str]]:
    """Say what may spoil a training in some splits: a label and a text for each thing."""
    for name, pairs in measures.items():
        shifted = [pair for pair in pairs if any(pair.shift)]
        if shifted:
            worst = max(shifted, key=lambda pair: math.hypot(*pair.shift))
            by = f"by {math.hypot(*worst.shift):.0f} pixels"
            text = f"worst {worst.title} {by} (target {describe_shift(worst.shift)})"
            yield "Shifted", f"{len(shifted):,} of {len(pairs):,} {name} {unit}, {text}"
    for name in [split for split in measures if split != "train"]:
        repeated = find_repeated(measures["train"], measures[name])
        if repeated:
            pair, twin = repeated[0]
            of_all = f"{len(repeated):,} of {len(measures[name]):,} {name} {unit}"
            text = f"in train too, or almost: {pair.title} as {twin.title}"
            yield "Repeated", f"{of_all} are {text}"
    for name, pairs in measures.items():
        yield from describe_flat(pairs, name)
        yield from describe_blanks(pairs, name)


def describe_flat(pairs: Sequence[PairMeasures], name: str) -> Iterator[tuple[str, str]]:
    """Say how many sources, targets or photos of a split are of one colour."""
    sides = list(zip(*(pair.sides for pair in pairs), strict=True))
    words = ["sources", "targets"] if len(sides) == 2 else ["photos"]
    for word, pictures in zip(words, sides, strict=False):
        flat = [pair.title for pair, side in zip(pairs, pictures, strict=True) if side.is_flat]
        if flat:
            of_all = f"{len(flat):,} of {len(pairs):,} {name} {word}"
            yield "Flat", f"{of_all} have one colour only, e.g. {flat[0]}"

"""Targets that are out of place: how far they lie from where their sources say, and back again.

Edges of source and target are compared by phase correlation, on small grey pictures: those across
and those along apart, as a label map and a photo have little else in common. First the whole
pictures, which says how far the target is shifted; then windows of half the height and width, which
says how it is turned, scaled and bent. What all pairs of a dataset have in common is found by
adding up their correlations, of which each alone may be too weak to be certain.

The source is what targets are moved to. Nothing generated is looked at, so a training cannot learn
to be out of place itself; docs/QUALITY.md has what that is worth.
"""

import math
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from pix2pix.pictures.pixels import LUMA
from pix2pix.pictures.sides import PHOTOS, Misfit, Side

GREY_SIDE = 128  # all is measured on grey pictures of this height and width
SEARCHED = GREY_SIDE // 8  # shifts up to here are looked for, in every direction
WHITENED = 0.5  # 1 lets all frequencies count alike; 0, as much as they are strong
BLUR = 0.7  # pixels, of the peaks that mean shifts

TILES = 5  # from the top to the bottom, and from the left to the right; they overlap


class Stage(NamedTuple):
    """How shifts are looked for: in tiles of so many pixels."""

    length: int  # of a tile
    certain: float  # least fit, in deviations from chance
    evidence: float  # how much a fit counts against what is likely
    likely: float  # pixels that a shift mostly has


WHOLE = Stage(GREY_SIDE, certain=8.0, evidence=2.0, likely=5.0)
IN_TILES = Stage(GREY_SIDE // 2, certain=6.0, evidence=1.5, likely=1.2)
SMALLEST_SHIFT = 2  # pixels of a picture, that are told
SMALLEST_SHARE = 1 / 64  # of the height or width, likewise
SMALLEST_TURN, SMALLEST_SCALE = 0.5, 0.01  # degrees, and a share; likewise
TOGETHER = 0.5  # of the fits that pairs have each by itself: so much at one shift is no chance

NEARBY = np.arange(-SEARCHED, SEARCHED + 1)  # negative shifts are at the end, as indices are
SQUARED_DISTANCE = NEARBY[:, None] ** 2 + NEARBY**2


# --- Small grey pictures --------------------------------------------------------------------------


def to_small_grey(pixels: np.ndarray) -> np.ndarray:
    """Bring a picture of any size, type and number of channels to a small grey one, from 0 to 1."""
    every = [max(1, length // (2 * GREY_SIDE)) for length in pixels.shape[:2]]
    pixels = pixels[:: every[0], :: every[1]]
    low, high = 0.0, 255.0
    if pixels.dtype != np.uint8:  # nobody knows how much of 16 bits a camera fills
        pixels = np.nan_to_num(pixels, posinf=0, neginf=0)
        low, high = float(pixels.min()), float(pixels.max())
    weights = np.resize(LUMA, pixels.shape[2])  # none alike in a row, so colours differ in grey
    weights = (weights / weights.sum()).astype(np.float32)
    grey = Image.fromarray(pixels.astype(np.float32) @ weights)
    side = (GREY_SIDE, GREY_SIDE)
    small = grey.resize(side, Image.Resampling.BILINEAR, reducing_gap=1)  # a gap is quicker
    return (np.asarray(small) - low) / max(high - low, 1e-9)


def step_sizes(grey: np.ndarray) -> np.ndarray:
    """Return how much each pixel differs from the one above and the one to the left: [2, …]."""
    steps = np.zeros((2, *grey.shape), np.float32)
    np.abs(grey[1:] - grey[:-1], out=steps[0, 1:])
    np.abs(grey[:, 1:] - grey[:, :-1], out=steps[1, :, 1:])
    return steps


# --- Shifts ---------------------------------------------------------------------------------------


@cache
def fading_and_smoothing(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what windows of so many pixels are multiplied by, so that they fade towards their
    borders, which are no edges; and what their spectra are, so that peaks are smooth."""
    hann = np.hanning(length + 2)[1:-1].astype(np.float32)
    frequencies = np.hypot(np.fft.fftfreq(length)[:, None], np.fft.rfftfreq(length))
    smoothing = np.exp(-2 * (np.pi * BLUR * frequencies) ** 2)
    return np.outer(hann, hann), smoothing.astype(np.float32)


def spectra_of(steps: np.ndarray, length: int) -> np.ndarray:
    """Return the spectra of the edges in each tile of so many pixels, [tiles, 2, …]."""
    stride = max(1, (GREY_SIDE - length) // (TILES - 1))
    tiles = sliding_window_view(np.sqrt(steps), (length, length), axis=(1, 2))
    tiles = np.moveaxis(tiles[:, ::stride, ::stride], 0, 2).reshape(-1, 2, length, length)
    fading, _ = fading_and_smoothing(length)
    return np.fft.rfft2((tiles - tiles.mean(axis=(2, 3), keepdims=True)) * fading)


def correlate(source_steps: np.ndarray, target_steps: np.ndarray, length: int) -> np.ndarray:
    """Correlate the edges of source and target in each tile of so many pixels.

    Return how well they fit, [tiles, down, right], if the target is shifted by so much, from
    -SEARCHED on; 1 is the standard deviation over all shifts."""
    source, target = spectra_of(source_steps, length), spectra_of(target_steps, length)
    product = (np.conj(source) * target).sum(axis=1)
    _, smoothing = fading_and_smoothing(length)
    fits = np.fft.irfft2(product * smoothing / (np.abs(product) ** WHITENED + 1e-9))
    fits /= fits.std(axis=(1, 2), keepdims=True) + 1e-9
    return fits[:, NEARBY][:, :, NEARBY]


def find_peaks(fits: np.ndarray, stage: Stage) -> np.ndarray:
    """Return the most likely shift, down and right, for each tile: [tiles, 2].

    How large shifts mostly are decides where a pattern repeats itself."""
    weighed = stage.evidence * fits - SQUARED_DISTANCE / (2 * stage.likely**2)
    shifts = []
    for tile in weighed:
        row, column = np.unravel_index(tile.argmax(), tile.shape)
        down = NEARBY[row] + vertex(tile[:, column], row)
        right = NEARBY[column] + vertex(tile[row], column)
        shifts.append((down, right))
    return np.array(shifts, np.float32)


def vertex(values: np.ndarray, peak: int) -> float:
    """Return how far beside its highest value a row of numbers has its peak, from -0.5 to 0.5: that
    of the parabola through its neighbours."""
    if not 0 < peak < len(values) - 1:
        return 0.0
    before, highest, after = values[peak - 1 : peak + 2]
    bend = before - 2 * highest + after
    return float((before - after) / (2 * bend)) if bend else 0.0


# --- Fields ---------------------------------------------------------------------------------------
#
# A field says for each tile how far down and right of its place in the source a target has what is
# to be there, in shares of height and width: [TILES, TILES, 2].

NO_MISFIT: Misfit = (0.0,) * 6
MIDDLES = np.linspace(1 / 4, 3 / 4, TILES)  # of tiles, from the top and from the left
PLACES = np.array([(1, y - 1 / 2, x - 1 / 2) for y in MIDDLES for x in MIDDLES])


class SmallPair(NamedTuple):
    """What is looked at of a pair."""

    source_steps: np.ndarray  # [2, height, width]
    target: np.ndarray  # [height, width], grey


def shrink(source: np.ndarray, target: np.ndarray) -> SmallPair:
    """Return what is looked at of a pair."""
    return SmallPair(step_sizes(to_small_grey(source)), to_small_grey(target))


def find_field(pairs: Sequence[SmallPair], field: np.ndarray) -> np.ndarray:
    """Find how far the target of a pair, or those of several alike, are out of place, beginning
    with what is known. Where that is not certain, nothing is added."""
    for stage in (WHOLE, IN_TILES):
        of_pairs = np.stack([correlate_moved(pair, field, stage.length) for pair in pairs])
        # what is chance alone has a deviation of 1 in each, and in this sum again
        fits = of_pairs.sum(axis=0) / math.sqrt(len(pairs))
        shifts = find_peaks(fits, stage) / GREY_SIDE
        together = fits.max(axis=(1, 2)) / math.sqrt(len(pairs))
        by_themselves = of_pairs.max(axis=(2, 3)).mean(axis=0)
        are_certain = fits.max(axis=(1, 2)) > stage.certain
        are_certain &= together > TOGETHER * by_themselves
        count = math.isqrt(len(shifts))
        field = field + (shifts * are_certain[:, None]).reshape(count, count, 2)
    return field


def correlate_moved(pair: SmallPair, field: np.ndarray, length: int) -> np.ndarray:
    """Correlate source and target in tiles once the target is moved as a field says."""
    moved = move(pair.target[..., None], field)[..., 0]
    return correlate(pair.source_steps, step_sizes(moved), length)


def find_misfit(pairs: Iterable[Sequence[np.ndarray]]) -> Misfit:
    """Find what is out of place in all pairs alike, given the source and the target of each."""
    small = [shrink(pictures[0], pictures[-1]) for pictures in pairs]
    field = find_field(small, np.zeros((TILES, TILES, 2)))
    plane, *_ = np.linalg.lstsq(PLACES, field.reshape(-1, 2), rcond=None)
    return tuple(round(float(number), 5) + 0.0 for number in plane.ravel())  # no -0.0


def describe_misfit(misfit: Misfit, size: tuple[int, int]) -> str:
    """Say what all targets have in common, at a height and width in pixels: `4 pixels down, 3 left,
    turned left by 1.5°, 2.0% larger`; nothing where that is little."""
    (height, width), ways = size, list[str]()
    shift, down, right = np.reshape(misfit, (3, 2)) * size
    if math.hypot(*shift) >= max(SMALLEST_SHIFT, SMALLEST_SHARE * max(size)):
        ways.append(describe_shift(shift).replace(" ", " pixels ", 1))
    turn = math.degrees((down[1] / height - right[0] / width) / 2)
    larger = (down[0] / height + right[1] / width) / 2
    if abs(turn) >= SMALLEST_TURN:
        ways.append(f"turned {'left' if turn > 0 else 'right'} by {abs(turn):.1f}°")
    if abs(larger) >= SMALLEST_SCALE:
        ways.append(f"{abs(larger):.1%} {'larger' if larger > 0 else 'smaller'}")
    return ", ".join(ways)


def describe_shift(shift: Sequence[float]) -> str:
    """Say where something lies: `8 pixels down, 4 left`."""
    down, right = (round(float(step)) for step in shift)
    ways = []
    if down:
        ways.append(f"{abs(down)} {'down' if down > 0 else 'up'}")
    if right:
        ways.append(f"{abs(right)} {'right' if right > 0 else 'left'}")
    return ", ".join(ways)


def field_of(misfit: Misfit) -> np.ndarray:
    """Return what all pairs have in common as a field."""
    return (PLACES @ np.reshape(misfit, (3, 2))).reshape(TILES, TILES, 2)


def move_to_source(
    pair: Sequence[tuple[np.ndarray, Side]], misfit: Misfit | None
) -> list[tuple[np.ndarray, Side]]:
    """Move what a target shows, and what comes behind it, to where its source says that it belongs,
    given what is known to be out of place in all pairs alike."""
    (source, _), (target, _), *_ = pair
    field = find_field([shrink(source, target)], field_of(misfit or NO_MISFIT))
    return [pair[0], *((move(pixels, field, side), side) for pixels, side in pair[1:])]


def move(picture: np.ndarray, field: np.ndarray, side: Side = PHOTOS) -> np.ndarray:
    """Move what a picture [height, width, channels] shows to where a field says that it belongs.

    What comes in from beyond its border is the picture mirrored there."""
    height, width = picture.shape[:2]
    reach = [
        math.ceil(np.abs(field[..., axis]).max() * (height, width)[axis]) + 1 for axis in (0, 1)
    ]
    reach = [min(reach[0], height - 1), min(reach[1], width - 1)]
    wide = np.pad(picture, [(reach[0],) * 2, (reach[1],) * 2, (0, 0)], "reflect")
    method = Image.Resampling.NEAREST if side.classes else Image.Resampling.BILINEAR
    mesh = mesh_of(field, (height, width), reach)
    planes = []
    for plane in np.moveaxis(wide, -1, 0):
        exact = plane if plane.dtype == np.uint8 else plane.astype(np.float32)
        image = Image.fromarray(np.ascontiguousarray(exact))
        moved = image.transform((width, height), Image.Transform.MESH, mesh, method)
        planes.append(np.asarray(moved))
    result = np.stack(planes, axis=-1)
    return result if result.dtype == picture.dtype else np.rint(result).astype(picture.dtype)


def mesh_of(
    field: np.ndarray, size: tuple[int, int], offset: Sequence[int]
) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    """Return a field as Pillow wants it: boxes of the result, each with the corners of what comes
    there. Between the middles of tiles it is interpolated, and beyond them it goes on as it is."""
    nodes = np.pad(field, [(1, 1), (1, 1), (0, 0)], "edge") * size
    rows, columns = ([0, *(MIDDLES * length).round().astype(int), length] for length in size)
    mesh = []
    for row in range(TILES + 1):
        for column in range(TILES + 1):
            corners = [(row, column), (row + 1, column), (row + 1, column + 1), (row, column + 1)]
            quad: list[float] = []
            for y, x in corners:
                down, right = nodes[y, x] + (rows[y] + offset[0], columns[x] + offset[1])
                quad += [float(right), float(down)]
            box = (columns[column], rows[row], columns[column + 1], rows[row + 1])
            if box[0] < box[2] and box[1] < box[3]:  # else the picture is smaller than the mesh
                mesh.append((tuple(map(int, box)), tuple(quad)))
    return mesh

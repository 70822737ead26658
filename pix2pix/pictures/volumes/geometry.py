"""Where the voxels of a volume lie in a patient, and how they become pictures.

An affine is a matrix [4, 4] that turns the numbers of a voxel along the three axes of an array into
millimetres to the right, to the front and to the top of a patient, as NIfTI has it.
"""

from itertools import permutations

import numpy as np

RIGHT, FRONT, TOP = 0, 1, 2
VIEWS = {  # along what slices, rows and columns are counted
    "axial": (TOP, FRONT, RIGHT),
    "coronal": (FRONT, TOP, RIGHT),
    "sagittal": (RIGHT, TOP, FRONT),
}
LEAST_VOLUME = 0.01  # of the box that three axes span, next to one with right angles


def find_fault(affine: np.ndarray) -> str:
    """Say why an affine places no voxels; nothing if it does."""
    if not np.isfinite(affine).all():
        return "has numbers that are none"
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not lengths.all():
        return "has voxels without extent"
    if abs(np.linalg.det(affine[:3, :3] / lengths)) < LEAST_VOLUME:
        return "has axes that lie in one plane"
    return ""


def match_axes(affine: np.ndarray) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Return which axis of an array runs most nearly right, front and top, and whether each runs
    the other way."""
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    best: tuple[int, ...] = (0, 1, 2)
    most = -1.0
    for own in permutations(range(3)):
        fit = float(sum(abs(cosines[direction, axis]) for direction, axis in enumerate(own)))
        if fit > most:
            best, most = own, fit
    reversals = [bool(cosines[direction, axis] < 0) for direction, axis in enumerate(best)]
    return best, tuple(reversals)


def to_pictures(voxels: np.ndarray, affine: np.ndarray, axis: str) -> np.ndarray:
    """Return a view of voxels [3 axes of an array] as slices, from the feet, the back or the left
    on: [slices, height, width].

    Seen as is usual: head or front up; what is right in the patient, or at the front, on the left.
    """
    _, reversals = match_axes(affine)
    across, rows, columns = VIEWS[axis]
    first = -1 if reversals[across] else 1
    down = 1 if reversals[rows] else -1  # rows are counted from the top
    right = 1 if reversals[columns] else -1
    return voxels.transpose(axes_of_slices(affine, axis))[::first, ::down, ::right]


def axes_of_slices(affine: np.ndarray, axis: str) -> tuple[int, ...]:
    """Return which axes of an array are those of its slices, of their rows and their columns."""
    own, _ = match_axes(affine)
    return tuple(own[direction] for direction in VIEWS[axis])


def place_of_slice(affine: np.ndarray, shape: tuple[int, ...], axis: str, index: int) -> float:
    """Return how many millimetres the middle of a slice lies to the right, the front or the top."""
    own, reversals = match_axes(affine)
    direction = VIEWS[axis][0]
    middle = (np.array(shape) - 1) / 2
    last = shape[own[direction]] - 1
    middle[own[direction]] = last - index if reversals[direction] else index
    return float((affine @ [*middle, 1])[direction])


def scale_affine(
    affine: np.ndarray, shape: tuple[int, ...], new_shape: tuple[int, ...]
) -> np.ndarray:
    """Return the affine of an array of another shape that fills the same place."""
    ratios = np.array(shape) / np.array(new_shape)
    to_old = np.diag([*ratios, 1])
    to_old[:3, 3] = (ratios - 1) / 2  # numbers are those of the middles of voxels
    return affine @ to_old

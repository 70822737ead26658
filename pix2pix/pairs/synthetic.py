"""Made-up facades: a dataset that needs no download, drawn from nothing but numbers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pix2pix.pairs.file_pairs import FoundPairs
from pix2pix.pictures.sides import FACADE_CLASSES, PHOTOS, Side

COUNTS = {"train": 400, "val": 100, "test": 106}  # as many pairs as the facades dataset has

PAINTS = {  # the colours in which the made-up photos show the classes
    "background": (168, 200, 232),
    "facade": (196, 164, 132),
    "window": (58, 74, 96),
    "door": (96, 62, 40),
    "cornice": (226, 214, 190),
    "sill": (208, 202, 190),
    "balcony": (72, 72, 76),
    "blind": (150, 170, 140),
    "molding": (214, 196, 166),
}
CLASSES = {name: (FACADE_CLASSES[name], paint) for name, paint in PAINTS.items()}


@dataclass(frozen=True)
class SyntheticPair:
    """A made-up facade: photo (A) and label map (B), drawn when they are read."""

    seed: int
    number: int
    size: tuple[int, int]
    files: tuple[Path, ...] = ()  # like those of a pair on disk: there are none
    group: str = ""  # likewise
    weight: float = 1.0

    @property
    def name(self) -> str:
        """Return what tells this pair from others."""
        return f"facade {self.number} of seed {self.seed}"

    @property
    def title(self) -> str:
        """Return what the pair is called in reports."""
        return self.name

    def read(self) -> list[np.ndarray]:
        """Draw photo and label map, each [height, width, 3]."""
        return draw_facade(self.seed, self.number, self.size)

    def describe(self) -> list[Side]:
        """Say what photo and label map are made of: colours."""
        return [PHOTOS, PHOTOS]


def synthetic_splits(seed: int, size: tuple[int, int]) -> dict[str, FoundPairs[SyntheticPair]]:
    """Number the pairs of all splits, one split after the other."""
    splits, first = {}, 0
    for split, count in COUNTS.items():
        numbers = range(first, first + count)
        splits[split] = FoundPairs([SyntheticPair(seed, number, size) for number in numbers])
        first += count
    return splits


def draw_facade(seed: int, number: int, size: tuple[int, int]) -> list[np.ndarray]:
    """Draw photo and label map of a made-up building, the same for the same seed and number."""
    rng = np.random.default_rng((seed, number))
    plan = plan_facade(rng, size)
    label_colours, paints = np.array(list(CLASSES.values()), np.uint8).swapaxes(0, 1)
    photo = paints[plan] * rng.uniform(0.85, 1.1) * rng.uniform(0.94, 1.06, 3)  # stone and weather
    row, column = np.indices(size) * 256 // min(size)
    bricks = (row % 8 == 0) | ((column + row // 8 % 2 * 8) % 16 == 0)
    photo[bricks & (plan == class_number("facade"))] *= 0.86
    mirrored_sky = (row + column) % 96 < 40
    photo[mirrored_sky & (plan == class_number("window"))] += 70
    photo[1:][plan[1:] != plan[:-1]] *= 0.6  # shadows where one thing meets another
    photo[:, 1:][plan[:, 1:] != plan[:, :-1]] *= 0.6
    photo = photo * (1.1 - 0.2 * row / 256)[..., None] + rng.normal(0, 5, photo.shape)
    return [np.clip(np.rint(photo), 0, 255).astype(np.uint8), label_colours[plan]]


def plan_facade(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Plan a building as a map of class numbers [height, width]."""
    plan = np.zeros(size, int)
    left, right, roof = rng.uniform(0, 0.1), rng.uniform(0.9, 1), rng.uniform(0.05, 0.2)
    floors, bays = rng.integers(2, 5), rng.integers(2, 6)
    width, height, door = (right - left) / bays, (1 - roof) / floors, rng.integers(bays)
    w, h = width * rng.uniform(0.4, 0.65), height * rng.uniform(0.5, 0.65)  # of a window
    blinds, balconies = rng.random(2) < 0.5
    paint(plan, "facade", left, roof, right, 1)
    for floor, bay in np.ndindex(floors, bays):
        top = roof + floor * height
        x, y = left + (bay + 0.5) * width - w / 2, top + 0.25 * height
        paint(plan, "molding" if floor else "cornice", left, top, right, top + 0.12 * height)
        if floor == floors - 1 and bay == door:
            paint(plan, "door", x, y, x + w, 1)
            continue
        paint(plan, "window", x, y, x + w, y + h)
        if blinds:
            paint(plan, "blind", x, y, x + w, y + rng.uniform(0.1, 0.5) * h)
        below, depth = ("balcony", 0.2) if balconies and floor < floors - 1 else ("sill", 0.08)
        paint(plan, below, x - w / 8, y + h * (1 - depth), x + 1.125 * w, y + h)
    return plan


def paint(
    plan: np.ndarray, label: str, left: float, top: float, right: float, bottom: float
) -> None:
    """Fill a rectangle of a plan with a class; its edges are shares of the width and height."""
    edges = np.array([[top, bottom], [left, right]]) * np.array(plan.shape)[:, None]
    rows, columns = np.rint(edges).astype(int)
    plan[slice(*rows), slice(*columns)] = class_number(label)


def class_number(label: str) -> int:
    """Return the number of a class on plans."""
    return list(CLASSES).index(label)

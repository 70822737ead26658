"""Make facades whose photos are out of place, to see what a training makes of them.

    python benchmarks/misaligned.py FACADES FOLDER --share 0.06
    python image_to_image_translation.py train --dataset FOLDER --direction BtoA --align

Each training photo is shifted by up to a share of its height and width, turned by up to two
degrees, and bent by a smooth field of up to a third of that share, all at random, alike in every
run. The pairs of val stay as they are: they tell how near a training comes to the truth.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

LARGEST_TURN = np.radians(2)
BEND = 1 / 3  # of the share
KNOTS = 4  # of the smooth field, from the top to the bottom and from the left to the right


@dataclass(frozen=True)
class Options:
    """Which facades, and how far they are out of place."""

    facades: tyro.conf.Positional[Path]
    """The folder facades, with train and val."""
    folder: tyro.conf.Positional[Path]
    """Where the pairs go."""
    share: float = 0.06
    """Of height and width, by which photos are shifted at most; 0 leaves them in place."""


def draw_displacement(size: tuple[int, int], share: float, rng: np.random.Generator) -> np.ndarray:
    """Draw from how far down and right each pixel of a photo comes, [2, height, width]."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    middle_y, middle_x = (size[0] - 1) / 2, (size[1] - 1) / 2
    down, right = rng.uniform(-share, share, 2) * size
    turn = rng.uniform(-LARGEST_TURN, LARGEST_TURN) if share else 0.0
    knots = rng.uniform(-share * BEND, share * BEND, (2, KNOTS, KNOTS)).astype(np.float32)
    bent = [
        np.asarray(Image.fromarray(knot * length).resize(size[::-1], Image.Resampling.BICUBIC))
        for knot, length in zip(knots, size, strict=True)
    ]
    turned_y = np.cos(turn) * (y - middle_y) - np.sin(turn) * (x - middle_x) + middle_y
    turned_x = np.sin(turn) * (y - middle_y) + np.cos(turn) * (x - middle_x) + middle_x
    return np.stack([turned_y - y + down + bent[0], turned_x - x + right + bent[1]])


def displace(photo: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """Take each pixel of a photo from where the displacement says; beyond the border from the photo
    mirrored there."""
    y, x = np.mgrid[: photo.shape[0], : photo.shape[1]] + displacement
    y, x = (
        (length - 1) - np.abs((length - 1) - np.abs(at))
        for at, length in zip((y, x), photo.shape[:2], strict=True)
    )
    top = np.floor(y).astype(int).clip(0, photo.shape[0] - 2)
    left = np.floor(x).astype(int).clip(0, photo.shape[1] - 2)
    low, far = (y - top)[..., None], (x - left)[..., None]
    above = photo[top, left] * (1 - far) + photo[top, left + 1] * far
    below = photo[top + 1, left] * (1 - far) + photo[top + 1, left + 1] * far
    return np.rint(above * (1 - low) + below * low).astype(np.uint8)


def main() -> None:
    """Write the pairs of train and val, as PNG."""
    options = tyro.cli(Options)
    for split in ("train", "val"):
        (options.folder / split).mkdir(parents=True, exist_ok=True)
        for k, path in enumerate(sorted((options.facades / split).iterdir())):
            pixels = np.asarray(Image.open(path).convert("RGB"))
            photo, labels = np.split(pixels, 2, axis=1)
            if split == "train":
                rng = np.random.default_rng([7, k])
                photo = displace(photo, draw_displacement(photo.shape[:2], options.share, rng))
            pair = np.concatenate([photo, labels], axis=1)
            Image.fromarray(pair).save(options.folder / split / f"{path.stem}.png")


if __name__ == "__main__":
    main()

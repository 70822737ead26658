"""The judge of evaluate: a run that was trained in the other direction reads the labels back.

paper: section 3.3, the FCN-score. A network that reads labels from photos finds more of them the
more a generated photo looks like a real one. The paper takes a foreign network; here it is our own,
and what it reads in the real photos is the best to hope for.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from image_to_image_translation import CheckedSplit, Split, generate
from pix2pix.commands.metrics import generate_batches
from pix2pix.commands.trained_run import TrainedRun, open_run
from pix2pix.support.pictures import convert_channels, to_pixels
from pix2pix.support.terminal import UserError, say_for_now

MOST_CLASSES = 64
LABEL_MAPS = 100  # that are looked at for their colours
EVEN = 8  # levels by which neighbours may differ
SAME_COLOUR = 32  # levels by which the colours of one class may differ
LEAST_SHARE = 0.001  # of the pixels that a class has


@dataclass(frozen=True)
class Judge:
    """A run that reads labels from photos, and the colours of the classes: [classes, 3]."""

    trained: TrainedRun
    palette: np.ndarray


def open_judge(path: Path, trained: TrainedRun, labels: Split) -> Judge:
    """Open a run as the judge of another, and find the classes in that one's label maps."""
    judge = open_run(path)
    channels = trained.config.target_channels, trained.config.source_channels
    judges_channels = judge.config.source_channels, judge.config.target_channels
    if judge.config.direction == trained.config.direction or judges_channels != channels:
        raise UserError(
            f"{path}: --judge must be trained on the same pairs in the other direction."
        )
    if judge.task.size != trained.task.size:
        raise UserError(f"{path}: --judge must be trained at the same --image-size.")
    every = max(1, len(labels) // LABEL_MAPS)
    palette = find_palette(read_sound(labels, range(0, len(labels), every)))
    if not 2 <= len(palette) <= MOST_CLASSES:
        raise UserError(
            f"--judge needs label maps; these sources have {len(palette)} even colours."
        )
    return Judge(judge, palette)


def read_sound(labels: Split, numbers: Iterable[int]) -> Iterator[np.ndarray]:
    """Read the label maps of some pairs, but for those that are broken: they are not measured."""
    for k in numbers:
        with suppress(UserError):
            yield labels.read(k)[0]


def find_palette(labels: Iterable[np.ndarray]) -> np.ndarray:
    """Find the colours of the classes in label maps, most frequent first: [classes, 3].

    They are counted where neighbours agree: at edges JPEG makes colours that mean nothing."""
    bins, counts = np.array([1024, 32, 1]), np.zeros(32**3, int)  # 5 bits of each colour
    for picture in labels:
        pixels = convert_channels(picture, 3).astype(int)
        inner = pixels[1:, 1:]
        steps = np.abs(inner - pixels[:-1, 1:]), np.abs(inner - pixels[1:, :-1])
        even = np.maximum(*steps).max(axis=-1) <= EVEN
        counts += np.bincount((inner[even] >> 3) @ bins, minlength=32**3)
    colours = (np.indices((32, 32, 32)).reshape(3, -1).T << 3) + 4
    palette, least = [], LEAST_SHARE * counts.sum()
    while counts.sum() and len(palette) <= MOST_CLASSES:
        colour = colours[counts.argmax()]
        same = np.abs(colours - colour).max(axis=-1) <= SAME_COLOUR
        if counts[same].sum() < least:
            break
        palette.append(colour)
        counts[same] = 0
    return np.array(palette)


def judge_scores(
    judge: Judge, trained: TrainedRun, split: CheckedSplit
) -> dict[str, dict[str, float]]:
    """Measure how well the labels are read back from the generated and from the real photos."""
    confusion = {"generated": 0, "real": 0}
    for batch in generate_batches(trained, split, range(len(split))):
        confusion["generated"] += count_readings(batch.sources, batch.generated, judge)
        confusion["real"] += count_readings(batch.sources, batch.targets, judge)
        say_for_now("Asking the judge")
    return {name: label_scores(counts) for name, counts in confusion.items()}


def count_readings(labels: tf.Tensor, photos: tf.Tensor, judge: Judge) -> np.ndarray:
    """Count how many pixels of each true class the judge reads as which: [true, read]."""
    true = to_classes(labels, judge.palette)
    read = to_classes(generate(judge.trained.generator, photos), judge.palette)
    count = len(judge.palette)
    return np.bincount((true * count + read).ravel(), minlength=count**2).reshape(count, count)


def to_classes(labels: tf.Tensor, palette: np.ndarray) -> np.ndarray:
    """Return the number of the nearest colour for each pixel of some label maps."""
    pixels = np.stack([convert_channels(label_map, 3) for label_map in to_pixels(labels)])
    pixels = pixels.astype(np.float32)
    distances = [((pixels - colour) ** 2).sum(axis=-1) for colour in palette]
    return np.argmin(distances, axis=0)


def label_scores(confusion: np.ndarray) -> dict[str, float]:
    """Return the three scores of the paper for a table [true, read] of pixels."""
    right, true, read = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    there = true > 0
    return {
        "per_pixel_accuracy": float(right.sum() / confusion.sum()),
        "per_class_accuracy": float((right[there] / true[there]).mean()),
        "class_iou": float((right[there] / (true + read - right)[there]).mean()),
    }

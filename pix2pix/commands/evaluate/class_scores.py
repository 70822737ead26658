"""How well label maps are met, class by class: what evaluate says of generated labels, and of those
that its judge reads.

paper: table 6 and section 3.3, per-pixel accuracy, per-class accuracy and class IoU.
"""

import numpy as np
import tensorflow as tf

from pix2pix.commands.evaluate.metrics import generate_batches
from pix2pix.commands.open_run import TrainedRun
from pix2pix.pairs.splits import CheckedSplit
from pix2pix.pictures.ignored import fill
from pix2pix.pictures.label_maps import classify
from pix2pix.pictures.pixels import to_pixels
from pix2pix.pictures.sides import LabelClass
from pix2pix.talk.lines import say_for_now

Classes = tuple[LabelClass, ...]


def target_scores(trained: TrainedRun, split: CheckedSplit) -> dict[str, object]:
    """Measure the generated label maps of a split: scores of all, scores and readings by class."""
    classes = trained.found.target.classes
    confusion = np.zeros((len(classes), len(classes)), int)
    for batch in generate_batches(trained, split, range(len(split))):
        confusion += count_readings(batch.targets, batch.generated, classes)
        say_for_now("Counting classes")
    return label_scores(confusion) | {
        "classes": class_scores(confusion, classes),
        "confusion": confusion.tolist(),  # [true, generated], in pixels
    }


def count_readings(true: tf.Tensor, read: tf.Tensor, classes: Classes) -> np.ndarray:
    """Count how many pixels of each true class are of which in other label maps: [true, read]."""
    count, counts = len(classes), np.isfinite(true).all(axis=-1).ravel()
    pairs = class_indices(fill(true), classes) * count + class_indices(read, classes)
    pairs = pairs[counts]
    return np.bincount(pairs, minlength=count**2).reshape(count, count)


def class_indices(labels: tf.Tensor, classes: Classes) -> np.ndarray:
    """Return the index of the class of each pixel of a batch of label maps, in one row."""
    return np.concatenate([classify(pixels, classes).ravel() for pixels in to_pixels(labels)])


def label_scores(confusion: np.ndarray) -> dict[str, float]:
    """Return the three scores of the paper for a table [true, read] of pixels."""
    right, accuracy, iou = scores_by_class(confusion)
    there = confusion.sum(axis=1) > 0
    return {
        "per_pixel_accuracy": float(right.sum() / confusion.sum()),
        "per_class_accuracy": float(accuracy[there].mean()),
        "class_iou": float(iou[there].mean()),
    }


def scores_by_class(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how many pixels of each class are right, what share of it, and its IoU."""
    right, true, read = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    return right, right / np.maximum(true, 1), right / np.maximum(true + read - right, 1)


def class_scores(confusion: np.ndarray, classes: Classes) -> list[dict[str, object]]:
    """Return the scores of each class by name, and its share of all true pixels."""
    _, accuracy, iou = scores_by_class(confusion)
    shares = confusion.sum(axis=1) / confusion.sum()
    rows = []
    for index, label in enumerate(classes):
        numbers = {"share": shares[index], "accuracy": accuracy[index], "iou": iou[index]}
        rows.append({"name": label.name, **{name: float(x) for name, x in numbers.items()}})
    return rows

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

from image_to_image_translation import generate
from pix2pix.commands.evaluate.class_scores import count_readings, label_scores
from pix2pix.commands.evaluate.metrics import generate_batches
from pix2pix.commands.open_run import TrainedRun, open_run
from pix2pix.pairs.splits import CheckedSplit, Split
from pix2pix.pictures.ignored import leave_out
from pix2pix.pictures.label_maps import find_classes
from pix2pix.pictures.sides import LabelClass
from pix2pix.preparation import PICTURES_ASKED
from pix2pix.talk.errors import UserError
from pix2pix.talk.lines import say_for_now


@dataclass(frozen=True)
class Judge:
    """A run that reads labels from photos, and the classes of these labels."""

    trained: TrainedRun
    classes: tuple[LabelClass, ...]


def open_judge(path: Path, trained: TrainedRun, labels: Split) -> Judge:
    """Open a run as the judge of another, and find the classes in that one's label maps."""
    judge = open_run(path)
    channels = trained.found.target_channels, trained.found.source_channels
    judges_channels = judge.found.source_channels, judge.found.target_channels
    if judge.found.direction == trained.found.direction or judges_channels != channels:
        raise UserError(
            f"{path}: --judge must be trained on the same pairs in the other direction."
        )
    if judge.task.size != trained.task.size:
        raise UserError(f"{path}: --judge must be trained at the same --image-size.")
    classes = trained.found.source.classes or find_classes(
        read_sound(labels, labels.spread(PICTURES_ASKED))
    )
    if not classes:
        raise UserError("--judge needs label maps; these sources have no few even colours.")
    return Judge(judge, classes)


def read_sound(labels: Split, numbers: Iterable[int]) -> Iterator[np.ndarray]:
    """Read the label maps of some pairs, but for those that are broken: they are not measured."""
    for k in numbers:
        with suppress(UserError):
            yield labels.read(k)[0]


def judge_scores(
    judge: Judge, trained: TrainedRun, split: CheckedSplit
) -> dict[str, dict[str, float]]:
    """Measure how well the labels are read back from the generated and from the real photos."""
    count = len(judge.classes)
    confusion = {name: np.zeros((count, count), int) for name in ("generated", "real")}
    for batch in generate_batches(trained, split, range(len(split))):
        counts = tf.reduce_all(tf.math.is_finite(batch.targets), axis=-1, keepdims=True)
        labels = tf.where(counts, batch.sources, np.nan)
        real, generated = leave_out(batch.targets, batch.generated)
        for name, photos in (("generated", generated), ("real", real)):
            read = generate(judge.trained.generator, photos)
            confusion[name] += count_readings(labels, read, judge.classes)
        say_for_now("Asking the judge")
    return {name: label_scores(counts) for name, counts in confusion.items()}

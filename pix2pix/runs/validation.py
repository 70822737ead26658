"""How near generated pictures are to their targets, and how that changes during a training."""

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from pix2pix.networks.imagenet_features import feature_distance
from pix2pix.pictures.ignored import leave_out
from pix2pix.runs.symptoms import PICTURE_MEASURES, measure_pictures
from pix2pix.runs.tables import add_row, begin_table, read_columns
from pix2pix.talk.files import map_ahead
from pix2pix.talk.lines import say_row

MEASURES = {"l1": "L1 ↓", "psnr": "PSNR ↑", "ssim": "SSIM ↑"}  # the arrow points to the better
FEATURES = {"features": "features ↓"}  # where a network looks at the pictures, too
ALIGNED = "aligned_"  # before measures against targets that are moved to where they belong
SHOWN = ""  # before the measures of the network that previews show and generator.keras holds
PICTURES = 8  # looked at for symptoms, at most
VALIDATION_TIME = 0.03  # of the training, at most
PAIRS_IN_A_STEP = 4  # that can be measured in the time of a step, or more: docs/MEASURED.md
SSIM_WINDOW = 11  # pixels
LEAST_SQUARED_ERROR = 1e-10  # so that the PSNR of equal pictures is 100, not infinite


@tf.function(autograph=False)
def measure(
    target: tf.Tensor, generated: tf.Tensor, feature_network: keras.Model | None = None
) -> dict[str, tf.Tensor]:
    """Measure how near each generated picture of a batch is to its target, also in what a network
    sees in both, if there is one.

    Pictures have values from -1 to 1, and are compared as values from 0 to 1. Where the target is
    NaN, they are not compared: in SSIM, no window that such a pixel is in."""
    counts = tf.cast(tf.math.is_finite(target), tf.float32)
    target, generated = leave_out(target, generated)
    ours, theirs = (target + 1) / 2, (generated + 1) / 2
    error = ours - theirs
    squared = tf.maximum(mean_where(error**2, counts), LEAST_SQUARED_ERROR)
    in_windows = tf.image.ssim(ours, theirs, 1.0, return_index_map=True)[..., None]
    left_out = tf.nn.max_pool2d(1 - counts[..., :1], SSIM_WINDOW, 1, "VALID")
    measured = {
        "l1": mean_where(tf.abs(error), counts),
        "psnr": -10 * tf.experimental.numpy.log10(squared),
        "ssim": mean_where(in_windows, 1 - left_out),
    }
    if feature_network:
        features = feature_network(target), feature_network(generated)
        measured["features"] = feature_distance(*features)
    return measured


def mean_where(values: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
    """Return the mean of the values of each picture of a batch, [pictures, …], that count (1)."""
    axes = list(range(1, len(values.shape)))
    return tf.math.divide_no_nan(tf.reduce_sum(values * counts, axes), tf.reduce_sum(counts, axes))


def pairs_in_time(pairs_between: int, networks: int) -> int:
    """Return how many pairs can be measured on some networks, if so many are trained on between two
    previews."""
    return int(VALIDATION_TIME * pairs_between * PAIRS_IN_A_STEP / networks)


LoadPair = Callable[[int], tuple[tf.Tensor, tf.Tensor]]  # number → source and target, in a batch


def measures_of_aligned(measures: dict[str, str]) -> dict[str, str]:
    """Return measures against targets that are moved to where they belong, named as such."""
    return {f"{ALIGNED}{name}": f"aligned {shown}" for name, shown in measures.items()}


@dataclass(frozen=True)
class Validation:
    """What is measured again and again during a training: some pairs that it does not train on."""

    networks: dict[str, keras.Model]  # by a prefix for their measures; SHOWN is in previews
    generate: Callable[[keras.Model, tf.Tensor], tf.Tensor]
    load: LoadPair  # with targets as they are
    load_aligned: LoadPair | None  # with targets that are moved to where they belong
    count: int  # of pairs
    table: Path  # validation.csv
    feature_network: keras.Model | None  # in whose features they are measured, too

    @property
    def measures(self) -> dict[str, str]:
        """Return what is measured of each pair, by name, as it is shown."""
        measures = MEASURES | FEATURES if self.feature_network else MEASURES
        return measures | measures_of_aligned(measures) if self.load_aligned else measures

    @property
    def shown(self) -> dict[str, str]:
        """Return those of the measures that count: against targets where they belong, if known."""
        aligned = {name: shown for name, shown in self.measures.items() if ALIGNED in name}
        return aligned or self.measures

    def load_targets(self, k: int) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Load pair k: its source, and its target by a prefix for what is measured against it."""
        source, target = self.load(k)
        targets = {"": target}
        if self.load_aligned:
            _, targets[ALIGNED] = self.load_aligned(k)
        return source, targets

    @property
    def columns(self) -> list[str]:
        """List the measures in the table."""
        of_pairs = [prefix + name for prefix in self.networks for name in self.measures]
        return [*of_pairs, *PICTURE_MEASURES]

    def begin(self, step: int) -> None:
        """Begin the table, or go on with it after a step."""
        if self.count:
            begin_table(self.table, ["step", *self.columns], step)

    def run(self, step: int) -> dict[str, float]:
        """Measure, and add the means to the table."""
        if not self.count:
            return {}
        sums: dict[str, float] = defaultdict(float)
        targets: list[tf.Tensor] = []
        pictures: list[tf.Tensor] = []
        for source, by_prefix in map_ahead(self.load_targets, range(self.count), count=4):
            for prefix, network in self.networks.items():
                generated = self.generate(network, source)
                for of_target, target in by_prefix.items():
                    values = measure(target, generated, self.feature_network)
                    for name, value in values.items():
                        sums[prefix + of_target + name] += float(value[0])
                if len(pictures) < PICTURES and prefix == SHOWN:
                    target, generated = leave_out(by_prefix[""][0], generated[0])
                    targets.append(target)
                    pictures.append(generated)
        means = {name: total / self.count for name, total in sums.items()}
        means |= measure_pictures(np.stack(targets), np.stack(pictures))
        add_row(self.table, step, list(means.values()))
        shown = ", ".join(f"{arrow} {means[name]:.4g}" for name, arrow in self.shown.items())
        say_row("Validated", f"{shown}, {self.count:,} pairs")
        return means

    def is_best(self, name: str) -> bool:
        """Tell whether the last row of the table is better than all before."""
        name = next(shown for shown in self.shown if shown.endswith(name))
        *earlier, now = read_columns(self.table)[name]
        before = [value for value in earlier if not math.isnan(value)]  # older rows may lack it
        falls = self.measures[name].endswith("↓")
        return all(now < value if falls else now > value for value in before)

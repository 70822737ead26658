"""How near generated pictures are to their targets: pair by pair, and as two sets of pictures."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from image_to_image_translation import generate, load_examples
from pix2pix.commands.open_run import TrainedRun
from pix2pix.networks.imagenet_features import build_feature_network, can_see, installed_weights
from pix2pix.pairs.splits import CheckedSplit
from pix2pix.pictures.ignored import leave_out
from pix2pix.runs.validation import (
    ALIGNED,
    FEATURES,
    MEASURES,
    SSIM_WINDOW,
    measure,
    measures_of_aligned,
)
from pix2pix.talk.errors import UserError, first_line
from pix2pix.talk.files import map_ahead
from pix2pix.talk.lines import say_for_now
from pix2pix.talk.progress import say_progress

AS_THEY_ARE = MEASURES | {"ms_ssim": "MS-SSIM ↑"} | FEATURES
METRICS = AS_THEY_ARE | measures_of_aligned(AS_THEY_ARE)
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales: Wang et al., 2003
BATCH = 8  # pairs
RESAMPLES = 2_000  # of the groups
FEWEST_GROUPS = 10  # of fewer, the interval would be far too narrow
INCEPTION_SIZE = (299, 299)


@dataclass(frozen=True)
class GeneratedBatch:
    """Some pairs of a split with what the generator makes of them; tensors [pairs, …]."""

    numbers: Sequence[int]
    sources: tf.Tensor
    targets: tf.Tensor
    aligned: tf.Tensor | None  # with --align: targets that are moved to where they belong
    generated: tf.Tensor


def generate_batches(
    trained: TrainedRun, split: CheckedSplit, numbers: Sequence[int]
) -> Iterator[GeneratedBatch]:
    """Translate some pairs of a split, a batch at a time."""

    options = trained.options
    as_they_are = replace(options, align=False)

    def read_batch(batch: Sequence[int]) -> tuple:
        sources, targets = load_examples(split, batch, as_they_are, trained.found)
        aligned = None
        if options.align:
            _, aligned = load_examples(split, batch, options, trained.found)
        return batch, sources, targets, aligned

    batches = [numbers[begin : begin + BATCH] for begin in range(0, len(numbers), BATCH)]
    for batch, sources, targets, aligned in map_ahead(read_batch, batches, 4):
        generated = generate(trained.generator, sources)
        yield GeneratedBatch(batch, sources, targets, aligned, generated)


# --- Pair by pair ---------------------------------------------------------------------------------


@tf.function(autograph=False)
def measure_all(
    target: tf.Tensor, generated: tf.Tensor, feature_network: keras.Model | None = None
) -> dict[str, tf.Tensor]:
    """Measure how near each generated picture of a batch is to its target, also in MS-SSIM."""
    scales = int(math.log2(min(target.shape[1:3]) / SSIM_WINDOW)) + 1  # that the window fits in
    used = MS_SSIM_WEIGHTS[:scales]
    weights = [weight / sum(used) for weight in used]
    filled, generated = leave_out(target, generated)
    in_scales = tf.image.ssim_multiscale((filled + 1) / 2, (generated + 1) / 2, 1.0, weights)
    return measure(target, generated, feature_network) | {"ms_ssim": in_scales}


def open_feature_network(trained: TrainedRun) -> keras.Model | None:
    """Return the network of features, if it is installed and can look at the pictures."""
    channels, measured = trained.found.target_channels, trained.found.target.measured
    if installed_weights() is None or not can_see(channels, measured):
        return None
    return build_feature_network(*trained.task.size, channels)


def measure_pairs(trained: TrainedRun, split: CheckedSplit) -> list[dict]:
    """Return number, name and metrics of each pair of a split."""
    rows, count, feature_network = [], len(split), open_feature_network(trained)
    for batch in generate_batches(trained, split, range(count)):
        values = measure_all(batch.targets, batch.generated, feature_network)
        if batch.aligned is not None:
            aligned = measure_all(batch.aligned, batch.generated, feature_network)
            values |= {f"{ALIGNED}{metric}": column for metric, column in aligned.items()}
        if trained.options.ignore:  # MS-SSIM has no windows to leave out
            values = {
                metric: column for metric, column in values.items() if "ms_ssim" not in metric
            }
        table = {metric: column.numpy() for metric, column in values.items()}
        for index, k in enumerate(batch.numbers):
            row = {metric: float(column[index]) for metric, column in table.items()}
            pair = split.pairs[k]
            about = {"number": split.number_of(k), "name": pair.title}
            if pair.group:
                about["group"] = pair.group
            rows.append(about | row)
        say_progress("Evaluating", len(rows), count, f"{len(rows):,} of {count:,}")
    return rows


def means_over_groups(rows: Sequence[dict]) -> dict[str, Any]:
    """Return the mean over groups of the mean of each metric within a group and, where they are not
    too few, the interval in which 95% of such means lie if groups are drawn anew."""
    metrics = [metric for metric in METRICS if metric in rows[0]]
    by_group = defaultdict(list)
    for row in rows:
        by_group[row["group"]].append([row[metric] for metric in metrics])
    means = np.stack([np.mean(values, axis=0) for values in by_group.values()])
    scores = {
        metric: {"mean": float(mean)}
        for metric, mean in zip(metrics, means.mean(axis=0), strict=True)
    }
    if len(means) >= FEWEST_GROUPS:
        rng = np.random.default_rng(0)
        drawn = [
            means[rng.integers(len(means), size=len(means))].mean(axis=0) for _ in range(RESAMPLES)
        ]
        low, high = np.percentile(drawn, (2.5, 97.5), axis=0)
        for metric, first, last in zip(metrics, low, high, strict=True):
            scores[metric] |= {"from": float(first), "to": float(last)}
    return {"count": len(means), "scores": scores}


# --- As two sets ----------------------------------------------------------------------------------


def load_inception() -> keras.Model:
    """Load the network with which FID and KID look at pictures."""
    try:
        return keras.applications.InceptionV3(include_top=False, pooling="avg")
    except Exception as error:  # Keras raises a plain Exception when the network is away
        raise UserError(
            f"--fid needs InceptionV3's weights once, and they could not be fetched "
            f"({first_line(error)}). Go on line, or leave --fid out."
        ) from error


def feature_scores(
    inception: keras.Model, trained: TrainedRun, split: CheckedSplit
) -> dict[str, float]:
    """Measure FID and KID of the generated pictures of a split against the real ones."""
    real: list[np.ndarray] = []
    generated: list[np.ndarray] = []
    for batch in generate_batches(trained, split, range(len(split))):
        pictures = leave_out(batch.targets, batch.generated)
        for features, each in zip((real, generated), pictures, strict=True):
            features.append(features_of(each, inception))
        say_for_now(f"FID and KID: {BATCH * len(real):,} pairs")
    sets = np.concatenate(real), np.concatenate(generated)
    return {"fid": frechet_distance(*sets), "kid": kernel_distance(*sets)}


def features_of(pictures: tf.Tensor, inception: keras.Model) -> np.ndarray:
    """Return what Inception sees in pictures of values from -1 to 1: [pictures, features]."""
    is_grey = pictures.shape[-1] == 1
    colour = tf.image.grayscale_to_rgb(pictures) if is_grey else pictures[..., :3]
    return generate(inception, tf.image.resize(colour, INCEPTION_SIZE, antialias=True)).numpy()


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return FID: how far two sets of features [n, d] are apart, taken as normal distributions."""
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(covariance_a)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    mixed = np.sqrt(np.linalg.eigvalsh(root @ covariance_b @ root).clip(0)).sum()
    means = ((a.mean(0) - b.mean(0)) ** 2).sum()
    return float(means + np.trace(covariance_a) + np.trace(covariance_b) - 2 * mixed)


def kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return KID: the squared maximum mean discrepancy under a cubic kernel, without bias."""

    def similarity(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def similarity_within(x: np.ndarray) -> float:
        of_all = similarity(x, x)
        return (of_all.sum() - np.trace(of_all)) / (len(x) * (len(x) - 1))

    return float(similarity_within(a) + similarity_within(b) - 2 * similarity(a, b).mean())

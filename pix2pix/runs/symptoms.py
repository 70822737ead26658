"""Signs that a training goes wrong, told from its pictures and its tables, each with a way out.

`measure_pictures` puts what some pictures show into numbers, for validation.csv; `find_symptoms`
reads the tables. What is normal was measured: docs/QUALITY.md, "Warnings".
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from pix2pix.runs.tables import read_columns
from pix2pix.talk.lines import say_row

WARNINGS = "warnings.txt"  # in a run folder
Columns = dict[str, list[float]]  # of a table, the step first

PICTURE_MEASURES = ("variety", "grid", "spot")
PERIODS = (2, 4)  # pixels, of the pattern that transposed convolutions leave
AROUND = 6  # frequencies on each side that a peak is compared with, but for its two neighbours
BLOCKS = 16  # along each side, in which spots are looked for
STILL = 0.1  # of the targets' change from picture to picture: less is no change
IN_A_ROW = 3  # previews that must show it
EARLY = 500  # steps, whose pictures tell nothing yet
LONG = 2_000  # steps

LEAST_VARIETY = 0.2  # of the targets' own; facades have 0.41 to 0.80
MOST_GRID = 3.0  # times the spectrum around; photos and networks that resize have 0.5 to 1.3
MOST_SPOT = 0.4  # of the values' range from -1 to 1
ALWAYS_RIGHT = 0.99  # of the patches
JUDGES = ("discriminator_right", "critic_right")  # columns of metrics.csv
WORSE = 1.03  # times the best L1


# --- Pictures, as numbers -------------------------------------------------------------------------


def measure_pictures(targets: np.ndarray, generated: np.ndarray) -> dict[str, float]:
    """Measure what is wrong with some generated pictures as a set; [pictures, height, width,
    channels], values from -1 to 1."""
    grey, grey_targets = generated.mean(axis=-1), targets.mean(axis=-1)
    peaks = [(grid_peak(grey, axis), grid_peak(grey_targets, axis)) for axis in (1, 2)]
    return {
        "variety": differences(generated) / max(differences(targets), 1e-6),
        "grid": max(ours / max(1, theirs) for ours, theirs in peaks),
        "spot": still_spot(grey, grey_targets),
    }


def differences(pictures: np.ndarray) -> float:
    """Return how far pictures are from each other, on average over all pairs of them."""
    first, second = np.triu_indices(len(pictures), 1)
    if not len(first):
        return 1.0
    return float(np.abs(pictures[first] - pictures[second]).mean())


def grid_peak(grey: np.ndarray, axis: int) -> float:
    """Return how far a pattern of one of the periods stands out of the spectrum along an axis."""
    change = np.fft.rfft(grey - grey.mean(axis=(1, 2), keepdims=True), axis=axis)
    power = (np.abs(change) ** 2).mean(axis=tuple(each for each in range(3) if each != axis))
    peaks = []
    for period in PERIODS:
        peak = grey.shape[axis] // period
        around = [k for k in range(peak - AROUND, peak + AROUND + 1) if abs(k - peak) > 1]
        others = power[[k for k in around if 0 < k < len(power)]]
        peaks.append(power[peak] / max(np.median(others), 1e-12))
    return float(max(peaks))


def still_spot(grey: np.ndarray, grey_targets: np.ndarray) -> float:
    """Return how far a block stands out of those around it that is the same in every picture."""

    def in_blocks(pictures: np.ndarray) -> np.ndarray:
        tall, wide = (max(1, length // BLOCKS) for length in pictures.shape[1:])
        cut = pictures[:, : BLOCKS * tall, : BLOCKS * wide]
        return cut.reshape(len(cut), -1, tall, cut.shape[2] // wide, wide).mean(axis=(2, 4))

    blocks, target_blocks = in_blocks(grey), in_blocks(grey_targets)
    if len(blocks) < 2:
        return 0.0
    mean = blocks.mean(axis=0)
    shifts = [shift for shift in product((-2, 0, 2), repeat=2) if shift != (0, 0)]
    ring = np.mean([np.roll(mean, shift, axis=(0, 1)) for shift in shifts], axis=0)
    is_still = blocks.std(axis=0) < STILL * target_blocks.std(axis=0)
    return float((np.abs(mean - ring) * is_still).max())


# --- Tables, as symptoms --------------------------------------------------------------------------


@dataclass(frozen=True)
class Symptom:
    """Something that may be wrong: how one knows it from metrics.csv and validation.csv, and what
    is said of it."""

    shows: Callable[[Columns, Columns], bool]
    text: str
    section: str  # of docs/TROUBLE.md


def last_rows(columns: Columns, name: str) -> np.ndarray:
    """Return the last values of a column, or only a NaN if there are too few for a symptom; those
    of early steps do not count."""
    rows = zip(columns.get("step", []), columns.get(name, []), strict=False)
    values = [value for step, value in rows if step > EARLY]
    return np.array(values[-IN_A_ROW:]) if len(values) >= IN_A_ROW else np.array([np.nan])


def separates_everything(metrics: Columns, _validation: Columns) -> bool:
    """Tell whether the discriminator, or the critic, has been right nearly always for long."""
    steps = np.array(metrics["step"])
    if not len(steps) or steps[-1] < LONG:
        return False
    judges = [np.array(metrics[name]) for name in JUDGES if name in metrics]
    lately = steps > steps[-1] - LONG
    return any((right[lately] >= ALWAYS_RIGHT).all() for right in judges)


def learns_by_heart(metrics: Columns, validation: Columns) -> bool:
    """Tell whether the L1 of held-out pairs has been getting worse for long, while that of the
    training pairs falls."""
    steps, l1 = np.array(validation.get("step", [])), np.array(validation.get("l1", []))
    if len(l1) < 2 * IN_A_ROW:
        return False
    best, now = steps[l1.argmin()], steps[-1]
    is_long = now - best >= max(LONG, now / 2)
    is_worse = (l1[-IN_A_ROW:] > WORSE * l1.min()).all()
    trained_at, trained = np.array(metrics["step"]), np.array(metrics["generator_l1"])
    until_best, lately = trained[trained_at <= best], trained[trained_at > (best + now) / 2]
    if not (is_long and is_worse and len(until_best) and len(lately)):
        return False
    return bool(lately.mean() < until_best[-len(lately) :].mean())


def resembles_itself(_metrics: Columns, validation: Columns) -> bool:
    """Tell whether all sources give nearly the same picture."""
    return bool((last_rows(validation, "variety") < LEAST_VARIETY).all())


def has_grid(_metrics: Columns, validation: Columns) -> bool:
    """Tell whether there is a grid in the pictures that the targets lack."""
    return bool((last_rows(validation, "grid") > MOST_GRID).all())


def has_spot(_metrics: Columns, validation: Columns) -> bool:
    """Tell whether a spot stays at one place in all pictures."""
    return bool((last_rows(validation, "spot") > MOST_SPOT).all())


SYMPTOMS = {
    "discriminator": Symptom(
        separates_everything,
        "a discriminator has been right nearly always for 2,000 steps, so the generator may learn "
        "little from it. Try --gan-loss least-squares (not where it names classes) or, in a new "
        "run, a smaller --discriminator-filters or --critic none",
        "the-discriminator-wins",
    ),
    "by-heart": Symptom(
        learns_by_heart,
        "held-out pairs get worse while training pairs get better: these are learned by heart. "
        "Use an earlier checkpoint, train on more pairs, or try --augment and --keep-best",
        "held-out-pictures-are-worse-than-training-pictures",
    ),
    "variety": Symptom(
        resembles_itself,
        "all sources give nearly the same picture. Are the pairs matched, and is the direction "
        "right? Look at the previews",
        "the-same-result-for-all-inputs",
    ),
    "grid": Symptom(
        has_grid,
        "there is a grid in the pictures that the targets lack. If it stays, --upsampling resize, "
        "in a new run, has none",
        "a-checkerboard-pattern",
    ),
    "spot": Symptom(
        has_spot,
        "a spot stays at the same place in all pictures, and networks seldom lose one. Use an "
        "earlier checkpoint or another --seed; with few pairs, try --augment",
        "blobs-or-spots-that-stay-in-one-place",
    ),
}


def find_symptoms(metrics: Columns, validation: Columns) -> list[str]:
    """Name the symptoms that the tables of a training show."""
    return [name for name, symptom in SYMPTOMS.items() if symptom.shows(metrics, validation)]


def read_warnings(folder: Path) -> dict[str, int]:
    """Read what a training was warned of: the names of symptoms, each with its step."""
    path = folder / WARNINGS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    marks = [line.partition(":")[0].split() for line in lines]  # `step 4000 grid: there is …`
    return {mark[2]: int(mark[1]) for mark in marks if len(mark) == 3 and mark[2] in SYMPTOMS}


def warn(folder: Path, step: int) -> None:
    """Say what the tables of a run show, each symptom once, and keep it in warnings.txt."""
    metrics, validation = folder / "metrics.csv", folder / "validation.csv"
    tables = [read_columns(path) if path.exists() else {} for path in (metrics, validation)]
    told = read_warnings(folder)
    for name in [each for each in find_symptoms(*tables) if each not in told]:
        text = f"{SYMPTOMS[name].text}: docs/TROUBLE.md#{SYMPTOMS[name].section}"
        say_row("Careful", text)
        with open(folder / WARNINGS, "a", encoding="utf-8") as file:
            file.write(f"step {step} {name}: {text}\n")

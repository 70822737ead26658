"""The table of docs/QUALITY.md: what each ingredient of a recipe is worth, and what it costs.

    python benchmarks/recipes.py quality FOLDER --rows paper resize crisp --seeds 0 1
    python benchmarks/recipes.py cost

`quality` trains each row on the facades, going on where it stopped if it is given again, and prints
how near generator and average come to the 100 val pairs at some steps. What they make of them goes
into FOLDER/pictures, with the real ones at the same size, so that any measure of two folders of
pictures (FID, KID) can be taken. `cost` takes steps of all rows in turn in one process, and prints
their times next to the first one's. Compare only figures of one run.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tensorflow as tf
import tyro
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
import image_to_image_translation as script
from pix2pix.command_line import parse
from pix2pix.options.saved import read_run
from pix2pix.pictures.pixels import to_pixels
from pix2pix.preparation import check_split, settle
from pix2pix.runs.checkpoint_files import checkpoints
from pix2pix.runs.validation import measure

SCRIPT = Path(script.__file__)
LABELS = "--upsampling resize --labels source --discriminator classes"
ROWS = {  # flags that differ from the paper's recipe
    "paper": "",
    "resize": "--upsampling resize",
    "resize, reflect": "--upsampling resize --padding reflect",
    "resize, labels": "--upsampling resize --labels source",
    "resize, L1 30": "--upsampling resize --l1-weight 30",
    "resize, least squares": "--upsampling resize --gan-loss least-squares",
    "resize, hinge": "--upsampling resize --gan-loss hinge",
    "classes, L1 100": LABELS,
    "classes, L1 30": f"{LABELS} --l1-weight 30",
    "classes, L1 10": f"{LABELS} --l1-weight 10",
    "classes, L1 3": f"{LABELS} --l1-weight 3",
    "vivid": "--recipe vivid",
    "vivid, no labels": "--recipe vivid --labels none",
    "vivid, no distance": "--recipe vivid --feature-weight 0",
    "vivid, L1 30": "--recipe vivid --l1-weight 30",
    "vivid, no labels, L1 30": "--recipe vivid --labels none --l1-weight 30",
    "crisp": "--recipe crisp",
    "crisp-labels": "--recipe crisp-labels",
    "crisp, colorize": "--recipe crisp --task colorize",
    "vivid, colorize": "--recipe vivid --task colorize",
    "crisp, sketch": "--recipe crisp --task sketch",
    "vivid, sketch": "--recipe vivid --task sketch",
    "crisp, super-resolve": "--recipe crisp --task super-resolve",
    "vivid, super-resolve": "--recipe vivid --task super-resolve",
}


@dataclass(frozen=True)
class Options:
    """What both commands have in common."""

    rows: tuple[str, ...] = tuple(ROWS)
    """Names of the table ROWS."""
    image_size: int = 128
    """Of the networks."""
    filters: int = 32
    """Of the first layers of both networks."""


@dataclass(frozen=True)
class Quality(Options):
    """Train each row and print what it comes to."""

    folder: tyro.conf.Positional[Path] = Path("recipes")
    """Where runs and pictures go."""
    seeds: tuple[int, ...] = (0, 1)
    """Each row is trained once with each."""
    steps: int = 10_000
    """Of each training."""
    every: int = 2_000
    """Steps between two rows of the table, and two sets of pictures."""
    data_dir: Path = Path("~/.keras/datasets/pix2pix")
    """Where the facades are, or will be."""


@dataclass(frozen=True)
class Cost(Options):
    """Take steps of all rows in turn, and print their times."""

    steps: int = 20
    """Steps of each row, after two to warm up."""


def train_row(name: str, seed: int, options: Quality) -> Path:
    """Train a row with a seed in a process of its own; return the run's folder."""
    flags = (
        f"train --dataset facades --data-dir {options.data_dir} --image-size {options.image_size} "
        f"--generator-filters {options.filters} --discriminator-filters {options.filters} "
        f"--steps {options.steps} --preview-every {options.every} --seed {seed} "
        f"--checkpoint-every {options.every} --keep-checkpoints {options.steps} "
        f"--output {options.folder} --name {name.replace(', ', '-').replace(' ', '-')}-{seed} "
    )
    arguments = (flags + ROWS[name]).split()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([sys.executable, str(SCRIPT), *arguments], check=True, **quiet)
    return parse(arguments)[1].run_folder


def write_pictures(pictures: np.ndarray, place: Path) -> None:
    """Write pictures with values from -1 to 1 as numbered PNGs."""
    place.mkdir(parents=True, exist_ok=True)
    for k, pixels in enumerate(to_pixels(pictures)):
        Image.fromarray(pixels).save(place / f"{k:03}.png")


def measure_run(run: Path, folder: Path) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Write and measure what each checkpoint of a run, and its average, makes of the val pairs.

    Yields the step, which network it is, and the means."""
    options, found, _ = read_run(run / "config.json")
    val = script.find_splits(options)["val"]
    sources, targets = script.load_examples(val, range(len(val)), options, found)
    write_pictures(targets, folder / "real")
    training = script.Training(options, found)
    for path in checkpoints(run):
        training.checkpoint.restore(str(path)).expect_partial()
        for name, network in (("generator", training.generator), ("average", training.average)):
            made = tf.concat([script.generate(network, source[None]) for source in sources], axis=0)
            step = path.name.removeprefix("ckpt-")
            write_pictures(made, folder / run.name / f"{step}-{name}")
            means = {key: float(np.mean(value)) for key, value in measure(targets, made).items()}
            yield step, name, means


def measure_quality(options: Quality) -> None:
    """Train all rows, and print how near they come to the val pairs."""
    print("| row | seed | step | network | L1 | PSNR | SSIM |")
    print("|---|---|---|---|---|---|---|")
    for seed in options.seeds:
        for name in options.rows:
            run = train_row(name, seed, options)
            for step, network, means in measure_run(run, options.folder / "pictures"):
                values = " | ".join(f"{mean:.4g}" for mean in means.values())
                print(f"| {name} | {seed} | {step} | {network} | {values} |", flush=True)


def measure_cost(options: Cost) -> None:
    """Time the steps of all rows, in turn."""
    steps, times = {}, {name: [] for name in options.rows}
    for name in options.rows:
        flags = (
            f"synthetic --image-size {options.image_size} --generator-filters {options.filters} "
            f"--discriminator-filters {options.filters} --output {os.devnull} {ROWS[name]}"
        )
        asked = parse(["train", *flags.split()])[1]
        split = script.find_splits(asked)["train"]
        few = replace(split, pairs=split.pairs[:4])
        found = settle(asked, check_split(few, "few", asked))
        source, target = script.load_examples(few, [0], asked, found)
        step = tf.function(script.train_step.python_function, autograph=False)
        steps[name] = (step, script.Training(asked, found), source, target)
    for count in range(options.steps + 2):
        for name, (step, *arguments) in steps.items():
            start = time.perf_counter()
            step(*arguments)["generator_total"].numpy()
            if count >= 2:
                times[name].append(time.perf_counter() - start)
    medians = {name: float(np.median(durations)) for name, durations in times.items()}
    first = next(iter(medians.values()))
    print("| row | ms a step | of the first row's |\n|---|---|---|")
    for name, median in medians.items():
        print(f"| {name} | {1000 * median:.0f} | {median / first:.2f} |")


def main() -> None:
    """Do what is asked for."""
    options = tyro.cli(Quality | Cost)
    if isinstance(options, Cost):
        measure_cost(options)
    else:
        measure_quality(options)


if __name__ == "__main__":
    main()

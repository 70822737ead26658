"""The options of the commands that put a trained run to work."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from pix2pix.options.train import DataOptions, Options, Unset

Run = Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]


@dataclass(frozen=True)
class Pack(Options):
    """Check the pairs of a dataset once, and write them as a pack, with which any number of
    trainings start at once. Several processes may be given the same command at the same time."""

    dataset: Annotated[Positional[str], tyro.conf.arg(metavar="DATASET")] = ""
    """A folder, or a dataset known by name."""
    source_dir: Unset[tuple[Path, ...]] = None
    """Instead of it: the folder of the sources, or several, as in train."""
    target_dir: Unset[Path] = None
    """The folder of the targets."""
    photos: bool = False
    """Pack single photos, for tasks that need no pairs."""
    output: Unset[Path] = None
    """The folder of the pack. Default: named like the dataset, with .pack behind it."""
    shards: Unset[int] = None
    """Into how many files the training pairs go. Default: one for each 512 MB."""
    holdout: float = DataOptions.holdout
    """Share of the pairs kept out of trainings where there is neither val/ nor test/."""
    group: Unset[str] = None
    """Which pairs belong together, as in train."""
    seed: int = 0
    """Decides which pairs are held out."""
    data_dir: Path = DataOptions.data_dir
    """Where archives are kept and unpacked."""
    mirror: str = DataOptions.mirror
    """Where archives are fetched from."""


@dataclass(frozen=True)
class Translate(Options):
    """Let a trained generator translate pictures; there is no need for targets."""

    run: Run
    """The name of a run, its folder, or a generator.keras."""
    inputs: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="INPUT…")]
    """Pictures, videos, volumes, folders with all that is below them, or patterns like
    "photos/*.jpg". Where several pictures make a source, as many folders, in the order of the
    training."""
    output: Path = Path("translated")
    """The folder for the results; they are named like the inputs. Of one picture, also a file."""
    format: Literal["png", "jpg", "webp", "tif", "npy", "same"] = "png"
    """same: each as its input. Where the targets had 16 bits, png and tif have them too; what png
    cannot hold, such as 32 bits, becomes tif. Volumes become NIfTI whatever it says."""
    labels: Literal["exact", "soft"] = "exact"
    """Where the targets are label maps: the exact colour of a class, or what the generator made."""
    overwrite: bool = False
    """Replace results that are there already."""
    native: bool = False
    """Keep the resolution, in windows of the training size. Otherwise pictures are resized to that
    size, and the results back."""
    windows: Unset[Literal["agree", "alone"]] = None
    """Where a picture has several windows, and a video frames. agree: they are seen twice, and
    generated so that they go together; alone: each by itself, in half the time. Default: agree, but
    windows of super-resolve alone, as their mean is nearer to the truth."""
    pairs: bool = False
    """The inputs are side-by-side pairs: translate the source half."""
    side_by_side: bool = False
    """Put each input to the left of its result."""
    samples: int = 0
    """Make so many different results of each picture, with dropout as noise."""
    seed: int = 0
    """Decides the samples."""
    batch_size: int = 8
    """Windows that the generator gets at once; the results do not depend on it."""
    max_pixels: int = 178_956_970
    """Leave out larger pictures; a small file can claim to be one, and fill the memory."""

    def __post_init__(self) -> None:
        super().__post_init__()
        inputs = [self.inputs] if isinstance(self.inputs, str | os.PathLike) else self.inputs
        object.__setattr__(self, "inputs", tuple(os.fspath(each) for each in inputs))


@dataclass(frozen=True)
class Evaluate(Options):
    """Measure a generator on pairs it was not trained on, and make a web page of the results."""

    run: Run
    """The name of a run, its folder, or a generator.keras."""
    split: Unset[Literal["train", "val", "test"]] = None
    """Which pairs. Default: test, or where there is none val."""
    checkpoint: Unset[str] = None
    """The step of a kept checkpoint, or all of them. Default: generator.keras, the newest."""
    judge: Unset[Path] = None
    """A run trained in the other direction, from photos to labels: can it read the labels back?"""
    fid: bool = False
    """Also FID and KID on InceptionV3 (downloads 88 MB); not comparable with those of papers."""
    dataset: Unset[str] = None
    """Other pairs than the run's own."""
    group: Unset[str] = None
    """Which pairs belong together, as in train: figures are then given over groups, too. Default:
    of the run's own pairs what it says, of others none."""
    skip_broken: bool = False
    """Go on without broken pairs."""
    output: Unset[Path] = None
    """Default: results, in the run folder."""
    data_dir: Path = DataOptions.data_dir
    """Where archives are kept and unpacked; what the run says of that does not count."""
    mirror: str = DataOptions.mirror
    """Where archives are fetched from; what the run says of that does not count."""


@dataclass(frozen=True)
class Draw(Options):
    """Open a page on which one draws a source, and sees what a run makes of it meanwhile."""

    run: Run
    """The name of a run, its folder, or a generator.keras."""
    dataset: Unset[str] = None
    """Where examples to start from are taken. Default: the run's own held-out pairs."""
    open: bool = True
    """Show the page in the browser; without it, only say its address."""
    port: int = 0
    """Of the address; 0: one that is free."""
    host: str = "127.0.0.1"
    """Who may see the page: this machine alone, or with 0.0.0.0 all that can reach it."""
    data_dir: Path = DataOptions.data_dir
    """Where archives are unpacked; what the run says of that does not count."""


@dataclass(frozen=True)
class Compare(Options):
    """Write a page with the curves and previews of several runs, and the options that differ."""

    runs: Annotated[Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN")]
    """The names or folders of runs."""
    output: Path = Path("comparison.html")
    """The page."""


@dataclass(frozen=True)
class Export(Options):
    """Write a generator in formats for other programs, and check that each computes the same."""

    run: Run
    """The name of a run, its folder, or a generator.keras."""
    formats: tuple[Literal["keras", "saved_model", "onnx", "litert", "pytorch", "page"], ...] = (
        "keras",
        "saved_model",
    )
    """Any of these."""
    half: bool = False
    """onnx and litert: weights of 16 bits, half as large."""
    int8: bool = False
    """onnx and litert: weights of 8 bits where these formats have them, and less exact."""
    output: Unset[Path] = None
    """Default: export, in the run folder."""
    runtime: Unset[Path] = None
    """page: a folder that has ONNX Runtime Web. Default: what npm fetches; without npm, the page
    fetches it from a public server."""
    data_dir: Path = DataOptions.data_dir
    """page: where archives are unpacked, for its examples."""


@dataclass(frozen=True)
class ImportWeights(Options):
    """Make a run of a generator that was trained with the authors' PyTorch code."""

    file: Annotated[Positional[Path], tyro.conf.arg(metavar="FILE")]
    """A latest_net_G.pth of unet_256 or unet_128, with batch or instance norm."""
    name: str
    """The run folder is output/name."""
    output: Path = Path("training_checkpoints")
    """Where run folders live."""
    dataset: Unset[str] = None
    """What it was trained on, for evaluate and to train it further."""
    direction: Unset[Literal["AtoB", "BtoA"]] = None
    """How it was. Default: the dataset's own."""
    statistics: Literal["picture", "running"] = "picture"
    """Of batch norm. picture: each one's own, as the authors' test.py has it; running: those in the
    file, as with its --eval."""

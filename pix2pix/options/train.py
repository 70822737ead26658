"""The options of a training: the default of each, its help, its rule; and what follows from them.

Loads neither TensorFlow nor Keras, so that --help and a mistyped flag are answered at once.
"""

import math
import os
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

import tyro


@dataclass(frozen=True)
class Dataset:
    """A dataset known by name: the size of its download, and which half is usually the source."""

    megabytes: int
    direction: Literal["AtoB", "BtoA"]


DATASETS = {
    "facades": Dataset(31, "BtoA"),  # label map → photo of a building
    "cityscapes": Dataset(113, "BtoA"),  # label map → street scene
    "maps": Dataset(246, "AtoB"),  # aerial photo → map
    "edges2shoes": Dataset(2_200, "AtoB"),  # outline → shoe
    "edges2handbags": Dataset(8_600, "AtoB"),  # outline → handbag
    "night2day": Dataset(2_000, "BtoA"),  # the same view by day → by night
    "synthetic": Dataset(0, "BtoA"),  # made-up facades, drawn by this program
}


# --- Options of each command ----------------------------------------------------------------------


class Rule(Enum):
    """What it means if an option is another one when a run goes on."""

    NETWORK = "another run, and networks with other weights"
    RUN = "another run"
    TOLD = "the same run, from here on with another value, which is told"
    FREE = "the same run; what of it matters to that is in `Found`"


T = TypeVar("T")
Unset = Annotated[T | None, tyro.conf.arg(help_behavior_hint="")]  # its help says what None means
Network = Annotated[T, Rule.NETWORK]
SameRun = Annotated[T, Rule.RUN]
Told = Annotated[T, Rule.TOLD]
Free = Annotated[T, Rule.FREE]


class Options:
    """Options of a command. In a notebook, text will do for a path, and a path for text."""

    def __post_init__(self) -> None:
        own: Any = type(self)
        for name, kind in types_of(own).items():
            value = getattr(self, name)
            if isinstance(value, list | tuple):  # JSON has lists
                several = tuple(as_path_or_text(each, kind) for each in value)
                is_one = is_path(kind) and len(several) == 1
                object.__setattr__(self, name, several[0] if is_one else several)
            else:
                object.__setattr__(self, name, as_path_or_text(value, kind))


def as_path_or_text(value: object, kind: object) -> object:
    """Make a path of text where the type is a path, and text of a path elsewhere."""
    if not isinstance(value, str | os.PathLike):
        return value
    return Path(value) if is_path(kind) else os.fspath(value)


@cache
def types_of(options: Any) -> dict[str, Any]:
    """Return the types of the fields of some options, without what is only for --help."""
    return get_type_hints(options)


@cache
def fields_with(*rules: Rule) -> tuple[str, ...]:
    """Name the options of a training that have one of some rules."""
    hints = get_type_hints(Train, include_extras=True)
    return tuple(name for name, kind in hints.items() if set(get_args(kind)[1:]) & set(rules))


def is_path(kind: object) -> bool:
    """Tell whether a type is that of a path."""
    return kind is Path or any(is_path(each) for each in get_args(kind))


@dataclass(frozen=True)
class DataOptions(Options):
    """Which pictures, and what becomes of what."""

    dataset: Free[str] = "facades"
    """facades, maps, cityscapes, edges2shoes, edges2handbags or night2day (downloaded once), your
    own folder, or synthetic, drawn on the spot. Coming first, it needs no --dataset before it."""
    source_dir: Free[Unset[tuple[Path, ...]]] = None  # if it is one, a path: see source_folders
    """Instead of a dataset: the folder of the sources, A, paired by file name with --target-dir.
    Several folders, if several pictures make a source together: their channels are stacked."""
    target_dir: Free[Unset[Path]] = None
    """The folder of the targets, B."""
    direction: SameRun[Unset[Literal["AtoB", "BtoA"]]] = None
    """A is the left half of a pair (or the folder A, the sketch, …), B the right one. Default: the
    dataset's own (BtoA for facades, cityscapes, night2day, synthetic), else AtoB."""
    layout: Free[Literal["auto", "pairs"]] = "auto"
    """pairs: each picture of a folder holds both halves of a pair, even if it does not look so."""
    holdout: Free[float] = 0.1
    """Share of the pairs kept out of the training where there is neither val/ nor test/."""
    group: Free[Unset[str]] = None
    """Pairs that belong together, as those of one patient, building or video, so that none is held
    out while others are trained on: folder, or what a pattern (or its part in brackets) matches in
    their paths, like "case[0-9]+"."""
    skip_broken: Free[bool] = False
    """Go on without the pairs that are broken or lack their partner."""
    task: SameRun[Literal["pairs", "colorize", "super-resolve", "sketch", "inpaint"]] = "pairs"
    """All but pairs make the source from plain photos: any folder, or the targets of a dataset."""
    scale: Told[int] = 4
    """super-resolve: how many times larger."""
    data_dir: Free[Path] = Path("~/.keras/datasets/pix2pix")
    """Where archives are kept and unpacked."""
    mirror: Free[str] = "http://efrosgans.eecs.berkeley.edu/pix2pix/datasets/"
    """Where archives are fetched from."""


@dataclass(frozen=True)
class PictureOptions(Options):
    """How pictures are brought to the size of the networks."""

    image_size: SameRun[int | str] = 256
    """What the networks work at: 256, or 256x512 for height×width; multiples of 32."""
    fit: Told[Literal["stretch", "crop"]] = "stretch"
    """How pictures of another shape get there: stretched, or cut to the shape around the middle."""
    crop: Told[bool] = False
    """Cut pictures to the image size at full resolution instead of resizing them."""
    windows: Told[Literal["anywhere", "informative"]] = "anywhere"
    """With --crop: where windows are cut. informative, also written --crop informative: mostly
    where targets are not empty."""
    align: SameRun[bool] = False
    """Move what each target shows to where the edges of its source say that it belongs: for pairs
    that do not quite fit."""
    ignore: Told[Unset[str]] = None
    """What does not count in targets: alpha, where they are transparent; nodata, where their files
    say so or numbers are missing; a colour, like black or ff00ff; a folder of masks, bright there.
    """
    jitter: Told[bool] = True
    """Enlarge and cut at random; without it, the whole picture (with --crop, its middle)."""
    flip: Told[bool] = True
    """Mirror every other pair, at random."""
    augment: Told[tuple[Literal["rotate", "scale", "colour"], ...]] = ()
    """For few pairs: change them at random. rotate: by up to 10 degrees; scale: by up to a fifth;
    colour: brightness, contrast and saturation; refused if only the sources are label maps."""
    source_channels: Network[Unset[Literal[1, 3, 4]]] = None
    """1 is grey, 3 RGB, 4 RGB with transparency. Default: what the pictures have."""
    target_channels: Network[Unset[Literal[1, 3, 4]]] = None
    """The same for the targets."""
    labels: SameRun[Literal["none", "source", "target", "both", "auto"]] = "none"
    """Which side is a label map: its colours are classes, with nothing in between. The networks get
    one channel for each class of a source; targets are made in the exact colours. auto: those that
    have the few even colours of one."""
    classes: Free[Unset[Path]] = None
    """A text file with the classes, a line each: NUMBER RED GREEN BLUE NAME. Default: found in the
    training pictures."""
    axis: SameRun[Literal["axial", "coronal", "sagittal"]] = "axial"
    """Of volumes (NIfTI, DICOM): which slices are the pictures."""
    slices: Network[int] = 1
    """Of volumes: how many neighbouring slices make a source together, as channels: 1, 3, 5 …"""
    range: Free[Unset[tuple[str, ...]]] = None
    """What is black and white in pictures of more than 8 bits: LOW HIGH, or those of the sources
    and those of the targets; auto: where nearly all numbers of the training pictures lie, each:
    the same for each channel. Default: what 16 bits can hold, and each for 32 bits."""


@dataclass(frozen=True)
class NetworkOptions(Options):
    """What the generator and the discriminator are like."""

    generator_filters: Network[int] = 64
    """Filters of the generator's first layer; the others follow."""
    discriminator_filters: Network[int] = 64
    """Filters of the discriminator's first layer; the others follow."""
    depth: Network[Unset[int]] = None
    """How often the generator halves the picture. Default: as often as possible."""
    normalization: Network[Literal["instance", "batch", "none", "plain-instance"]] = "instance"
    """instance: each picture on its own. batch: all of a batch together, moving averages after the
    training; for batches well above 1. plain-instance: without learning to scale, like the authors'
    PyTorch code."""
    upsampling: Network[Literal["transposed", "resize"]] = "transposed"
    """resize: double the pixels and convolve, against checkerboard patterns."""
    padding: SameRun[Literal["zeros", "reflect"]] = "zeros"
    """What the generator's convolutions meet beyond the border of large maps: zeros, as in the
    paper, or the map mirrored, against dark borders."""
    discriminator: Network[Literal["patches", "classes", "auto"]] = "patches"
    """patches: the paper's PatchGAN. classes: for sources that are label maps, names the class of
    each pixel, or finds it generated. auto: classes if the sources are label maps."""
    critic: SameRun[Literal["none", "features"]] = "none"
    """features: beside the discriminator, one that sees pictures through a small network trained on
    ImageNet."""
    average_weights: SameRun[float] = 0.999
    """Previews and generator.keras use a moving average of the generator's weights, which keeps
    this share of itself at every step; 0: the weights as they are."""


RecipeName = Literal["paper", "vivid", "crisp", "crisp-labels"]  # the last two: of older runs
Recipe = Annotated[RecipeName, tyro.conf.arg(metavar="{paper,vivid}")]


@dataclass(frozen=True)
class LearningOptions(Options):
    """How they learn."""

    recipe: Free[Recipe] = "paper"
    """Other defaults all at once; flags beat them. paper: the paper's. vivid: for the best pictures
    in the least time, whatever the pictures are. docs/QUALITY.md compares both."""
    steps: Free[int] = 40_000
    """Train until this many steps are done, counted from the very first one."""
    batch_size: Told[int] = 1
    """Pairs per step."""
    learning_rate: Told[float] = 2e-4
    """Adam's step size, for both networks."""
    learning_rate_decay_from: Told[Unset[int]] = None
    """From this step on the learning rate falls linearly, to zero at the end. Default: never."""
    beta_1: Told[float] = 0.5
    """Adam's momentum, for both networks."""
    l1_weight: Told[float | Literal["auto"]] = 100.0
    """How much the L1 distance to the ground truth counts against deceiving the discriminator.
    auto: 3 where that names classes, else 100."""
    feature_weight: Told[float | Literal["auto"]] = 0.0
    """With --critic features: how much the distance to the ground truth in its features counts.
    auto: 3 where the discriminator names classes, else 10."""
    gan_loss: Told[Literal["vanilla", "least-squares", "hinge"]] = "vanilla"
    """What the discriminator's verdict costs both networks."""
    seed: Told[int] = 0
    """Decides initial weights, the order of the pairs, jitter, dropout, and what is held out."""
    precision: Told[Literal["auto", "float32", "bfloat16", "float16"]] = "auto"
    """What training computes in; weights, statistics and losses stay float32. auto: bfloat16 where
    the hardware has it, else float32. float16: for GPUs without bfloat16, with scaled losses."""
    xla: Free[Literal["auto", "on", "off"]] = "auto"
    """Compile the train step with XLA. auto: on a GPU (on a processor it is slower)."""


@dataclass(frozen=True)
class RunOptions(Options):
    """Where the run is kept, and how often something is written."""

    output: Free[Path] = Path("training_checkpoints")
    """Where run folders live."""
    name: Free[Unset[str]] = None
    """The run folder is output/name. Default: the dataset's name, and the task's."""
    log_every: Free[int] = 100
    """Steps between two log lines (screen, metrics.csv, TensorBoard)."""
    preview_every: Free[int] = 1_000
    """Steps between two previews."""
    validate: Free[int] = 100
    """At every preview, measure the generator on so many held-out pairs: L1, PSNR and SSIM, in
    validation.csv. Fewer where that would take more than 3% of the training; 0: none."""
    keep_best: Free[Unset[Literal["l1", "psnr", "ssim", "features"]]] = None
    """Keep the generator that does best on these pairs as best.keras; features: with --critic
    features. Default: only the newest."""
    checkpoint_every: Free[int] = 5_000
    """Steps between two checkpoints."""
    keep_checkpoints: Free[int] = 3
    """Only this many of the newest checkpoints are kept; one is about 900 MB at the defaults."""
    from_run: Free[Annotated[Unset[Path], tyro.conf.arg(name="from", metavar="RUN")]] = None
    """Begin a new run with the networks of this one, for other pairs or another direction: they
    learn faster. What the networks are like is taken from there."""
    keep_old: Told[float] = 0.0
    """With --from: 0.2, say: the share of its own training pairs among all, against forgetting."""
    config: Free[Unset[Path]] = None
    """A config.json to start from; other options beat it."""


@dataclass(frozen=True)
class Train(RunOptions, LearningOptions, NetworkOptions, PictureOptions, DataOptions):
    """Train a generator on pairs of pictures; started again, go on where it stopped."""

    @property
    def known_dataset(self) -> Dataset | None:
        """Return what is known of the dataset by its name; nothing of folders."""
        return None if self.source_dir else DATASETS.get(self.dataset)

    @property
    def picture_size(self) -> tuple[int, int]:
        """Return --image-size as (height, width)."""
        height, _, width = str(self.image_size).partition("x")
        return int(height), int(width or height)

    @property
    def possible_halvings(self) -> int:
        """Count how often height and width can both be halved without a remainder."""
        length, count = math.gcd(*self.picture_size), 0
        while length and length % 2 == 0:
            length, count = length // 2, count + 1
        return count

    @property
    def source_folders(self) -> tuple[Path, ...]:
        """List the folders of --source-dir."""
        if isinstance(self.source_dir, Path):
            return (self.source_dir,)
        return self.source_dir or ()

    @property
    def run_folder(self) -> Path:
        """Return the folder in which the run lives."""
        folders: list[str | Path] = [self.dataset]
        if self.source_dir:
            folders = [*self.source_folders, *filter(None, [self.target_dir])]
        name = "_to_".join(os.path.basename(os.path.abspath(folder)) for folder in folders)
        if self.task != Train.task:
            name += f"-{self.task}"
        return Path(self.output).expanduser() / (self.name or name)


@dataclass(frozen=True)
class InspectOptions(Options):
    """What else is made of what is found."""

    write_csv: bool = False
    """Write it as pairs.csv into the folder, to be edited: which files are a pair, their group,
    weight and split."""


@dataclass(frozen=True)
class Inspect(InspectOptions, Train):
    """Look at a dataset before training: what is in it, what is broken, and, as a picture, what
    the network would see. All other options are those of train."""


# --- What follows from the options of a training --------------------------------------------------


def flag(field: str) -> str:
    """Spell a field of Train as on the command line."""
    return "--" + ("from" if field == "from_run" else field.replace("_", "-"))


def dataset_name(options: Train) -> str:
    """Name the dataset, or the two folders in its place, in messages."""
    if options.source_dir:
        return " and ".join(map(str, [*options.source_folders, options.target_dir]))
    return options.dataset


def places_of_run(run: Path) -> tuple[Path, Path]:
    """List where a run may be that is named by its path or, where runs are usually kept, by its
    name alone."""
    return run, Train.output / run

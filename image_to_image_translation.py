"""pix2pix: learn to turn one kind of picture into another from pairs of examples.

The training of "Image-to-Image Translation with Conditional Adversarial Networks" by Isola, Zhu,
Zhou and Efros (CVPR 2017, arXiv 1611.07004), cited below as "paper". Everything that decides what
is learned from pairs stands in this file, but for the values of the options, in the order the data
flows; `grep "^# --- "` prints its table of contents.

    python image_to_image_translation.py                    facades, from label maps to photos
    python image_to_image_translation.py --help             every option and its default
    python image_to_image_translation.py train --dataset maps --steps 100000
    python image_to_image_translation.py inspect my_pairs   what is in a folder, before training
    python image_to_image_translation.py train --dataset my_pairs --direction AtoB
    python image_to_image_translation.py train --dataset my_photos --task colorize
    python image_to_image_translation.py train --dataset synthetic --image-size 64 --steps 1000
    python image_to_image_translation.py translate facades my_labels
    python image_to_image_translation.py evaluate facades
    python image_to_image_translation.py export facades --formats onnx litert
    python image_to_image_translation.py import-weights latest_net_G.pth --name theirs

The first command downloads 31 MB and trains for 40,000 steps: hours on a processor, so try
`--name try --steps 500` there first. The one with synthetic pictures needs no download, and two or
three minutes on two cores. Everything a run makes is in `training_checkpoints/NAME`. Stop it at any
moment and give the same command again: it goes on from its last checkpoint exactly as if it had
never stopped.

In a notebook, `from image_to_image_translation import Train, train`, then
`train(Train(dataset="synthetic", image_size=64, steps=1000))`. Importing starts nothing.

Beside this file lie the options with their defaults (`pix2pix/options.py`), what the training
stands on, such as picture files, devices and tasks (`pix2pix/support/`), and what one does before
and after it (`pix2pix/commands/`). docs/ARCHITECTURE.md shows how they belong together.
"""

from pix2pix.command_line import main  # the first import of all: it is quick, the others are not

if __name__ == "__main__":  # the command asked for loads this file again, under its own name
    raise SystemExit(main())

# --- 2. Imports and constants ---------------------------------------------------------------------

import json
import math
import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pix2pix.talk.lines import hold_back_errors

with hold_back_errors():  # what TensorFlow writes while it is loaded, unless that fails
    import keras
    import tensorflow as tf
    from keras import layers

from pix2pix.networks.class_discriminator import build_class_discriminator
from pix2pix.networks.devices import (
    choose_computing_type,
    choose_strategy,
    compute_in,
    has_gpu,
    is_writer,
    requested_stop,
    start_alike,
    training_in,
)
from pix2pix.networks.fast_layers import with_fast_layers
from pix2pix.networks.fused_adam import FusedAdam
from pix2pix.networks.gan_losses import OTHER_GAN_LOSSES, GanLoss
from pix2pix.options.advice import (
    announce,
    hint_at_less,
    how_to_go_on,
    refuse_broken,
    refuse_single_pictures,
)
from pix2pix.options.checks import check_train, require
from pix2pix.options.saved import (
    changed_fields,
    fill_in,
    find_run,
    from_saved,
    older_options,
    read_config,
    refuse_another_run,
    refuse_other_networks,
    report_changes,
    settle,
    sides_of_older,
    to_saved,
)
from pix2pix.options.train import (
    DATASETS,
    SettledTrain,
    Train,
    picture_size,
    possible_halvings,
    run_folder,
    source_folders,
)
from pix2pix.pairs.augment import augment, check_augment
from pix2pix.pairs.pair_folders import FilePair, find_pairs
from pix2pix.pairs.splits import CheckedSplit, Split, mix
from pix2pix.pairs.synthetic import SyntheticPair, synthetic_splits
from pix2pix.pairs.tasks import TASKS, Task
from pix2pix.pictures.label_maps import one_channel_per_class, snap_to_classes
from pix2pix.pictures.meanings import (
    settle_kind,
    with_classes,
    with_older_classes,
    with_ranges,
)
from pix2pix.pictures.panels import draw_panel
from pix2pix.pictures.pixels import Kind, kind_of, resize, shown_parts, to_values
from pix2pix.pictures.sides import PHOTOS, Side
from pix2pix.runs.checkpoint_files import (
    checkpoints,
    remove_checkpoints,
    remove_half_written,
    restore,
    write_checkpoint,
)
from pix2pix.runs.generator_file import save_generator
from pix2pix.runs.run_page import RunPage
from pix2pix.runs.symptoms import warn
from pix2pix.runs.tables import add_row, begin_table
from pix2pix.runs.tensorboard import write_options, write_picture, write_scalars
from pix2pix.runs.validation import SHOWN, Validation
from pix2pix.talk.downloads import fetch_archive
from pix2pix.talk.errors import UsageError, UserError, first_line
from pix2pix.talk.files import map_ahead, replace_when_complete, write_text
from pix2pix.talk.lines import in_notebook, say, say_for_now, say_row
from pix2pix.talk.notebook import RunFolder, live_output, show_curves, show_inline
from pix2pix.talk.progress import StepClock, is_due, say_progress, say_step
from pix2pix.talk.stop_signals import stop_requests

CACHE_BYTES = 2 * 2**30  # training pictures stay in memory once they are read, if not more
BATCHES_AHEAD = 4  # made while a step is taken
JITTER_SCALE = 286 / 256  # paper: pictures are enlarged to 286×286, for 256×256
BORDER = [[0, 0], [1, 1], [1, 1], [0, 0]]  # a pixel around each map
SMALLEST_MIRRORED = 16  # pixels: smaller maps end in zeros, so that places can be told apart
PICTURES_ASKED = 100  # about classes and ranges: at least, or all where there are fewer
PREVIEW_PAIRS = 3  # in a preview, at most
STEPS_BEFORE_HINT = 10  # by which the time of the others is known
LOSSES = {  # and what they are called in a line of progress, if they are in it
    "generator_total": "",
    "generator_gan": "gan",
    "generator_l1": "L1",
    "discriminator": "D",
    "discriminator_real": "",
    "discriminator_generated": "",
    "discriminator_right": "right",
}
VALIDATION_TIME = 0.03  # of the training, at most
PAIRS_IN_A_STEP = 4  # that can be measured in the time of a step, or more: docs/MEASURED.md

# --- 3. Data --------------------------------------------------------------------------------------
#
# dataset by name → pairs → check → fit → jitter → batches. A is the left half of a pair on disk, or
# the first of two folders, B the other; from here on they are called source (what the generator
# gets) and target (the ground truth). Pixels are [height, width, channels] in 8 or 16 bits.


def task_of(config: Train) -> Task:
    """Return the task of a configuration: it knows how source and target are made."""
    task = TASKS[config.task]
    return task(picture_size(config), config.scale, backwards=config.direction == "BtoA")


def check_options(options: Train) -> None:
    """Refuse options that make no sense, by themselves or for the task."""
    check_train(options)
    task = task_of(options)
    if not task.can_turn_round:
        require(options.direction != "BtoA", options, "direction", "AtoB with this --task")
    if task.divides_size:
        divides = math.gcd(*task.size) % options.scale == 0
        require(divides, options, "scale", "at least 2 and divide the image size")
    if task.from_photos:
        require(not options.source_channels, options, "source_channels", "left to --task")
        require(not options.target_channels, options, "target_channels", "left to --task")
        require(options.labels == "none", options, "labels", "none with this --task")
        require(options.range != ("each",), options, "range", "auto or LOW HIGH with this --task")


def choose_order(task: Task, usual: str, direction: str) -> tuple[int, ...]:
    """Choose which of the pictures A and B are used; `usual` is the dataset's own direction."""
    if task.from_photos:  # the usual target of a pair is the photo
        return (0,) if usual == "BtoA" else (-1,)
    return (1, 0) if direction == "BtoA" else (0, 1)


def find_splits(options: Train) -> tuple[dict[str, Split], str]:
    """Find the pairs of each split of the dataset, and the direction in which they are used."""
    task = task_of(options)
    known = None if options.source_dir else DATASETS.get(options.dataset)
    usual = known.direction if known else "AtoB"
    direction = options.direction or ("AtoB" if task.from_photos else usual)
    order = choose_order(task, usual, direction)
    if known and options.dataset == "synthetic":
        drawn = synthetic_splits(options.seed, task.size)
        return {name: Split(pairs, order, ()) for name, pairs in drawn.items()}, direction

    root, sides, photos = Path(options.dataset), None, task.from_photos
    if known:
        data_dir = Path(options.data_dir).expanduser()
        root = fetch_archive(options.dataset, known.megabytes, options.mirror, data_dir)
        photos = False  # it has pairs; a task takes their targets
    elif options.source_dir:
        root, sides = Path(), (*map(str, source_folders(options)), str(options.target_dir))
    on_disk = find_pairs(root, sides, photos, options.holdout, options.seed)
    splits = {name: Split(there.pairs, order, there.problems) for name, there in on_disk.items()}
    return splits, direction


def check_large_enough(pixels: np.ndarray, pair: FilePair | SyntheticPair, config: Train) -> None:
    """Refuse a picture from which --crop cannot cut the image size."""
    height, width = picture_size(config)
    if config.crop and (pixels.shape[0] < height or pixels.shape[1] < width):
        shape = "×".join(map(str, pixels.shape[:2]))
        raise UserError(f"{pair.files[0]}: {shape} is too small to cut {height}×{width} from it")


def fit_to_size(
    pixels: np.ndarray, size: tuple[int, int], config: Train, side: Side = PHOTOS
) -> np.ndarray:
    """Bring a picture to (height, width), as --crop and --fit say."""
    height, width = pixels.shape[:2]
    if config.crop:
        shape = size
    elif config.fit == "crop":
        scale = min(height / size[0], width / size[1])
        shape = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    else:
        shape = (height, width)
    top, left = (height - shape[0]) // 2, (width - shape[1]) // 2
    return resize(pixels[top : top + shape[0], left : left + shape[1]], size, side=side)


def size_for_jitter(pixels: np.ndarray, config: Train) -> tuple[int, int]:
    """Return the height and width of a picture that jitter cuts from."""
    if config.crop and config.jitter:
        return pixels.shape[:2]  # a window is cut from its full resolution
    scale = JITTER_SCALE if config.jitter and not config.crop else 1
    height, width = picture_size(config)
    return round(height * scale), round(width * scale)


def bytes_for_jitter(pixels: np.ndarray, config: Train) -> int:
    """Return how much memory a picture takes that jitter cuts from."""
    height, width = size_for_jitter(pixels, config)
    return height * width * pixels.shape[2] * pixels.itemsize


class CheckedPair(NamedTuple):
    """What the check finds out about a sound pair."""

    size: tuple[int, int]
    kinds: tuple[Kind, ...]
    nbytes: int  # of its pictures, as jitter gets them
    resized: bool  # whether the source is brought to the size of the target


def check_split(split: Split, name: str, config: Train) -> CheckedSplit:
    """Read every pair once, so that a broken file is found now and not at step 7,213."""
    numbers, problems, sizes, kinds = [], list(split.problems), Counter(), Counter()
    nbytes = resized = 0

    def check_pair(k: int) -> CheckedPair | UserError:
        try:
            pictures = split.read(k)
            check_large_enough(pictures[-1], split.pairs[k], config)
        except UserError as error:
            return error
        size, nbytes = pictures[-1].shape[:2], sum(bytes_for_jitter(p, config) for p in pictures)
        resized = pictures[0].shape[:2] != size
        return CheckedPair(size, tuple(map(kind_of, pictures)), nbytes, resized)

    for k, outcome in enumerate(map_ahead(check_pair, range(len(split)))):
        if is_due(k + 1, 100, len(split)):
            say_progress(f"Checking {name}", k + 1, len(split), f"{k + 1:,} of {len(split):,}")
        if isinstance(outcome, UserError):
            problems.append(str(outcome))
            continue
        numbers.append(k)
        sizes[outcome.size] += 1
        kinds[outcome.kinds] += 1
        nbytes, resized = nbytes + outcome.nbytes, resized + outcome.resized
    pairs = [split.pairs[k] for k in numbers]
    return CheckedSplit(pairs, split.order, problems, numbers, sizes, kinds, nbytes, resized)


def check_splits(splits: dict[str, Split], config: Train) -> dict[str, CheckedSplit]:
    """Check all splits of a dataset."""
    return {name: check_split(split, name, config) for name, split in splits.items()}


def check_layout(split: CheckedSplit, config: Train) -> None:
    """Refuse to cut pictures into halves that do not look like pairs, unless told to."""
    pair = split.pairs[0]
    in_halves = isinstance(pair, FilePair) and pair.side_by_side
    if in_halves and config.layout == "auto" and config.dataset not in DATASETS:
        refuse_single_pictures(split.sizes, config.dataset)


def some_pictures(split: CheckedSplit, place: int) -> Iterator[np.ndarray]:
    """Read some pictures of a split: the sources at place 0 and the targets at 1, or the photos."""
    every = max(1, len(split) // PICTURES_ASKED)
    for pictures in map_ahead(split.read, range(0, len(split), every), count=4):
        yield pictures[place]


def find_sides(split: CheckedSplit, options: Train) -> list[Side]:
    """Find out what the pictures of a split mean: classes, or more than can be seen."""
    titles, from_photos, sides = ("source", "target"), task_of(options).from_photos, []
    older = sides_of_older(options)
    for place, (title, side) in enumerate(zip(titles, split.describe(), strict=False)):
        some = partial(some_pictures, split, place)
        side = with_classes(side, some(), options.classes, title, options.labels)
        side = with_older_classes(side, older[place])
        bits = max(kinds[place].bits for kinds in split.kinds)
        words = options.range or (("auto",) if bits == 32 and from_photos else ())
        sides.append(with_ranges(side, some(), words, title, bits))
    return sides


def settle_channels_and_depth(
    options: Train,
    direction: str,
    kinds: Counter[tuple[Kind, ...]],
    sides: Sequence[Side] = (PHOTOS, PHOTOS),
) -> tuple[SettledTrain, dict]:
    """Return the options completed by what the pictures decide, and those decisions alone."""
    by_side = zip(sides, zip(*kinds, strict=True), strict=False)  # or of the photos alone
    settled = [settle_kind(kinds_of_side, side) for side, kinds_of_side in by_side]
    task = task_of(replace(options, direction=direction))
    source, target = task.settle(settled)
    source_side, target_side = task.settle_sides(sides[: len(settled)])
    derived = {
        "direction": direction,
        "source_channels": options.source_channels or source.channels,
        "target_channels": options.target_channels or target.channels,
        "depth": options.depth or possible_halvings(options),
        "target_bits": target.bits,
        "source": source_side.to_saved(),
        "target": target_side.to_saved(),
    }
    return settle(options, derived), derived


def settle_pictures(
    options: Train, direction: str, split: CheckedSplit
) -> tuple[SettledTrain, dict]:
    """Return the options completed by what some pictures decide, and those decisions alone."""
    sides = find_sides(split, options)
    config, decisions = settle_channels_and_depth(options, direction, split.kinds, sides)
    if config.discriminator == "classes" and not config.source.classes:
        raise UsageError("--discriminator classes is for label maps: add --labels source.")
    check_augment(config.augment, sides)
    return config, decisions


def pair_shape(split: CheckedSplit, config: Train) -> list[int] | None:
    """Return height and width of most pictures, if each of them holds both halves of a pair."""
    if task_of(config).from_photos or any(len(pair.files) != 1 for pair in split.pairs):
        return None
    height, width = split.sizes.most_common(1)[0][0]
    return [height, 2 * width]


def stored_sides(config: SettledTrain) -> tuple[Sequence[int], Sequence[Side]]:
    """Return the channels of the pictures that a pair has on disk, and what they mean."""
    task = task_of(config)
    counts = task.stored(config.source_channels, config.target_channels)
    return counts, task.stored(config.source, config.target)


def concatenate_pair(pictures: list[np.ndarray], config: SettledTrain) -> np.ndarray:
    """Stack the pictures of a pair channel upon channel, with values from -1 to 1.

    All that happens to the pair from here on happens to both."""
    return np.concatenate(list(map(to_values, pictures, *stored_sides(config))), axis=-1)


def separate_pair(
    stacked: tf.Tensor, config: Train, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Divide stacked pictures into source and target; some tasks draw numbers from the seed."""
    channels = [config.source_channels, config.target_channels]
    return task_of(config).split(stacked, channels, seed)


def load_pair(split: Split, k: int, config: SettledTrain) -> list[tuple[np.ndarray, Side]]:
    """Load the pictures of pair k in one size, each with its side; label maps in exact colours."""
    pair, pictures = [], split.read(k)
    _, sides = stored_sides(config)
    for pixels, side in zip(pictures, sides, strict=True):
        pixels = snap_to_classes(pixels, side.classes)
        pair.append((resize(pixels, pictures[-1].shape[:2], side=side), side))
    return pair


def examples(split: Split, numbers: Sequence[int], config: Train) -> tuple[tf.Tensor, tf.Tensor]:
    """Return some pairs as they are, without jitter: sources and targets, each in one batch."""
    sources, targets = [], []
    for k in numbers:
        size = picture_size(config)
        pictures = [fit_to_size(p, size, config, side) for p, side in load_pair(split, k, config)]
        stacked = tf.constant(concatenate_pair(pictures, config))
        source, target = separate_pair(stacked, config, [config.seed, split.number_of(k)])
        sources.append(source)
        targets.append(target)
    return tf.stack(sources), tf.stack(targets)


def first_examples(split: Split, config: Train) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the pairs that previews show."""
    return examples(split, range(min(PREVIEW_PAIRS, len(split))), config)


def load_for_jitter(split: CheckedSplit, k: int, config: Train) -> list[np.ndarray]:
    """Load the pictures of pair k at the size that jitter cuts from."""
    pair = load_pair(split, k, config)
    if config.crop and config.jitter:
        return [pixels for pixels, _ in pair]
    return [fit_to_size(p, size_for_jitter(p, config), config, side) for p, side in pair]


def jitter(stacked: tf.Tensor, config: Train, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Cut source and target out of a larger picture at random, and mirror them at random."""
    counts, sides = stored_sides(config)
    augmenting = tf.random.experimental.stateless_fold_in(seed, 2)
    stacked = augment(stacked, counts, sides, config.augment, augmenting)
    height, width = picture_size(config)
    down, right, mirrored = tf.unstack(tf.random.stateless_uniform([3], seed))
    top_count, left_count = tf.unstack(tf.shape(stacked)[:2] - [height, width] + 1)
    top = tf.cast(down * tf.cast(top_count, tf.float32), tf.int32)
    left = tf.cast(right * tf.cast(left_count, tf.float32), tf.int32)
    window = stacked[top : top + height, left : left + width]
    if config.flip:
        window = tf.cond(mirrored < 0.5, lambda: tf.reverse(window, axis=[1]), lambda: window)
    window = tf.ensure_shape(window, [height, width, stacked.shape[-1]])
    return separate_pair(window, config, tf.random.experimental.stateless_fold_in(seed, 1))


def batches(
    split: CheckedSplit,
    config: Train,
    first_step: int,
    shard: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Return the batches of all steps from `first_step` on, as a pure function of (seed, step).

    Example number k is pair k mod n of a permutation that is new in every epoch, so a run that
    goes on at some step sees what it would have seen without the stop, and nothing about the
    iterator has to be saved. Each worker makes its share of every batch, divided further into one
    part for each of its devices, in order.
    """
    shard, count = shard or tf.distribute.InputContext(), len(split)
    share = config.batch_size // shard.num_input_pipelines
    load_pictures = partial(load_for_jitter, split, config=config)
    if split.nbytes <= CACHE_BYTES:
        load_pictures = cache(load_pictures)  # in the first epoch
    channels = concatenate_pair(load_pictures(0), config).shape[-1]

    def load(k: np.int64) -> np.ndarray:
        return concatenate_pair(load_pictures(int(k)), config)

    @tf.autograph.experimental.do_not_convert
    def make_example(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        step, place = index // share, shard.input_pipeline_id * share + index % share
        number = step * config.batch_size + place
        epoch, position = number // count, number % count
        k = tf.random.experimental.index_shuffle(position, [config.seed, epoch], count - 1)
        stacked = tf.numpy_function(load, [k], tf.float32, stateful=False)
        seed = tf.stack([tf.constant(config.seed, tf.int64), number])
        return jitter(tf.ensure_shape(stacked, [None, None, channels]), config, seed)

    # the examples of this worker, numbered from the very first step on
    indices = tf.data.Dataset.range(first_step * share, config.steps * share)
    dataset = indices.map(make_example, num_parallel_calls=os.cpu_count())
    size = shard.get_per_replica_batch_size(config.batch_size)
    options = tf.data.Options()
    options.autotune.enabled = False  # a run that is stopped would wait for the tuner's sleep
    return dataset.batch(size, drop_remainder=True).prefetch(BATCHES_AHEAD).with_options(options)


# --- 4. Generator ---------------------------------------------------------------------------------
#
# paper: section 6.1.1. Normalisation is per image, which at batch size 1 is the paper's batch
# normalisation with batch statistics. Unlike that, a picture's result does not depend on the others
# of its batch, and training, preview and every later use compute the same function.


def convolution(
    layer: type[layers.Layer], filters: int, stride: int, use_bias: bool, **options: int | str
) -> layers.Layer:
    """Return a 4×4 convolution, or with layers.Conv2DTranspose its transpose."""
    initial = keras.initializers.RandomNormal(0, 0.02)  # paper: all weights from N(0, 0.02)
    options = {"kernel_size": 4, "padding": "same"} | options
    return layer(filters, strides=stride, use_bias=use_bias, kernel_initializer=initial, **options)


def normalize(x: keras.KerasTensor, config: Train) -> keras.KerasTensor:
    """Bring each channel to mean 0 and variance 1, over a picture or a batch, then scale it."""
    options = {"epsilon": 1e-5, "gamma_initializer": keras.initializers.RandomNormal(1, 0.02)}
    if config.normalization == "instance":
        return layers.GroupNormalization(groups=-1, **options)(x)
    if config.normalization == "plain-instance":
        return layers.GroupNormalization(groups=-1, epsilon=1e-5, center=False, scale=False)(x)
    if config.normalization == "batch":
        together = tf.distribute.has_strategy()  # over the parts of a batch on several devices
        return layers.BatchNormalization(momentum=0.9, synchronized=together, **options)(x)
    return x


def needs_bias(config: Train) -> bool:
    """Tell whether convolutions need a bias because no learned shift follows them."""
    return config.normalization in ("none", "plain-instance")


def mirrors_border(height: int, width: int, config: Train) -> bool:
    """Tell whether a layer sees its map mirrored beyond the border.

    Height and width are those of the smaller of its two maps, before and after it."""
    return config.padding == "reflect" and min(height, width) >= SMALLEST_MIRRORED


def downsample(
    x: keras.KerasTensor, filters: int, use_bias: bool, config: Train
) -> keras.KerasTensor:
    """Halve height and width."""
    _, height, width, _ = x.shape
    if mirrors_border(height // 2, width // 2, config):
        x = keras.ops.pad(x, BORDER, "reflect")
        return convolution(layers.Conv2D, filters, 2, use_bias, padding="valid")(x)
    return convolution(layers.Conv2D, filters, 2, use_bias)(x)


def upsample(
    x: keras.KerasTensor, filters: int, use_bias: bool, config: Train
) -> keras.KerasTensor:
    """Double height and width."""
    _, height, width, _ = x.shape
    mirrored = mirrors_border(height, width, config)
    if mirrored:
        x = keras.ops.pad(x, BORDER, "reflect")
    if config.upsampling == "resize":  # every pixel is made from equally many, so no checkerboard
        x = layers.UpSampling2D(2)(x)
        x = convolution(layers.Conv2D, filters, 1, use_bias, kernel_size=3)(x)
    else:
        x = convolution(layers.Conv2DTranspose, filters, 2, use_bias)(x)
    return layers.Cropping2D(2)(x) if mirrored else x


def build_generator(config: Train) -> keras.Model:
    """Build the U-Net: `source` [batch, height, width, channels] to a picture of that size.

    All values are from -1 to 1."""
    task, biased = task_of(config), needs_bias(config)
    depth = config.depth or possible_halvings(config)  # until a side is odd: 1×1, for 256×256
    filters = [config.generator_filters * min(2**level, 8) for level in range(depth)]
    source = keras.Input((*task.size, config.source_channels or 3), name="source")
    x = one_channel_per_class(source, config.source.classes)

    skips = []
    for level, count in enumerate(filters):  # C64-C128-C256-C512-C512-C512-C512-C512
        if level > 0:
            x = layers.LeakyReLU(0.2)(x)
        x = downsample(x, count, biased, config)
        if 0 < level < depth - 1:  # paper: not the first; nor the last, where 1×1 would become 0
            x = normalize(x, config)
        skips.append(x)  # [batch, height / 2^(level+1), width / 2^(level+1), count]

    for level in reversed(range(depth - 1)):  # CD512-CD512-CD512-C512-C256-C128-C64
        x = layers.ReLU()(x)
        x = upsample(x, filters[level], biased, config)
        x = normalize(x, config)
        if level >= depth - 4:  # paper: dropout is the noise, in the first three
            x = layers.Dropout(0.5)(x)
        x = layers.Concatenate()([x, skips[level]])  # [batch, height / 2^(level+1), …, 2 · count]

    x = layers.ReLU()(x)
    x = upsample(x, task.generator_channels(config.target_channels or 3), True, config)
    x = layers.Activation("tanh", dtype="float32")(x)
    x = task.finish(x, source)  # pairs: as it is; some tasks put back a part of the source
    generated = layers.Identity(dtype="float32", name="generated")(x)
    return keras.Model(source, generated, name="generator")


def dropout_layers(generator: keras.Model) -> list[layers.Dropout]:
    """List the layers that are noise; what each draws next is its `seed_generator.state`."""
    return [layer for layer in generator.layers if isinstance(layer, layers.Dropout)]


# --- 5. Discriminator -----------------------------------------------------------------------------


def build_discriminator(config: Train) -> keras.Model:
    """Build the 70×70 PatchGAN: (source, image) to logits, one for each overlapping patch.

    Beyond the paper, for label maps: one that names the class of each pixel."""
    size, biased = picture_size(config), needs_bias(config)
    source = keras.Input((*size, config.source_channels or 3), name="source")
    image = keras.Input((*size, config.target_channels or 3), name="image")
    classes = one_channel_per_class(source, config.source.classes)
    if config.discriminator == "classes":
        parts = (config.discriminator_filters, convolution, partial(normalize, config=config))
        return build_class_discriminator(source, image, classes, *parts)
    x = layers.Concatenate()([classes, image])  # paper: conditional, so it sees the source too
    for level, (multiple, stride) in enumerate([(1, 2), (2, 2), (4, 2), (8, 1)]):
        x = layers.ZeroPadding2D(1)(x)
        count = config.discriminator_filters * multiple
        x = convolution(layers.Conv2D, count, stride, biased or level == 0, padding="valid")(x)
        if level > 0:
            x = normalize(x, config)
        x = layers.LeakyReLU(0.2)(x)  # 128, 64, 32, 31 pixels wide for 256 at the input
    x = layers.ZeroPadding2D(1)(x)
    x = convolution(layers.Conv2D, 1, stride=1, use_bias=True, padding="valid")(x)
    logits = layers.Activation("linear", dtype="float32", name="logits")(x)  # [batch, 30, 30, 1]
    return keras.Model([source, image], logits, name="discriminator")


# --- 6. Losses ------------------------------------------------------------------------------------


# The paper's cross-entropy, with the sigmoid taken into the logarithm. It is written as softplus
# because tf.nn.sigmoid_cross_entropy_with_logits sums four terms of its gradient in no fixed order,
# so that two runs would differ in the last bit.
GAN_LOSSES = OTHER_GAN_LOSSES | {
    "vanilla": GanLoss(
        real=lambda logits: tf.nn.softplus(-logits),  # -log D
        fake=lambda logits: tf.nn.softplus(logits),  # -log(1 - D)
        generator=lambda logits: tf.nn.softplus(-logits),  # paper: maximise log D, see 3.3
        says_real=lambda logits: logits > 0,  # D > 1/2
    ),
}


def gan_loss(config: Train) -> GanLoss:
    """Return the loss for a discriminator."""
    return GAN_LOSSES["classes" if config.discriminator == "classes" else config.gan_loss]


def generator_losses(
    target: tf.Tensor, generated: tf.Tensor, fake_logits: tf.Tensor, config: Train
) -> dict[str, tf.Tensor]:
    """Measure how well the discriminator is deceived, and how near the ground truth is."""
    gan = tf.reduce_mean(gan_loss(config).generator(fake_logits))
    l1 = tf.reduce_mean(tf.abs(target - generated))
    total = gan + config.l1_weight * l1  # paper: equation 4, λ = 100
    return {"generator_total": total, "generator_gan": gan, "generator_l1": l1}


def discriminator_losses(
    real_logits: tf.Tensor, fake_logits: tf.Tensor, config: Train
) -> dict[str, tf.Tensor]:
    """Measure how badly real and fake pictures are told apart, and in what share of the patches
    they are told apart rightly."""
    loss = gan_loss(config)
    real, fake = tf.reduce_mean(loss.real(real_logits)), tf.reduce_mean(loss.fake(fake_logits))
    right = [loss.says_real(real_logits), ~loss.says_real(fake_logits)]
    return {
        "discriminator": (real + fake) / 2,  # paper: halved, so that it learns slower
        "discriminator_real": real,
        "discriminator_generated": fake,
        "discriminator_right": tf.reduce_mean(tf.cast(right, tf.float32)),
    }


# --- 7. Train step --------------------------------------------------------------------------------
#
# Without AutoGraph, which none of this needs: it reads functions from the file anew, and computes
# something else if that has been edited since the program was started.


def update_average(state: tf.train.Checkpoint, config: Train) -> None:
    """Move the average of the generator's weights a little towards what they are now. It is not in
    the paper, but mostly makes better pictures (docs/QUALITY.md), and training is the same without.

    At first it spans few steps, so that the initial weights are forgotten, unless another run's
    average was carried over."""
    kept = config.average_weights
    if not config.from_run:
        done = tf.cast(state.step, tf.float32)
        kept = tf.minimum(kept, (1 + done) / (10 + done))
    for average, weight in zip(state.average.weights, state.generator.weights, strict=True):
        average.assign_add((1 - kept) * (weight - average))


@tf.function(autograph=False)
def train_step(
    state: tf.train.Checkpoint, source: tf.Tensor, target: tf.Tensor, config: Train
) -> dict[str, tf.Tensor]:
    """Update both networks on one batch; return the losses from before the update.

    On several devices each calls this with its part of the batch; the optimizers add up gradients.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    generator, discriminator = map(with_fast_layers, (state.generator, state.discriminator))
    with tf.GradientTape() as generator_tape:
        generated = generator(source, training=True)
        with tf.GradientTape() as discriminator_tape:  # which need not go back into the generator
            real_logits = discriminator([source, target], training=True)
            fake_logits = discriminator([source, generated], training=True)
            losses = generator_losses(target, generated, fake_logits, config)
            losses |= discriminator_losses(real_logits, fake_logits, config)
            generator_goal = losses["generator_total"] / replicas
            discriminator_goal = losses["discriminator"] / replicas
            generator_goal = state.generator_optimizer.scale_loss(generator_goal)
            discriminator_goal = state.discriminator_optimizer.scale_loss(discriminator_goal)

    weights = state.generator.trainable_variables
    state.generator_optimizer.apply(generator_tape.gradient(generator_goal, weights))
    weights = state.discriminator.trainable_variables
    state.discriminator_optimizer.apply(discriminator_tape.gradient(discriminator_goal, weights))
    state.step.assign_add(1)
    if state.average is not state.generator:
        update_average(state, config)
    for name, loss in losses.items():
        state.loss_sums[name].assign_add(loss)
    return losses


@tf.function(autograph=False)
def generate(generator: keras.Model, source: tf.Tensor, noise: bool = False) -> tf.Tensor:
    """Return what the generator makes of a batch, with dropout only if noise is wanted."""
    return with_fast_layers(generator)(source, training=noise)


# --- 8. Previews ----------------------------------------------------------------------------------


class HeldOut(NamedTuple):
    """Pairs that show how a training goes; but for the smallest of datasets, not trained on."""

    split_name: str
    sources: tf.Tensor  # of the pairs in previews
    targets: tf.Tensor
    validation: Validation


def hold_out(splits: dict[str, CheckedSplit], state: tf.train.Checkpoint, config: Train) -> HeldOut:
    """Choose the pairs that show how a training goes, and how many of them are measured."""
    name = next(name for name in ("val", "test", "train") if splits.get(name))
    networks = {SHOWN: state.average}
    if state.average is not state.generator:
        networks["generator_"] = state.generator
    steps = VALIDATION_TIME * config.preview_every * config.batch_size  # of one pair, at most
    count = 0 if name == "train" else min(len(splits[name]), config.validate)
    validation = Validation(
        networks,
        generate,
        load=lambda k: examples(splits[name], [k], config),
        count=min(count, int(steps * PAIRS_IN_A_STEP / len(networks))),
        table=run_folder(config) / "validation.csv",
    )
    return HeldOut(name, *first_examples(splits[name], config), validation)


def save_preview(
    state: tf.train.Checkpoint, held_out: HeldOut, folder: Path, config: Train
) -> Path:
    """Save the panel input · ground truth · prediction of some held-out pairs.

    Before the first step there is no prediction to speak of."""
    sources, targets, step = held_out.sources, held_out.targets, int(state.step.numpy())
    columns = shown_parts("Input", sources, config.source)
    columns |= shown_parts("Ground truth", targets, config.target)
    if step > 0:
        generated = [generate(state.average, source[None]) for source in sources]
        columns |= shown_parts("Prediction", tf.concat(generated, axis=0), config.target)
    path = folder / "previews" / f"step-{step:06}.png"
    path.parent.mkdir(exist_ok=True)
    draw_panel(path, columns)
    say_row("Preview", str(path))
    show_inline(path)
    return path


# --- 9. Run folder --------------------------------------------------------------------------------
#
# config.json, ckpt-*, generator.keras, metrics.csv, previews/ and logs/. All that training changes
# is in one tf.train.Checkpoint, `state`, so that what is saved is exactly what is trained.


def new_state(config: Train) -> tf.train.Checkpoint:
    """Return everything that training changes, at step 0."""
    keras.utils.set_random_seed(config.seed)
    computing_type = choose_computing_type(config.precision)
    with compute_in(computing_type):
        generator, discriminator = build_generator(config), build_discriminator(config)
        average = generator
        if config.average_weights:
            average = build_generator(config)
            average.set_weights(generator.get_weights())
    optimizers = []
    for network in (generator, discriminator):
        optimizer = FusedAdam(config.learning_rate, config.beta_1)  # paper: β₁ = 0.5
        if computing_type == "float16":  # small gradients would be zero
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        optimizer.build(network.trainable_variables)
        optimizers.append(optimizer)
    generator_optimizer, discriminator_optimizer = optimizers
    return tf.train.Checkpoint(
        generator=generator,
        discriminator=discriminator,
        average=average,  # what is shown and saved: the generator, or its --average-weights
        generator_optimizer=generator_optimizer,
        discriminator_optimizer=discriminator_optimizer,
        noise=[layer.seed_generator.state.value for layer in dropout_layers(generator)],
        step=tf.Variable(0, dtype=tf.int64, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA),
        logged=tf.Variable(0, dtype=tf.int64),  # the step of the last log line
        loss_sums={  # of the steps since then
            name: tf.Variable(0.0, aggregation=tf.VariableAggregation.MEAN) for name in LOSSES
        },
    )


def variables_of(state: tf.train.Checkpoint) -> list[tf.Variable]:
    """List all variables of a training but its noise."""
    networks = state.generator, state.discriminator, state.average
    parts = [*networks, state.generator_optimizer, state.discriminator_optimizer]
    variables = [v.value for part in dict.fromkeys(parts) for v in part.variables]
    return [*variables, state.step, state.logged, *state.loss_sums.values()]


def holds_run(folder: Path) -> bool:
    """Tell whether there is a run that can be gone on with."""
    return bool(checkpoints(folder)) and (folder / "config.json").exists()


def name_of_last_good(folder: Path) -> str:
    """Name the checkpoint that a run goes on from."""
    return checkpoints(folder)[-1].name if checkpoints(folder) else "step 0"


def write_config(new: dict, folder: Path) -> None:
    """Save the options of a run and what its pictures decided; report what has changed."""
    path = folder / "config.json"
    if holds_run(folder):
        report_changes(read_config(path), new)
    write_text(path, json.dumps(new, indent=2) + "\n")


def not_finite_error(state: tf.train.Checkpoint, folder: Path) -> UserError:
    """Return the error for a loss that is infinite or no number."""
    step, since = int(state.step.numpy()), int(state.logged.numpy()) + 1
    return UserError(
        f"{folder}: a loss stopped being finite between steps {min(since, step):,} and {step:,}; "
        f"nothing was overwritten, the last good checkpoint is {name_of_last_good(folder)}. "
        "Try a smaller --learning-rate."
    )


def write_generator(state: tf.train.Checkpoint, source: tf.Tensor, path: Path) -> None:
    """Write the generator as it is shown, with its step, and a source as an example."""
    settings = read_config(path.parent / "config.json")
    settings["found"]["step"] = int(state.step.numpy())
    with replace_when_complete(path) as temporary:
        save_generator(state.average, settings, source.numpy(), temporary)


def save(state: tf.train.Checkpoint, source: tf.Tensor, folder: Path, keep: int) -> None:
    """Write generator.keras, and then a checkpoint, which counts once its index is there."""
    step = int(state.step.numpy())
    logits = state.discriminator([source, generate(state.average, source)], training=False)
    if not np.isfinite(logits).all():  # the losses are from before the last update
        raise not_finite_error(state, folder)
    try:
        write_generator(state, source, folder / "generator.keras")
        write_checkpoint(state, folder, step)
    except (OSError, tf.errors.OpError) as error:
        remove_half_written(folder)
        raise UserError(
            f"{folder}: step {step:,} could not be saved ({first_line(error)}). "
            f"Free some space and start again; it goes on from {name_of_last_good(folder)}."
        ) from error
    remove_checkpoints(checkpoints(folder)[:-keep])
    say_row("Saved", f"{folder / f'ckpt-{step}'} and generator.keras")


def mean_losses(state: tf.train.Checkpoint, folder: Path) -> dict[str, float]:
    """Return the mean losses since the last log line; refuse to go on if one is not finite."""
    count = max(1, int(state.step.numpy()) - int(state.logged.numpy()))
    means = {name: float(total.numpy()) / count for name, total in state.loss_sums.items()}
    if not all(math.isfinite(mean) for mean in means.values()):
        raise not_finite_error(state, folder)
    return means


def describe_losses(losses: dict[str, float]) -> str:
    """Say some losses in few characters: `gan 1.15 L1 0.349 D 0.634 right 0.71`."""
    return " ".join(f"{LOSSES[name]} {loss:.3g}" for name, loss in losses.items() if LOSSES[name])


class Logs(NamedTuple):
    """Where a training tells how it goes, beside its tables."""

    writer: tf.summary.SummaryWriter  # of TensorBoard
    page: RunPage


def log(
    state: tf.train.Checkpoint,
    folder: Path,
    logs: Logs,
    losses: dict[str, float],
    clock: StepClock,
) -> None:
    """Add a row to metrics.csv, to TensorBoard and to the page, and begin new means."""
    step = int(state.step.numpy())
    steps_per_second = 1 / clock.seconds_per_step
    add_row(folder / "metrics.csv", step, [*losses.values(), steps_per_second])
    tagged = {f"loss/{name}": loss for name, loss in losses.items()}
    write_scalars(logs.writer, step, tagged | {"steps_per_second": steps_per_second})
    logs.page.go_on(step, (clock.total - step) / steps_per_second)
    show_curves(folder / "metrics.csv")
    state.logged.assign(step)
    for total in state.loss_sums.values():
        total.assign(0.0)


# --- 10. Train ------------------------------------------------------------------------------------


def train(options: Train) -> RunFolder:
    """Train, in a notebook say; options at their defaults are taken from a run that is there.

    A cell that is interrupted ends quietly, and goes on when it is run again."""
    with live_output():
        try:
            return train_as_told(fill_in(options, changed_fields(options)))
        except KeyboardInterrupt:
            if not in_notebook():
                raise
            say("Interrupted. Run this cell again to go on.")
            return RunFolder(run_folder(options), signal.SIGINT)


def train_as_told(options: Train) -> RunFolder:
    """Train up to step `options.steps`, from wherever the run stopped."""
    check_options(options)
    folder = run_folder(options)
    strategy = choose_strategy(options.batch_size)
    with training_in(folder, strategy):
        splits, config, settings = prepare(options, folder)
        say_for_now("Building the networks…")
        state = start_or_resume(config, settings, folder, strategy)
        first = int(state.step.numpy())
        page = RunPage(folder, to_saved(Train()))
        if first >= config.steps:
            if is_writer(strategy):
                page.write(first, "finished")
            say(f"{folder} is finished: {first:,} steps. To train longer: --steps {2 * first}")
            return RunFolder(folder)

        pairs, held_out = splits["train"], hold_out(splits, state, config)
        replicas, split_name = strategy.num_replicas_in_sync, held_out.split_name
        announce(options, config, task_of(config), pairs, split_name, replicas)
        say_row("Run", f"{folder}, steps {first + 1:,} to {config.steps:,}")
        say_row("Watch", f"{folder / 'index.html'} in a browser")
        if is_writer(strategy):
            write_config(settings, folder)
            write_text(folder / "training_pairs.txt", "\n".join(pairs.names) + "\n")
        stopped_by = train_steps(config, strategy, state, pairs, held_out, folder)
        if is_writer(strategy):
            page.write(int(state.step.numpy()), "stopped" if stopped_by else "finished")
    if stopped_by:
        step = int(state.step.numpy())
        say(f"Stopped at step {step:,}. To go on: {how_to_go_on(folder, config)}")
    else:
        best = "; the best one, best.keras" if (folder / "best.keras").exists() else ""
        say_row("Finished", f"the generator is {folder / 'generator.keras'}{best}")
    return RunFolder(folder, stopped_by)


def prepare(
    options: Train, folder: Path
) -> tuple[dict[str, CheckedSplit], SettledTrain, dict[str, object]]:
    """Find and check the pairs of a training. Return them, the options completed by what the
    pictures decide, and what config.json holds of both."""
    unchecked, direction = find_splits(options)
    splits = check_splits(unchecked, options)
    refuse_broken(splits, task_of(options).unit, options)
    own_pairs = splits["train"]
    if not checkpoints(folder):  # an older run may have been begun without a question
        check_layout(own_pairs, options)
    if options.keep_old:
        splits["train"] = mix(own_pairs, find_older_pairs(options), options.keep_old)
    config, decisions = settle_pictures(options, direction, splits["train"])
    derived = {  # in the order in which refuse_another_run looks for a difference
        "pairs": unchecked["train"].fingerprint,
        **decisions,
        "pair_shape": pair_shape(own_pairs, config),
    }
    settings = to_saved(options) | {"found": derived}
    if holds_run(folder):
        refuse_another_run(settings, folder)
    elif options.from_run:
        refuse_other_networks(settings, find_run(options))
    return splits, config, settings


def find_older_pairs(options: Train) -> CheckedSplit:
    """Find and check the training pairs of the run that --from names."""
    older = older_options(options)
    check_options(older)
    unchecked, _ = find_splits(older)
    checked = check_split(unchecked["train"], "older pairs", older)
    refuse_broken({"train": checked}, task_of(older).unit, older)
    return checked


def carry_over(state: tf.train.Checkpoint, folder: Path) -> None:
    """Begin with the networks of another run; the optimizers stay new."""
    networks = {"generator": state.generator, "discriminator": state.discriminator}
    older = from_saved(read_config(folder / "config.json"))
    if older.average_weights and state.average is not state.generator:
        networks["average"] = state.average
    try:
        path = checkpoints(folder)[-1]
        status = tf.train.Checkpoint(**networks).restore(str(path))
        status.expect_partial().assert_existing_objects_matched()
        if "average" not in networks:  # then it begins as the generator does
            state.average.set_weights(state.generator.get_weights())
    except (tf.errors.OpError, IndexError, ValueError, AssertionError) as error:
        raise UserError(
            f"--from {folder}: its networks cannot be used for these pictures with these options "
            f"({first_line(error)}). Channels, classes, filters and depth must be the same."
        ) from error


def start_or_resume(
    config: Train, settings: dict, folder: Path, strategy: tf.distribute.Strategy
) -> tf.train.Checkpoint:
    """Return the training as its last checkpoint has it, or at step 0, alike on all replicas."""
    with strategy.scope():
        state = new_state(config)
    if is_writer(strategy):
        remove_half_written(folder)
        restore(state, folder)
        if config.from_run and not checkpoints(folder):
            carry_over(state, find_run(config))
    data = ("dataset", "source_dir", "target_dir", "classes", "data_dir", "mirror", "from_run")
    places = (*data, "output", "name", "config")
    shared = {name: value for name, value in settings.items() if name not in places}
    start_alike(strategy, variables_of(state), state.noise, shared)  # workers may differ in places
    return state


def learning_rate(config: Train, step: int) -> float:
    """Return Adam's step size when so many steps are done; it depends on nothing else."""
    start = config.learning_rate_decay_from
    left = 1.0 if start is None else min(1.0, (config.steps - step) / (config.steps - start))
    return config.learning_rate * left


def take_steps(
    config: Train, strategy: tf.distribute.Strategy, state: tf.train.Checkpoint, split: CheckedSplit
) -> Iterator[int]:
    """Take the steps that are left, on all devices, and yield the number of each when done."""
    first, alone = int(state.step.numpy()), strategy.num_replicas_in_sync == 1
    compiled = config.xla == "on" or (config.xla == "auto" and has_gpu())

    @tf.function(autograph=False, jit_compile=alone and compiled)
    def step_on_all_devices(source: tf.Tensor, target: tf.Tensor) -> None:
        strategy.run(train_step.python_function, (state, source, target, config))

    def batches_of(shard: tf.distribute.InputContext) -> tf.data.Dataset:
        return batches(split, config, first, shard)

    dataset = strategy.distribute_datasets_from_function(batches_of)
    for step, (source, target) in enumerate(dataset, first + 1):
        for optimizer in (state.generator_optimizer, state.discriminator_optimizer):
            optimizer.learning_rate = learning_rate(config, step - 1)
        step_on_all_devices(source, target)
        yield step


def begin_logs(state: tf.train.Checkpoint, held_out: HeldOut, config: Train, folder: Path) -> Logs:
    """Begin the tables, the logs of TensorBoard, the previews and the page, or go on with them."""
    step = int(state.step.numpy())
    held_out.validation.begin(step)
    if config.keep_best and not held_out.validation.count:
        say_row("Careful", "--keep-best keeps nothing, as nothing is measured: docs/OPTIONS.md")
    begin_table(folder / "metrics.csv", ["step", *LOSSES, "steps_per_second"], step)
    writer = tf.summary.create_file_writer(str(folder / "logs"))
    write_options(writer, step, to_saved(config))
    if step == 0:
        save_preview(state, held_out, folder, config)
    page = RunPage(folder, to_saved(Train()))
    page.write(step, "training")
    return Logs(writer, page)


def show_and_validate(
    state: tf.train.Checkpoint,
    held_out: HeldOut,
    config: Train,
    folder: Path,
    logs: Logs,
) -> None:
    """Save a preview, measure the generator, keep it if it is the best so far, and warn."""
    step = int(state.step.numpy())
    write_picture(logs.writer, step, save_preview(state, held_out, folder, config))
    means = held_out.validation.run(step)
    write_scalars(logs.writer, step, {f"validation/{name}": mean for name, mean in means.items()})
    if means and config.keep_best and held_out.validation.is_best(config.keep_best):
        write_generator(state, held_out.sources[:1], folder / "best.keras")
    warn(folder, step)
    logs.page.write(step, "training")


def train_steps(
    config: Train,
    strategy: tf.distribute.Strategy,
    state: tf.train.Checkpoint,
    split: CheckedSplit,
    held_out: HeldOut,
    folder: Path,
) -> int:
    """Run the loop: step, log, preview, save. Return the signal that stopped it, or 0."""
    total, writes = config.steps, is_writer(strategy)
    with stop_requests() as requests:
        logs = begin_logs(state, held_out, config, folder) if writes else None
        say_for_now("Compiling the first step…")
        clock = StepClock(total)
        for step in take_steps(config, strategy, state, split):
            log_due = is_due(step, config.log_every, total)
            preview_due = is_due(step, config.preview_every, total)
            ask_due = log_due or is_due(step, max(1, config.log_every // 20), total)
            stopping = requested_stop(strategy, requests, ask_due)
            save_due = stopping or is_due(step, config.checkpoint_every, total)
            pause = log_due or preview_due or save_due
            line_due = writes and (log_due or clock.claim_line())
            if pause or line_due:
                losses = mean_losses(state, folder)  # waits for the device, and stops at a NaN
            clock.tick()
            if line_due:
                say_step(step, clock, describe_losses(losses))
            if writes and log_due:
                log(state, folder, logs, losses, clock)
            if writes and preview_due:
                show_and_validate(state, held_out, config, folder, logs)
            if writes and save_due:
                save(state, held_out.sources[:1], folder, config.keep_checkpoints)
            if stopping and step < total:
                return stopping
            if writes and len(clock.durations) == STEPS_BEFORE_HINT:
                hint_at_less(config, folder.name, total - step, clock.seconds_per_step)
            if pause:
                clock.resume()
    return 0

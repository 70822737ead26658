"""pix2pix: learn to turn one kind of picture into another from pairs of examples.

The training of "Image-to-Image Translation with Conditional Adversarial Networks" by Isola, Zhu,
Zhou and Efros (CVPR 2017, arXiv 1611.07004), cited below as "paper". What decides what is learned
from a pair stands in this file, in the order in which the data flow; a function stands before those
that call it. `grep "^# --- " image_to_image_translation.py` prints its table of contents.

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

Two of the things that pass through it: `options`, what was asked (`pix2pix/options/`), and `found`,
what the pictures decide (`pix2pix/preparation/`). The other folders of `pix2pix` are what the
training stands on, and what one does before and after it; docs/ARCHITECTURE.md shows them.
"""

from pix2pix.command_line import main  # the first import of all: it is quick, the others are not

if __name__ == "__main__":  # the command asked for loads this file again, under its own name
    raise SystemExit(main())

# --- 1. Imports and constants ---------------------------------------------------------------------

import math
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from pix2pix.talk.lines import hold_back_errors

with hold_back_errors():  # what TensorFlow writes while it is loaded, unless that fails
    import keras
    import tensorflow as tf
    from keras import layers

from pix2pix.networks import (
    CLASS_LOSS,
    OTHER_GAN_LOSSES,
    GanLoss,
    build_adam,
    build_class_discriminator,
    critic,
    devices,
    with_fast_layers,
)
from pix2pix.options import (
    Found,
    Train,
    fill_in_changed,
    find_run,
    shared_settings,
    write_run,
)
from pix2pix.pairs import (
    CheckedSplit,
    Split,
    augment,
    choose_shown,
    choose_window,
    find_pairs,
    move_to_source,
    synthetic_splits,
)
from pix2pix.pictures import PHOTOS, Side, ignored
from pix2pix.pictures.label_maps import one_channel_per_class, snap_to_classes
from pix2pix.pictures.panels import draw_panel
from pix2pix.pictures.pixels import in_values, resize, shown_parts
from pix2pix.preparation import (
    check_options,
    in_order,
    pair_to_values,
    prepare,
    stored_sides,
    task_of,
    write_config,
)
from pix2pix.runs import checkpoint_files
from pix2pix.runs.generator_file import save_generator
from pix2pix.runs.run_folder import RunFolder
from pix2pix.talk.downloads import fetch_archive
from pix2pix.talk.lines import in_notebook, say, say_for_now
from pix2pix.talk.notebook import live_output
from pix2pix.talk.progress import is_due
from pix2pix.talk.stop_signals import stop_requests
from pix2pix.watch import Watch, say_finished

CACHE_BYTES = 2 * 2**30  # training pictures stay in memory once read, if all take no more
BATCHES_AHEAD = 4  # made while a step is taken
JITTER_SCALE = 286 / 256  # paper: pictures are enlarged to 286×286, for 256×256
BORDER = [[0, 0], [1, 1], [1, 1], [0, 0]]  # a pixel around each map
SMALLEST_MIRRORED = 16  # pixels; smaller maps end in zeros, which tell where their border is
PREVIEW_PAIRS = 3  # in a preview, at most

# --- 2. Data --------------------------------------------------------------------------------------
#
# dataset by name → pairs → (preparation: check, settle) → fit → jitter → batches. A is the left
# half of a pair on disk, or the first of two folders, B the other; from here on they are called
# source (what the generator gets) and target (the ground truth). Pixels are [height, width,
# channels] in 8 or 16 bits.


def find_splits(options: Train) -> dict[str, Split]:
    """Find the pairs of each split of a dataset; one known by name is downloaded first."""
    known, task = options.known_dataset, task_of(options, options.direction)
    if known and options.dataset == "synthetic":
        return in_order(synthetic_splits(options.seed, task.size), options)

    root, folders, from_photos = Path(options.dataset), None, task.from_photos
    if known:
        data_dir = Path(options.data_dir).expanduser()
        root = fetch_archive(options.dataset, known.megabytes, options.mirror, data_dir)
        from_photos = False  # it has pairs; a task takes their targets
    elif options.source_dir:
        root, folders = Path(), (*map(str, options.source_folders), str(options.target_dir))
    division = options.holdout, options.seed, options.group
    by_split = find_pairs(root, folders, from_photos, *division)
    return in_order(by_split, options)


def fit_to_size(
    pixels: np.ndarray, size: tuple[int, int], options: Train, side: Side
) -> np.ndarray:
    """Bring a picture to (height, width), as --crop and --fit say."""
    height, width = pixels.shape[:2]
    if options.crop:
        shape = size
    elif options.fit == "crop":
        scale = min(height / size[0], width / size[1])
        shape = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    else:
        shape = (height, width)
    top, left = (height - shape[0]) // 2, (width - shape[1]) // 2
    return resize(pixels[top : top + shape[0], left : left + shape[1]], size, side=side)


def size_for_jitter(size: tuple[int, int], options: Train) -> tuple[int, int]:
    """Return the height and width to which a picture of some size is brought for jitter."""
    if options.crop and options.jitter:
        return size  # a window is cut from its full resolution
    scale = JITTER_SCALE if options.jitter and not options.crop else 1
    height, width = options.picture_size
    return round(height * scale), round(width * scale)


def to_source_and_target(
    pictures: Sequence[tf.Tensor], options: Train, found: Found, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return source and target of a pair, or made of a photo; some tasks draw from the seed."""
    source, target = task_of(options, found.direction).source_and_target(pictures, seed)
    return (ignored.fill(source) if options.ignore else source), target


def load_pair(split: Split, k: int, options: Train, found: Found) -> list[tuple[np.ndarray, Side]]:
    """Load the pictures of pair k in one size, each with its side, label maps in exact colours;
    with --ignore, a mask of what does not count in the target behind them."""
    pair, pictures = [], split.read(k)
    _, sides = stored_sides(options, found)
    if options.ignore:
        pictures[-1:] = ignored.set_apart(options.ignore, split.file_of(k, -1), pictures[-1])
    for pixels, side in zip(pictures, (*sides, PHOTOS), strict=False):
        pixels = snap_to_classes(pixels, side.classes)
        pair.append((resize(pixels, pictures[-1].shape[:2], side=side), side))
    return move_to_source(pair, found.misfit) if options.align else pair


def load_for_jitter(split: Split, k: int, options: Train, found: Found) -> list[np.ndarray]:
    """Load the pictures of pair k at the size that jitter cuts from."""
    return [
        fit_to_size(pixels, size_for_jitter(pixels.shape[:2], options), options, side)
        for pixels, side in load_pair(split, k, options, found)
    ]


def load_examples(
    split: Split, numbers: Sequence[int], options: Train, found: Found
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return some pairs as they are, without jitter: sources and targets, each in one batch."""
    sources, targets, size = [], [], options.picture_size
    for k in numbers:
        pair = load_pair(split, k, options, found)
        pictures = [fit_to_size(pixels, size, options, side) for pixels, side in pair]
        values = list(map(tf.constant, pair_to_values(pictures, options, found)))
        seed = [options.seed, split.number_of(k)]
        source, target = to_source_and_target(values, options, found, seed)
        sources.append(source)
        targets.append(target)
    return tf.stack(sources), tf.stack(targets)


def jitter(
    pictures: Sequence[tf.Tensor], options: Train, found: Found, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Cut source and target out of larger pictures at random, and mirror them at random; all that
    happens to one picture of a pair happens to the other."""
    if options.augment:  # not in the paper
        _, sides = stored_sides(options, found)
        augmenting = tf.random.experimental.stateless_fold_in(seed, 2)
        pictures = augment(list(map(in_values, pictures)), sides, options.augment, augmenting)
    height, width = options.picture_size
    down, right, mirrored = tf.unstack(tf.random.stateless_uniform([3], seed))
    if options.windows == "informative":  # not in the paper
        drawing = tf.random.experimental.stateless_fold_in(seed, 3)
        down, right = choose_window(in_values(pictures[-1]), options.picture_size, drawing)
    top_count, left_count = tf.unstack(tf.shape(pictures[-1])[:2] - [height, width] + 1)
    top = tf.cast(down * tf.cast(top_count, tf.float32), tf.int32)
    left = tf.cast(right * tf.cast(left_count, tf.float32), tf.int32)
    windows = [picture[top : top + height, left : left + width] for picture in pictures]
    if options.flip:
        mirror = partial(tf.reverse, axis=[1])
        windows = tf.cond(mirrored < 0.5, lambda: list(map(mirror, windows)), lambda: windows)
    shapes = [[height, width, picture.shape[-1]] for picture in pictures]
    values = list(map(in_values, map(tf.ensure_shape, windows, shapes)))
    separating = tf.random.experimental.stateless_fold_in(seed, 1)
    return to_source_and_target(values, options, found, separating)


def batches(
    split: CheckedSplit,
    options: Train,
    found: Found,
    first_step: int,
    shard: tf.distribute.InputContext,
) -> tf.data.Dataset:
    """Return the batches of all steps from `first_step` on, as a pure function of (seed, step).

    A run that goes on sees what it would have seen, and nothing about the iterator has to be saved.
    Each worker makes its share of every batch, a part for each of its devices, in order."""
    share = options.batch_size // shard.num_input_pipelines
    counts, sides = stored_sides(options, found)
    as_bytes = split.holds_bytes(sides) and not options.ignore
    types = [tf.uint8 if as_bytes else tf.float32] * len(counts)
    fits = split.bytes_at(partial(size_for_jitter, options=options)) <= CACHE_BYTES

    @lru_cache(None if fits else 0)  # all pictures are kept in memory, or none
    def load_pictures(k: int) -> list[np.ndarray]:
        return load_for_jitter(split, k, options, found)

    def load(k: np.int64) -> list[np.ndarray]:
        return pair_to_values(load_pictures(int(k)), options, found, as_bytes)

    @tf.autograph.experimental.do_not_convert
    def make_example(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        step, in_batch = index // share, shard.input_pipeline_id * share + index % share
        number = step * options.batch_size + in_batch
        k = split.choose_pair(number, options.seed)
        pictures = tf.numpy_function(load, [k], types, stateful=False)
        for picture, channels in zip(pictures, counts, strict=True):
            picture.set_shape([None, None, channels])
        return jitter(pictures, options, found, tf.stack([np.int64(options.seed), number]))

    indices = tf.data.Dataset.range(first_step * share, options.steps * share)  # of this worker
    dataset = indices.map(make_example, num_parallel_calls=os.cpu_count())
    size = shard.get_per_replica_batch_size(options.batch_size)
    pipeline = tf.data.Options()
    pipeline.autotune.enabled = False  # a run that is stopped would wait for the tuner's sleep
    return dataset.batch(size, drop_remainder=True).prefetch(BATCHES_AHEAD).with_options(pipeline)


# --- 3. Generator ---------------------------------------------------------------------------------
#
# paper: section 6.1.1. Normalisation is per image, which at batch size 1 is the paper's batch
# normalisation with batch statistics. Unlike that, a picture's result does not depend on the others
# of its batch, and training, preview and every later use compute the same function.


def convolution(
    layer: type[layers.Layer], filters: int, stride: int, use_bias: bool, **others: int | str
) -> layers.Layer:
    """Return a 4×4 convolution, or with layers.Conv2DTranspose its transpose."""
    initial = keras.initializers.RandomNormal(0, 0.02)  # paper: all weights from N(0, 0.02)
    shape = {"kernel_size": 4, "padding": "same"} | others
    return layer(filters, strides=stride, use_bias=use_bias, kernel_initializer=initial, **shape)


def normalize(x: keras.KerasTensor, options: Train) -> keras.KerasTensor:
    """Bring each channel of a picture, or of a batch, to mean 0 and variance 1, and scale it; or
    what else --normalization says."""
    scaled = {"epsilon": 1e-5, "gamma_initializer": keras.initializers.RandomNormal(1, 0.02)}
    if options.normalization == "instance":
        return layers.GroupNormalization(groups=-1, **scaled)(x)
    if options.normalization == "plain-instance":
        return layers.GroupNormalization(groups=-1, epsilon=1e-5, center=False, scale=False)(x)
    if options.normalization == "batch":
        together = tf.distribute.has_strategy()  # over the parts of a batch on several devices
        return layers.BatchNormalization(momentum=0.9, synchronized=together, **scaled)(x)
    return x


def needs_bias(options: Train) -> bool:
    """Tell whether convolutions need a bias because no learned shift follows them."""
    return options.normalization in ("none", "plain-instance")


def mirrors_border(height: int, width: int, options: Train) -> bool:
    """Tell whether a layer sees its map mirrored beyond the border.

    Height and width are those of the smaller of its two maps, before and after it."""
    return options.padding == "reflect" and min(height, width) >= SMALLEST_MIRRORED


def downsample(
    x: keras.KerasTensor, filters: int, use_bias: bool, options: Train
) -> keras.KerasTensor:
    """Halve height and width."""
    _, height, width, _ = x.shape
    if mirrors_border(height // 2, width // 2, options):
        x = keras.ops.pad(x, BORDER, "reflect")
        return convolution(layers.Conv2D, filters, 2, use_bias, padding="valid")(x)
    return convolution(layers.Conv2D, filters, 2, use_bias)(x)


def upsample(
    x: keras.KerasTensor, filters: int, use_bias: bool, options: Train
) -> keras.KerasTensor:
    """Double height and width."""
    _, height, width, _ = x.shape
    mirrored = mirrors_border(height, width, options)
    if mirrored:
        x = keras.ops.pad(x, BORDER, "reflect")
    if options.upsampling == "resize":  # every pixel is made from equally many, so no checkerboard
        x = layers.UpSampling2D(2)(x)
        x = convolution(layers.Conv2D, filters, 1, use_bias, kernel_size=3)(x)
    else:
        x = convolution(layers.Conv2DTranspose, filters, 2, use_bias)(x)
    return layers.Cropping2D(2)(x) if mirrored else x


def build_generator(options: Train, found: Found) -> keras.Model:
    """Build the U-Net: `source` [batch, height, width, channels] to a picture of that size.

    All values are from -1 to 1."""
    task, biased = task_of(options, found.direction), needs_bias(options)
    depth = found.depth  # by default as often as possible: down to 1×1 from 256×256
    filters = [options.generator_filters * min(2**level, 8) for level in range(depth)]
    source = keras.Input((*task.size, found.source_channels), name="source")
    x = one_channel_per_class(source, found.source.classes)

    skips = []
    for level, count in enumerate(filters):  # C64-C128-C256-C512-C512-C512-C512-C512
        if level > 0:
            x = layers.LeakyReLU(0.2)(x)
        x = downsample(x, count, biased, options)
        if 0 < level < depth - 1:  # paper: not the first; nor the last, where 1×1 would become 0
            x = normalize(x, options)
        skips.append(x)  # [batch, height / 2^(level+1), width / 2^(level+1), count]

    for level in reversed(range(depth - 1)):  # CD512-CD512-CD512-C512-C256-C128-C64
        x = layers.ReLU()(x)
        x = upsample(x, filters[level], biased, options)
        x = normalize(x, options)
        if level >= depth - 4:  # paper: dropout is the noise, in the first three
            x = layers.Dropout(0.5)(x)
        x = layers.Concatenate()([x, skips[level]])  # [batch, height / 2^(level+1), …, 2 · count]

    x = layers.ReLU()(x)
    x = upsample(x, task.generator_channels(found.target_channels), True, options)
    x = layers.Activation("tanh", dtype="float32")(x)
    x = task.finish(x, source)  # pairs: as it is; some tasks put back a part of the source
    generated = layers.Identity(dtype="float32", name="generated")(x)
    return keras.Model(source, generated, name="generator")


def dropout_layers(generator: keras.Model) -> list[layers.Dropout]:
    """List the layers that are noise; what each draws next is its `seed_generator.state`."""
    return [layer for layer in generator.layers if isinstance(layer, layers.Dropout)]


# --- 4. Discriminator -----------------------------------------------------------------------------


def judged_inputs(options: Train, found: Found) -> tuple[keras.KerasTensor, ...]:
    """Return the inputs of a discriminator, source and image, and the source once more: label maps
    with one channel for each class."""
    size = options.picture_size
    source = keras.Input((*size, found.source_channels), name="source")
    image = keras.Input((*size, found.target_channels), name="image")
    return source, image, one_channel_per_class(source, found.source.classes)


def build_patch_discriminator(options: Train, found: Found) -> keras.Model:
    """Build the 70×70 PatchGAN: (source, image) to logits, one for each overlapping patch."""
    biased = needs_bias(options)
    source, image, classes = judged_inputs(options, found)
    x = layers.Concatenate()([classes, image])  # paper: conditional, so it sees the source too
    for level, (multiple, stride) in enumerate([(1, 2), (2, 2), (4, 2), (8, 1)]):
        x = layers.ZeroPadding2D(1)(x)
        count = options.discriminator_filters * multiple
        x = convolution(layers.Conv2D, count, stride, biased or level == 0, padding="valid")(x)
        if level > 0:
            x = normalize(x, options)
        x = layers.LeakyReLU(0.2)(x)  # 128, 64, 32, 31 pixels wide for 256 at the input
    x = layers.ZeroPadding2D(1)(x)
    x = convolution(layers.Conv2D, 1, stride=1, use_bias=True, padding="valid")(x)
    logits = layers.Activation("linear", dtype="float32", name="logits")(x)  # [batch, 30, 30, 1]
    return keras.Model([source, image], logits, name="discriminator")


def build_pixel_discriminator(options: Train, found: Found) -> keras.Model:
    """Build one that goes beyond the paper: for label maps, it names the class of each pixel."""
    source, image, classes = judged_inputs(options, found)
    filters, norm = options.discriminator_filters, partial(normalize, options=options)
    return build_class_discriminator(source, image, classes, filters, convolution, norm)


@dataclass(frozen=True)
class Discriminator:
    """A kind of discriminator: what builds it, what its verdicts cost (None: what --gan-loss says),
    and with auto how much L1, and the distance in a critic's features, count beside it."""

    build: Callable[[Train, Found], keras.Model]
    loss: GanLoss | None = None
    l1_weight: float = 100.0
    feature_weight: float = 10.0


DISCRIMINATORS = {
    "patches": Discriminator(build_patch_discriminator),
    "classes": Discriminator(
        build_pixel_discriminator, CLASS_LOSS, l1_weight=3.0, feature_weight=3.0
    ),
}


def build_networks(options: Train, found: Found) -> dict[str, keras.Model]:
    """Build all networks that learn, by name. Each minimises the loss of its name, the generator
    `generator_total`."""
    networks = {
        "generator": build_generator(options, found),
        "discriminator": DISCRIMINATORS[found.discriminator].build(options, found),
    }
    if options.critic == "features":
        networks["critic"] = critic.build(*judged_inputs(options, found))
    return networks


# --- 5. Losses ------------------------------------------------------------------------------------

LOSSES = {  # all that is logged, in this order: its name, and the one on the screen, if it is there
    "generator_total": "",
    "generator_gan": "gan",
    "generator_l1": "L1",
    "discriminator": "D",
    "discriminator_real": "",
    "discriminator_generated": "",
    "discriminator_right": "right",
}


def logged_losses(options: Train) -> dict[str, str]:
    """Return the losses of a training with what each is called on the screen."""
    return LOSSES if options.critic == "none" else LOSSES | critic.LOSSES


# The paper's cross-entropy, with the sigmoid taken into the logarithm. It is written as softplus
# because tf.nn.sigmoid_cross_entropy_with_logits sums four terms of its gradient in no fixed order,
# so that two runs would differ in the last bit.
GAN_LOSSES = OTHER_GAN_LOSSES | {
    "vanilla": GanLoss(
        real=lambda logits: tf.nn.softplus(-logits),  # -log D
        generated=lambda logits: tf.nn.softplus(logits),  # -log(1 - D)
        generator=lambda logits: tf.nn.softplus(-logits),  # paper: maximise log D, see 3.3
        says_real=lambda logits: logits > 0,  # D > 1/2
    )
}


def generator_losses(
    target: tf.Tensor,
    generated: tf.Tensor,
    generated_logits: tf.Tensor,
    loss: GanLoss,
    l1_weight: float,
) -> dict[str, tf.Tensor]:
    """Measure how well the discriminator is deceived, and how near the ground truth is."""
    gan = tf.reduce_mean(loss.generator(generated_logits))
    l1 = tf.reduce_mean(tf.abs(target - generated))
    total = gan + l1_weight * l1  # paper: equation 4, λ = 100
    return {"generator_total": total, "generator_gan": gan, "generator_l1": l1}


def discriminator_losses(
    real_logits: tf.Tensor, generated_logits: tf.Tensor, loss: GanLoss
) -> dict[str, tf.Tensor]:
    """Measure how badly real and generated pictures are told apart, and in what share of the
    patches they are told apart rightly."""
    real = tf.reduce_mean(loss.real(real_logits))
    generated = tf.reduce_mean(loss.generated(generated_logits))
    right = [loss.says_real(real_logits), ~loss.says_real(generated_logits)]
    return {
        "discriminator": (real + generated) / 2,  # paper: halved, so that it learns slower
        "discriminator_real": real,
        "discriminator_generated": generated,
        "discriminator_right": tf.reduce_mean(tf.cast(right, tf.float32)),
    }


def compute_losses(
    training: "Training",
    networks: dict[str, keras.Model],
    source: tf.Tensor,
    target: tf.Tensor,
    generated: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Let networks of a training judge real and generated pictures; return all losses, by name."""
    options, kind = training.options, DISCRIMINATORS[training.found.discriminator]
    if options.ignore:
        target, generated = ignored.leave_out(target, generated)
    loss = kind.loss or GAN_LOSSES[options.gan_loss]
    l1_weight = kind.l1_weight if options.l1_weight == "auto" else options.l1_weight
    real_logits = networks["discriminator"]([source, target], training=True)
    generated_logits = networks["discriminator"]([source, generated], training=True)
    losses = generator_losses(target, generated, generated_logits, loss, l1_weight)
    losses |= discriminator_losses(real_logits, generated_logits, loss)
    if options.critic == "features":  # not in the paper
        seed = [options.seed, training.steps_done]
        pictures = critic.change_alike([source, target, generated], seed)
        losses |= critic.losses(networks["critic"], *pictures)
        losses["generator_total"] += losses["generator_critic"]
        weight = kind.feature_weight if options.feature_weight == "auto" else options.feature_weight
        losses["generator_total"] += weight * losses["generator_features"]
    return losses


# --- 6. Train step --------------------------------------------------------------------------------
#
# Without AutoGraph, which none of this needs: it reads functions from the file anew, and computes
# something else if that has been edited since the program was started.


def update_average(training: "Training") -> None:
    """Move the average of the generator's weights a little towards what they are now. It is not in
    the paper, but mostly makes better pictures (docs/QUALITY.md), and training is the same without.

    At first it spans few steps, so that the initial weights are forgotten, unless another run's
    average was carried over."""
    kept = training.options.average_weights
    if not training.options.from_run:
        done = tf.cast(training.steps_done, tf.float32)
        kept = tf.minimum(kept, (1 + done) / (10 + done))
    weights = zip(training.average.weights, training.generator.weights, strict=True)
    for average, weight in weights:
        average.assign_add((1 - kept) * (weight - average))


@tf.function(autograph=False)
def train_step(training: "Training", source: tf.Tensor, target: tf.Tensor) -> dict[str, tf.Tensor]:
    """Update all networks on one batch; return the losses from before the update.

    On several devices each calls this with its part of the batch; the optimizers add up gradients.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    networks = {name: with_fast_layers(each) for name, each in training.networks.items()}
    goals = {}
    with tf.GradientTape() as generator_tape:
        generated = networks["generator"](source, training=True)
        # begun after the generator: the gradients of the others stop at its picture
        with tf.GradientTape(persistent=True) as tape_of_others:
            losses = compute_losses(training, networks, source, target, generated)
            for name, optimizer in training.optimizers.items():
                loss = losses["generator_total" if name == "generator" else name]
                goals[name] = optimizer.scale_loss(loss / replicas)

    for name, network in training.networks.items():
        tape = generator_tape if name == "generator" else tape_of_others
        gradients = tape.gradient(goals[name], network.trainable_variables)
        training.optimizers[name].apply(gradients)
    training.steps_done.assign_add(1)
    if training.average is not training.generator:
        update_average(training)
    for name, loss in losses.items():
        training.loss_sums[name].assign_add(loss)
    return losses


@tf.function(autograph=False)
def generate(generator: keras.Model, source: tf.Tensor, noise: bool = False) -> tf.Tensor:
    """Return what the generator makes of a batch, with dropout only if noise is wanted."""
    return with_fast_layers(generator)(source, training=noise)


# --- 7. Training ----------------------------------------------------------------------------------


class Training:
    """Everything that training changes, from step 0 on: networks, optimizers, the average, noise,
    the step, the means of the losses. What is saved, restored, carried over into another run and
    shared with other workers follows from these."""

    def __init__(self, options: Train, found: Found) -> None:
        keras.utils.set_random_seed(options.seed)
        self.options, self.found, self.folder = options, found, options.run_folder
        self.strategy = tf.distribute.get_strategy()
        with devices.compute_in(options.precision):
            self.networks = build_networks(options, found)
            self.generator = self.networks["generator"]
            self.average = self.generator  # what is shown: it, or the average of its weights
            if options.average_weights:
                self.average = build_generator(options, found)
                self.average.set_weights(self.generator.get_weights())
        self.optimizers = {  # paper: Adam with β₁ = 0.5
            name: build_adam(network, options.learning_rate, options.beta_1)
            for name, network in self.networks.items()
        }
        first, mean = tf.VariableAggregation.ONLY_FIRST_REPLICA, tf.VariableAggregation.MEAN
        self.steps_done = tf.Variable(0, dtype=tf.int64, aggregation=first)
        self.logged = tf.Variable(0, dtype=tf.int64)  # the step of the last log line
        losses = logged_losses(options)  # their sums since then
        self.loss_sums = {name: tf.Variable(0.0, aggregation=mean) for name in losses}
        self.noise = [layer.seed_generator.state.value for layer in dropout_layers(self.generator)]
        saved_optimizers = {f"{name}_optimizer": each for name, each in self.optimizers.items()}
        self.parts = {  # by their names in a checkpoint
            **self.networks,
            "average": self.average,
            **saved_optimizers,
            "noise": self.noise,
            "step": self.steps_done,
            "logged": self.logged,
            "loss_sums": self.loss_sums,
        }
        self.checkpoint = tf.train.Checkpoint(**self.parts)

    @property
    def step(self) -> int:
        """Return how many steps are done."""
        return int(self.steps_done.numpy())

    @property
    def is_writer(self) -> bool:
        """Tell whether this process is the one of all workers that writes."""
        return devices.is_writer(self.strategy)

    @property
    def discriminators(self) -> list[keras.Model]:
        """List the networks that judge the generator's pictures."""
        return [network for name, network in self.networks.items() if name != "generator"]

    @property
    def variables(self) -> list[tf.Variable]:
        """List all variables but the noise, which each device has for itself."""
        parts = dict.fromkeys([*self.networks.values(), self.average, *self.optimizers.values()])
        variables = [variable.value for part in parts for variable in part.variables]
        return [*variables, self.steps_done, self.logged, *self.loss_sums.values()]

    def refuse_to_go_on(self) -> None:
        """Raise the error that says since when a loss may have been infinite or no number."""
        first = min(int(self.logged.numpy()) + 1, self.step)
        raise checkpoint_files.not_finite_error(self.folder, first, self.step)

    def mean_losses(self) -> dict[str, float]:
        """Return the mean losses since the last log line; refuse to go on if one is not finite."""
        count = max(1, self.step - int(self.logged.numpy()))
        means = {name: float(total.numpy()) / count for name, total in self.loss_sums.items()}
        if not all(map(math.isfinite, means.values())):
            self.refuse_to_go_on()
        return means

    def begin_means(self) -> None:
        """Forget the losses up to this step."""
        self.logged.assign(self.step)
        for total in self.loss_sums.values():
            total.assign(0.0)

    def write_generator(self, example: tf.Tensor, name: str) -> None:
        """Write the generator as it is shown, with its options and a source as an example."""
        run = write_run(self.options, self.found, self.step)
        save_generator(self.average, run, example.numpy(), self.folder / name)

    def save(self, example: tf.Tensor) -> None:
        """Write generator.keras, and then a checkpoint, which counts once its index is there."""
        if not self.is_writer:
            return
        self.mean_losses()
        judged = [example, generate(self.average, example)]
        verdicts = keras.tree.flatten([each(judged) for each in self.discriminators])
        if not all(np.isfinite(verdict).all() for verdict in verdicts):
            self.refuse_to_go_on()  # the losses are from before the last update
        with checkpoint_files.explain_unsaved(self.folder, self.step):
            self.write_generator(example, "generator.keras")
            checkpoint_files.write_checkpoint(self.checkpoint, self.folder, self.step)
        checkpoint_files.keep_newest(self.folder, self.options.keep_checkpoints)

    def restore(self) -> None:
        """Go on from the newest checkpoint or, if there is none, begin with the networks of the run
        that --from names; the optimizers stay new then."""
        checkpoint_files.remove_half_written(self.folder)
        if checkpoint_files.checkpoints(self.folder):
            checkpoint_files.restore(self.checkpoint, self.parts, self.folder)
        elif self.options.from_run:
            networks = self.networks
            if self.average is not self.generator:
                networks = networks | {"average": self.average}
            checkpoint_files.carry_over(networks, find_run(self.options))


def start_or_resume(options: Train, found: Found, strategy: tf.distribute.Strategy) -> Training:
    """Return the training as its last checkpoint has it, or at step 0, alike on all replicas."""
    with strategy.scope():
        training = Training(options, found)
    if training.is_writer:
        training.restore()
    devices.start_alike(
        strategy, training.variables, training.noise, shared_settings(options, found)
    )
    return training


# --- 8. Previews ----------------------------------------------------------------------------------


class HeldOut:
    """Pairs that show how a training goes; but for the smallest of datasets, not trained on."""

    def __init__(self, training: Training, split_name: str, split: CheckedSplit) -> None:
        self.training, self.split_name, self.split = training, split_name, split
        numbers = range(min(PREVIEW_PAIRS, len(split)))
        self.sources, self.targets = self.load(numbers, training.options.align)

    def load(self, numbers: Sequence[int], align: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Return some of the pairs, with targets as they are or moved to where they belong: sources
        and targets, each in one batch."""
        options = replace(self.training.options, align=align)
        return load_examples(self.split, numbers, options, self.training.found)

    def save_preview(self) -> Path:
        """Save the panel input · ground truth · prediction of the first pairs; before the first
        step there is no prediction to speak of."""
        found, step = self.training.found, self.training.step
        columns = shown_parts("Input", self.sources, found.source)
        columns |= shown_parts("Ground truth", self.targets, found.target)
        if step > 0:
            one_by_one = [generate(self.training.average, source[None]) for source in self.sources]
            columns |= shown_parts("Prediction", tf.concat(one_by_one, axis=0), found.target)
        path = self.training.folder / "previews" / f"step-{step:06}.png"
        path.parent.mkdir(exist_ok=True)
        draw_panel(path, columns)
        return path


# --- 9. Train -------------------------------------------------------------------------------------


def learning_rate(options: Train, step: int) -> float:
    """Return Adam's step size when so many steps are done; it depends on nothing else."""
    start = options.learning_rate_decay_from
    left = 1.0 if start is None else min(1.0, (options.steps - step) / (options.steps - start))
    return options.learning_rate * left


def take_steps(training: Training, split: CheckedSplit) -> Iterator[int]:
    """Take the steps that are left, on all devices, and yield the number of each when done."""
    options, strategy, first = training.options, training.strategy, training.step
    alone = strategy.num_replicas_in_sync == 1
    compiled = options.xla == "on" or (options.xla == "auto" and devices.has_gpu())

    @tf.function(autograph=False, jit_compile=alone and compiled)
    def step_on_all_devices(source: tf.Tensor, target: tf.Tensor) -> None:
        strategy.run(train_step.python_function, (training, source, target))

    def batches_of(shard: tf.distribute.InputContext) -> tf.data.Dataset:
        return batches(split, options, training.found, first, shard)

    dataset = strategy.distribute_datasets_from_function(batches_of)
    for step, (source, target) in enumerate(dataset, first + 1):
        for optimizer in training.optimizers.values():
            optimizer.learning_rate = learning_rate(options, step - 1)
        step_on_all_devices(source, target)
        yield step


def train_steps(training: Training, split: CheckedSplit, watch: Watch) -> int:
    """Run the loop: take a step, watch, save, stop. Return the signal that stopped it, or 0."""
    options, last = training.options, training.options.steps
    every = max(1, options.log_every // 20)  # steps between two questions to other workers
    with stop_requests() as requests:
        watch.begin()
        for step in take_steps(training, split):
            watch.after(step)
            stopped_by = devices.requested_stop(
                training.strategy, requests, is_due(step, every, last)
            )
            if stopped_by or is_due(step, options.checkpoint_every, last):
                training.save(watch.held_out.sources[:1])
                watch.saved()
            if stopped_by and step < last:
                return stopped_by
    return 0


def train_as_told(options: Train) -> RunFolder:
    """Train up to step `options.steps`, from wherever the run stopped."""
    check_options(options)
    folder, strategy = options.run_folder, devices.choose_strategy(options.batch_size)
    with devices.training_in(folder, strategy):
        splits, found = prepare(options, find_splits)
        say_for_now("Building the networks…")
        training = start_or_resume(options, found, strategy)
        if training.step >= options.steps:
            say_finished(training)
            return RunFolder(folder)

        name = choose_shown(splits)
        watch = Watch(
            training, HeldOut(training, name, splits[name]), generate, logged_losses(options)
        )
        watch.announce(splits["train"])
        if training.is_writer:
            write_config(options, found, splits)
        stopped_by = train_steps(training, splits["train"], watch)
        watch.end(stopped_by)
    return RunFolder(folder, stopped_by)


def train(options: Train) -> RunFolder:
    """Train, in a notebook say; options at their defaults are taken from a run that is there.

    A cell that is interrupted ends quietly, and goes on when it is run again."""
    with live_output():
        try:
            return train_as_told(fill_in_changed(options))
        except KeyboardInterrupt:
            if not in_notebook():
                raise
            say("Interrupted. Run this cell again to go on.")
            return RunFolder(options.run_folder, signal.SIGINT)

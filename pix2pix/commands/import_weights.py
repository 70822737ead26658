"""Weights of the authors' PyTorch code: import-weights makes a run of them, export writes them.

Their network is one block within another, each numbered as a list of layers: convolution down,
normalisation, the block inside, convolution up, normalisation, and activations between them.
"""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from image_to_image_translation import Training, build_generator
from pix2pix.commands.open_run import TrainedRun
from pix2pix.options.commands import ImportWeights
from pix2pix.options.found import Found
from pix2pix.options.saved import write_run
from pix2pix.options.train import Train
from pix2pix.pairs.synthetic import draw_facade
from pix2pix.pictures.pixels import convert_channels, from_pixels
from pix2pix.preparation import check_options
from pix2pix.runs.generator_file import FREE_BYTES, MOST_EXPANSION, check_archive
from pix2pix.talk.errors import UserError, first_line
from pix2pix.talk.files import lock_folder, write_text
from pix2pix.talk.lines import say_row
from pix2pix.talk.notebook import live_output

OUTERMOST, INNER = "model.model", "model.model.1{}.model"  # of the names of blocks
DEEPER = ".model.3"  # from one inner block to the next
MOST_BLOCKS = 20
KERAS_TO_PYTORCH = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


@live_output()
def import_weights(options: ImportWeights) -> Path:
    """Make a run of foreign weights: its step is 0, and its discriminator is new.

    Return its folder."""
    weights = read_pytorch(options.file)
    try:
        of_run, found = network_of(weights, options)
        check_options(replace(of_run, dataset=options.dataset or Train.dataset))
        with tf.Graph().as_default():  # where weights take no memory, however many
            check_shapes(build_generator(of_run, found), weights)
        training, folder = Training(of_run, found), of_run.run_folder
        from_pytorch(training.generator, weights)
        training.average.set_weights(training.generator.get_weights())
    except (KeyError, IndexError, ValueError) as error:
        what = f"not a unet_256 or unet_128 of the authors' code ({first_line(error)})"
        raise UserError(f"{options.file}: {what}.") from error
    with lock_folder(folder, f"{folder}: another process trains here."):
        if (folder / "config.json").exists():
            raise UserError(f"{folder}: there is a run already. Choose another --name.")
        write_text(folder / "config.json", write_run(of_run, found))
        _, labels = draw_facade(0, 0, of_run.picture_size)
        example = from_pixels(convert_channels(labels, found.source_channels))
        training.save(tf.constant(example[None]))
    about = f"{of_run.generator_filters} filters, {of_run.normalization} normalization"
    say_row("Saved", str(folder))
    say_row("Imported", f"a U-Net of {found.depth} levels, {about}")
    return folder


def read_pytorch(path: Path) -> dict[str, np.ndarray]:
    """Read the weights in a file of the authors' code, by their names there."""
    try:
        import torch

        if zipfile.is_zipfile(path):  # as PyTorch has saved since 1.6
            with zipfile.ZipFile(path) as archive:
                check_archive(archive, path.stat().st_size)
        loaded = torch.load(path, map_location="cpu", weights_only=True)  # so nothing in it runs
        weights = {name.removeprefix("module."): value.numpy() for name, value in loaded.items()}
        held, size = sum(value.nbytes for value in weights.values()), path.stat().st_size
        if held > MOST_EXPANSION * size + FREE_BYTES:  # a few numbers, seen many times
            raise ValueError(f"its {size:,} bytes would become {held:,}")
        odd = [name for name, value in weights.items() if not np.isfinite(value).all()]
        if odd:
            raise ValueError(f"{odd[0]} is not finite")
        return weights
    except ModuleNotFoundError as error:
        raise UserError("import-weights needs torch: pip install torch") from error
    except Exception as error:  # pickle, zipfile and torch raise a dozen kinds
        what = f"not a file of PyTorch weights ({first_line(error)})"
        raise UserError(f"{path}: {what}.") from error


def network_of(weights: dict[str, np.ndarray], options: ImportWeights) -> tuple[Train, Found]:
    """Return what makes the network of such weights; which pairs they are of is not known."""
    first, last = weights[f"{OUTERMOST}.0.weight"], weights[f"{OUTERMOST}.3.weight"]
    inner = [INNER.format(DEEPER * k) for k in range(MOST_BLOCKS)]
    depth = 1 + sum(f"{block}.1.weight" in weights for block in inner)
    normalization: Literal["instance", "batch", "plain-instance"]
    normalization = "instance" if options.statistics == "picture" else "batch"
    if f"{inner[0]}.2.weight" not in weights:
        normalization = "plain-instance"
    source_channels, target_channels = first.shape[1], last.shape[1]
    of_run = Train(
        dataset=options.dataset or "",
        direction=options.direction,
        image_size=2**depth,
        depth=depth,
        generator_filters=first.shape[0],
        source_channels=source_channels,
        target_channels=target_channels,
        normalization=normalization,
        batch_size=4 if normalization == "batch" else 1,
        output=options.output,
        name=options.name,
    )
    return of_run, Found(
        pairs=None,
        direction=options.direction,
        source_channels=source_channels,
        target_channels=target_channels,
        depth=depth,
        target_bits=8,
    )


# --- From our layers to theirs --------------------------------------------------------------------


@dataclass(frozen=True)
class NamedLayer:
    """A layer of our generator with weights, and its name in the authors' code.

    Where a layer takes a skip connection and what comes from below, the authors' code has them in
    the other order, so the inputs of its kernel have to be swapped."""

    layer: layers.Layer
    name: str
    swaps_inputs: bool = False


def named_layers(generator: keras.Model) -> Iterator[NamedLayer]:
    """List the layers with weights in the order of our generator: down, then up again."""
    kinds = layers.Conv2D | layers.Conv2DTranspose
    convolutions = [layer for layer in generator.layers if isinstance(layer, kinds)]
    kinds = layers.GroupNormalization | layers.BatchNormalization
    norms = iter([layer for layer in generator.layers if isinstance(layer, kinds)])
    depth = len(convolutions) // 2
    blocks = [OUTERMOST] + [INNER.format(DEEPER * k) for k in range(depth - 1)]
    for level, block in enumerate(blocks):
        yield NamedLayer(convolutions[level], f"{block}.{1 if level else 0}")
        if 0 < level < depth - 1:
            yield NamedLayer(next(norms), f"{block}.2")
    for level, block in reversed(list(enumerate(blocks))):
        place = 3 if level in (0, depth - 1) else 5
        convolution = convolutions[2 * depth - 1 - level]
        yield NamedLayer(convolution, f"{block}.{place}", swaps_inputs=level < depth - 1)
        if level:
            yield NamedLayer(next(norms), f"{block}.{place + 1}")


def swap_halves(kernel: np.ndarray) -> np.ndarray:
    """Exchange the inputs of a transposed kernel [4, 4, outputs, inputs] that come from a skip
    connection and those from below."""
    return np.roll(kernel, kernel.shape[3] // 2, axis=3)


def to_pytorch(generator: keras.Model, trained: TrainedRun) -> dict[str, np.ndarray]:
    """Return the weights of a generator by the names and in the layout of the authors' code."""
    options, found = trained.options, trained.found
    is_theirs = (options.upsampling, options.padding) == ("transposed", "zeros")
    is_theirs = is_theirs and trained.task.plain_generator and not found.source.classes
    if not is_theirs or options.normalization == "none" or found.depth < 5:
        raise UserError(
            "pytorch: the authors' code has no such network. It wants --task pairs or sketch, "
            "no --labels source, --upsampling transposed, --padding zeros, any --normalization but "
            "none, and a --depth from 5 on."
        )
    weights = {}
    for named in named_layers(generator):
        for weight in named.layer.weights:
            value = weight.numpy()
            if weight.name == "kernel":
                value = swap_halves(value) if named.swaps_inputs else value
                value = value.transpose(3, 2, 0, 1)
            weights[f"{named.name}.{KERAS_TO_PYTORCH[weight.name]}"] = value
        if isinstance(named.layer, layers.GroupNormalization) and named.layer.scale:
            # to the authors' code a batch norm, which looks at a picture alone in batches of one
            zeros = np.zeros(named.layer.gamma.shape, np.float32)
            weights |= {f"{named.name}.running_mean": zeros, f"{named.name}.running_var": zeros + 1}
    return weights


def from_pytorch(generator: keras.Model, weights: dict[str, np.ndarray]) -> None:
    """Fill a generator with weights of the authors' code."""
    for _, weight, value in in_our_layout(generator, weights):
        weight.assign(value)


def check_shapes(generator: keras.Model, weights: dict[str, np.ndarray]) -> None:
    """Refuse weights of the authors' code that are not those of a generator, which may be one that
    was only built in a graph."""
    for name, weight, value in in_our_layout(generator, weights):
        if value.shape != tuple(weight.shape):
            raise ValueError(f"{name}: {value.shape}, not {tuple(weight.shape)}")


def in_our_layout(
    generator: keras.Model, weights: dict[str, np.ndarray]
) -> Iterator[tuple[str, keras.Variable, np.ndarray]]:
    """Yield the weights of a generator, each after its name in the authors' code and before its
    value there, brought into the layout of ours."""
    for named in named_layers(generator):
        for weight in named.layer.weights:
            name = f"{named.name}.{KERAS_TO_PYTORCH[weight.name]}"
            value = weights[name]
            if weight.name == "kernel":
                value = value.transpose(2, 3, 1, 0)
                value = swap_halves(value) if named.swaps_inputs else value
            yield name, weight, value


def authors_name(options: Train, found: Found) -> str:
    """Return how the authors' code is told to build the network of a run."""
    kind = "instance" if options.normalization == "plain-instance" else "batch"
    name = f"unet_{2**found.depth} --norm {kind}"
    return f"{name} --eval" if options.normalization == "batch" else name

"""What a generator can learn: from pairs, or from photos alone, of which the source is made.

A task is one class. Whatever is special about it stands there: what its pictures are called, their
channels, how the source is made, and what the generator keeps of it. Pictures are tensors
[height, width, channels] with values from -1 to 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from pix2pix.pictures.pixels import LUMA, Kind, has_alpha
from pix2pix.pictures.sides import Side

T = TypeVar("T")

SKETCH_GAIN = 20  # how black a line becomes by how much darker than around the photo is there
SKETCH_THRESHOLD = 0.3  # what is not a line yet


@dataclass(frozen=True)
class Task:
    """What the training, and the commands after it, ask a task for; here the answers for pairs."""

    size: tuple[int, int]  # height and width that the networks work at
    scale: int = 4  # how many times super-resolve enlarges
    backwards: bool = False  # --direction BtoA

    unit: ClassVar[str] = "pairs"  # what a dataset is made of
    from_photos: ClassVar[bool] = False  # whether one of source and target is made from the other
    source_name: ClassVar[str] = ""  # what that source is called
    can_turn_round: ClassVar[bool] = True  # whether --direction BtoA makes sense
    divides_size: ClassVar[bool] = False  # whether --scale has to divide the image size
    keeps_resolution: ClassVar[bool] = False  # whether results are never resized
    keeps_source: ClassVar[bool] = False  # whether the result contains a part of the source
    plain_generator: ClassVar[bool] = True  # whether it ends with its tanh, as in the paper
    drawing: ClassVar[str] = ""  # how one makes a source; "" where that depends on the pictures

    @property
    def zoom(self) -> int:
        """Return how many times larger than its input a result is."""
        return 1

    @property
    def note(self) -> str:
        """Return what a model card says about the source."""
        return ""

    @property
    def drawn_as(self) -> str:
        """Name how one makes a source: `sketch`, `holes` in a photo, or only choose a `photo`."""
        return "photo" if self.from_photos and self.backwards else self.drawing

    def settle_kinds(self, kinds: list[Kind]) -> list[Kind]:
        """Turn the kinds of the pictures on disk into those of source and target."""
        return kinds

    def settle_sides(self, sides: Sequence[Side]) -> Sequence[Side]:
        """Turn what the pictures on disk mean into what source and target do."""
        return sides

    def stored(self, source: T, target: T) -> list[T]:
        """Choose, of something that source and target have, what the pictures that are read have:
        both."""
        return [source, target]

    def source_and_target(
        self, pictures: Sequence[tf.Tensor], seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return what the generator gets, and the ground truth, of the pictures that are read."""
        source, target = pictures
        return source, target

    def prepare(self, source: tf.Tensor) -> tf.Tensor:
        """Turn a picture that is to be translated into what the generator gets."""
        return tf.convert_to_tensor(source)

    def problem_with(self, pixels: np.ndarray) -> str:
        """Say why a picture cannot be translated; nothing if it can."""
        return ""

    def begin_drawing(self, picture: tf.Tensor) -> tf.Tensor:
        """Turn a picture of the dataset, as large as the networks' own, into one to draw on."""
        return picture

    def generator_channels(self, target_channels: int) -> int:
        """Count the channels of the generator's last layer."""
        return target_channels

    def finish(self, x: keras.KerasTensor, source: keras.KerasTensor) -> keras.KerasTensor:
        """Make the generated picture of the generator's tanh, of Keras's own operations only."""
        return x

    def restore_source(self, generated: tf.Tensor, source: tf.Tensor) -> tf.Tensor:
        """Put what the task keeps of the source, now at full size, back into a resized result."""
        return generated


class Pairs(Task):
    """Source and target are pictures on disk."""


class FromPhotos(Task):
    """The source is made from a photo, the target; or backwards, the target from the source."""

    unit = "photos"
    from_photos = True
    can_turn_round = False
    drawing = "photo"
    source_channels: ClassVar[int | None] = None  # of the source; None: the photo's
    photo_channels: ClassVar[int | None] = None  # None: as many as the photos have

    def settle_kinds(self, kinds: list[Kind]) -> list[Kind]:
        """Turn the kind of the photos into those of source and target."""
        (photo,) = kinds
        channels = self.photo_channels or photo.channels
        source = Kind(self.source_channels or channels, 8)
        target = Kind(channels, photo.bits)
        return [target, source] if self.backwards else [source, target]

    def settle_sides(self, sides: Sequence[Side]) -> Sequence[Side]:
        """Let source and target mean what the photo does."""
        (photo,) = sides
        return [photo, photo]

    def stored(self, source: T, target: T) -> list[T]:
        """Choose, of something that source and target have, what the photo has."""
        return [source if self.backwards else target]

    def source_and_target(
        self, pictures: Sequence[tf.Tensor], seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Make source and target of a photo."""
        (photo,) = pictures
        made = self.make_source(photo, seed)
        return (photo, made) if self.backwards else (made, photo)

    def make_source(self, photo: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Take something away from a photo."""
        raise NotImplementedError

    def begin_drawing(self, picture: tf.Tensor) -> tf.Tensor:
        """Turn a photo into a source, or leave it as it is if that is the source."""
        return picture if self.backwards else self.make_source(picture, [0, 0])


class Colorize(FromPhotos):
    """Grey → colour; the luminance of every pixel is kept."""

    source_name = "photo without colour"
    source_channels = 1
    photo_channels = 3
    keeps_source = True
    plain_generator = False
    note = "It is the brightness of a photo: 0.299 red + 0.587 green + 0.114 blue."

    def make_source(self, photo: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Take away the colour."""
        return luminance(photo)

    def generator_channels(self, target_channels: int) -> int:
        """Count two: chroma, which is blue and red beyond the luminance."""
        return 2

    def finish(self, x: keras.KerasTensor, source: keras.KerasTensor) -> keras.KerasTensor:
        """Add the colours to the luminance, as far as white and black leave room."""
        (r, g, b), (blue, red) = LUMA, ops.split(x, 2, axis=-1)
        blue, red = 2 * (1 - b) * blue, 2 * (1 - r) * red  # as far from luminance as can be
        colour = ops.concatenate([red, -(r * red + b * blue) / g, blue], axis=-1)
        room = 1 - ops.sign(colour) * source  # up to white, or down to black
        share = ops.min(room / (ops.abs(colour) + 1e-6), axis=-1, keepdims=True)
        return source + colour * ops.minimum(1.0, share)

    def restore_source(self, generated: tf.Tensor, source: tf.Tensor) -> tf.Tensor:
        """Give every pixel the luminance of the source."""
        return generated + source - luminance(generated)


class SuperResolve(FromPhotos):
    """Small → `scale` times larger; the network works on the photo enlarged, and adds detail."""

    source_name = "small photo"
    divides_size = True
    keeps_resolution = True
    plain_generator = False

    @property
    def zoom(self) -> int:
        """Return how many times larger than its input a result is."""
        return self.scale

    @property
    def note(self) -> str:
        """Return what a model card says about the source."""
        return f"It is a picture enlarged {self.scale} times, bicubically."

    def make_source(self, photo: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Take away the detail."""
        return self.prepare(self.begin_drawing(photo))

    def begin_drawing(self, picture: tf.Tensor) -> tf.Tensor:
        """Make a photo small."""
        small = tuple(length // self.scale for length in self.size)
        return tf.image.resize(picture, small, "bicubic", antialias=True)

    def prepare(self, source: tf.Tensor) -> tf.Tensor:
        """Enlarge a small photo to the size of the networks."""
        return tf.clip_by_value(tf.image.resize(source, self.size, "bicubic"), -1, 1)

    def finish(self, x: keras.KerasTensor, source: keras.KerasTensor) -> keras.KerasTensor:
        """Add the detail."""
        return ops.clip(source + x, -1.0, 1.0)


class Sketch(FromPhotos):
    """Line drawing → photo, or the other way round."""

    source_name = "sketch"
    source_channels = 1
    can_turn_round = True
    drawing = "sketch"

    def make_source(self, photo: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Draw a line where the photo is darker than around."""
        grey = luminance(photo)[None]
        near, around = (tf.nn.avg_pool2d(grey, n, 1, "SAME")[0] for n in (3, 5))
        line = tf.clip_by_value(SKETCH_GAIN * (around - near) - SKETCH_THRESHOLD, 0, 1)
        return 1 - 2 * line


class Inpaint(FromPhotos):
    """Transparent holes → filled; what is not a hole is kept."""

    source_name = "photo with holes"
    source_channels = 4
    photo_channels = 3
    keeps_source = True
    plain_generator = False
    drawing = "holes"
    note = "The fourth channel is -1 in holes, where the others are 0, and 1 elsewhere."

    def make_source(self, photo: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Cut four rectangular holes."""
        return erase(photo, 1 - draw_holes(self.size, seed))

    def prepare(self, source: tf.Tensor) -> tf.Tensor:
        """Forget the colours of what is transparent."""
        return erase(source[..., :3], (source[..., 3:] + 1) / 2)

    def begin_drawing(self, picture: tf.Tensor) -> tf.Tensor:
        """Leave a photo whole."""
        return picture

    def problem_with(self, pixels: np.ndarray) -> str:
        """Say whether there are no holes."""
        return "" if has_alpha(pixels) else "nothing is transparent, so there is nothing to fill"

    def finish(self, x: keras.KerasTensor, source: keras.KerasTensor) -> keras.KerasTensor:
        """Keep what is known."""
        photo, known = ops.split(source, [3], axis=-1)  # known: 1, or -1 in holes
        return x + (known + 1) / 2 * (photo - x)

    def restore_source(self, generated: tf.Tensor, source: tf.Tensor) -> tf.Tensor:
        """Fill only the holes."""
        photo, known = tf.split(source, [3, 1], axis=-1)
        return photo + (1 - known) / 2 * generated


TASKS = {
    "pairs": Pairs,
    "colorize": Colorize,
    "super-resolve": SuperResolve,
    "sketch": Sketch,
    "inpaint": Inpaint,
}


def luminance(photo: tf.Tensor) -> tf.Tensor:
    """Return a photo in grey."""
    colours = photo[..., :3]
    return tf.reduce_sum(colours * LUMA, -1, keepdims=True) if photo.shape[-1] > 2 else colours


def draw_holes(size: tuple[int, int], seed: tf.Tensor) -> tf.Tensor:
    """Draw four rectangles anywhere, of 1/10 to 1/2 of the height and width: 1 inside of them."""
    y, x, tall, wide = tf.unstack(tf.random.stateless_uniform([4, 4], seed)[..., None])
    row, column = (tf.range(count, dtype=tf.float32) / count for count in size)
    rows = tf.abs(row - y) < 0.05 + 0.2 * tall  # [4, height]
    columns = tf.abs(column - x) < 0.05 + 0.2 * wide  # [4, width]
    inside = tf.reduce_any(rows[:, :, None] & columns[:, None, :], axis=0)
    return tf.cast(inside, tf.float32)[..., None]


def erase(photo: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
    """Make a photo transparent where it is not known (0, not 1), as an image editor erases."""
    return tf.concat([photo * known, 2 * known - 1], axis=-1)

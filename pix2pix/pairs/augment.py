"""More examples out of few: pairs turned, scaled and recoloured at random, by a seed."""

import math
from collections.abc import Sequence

import tensorflow as tf

from pix2pix.pictures.sides import Side
from pix2pix.talk.errors import UsageError

WARPS = ("rotate", "scale")
LARGEST_TURN = math.radians(10)
LARGEST_SCALE = 1.2
CELLS = 8  # of a window, from its top to its bottom and from its left to its right
LEAST_OFTEN = 0.02  # of the mean: so often a window is cut where there is nothing
BRIGHTER, MORE_CONTRAST, MORE_COLOUR = 0.2, 0.2, 0.3  # at most; values go from -1 to 1


def augment(
    pictures: Sequence[tf.Tensor], sides: Sequence[Side], names: Sequence[str], seed: tf.Tensor
) -> list[tf.Tensor]:
    """Change the pictures of a pair, [height, width, channels], at random in the ways that are
    named: turn and scale all alike; recolour all but those whose colours mean something."""
    turn, scale, *colours = tf.unstack(tf.random.stateless_uniform([5], seed, -1, 1))
    turn = turn * LARGEST_TURN if "rotate" in names else 0.0
    scale = LARGEST_SCALE**scale if "scale" in names else 1.0
    changed = []
    for picture, side in zip(pictures, sides, strict=True):
        if set(names) & set(WARPS):
            picture = warp(picture, turn, scale, "NEAREST" if side.classes else "BILINEAR")
        if "colour" in names and not side.classes:
            is_missing = tf.math.is_nan(picture)  # with --ignore: what does not count
            recoloured = recolour(tf.where(is_missing, 0.0, picture), *colours)
            picture = tf.where(is_missing, picture, recoloured)
        changed.append(picture)
    return changed


def check_augment(names: Sequence[str], sides: Sequence[Side]) -> None:
    """Refuse to recolour what would then be another picture for the same source."""
    if "colour" not in names:
        return
    if any(side.measured for side in sides):
        raise UsageError("--augment colour is not for measured pictures: their values count.")
    if sides[0].classes and not sides[-1].classes:
        raise UsageError(
            "--augment colour is not for label maps as sources: nothing in them would tell the "
            "colours of the target. Leave colour out."
        )


def choose_window(
    target: tf.Tensor, size: tuple[int, int], seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draw where a window of (height, width) is cut out of a larger target: the more often, the
    more the target changes in there. Return how far down and right, in shares of all places."""
    cell = [length // CELLS for length in size]
    content = tf.nn.avg_pool2d(content_of(target, cell), CELLS, 1, "VALID")[0, ..., 0]
    least = LEAST_OFTEN * tf.reduce_mean(content) + 1e-9
    ends = tf.cumsum(tf.reshape(tf.maximum(content, least), [-1]))
    at, down, right = tf.unstack(tf.random.stateless_uniform([3], seed))
    index = tf.searchsorted(ends, [at * ends[-1]], side="right")[0]
    columns = tf.shape(content)[1]
    corner = tf.cast([index // columns, index % columns], tf.float32) + [down, right]
    return tf.unstack(corner / tf.cast(tf.shape(content), tf.float32))


def content_of(target: tf.Tensor, cell: list[int]) -> tf.Tensor:
    """Return how much the pixels of a target differ within each cell, [1, rows, columns, 1], less
    where some do not count."""
    counts = tf.cast(tf.math.is_finite(target), tf.float32)[None]
    values = tf.where(counts > 0, target[None], 0.0)
    mean, square, share = (
        tf.nn.avg_pool2d(each, cell, cell, "VALID") for each in (values, values**2, counts)
    )
    mean, square = (tf.math.divide_no_nan(each, share) for each in (mean, square))
    deviation = tf.sqrt(tf.maximum(square - mean**2, 0.0))
    return tf.reduce_mean(deviation * share, axis=-1, keepdims=True)


def warp(picture: tf.Tensor, turn: tf.Tensor, scale: tf.Tensor, interpolation: str) -> tf.Tensor:
    """Turn a picture around its middle, by radians, and enlarge it; return it in its old size.

    What comes in from beyond its border is the picture mirrored there."""
    height, width = tf.unstack(tf.cast(tf.shape(picture)[:2], tf.float32) - 1)
    cosine, sine = tf.cos(turn) / scale, tf.sin(turn) / scale
    # from a place in the result to the one in the picture that comes there
    right = (width - cosine * width + sine * height) / 2
    down = (height - sine * width - cosine * height) / 2
    transform = tf.stack([cosine, -sine, right, sine, cosine, down, 0.0, 0.0])
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=picture[None],
        transforms=transform[None],
        output_shape=tf.shape(picture)[:2],
        fill_value=0.0,
        interpolation=interpolation,
        fill_mode="REFLECT",
    )
    return tf.ensure_shape(warped[0], picture.shape)


def recolour(
    picture: tf.Tensor, brightness: tf.Tensor, contrast: tf.Tensor, saturation: tf.Tensor
) -> tf.Tensor:
    """Change brightness, contrast and saturation of a picture, [height, width, channels].

    Each by a number from -1 to 1, where 1 is the most that is added; transparency stays."""
    channels = picture.shape[-1]
    alpha = picture[..., 3:] if channels == 4 else picture[..., :0]
    colour = picture[..., :3] if channels == 4 else picture
    grey = tf.reduce_mean(colour, axis=-1, keepdims=True)
    colour = grey + (1 + MORE_COLOUR * saturation) * (colour - grey)
    mean = tf.reduce_mean(grey)
    colour = mean + (1 + MORE_CONTRAST * contrast) * (colour - mean) + BRIGHTER * brightness
    return tf.concat([tf.clip_by_value(colour, -1, 1), alpha], axis=-1)

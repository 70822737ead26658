"""The signature `picture` of a SavedModel: translate as a TensorFlow function, from encoded
pictures of any size to PNGs of the same."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import tensorflow as tf

from pix2pix.commands.open_run import TrainedRun
from pix2pix.pairs.tasks import luminance
from pix2pix.pictures.sides import PHOTOS


def translates_whole_pictures(trained: TrainedRun) -> bool:
    """Tell whether a picture is translated in one piece, so that a plain function can do it."""
    options = trained.options
    of_photos = trained.found.source == trained.found.target == PHOTOS
    in_one = options.fit == "stretch" and not options.crop and not trained.task.keeps_resolution
    return of_photos and in_one


def picture_function(generator: keras.Model, trained: TrainedRun) -> Callable:
    """Return the function `picture_bytes` to `generated_bytes`, for batches of any size."""
    translator = PictureTranslator(generator, trained)
    spec = tf.TensorSpec([None], tf.string, name="picture_bytes")

    def translate_batch(picture_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        made = tf.map_fn(translator.translate, picture_bytes, fn_output_signature=tf.string)
        return {"generated_bytes": made}

    return tf.function(translate_batch, input_signature=[spec], autograph=False)


@dataclass(frozen=True)
class PictureTranslator:
    """Translates one encoded picture. Transparency is kept as a weight: colours are multiplied by
    alpha while they are resized, both from 0 to 1."""

    generator: keras.Model
    trained: TrainedRun

    def translate(self, encoded: tf.Tensor) -> tf.Tensor:
        """Turn an encoded picture into the PNG of its translation."""
        weighted = self.decode(encoded)
        small = tf.image.resize(weighted, self.trained.task.size, antialias=True)
        image = self.generator(self.to_source(small)[None], training=False)[0]
        image = tf.image.resize(image, tf.shape(weighted)[:2], "bicubic", antialias=True)
        image = self.trained.task.restore_source(image, self.to_source(weighted))
        full = 2**self.trained.found.target_bits - 1
        pixels = tf.clip_by_value(tf.round((image + 1) * (full / 2)), 0, full)
        return tf.io.encode_png(tf.cast(pixels, f"uint{self.trained.found.target_bits}"))

    def decode(self, encoded: tf.Tensor) -> tf.Tensor:
        """Decode a picture to [height, width, 4]: RGB multiplied by alpha, and alpha."""
        picture = tf.cond(
            tf.io.is_jpeg(encoded),
            lambda: tf.io.decode_jpeg(encoded, dct_method="INTEGER_ACCURATE") / 255,
            lambda: tf.io.decode_image(encoded, dtype=tf.float32, expand_animations=False),
        )
        picture = tf.ensure_shape(picture, [None, None, None])
        channels, opaque = tf.shape(picture)[2], tf.ones_like(picture[..., :1])
        alpha = tf.cond(channels % 2 == 0, lambda: picture[..., -1:], lambda: opaque)
        colour = tf.cond(channels < 3, lambda: picture[..., :1], lambda: picture[..., :3])
        weighted = tf.concat([colour * alpha * tf.ones(3), alpha], axis=-1)
        return tf.ensure_shape(weighted, [None, None, 4])

    def to_source(self, weighted: tf.Tensor) -> tf.Tensor:
        """Turn a decoded picture into the source that the generator gets, from -1 to 1."""
        colour, alpha = weighted[..., :3], weighted[..., 3:]
        channels, task = self.trained.found.source_channels, self.trained.task
        if channels == 4:
            unweighted = tf.math.divide_no_nan(colour, alpha)
            return task.prepare(2 * tf.concat([unweighted, alpha], axis=-1) - 1)
        on_white = 2 * (colour + 1 - alpha) - 1
        return task.prepare(luminance(on_white) if channels == 1 else on_white)

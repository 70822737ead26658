"""How near generated pictures are to their targets, picture by picture."""

import tensorflow as tf

MEASURES = {"l1": "L1 ↓", "psnr": "PSNR ↑", "ssim": "SSIM ↑"}  # the arrow points to the better
LEAST_SQUARED_ERROR = 1e-10  # so that the PSNR of equal pictures is 100, not infinite


@tf.function(autograph=False)
def measure(target: tf.Tensor, generated: tf.Tensor) -> dict[str, tf.Tensor]:
    """Measure how near each generated picture of a batch is to its target.

    Pictures have values from -1 to 1, and are compared as values from 0 to 1."""
    target, generated = (target + 1) / 2, (generated + 1) / 2
    error = target - generated
    squared = tf.maximum(tf.reduce_mean(error**2, [1, 2, 3]), LEAST_SQUARED_ERROR)
    return {
        "l1": tf.reduce_mean(tf.abs(error), [1, 2, 3]),
        "psnr": -10 * tf.experimental.numpy.log10(squared),
        "ssim": tf.image.ssim(target, generated, 1.0),
    }


def is_better(measure_name: str, value: float, other: float) -> bool:
    """Tell whether a value of a measure is better than another."""
    return value < other if MEASURES[measure_name].endswith("↓") else value > other

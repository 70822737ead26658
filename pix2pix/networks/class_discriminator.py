"""A discriminator for label maps: it names the class of every pixel of an image, or "generated".

After OASIS (Schönfeld et al., "You Only Need Adversarial Supervision for Semantic Image Synthesis",
ICLR 2021), written from the paper: N classes and one more, every class of a label map weighing the
same however few its pixels. Unlike there, it has 4×4 convolutions, instance normalisation instead
of spectral, half the filters on the way up, and no mixing of real with generated images.
docs/QUALITY.md tells what that is worth.
"""

from collections.abc import Callable

import keras
from keras import layers, ops

MULTIPLES = (1, 2, 4, 8, 8)  # of the filters, from the first halving to the last


def build_class_discriminator(
    source: keras.KerasTensor,
    image: keras.KerasTensor,
    classes: keras.KerasTensor,
    filters: int,
    convolution: Callable[..., layers.Layer],
    normalize: Callable[[keras.KerasTensor], keras.KerasTensor],
) -> keras.Model:
    """Build a U-Net from an image to what its pixels are taken for.

    Images and label maps are [batch, height, width, channels], `classes` has a channel for each
    class. The result is [batch, height, width, 2]: the logarithm of the probability of the pixel's
    own class, weighted so that all classes count alike, and that of "generated"."""
    x, skips = image, list[keras.KerasTensor]()
    for multiple in MULTIPLES:
        if any(length % 2 for length in x.shape[1:3]):
            break  # doubling would not bring an odd map back
        x = convolution(layers.Conv2D, filters * multiple, 2, True)(x)
        if skips and min(x.shape[1:3]) > 1:  # not the first; nor 1×1, which would become 0
            x = normalize(x)
        x = layers.LeakyReLU(0.2)(x)
        skips.append(x)

    skips.pop()  # is x itself
    while skips:
        x = layers.UpSampling2D(2)(x)
        x = convolution(layers.Conv2D, skips[-1].shape[-1] // 2, 1, True, kernel_size=3)(x)
        x = layers.LeakyReLU(0.2)(normalize(x))
        x = layers.Concatenate()([x, skips.pop()])
    x = layers.UpSampling2D(2)(x)
    x = convolution(layers.Conv2D, classes.shape[-1] + 1, 1, True, kernel_size=3)(x)
    logits = layers.Activation("linear", dtype="float32", name="logits")(x)
    verdicts = weigh_classes(logits, classes)
    return keras.Model([source, image], verdicts, name="discriminator")


def weigh_classes(logits: keras.KerasTensor, classes: keras.KerasTensor) -> keras.KerasTensor:
    """Return log p(own class), weighted, and log p("generated") of each pixel."""
    log_p = ops.log_softmax(logits, axis=-1)
    of_own = ops.sum(log_p[..., :-1] * classes, axis=-1)
    pixels = ops.sum(classes, axis=(1, 2), keepdims=True)  # of each class, in each label map
    present = ops.cast(pixels > 0, "float32")
    size = classes.shape[1] * classes.shape[2]
    share = size / ops.sum(present, axis=-1, keepdims=True)  # of each, were all equally large
    weights = ops.sum(classes * share / ops.maximum(pixels, 1), axis=-1)  # 1 on average
    return ops.stack([weights * of_own, log_p[..., -1]], axis=-1)

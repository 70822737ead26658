"""What a discriminator's verdicts cost both networks, beyond the paper's cross-entropy."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class GanLoss:
    """Four functions of a discriminator's logits. `real` and `generated` are its costs for such
    pictures; `generator` is the generator's cost for generated ones; `says_real` tells
    where it takes a picture for real."""

    real: Callable[[tf.Tensor], tf.Tensor]
    generated: Callable[[tf.Tensor], tf.Tensor]
    generator: Callable[[tf.Tensor], tf.Tensor]
    says_real: Callable[[tf.Tensor], tf.Tensor]


OTHER_GAN_LOSSES = {
    "least-squares": GanLoss(
        real=lambda logits: (logits - 1) ** 2,
        generated=lambda logits: logits**2,
        generator=lambda logits: (logits - 1) ** 2,
        says_real=lambda logits: logits > 1 / 2,
    ),
    "hinge": GanLoss(
        real=lambda logits: tf.nn.relu(1 - logits),
        generated=lambda logits: tf.nn.relu(1 + logits),
        generator=lambda logits: -logits,
        says_real=lambda logits: logits > 0,
    ),
}

CLASS_LOSS = GanLoss(  # of class_discriminator.py: log p(own class) and log p("generated")
    real=lambda logits: -logits[..., 0],
    generated=lambda logits: -logits[..., 1],
    generator=lambda logits: -logits[..., 0],
    says_real=lambda logits: logits[..., 1] < math.log(1 / 2),
)

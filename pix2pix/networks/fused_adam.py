"""The same Adam as Keras's, faster on a processor."""

import keras
import tensorflow as tf


class FusedAdam(keras.optimizers.Adam):
    """Keras's Adam with its update as one pass over each weight: TensorFlow's fused operation.

    On a processor the dozen separate passes of Keras's are a fifth of the whole step.
    """

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Update one weight and its two moments in place."""
        k = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[k].value.handle,
            v=self._velocities[k].value.handle,
            beta1_power=self.beta_1**step,
            beta2_power=self.beta_2**step,
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


def build_adam(
    network: keras.Model, learning_rate: float, beta_1: float
) -> keras.optimizers.Optimizer:
    """Return an Adam for the weights of a network."""
    optimizer = FusedAdam(learning_rate, beta_1)
    if network.compute_dtype == "float16":  # small gradients would be zero
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(network.trainable_variables)
    return optimizer

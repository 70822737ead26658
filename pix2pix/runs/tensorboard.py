"""What TensorBoard shows of a training. TensorBoard itself need not be installed for most of it."""

from contextlib import suppress
from pathlib import Path

import tensorflow as tf


def write_scalars(writer: tf.summary.SummaryWriter, step: int, values: dict[str, float]) -> None:
    """Add numbers, by their tags."""
    summary = tf.compat.v1.Summary()
    for tag, value in values.items():
        summary.value.add(tag=tag, simple_value=value)
    write_summary(writer, step, summary)


def write_picture(writer: tf.summary.SummaryWriter, step: int, path: Path) -> None:
    """Add a preview."""
    image = tf.compat.v1.Summary.Image(encoded_image_string=path.read_bytes())
    summary = tf.compat.v1.Summary()
    summary.value.add(tag="preview", image=image)
    write_summary(writer, step, summary)


def write_summary(
    writer: tf.summary.SummaryWriter, step: int, summary: tf.compat.v1.Summary
) -> None:
    """Add a summary at once, so that it can be looked at while the training goes on."""
    with writer.as_default():
        tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step)
    writer.flush()


def write_options(writer: tf.summary.SummaryWriter, step: int, options: dict[str, object]) -> None:
    """Add the options of a run as a text and, if TensorBoard is installed, as hyperparameters."""
    rows = [f"| {name} | {value} |" for name, value in options.items()]
    table = "\n".join(["| option | value |", "|---|---|", *rows])
    metadata = tf.compat.v1.SummaryMetadata()
    metadata.plugin_data.plugin_name = "text"
    plain = (bool, int, float, str)
    with writer.as_default(), suppress(ImportError):  # without TensorBoard its tab stays empty
        tf.summary.write("options/text_summary", table, step, metadata)
        from tensorboard.plugins.hparams import api

        api.hparams({k: v if isinstance(v, plain) else str(v) for k, v in options.items()})
    writer.flush()

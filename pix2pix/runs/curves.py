"""The losses of a training as curves, for a notebook."""

import io
from pathlib import Path

import matplotlib.figure

from pix2pix.runs.tables import read_columns


def draw_curves(metrics: Path) -> bytes:
    """Draw the losses in a metrics.csv over the steps, as a PNG."""
    columns = read_columns(metrics)
    figure = matplotlib.figure.Figure((4.5, 4.5), dpi=96, layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    above.plot(columns["step"], columns["generator_l1"], label="generator_l1")
    below.plot(columns["step"], columns["generator_gan"], label="generator_gan")
    below.plot(columns["step"], columns["discriminator"], label="discriminator")
    below.set_xlabel("step")
    for axes in (above, below):
        axes.legend()
        axes.grid(alpha=0.3)
    png = io.BytesIO()
    figure.savefig(png)
    return png.getvalue()

"""What a command leaves: a folder, and what a notebook asks of it."""

import io
from dataclasses import dataclass
from pathlib import Path

import matplotlib.figure
from PIL import Image

from pix2pix.runs.tables import read_columns


@dataclass(frozen=True)
class Folder:
    """A folder that a command has written; as a path, it stands for the folder."""

    folder: Path

    def __fspath__(self) -> str:
        return str(self.folder)

    def __truediv__(self, name: str) -> Path:
        return self.folder / name


@dataclass(frozen=True)
class RunFolder(Folder):
    """A run after its training, or after a part of it."""

    stopped_by: int = 0  # the signal that ended the training before its last step

    @property
    def exit_status(self) -> int:
        """Return what the process ends with."""
        return 128 + self.stopped_by if self.stopped_by else 0

    @property
    def losses(self) -> dict[str, list[float]]:
        """Return the columns of metrics.csv."""
        return read_columns(self.folder / "metrics.csv")

    @property
    def preview(self) -> Image.Image:
        """Return the newest preview."""
        paths = self.folder.glob("previews/step-*.png")
        return Image.open(max(paths, key=lambda path: int(path.stem.removeprefix("step-"))))


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

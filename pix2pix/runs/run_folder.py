"""What a command leaves: a folder, and what a notebook asks of it."""

from dataclasses import dataclass
from pathlib import Path

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

"""What a notebook shows: one output of the cell while a training runs, and what commands return."""

import base64
import html
import io
import math
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

import matplotlib.figure
from PIL import Image, UnidentifiedImageError

from pix2pix.runs.tables import read_columns
from pix2pix.talk.lines import in_notebook

LINES_SHOWN = 10  # of what was said, the last ones
PICTURE_SIDE = 640  # pixels at most
CURVES_EVERY = 10  # seconds at least, as drawing them takes a while
SHEET_COLUMNS, SHEET_PICTURES, SHEET_SIDE = 4, 12, 192  # the last in pixels


# --- While a training runs ------------------------------------------------------------------------


class LiveOutput(io.TextIOBase):
    """The output of a cell, in place of standard output: what is said, and under it pictures.

    As in a terminal, a line that ends in a carriage return is written over."""

    def __init__(self) -> None:
        from IPython.display import display

        self.lines, self.line, self.is_over = [], "", False
        self.is_changed = False
        self.pictures = {}  # JPEG files, by what they show
        self.metrics = None  # the table that curves are drawn from
        self.curves_drawn = -math.inf
        self.handle = display(self.mime_bundle(), raw=True, display_id=True)

    def write(self, text: str) -> int:
        """Take what is printed."""
        self.is_changed = True
        for piece in re.findall(r"[^\r\n]+|[\r\n]", text):
            if piece == "\n":
                self.lines.append(self.line.rstrip())
                self.line = ""
            elif piece == "\r":
                self.is_over = True
            else:
                self.line = piece if self.is_over else self.line + piece
                self.is_over = False
        return len(text)

    def flush(self) -> None:
        """Show what is new since the last time."""
        if self.is_changed:
            self.is_changed = False  # before the update, which flushes standard output itself
            self.handle.update(self.mime_bundle(), raw=True)

    def show(self, name: str, png: bytes) -> None:
        """Show a picture in place of the one before that has the same name."""
        image = Image.open(io.BytesIO(png)).convert("RGB")
        image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
        jpeg = io.BytesIO()  # a small one, as all pictures are sent again with every line
        image.save(jpeg, "jpeg", quality=85)
        self.pictures[name] = jpeg.getvalue()
        self.is_changed = True
        self.flush()

    def show_curves(self) -> None:
        """Show the losses so far, if there are any."""
        if self.metrics:
            self.show("losses", draw_curves(read_columns(self.metrics)))
            self.curves_drawn = time.monotonic()

    def mime_bundle(self) -> dict[str, str]:
        """Return the output as a page, and as text where there are no pages."""
        text = "\n".join([*self.lines[-LINES_SHOWN:], self.line.rstrip()])
        page = [f'<pre style="font-family: monospace">{html.escape(text)}</pre>']
        for name, jpeg in self.pictures.items():
            data = base64.b64encode(jpeg).decode()
            style = "max-width: 100%; max-height: 30em; display: inline-block"
            page.append(f'<img style="{style}" alt="{name}" src="data:image/jpeg;base64,{data}">')
        return {"text/html": "\n".join(page), "text/plain": text}


@contextmanager
def live_output() -> Iterator[None]:
    """In a notebook, gather all that is printed into one output that is kept up to date."""
    if not in_notebook():
        yield
        return
    output = LiveOutput()
    with redirect_stdout(output):
        yield
        output.show_curves()  # to the very end


def show_inline(path: Path) -> None:
    """In a live output, show the newest preview; elsewhere do nothing."""
    if isinstance(sys.stdout, LiveOutput):
        sys.stdout.show("preview", path.read_bytes())


def show_curves(metrics: Path) -> None:
    """In a live output, show the losses of a metrics.csv now and then; elsewhere do nothing."""
    output = sys.stdout
    if isinstance(output, LiveOutput):
        output.metrics = metrics
        if time.monotonic() - output.curves_drawn > CURVES_EVERY:
            output.show_curves()


def draw_curves(columns: dict[str, list[float]]) -> bytes:
    """Draw losses over the steps, as a PNG."""
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


# --- What commands return -------------------------------------------------------------------------


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


class PictureFiles(list[Path]):
    """Paths of pictures; a notebook shows the first ones as a contact sheet."""

    def _repr_png_(self) -> bytes | None:
        """Draw the contact sheet."""
        thumbnails = []
        for path in self[:SHEET_PICTURES]:
            with suppress(UnidentifiedImageError):  # by a video, an array, a TIFF with bands
                image = Image.open(path).convert("RGBA")
                image.thumbnail((SHEET_SIDE, SHEET_SIDE))
                thumbnails.append(image)
        if not thumbnails:
            return None
        rows = math.ceil(len(thumbnails) / SHEET_COLUMNS)
        columns = min(len(thumbnails), SHEET_COLUMNS)
        sheet = Image.new("RGBA", (columns * SHEET_SIDE, rows * SHEET_SIDE))
        for k, image in enumerate(thumbnails):
            row, column = divmod(k, SHEET_COLUMNS)
            sheet.paste(image, (column * SHEET_SIDE, row * SHEET_SIDE))
        png = io.BytesIO()
        sheet.save(png, "png")
        return png.getvalue()


@dataclass(frozen=True)
class Report(Folder):
    """The report of an evaluation, and the mean of each metric."""

    metrics: dict[str, float]

    def _repr_html_(self) -> str:
        """Write the metrics as a table."""
        rows = [f"<tr><th>{name}</th><td>{x:.4g}</td></tr>" for name, x in self.metrics.items()]
        return f"<table>{''.join(rows)}</table>"

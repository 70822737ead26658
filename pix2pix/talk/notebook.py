"""What a notebook shows while something runs: one output of the cell, kept up to date."""

import base64
import html
import io
import math
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from PIL import Image

from pix2pix.talk.lines import in_notebook

LINES_SHOWN = 10  # of what was said, the last ones
PICTURE_SIDE = 640  # pixels at most
CURVES_EVERY = 10  # seconds at least, as drawing them takes a while


class LiveOutput(io.TextIOBase):
    """The output of a cell, in place of standard output: what is said, and under it pictures.

    As in a terminal, a line that ends in a carriage return is written over."""

    def __init__(self) -> None:
        from IPython.display import display

        self.lines: list[str] = []
        self.line, self.is_over = "", False
        self.is_changed = False
        self.pictures: dict[str, bytes] = {}  # JPEG files, by what they show
        self.draw_curves: Callable[[], bytes] | None = None  # draws the losses so far, as a PNG
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
        if self.draw_curves:
            self.show("losses", self.draw_curves())
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


def show_curves(draw_curves: Callable[[], bytes]) -> None:
    """In a live output, show the losses now and then, as drawn in a PNG; elsewhere do nothing."""
    output = sys.stdout
    if isinstance(output, LiveOutput):
        output.draw_curves = draw_curves
        if time.monotonic() - output.curves_drawn > CURVES_EVERY:
            output.show_curves()

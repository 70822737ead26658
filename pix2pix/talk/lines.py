"""Lines that are said at the terminal: those that stay, and those that are written over."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SCRIPT = "python image_to_image_translation.py"
INSTALLED = "pix2pix"  # the command that `pip install .` makes
LABEL_WIDTH = 10  # of the first column of what is said before and after a training


def program_name() -> str:
    """Return what this program was started as, to be typed again."""
    return INSTALLED if Path(sys.argv[0]).stem == INSTALLED else SCRIPT


@contextmanager
def hold_back_errors() -> Iterator[None]:
    """Keep what is written to standard error, by libraries of C++ too, and show it only if the
    block fails."""
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            held.seek(0)
            os.write(shown, held.read())
            raise
        finally:
            os.dup2(shown, 2)
            os.close(shown)


# --- What is said ---------------------------------------------------------------------------------


def in_notebook() -> bool:
    """Tell whether the program runs in the cells of a notebook."""
    ipython = sys.modules.get("IPython")  # a notebook has loaded it
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def line_width() -> int:
    """Return how many characters fit into a line that is written over; 0 in a file or a pipe."""
    if sys.stdout.isatty() or in_notebook():
        return shutil.get_terminal_size().columns - 1
    return 0


def say(text: str) -> None:
    """Print a line that stays."""
    with suppress(OSError):  # a terminal that was closed is no reason to stop
        print(f"{text:<{line_width()}}", flush=True)


def say_over(text: str) -> None:
    """Print a line that stays over the present one, where a terminal has just written `^C`."""
    if line_width():
        with suppress(OSError):
            print("\r", end="")
    say(text)


def say_row(label: str, text: str, width: int = LABEL_WIDTH) -> None:
    """Print a line that stays, its label in a column of its own."""
    say(f"{label:<{width}}{text}")


def say_for_now(text: str) -> None:
    """Print a line that whatever comes next is written over; nothing in a file or a pipe."""
    width = line_width()
    with suppress(OSError):
        if width:
            print(f"{text[:width]:<{width}}", end="\r", flush=True)

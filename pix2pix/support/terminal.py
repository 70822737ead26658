"""What is said to the person at the terminal: lines, progress, errors; and how they say stop."""

import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

SCRIPT = "python image_to_image_translation.py"
INSTALLED = "pix2pix"  # the command that `pip install .` makes
LABEL_WIDTH = 10  # of the first column of what is said before and after a training
BAR_WIDTH = 20


class UserError(Exception):
    """Something the user can put right: shown as one line, without a traceback."""

    exit_status = 1


class UsageError(UserError):
    """A flag whose value makes no sense."""

    exit_status = 2


def first_line(error: Exception) -> str:
    """Return the first line of an error, without TensorFlow's names for its own parts."""
    return re.sub(r"\{\{.*?\}\} | \[Op:.*?\]", "", (str(error) or repr(error)).splitlines()[0])


def program_name() -> str:
    """Return what this program was started as, to be typed again."""
    return INSTALLED if Path(sys.argv[0]).stem == INSTALLED else SCRIPT


# --- What is said ---------------------------------------------------------------------------------


def line_width() -> int:
    """Return how many characters fit into a line that is written over; 0 in a file or a pipe."""
    if sys.stdout.isatty() or "ipykernel" in sys.modules:
        return shutil.get_terminal_size().columns - 1
    return 0


def say(text: str) -> None:
    """Print a line that stays."""
    with suppress(OSError):  # a terminal that was closed is no reason to stop
        print(f"{text:<{line_width()}}", flush=True)


def say_row(label: str, text: str, width: int = LABEL_WIDTH) -> None:
    """Print a line that stays, its label in a column of its own."""
    say(f"{label:<{width}}{text}")


def say_for_now(text: str) -> None:
    """Print a line that whatever comes next is written over; nothing in a file or a pipe."""
    width = line_width()
    with suppress(OSError):
        if width:
            print(f"{text[:width]:<{width}}", end="\r", flush=True)


def say_progress(what: str, done: int, total: int, amount: str) -> None:
    """Print, for now, a bar that shows how much is done."""
    filled = "#" * (BAR_WIDTH * done // max(done, total))
    say_for_now(f"{what} [{filled:<{BAR_WIDTH}}] {amount}")


def is_due(step: int, every: int, total: int) -> bool:
    """Tell whether what happens every so many steps, and at the end, happens now."""
    return step % every == 0 or step == total


class StepClock:
    """Measures how fast steps are made from `step` on, and how long those up to `total` take."""

    def __init__(self, step: int, total: int) -> None:
        self.step, self.total, self.start = step, total, time.monotonic()

    def steps_per_second(self, step: int) -> float:
        """Return the steps per second, when so many steps are done."""
        return (step - self.step) / (time.monotonic() - self.start)

    def progress(self, step: int) -> str:
        """Return the line that is on the screen while steps are made."""
        rate = self.steps_per_second(step)
        left = timedelta(seconds=round((self.total - step) / rate))
        return f"step {step:,}/{self.total:,}  {rate:.3g} steps/s  {left} left"


# --- How they say stop ----------------------------------------------------------------------------

STOP_SIGNALS = [  # Ctrl-C, kill, and, but on Windows, a closed terminal
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collect the first stop signal in the yielded list; a second one ends the process at once."""
    requests = []
    heeded = [stop for stop in STOP_SIGNALS if signal.getsignal(stop) != signal.SIG_IGN]  # nohup

    def note_request(number: int, _frame: object) -> None:
        requests.append(number)  # and nothing else: it may come in the middle of anything
        for stop in heeded:
            signal.signal(stop, signal.SIG_DFL)

    if threading.current_thread() is not threading.main_thread():
        yield requests  # only the main thread may handle signals
        return
    before = [signal.signal(stop, note_request) for stop in heeded]
    try:
        yield requests
    finally:
        for stop, handler in zip(heeded, before, strict=True):
            signal.signal(stop, handler)

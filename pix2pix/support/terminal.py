"""What is said to the person at the terminal: lines, progress, errors; and how they say stop."""

import math
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SCRIPT = "python image_to_image_translation.py"
INSTALLED = "pix2pix"  # the command that `pip install .` makes
LABEL_WIDTH = 10  # of the first column of what is said before and after a training
BAR_WIDTH = 30  # at most
LEAST_BAR_WIDTH = 8
STEPS_MEASURED = 100  # the newest; from their mean the time that is left is estimated
SECONDS_BETWEEN_LINES = 0.5  # of progress, at least
LONGEST_VALUE = 100  # characters of a value in a message
LONGEST_MESSAGE = 10_000  # characters of an error: ten broken files with long names fit in


class UserError(Exception):
    """Something the user can put right: shown as one line, without a traceback."""

    exit_status = 1

    def __str__(self) -> str:
        """Return what is wrong, whatever the names of files in it: on one line, and not endless."""
        return shorten(on_one_line(super().__str__()), LONGEST_MESSAGE)

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows of it, in place of a traceback."""
        return [f"error: {self}"]


class UsageError(UserError):
    """A flag whose value makes no sense."""

    exit_status = 2


def on_one_line(text: str) -> str:
    r"""Spell characters that would begin a new line, or command a terminal, like `\n`."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda match: repr(match[0])[1:-1], text)


def shorten(text: str, length: int = LONGEST_VALUE) -> str:
    """Cut the middle out of a text that is longer."""
    if len(text) <= length:
        return text
    return f"{text[: length // 2]} … {text[-length // 2 :]}"


def first_line(error: Exception) -> str:
    """Return the first line of an error, without TensorFlow's names for its own parts."""
    return re.sub(r"\{\{.*?\}\} | \[Op:.*?\]", "", (str(error) or repr(error)).splitlines()[0])


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


# --- Progress -------------------------------------------------------------------------------------


def is_due(step: int, every: int, total: int) -> bool:
    """Tell whether what happens every so many steps, and at the end, happens now."""
    return step % every == 0 or step == total


def draw_bar(done: int, total: int, width: int) -> str:
    """Draw how much is done in so many characters."""
    halves = 2 * width * done // max(done, total, 1)
    return ("━" * (halves // 2) + "╸" * (halves % 2)).ljust(width, "─")


def say_progress(what: str, done: int, total: int, amount: str) -> None:
    """Print, for now, a bar that shows how much is done."""
    width = min(BAR_WIDTH, line_width() - len(what) - len(amount) - 2)
    say_for_now(f"{what} {draw_bar(done, total, width)} {amount}")


def say_step(step: int, clock: "StepClock", amounts: str) -> None:
    """Print how far a training is, with a bar; in a file or a pipe, as a line that stays."""
    done, width = f"{step:,}/{clock.total:,}", line_width()
    times = f"{clock.describe(step)} {amounts}"
    free = width - len(done) - len(times) - 2
    if not width or step == clock.total:
        say(f"{done} {times}")
    elif free < LEAST_BAR_WIDTH:
        say_for_now(f"{done} {times}")
    else:
        bar = draw_bar(step, clock.total, min(free, BAR_WIDTH))
        say_for_now(f"{done} {bar} {times}")


def describe_time(seconds: float) -> str:
    """Say a time in few characters: `0:42`, `22:38`, `9h05`."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02}" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02}"


class StepClock:
    """Measures how long steps take, without what happens between them, and how long those up to
    `total` will."""

    def __init__(self, total: int) -> None:
        self.total, self.start = total, time.monotonic()
        self.resumed = None  # the time from which on the next step is measured
        self.shown = -math.inf  # the time of the newest line of progress
        self.durations = deque(maxlen=STEPS_MEASURED)

    def resume(self) -> None:
        """Leave out of the next step's time what has happened since the last one."""
        self.resumed = time.monotonic()

    def tick(self) -> None:
        """Note that a step is done; the first one is not measured, as it compiles."""
        now = time.monotonic()
        if self.resumed is not None:
            self.durations.append(now - self.resumed)
        self.resumed = now

    def claim_line(self) -> bool:
        """Tell whether a new line of progress is due, if there is one; the next is due later."""
        now = time.monotonic()
        if not line_width() or now - self.shown < SECONDS_BETWEEN_LINES:
            return False
        self.shown = now
        return True

    @property
    def seconds_per_step(self) -> float:
        """Return the mean of the last steps; of the first one, if that is all there is."""
        if not self.durations:
            return time.monotonic() - self.start
        return sum(self.durations) / len(self.durations)

    def describe(self, step: int) -> str:
        """Say the pace, and the time that is over and the time left: `2.1 s/step 0:42<22:38`."""
        seconds, elapsed = self.seconds_per_step, describe_time(time.monotonic() - self.start)
        if not self.durations:
            return f"{elapsed}<?"
        pace = f"{seconds:.2g} s/step" if seconds >= 1 else f"{1 / seconds:.1f} steps/s"
        return f"{pace} {elapsed}<{describe_time((self.total - step) * seconds)}"


# --- How they say stop ----------------------------------------------------------------------------

STOP_SIGNALS = [  # Ctrl-C, kill, and, but on Windows, a closed terminal
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


@contextmanager
def stops_interrupt() -> Iterator[None]:
    """Let each stop signal interrupt the block as Ctrl-C does, with the signal in the exception: so
    half-written files go. A signal that is ignored, as under nohup, stays ignored."""

    def interrupt(number: int, _frame: object) -> None:
        raise KeyboardInterrupt(number)

    usual = (signal.SIG_DFL, signal.default_int_handler)
    heeded = [stop for stop in STOP_SIGNALS if signal.getsignal(stop) in usual]
    if threading.current_thread() is not threading.main_thread():
        heeded = []  # only the main thread may handle signals
    before = [signal.signal(stop, interrupt) for stop in heeded]
    try:
        yield
    finally:
        for stop, handler in zip(heeded, before, strict=True):
            signal.signal(stop, handler)


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collect the first stop signal in the yielded list, and answer it at once; a second one ends
    the process, or in a notebook the cell."""
    requests = []
    not_ours = (signal.SIG_IGN, None)  # under nohup, or handled by something that is not Python
    heeded = [stop for stop in STOP_SIGNALS if signal.getsignal(stop) not in not_ours]

    def note_request(number: int, _frame: object) -> None:
        if requests:
            raise KeyboardInterrupt
        requests.append(number)  # and nothing else: it may come in the middle of anything

    if threading.current_thread() is not threading.main_thread():
        yield requests  # only the main thread may handle signals
        return
    before = [signal.signal(stop, note_request) for stop in heeded]
    try:
        with answer_signals(heeded):
            yield requests
    finally:
        for stop, handler in zip(heeded, before, strict=True):
            signal.signal(stop, handler)


@contextmanager
def answer_signals(heeded: list[int]) -> Iterator[None]:
    """Answer signals from a thread of its own: Python's handlers wait while TensorFlow works, and
    the first step may compile for a minute."""

    def answer(reader: socket.socket) -> None:
        is_second = False
        while received := reader.recv(1):  # until the writer is closed
            number = received[0]
            if number not in heeded:
                continue
            if not is_second:
                say_over("Stopping after this step, then saving (again: leave without saving)")
            elif not in_notebook():
                say_over("Left without saving. It goes on from the last checkpoint.")
                os._exit(128 + number)
            is_second = True

    reader, writer = socket.socketpair()
    writer.setblocking(False)
    with reader:
        thread = threading.Thread(target=answer, args=(reader,), daemon=True)
        thread.start()
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            writer.close()
            thread.join()

"""How far something is, and how long the rest will take."""

import math
import time
from collections import deque

from pix2pix.talk.lines import line_width, say, say_for_now

BAR_WIDTH = 30  # at most
LEAST_BAR_WIDTH = 8
STEPS_MEASURED = 100  # the newest; from their mean the time that is left is estimated
SECONDS_BETWEEN_LINES = 0.5  # of progress, at least


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
        self.resumed: float | None = None  # the time from which on the next step is measured
        self.shown = -math.inf  # the time of the newest line of progress
        self.durations: deque[float] = deque(maxlen=STEPS_MEASURED)

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

"""What is said and how it fits the line, when something is due, and how a person says stop."""

import re
import signal
import subprocess
import sys
import time

import pytest
from conftest import SCRIPT

from pix2pix.talk import progress
from pix2pix.talk.errors import UserError
from pix2pix.talk.progress import StepClock, describe_time, draw_bar, is_due, say_progress, say_step
from pix2pix.talk.stop_signals import stop_requests, stops_interrupt


def run_python(program: str) -> subprocess.CompletedProcess:
    """A program of a few lines in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=SCRIPT.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_due_fires_at_every_multiple_and_at_the_end():
    assert [step for step in range(1, 11) if is_due(step, 4, 10)] == [4, 8, 10]
    assert [step for step in range(1, 4) if is_due(step, 100, 3)] == [3]


# --- Progress ---


@pytest.fixture
def clock(monkeypatch) -> StepClock:
    """A clock of which the test says what time it is, at `clock.now`."""
    monkeypatch.setattr(progress.time, "monotonic", lambda: StepClock.now)
    StepClock.now = 0.0
    yield StepClock(1_000)
    del StepClock.now


def test_bars():
    assert draw_bar(0, 10, 5) == "─────"
    assert draw_bar(5, 10, 5) == "━━╸──"
    assert draw_bar(10, 10, 5) == "━━━━━"
    assert draw_bar(0, 0, 5) == "─────"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0:00"), (42, "0:42"), (1358, "22:38"), (3599.7, "1h00"), (32_700, "9h05")],
)
def test_times_are_short(seconds, said):
    assert describe_time(seconds) == said


def test_the_first_step_and_pauses_are_no_part_of_the_pace(clock):
    StepClock.now = 40.0
    clock.tick()
    assert clock.describe(1) == "0:40<?"  # it has compiled, which says nothing about the others
    for second in (42.0, 44.0):
        StepClock.now = second
        clock.tick()
    assert clock.seconds_per_step == 2.0
    StepClock.now = 100.0  # a preview
    clock.resume()
    StepClock.now = 102.0
    clock.tick()
    assert clock.seconds_per_step == 2.0
    assert clock.describe(4) == "2 s/step 1:42<33:12"


def test_the_pace_is_that_of_the_last_steps(clock):
    clock.tick()
    for _ in range(10):
        StepClock.now += 5.0
        clock.tick()
    for _ in range(100):
        StepClock.now += 0.25
        clock.tick()
    assert clock.describe(600) == "4.0 steps/s 1:15<1:40"


def test_a_line_of_progress_fits_the_terminal(clock, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    clock.total = 40_000
    clock.tick()
    StepClock.now = 11.1
    clock.tick()
    amounts = "gan 1.15 L1 0.349 D 0.634 right 1"
    say_step(12_345, clock, amounts)
    line = capsys.readouterr().out
    assert re.fullmatch(r"12,345/40,000 ━+╸?─+ 11 s/step 0:11<85h16 gan 1\.15 .* right 1\r", line)
    assert len(line) == 80
    assert clock.claim_line()
    assert not clock.claim_line()  # at most twice a second
    StepClock.now += 0.5
    assert clock.claim_line()


def test_in_a_file_progress_is_plain_lines(clock, capsys):
    clock.tick()
    StepClock.now = 0.5
    clock.tick()
    say_step(2, clock, "gan 1.15")
    say_progress("Checking", 1, 2, "1 of 2")
    assert capsys.readouterr().out == "2/1,000 2.0 steps/s 0:00<8:19 gan 1.15\n"
    assert not clock.claim_line()


# --- What libraries write ---


HOLDING = """
import os, sys
from pix2pix.talk.errors import UserError
from pix2pix.talk.lines import hold_back_errors
try:
    with hold_back_errors():
        os.write(2, b"chatter of C++ ")
        print("and of Python", file=sys.stderr)
        if {fails}:
            raise ImportError("no such library")
except ImportError:
    pass
print("after", file=sys.stderr)
"""


@pytest.mark.parametrize("fails", [False, True])
def test_chatter_is_shown_only_if_loading_fails(fails):
    done = run_python(HOLDING.format(fails=fails))
    chatter = "chatter of C++ and of Python\n" if fails else ""
    assert (done.returncode, done.stderr) == (0, f"{chatter}after\n")


# --- How a person says stop ---


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_is_asked_for_in_three_ways(which):
    before = signal.getsignal(which)
    with stop_requests() as requests:
        signal.raise_signal(which)
        assert requests == [which]
    assert signal.getsignal(which) is before


def test_a_stop_is_answered_at_once_and_a_second_one_is_not_waited_for():
    done = run_python("""if True:
        import signal, time
        from pix2pix.talk.stop_signals import stop_requests
        with stop_requests() as requests:
            signal.raise_signal(signal.SIGINT)
            time.sleep(1)
            print("first", requests == [signal.SIGINT], flush=True)
            signal.raise_signal(signal.SIGINT)
            time.sleep(10)
            print("second", flush=True)
    """)
    answer = "Stopping after this step, then saving (again: leave without saving)"
    last = "Left without saving. The next start goes on from the last checkpoint, if any."
    assert (done.returncode, done.stdout) == (130, f"{answer}\nfirst True\n{last}\n")


def test_a_stop_is_answered_while_nothing_of_python_runs(tmp_path):
    """As when the first step compiles for a minute: only other threads can answer then."""
    program = tmp_path / "busy.py"
    program.write_text("""if True:
        import ctypes
        from pix2pix.talk.stop_signals import stop_requests
        wait = ctypes.CDLL(None).sleep  # of C, without the interpreter
        with stop_requests():
            print("begun", flush=True)
            left = 4
            while left := wait(left):  # a signal ends it early, a step of TensorFlow not
                pass
        print("over", flush=True)
    """)
    process = subprocess.Popen(
        [sys.executable, str(program)],
        env={"PYTHONPATH": str(SCRIPT.parent)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    sent = time.monotonic()
    assert process.stdout.readline().startswith("Stopping after this step")
    assert time.monotonic() - sent < 2
    assert process.stdout.readline() == "over\n"
    assert process.wait(timeout=20) == 0


@pytest.mark.usefixtures("_in_notebook")
def test_in_a_notebook_a_second_stop_ends_the_cell_alone():
    with pytest.raises(KeyboardInterrupt), stop_requests() as requests:  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        assert requests == [signal.SIGINT]
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_hang_up_is_heeded_but_not_under_nohup():
    handler = signal.getsignal(signal.SIGHUP)
    with stop_requests() as requests:
        signal.raise_signal(signal.SIGHUP)
    assert requests == [signal.SIGHUP]
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what nohup does
        with stop_requests() as requests:
            signal.raise_signal(signal.SIGHUP)
        assert requests == []
    finally:
        signal.signal(signal.SIGHUP, handler)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_is_one_line_whatever_the_names_in_it():
    error = UserError("a\nb\r\x1b[31m\u2028\udcff.png: broken")
    assert str(error) == "a\\nb\\r\\x1b[31m\\u2028\udcff.png: broken"
    assert len(str(UserError("x" * 10**6))) < 10_100


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_interrupts_and_says_which_it_was(which):
    before = signal.getsignal(which)
    with pytest.raises(KeyboardInterrupt) as stop, stops_interrupt():
        signal.raise_signal(which)
    assert stop.value.args == (which,)
    assert signal.getsignal(which) is before


def test_a_hang_up_interrupts_but_not_under_nohup():
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what nohup does
    try:
        with stops_interrupt():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, handler)


def test_the_pace_does_not_heed_a_clock_that_is_put_forward_or_back(monkeypatch):
    clock = StepClock(100)
    for moved in (0, 10**6, -(10**6)):
        monkeypatch.setattr(progress.time, "time", lambda moved=moved: moved)
        clock.tick()
    assert 0 <= clock.seconds_per_step < 10
    assert re.search(r"0:0\d<\d:\d\d", clock.describe(3))

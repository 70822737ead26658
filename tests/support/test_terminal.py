"""When something is due, and how a person says stop."""

import signal
import subprocess
import sys

import pytest
from conftest import SCRIPT

from pix2pix.support.terminal import is_due, stop_requests


def test_due_fires_at_every_multiple_and_at_the_end():
    assert [step for step in range(1, 11) if is_due(step, 4, 10)] == [4, 8, 10]
    assert [step for step in range(1, 4) if is_due(step, 100, 3)] == [3]


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_is_asked_for_in_three_ways(which):
    before = signal.getsignal(which)
    with stop_requests() as requests:
        signal.raise_signal(which)
        assert requests == [which]
    assert signal.getsignal(which) is before


def test_a_second_stop_request_is_not_waited_for():
    program = """if True:
        import signal
        from pix2pix.support.terminal import stop_requests
        with stop_requests() as requests:
            signal.raise_signal(signal.SIGINT)
            print("first", requests == [signal.SIGINT], flush=True)
            signal.raise_signal(signal.SIGINT)
            print("second", flush=True)
    """
    process = subprocess.run(
        [sys.executable, "-c", program], cwd=SCRIPT.parent, stdout=subprocess.PIPE, check=False
    )
    assert (process.returncode, process.stdout) == (-signal.SIGINT, b"first True\n")


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

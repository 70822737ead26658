"""How a person says stop: Ctrl-C, kill, a terminal that is closed."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pix2pix.talk.lines import in_notebook, say_over

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
    requests: list[int] = []
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
                say_over(
                    "Left without saving. The next start goes on from the last checkpoint, if any."
                )
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

"""How long one waits: for the first word, for the first step, for the end after a Ctrl-C.

    python benchmarks/start.py
    python benchmarks/start.py --flags="--dataset facades --precision float32"

The program runs in a terminal of its own, as for a person. All times are given in seconds, and as
multiples of what importing TensorFlow alone takes in the same minute, which is not ours to change.
"""

import os
import pty
import re
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

SCRIPT = Path(__file__).parents[1] / "image_to_image_translation.py"
WORDS = {  # what ends each wait
    "first word": r"Starting",
    "first step": r"[\r\n] *1/\d",
    "answer to Ctrl-C": r"Stopping after",
    "saved": r"Saved",
    "end after Stopped": r"Stopped at",
}


@dataclass(frozen=True)
class Options:
    """Start and stop the program several times."""

    flags: str = "--dataset synthetic"
    """Of train. The default draws 256×256 pictures, for networks of the full size."""
    times: int = 3
    """How often; the medians are printed."""


def import_seconds() -> float:
    """How long a Python that only imports TensorFlow takes."""
    start = time.monotonic()
    command = [sys.executable, "-c", "import tensorflow"]
    subprocess.run(command, stderr=subprocess.DEVNULL, check=True)
    return time.monotonic() - start


def read_until(terminal: int, said: str, word: str) -> str:
    """Read on until the word was said; all that was said so far."""
    while not re.search(word, said):
        said += os.read(terminal, 4096).decode(errors="replace")
    return said


def wait_times(flags: list[str], output: str) -> dict[str, float]:
    """Start the program, stop it after its third step, and time the waits."""
    command = [sys.executable, str(SCRIPT), "train", *flags, "--output", output]
    start = time.monotonic()
    process, terminal = pty.fork()
    if process == 0:
        os.execv(sys.executable, command)
    waits, said = {}, ""
    for word, pattern in WORDS.items():
        said = read_until(terminal, said, pattern)
        waits[word] = time.monotonic() - start
        if word == "first step":
            said = read_until(terminal, said, r"[\r\n] *3/\d")
            os.kill(process, signal.SIGINT)
            start = time.monotonic()
        if word == "saved":
            start = time.monotonic()
    os.waitpid(process, 0)
    waits["end after Stopped"] = time.monotonic() - start
    os.close(terminal)
    return waits


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    rows, imports = [], []
    for _ in range(options.times):
        imports.append(import_seconds())
        with tempfile.TemporaryDirectory() as output:
            rows.append(wait_times(shlex.split(options.flags), output))
    unit = statistics.median(imports)
    print(f"{'import tensorflow':<20}{unit:>8.2f} s{1:>8.2f}")
    for word in WORDS:
        seconds = statistics.median(row[word] for row in rows)
        print(f"{word:<20}{seconds:>8.2f} s{seconds / unit:>8.2f}")


if __name__ == "__main__":
    main()

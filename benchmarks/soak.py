"""Whether a run survives anything: it is killed and damaged at random, and must end as if never.

    python benchmarks/soak.py
    python benchmarks/soak.py --minutes 60 --seed 1

A small network trains while it is killed (-9, TERM, INT) at random moments, half of them while it
still starts; now and then its newest checkpoint is cut, gets wrong bits, or loses a file. At the
end, everything in the checkpoint equals that of a run nobody disturbed, bit for bit, and so do the
logged losses. Then the memory of a run of 5,000 steps is compared between its begin and its end.
Exit status 1 if anything is not as it should be.
"""

import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
import tyro

sys.path.insert(0, str(Path(__file__).parents[1]))
import image_to_image_translation as script
from pix2pix.runs.checkpoint_files import checkpoints

SMALL = "--dataset synthetic --image-size 32 --generator-filters 8 --discriminator-filters 8"
OFTEN = "--checkpoint-every 50 --log-every 10 --preview-every 100"
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
EXPECTED = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}


@dataclass(frozen=True)
class Options:
    """Kill and damage a run."""

    minutes: float = 10
    """How long; each kill takes about eight seconds, most of them for starting again."""
    seed: int = 0
    """Decides the moments, the signals and the damages."""
    memory_steps: int = 5_000
    """Steps of the run whose memory is watched; 0: none."""


def start(output: Path, steps: int) -> subprocess.Popen:
    """The program, in a process of its own."""
    flags = [*SMALL.split(), *OFTEN.split(), "--output", str(output), "--steps", str(steps)]
    command = [sys.executable, script.__file__, "train", *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill(output: Path, draw: random.Random) -> list[str]:
    """Start the run, end it at some moment in some way, and say which; a traceback is the end."""
    process, running = start(output, 10**7), draw.random() < 0.5
    if running:
        next(line for line in process.stdout if re.match(r"[\d,]+/", line))
    time.sleep(draw.uniform(0, 3 if running else 8))
    which = draw.choice(SIGNALS)
    process.send_signal(which)
    try:
        said, complaints = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:  # imports may swallow a Ctrl-C; a person tries again
        process.send_signal(which)
        process.communicate(timeout=60)
        return [which.name, "asked twice"]
    early = not running and "Run  " not in said  # before signals are heeded
    if process.returncode != EXPECTED[which] and not (early and process.returncode in (-15, -2)):
        sys.exit(f"{which.name}: exit status {process.returncode}\n{said}\n{complaints}")
    if "Traceback" in complaints and not early:
        sys.exit(f"{which.name}: a traceback\n{complaints}")
    return [which.name]


def damage(folder: Path, draw: random.Random) -> str:
    """Spoil the newest checkpoint."""
    newest = checkpoints(folder)[-1]
    part = draw.choice(sorted(folder.glob(f"{newest.name}.*")))
    data = bytearray(part.read_bytes())
    how = draw.choice(["cut", "bits", "gone"])
    if how == "cut":
        part.write_bytes(data[: draw.randrange(len(data))])
    elif how == "bits":
        for place in draw.sample(range(len(data)), 20):
            data[place] ^= 1 << draw.randrange(8)
        part.write_bytes(data)
    else:
        part.unlink()
    return how


def disturb(output: Path, options: Options) -> Counter:
    """Kill and damage until the time is over; how often what."""
    draw, done, folder = random.Random(options.seed), Counter(), output / "synthetic"
    end, spoilt = time.monotonic() + 60 * options.minutes, -1
    while time.monotonic() < end:
        done.update(kill(output, draw))
        found = checkpoints(folder)
        newest = int(found[-1].name.removeprefix("ckpt-")) if found else 0
        if len(found) > 1 and newest > spoilt and draw.random() < 0.3:
            done[f"checkpoints {damage(folder, draw)}"] += 1
            spoilt = newest
        print(f"\r{sum(done.values())} disturbances, step {newest}", end="", flush=True)
    print()
    return done


def finish(output: Path, steps: int) -> Path:
    """Let a run come to its end."""
    process = start(output, steps)
    said, complaints = process.communicate()
    if process.returncode:
        sys.exit(f"{said}\n{complaints}")
    return output / "synthetic"


def content(folder: Path, step: int) -> tuple[dict[str, np.ndarray], list[str]]:
    """Everything in a checkpoint, and the logged losses without how long they took."""
    reader = tf.train.load_checkpoint(str(folder / f"ckpt-{step}"))
    names = set(reader.get_variable_to_shape_map()) - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
    rows = (folder / "metrics.csv").read_text().splitlines()
    regular = [row.rsplit(",", 1)[0] for row in rows[1:]]
    return {name: reader.get_tensor(name) for name in names}, regular


def memory(steps: int, output: Path) -> tuple[float, float]:
    """What a run has in memory after a tenth of its steps, and at the last, in MB."""
    process = start(output, steps)
    status, figures = Path(f"/proc/{process.pid}/status"), []
    for line in process.stdout:
        if re.match(f"({steps // 10:,}|{steps:,})/", line):
            figures.append(int(re.search(r"VmRSS:\s+(\d+)", status.read_text())[1]) / 1024)
    process.wait()
    return figures[0], figures[-1]


def main() -> None:
    """Disturb, compare, watch."""
    options = tyro.cli(Options)
    with tempfile.TemporaryDirectory() as folder:
        disturbed, straight = Path(folder) / "disturbed", Path(folder) / "straight"
        done = disturb(disturbed, options)
        newest = int(checkpoints(disturbed / "synthetic")[-1].name.removeprefix("ckpt-"))
        steps = -(-newest // 100) * 100 + 100
        results = [content(finish(each, steps), steps) for each in (disturbed, straight)]
        (ours, rows), (theirs, expected) = results
        theirs.pop("save_counter/.ATTRIBUTES/VARIABLE_VALUE")  # a stop by TERM or INT saves, too
        differ = [name for name in theirs if not np.array_equal(ours.get(name), theirs[name])]
        kills = sum(count for what, count in done.items() if what.startswith("SIG"))
        equal = sum(a == b for a, b in zip(rows, expected, strict=True))
        print(", ".join(f"{what} {count}" for what, count in sorted(done.items())))
        print(f"{kills} kills, {steps} steps; equal are ", end="")
        print(f"{len(theirs) - len(differ)} of {len(theirs)} tensors, ", end="")
        print(f"{equal} of {len(expected)} rows of metrics.csv")
        if options.memory_steps:
            shutil.rmtree(straight)
            first, last = memory(options.memory_steps, straight)
            print(f"Memory after {options.memory_steps // 10:,} steps {first:.0f} MB, ", end="")
            print(f"after {options.memory_steps:,} {last:.0f} MB")
        sys.exit(bool(differ or rows != expected))


if __name__ == "__main__":
    main()

"""The tables of docs/BIGGER.md: how windows of a picture agree, how frames of a video flicker.

    python benchmarks/windows.py RUN PICTURE [PICTURE ...]

Each picture is translated at its resolution with `--windows alone` and `agree`: how much windows
that are neighbours differ where they overlap, of 255, and the processor time, the best of three.
Then a square is moved over the first picture, also at the size of one window: how much results
change between frames where the source does not.
"""

import sys
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
import pix2pix  # noqa: F401
from pix2pix.commands.open_run import TrainedRun, open_run
from pix2pix.commands.translate.translator import Canvas, Job, Translator, Window, keep_steady
from pix2pix.options.commands import Translate
from pix2pix.pictures.picture_files import read_picture
from pix2pix.pictures.pixels import convert_channels, resize

HOW = ("alone", "agree")
FRAMES = 16  # of the clip
NOISE = 2  # of 255, standard deviation: as a camera's


def translate(trained: TrainedRun, frames: Iterable[np.ndarray], how: str) -> list[Canvas]:
    """Translate pictures in windows as `translate --native --windows` does."""
    translator = Translator(trained, Translate(trained.folder, (), native=True, windows=how))
    job = Job(Path("picture"), [])
    return list(translator.generate(translator.load(frame, job) for frame in frames))


def measure_disagreement(trained: TrainedRun, pixels: np.ndarray, how: str) -> float:
    """Return the mean difference of neighbouring windows where they overlap, of 255."""
    made: dict[tuple[int, int], np.ndarray] = {}
    blend, zoom = Window.blend, trained.task.zoom

    def blend_and_keep(window: Window, image: np.ndarray, times: object) -> None:
        if times == zoom:  # and not of the shared map
            made[window.top, window.left] = image
        blend(window, image, times)

    Window.blend = blend_and_keep
    try:
        (canvas,) = translate(trained, [pixels], how)
    finally:
        Window.blend = blend
    differences = []
    for top, below in pairwise(canvas.rows):
        shift = (below - top) * zoom
        for left in canvas.columns:
            difference = made[top, left][shift:] - made[below, left][:-shift]
            differences.append(np.abs(difference).mean())
    for left, right in pairwise(canvas.columns):
        shift = (right - left) * zoom
        for top in canvas.rows:
            difference = made[top, left][:, shift:] - made[top, right][:, :-shift]
            differences.append(np.abs(difference).mean())
    return float(np.mean(differences)) * 127.5


def measure_time(trained: TrainedRun, pixels: np.ndarray, how: str) -> float:
    """Return the seconds of processor time that a translation takes, the best of three."""
    times = []
    for _ in range(3):
        begin = time.process_time()
        translate(trained, [pixels], how)
        times.append(time.process_time() - begin)
    return min(times)


def make_clip(pixels: np.ndarray) -> list[np.ndarray]:
    """Move a square, a piece of the picture's middle, from left to right."""
    height, width = pixels.shape[:2]
    side, clip = height // 6, []
    step = max(1, (width - side) // FRAMES)
    square = pixels[height // 2 :, width // 2 :][:side, :side]
    for k in range(min(FRAMES, (width - side) // step)):
        frame = pixels.copy()
        frame[height // 4 : height // 4 + side, step * k : step * k + side] = square
        clip.append(frame)
    return clip


def measure_flicker(trained: TrainedRun, clip: list[np.ndarray], noise: float) -> dict[str, float]:
    """Return the mean change between frames, of 255, where the source does not change."""
    random, zoom, flicker = np.random.default_rng(0), trained.task.zoom, {}
    seen = [
        np.clip(frame + random.normal(0, noise, frame.shape), 0, 255).round().astype(np.uint8)
        for frame in clip
    ]
    for how in HOW:
        canvases = iter(translate(trained, seen, how))
        frames = keep_steady(canvases) if how == "agree" else canvases
        values = [frame.samples[0].copy() for frame in frames]
        changes = []
        for k in range(1, len(clip)):
            is_still = (clip[k] == clip[k - 1]).all(axis=2)
            is_still = is_still.repeat(zoom, axis=0).repeat(zoom, axis=1)
            change = np.abs(values[k] - values[k - 1])[: len(is_still), : is_still.shape[1]]
            changes.append(change[is_still].mean())
        flicker[how] = float(np.mean(changes)) * 127.5
    return flicker


def main(run: str, *pictures: str) -> None:
    """Print the tables."""
    trained = open_run(Path(run))
    channels, classes = trained.found.source_channels, trained.found.source.classes
    first = None
    for name in pictures:
        pixels = convert_channels(read_picture(Path(name)), channels)
        first = pixels if first is None else first
        differ = {how: measure_disagreement(trained, pixels, how) for how in HOW}
        times = {how: measure_time(trained, pixels, how) for how in HOW}
        print(
            f"{name}: {differ['alone']:.2f} -> {differ['agree']:.2f}, "
            f"{times['alone']:.2f} -> {times['agree']:.2f} s",
            flush=True,
        )
    small = resize(first, trained.window, side=trained.found.source)
    for what, pixels in (("one window", small), ("native", first)):
        for noise in (0,) if classes else (0, NOISE):
            flicker = measure_flicker(trained, make_clip(pixels), noise)
            print(
                f"{what}, noise {noise}: {flicker['alone']:.2f} -> {flicker['agree']:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])

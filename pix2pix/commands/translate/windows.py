"""The windows that pictures are translated in: where they lie, and how they become one again."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path

import numpy as np
import tensorflow as tf

from image_to_image_translation import generate
from pix2pix.commands.open_run import TrainedRun, prepare_source, set_noise
from pix2pix.options.commands import Translate
from pix2pix.pictures.pixels import to_results


@dataclass(frozen=True, eq=False)
class Job:
    """A picture or a video to translate."""

    path: Path
    results: list[Path]  # one, or as many as samples are asked for
    partners: tuple[Path, ...] = ()  # other pictures that make the source with this one


@dataclass(frozen=True, eq=False)
class Loaded:
    """A picture at the size at which it is translated, and the windows that it is translated in."""

    job: Job
    pixels: np.ndarray  # as they were read
    seen: np.ndarray  # as the generator sees them, resized or padded
    rows: dict[int, np.ndarray]  # where windows begin, and how much each of their pixels counts
    columns: dict[int, np.ndarray]


@dataclass(frozen=True, eq=False)
class Window:
    """A part of a picture that the generator gets, and where it lies."""

    loaded: Loaded
    sample: int
    top: int
    left: int


@dataclass(frozen=True, eq=False)
class Rows:
    """Complete rows of a result, and where in it they begin."""

    loaded: Loaded
    begin: int
    pixels: np.ndarray


def window_size(trained: TrainedRun) -> tuple[int, int]:
    """Return height and width of the part of a picture that one source is made of."""
    return tuple(side // trained.task.zoom for side in trained.task.size)


def result_size(loaded: Loaded, trained: TrainedRun) -> tuple[int, int]:
    """Return height and width of what is generated of a picture."""
    return tuple(side * trained.task.zoom for side in loaded.seen.shape[:2])


def place_windows(length: int, size: int, zoom: int) -> dict[int, np.ndarray]:
    """Place windows so that they overlap by half; return where they begin and how their pixels
    count in the result: less towards the ends of a window, and 1 in all windows together."""
    count = math.ceil(2 * (length - size) / size) + 1
    begins = np.linspace(0, length - size, count).round().astype(int).tolist()
    bump = np.sin(np.pi * (np.arange(size * zoom) + 0.5) / (size * zoom)) ** 2
    total = np.zeros(length * zoom)
    places = {begin: slice(begin * zoom, (begin + size) * zoom) for begin in begins}
    for place in places.values():
        total[place] += bump
    return {begin: bump / total[place] for begin, place in places.items()}


def list_windows(pictures: Iterable[Loaded], options: Translate) -> Iterator[Window]:
    """List the windows of all pictures: sample by sample, row by row."""
    for loaded in pictures:
        samples = range(options.samples or 1)
        for sample, top, left in product(samples, loaded.rows, loaded.columns):
            yield Window(loaded, sample, top, left)


def generate_windows(
    pictures: Iterable[Loaded], trained: TrainedRun, options: Translate
) -> Iterator[tuple[Window, np.ndarray]]:
    """Let the generator work on the windows of all pictures, a batch at a time."""
    height, width = window_size(trained)
    noise = options.samples > 0
    count = 1 if noise else options.batch_size
    windows = list_windows(pictures, options)
    while batch := list(islice(windows, count)):
        sources = []
        for window in batch:
            rows = slice(window.top, window.top + height)
            columns = slice(window.left, window.left + width)
            sources.append(prepare_source(window.loaded.seen[rows, columns], trained))
        missing = count - len(batch)
        sources += sources[:1] * missing  # rounding depends on the size of a batch
        if noise:
            set_noise(trained.generator, options.seed, batch[0].sample)
        images = generate(trained.generator, tf.stack(sources), noise).numpy()
        yield from zip(batch, images[: len(batch)], strict=True)


def generate_rows(
    pictures: Iterable[Loaded], trained: TrainedRun, options: Translate
) -> Iterator[Rows]:
    """Blend the generated windows; yield rows of the results as soon as they are complete."""
    canvas = None
    for window, image in generate_windows(pictures, trained, options):
        canvas = canvas or Canvas(window.loaded, trained)
        if window.top * canvas.zoom > canvas.begin:
            yield canvas.take_rows(window.top * canvas.zoom)
        canvas.add(window, image)
        if canvas.is_complete:
            yield canvas.take_rows(canvas.height)
            canvas = None


def generate_pictures(
    pictures: Iterable[Loaded], trained: TrainedRun, options: Translate
) -> Iterator[tuple[Loaded, list[np.ndarray]]]:
    """Put the rows of results together; yield each picture with one result, or its samples."""
    results = []
    for rows in generate_rows(pictures, trained, options):
        begin, end = rows.begin, rows.begin + len(rows.pixels)
        if begin == 0:
            height, _ = result_size(rows.loaded, trained)
            results.append(np.empty((height, *rows.pixels.shape[1:]), rows.pixels.dtype))
        results[-1][begin:end] = rows.pixels
        if end == len(results[-1]) and len(results) == (options.samples or 1):
            yield rows.loaded, results
            results = []


class Canvas:
    """A part of a result that windows are blended into: as high as a window, as wide as all."""

    def __init__(self, loaded: Loaded, trained: TrainedRun) -> None:
        self.loaded, self.zoom = loaded, trained.task.zoom
        self.bits, self.side = trained.found.target_bits, trained.found.target
        self.height, width = result_size(loaded, trained)
        channels = trained.found.target_channels
        self.strip = np.zeros((trained.task.size[0], width, channels), np.float32)
        self.begin = 0  # of the strip, in the result
        self.missing = len(loaded.rows) * len(loaded.columns)

    @property
    def is_complete(self) -> bool:
        """Whether all windows are there."""
        return self.missing == 0

    def add(self, window: Window, image: np.ndarray) -> None:
        """Add what was generated of a window, with the shares of its pixels."""
        down = self.loaded.rows[window.top][:, None, None]
        across = self.loaded.columns[window.left][:, None]
        left = window.left * self.zoom
        self.strip[:, left : left + image.shape[1]] += image * down * across
        self.missing -= 1

    def take_rows(self, end: int) -> Rows:
        """Take the rows above this one, which no later window reaches; the strip moves down."""
        count = end - self.begin
        rows = Rows(self.loaded, self.begin, to_results(self.strip[:count], self.bits, self.side))
        self.strip = np.concatenate([self.strip[count:], np.zeros_like(self.strip[:count])])
        self.begin = end
        return rows

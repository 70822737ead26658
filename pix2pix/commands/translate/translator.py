"""A trained run at work: picture → windows → generator → one picture again → full size → pixels.

Results are values from -1 to 1 until they are as large as their file will be; only then they are
rounded. A picture is one window, unless its resolution is kept.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import tensorflow as tf

from image_to_image_translation import generate
from pix2pix.commands.open_run import TrainedRun, prepare_source, set_noise
from pix2pix.options.commands import Translate
from pix2pix.pictures.label_maps import snap_to_classes
from pix2pix.pictures.pixels import (
    convert_channels,
    from_pixels,
    problem_with,
    resize,
    resize_values,
    shown_parts,
    to_pixels,
    to_results,
    to_values,
)
from pix2pix.pictures.sides import PHOTOS, Side
from pix2pix.talk.errors import UserError

COPIES = 2  # of a result, while it is rounded: measured
Shares = dict[int, np.ndarray]  # where windows begin, and how much each of their pixels counts


@dataclass(frozen=True, eq=False)
class Job:
    """A picture or a video to translate."""

    path: Path
    results: list[Path]  # none of what is only drawn; else one, or as many as samples are asked for
    partners: tuple[Path, ...] = ()  # other pictures that make the source with this one


@dataclass(frozen=True, eq=False)
class Loaded:
    """A picture at the size at which it is translated, and the windows that it is translated in."""

    job: Job
    pixels: np.ndarray  # as they were read
    seen: np.ndarray  # as the generator sees them, resized or padded
    rows: Shares
    columns: Shares


@dataclass(eq=False)
class Canvas:
    """What was generated of a picture so far: its windows, blended."""

    loaded: Loaded
    samples: list[np.ndarray]  # values [height, width, channels] of each
    missing: int  # windows


@dataclass(frozen=True, eq=False)
class Window:
    """A part of a picture that the generator gets, and where it lies."""

    canvas: Canvas
    sample: int
    top: int
    left: int


def place_windows(length: int, size: int, zoom: int) -> Shares:
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


@dataclass(frozen=True)
class Translator:
    """Translates pictures with a trained run, as the options of translate say."""

    trained: TrainedRun
    options: Translate

    @property
    def keeps_resolution(self) -> bool:
        """Tell whether pictures keep their resolution, which is what some trainings have seen."""
        trained = self.trained
        return self.options.native or trained.options.crop or trained.task.keeps_resolution

    @property
    def bytes_per_pixel(self) -> int:
        """Estimate the memory that a translation takes for each pixel of the picture: for itself,
        and for its results while they are blended and rounded."""
        found = self.trained.found
        source = found.source_channels * (4 if found.source.measured else 1)
        result = found.target_channels * 4 * self.trained.task.zoom**2
        return source + result * ((self.options.samples or 1) + COPIES)

    # --- Before the generator ---

    def load(self, pixels: np.ndarray, job: Job) -> Loaded:
        """Make a source of pixels, if the run is for such pictures; refuse others in a UserError
        that does not name the picture."""
        found = self.trained.found
        pixels = snap_to_classes(pixels, found.source.classes)
        problem = problem_with(pixels, found.source_channels, found.source)
        if problem := problem or self.trained.task.problem_with(pixels):
            raise UserError(problem)
        return self.fit(pixels, job)

    def fit(self, pixels: np.ndarray, job: Job) -> Loaded:
        """Bring a picture to the size at which it is translated, and choose its windows."""
        zoom, window, (height, width) = (
            self.trained.task.zoom,
            self.trained.window,
            pixels.shape[:2],
        )
        side = self.trained.found.source
        if self.keeps_resolution:
            lacking = [(0, max(0, window[0] - height)), (0, max(0, window[1] - width)), (0, 0)]
            seen = np.pad(pixels, lacking, "symmetric") if np.any(lacking) else pixels
        elif self.trained.options.fit == "crop":  # windows cover also what training would cut off
            scale = max(window[0] / height, window[1] / width)
            size = max(window[0], round(scale * height)), max(window[1], round(scale * width))
            seen = resize(pixels, size, side=side)
        else:
            seen = resize(pixels, window, side=side)
        rows = place_windows(seen.shape[0], window[0], zoom)
        columns = place_windows(seen.shape[1], window[1], zoom)
        return Loaded(job, pixels, seen, rows, columns)

    # --- The generator ---

    def generate(self, pictures: Iterable[Loaded]) -> Iterator[Canvas]:
        """Let the generator work on the windows of all pictures, a batch at a time; yield each
        picture when all of its windows are there."""
        windows, noise = self.list_windows(pictures), self.options.samples > 0
        count = 1 if noise else self.options.batch_size
        while batch := list(islice(windows, count)):
            sources = [self.cut_source(window) for window in batch]
            sources += sources[:1] * (count - len(batch))  # rounding depends on the size of a batch
            if noise:
                set_noise(self.trained.generator, self.options.seed, batch[0].sample)
            images = generate(self.trained.generator, tf.stack(sources), noise).numpy()
            for window, image in zip(batch, images, strict=False):
                self.blend(window, image)
                if not window.canvas.missing:
                    yield window.canvas

    def list_windows(self, pictures: Iterable[Loaded]) -> Iterator[Window]:
        """List the windows of all pictures: sample by sample, row by row."""
        zoom, channels = self.trained.task.zoom, self.trained.found.target_channels
        samples = range(self.options.samples or 1)
        for loaded in pictures:
            height, width = loaded.seen.shape[:2]
            shape = (height * zoom, width * zoom, channels)
            missing = len(samples) * len(loaded.rows) * len(loaded.columns)
            canvas = Canvas(loaded, [np.zeros(shape, np.float32) for _ in samples], missing)
            for sample in samples:
                for top in loaded.rows:
                    for left in loaded.columns:
                        yield Window(canvas, sample, top, left)

    def cut_source(self, window: Window) -> tf.Tensor:
        """Cut what the generator gets out of a picture."""
        height, width = self.trained.window
        rows, columns = (
            slice(window.top, window.top + height),
            slice(window.left, window.left + width),
        )
        return prepare_source(window.canvas.loaded.seen[rows, columns], self.trained)

    def blend(self, window: Window, image: np.ndarray) -> None:
        """Add what was generated of a window to its picture, with the shares of its pixels."""
        canvas, zoom = window.canvas, self.trained.task.zoom
        down = canvas.loaded.rows[window.top][:, None, None]
        across = canvas.loaded.columns[window.left][:, None]
        top, left = window.top * zoom, window.left * zoom
        place = slice(top, top + image.shape[0]), slice(left, left + image.shape[1])
        canvas.samples[window.sample][place] += image * down * across
        canvas.missing -= 1

    # --- After the generator ---

    def finish(self, canvas: Canvas) -> list[np.ndarray]:
        """Make the pixels that are written of a picture: of each sample, or all side by side."""
        images = [self.to_full_size(values, canvas.loaded.pixels) for values in canvas.samples]
        if not self.options.side_by_side:
            return images
        columns = show_pixels(canvas.loaded.pixels, self.trained.found.source)
        for image in images:
            columns += show_pixels(image, self.trained.found.target)
        return [place_side_by_side(columns)]

    def to_full_size(self, values: np.ndarray, original: np.ndarray) -> np.ndarray:
        """Make pixels of values at the size of the original, with what the task keeps of that in
        full detail."""
        found, task = self.trained.found, self.trained.task
        height, width = (length * task.zoom for length in original.shape[:2])
        as_it_is = self.keeps_resolution or values.shape[:2] == (height, width)
        if found.target.classes and self.options.labels == "exact":
            pixels = snap_to_classes(to_pixels(values), found.target.classes)
            if as_it_is:
                return pixels[:height, :width]
            return resize(pixels, (height, width), side=found.target)

        side = PHOTOS if found.target.classes else found.target
        if as_it_is:
            return to_results(values[:height, :width], found.target_bits, side)
        values = resize_values(values, (height, width), side)
        if task.keeps_source:
            source = prepare_source(original, self.trained)
            values = task.restore_source(tf.constant(values), source).numpy()
        return to_results(values, found.target_bits, side)


def show_pixels(pixels: np.ndarray, side: Side) -> list[np.ndarray]:
    """Return what is shown of a picture: itself, or pictures of what it measures."""
    if not side.ranges:
        return [pixels]
    values = to_values(pixels, pixels.shape[2], side)
    return [to_pixels(shown) for shown in shown_parts("", values, side).values()]


def place_side_by_side(pictures: list[np.ndarray]) -> np.ndarray:
    """Place pictures in a row, as high as the last one, in 8 bits."""
    counts = [3 if picture.shape[2] == 2 else picture.shape[2] for picture in pictures]
    row = []
    for picture in pictures:
        same_height = resize(convert_channels(picture, max(counts)), pictures[-1].shape[:2])
        row.append(to_pixels(from_pixels(same_height)))
    return np.concatenate(row, axis=1)

"""A trained run at work: picture → windows → generator → one picture again → full size → pixels.

Results are values from -1 to 1 until they are as large as their file will be; only then they are
rounded. A picture is one window, unless its resolution is kept. Where there are several, they are
seen twice, so that they agree where they overlap: `agreement` tells how.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import groupby, islice
from pathlib import Path

import numpy as np
import tensorflow as tf

from image_to_image_translation import generate
from pix2pix.commands.open_run import TrainedRun, prepare_source, set_noise
from pix2pix.commands.translate.agreement import (
    Common,
    choose_shared,
    find_common,
    generate_together,
    measure_windows,
    normalizations,
)
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
KEPT = 0.9  # of the frame before, where the source has not changed: measured, docs/BIGGER.md
CHANGED = 24  # of 255: from there, of what the source changes, nothing is kept
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
    rows: list[int]  # where windows begin
    columns: list[int]
    common: tuple[Common, ...] = ()  # what windows share, of each sample; nothing if each is alone


def is_one_window(loaded: Loaded) -> bool:
    """Tell whether a picture is a single window."""
    return len(loaded.rows) * len(loaded.columns) == 1


@dataclass(eq=False)
class Canvas:
    """What was made of a picture so far: its windows, blended."""

    loaded: Loaded
    rows: Shares
    columns: Shares
    samples: list[np.ndarray]  # values [height, width, channels] of each
    moments: list[np.ndarray]  # of each: the sum of what was measured of its windows
    missing: int  # windows

    @classmethod
    def make_empty(
        cls, loaded: Loaded, window: tuple[int, int], zoom: Fraction, channels: int, samples: int
    ) -> "Canvas":
        """Make one without any window yet, so many times as large as the picture."""
        rows = share_pixels(loaded.rows, window[0], zoom)
        columns = share_pixels(loaded.columns, window[1], zoom)
        height, width = (int(length * zoom) for length in loaded.seen.shape[:2])
        images = [np.zeros((height, width, channels), np.float32) for _ in range(samples)]
        missing = samples * len(rows) * len(columns)
        nothing = [np.zeros((), np.float32)] * samples
        return cls(loaded, rows, columns, images, nothing, missing)

    def settle_common(self) -> tuple[Common, ...]:
        """Find what the windows have in common, of each sample, when all were measured."""
        count = len(self.rows) * len(self.columns)
        return tuple(
            find_common(blended, moments / count)
            for blended, moments in zip(self.samples, self.moments, strict=True)
        )


@dataclass(frozen=True, eq=False)
class Window:
    """A part of a picture that the generator gets, and where it lies."""

    canvas: Canvas
    sample: int
    top: int
    left: int

    def find_place(self, zoom: Fraction, height: int, width: int) -> tuple[slice, slice]:
        """Return where it lies in a picture of so many times the size, in which it is so large."""
        top, left = int(self.top * zoom), int(self.left * zoom)
        return slice(top, top + height), slice(left, left + width)

    def blend(self, image: np.ndarray, zoom: Fraction) -> None:
        """Add what was made of it to its picture, with the shares of its pixels."""
        canvas, place = self.canvas, self.find_place(zoom, *image.shape[:2])
        down = canvas.rows[self.top][:, None, None]
        across = canvas.columns[self.left][:, None]
        canvas.samples[self.sample][place] += image * down * across
        canvas.missing -= 1


def place_windows(length: int, size: int, cell: int) -> list[int]:
    """Place windows so that they overlap by half; return where they begin, in multiples of a cell
    of which there must be a whole number."""
    count = math.ceil(2 * (length - size) / size) + 1
    return (np.linspace(0, (length - size) / cell, count).round().astype(int) * cell).tolist()


def share_pixels(begins: list[int], size: int, zoom: Fraction) -> Shares:
    """Return how the pixels of windows count in a result of so many times the size: less towards
    the ends of a window, and 1 in all windows together."""
    size = int(size * zoom)
    bump = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
    places = {begin: slice(int(begin * zoom), int(begin * zoom) + size) for begin in begins}
    total = np.zeros(max(place.stop for place in places.values()))
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

    @cached_property
    def agrees(self) -> bool:
        """Tell whether windows of a picture share what they are normalised with."""
        usual = "alone" if self.trained.task.keeps_resolution else "agree"
        is_wanted = (self.options.windows or usual) == "agree"
        return is_wanted and bool(normalizations(self.trained.generator))

    @cached_property
    def map_shape(self) -> tuple[Fraction, int]:
        """Return how large the map that windows share is next to them, and its channels."""
        _, height, _, channels = choose_shared(self.trained.generator).input.shape
        return Fraction(height, self.trained.window[0]), channels

    @cached_property
    def cell_size(self) -> int:
        """Return of how many pixels the places of windows are multiples."""
        return self.map_shape[0].denominator if self.agrees else 1

    @property
    def bytes_per_pixel(self) -> int:
        """Estimate the memory that a translation takes for each pixel of the picture: for itself,
        and for its results while they are blended and rounded."""
        found = self.trained.found
        source = found.source_channels * (4 if found.source.measured else 1)
        result = found.target_channels * 4 * self.trained.task.zoom**2
        samples = self.options.samples or 1
        shared = 0
        if self.agrees:
            zoom, channels = self.map_shape
            shared = round(channels * 4 * zoom**2 * (samples + COPIES))
        return source + result * (samples + COPIES) + shared

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
        window, (height, width), cell = self.trained.window, pixels.shape[:2], self.cell_size
        side = self.trained.found.source
        if self.keeps_resolution:
            size = max(window[0], -height // cell * -cell), max(window[1], -width // cell * -cell)
            lacking = [(0, size[0] - height), (0, size[1] - width), (0, 0)]
            seen = np.pad(pixels, lacking, "symmetric") if np.any(lacking) else pixels
        elif self.trained.options.fit == "crop":  # windows cover also what training would cut off
            scale = max(window[0] / height, window[1] / width)
            cells = round(scale * height / cell), round(scale * width / cell)
            size = max(window[0], cells[0] * cell), max(window[1], cells[1] * cell)
            seen = resize(pixels, size, side=side)
        else:
            seen = resize(pixels, window, side=side)
        rows = place_windows(seen.shape[0], window[0], cell)
        columns = place_windows(seen.shape[1], window[1], cell)
        return Loaded(job, pixels, seen, rows, columns)

    # --- The generator ---

    def generate(self, pictures: Iterable[Loaded]) -> Iterator[Canvas]:
        """Let the generator work on the windows of all pictures, a batch at a time; yield each
        picture when all of its windows are there."""
        generator, noise = self.trained.generator, self.options.samples > 0
        zoom = Fraction(self.trained.task.zoom)
        pictures = self.measure_pictures(pictures) if self.agrees else pictures
        for windows in self.batch_windows(pictures, zoom, self.trained.found.target_channels):
            sources = self.cut_sources(windows)
            if windows[0].canvas.loaded.common:
                images = generate_together(generator, sources, *self.cut_common(windows), noise)
            else:
                images = generate(generator, sources, noise)
            for window, image in zip(windows, images.numpy(), strict=False):
                window.blend(image, zoom)
                if not window.canvas.missing:
                    yield window.canvas

    def measure_pictures(self, pictures: Iterable[Loaded]) -> Iterator[Loaded]:
        """See all windows a first time, where there are several; yield each picture with what its
        windows have in common."""
        generator, noise = self.trained.generator, self.options.samples > 0
        for is_single, alike in groupby(pictures, is_one_window):
            if is_single:
                yield from alike
                continue
            for windows in self.batch_windows(alike, *self.map_shape):
                measured = measure_windows(generator, self.cut_sources(windows), noise)
                maps, moments = (values.numpy() for values in measured)
                for window, part, of_window in zip(windows, maps, moments, strict=False):
                    canvas = window.canvas
                    canvas.moments[window.sample] = canvas.moments[window.sample] + of_window
                    window.blend(part, self.map_shape[0])
                    if not canvas.missing:
                        yield replace(canvas.loaded, common=canvas.settle_common())

    def batch_windows(
        self, pictures: Iterable[Loaded], zoom: Fraction, channels: int
    ) -> Iterator[list[Window]]:
        """List the windows of all pictures in batches: sample by sample, row by row. Those that
        have something in common with others are not in one batch with those that do not."""
        count = 1 if self.options.samples else self.options.batch_size
        windows = self.list_windows(pictures, zoom, channels)
        for _, alike in groupby(windows, lambda window: bool(window.canvas.loaded.common)):
            while batch := list(islice(alike, count)):
                yield batch

    def list_windows(
        self, pictures: Iterable[Loaded], zoom: Fraction, channels: int
    ) -> Iterator[Window]:
        """List the windows of all pictures, for canvases of so many times their size."""
        samples = self.options.samples or 1
        for loaded in pictures:
            canvas = Canvas.make_empty(loaded, self.trained.window, zoom, channels, samples)
            for sample in range(samples):
                for top in loaded.rows:
                    for left in loaded.columns:
                        yield Window(canvas, sample, top, left)

    def cut_sources(self, windows: list[Window]) -> tf.Tensor:
        """Cut what the generator gets out of pictures, always as much of it; prepare its noise."""
        if self.options.samples:
            set_noise(self.trained.generator, self.options.seed, windows[0].sample)
        height, width = self.trained.window
        sources = []
        for window in windows:
            place = window.find_place(Fraction(1), height, width)
            sources.append(prepare_source(window.canvas.loaded.seen[place], self.trained))
        return tf.stack(self.fill_batch(sources))

    def cut_common(self, windows: list[Window]) -> tuple[np.ndarray, np.ndarray]:
        """Cut parts of the shared maps for windows; return them and the statistics of each."""
        zoom, _ = self.map_shape
        size = [int(length * zoom) for length in self.trained.window]
        common = [window.canvas.loaded.common[window.sample] for window in windows]
        parts = [
            each.map[window.find_place(zoom, *size)]
            for each, window in zip(common, windows, strict=True)
        ]
        statistics = [each.statistics for each in common]
        return np.stack(self.fill_batch(parts)), np.stack(self.fill_batch(statistics))

    def fill_batch(self, values: list) -> list:
        """Repeat the first one until there are as many as in a batch: rounding depends on it."""
        count = 1 if self.options.samples else self.options.batch_size
        return values + values[:1] * (count - len(values))

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


def keep_steady(frames: Iterable[Canvas]) -> Iterator[Canvas]:
    """Keep the frames of a video near to the ones before where their source has not changed."""
    before = None
    for frame in frames:
        if before:
            seen = [each.loaded.seen.astype(np.float32) for each in (frame, before)]
            change = np.abs(seen[0] - seen[1]).mean(axis=2, keepdims=True)
            zoom = frame.samples[0].shape[0] // change.shape[0]
            kept = KEPT * np.maximum(0, 1 - change / CHANGED)
            kept = kept.repeat(zoom, axis=0).repeat(zoom, axis=1)
            frame.samples[0] += kept * (before.samples[0] - frame.samples[0])
        yield frame
        before = frame

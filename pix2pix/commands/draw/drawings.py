"""What one draws for a run on the page of `draw`: label maps, sketches, holes in photos, photos."""

from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from image_to_image_translation import dropout_layers, find_splits, fit_to_size
from pix2pix.commands.inspect_dataset.pair_checks import looks_drawn
from pix2pix.commands.open_run import TrainedRun
from pix2pix.options.commands import Draw
from pix2pix.pairs.splits import choose_shown
from pix2pix.pictures.label_maps import find_classes, snap_to_classes
from pix2pix.pictures.pixels import convert_channels, resize, shown_channels, to_pixels, to_values
from pix2pix.pictures.sides import LabelClass
from pix2pix.preparation import stored_sides
from pix2pix.talk.errors import UserError
from pix2pix.talk.lines import say_row

EXAMPLES = 24  # at most


@dataclass(frozen=True)
class Drawings:
    """What one draws, and some to begin with."""

    kind: str  # labels, sketch, holes or photo
    classes: tuple[LabelClass, ...]  # of label maps, in the colours in which they are drawn
    examples: list[np.ndarray]  # 8 bits, [height, width, channels], as large as what is drawn


def find_drawings(trained: TrainedRun, options: Draw) -> Drawings:
    """Find out from the options of a run and its pictures what one draws for it."""
    source = trained.found.source
    if trained.found.source_channels > 4 or source.measured or source.ranges:
        raise UserError(f"{options.run}: nobody can draw measurements. Use translate.")
    pictures = read_pictures(trained, options)
    if not pictures:
        where = f"{options.data_dir} (--data-dir)"
        say_row("Careful", f"no pictures of the run in {where}, so there is one example")
    seen = pictures or [to_pixels(trained.example[0])]
    kind, classes = trained.task.drawn_as, source.classes
    if not kind:
        classes = classes or find_shown_classes(seen, trained.found.source_channels)
        kind = "labels" if classes else "sketch" if looks_drawn(seen) else "photo"
    examples = [begin_drawing(pixels, classes, trained) for pixels in pictures]
    return Drawings(kind, classes, examples or [resize(seen[0], trained.window)])


def find_shown_classes(pictures: list[np.ndarray], channels: int) -> tuple[LabelClass, ...]:
    """Find the classes of label maps, in the colours that a generator without classes sees."""
    classes = find_classes(pictures)
    if pictures[0].shape[2] == 1:  # the number of a class is its grey
        return tuple(label._replace(colour=(label.number,) * 3) for label in classes)
    if channels > 1:
        return classes
    colours = [np.array([[label.colour]], np.uint8) for label in classes]
    greys = [convert_channels(colour, 1).item() for colour in colours]
    return tuple(
        label._replace(colour=(grey,) * 3) for label, grey in zip(classes, greys, strict=True)
    )


def read_pictures(trained: TrainedRun, options: Draw) -> list[np.ndarray]:
    """Read the first held-out sources, or the photos that sources are made of, if they are here."""
    of_data = trained.data_options(options.dataset, data_dir=options.data_dir)
    known = of_data.known_dataset
    archive = options.data_dir.expanduser() / of_data.dataset
    if known and known.megabytes and not archive.is_dir():  # nothing is fetched to draw
        if options.dataset:
            raise UserError(
                f"--dataset {options.dataset}: not in {options.data_dir}; see --data-dir."
            )
        return []
    try:
        splits = find_splits(of_data)
        split = splits[choose_shown(splits)]
        return [split.read(k)[0] for k in range(min(EXAMPLES, len(split)))]
    except UserError:
        if options.dataset:
            raise
        return []


def begin_drawing(
    pixels: np.ndarray, classes: tuple[LabelClass, ...], trained: TrainedRun
) -> np.ndarray:
    """Turn a picture of the dataset into one to draw on."""
    (channels, *_), (side, *_) = stored_sides(trained.options, trained.found)
    side = replace(side, classes=classes) if classes else side
    pixels = fit_to_size(snap_to_classes(pixels, classes), trained.task.size, trained.options, side)
    values = tf.constant(to_values(pixels, channels, side))
    return to_pixels(shown_channels(trained.task.begin_drawing(values), side))


def encode(pixels: np.ndarray) -> bytes:
    """Encode pixels of 8 or 16 bits as a PNG, quickly."""
    return tf.io.encode_png(pixels, compression=1).numpy()


def describe_drawings(trained: TrainedRun, drawings: Drawings) -> dict[str, object]:
    """Return what the page has to know of a run and its drawings, as JSON holds it."""
    height, width = trained.window
    return {
        "name": trained.folder.resolve().name,
        "kind": drawings.kind,
        "width": width,
        "height": height,
        "zoom": trained.task.zoom,
        "palette": [{"name": each.name, "colour": each.colour} for each in drawings.classes],
        "examples": [f"examples/{k}.png" for k in range(len(drawings.examples))],
        "samples": bool(dropout_layers(trained.generator)),
    }

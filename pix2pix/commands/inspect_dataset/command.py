"""inspect: look at a dataset before training. What is in it, what is broken, what would be seen."""

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from image_to_image_translation import (
    find_splits,
    jitter,
    load_examples,
    load_for_jitter,
)
from pix2pix.commands.inspect_dataset.pair_checks import (
    PairMeasures,
    describe_findings,
    looks_turned_round,
    measure_pair,
)
from pix2pix.options.advice import (
    describe_changes,
    describe_direction,
    refuse_broken,
    warn_of_resizing,
    warn_of_shared_groups,
)
from pix2pix.options.found import Found
from pix2pix.options.train import DATASETS, Inspect, Train, dataset_name
from pix2pix.pairs.alignment import describe_misfit
from pix2pix.pairs.groups import BY_FOLDER, suggest_groups
from pix2pix.pairs.packs.pack_index import is_pack
from pix2pix.pairs.pair_table import refuse_existing, write_table
from pix2pix.pairs.splits import CheckedSplit, Split
from pix2pix.pairs.tasks import TASKS
from pix2pix.pictures.label_maps import find_classes
from pix2pix.pictures.panels import draw_panel
from pix2pix.pictures.picture_files import ARRAY_SUFFIXES
from pix2pix.pictures.pixels import Kind, describe_channels, shown_parts
from pix2pix.pictures.sides import LabelClass
from pix2pix.pictures.volumes.volume_files import SUFFIXES as VOLUME_SUFFIXES
from pix2pix.preparation import (
    check_layout,
    check_options,
    check_splits,
    find_common_misfit,
    pair_to_values,
    settle,
    some_pictures,
)
from pix2pix.talk.errors import UsageError, UserError, on_one_line, shorten
from pix2pix.talk.files import File, map_ahead, replace_when_complete
from pix2pix.talk.lines import say_row
from pix2pix.talk.notebook import live_output
from pix2pix.talk.progress import is_due, say_progress

DRAWS = (1, 2, 3)  # of the jitter of each pair, on the contact sheet
LEGEND_CELL = 24, 130  # height and width in pixels of a class below it
LEGEND_FONT = 14  # pixels
HINTS_AT_LABELS = {
    "source": "try --recipe vivid",
    "target": "--labels target takes it for one",
}
MOVE_THEM = "--align moves targets to where their sources say, in inspect and train"
LEAVE_OUT = "--ignore and a colour, like black, leaves such areas out of all losses and measures"
ROWS = 3  # pairs on the contact sheet, at most


@live_output()
def inspect_dataset(options: Train) -> Path:
    """Print what a dataset holds and what is broken; draw what the network would see of it.

    Return the path of that contact sheet."""
    check_options(options)
    writes_table = isinstance(options, Inspect) and options.write_csv
    if writes_table:
        check_new_table(options)
    unchecked = find_splits(options)
    measured = {name: MeasuredSplit(**vars(split)) for name, split in unchecked.items()}
    splits = check_splits(measured, options)
    problems, pairs = say_contents(splits, TASKS[options.task].unit), splits["train"]
    if not pairs.pairs:
        refuse_broken(splits, options)

    if flags := describe_changes(options):
        say_row("Options", flags)
    found = settle(options, pairs)
    say_row("Direction", describe_direction(pairs.pairs[0].files, options, found))
    warn_of_resizing(pairs.sizes, pairs.resized, options)
    say_groups(splits)
    measures = {name: measured[name].list_measures(splits[name]) for name in splits}
    say_findings(measures, options, say_misfit_of_all(pairs, options, found))
    sheet = options.run_folder.with_name(f"{options.run_folder.name}-inspect.png")
    sheet.parent.mkdir(parents=True, exist_ok=True)
    draw_panel(sheet, contact_sheet(pairs, options, found))
    add_legend(sheet, find_labels(pairs, options, found))
    say_row("Saved", f"{sheet}, what the network sees")
    if problems and not options.skip_broken:
        raise UserError(
            f"{dataset_name(options)}: {len(problems):,} broken, see above. Mend or remove them, "
            "or train without them with --skip-broken."
        )
    check_layout(pairs, options)
    if writes_table:
        by_split = {name: split.file_pairs for name, split in unchecked.items()}
        table = write_table(options.dataset, by_split)
        say_row("Saved", f"{table}, by which trainings go from now on")
    return sheet


def check_new_table(options: Train) -> None:
    """Refuse to write a table where it would not say the same as the folder."""
    is_known = options.dataset in DATASETS or options.source_dir
    is_folder = not is_known and not is_pack(Path(options.dataset))
    if not is_folder or TASKS[options.task].from_photos:
        raise UsageError("--write-csv is for a folder of your own that holds pairs: which one?")
    refuse_existing(options.dataset)


def say_contents(splits: dict[str, CheckedSplit], unit: str) -> list[str]:
    """Print what each split holds, and what is broken; return the latter."""
    for name, split in splits.items():
        about = f": {describe_pictures(split)}" if split.pairs else ""
        say_row(name, f"{len(split):,} {unit}{about}")
    problems = [problem for split in splits.values() for problem in split.problems]
    for problem in problems:
        say_row("Broken", problem)
    return problems


@dataclass(frozen=True)
class MeasuredSplit(Split):
    """A split that measures each pair when it is read, as the check does, which reads all once."""

    measures: dict[int, PairMeasures] = field(default_factory=dict)

    def read(self, k: int) -> list[np.ndarray]:
        """Read the pixels of pair k, and keep what is measured of them."""
        pictures = super().read(k)
        self.measures[k] = measure_pair(self.pairs[k].title, pictures)
        return pictures

    def list_measures(self, checked: CheckedSplit) -> list[PairMeasures]:
        """List what was measured of the sound pairs, in their order; read those of a pack now."""
        unread = [k for k in checked.numbers if k not in self.measures]
        for count, _ in enumerate(map_ahead(self.read, unread), 1):
            if is_due(count, 100, len(unread)):
                amount = f"{count:,} of {len(unread):,}"
                say_progress("Measuring", count, len(unread), amount)
        return [self.measures[k] for k in checked.numbers]


def say_groups(splits: dict[str, CheckedSplit]) -> None:
    """Print how many groups of pairs there are, or which ones folders or names suggest."""
    groups = {name: split.groups for name, split in splits.items()}
    if groups["train"]:
        say_row("Groups", ", ".join(f"{len(own):,} in {name}" for name, own in groups.items()))
        warn_of_shared_groups(splits)
        return
    paths = splits["train"].paths
    if suggested := suggest_groups(paths):
        group, counts = suggested
        name, count = counts.most_common(1)[0]
        what = "folders" if group == BY_FOLDER else "names"
        example = f"{shorten(on_one_line(name))} of {count:,}"
        say_row("Groups", f"{what} suggest {len(counts):,}, such as {example}. If each is")
        say_row("", f'a patient or building, hold out whole ones: --group "{group}"')


def say_misfit_of_all(pairs: CheckedSplit, options: Train, found: Found) -> bool:
    """Print how all targets are out of place alike, and tell whether they are."""
    if TASKS[options.task].from_photos:
        return False
    misfit = found.misfit or find_common_misfit(pairs, options)
    size, _ = pairs.sizes.most_common(1)[0]
    common = describe_misfit(misfit, size)
    if common:
        say_row("Shifted", f"all targets alike: {common}")
    return bool(common)


def say_findings(measures: dict[str, list[PairMeasures]], options: Train, is_shifted: bool) -> None:
    """Print what may spoil a training, or that there is nothing of the kind; all targets may be
    shifted alike already."""
    unit = TASKS[options.task].unit
    findings = list(describe_findings(measures, unit))
    for label, text in findings:
        say_row(label, text)
    is_shifted = is_shifted or any(label == "Shifted" for label, _ in findings)
    if is_shifted and not options.align:
        say_row("Hint", MOVE_THEM)
    if any(label == "Blank" for label, _ in findings) and not options.ignore:
        say_row("Hint", LEAVE_OUT)
    if not findings and not is_shifted:
        say_row("Checked", f"no {unit} look shifted, of one colour, or repeated outside train")
    is_chosen = options.direction or options.source_dir or options.dataset in DATASETS
    if not is_chosen and looks_turned_round(measures["train"]):
        say_row("Hint", "sources look like photos, targets like label maps or drawings;")
        say_row("", "for the other way round: --direction BtoA")


def describe_pictures(split: CheckedSplit) -> str:
    """Say what the sound pairs of a split are like: sizes, channels, bits and file formats."""
    sizes = sorted(split.sizes, key=math.prod)
    texts = [" to ".join("×".join(map(str, size)) for size in dict.fromkeys((sizes[0], sizes[-1])))]
    sides = list(zip(*split.kinds, strict=True))
    titles = ["source", "target"] if len(sides) == 2 else ["photo"]
    for title, side in zip(titles, sides, strict=True):
        kinds = [describe_kind(kind) for kind in sorted(set(side))]
        texts.append(f"{title} {' and '.join(kinds)}")
    formats: Counter[str] = Counter()
    for pair in split.pairs:
        formats.update(map(format_of, pair.files))
    return ", ".join([*texts, *(f"{count:,} {name}" for name, count in formats.items())])


def format_of(file: File) -> str:
    """Name the format of a picture file."""
    if file.suffix.lower() in ARRAY_SUFFIXES | VOLUME_SUFFIXES:
        return file.suffix[1:].upper()
    with file.open("rb") as opened, Image.open(opened) as image:
        return image.format or "unknown"


def describe_kind(kind: Kind) -> str:
    """Name channels and depth of a picture: `RGB`, or `grey 16-bit`."""
    name = describe_channels(kind.channels)
    return name if kind.bits == 8 else f"{name} {kind.bits}-bit"


def find_labels(
    split: CheckedSplit, options: Train, found: Found
) -> dict[str, tuple[LabelClass, ...]]:
    """Say which sides are label maps, trained on as such or not; return their classes."""
    if TASKS[options.task].from_photos:
        return {}
    legends = {}
    for index, (title, side) in enumerate((("source", found.source), ("target", found.target))):
        classes = side.classes or find_classes(some_pictures(split, index))
        if not classes:
            continue
        legends[title] = classes
        hint = "" if side.classes else f"; {HINTS_AT_LABELS[title]}"
        say_row("Labels", f"{title} is a label map of {len(classes)} classes{hint}")
    return legends


def add_legend(sheet: Path, legends: dict[str, tuple[LabelClass, ...]]) -> None:
    """Draw the classes of label maps below a contact sheet: the colour of each, and its name."""
    if not legends:
        return
    font, (row_height, column_width) = ImageFont.load_default(LEGEND_FONT), LEGEND_CELL
    with Image.open(sheet) as image:
        panel = image.convert("RGB")
    per_row = max(1, panel.width // column_width)
    rows = []  # of cells: a colour or none, and a text
    for title, classes in legends.items():
        cells = [(None, f"{title}:"), *((label.colour, label.name) for label in classes)]
        rows += [cells[begin : begin + per_row] for begin in range(0, len(cells), per_row)]
    whole = Image.new("RGB", (panel.width, panel.height + row_height * len(rows)), "white")
    whole.paste(panel)
    draw = ImageDraw.Draw(whole)
    for row, cells in enumerate(rows):
        for column, (colour, text) in enumerate(cells):
            left, top = column * column_width + 8, panel.height + row * row_height
            if colour:
                draw.rectangle((left, top, left + 16, top + 16), fill=colour, outline="black")
            draw.text((left + 24, top), text, "black", font)
    with replace_when_complete(sheet) as temporary:
        whole.save(temporary, "png")


def contact_sheet(split: CheckedSplit, options: Train, found: Found) -> dict[str, tf.Tensor]:
    """Return the columns of the sheet: the first pairs as they are, and several draws of each."""
    numbers = range(min(ROWS, len(split)))
    sources, targets = load_examples(split, numbers, options, found)
    columns = shown_parts("Source", sources, found.source)
    columns |= shown_parts("Target", targets, found.target)
    for draw in DRAWS:
        drawn = []
        for k in numbers:
            pictures = load_for_jitter(split, k, options, found)
            values = list(map(tf.constant, pair_to_values(pictures, options, found)))
            drawn.append(jitter(values, options, found, [draw, k]))
        sources, targets = zip(*drawn, strict=True)
        drawn_parts = shown_parts("source", np.stack(sources), found.source)
        drawn_parts |= shown_parts("target", np.stack(targets), found.target)
        columns |= {f"Draw {draw}, {title}": values for title, values in drawn_parts.items()}
    return columns

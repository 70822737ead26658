"""pairs.csv: which files belong together, where folders and names cannot say it; and the group, the
weight and the split of each pair.

The file may be a stranger's: it can name nothing outside its own folder.
"""

import csv
import io
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath

from pix2pix.pairs.file_pairs import SPLITS, FilePair, FoundPairs
from pix2pix.talk.errors import UserError, first_line, shorten
from pix2pix.talk.files import write_text

TABLE = "pairs.csv"
SOURCE = re.compile(r"source(_[1-9][0-9]*)?")  # source, source_2, source_3, …: one after the other


# --- Reading --------------------------------------------------------------------------------------


def find_table(root: Path) -> Path | None:
    """Return the pairs.csv of a folder, if it has one that names sources or targets."""
    table = root / TABLE
    if not table.is_file():
        return None
    _, first = next(read_rows(table), (0, {}))
    return table if first.keys() & {"source", "target"} else None


def read_rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a table, by the names of the columns, each with the number of its line."""
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, restkey="", restval="", strict=True)
            for row in rows:
                texts = {name.strip(): text.strip() for name, text in row.items() if name}
                yield rows.line_num, texts
    except (OSError, UnicodeError, csv.Error) as error:
        raise UserError(f"{table}: is no table in UTF-8 ({first_line(error)}).") from error


def read_table(table: Path, photos: bool) -> dict[str, FoundPairs[FilePair]]:
    """Read the pairs of a table by their splits or, with `photos`, only the target of each.

    A row without a target is one picture that holds both, side by side."""
    found = {split: FoundPairs[FilePair]() for split in SPLITS}
    for line, row in read_rows(table):
        where, split = f"{table}, line {line}", row.get("split") or "train"
        if split not in SPLITS:
            raise UserError(f"{where}: split is {shorten(split)}, not {' or '.join(SPLITS)}.")
        names = [text for name, text in row.items() if SOURCE.fullmatch(name) and text]
        if row.get("target"):
            names.append(row["target"])
        if not names:
            raise UserError(f"{where}: names no picture.")
        names = names[-1:] if photos else names
        files = tuple(table.parent / checked_name(name, where) for name in names)
        missing = [name for name, file in zip(names, files, strict=True) if not file.exists()]
        if missing:
            found[split].problems.append(f"{where}: there is no {' or '.join(missing)}")
            continue
        side_by_side = len(files) == 1 and not photos
        weight, place = read_weight(row.get("weight", ""), where), PurePath(names[0]).as_posix()
        pair = FilePair(files, side_by_side, place, row.get("group", ""), weight)
        found[split].pairs.append(pair)
    if not any(pair.weight for pair in found["train"].pairs):
        raise UserError(f"{table}: has no pairs to train on, or all of weight 0.")
    return {split: there for split, there in found.items() if there}


def checked_name(name: str, where: str) -> str:
    """Return the name of a file, unless it leads out of the folder of the table."""
    path = PurePath(name)
    if path.anchor or ".." in path.parts:
        raise UserError(f"{where}: {shorten(name)} is not below the folder of the table.")
    return name


def read_weight(text: str, where: str) -> float:
    """Return how often a pair is drawn, next to one of weight 1."""
    try:
        weight = float(text or 1)
    except ValueError:
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise UserError(f"{where}: weight is {shorten(text)}, not a number from 0 on.")
    return weight


# --- Writing --------------------------------------------------------------------------------------


def write_table(splits: Mapping[str, Sequence[FilePair]]) -> Path:
    """Write the table that says the same as the folders of some pairs; return where it is.

    It comes into the innermost folder that holds all of them."""
    pairs = [(split, pair) for split, there in splits.items() for pair in there]
    root = Path(os.path.commonpath([file.parent for _, pair in pairs for file in pair.files]))
    table = root / TABLE
    if table.exists():
        raise UserError(f"{table}: is there already. Edit it, or give it another name first.")
    sources = max(1, len(pairs[0][1].files) - 1)
    names = ["source", *(f"source_{number}" for number in range(2, sources + 1))]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, "target", "group", "weight", "split"])
    for split, pair in pairs:
        files = [file.relative_to(root).as_posix() for file in pair.files]
        if len(files) == 1:
            files = [*files, ""] if pair.side_by_side else ["", *files]
        writer.writerow([*files, pair.group, f"{pair.weight:g}", split])
    write_text(table, text.getvalue())
    return table

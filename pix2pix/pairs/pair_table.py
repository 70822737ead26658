"""pairs.csv: which files belong together, where folders and names cannot say it; and the group, the
weight and the split of each pair.

The file may be a stranger's: no path in it may lead up, out of its own folder.
"""

import csv
import io
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from pix2pix.pairs.file_pairs import SPLITS, FilePair, FoundPairs
from pix2pix.pairs.packs.packed_file import PackedFile
from pix2pix.talk.errors import UserError, first_line, on_one_line, shorten
from pix2pix.talk.files import write_text
from pix2pix.talk.lines import say_row

TABLE = "pairs.csv"
NEEDED = {"source", "target"}  # columns, by which a file of this name is known to be for us
SOURCE = re.compile(r"source(?:_([1-9][0-9]*))?")  # source, source_2, source_3, …
HEADER_BYTES = 10_000  # at most
HEAVIEST = 1e6


# --- Reading --------------------------------------------------------------------------------------


def find_table(root: Path) -> Path | None:
    """Return the pairs.csv of a folder, if it has one with a source and a target; say so."""
    table = root / TABLE
    if not table.is_file():
        return None
    with open(table, "rb") as file:
        header = file.readline(HEADER_BYTES).decode("utf-8-sig", errors="replace")
    names = [name.strip() for name in next(csv.reader([header]), [])]
    if set(names) >= NEEDED:
        say_row("Pairs", f"as {table} says")
        return table
    if set(re.findall(r"[a-z]+", header.lower())) >= NEEDED:
        what = "its columns are not named source and target, with commas between them"
        say_row("Careful", f"{table} is not used: {what}")
    return None


def read_rows(table: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the rows of a table by the names of their columns, each with where it is."""
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, restkey="", restval="", strict=True)
            for row in rows:
                texts = {name.strip(): text.strip() for name, text in row.items() if name}
                yield f"{table}, line {rows.line_num}", texts
    except (OSError, UnicodeError, csv.Error) as error:
        raise UserError(f"{table}: is no table in UTF-8 ({first_line(error)}).") from error


def read_table(table: Path, photos: bool) -> dict[str, FoundPairs[FilePair]]:
    """Read the pairs of a table by their splits or, with `photos`, only the target of each.

    Where no row has a target, each source is a picture that holds both, side by side."""
    in_halves = not any(row["target"] for _, row in read_rows(table))
    pairs: dict[str, list[FilePair]] = {split: [] for split in SPLITS}
    problems: dict[str, list[str]] = {split: [] for split in SPLITS}
    for where, row in read_rows(table):
        split = row.get("split") or "train"
        if split not in SPLITS:
            raise UserError(f"{where}: split is {shorten(split)}, not {' or '.join(SPLITS)}.")
        weight = read_weight(row.get("weight", ""), where)
        names = [*sources_of(row), row["target"]]
        if photos or in_halves:
            names = names[-1:] if row["target"] else names[:1]
        problem = find_problem(names, table.parent)
        if problem:
            problems[split].append(on_one_line(f"{where}: {problem}"))
        elif weight > 0:
            files = tuple(table.parent / name for name in names)
            side_by_side, path = in_halves and not photos, PurePath(names[0]).as_posix()
            pair = FilePair(files, side_by_side, path, row.get("group", ""), weight)
            pairs[split].append(pair)
    if not pairs["train"]:
        first = next(iter(problems["train"]), "no row is of the split train")
        raise UserError(f"{table}: has no pairs to train on ({first}).")
    found = {split: FoundPairs(pairs[split], problems[split]) for split in SPLITS}
    complete_groups(found)
    return {split: there for split, there in found.items() if there}


def sources_of(row: dict[str, str]) -> list[str]:
    """Return what a row names as sources, in the order of their numbers; at least one text."""
    numbered = {}
    for name, text in row.items():
        if match := SOURCE.fullmatch(name):
            numbered[int(match[1] or 1)] = text
    further = [numbered[number] for number in sorted(numbered) if number > 1]
    return [numbered[1], *filter(None, further)]


def find_problem(names: Sequence[str], root: Path) -> str:
    """Say what is wrong with the files of a pair; nothing if they are there."""
    if not all(names):
        return "lacks a source or a target"
    for name in names:
        path = PurePath(name)
        if path.anchor or ".." in path.parts:
            return f"{shorten(name)} is not below the folder of the table"
        if not os.path.exists(root / name):
            hint = "; folders are separated by /" if "\\" in name else ""
            return f"there is no {shorten(name)}{hint}"
    return ""


def read_weight(text: str, where: str) -> float:
    """Return how often a pair is drawn, next to one of weight 1; 0: never."""
    try:
        weight = float(text or 1)
    except ValueError:
        weight = math.nan
    if not 0 <= weight <= HEAVIEST:
        raise UserError(f"{where}: weight is {shorten(text)}, not from 0 to {HEAVIEST:,.0f}.")
    return weight


def complete_groups(found: Mapping[str, FoundPairs[FilePair]]) -> None:
    """Where some pairs have a group, make each of the others one of its own."""
    if any(pair.group for there in found.values() for pair in there.pairs):
        for there in found.values():
            there.pairs = [replace(pair, group=pair.group or pair.path) for pair in there.pairs]


# --- Writing --------------------------------------------------------------------------------------


def refuse_existing(folder: str) -> None:
    """Refuse to write a table where there is one."""
    table = Path(folder, TABLE)
    if table.exists():
        raise UserError(f"{table}: is there already. Edit it, or give it another name first.")


def write_table(folder: str, splits: Mapping[str, Sequence[FilePair]]) -> Path:
    """Write the table that says the same as the folders below some folder; return where it is."""
    pairs = [(split, pair) for split, there in splits.items() for pair in there]
    count = max(1, len(pairs[0][1].files) - 1)
    sources = ["source", *(f"source_{number}" for number in range(2, count + 1))]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*sources, "target", "group", "weight", "split"])
    rows = []
    for split, pair in pairs:
        paths = [file for file in pair.files if not isinstance(file, PackedFile)]
        files = [path.relative_to(folder).as_posix() for path in paths]
        files += [""] if pair.side_by_side else []
        rows.append((*files, pair.group, f"{pair.weight:g}", split))
    writer.writerows(dict.fromkeys(rows))  # the slices of a volume are in one row
    write_text(Path(folder, TABLE), text.getvalue())
    return Path(folder, TABLE)

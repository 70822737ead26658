"""Tables of numbers as CSV files, which grow by a row at a time. The first column is the step."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from pix2pix.talk.files import write_text


def begin_table(path: Path, columns: Sequence[str], step: int) -> None:
    """Begin a table, or go on with one: without the rows written after a step, or half-written.

    Rows from before a column existed stay empty there."""
    rows = []
    if path.exists():
        *lines, _ = path.read_text().split("\n")  # the last one has no end, so it is empty or half
        names, *old = csv.reader(lines) if lines else [[]]
        known = [dict(zip(names, row, strict=False)) for row in old]
        rows = [row for row in known if row.get("step", "").isdigit() and int(row["step"]) <= step]
    lines = [",".join(row.get(name, "") for name in columns) for row in rows]
    write_text(path, "\n".join([",".join(columns), *lines, ""]))


def add_row(path: Path, step: int, values: Sequence[float]) -> None:
    """Add a row to a table."""
    with open(path, "a") as file:
        file.write(",".join([str(step), *(f"{value:.6g}" for value in values)]) + "\n")


def read_columns(path: Path) -> dict[str, list[float]]:
    """Read a table as a dictionary of its columns; what is empty is no number.

    A row that is half-written, as by a run that was killed, is left out."""
    *lines, _ = path.read_text().split("\n")
    names, *rows = csv.reader(lines) if lines else [["step"]]
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return {
        name: [float(cell) if cell else math.nan for cell in column]
        for name, column in zip(names, columns, strict=True)
    }

"""index.html of a run folder: in a browser, how its training goes, or how some trainings went."""

import json
import math
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from pix2pix.runs.pages import fill_page, to_script
from pix2pix.runs.symptoms import SYMPTOMS, read_warnings
from pix2pix.runs.tables import read_columns
from pix2pix.talk.errors import UserError
from pix2pix.talk.files import explain_unwritten, lock_folder, write_text
from pix2pix.talk.lines import say_row

Run = dict[str, object]  # of what pages/runs.html shows of a run

POINTS = 400  # of a curve at most, about as many as a screen has pixels for it
NEWS, CALL = "progress.js", "showRuns"  # a file, and the function of the page that it calls
TIME_SHARE = 1 / 200  # of a training, that writing its page may take
LINKS = {  # in a run folder, and what they are called
    "results/index.html": "results",
    "export/README.md": "exports",
    "generator.keras": "generator.keras",
    "best.keras": "best.keras",
    "metrics.csv": "metrics.csv",
    "validation.csv": "validation.csv",
}
PREVIEW = re.compile(r"step-(\d+)\.png")


def describe_run(
    folder: Path, page: Path, options: dict, defaults: dict, step: int | None = None
) -> Run:
    """Gather what a page shows of a run: its tables, previews, warnings, files and options.

    `page` is the folder that the page will be in; without a step, the newest in the tables or
    previews counts."""
    metrics, validation = (thin_table(folder / name) for name in ("metrics.csv", "validation.csv"))
    previews = find_previews(folder)
    if step is None:
        step = max([0, *metrics["step"][-1:], *previews])
    return {
        "name": folder.resolve().name,
        "state": "finished" if step >= options["steps"] else "",  # or nobody knows
        "step": step,
        "total": options["steps"],
        "metrics": metrics,
        "validation": validation,
        "previews": [
            {"step": k, "file": address(file, page)} for k, file in previews.items() if k <= step
        ],
        "warnings": describe_warnings(folder),
        "links": find_links(folder, page),
        "options": {
            name: {"value": to_text(options.get(name)), "default": to_text(default)}
            for name, default in defaults.items()
        },
    }


def find_previews(folder: Path) -> dict[int, Path]:
    """Find the previews of a run, by their steps."""
    files = sorted(folder.glob("previews/*.png"))
    found = [(PREVIEW.fullmatch(file.name), file) for file in files]
    return {int(match[1]): file for match, file in found if match}


def find_links(folder: Path, page: Path) -> list[tuple[str, str]]:
    """Return what a page leads to in a run folder: what it is called, and where it is."""
    found = [(title, folder / name) for name, title in LINKS.items() if (folder / name).exists()]
    return [(title, address(path, page)) for title, path in found]


def address(path: Path, page: Path) -> str:
    """Return where a page in a folder finds a file."""
    return quote(Path(os.path.relpath(path, page)).as_posix())


def to_text(value: object) -> str:
    """Say the value of an option as it is typed."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def thin_table(path: Path) -> dict[str, list]:
    """Read a table, if it is there, and take means of neighbouring rows, so that not too many are
    left."""
    columns = read_columns(path) if path.exists() else {"step": []}
    count = math.ceil(len(columns["step"]) / POINTS) or 1
    thinned = {name: means_of(values, count) for name, values in columns.items()}
    last = [values[-1] for values in in_groups(columns["step"], count)]
    return thinned | {"step": [int(step) for step in last]}


def means_of(values: list[float], count: int) -> list[float | None]:
    """Return the means of each so many values; None where one is no number."""
    means = [math.fsum(group) / len(group) for group in in_groups(values, count)]
    return [float(f"{mean:.6g}") if math.isfinite(mean) else None for mean in means]


def in_groups(values: list[float], count: int) -> list[list[float]]:
    """Cut values into groups of so many; the last one may have fewer."""
    return [values[k : k + count] for k in range(0, len(values), count)]


def describe_warnings(folder: Path) -> list[dict[str, object]]:
    """Return what a training was warned of: step, text, and the section of docs/TROUBLE.md."""
    return [
        {"step": step, "text": SYMPTOMS[name].text, "section": SYMPTOMS[name].section}
        for name, step in read_warnings(folder).items()
    ]


class RunPage:
    """The page of a training: index.html, and progress.js with what is newer.

    A browser may load nothing but scripts where it shows index.html from the disk."""

    def __init__(self, folder: Path, defaults: dict) -> None:
        self.folder, self.defaults = folder, defaults
        self.written, self.cost = -math.inf, 0.0  # when, and how many seconds that took
        self.seconds_left: int | None = None
        self.seconds_between = 0.0  # the latter at most, so far
        self.failed = False

    def go_on(self, step: int, seconds_left: float) -> None:
        """Write the page unless that would take too much of the time."""
        self.seconds_left = round(seconds_left)
        if time.monotonic() - self.written > self.cost / TIME_SHARE:
            self.write(step, "training")

    def write(self, step: int, state: str) -> None:
        """Write the page of a run that is `training`, `stopped` or `finished`; a training goes on
        without it."""
        start = time.monotonic()
        if math.isfinite(self.written):
            self.seconds_between = max(self.seconds_between, start - self.written)
        options = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        run = describe_run(self.folder, self.folder, options, self.defaults, step)
        run |= {"state": state, "seconds_left": self.seconds_left}
        run |= {"seconds_between": round(self.seconds_between, 1)}
        try:
            write_page(self.folder, run)
        except OSError as error:
            if not self.failed:
                say_row("Careful", str(explain_unwritten(self.folder / "index.html", error)))
            self.failed = True
        self.written, self.cost = start, time.monotonic() - start


def write_page(folder: Path, run: Run) -> None:
    """Write both files of the page of a run."""
    run = run | {"written": round(time.time(), 2)}
    write_text(folder / NEWS, f"{CALL}({to_script([run])});\n")
    write_text(folder / "index.html", fill_page("runs.html", [run]))


def renew_links(folder: Path) -> None:
    """Let the page of a run, if it has one, lead to what evaluate or export has just written; a
    training that goes on does so itself."""
    if not (folder / NEWS).exists():
        return
    with suppress(OSError, UserError, ValueError), lock_folder(folder, "a training goes on"):
        news = (folder / NEWS).read_text(encoding="utf-8").strip()
        (run,) = json.loads(news.removeprefix(f"{CALL}(").removesuffix(");"))
        write_page(folder, run | {"links": find_links(folder, folder)})

"""compare: the curves, previews and options of several runs on one page."""

from pathlib import Path

from pix2pix.options.commands import Compare
from pix2pix.options.saved import read_options, to_saved
from pix2pix.options.train import Train, places_of_run
from pix2pix.runs.pages import fill_page
from pix2pix.runs.run_page import describe_run
from pix2pix.talk.errors import UsageError, UserError
from pix2pix.talk.files import explain_unwritten, write_text
from pix2pix.talk.lines import say_row


def compare(options: Compare) -> Path:
    """Write the page and return its path."""
    named = options.runs if isinstance(options.runs, tuple) else (options.runs,)
    if len(named) < 2:
        raise UsageError("compare wants two runs or more, by their names or folders.")
    page, defaults = options.output, to_saved(Train())
    runs = []
    for run in named:
        folder = find_folder(run)
        saved = to_saved(read_options(folder / "config.json"))
        runs.append(describe_run(folder, page.parent, saved, defaults))
    if len({run["name"] for run in runs}) < len(runs):
        runs = [run | {"name": str(path)} for run, path in zip(runs, named, strict=True)]
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        write_text(page, fill_page("runs.html", runs))
    except OSError as error:
        raise explain_unwritten(page, error) from error
    say_row("Saved", str(page))
    return page


def find_folder(run: Path) -> Path:
    """Return the folder of a run by its path or its name."""
    for folder in places_of_run(run):
        if (folder / "config.json").is_file():
            return folder
    raise UserError(f"{run}: no such run; name its folder, or a run in {Train.output}.")

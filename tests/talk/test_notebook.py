"""What a cell shows while a training runs, and what commands return to it."""

import io
import signal
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pix2pix.commands.evaluate.report import Report
from pix2pix.commands.translate.picture_files import PictureFiles
from pix2pix.runs.run_folder import RunFolder, draw_curves
from pix2pix.talk import notebook
from pix2pix.talk.errors import UserError
from pix2pix.talk.lines import say, say_for_now


class Handle:
    """The place of a display in a notebook; it notes what is shown there."""

    def __init__(self) -> None:
        self.shown = []

    def update(self, bundle: dict[str, str], raw: bool) -> None:
        assert raw
        self.shown.append(bundle)


@pytest.fixture
def cell(monkeypatch, _in_notebook) -> Handle:
    """A cell of a notebook that has not run yet."""
    handle, displays = Handle(), []

    def display(bundle, raw, display_id):
        displays.append(bundle)
        assert raw
        assert display_id
        assert len(displays) == 1  # one output for a cell
        return handle

    monkeypatch.setattr("IPython.display.display", display)
    return handle


def make_png(path: Path, colour: str, size: tuple[int, int] = (4, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def test_all_that_is_said_is_one_output_of_the_cell(cell):
    with notebook.live_output():
        say("one & two")
        say_for_now("half done")
        assert cell.shown[-1]["text/plain"] == "one & two\nhalf done"
        say_for_now("nearly done")
        assert cell.shown[-1]["text/plain"] == "one & two\nnearly done"
        say("done")
    assert cell.shown[-1]["text/plain"].rstrip() == "one & two\ndone"
    assert "one &amp; two" in cell.shown[-1]["text/html"]
    assert not isinstance(sys.stdout, notebook.LiveOutput)


def test_only_the_last_lines_are_shown(cell):
    with notebook.live_output():
        for number in range(1, 31):
            say(f"line {number}")
    assert cell.shown[-1]["text/plain"].split("\n")[:2] == ["line 21", "line 22"]


def test_a_preview_takes_the_place_of_the_one_before(cell, tmp_path):
    first, second = make_png(tmp_path / "1.png", "red"), make_png(tmp_path / "2.png", "blue")
    with notebook.live_output():
        notebook.show_inline(first)
        before = cell.shown[-1]["text/html"]
        notebook.show_inline(second)
    after = cell.shown[-1]["text/html"]
    assert before.count("<img") == after.count("<img") == 1
    assert before != after


def test_curves_are_drawn_now_and_then(cell, tmp_path, monkeypatch):
    path = tmp_path / "metrics.csv"
    path.write_text("step,generator_gan,generator_l1,discriminator\n1,0.5,0.3,0.7\n2,0.6,0.2,0.6\n")
    draw = partial(draw_curves, path)
    with notebook.live_output():
        notebook.show_curves(draw)
        assert cell.shown[-1]["text/html"].count("<img") == 1
        count = len(cell.shown)
        notebook.show_curves(draw)
        assert len(cell.shown) == count  # too early
        monkeypatch.setattr(notebook, "CURVES_EVERY", 0)
        notebook.show_curves(draw)
        assert len(cell.shown) == count + 1
        monkeypatch.setattr(notebook, "CURVES_EVERY", 10)
        path.write_text(path.read_text() + "3,0.5,0.1,0.5\n")
        notebook.show_curves(draw)
        before = cell.shown[-1]
    assert cell.shown[-1] != before  # the last ones come when all is done


def test_outside_a_notebook_nothing_is_shown(tmp_path, capsys):
    with notebook.live_output():
        say("plain")
        notebook.show_inline(tmp_path / "not there.png")
        notebook.show_curves(partial(draw_curves, tmp_path / "not there.csv"))
    assert capsys.readouterr().out == "plain\n"


def test_a_run_is_its_folder_its_losses_and_its_newest_preview(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,generator_l1\n100,0.5\n200,0.25\n")
    for step, colour in ((0, "red"), (100, "green"), (20, "blue")):
        make_png(tmp_path / f"previews/step-{step:06}.png", colour)
    run = RunFolder(tmp_path)
    assert Path(run) == run.folder == tmp_path
    assert run / "metrics.csv" == tmp_path / "metrics.csv"
    assert run.losses == {"step": [100, 200], "generator_l1": [0.5, 0.25]}
    assert run.preview.getpixel((0, 0)) == (0, 128, 0)
    assert run.exit_status == 0
    assert RunFolder(tmp_path, signal.SIGINT).exit_status == 130


def test_the_newest_preview_is_that_of_the_last_step(tmp_path):
    for step, colour in ((999_000, "red"), (1_000_000, "blue")):
        make_png(tmp_path / f"previews/step-{step:06}.png", colour)
    assert RunFolder(tmp_path).preview.getpixel((0, 0)) == (0, 0, 255)


def test_an_error_is_one_line_in_a_notebook():
    assert UserError("what and how")._render_traceback_() == ["error: what and how"]


def test_a_run_without_a_log_line_has_empty_columns(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,generator_l1\n")
    assert RunFolder(tmp_path).losses == {"step": [], "generator_l1": []}


def test_results_are_shown_as_a_contact_sheet(tmp_path):
    colours = ["red", "lime", "blue", "white", "black"]
    files = [make_png(tmp_path / f"{c}.png", c, (300, 300)) for c in colours]
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"")
    png = PictureFiles([video, *files])._repr_png_()
    sheet = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    assert sheet.shape == (2 * 192, 4 * 192, 3)
    assert sheet[10, 200].tolist() == [0, 255, 0]  # the second of the first row
    assert sheet[200, 10].tolist() == [0, 0, 0]  # the first of the second
    assert PictureFiles([video])._repr_png_() is None
    np.save(tmp_path / "measured.npy", np.zeros((4, 4, 5), np.float32))
    assert PictureFiles([tmp_path / "measured.npy"])._repr_png_() is None


def test_a_report_is_a_table_and_its_folder(tmp_path):
    report = Report(tmp_path, {"l1": 0.123456, "psnr": 12.0})
    assert Path(report) == tmp_path
    assert report / "index.html" == tmp_path / "index.html"
    assert "<th>l1</th><td>0.1235</td>" in report._repr_html_()

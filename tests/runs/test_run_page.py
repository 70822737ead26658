"""The page of a run: what it shows, and how often it is written."""

import json
import re

import pytest

from pix2pix.runs import run_page
from pix2pix.runs.pages import fill_page, to_script
from pix2pix.runs.run_page import POINTS, RunPage, describe_run, renew_links, thin_table
from pix2pix.runs.symptoms import SYMPTOMS
from pix2pix.talk.files import lock_folder

OPTIONS = {"steps": 40, "seed": 1, "augment": ["rotate", "scale"], "name": None}
DEFAULTS = {"steps": 40_000, "seed": 0, "augment": [], "name": None}


@pytest.fixture
def folder(tmp_path):
    """A run folder with losses, two previews and a warning."""
    folder = tmp_path / "a run"
    (folder / "previews").mkdir(parents=True)
    for step in (0, 20):
        (folder / "previews" / f"step-{step:06}.png").touch()
    (folder / "metrics.csv").write_text("step,discriminator\n10,0.5\n20,0.25\n")
    (folder / "validation.csv").write_text("step,l1,grid\n20,0.125,\n")
    warned = "step 20 grid: there is a grid: docs/TROUBLE.md#a-checkerboard-pattern\n"
    (folder / "warnings.txt").write_text(warned)
    (folder / "generator.keras").touch()
    (folder / "config.json").write_text(json.dumps(OPTIONS))
    return folder


def content_of(page: str) -> list[dict]:
    """What a page shows."""
    return json.loads(re.search(r"let runs = (.*);", page)[1])


def test_what_is_half_written_or_no_preview_is_left_out(folder, tmp_path):
    (folder / "previews" / "step-000020 copy.png").touch()
    with open(folder / "metrics.csv", "a") as file:
        file.write("30,0.1")
    (folder / "validation.csv").write_text("")
    run = describe_run(folder, tmp_path, OPTIONS, DEFAULTS)
    assert [preview["step"] for preview in run["previews"]] == [0, 20]
    assert run["metrics"]["step"] == [10, 20]
    assert run["validation"] == {"step": []}


def test_results_are_linked_once_they_are_there(folder):
    renew_links(folder)
    assert not (folder / "index.html").exists()  # only where a training has written one
    RunPage(folder, DEFAULTS).write(25, "stopped")
    (folder / "results").mkdir()
    (folder / "results" / "index.html").touch()
    with lock_folder(folder, "a training"):
        renew_links(folder)
    assert "results/index.html" not in (folder / "index.html").read_text()
    renew_links(folder)
    (run,) = content_of((folder / "index.html").read_text())
    assert ["results", "results/index.html"] in run["links"]
    assert (run["state"], run["step"]) == ("stopped", 25)
    (folder / "progress.js").write_text("nonsense")
    renew_links(folder)
    assert content_of((folder / "index.html").read_text()) == [run]


def test_what_an_attempt_left_that_came_to_nothing_is_not_shown(folder):
    RunPage(folder, DEFAULTS).write(0, "training")
    (run,) = content_of((folder / "index.html").read_text())
    assert (run["step"], [preview["step"] for preview in run["previews"]]) == (0, [0])


def test_a_training_goes_on_where_its_page_cannot_be_written(folder, monkeypatch, capsys):
    def write(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_page, "write_text", write)
    page = RunPage(folder, DEFAULTS)
    page.write(10, "training")
    page.write(20, "training")
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("No space left on device") == 1
    assert str(folder / "index.html") in said


def test_what_is_known_of_a_run(folder, tmp_path):
    run = describe_run(folder, tmp_path, OPTIONS, DEFAULTS)
    assert (run["name"], run["step"], run["total"]) == ("a run", 20, 40)
    assert run["metrics"] == {"step": [10, 20], "discriminator": [0.5, 0.25]}
    assert run["validation"] == {"step": [20], "l1": [0.125], "grid": [None]}
    assert run["previews"][1] == {"step": 20, "file": "a%20run/previews/step-000020.png"}
    assert run["warnings"] == [
        {"step": 20, "text": SYMPTOMS["grid"].text, "section": "a-checkerboard-pattern"}
    ]
    links = dict(run["links"])
    assert links["generator.keras"] == "a%20run/generator.keras"
    assert "results" not in links
    assert run["options"]["augment"] == {"value": "rotate scale", "default": ""}


def test_long_curves_are_thinned_to_means(tmp_path):
    table, count = tmp_path / "table.csv", 3 * POINTS
    rows = [f"{step},{x}" for step, x in enumerate([0, 3, 6] * POINTS, 1)]
    table.write_text("\n".join(["step,x", *rows, ""]))
    thinned = thin_table(table)
    assert thinned["step"] == list(range(3, count + 1, 3))
    assert thinned["x"] == [3.0] * POINTS
    table.write_text("\n".join(["step,x", *rows[:-1], ""]))  # the last one is of two rows
    assert thin_table(table)["step"][-1] == count - 1
    assert thin_table(table)["x"][-1] == 1.5
    table.write_text("step,x\n1,\n")
    assert thin_table(table) == {"step": [1], "x": [None]}
    assert thin_table(tmp_path / "nowhere.csv") == {"step": []}


def test_text_in_a_page_cannot_end_its_script(folder):
    hostile = {"</script><script>alert(1)</script>": "<!--"}
    assert "<" not in to_script(hostile)
    assert json.loads(to_script(hostile)) == hostile
    assert fill_page("runs.html", [hostile]).count("<script>") == 1


def test_a_page_is_written_with_its_news_beside_it(folder):
    RunPage(folder, DEFAULTS).write(20, "finished")
    (run,) = content_of((folder / "index.html").read_text())
    assert (run["state"], run["step"]) == ("finished", 20)
    news = re.fullmatch(r"showRuns\((.*)\);\n", (folder / "progress.js").read_text())[1]
    assert json.loads(news) == [run]
    assert not list(folder.glob(".partial-*"))


def test_a_page_takes_little_of_the_time(folder, monkeypatch):
    now = [100.0]

    def write(path, text):
        now[0] += 0.5  # one second for both files

    monkeypatch.setattr(run_page.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(run_page, "write_text", write)
    page = RunPage(folder, DEFAULTS)
    page.go_on(20, 60)
    assert now[0] == 101
    now[0] = 299
    page.go_on(20, 60)
    assert now[0] == 299  # 200 seconds after the last time at the earliest
    now[0] = 301
    page.go_on(20, 60)
    assert now[0] == 302

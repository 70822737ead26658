"""The page of a run in a browser, opened from the disk: previews, curves, news while it trains."""

import json
import time

import numpy as np
import pytest
from PIL import Image

from pix2pix.runs.pages import fill_page, to_script
from pix2pix.runs.run_page import describe_run

STEPS = (0, 1000, 2000)
OPTIONS = {"steps": 4000, "seed": 1, "l1_weight": 100.0}
DEFAULTS = {"steps": 40_000, "seed": 0, "l1_weight": 100.0}


@pytest.fixture
def run(tmp_path) -> dict[str, object]:
    """What a page is told of a run that is being trained."""
    folder = tmp_path / "run"
    (folder / "previews").mkdir(parents=True)
    for step in STEPS:
        pixels = np.full((8, 24, 3), step // 10, np.uint8)
        Image.fromarray(pixels).save(folder / "previews" / f"step-{step:06}.png")
    rows = [f"{step},{1 / (step + 1):.4g},{step / 1000}" for step in range(100, 2001, 100)]
    head = "step,generator_l1,discriminator"
    (folder / "metrics.csv").write_text("\n".join([head, *rows, ""]))
    (folder / "validation.csv").write_text("step,l1\n1000,0.5\n2000,0.25\n")
    (folder / "config.json").write_text(json.dumps(OPTIONS))
    return describe_run(folder, folder, OPTIONS, DEFAULTS)


@pytest.fixture
def visit(open_tab, tmp_path):
    """Open a page of runs from the disk."""

    def open_page(*runs, **options):
        path = tmp_path / "run" / "index.html"
        path.write_text(fill_page("runs.html", list(runs)))
        return open_tab(path.as_uri(), **options)

    return open_page


def preview_of(page) -> str:
    return page.get_attribute("#previews img", "src")


def test_all_previews_are_gone_through(run, visit):
    page = visit(run)
    assert preview_of(page) == "previews/step-002000.png"  # the newest
    assert page.inner_text("output") == "step 2,000"
    page.focus("#step")
    page.keyboard.press("ArrowLeft")
    assert preview_of(page) == "previews/step-001000.png"
    page.keyboard.press("Home")
    assert preview_of(page) == "previews/step-000000.png"
    assert page.evaluate("document.querySelector('#previews img').naturalWidth") == 24
    page.click("text=Play")
    page.wait_for_function("document.querySelector('output').textContent === 'step 2,000'")


def test_curves_tell_their_values(run, visit):
    page = visit(run)
    shown = page.locator(".chart:visible h4").all_inner_texts()
    assert shown == ["Generator: L1, values from -1 to 1", "Discriminator", "L1 ↓"]
    chart = page.locator(".chart:visible").nth(1)
    assert chart.locator(".values").inner_text() == "D 2"
    chart.locator("> svg").focus()
    for _ in range(50):  # by a hundredth each
        page.keyboard.press("ArrowLeft")
    assert chart.locator(".values").inner_text() == "D 1"
    assert "D 1" in chart.locator("> svg").get_attribute("aria-label")
    page.check("#log")
    assert chart.locator("text").all_text_contents()[:2] == ["0.1", "0.2"]


def test_options_that_differ_from_the_defaults_are_bold(run, visit):
    page = visit(run)
    assert page.locator("#options .changed").all_inner_texts() == ["steps", "4000", "seed", "1"]
    assert page.locator("#options tbody tr").count() == 2
    page.check("#all")
    assert page.locator("#options tbody tr").count() == 3


def test_it_brings_itself_up_to_date_from_the_disk(run, visit, tmp_path):
    page = visit(run | {"state": "training", "seconds_left": 600, "written": time.time()})
    assert "10 min left" in page.inner_text("#state")
    newer = run | {"step": 3000, "state": "finished"}
    (tmp_path / "run" / "progress.js").write_text(f"showRuns({to_script([newer])});")
    page.wait_for_function("get('#state').textContent.includes('finished: 3,000')", timeout=20_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_two_runs_fit_on_a_phone(run, visit, scheme):
    other = run | {"name": "another", "options": run["options"] | {
        "seed": {"value": "7", "default": "0"}
    }}  # fmt: skip
    page = visit(run, other, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.inner_text("h1") == "run and another"
    assert page.locator("#options tbody th").all_inner_texts() == ["seed"]
    assert page.locator("#previews img").count() == 2

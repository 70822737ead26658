"""The page of results, where there are many."""

import dataclasses

from conftest import make_run
from helpers import evaluate

import image_to_image_translation as script
from pix2pix.commands.evaluate.report import page_content, rows_with_pictures
from pix2pix.commands.open_run import open_run


def test_a_page_of_many_pairs_shows_the_worst_and_the_best(small, tmp_path):
    trained = open_run(make_run(tmp_path / "run", small))
    splits = script.find_splits(small)
    rows = [{"number": k, "name": str(k), "ssim": (k * 7 % 230) / 230} for k in range(230)]
    shown, titles = rows_with_pictures(rows, trained, splits["train"])
    ranks = [round(230 * row["ssim"]) for row in shown]
    assert ranks == [*range(100), *range(130, 230)]
    summary = {"pairs": rows, "size": (32, 32), "run": "r", "split": "val", "step": 1}
    page = page_content(summary | {"warnings": [], "mean": {}}, shown, titles, "")
    assert page["titles"] == ["Input", "Ground truth", "Prediction"]
    assert len(page["rows"][0]["pictures"]) == 3
    assert page["left_out"] == "Only the 200 worst and best of 230 by SSIM are here."


def test_the_page_in_a_browser(small, tmp_path, browser):
    run = script.train(dataclasses.replace(small, labels="source", steps=1)).folder
    page = browser.new_page()
    complaints = []
    page.on("console", lambda said: complaints.append(said.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    evaluate(run, split="val", output=tmp_path)
    page.goto((tmp_path / "index.html").as_uri())
    assert "door" in page.locator(".legend li").all_inner_texts()
    names = page.locator("#pairs td.name").all_inner_texts()
    assert len(names) == 100
    page.locator("#pairs button.beside").first.click()
    heading = page.locator("dialog h2")
    assert heading.inner_text() == names[0]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert heading.inner_text() == names[2]
    page.keyboard.press("ArrowLeft")
    assert heading.inner_text() == names[1]
    page.keyboard.press("Escape")
    assert not page.is_visible("dialog")
    page.evaluate("scrollTo(0, 5000)")
    assert page.locator("#pairs thead").bounding_box()["y"] == 0  # it stays in sight
    page.close()
    assert complaints == []

"""The page of results, where there are many."""

from conftest import make_run

import image_to_image_translation as script
from pix2pix.commands.report import page_content, rows_with_pictures
from pix2pix.commands.trained_run import open_run


def test_a_page_of_many_pairs_shows_the_worst_and_the_best(small, tmp_path):
    trained = open_run(make_run(tmp_path / "run", small))
    splits, _ = script.find_splits(small)
    rows = [{"number": k, "name": str(k), "ssim": (k * 7 % 230) / 230} for k in range(230)]
    shown, titles = rows_with_pictures(rows, trained, splits["train"])
    ranks = [round(230 * row["ssim"]) for row in shown]
    assert ranks == [*range(100), *range(130, 230)]
    summary = {"pairs": rows, "size": (32, 32), "run": "r", "split": "val", "step": 1}
    page = page_content(summary | {"warnings": [], "mean": {}}, shown, titles, "")
    assert page["titles"] == ["Input", "Ground truth", "Prediction"]
    assert len(page["rows"][0]["pictures"]) == 3
    assert page["left_out"] == "Only the 200 worst and best of 230 by SSIM are here."

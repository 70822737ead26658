"""compare: several runs on one page."""

import dataclasses
import json
import re

import pytest

import image_to_image_translation as script
from pix2pix.commands.compare import compare
from pix2pix.options.commands import Compare
from pix2pix.talk.errors import UsageError, UserError


def content_of(page) -> list[dict]:
    """What a page shows."""
    return json.loads(re.search(r"let runs = (.*);", page.read_text())[1])


def test_two_runs_on_one_page(small, tmp_path):
    runs = [
        script.train(dataclasses.replace(small, name=name, seed=seed)).folder
        for name, seed in (("first", 0), ("second", 3))
    ]
    page = compare(Compare(tuple(runs), output=tmp_path / "pages" / "both.html"))
    first, second = content_of(page)
    assert (first["name"], second["name"]) == ("first", "second")
    assert first["options"]["seed"] == {"value": "0", "default": "0"}
    assert second["options"]["seed"]["value"] == "3"
    for run in (first, second):
        assert run["step"] == run["total"] == small.steps
        for preview in run["previews"]:
            assert (page.parent / preview["file"]).is_file()
    (own,) = content_of(runs[0] / "index.html")
    assert own["state"] == "finished"
    assert own["metrics"] == first["metrics"]
    assert own["options"] == first["options"]


def test_what_cannot_be_compared(small, tmp_path):
    with pytest.raises(UsageError, match="two runs"):
        compare(Compare((tmp_path,)))
    with pytest.raises(UserError, match="no such run"):
        compare(Compare((tmp_path / "nowhere", tmp_path)))

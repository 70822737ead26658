"""What a run remembers of its pairs, so that only what has changed is read when it goes on."""

import dataclasses

import numpy as np
import pytest
from conftest import make_pair

import image_to_image_translation as script
from pix2pix.options.train import Train
from pix2pix.preparation import checking, prepare
from pix2pix.preparation.checking import REMEMBERED, check_splits, read_remembered
from pix2pix.talk.errors import UserError


@pytest.fixture
def checked(monkeypatch) -> list[str]:
    """Which pairs are read by the check: their folders and names."""
    titles, check_pair = [], checking.check_pair

    def note(split, k, options):
        titles.append("/".join(split.pairs[k].files[0].parts[-2:]))
        return check_pair(split, k, options)

    monkeypatch.setattr(checking, "check_pair", note)
    return titles


@pytest.fixture
def trained(small, pair_folder) -> Train:
    """A run of two steps on a folder of nine pairs, with two more to take."""
    config = dataclasses.replace(small, dataset=str(pair_folder))
    script.train(dataclasses.replace(config, steps=2))
    return config


def test_a_run_that_goes_on_reads_only_what_has_changed(trained, pair_folder, checked):
    remembered, found = prepare(trained, script.find_splits)
    assert checked == []
    all_read = check_splits(script.find_splits(trained), trained)
    assert len(checked) == 9
    for name, split in all_read.items():
        np.testing.assert_array_equal(remembered[name].shapes, split.shapes)
        assert remembered[name].kinds == split.kinds
    checked.clear()
    (pair_folder / "val/1.png").touch()
    make_pair(pair_folder / "test/5.png", seed=9)
    _, same = prepare(trained, script.find_splits)
    assert sorted(checked) == ["test/5.png", "val/1.png"]
    assert same == found
    script.train(trained)  # which remembers these too
    checked.clear()
    prepare(trained, script.find_splits)
    assert checked == []


def test_another_rule_means_that_all_are_read(trained, checked):
    asked = dataclasses.replace(trained, ignore="black")
    check_splits(script.find_splits(asked), asked, read_remembered(trained.run_folder))
    assert len(checked) == 9


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00", "cut", "objects"])
def test_what_cannot_be_read_is_forgotten(trained, checked, content):
    path = trained.run_folder / REMEMBERED
    if content == "cut":
        content = path.read_bytes()[:200]
    if content == "objects":
        np.savez(path, keys=np.array([print]), shapes=np.array([print]))
    else:
        path.write_bytes(content)
    prepare(trained, script.find_splits)
    assert len(checked) == 9


def test_what_is_broken_is_never_remembered(trained, pair_folder, checked):
    (pair_folder / "val/0.png").write_bytes(b"no picture")
    for count in (1, 2):
        with pytest.raises(UserError, match="val/0.png: not a readable picture"):
            prepare(trained, script.find_splits)
        assert checked == ["val/0.png"] * count

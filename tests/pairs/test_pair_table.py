"""pairs.csv: what it says, what of it is refused, how it is written, and how weights are drawn."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from conftest import make_pair, make_picture
from PIL import Image

import image_to_image_translation as script
from pix2pix import command_line, preparation
from pix2pix.commands.inspect_dataset import inspect_dataset
from pix2pix.options.train import Inspect
from pix2pix.pairs.pair_table import write_table
from pix2pix.pairs.splits import mix
from pix2pix.talk.errors import UsageError, UserError


@pytest.fixture
def folder(tmp_path):
    """A folder with pictures of no order: scans, and photos of them."""
    for k in range(4):
        make_picture(tmp_path / f"mixed/scans/s{k}.png", 40, 40, seed=k)
        make_picture(tmp_path / f"mixed/photo {k}.png", 40, 40, seed=10 + k)
    return tmp_path / "mixed"


def write(folder, *lines: str) -> None:
    (folder / "pairs.csv").write_text("\n".join([*lines, ""]), "utf-8")


def config_of(small, folder, **others):
    return dataclasses.replace(small, dataset=str(folder), direction="AtoB", **others)


def places(split) -> list[list[str]]:
    return [[file.name for file in pair.files] for pair in split.pairs]


def test_a_table_says_what_belongs_together(small, folder):
    write(
        folder,
        "\ufeffsource, target,note,group,weight,split",
        "scans/s0.png, photo 3.png,first,anna,,",
        'scans/s0.png,"photo 2.png",,anna,2.5,train',  # a source with another target
        "scans/s1.png,photo 1.png,,ben,1,val",
    )
    splits = script.find_splits(config_of(small, folder))
    assert {name: places(split) for name, split in splits.items()} == {
        "train": [["s0.png", "photo 3.png"], ["s0.png", "photo 2.png"]],
        "val": [["s1.png", "photo 1.png"]],
    }
    assert [pair.group for pair in splits["train"].pairs] == ["anna", "anna"]
    assert [pair.weight for pair in splits["train"].pairs] == [1, 2.5]
    photos = script.find_splits(config_of(small, folder, task="colorize", target_channels=None))
    assert places(photos["train"]) == [["photo 3.png"], ["photo 2.png"]]


def test_several_sources_come_in_the_order_of_their_numbers(small, folder):
    write(
        folder,
        "source_3,source,target,source_2",
        "photo 1.png,scans/s0.png,photo 0.png,scans/s1.png",
    )
    (pair,) = script.find_splits(config_of(small, folder))["train"].pairs
    assert [file.name for file in pair.files] == ["s0.png", "s1.png", "photo 1.png", "photo 0.png"]
    assert [picture.shape[-1] for picture in pair.read()] == [9, 3]
    write(folder, "source,target,source_2", "scans/s0.png,photo 0.png,scans/s1.png")
    parts = script.find_splits(config_of(small, folder))["train"].describe()[0].parts
    assert [part.name for part in parts] == ["source 1", "source 2"]  # both lie in one folder


def test_where_there_are_no_targets_sources_hold_both(small, folder):
    make_pair(folder / "both.png")
    write(folder, "source,target", "both.png,")
    (pair,) = script.find_splits(config_of(small, folder))["train"].pairs
    assert len(pair.read()) == 2
    write(folder, "source,target", "both.png,", "scans/s0.png,photo 0.png", ",photo 1.png")
    split = script.find_splits(config_of(small, folder))["train"]
    assert places(split) == [["s0.png", "photo 0.png"]]
    lines = [problem.partition("pairs.csv, ")[2] for problem in split.problems]
    assert lines == [f"line {n}: lacks a source or a target" for n in (2, 4)]


def test_pairs_are_held_out_by_the_groups_of_a_table(small, folder):
    rows = [f"scans/s{k}.png,photo {k}.png,{'ab'[k % 2]}" for k in range(4)]
    write(folder, "source,target,group", *rows)
    splits = script.find_splits(config_of(small, folder))
    assert [len({pair.group for pair in split.pairs}) for split in splits.values()] == [1, 1]
    by_flag = script.find_splits(config_of(small, folder, group="s([0-3])"))
    assert {pair.group for pair in by_flag["train"].pairs} < set("0123")


def test_pairs_without_a_group_are_each_their_own(small, folder):
    write(folder, "source,target,group", "scans/s0.png,photo 0.png,a", "scans/s1.png,photo 1.png,")
    splits = script.find_splits(config_of(small, folder, holdout=0.0))
    assert [pair.group for pair in splits["train"].pairs] == ["a", "scans/s1.png"]


def test_pairs_of_one_source_are_not_divided(small, folder):
    rows = [f"scans/s{k // 2}.png,photo {k}.png" for k in range(4)]
    write(folder, "source,target", *rows)
    for seed in range(4):
        splits = script.find_splits(config_of(small, folder, holdout=0.25, seed=seed))
        sides = [{pair.files[0] for pair in split.pairs} for split in splits.values()]
        assert not sides[0] & sides[1]
        assert len(splits["val"]) == 2


def test_a_table_of_somebody_else_is_none(small, pair_folder, capsys):
    before = script.find_splits(config_of(small, pair_folder))["train"].names
    for text in (b"", b"left;right\n1;2\n", b"id,name\n1,x\n", b"\xff\xfe\0", b"source,file\n"):
        (pair_folder / "pairs.csv").write_bytes(text)
        assert script.find_splits(config_of(small, pair_folder))["train"].names == before
    assert "pairs.csv" not in capsys.readouterr().out
    for text in ("source;target\n1;2\n", "Source,Target\n1,x\n"):
        (pair_folder / "pairs.csv").write_text(text)
        assert script.find_splits(config_of(small, pair_folder))["train"].names == before
        assert "pairs.csv is not used: its columns are not named" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("../x.png,photo 0.png,1,", r"line 2: \.\./x.png is not below the folder of the table"),
        ("/etc/passwd,photo 0.png,1,", "line 2: /etc/passwd is not below the folder"),
        ("scans\\s0.png,photo 0.png,1,", "there is no scans.s0.png; folders are separated by /"),
        ("x" * 300 + ",photo 0.png,1,", "line 2: there is no x"),
        ("\x1b[31m.png,photo 0.png,1,", r"line 2: there is no \\x1b\[31m.png"),
        ("scans/s0.png,photo 0.png,-1,", "line 2: weight is -1, not from 0 to 1,000,000"),
        ("scans/s0.png,photo 0.png,nan,", "line 2: weight is nan, not"),
        ("scans/s0.png,photo 0.png,1e7,", "line 2: weight is 1e7, not"),
        ("scans/s0.png,photo 0.png,many,", "line 2: weight is many, not"),
        ("scans/s0.png,photo 0.png,1,all", "line 2: split is all, not train or val or test"),
        ("scans/s0.png,photo 0.png,0,", "pairs.csv: has no pairs to train on"),
        (
            "scans/s0.png,photo 0.png,1,val",
            "has no pairs to train on .no row is of the split train",
        ),
        ('scans/s0.png,"photo 0.png,1,', "pairs.csv: is no table in UTF-8"),
        ("x" * 200_000 + ",photo 0.png,1,", "pairs.csv: is no table in UTF-8 .field larger"),
    ],
)
def test_what_is_wrong_in_a_table_is_said_with_its_line(small, folder, row, why):
    write(folder, "source,target,weight,split", row)
    with pytest.raises(UserError, match=why):
        script.find_splits(config_of(small, folder))


def test_bytes_that_are_no_text_are_refused(small, folder):
    (folder / "pairs.csv").write_bytes(b"source,target\n\xff\xfe,photo 0.png\n")
    with pytest.raises(UserError, match=r"pairs.csv: is no table in UTF-8 \('utf-8' codec"):
        script.find_splits(config_of(small, folder))


def test_rows_of_missing_files_are_broken_pairs(small, folder):
    write(folder, "source,target", "scans/s0.png,photo 0.png", "scans/s9.png,photo 1.png")
    config = config_of(small, folder, steps=1, holdout=0.0)
    with pytest.raises(UserError, match=r"line 3: there is no scans/s9.png. Mend .*--skip-broken"):
        script.train_as_told(config)
    script.train_as_told(dataclasses.replace(config, skip_broken=True))


def test_inspect_writes_the_table_of_what_it_found(small, pair_folder, tmp_path, capsys):
    splits = script.find_splits(config_of(small, pair_folder))
    typed = ["inspect", str(pair_folder), f"--output={tmp_path / 'runs'}", "--write-csv"]
    assert command_line.main(typed) == 0
    table = pair_folder / "pairs.csv"
    assert f"Saved     {table}, by which trainings go from now on" in capsys.readouterr().out
    assert table.read_text().startswith("source,target,group,weight,split\ntrain/0.png,,,1,train\n")
    again = script.find_splits(config_of(small, pair_folder))
    assert f"Pairs     as {table} says" in capsys.readouterr().out
    assert {name: split.names for name, split in again.items()} == {
        name: split.names for name, split in splits.items()
    }
    with pytest.raises(SystemExit):
        command_line.main(typed)
    assert "pairs.csv: is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [{"dataset": "synthetic"}, {"task": "colorize"}, {"source_dir": "A", "target_dir": "B"}],
)
def test_a_table_is_written_only_for_a_folder_of_pairs(pair_folder, monkeypatch, options):
    monkeypatch.chdir(pair_folder)
    for name in "AB":
        (pair_folder / name).mkdir()
    where = {} if "source_dir" in options else {"dataset": str(pair_folder)}
    with pytest.raises(
        UsageError, match="--write-csv is for a folder of your own that holds pairs"
    ):
        inspect_dataset(Inspect(**where | options, write_csv=True))


def test_a_table_of_two_folders_says_the_same(small, tmp_path):
    for k in range(3):
        make_picture(tmp_path / f"data/A/{k}.png", 40, 40, seed=k)
        make_picture(tmp_path / f"data/B/{k}.png", 40, 40, seed=k + 5)
    config = config_of(small, tmp_path / "data", holdout=0.34)
    splits = script.find_splits(config)
    write_table(config.dataset, {name: split.pairs for name, split in splits.items()})
    again = script.find_splits(config)
    assert {name: places(split) for name, split in again.items()} == {
        name: places(split) for name, split in splits.items()
    }


# --- Weights ---


def drawn(config, first_step: int = 0) -> list[int]:
    """Which pair each step trains on; pair k has a source of nothing but k."""
    splits, found = preparation.prepare(config, script.find_splits)
    dataset = script.batches(
        splits["train"], config, found, first_step, tf.distribute.InputContext()
    )
    return [round(float(source[0, 0, 0, 0] + 1) * 127.5) for source, _ in dataset]


@pytest.fixture
def weighted(small, tmp_path):
    """Four pairs of weights 0, 1, 2 and 5; the first is left out."""
    for k in range(4):
        make_picture(tmp_path / f"data/t{k}.png", 40, 40, seed=k)
        Image.new("RGB", (40, 40), (k, k, k)).save(tmp_path / f"data/s{k}.png")
    rows = [f"s{k}.png,t{k}.png,{weight}" for k, weight in enumerate([0, 1, 2, 5])]
    write(tmp_path / "data", "source,target,weight", *rows)
    return config_of(small, tmp_path / "data", steps=800, holdout=0.0)


def test_pairs_are_drawn_as_often_as_they_weigh(weighted):
    counts = Counter(drawn(weighted))
    assert counts[0] == 0
    np.testing.assert_allclose(
        [counts[k] / 800 for k in (1, 2, 3)], [0.125, 0.25, 0.625], atol=0.02
    )


def test_what_is_drawn_depends_on_seed_and_step_alone(weighted):
    whole = drawn(weighted)
    assert drawn(weighted, first_step=500) == whole[500:]
    assert drawn(dataclasses.replace(weighted, seed=1)) != whole


def test_weights_that_are_all_alike_change_nothing(small, tmp_path, weighted):
    folder = tmp_path / "data"
    rows = [f"s{k}.png,t{k}.png" for k in range(4)]
    write(folder, "source,target", *rows)
    plain = dataclasses.replace(weighted, steps=12)
    expected = drawn(plain)
    assert Counter(expected) == Counter(dict.fromkeys(range(4), 3))
    write(folder, "source,target,weight", *(f"{row},3" for row in rows))
    assert drawn(plain) == expected


def test_older_pairs_keep_their_share_whatever_they_weigh(weighted):
    split = preparation.check_splits(script.find_splits(weighted), weighted)["train"]
    light = dataclasses.replace(
        split, pairs=[dataclasses.replace(pair, weight=1.0) for pair in split.pairs]
    )
    for own, older in ((split, light), (light, split), (light, light)):
        mixed = mix(own, older, 0.25)
        weights = np.array([pair.weight for pair in mixed.pairs])
        assert weights[mixed.own :].sum() / weights.sum() == pytest.approx(0.25)


def test_a_run_with_other_weights_is_another_run(weighted):
    config = dataclasses.replace(weighted, steps=1)
    script.train_as_told(config)
    table = config.dataset + "/pairs.csv"
    with open(table) as file:
        text = file.read()
    with open(table, "w") as file:
        file.write(text.replace(",5", ",4"))
    with pytest.raises(UserError, match="holds a run with other pictures"):
        script.train_as_told(dataclasses.replace(config, steps=2))

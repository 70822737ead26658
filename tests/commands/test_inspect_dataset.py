"""What inspect says and draws of a dataset, before training."""

import dataclasses
import os
import re
import socket
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import errors, flags, make_pair, small_task, start
from helpers import evaluate, translate
from PIL import Image

import image_to_image_translation as script
from pix2pix import command_line
from pix2pix.commands.inspect_dataset.command import inspect_dataset
from pix2pix.options.train import Inspect
from pix2pix.pairs.file_pairs import FilePair
from pix2pix.pairs.synthetic import draw_facade
from pix2pix.pairs.tasks import TASKS
from pix2pix.pictures.sides import PHOTOS
from pix2pix.talk.errors import UserError


def test_a_sound_dataset(small, pair_folder, capsys):
    config = dataclasses.replace(small, dataset=str(pair_folder))
    sheet = inspect_dataset(config)
    assert capsys.readouterr().out.splitlines() == [
        "train     6 pairs: 40×40, source RGB, target RGB, 6 PNG",
        "val       2 pairs: 40×40, source RGB, target RGB, 2 PNG",
        "test      1 pairs: 40×40, source RGB, target RGB, 1 PNG",
        "Options   --image-size 32 --source-channels 3 --target-channels 3 --generator-filters 4 "
        "--discriminator-filters 4 --average-weights 0.0 --precision float32",
        "Direction AtoB: left half (RGB) → right half (RGB) at 32×32",
        "Repeated  2 of 2 val pairs are in train too, or almost: 0.png as 0.png",
        "Repeated  1 of 1 test pairs are in train too, or almost: 0.png as 0.png",
        f"Saved     {sheet}, what the network sees",
    ]
    assert sheet == small.output / "pairs-inspect.png"
    panel = np.asarray(Image.open(sheet).convert("RGB"))
    assert panel.shape == (28 + 3 * (256 + 8), 8 + 8 * (256 + 8), 3)  # 3 pairs, 2 + 3·2 columns
    cells = [panel[28:284:8, 8 + k * 264 :][:, :256:8] for k in range(8)]
    pairs = script.find_splits(config)["train"]
    for cell, whole in zip(cells[:2], pairs.read(0), strict=True):
        fitted = script.fit_to_size(whole, (32, 32), config, PHOTOS)
        np.testing.assert_array_equal(cell, fitted)
    assert len({cell.tobytes() for cell in cells[::2]}) == 4  # three draws, none alike


def test_everything_that_is_broken_is_listed(small, pair_folder, tmp_path, capsys):
    make_pair(pair_folder / "train/6.png", 50)
    Image.new("L", (60, 30)).save(pair_folder / "train/7.bmp")
    for k in range(12):
        (pair_folder / f"val/broken-{k:02}.jpg").write_bytes(b"")
    with pytest.raises(UserError) as refusal:
        inspect_dataset(dataclasses.replace(small, dataset=str(pair_folder)))
    message = str(refusal.value)
    assert message.startswith(f"{pair_folder}: 12 broken, see above.")
    said = capsys.readouterr().out
    kinds = "source grey and RGB, target grey and RGB, 7 PNG, 1 BMP"
    assert f"train     8 pairs: 30×30 to 50×50, {kinds}" in said
    for k in range(12):
        assert f"Broken    {pair_folder}/val/broken-{k:02}.jpg: not a readable picture" in said
    assert (small.output / "pairs-inspect.png").exists()  # of what is sound
    inspect_dataset(dataclasses.replace(small, dataset=str(pair_folder), skip_broken=True))


def test_nothing_sound(small, tmp_path, capsys):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/1.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"1.png: not a readable picture"):
        inspect_dataset(dataclasses.replace(small, dataset=str(tmp_path / "broken")))
    assert "Broken    " in capsys.readouterr().out


def save_facades(folder: Path, split: str, numbers: range, margin: int = 0) -> None:
    """Save made-up pairs, photo to the left; of the label map, `margin` rows are cut off above."""
    (folder / split).mkdir(parents=True)
    for k in numbers:
        photo, labels = draw_facade(0, k, (128, 128))
        pair = [photo[: 128 - margin], labels[margin:]]
        Image.fromarray(np.concatenate(pair, axis=1)).save(folder / f"{split}/{k}.png")


def findings_of(options: Inspect, capsys) -> list[str]:
    """What inspect finds in the pixels of a dataset."""
    inspect_dataset(options)
    labels = ("Shifted", "Repeated", "Flat", "Blank", "Checked", "Hint", "   ")
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith(labels)]


def test_a_direction_that_looks_turned_round(small, tmp_path, capsys):
    save_facades(tmp_path / "pairs", "train", range(4))
    save_facades(tmp_path / "pairs", "val", range(10, 12))
    options = dataclasses.replace(small, dataset=str(tmp_path / "pairs"))
    checked = "Checked   no pairs look shifted, of one colour, or repeated outside train"
    assert findings_of(options, capsys) == [
        checked,
        "Hint      sources look like photos, targets like label maps or drawings;",
        "          for the other way round: --direction BtoA",
    ]
    for direction in ("AtoB", "BtoA"):  # once it is chosen, nothing more is said of it
        chosen = dataclasses.replace(options, direction=direction)
        assert findings_of(chosen, capsys) == [checked]


def test_pairs_that_spoil_a_training(small, tmp_path, capsys):
    folder = tmp_path / "pairs"
    save_facades(folder, "train", range(8), margin=8)
    save_facades(folder, "val", range(3, 4), margin=8)
    Image.new("RGB", (256, 120), "white").save(folder / "train/white.png")
    (folder / "train/0-broken.png").write_bytes(b"")  # is left out of all numbers
    options = dataclasses.replace(
        small, dataset=str(folder), direction="BtoA", skip_broken=True, layout="pairs"
    )
    found = findings_of(options, capsys)
    assert re.fullmatch(
        r"Shifted   [3-8] of 9 train pairs, worst \d.png by [789] pixels \(target [789] down\)",
        found[1],
    )
    assert found[0] == "Shifted   all targets alike: 8 pixels down"
    assert any("--align moves targets" in line for line in found)
    assert [line for line in found if "Shifted" not in line and "Hint" not in line] == [
        "Repeated  1 of 1 val pairs are in train too, or almost: 3.png as 3.png",
        "Flat      1 of 9 train sources have one colour only, e.g. white.png",
        "Flat      1 of 9 train targets have one colour only, e.g. white.png",
    ]


def test_each_pair_is_read_once_but_for_labels_shifts_and_the_sheet(small, tmp_path, monkeypatch):
    save_facades(tmp_path / "pairs", "train", range(8))
    read, files = FilePair.read, Counter()

    def read_and_count(pair: FilePair) -> list[np.ndarray]:
        files[pair.title] += 1
        return read(pair)

    monkeypatch.setattr(FilePair, "read", read_and_count)
    inspect_dataset(dataclasses.replace(small, dataset=str(tmp_path / "pairs"), holdout=0.0))
    assert [files[f"{k}.png"] for k in range(8)] == [8, 8, 8, 4, 4, 4, 4, 4]


@pytest.mark.parametrize("task", ["colorize", "super-resolve", "sketch", "inpaint"])
def test_tasks(small, task, capsys):
    sheet = inspect_dataset(small_task(small, task))
    assert sheet.name == f"synthetic-{task}-inspect.png"
    source = TASKS[task].source_name
    said = capsys.readouterr().out
    assert f"Direction AtoB: {source} (" in said
    assert "→ photo (RGB) at 32×32" in said
    assert "train     400 photos: 32×32, photo RGB\n" in said


def test_what_a_person_types(small, pair_folder, capsys):
    process = start(
        "inspect", str(pair_folder), *flags(dataclasses.replace(small, dataset="facades"))
    )
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, errors(stderr)) == (0, [])
    assert stdout.startswith("train     6 pairs: ")
    (pair_folder / "test/0.png").write_bytes(b"")
    with pytest.raises(SystemExit) as exit:
        command_line.main(["inspect", str(pair_folder), f"--output={small.output}"])
    assert exit.value.code == 1
    assert capsys.readouterr().err == (
        f"error: {pair_folder}: 1 broken, see above. Mend or remove them, or train without them "
        "with --skip-broken.\n"
    )


# --- what only looks like a picture ---


def odd_folder(folder: Path) -> dict[str, str]:
    """Put three pairs among files of all sorts; what is said of each of the others."""
    for k, name in enumerate((f"{'x' * 251}.png", os.fsdecode(b"\xff\xfe.png"), "a\nb\x1b.png")):
        make_pair(folder / name, seed=k)
    (folder / "folder.png").mkdir()  # as any folder there it is passed over
    (folder / "nowhere.png").symlink_to("gone")
    (folder / "loop.png").symlink_to("loop.png")
    os.mkfifo(folder / "pipe.png")
    server = socket.socket(socket.AF_UNIX)
    server.bind(os.path.relpath(folder / "server.png"))  # whose paths are short
    server.close()
    (folder / "line\nbreak.png").touch()
    odd = "is no file but a pipe, a socket or a device"
    link = "is a link that leads to no file"
    return {
        "nowhere.png": link,
        "loop.png": link,
        "pipe.png": odd,
        "server.png": odd,
        "line\\nbreak.png": "not a readable picture",
    }


def test_files_that_are_none_are_broken_and_can_be_skipped(tmp_path, small, capsys):
    said = odd_folder(tmp_path / "data/train")
    options = {"dataset": str(tmp_path / "data"), "holdout": 0.0, "direction": "AtoB", "steps": 1}
    config = dataclasses.replace(small, **options)
    with pytest.raises(UserError, match="5 broken, see above"):
        inspect_dataset(Inspect(**vars(config)))
    broken = [row for row in capsys.readouterr().out.splitlines() if row.startswith("Broken")]
    assert len(broken) == len(said)
    for name, problem in said.items():
        assert [row for row in broken if f"/{name}: {problem}" in row], name
    with pytest.raises(UserError, match="pipe.png: is no file"):
        script.train(config)
    run = script.train(dataclasses.replace(config, skip_broken=True)).folder
    assert len((run / "training_pairs.txt").read_bytes().splitlines()) == 3
    assert "Skipped   5 broken" in capsys.readouterr().out
    summary = evaluate(run, split="train", skip_broken=True)
    assert summary["warnings"] == ["3 of these 3 pairs were trained on: this is no test."]
    with pytest.raises(UserError, match="5 could not be translated"):
        translate(run, tmp_path / "data/train", output=tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 3

"""What inspect says and draws of a dataset, before training."""

import dataclasses

import numpy as np
import pytest
from conftest import errors, flags, make_pair, small_task, start
from PIL import Image

import image_to_image_translation as script
from pix2pix import command_line
from pix2pix.commands.inspect_dataset import inspect_dataset
from pix2pix.support.tasks import TASKS
from pix2pix.support.terminal import UserError


def test_a_sound_dataset(small, pair_folder, capsys):
    config = dataclasses.replace(small, dataset=str(pair_folder))
    sheet = inspect_dataset(config)
    assert capsys.readouterr().out.splitlines() == [
        "train     6 pairs: 40×40, source RGB, target RGB, 6 PNG",
        "val       2 pairs: 40×40, source RGB, target RGB, 2 PNG",
        "test      1 pairs: 40×40, source RGB, target RGB, 1 PNG",
        "Options   --image-size 32 --source-channels 3 --target-channels 3 --generator-filters 4 "
        "--discriminator-filters 4 --precision float32",
        "Direction AtoB: left half (RGB) → right half (RGB) at 32×32",
        f"Saved     {sheet}, what the network sees",
    ]
    assert sheet == small.output / "pairs-inspect.png"
    panel = np.asarray(Image.open(sheet).convert("RGB"))
    assert panel.shape == (28 + 3 * (256 + 8), 8 + 8 * (256 + 8), 3)  # 3 pairs, 2 + 3·2 columns
    cells = [panel[28:284:8, 8 + k * 264 :][:, :256:8] for k in range(8)]
    pairs = script.find_splits(config)[0]["train"]
    for cell, whole in zip(cells[:2], pairs.read(0), strict=True):
        np.testing.assert_array_equal(cell, script.fit_to_size(whole, (32, 32), config))
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

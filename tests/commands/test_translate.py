"""Translating: pictures in, pictures out."""

import dataclasses
import errno
import os
import shutil
import weakref
from fractions import Fraction
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import copying, make_pair, make_picture, make_run, pixels_of, small_task
from helpers import translate, written
from PIL import Image

import image_to_image_translation as script
from pix2pix import command_line
from pix2pix.commands.open_run import open_run
from pix2pix.commands.translate import translator
from pix2pix.commands.translate.command import translate as run_translate
from pix2pix.commands.translate.translator import Translator, place_windows, share_pixels
from pix2pix.options.commands import Translate
from pix2pix.pictures import picture_files
from pix2pix.pictures.picture_files import read_picture
from pix2pix.pictures.pixels import LUMA, from_pixels, resize_values, to_pixels
from pix2pix.pictures.sides import PHOTOS
from pix2pix.talk.errors import UsageError, UserError


@pytest.fixture
def run(small, tmp_path):
    return make_run(tmp_path / "run", small)


@pytest.fixture
def copy(small, tmp_path):
    return make_run(tmp_path / "copy", small, copying())


@pytest.mark.parametrize(
    ("form", "names"),
    [
        ("png", {"a.png", "b.png", "deep/c.png"}),
        ("jpg", {"a.jpg", "b.jpg", "deep/c.jpg"}),
        ("webp", {"a.webp", "b.webp", "deep/c.webp"}),
        ("same", {"a.png", "b.jpg", "deep/c.bmp"}),
    ],
)
def test_results_are_named_like_the_inputs(copy, tmp_path, form, names):
    for name in ("a.png", "b.jpg", "deep/c.bmp"):
        make_picture(tmp_path / "in" / name, 32, 32)
    (tmp_path / "in" / "notes.txt").write_text("not a picture")
    translate(copy, tmp_path / "in", output=tmp_path / "out", format=form)
    assert written(tmp_path / "out") == names
    kinds = {"jpg": "JPEG", "webp": "WEBP", "png": "PNG"}
    if form in kinds:
        assert {Image.open(tmp_path / "out" / name).format for name in names} == {kinds[form]}


def test_inputs_may_be_files_folders_and_patterns(copy, tmp_path, capsys):
    for name in ("1.png", "2.png", "3.jpg", "more/4.png"):
        make_picture(tmp_path / name, 32, 32)
    odd = make_picture(tmp_path / "holiday.photo.png", 32, 32)
    shutil.move(tmp_path / "holiday.photo.png", tmp_path / "holiday.photo")  # named: any suffix
    inputs = (tmp_path / "[12].png", tmp_path / "3.jpg", tmp_path / "more")
    translate(copy, *inputs, tmp_path / "holiday.photo", output=tmp_path / "out")
    assert written(tmp_path / "out") == {"1.png", "2.png", "3.png", "4.png", "holiday.png"}
    np.testing.assert_array_equal(pixels_of(tmp_path / "out/holiday.png"), odd)
    assert f"Wrote     5 of 5 to {tmp_path / 'out'}" in capsys.readouterr().out


def test_results_inside_the_folder_of_the_inputs_are_no_inputs(copy, tmp_path, capsys):
    make_picture(tmp_path / "in/1.png", 8, 8)
    for _ in range(2):
        translate(copy, tmp_path / "in", output=tmp_path / "in/translated", overwrite=True)
        assert "Wrote     1 of 1" in capsys.readouterr().out
    assert written(tmp_path / "in") == {"1.png", "translated/1.png"}


@pytest.mark.parametrize("name", ["nowhere.png", "*.gif", "empty"])
def test_an_input_that_is_nothing_is_named(copy, tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no pictures there") as refusal:
        translate(copy, tmp_path / name)
    assert str(refusal.value).startswith(str(tmp_path / name))


def test_no_two_results_go_to_one_place_and_none_onto_an_input(copy, tmp_path):
    make_picture(tmp_path / "a" / "1.png", 32, 32)
    make_picture(tmp_path / "b" / "1.jpg", 32, 32)
    with pytest.raises(UserError, match="would both become") as refusal:
        translate(copy, tmp_path / "a", tmp_path / "b", output=tmp_path / "out")
    assert "a/1.png" in str(refusal.value)
    assert "b/1.jpg" in str(refusal.value)
    with pytest.raises(UserError, match="is one of the inputs"):
        translate(copy, tmp_path / "a", output=tmp_path / "a", overwrite=True)
    assert not (tmp_path / "out").exists()


def test_one_picture_may_have_a_file_of_its_own_as_result(copy, tmp_path, capsys):
    pixels = make_picture(tmp_path / "1.png", 32, 32)
    make_picture(tmp_path / "2.png", 32, 32)
    out = tmp_path / "new/out.png"
    results = run_translate(Translate(str(copy), str(tmp_path / "1.png"), output=str(out)))
    assert results == [out]
    np.testing.assert_array_equal(pixels_of(out), pixels)
    assert f"Wrote     1 of 1 to {out}" in capsys.readouterr().out
    translate(copy, tmp_path / "1.png", output=tmp_path / "new/out.jpg")  # its name says the format
    assert Image.open(tmp_path / "new/out.jpg").format == "JPEG"
    with pytest.raises(UsageError, match=r"--output must be a folder for 2 inputs, not a file"):
        translate(copy, tmp_path / "1.png", tmp_path / "2.png", output=out, overwrite=True)
    (tmp_path / "folder.png").mkdir()
    translate(copy, tmp_path / "1.png", output=tmp_path / "folder.png")
    assert written(tmp_path / "folder.png") == {"1.png"}


def test_a_file_of_its_own_for_each_sample(run, tmp_path):
    make_picture(tmp_path / "1.png", 32, 32)
    results = run_translate(
        Translate(run, [tmp_path / "1.png"], output=tmp_path / "out.png", samples=2)
    )
    assert results == [tmp_path / "out-1.png", tmp_path / "out-2.png"]
    assert all(path.exists() for path in results)


def test_existing_files_are_left_unless_told_otherwise(copy, tmp_path, capsys):
    pixels = make_picture(tmp_path / "1.png", 32, 32)
    other = make_picture(tmp_path / "2.png", 32, 32, seed=2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/1.png").write_text("precious")
    translate(copy, tmp_path / "1.png", tmp_path / "2.png", output=tmp_path / "out")
    assert (tmp_path / "out/1.png").read_text() == "precious"
    np.testing.assert_array_equal(pixels_of(tmp_path / "out/2.png"), other)
    said = capsys.readouterr().out
    assert "Left      1 that exist already, of other pictures or" in said
    assert "Wrote     1 of 1" in said
    translate(copy, tmp_path / "1.png", output=tmp_path / "out", overwrite=True)
    np.testing.assert_array_equal(pixels_of(tmp_path / "out/1.png"), pixels)


def test_what_cannot_be_read_is_reported_and_the_rest_is_done(copy, tmp_path, capsys):
    for k in range(5):
        make_picture(tmp_path / f"in/{k}.png", 32, 32, seed=k)
    whole = (tmp_path / "in/2.png").read_bytes()
    (tmp_path / "in/2.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SystemExit) as exit:
        command_line.main(["translate", str(copy), str(tmp_path / "in"), "--output", "out"])
    said = capsys.readouterr()
    assert exit.value.code == 1
    assert written(tmp_path / "out") == {"0.png", "1.png", "3.png", "4.png"}
    assert f"Skipped   {tmp_path / 'in/2.png'}: not a readable picture" in said.out
    assert "Wrote     4 of 5 to out" in said.out
    assert said.err == "error: 1 could not be translated, see above.\n"


def test_a_result_does_not_depend_on_its_batch_or_the_other_pictures(run, tmp_path):
    for k in range(5):
        make_picture(tmp_path / f"in/{k}.png", 32, 32, seed=k)
    translate(run, tmp_path / "in", output=tmp_path / "all", batch_size=2)
    translate(run, tmp_path / "in", output=tmp_path / "at once", batch_size=5)
    translate(run, tmp_path / "in/3.png", output=tmp_path / "alone", batch_size=1)
    one = pixels_of(tmp_path / "alone/3.png")
    np.testing.assert_array_equal(pixels_of(tmp_path / "all/3.png"), one)
    np.testing.assert_array_equal(pixels_of(tmp_path / "at once/3.png"), one)
    assert not np.array_equal(pixels_of(tmp_path / "all/2.png"), one)


def test_a_translation_is_what_the_training_would_show(small, pair_folder, tmp_path):
    config = dataclasses.replace(small, dataset=str(pair_folder), direction="BtoA")
    run = make_run(tmp_path / "run", config)
    trained = open_run(run)
    pairs = script.find_splits(config)["val"]
    sources, _ = script.load_examples(pairs, (0, 1), trained.options, trained.found)
    translate(run, pair_folder / "val", output=tmp_path / "out", pairs=True)
    for k in range(2):
        shown = script.generate(trained.generator, sources)[k].numpy()
        back = to_pixels(resize_values(shown, (40, 40), PHOTOS))
        np.testing.assert_array_equal(pixels_of(tmp_path / f"out/{k}.png"), back)


@pytest.mark.parametrize("fit", ["stretch", "crop"])
@pytest.mark.parametrize("size", [(32, 32), (100, 41), (20, 70)])
def test_a_result_has_the_size_of_its_input(small, tmp_path, size, fit):
    run = make_run(tmp_path / "run", dataclasses.replace(small, fit=fit), copying())
    smooth = np.indices((*size, 1))[:2].sum(axis=(0, -1)).astype(np.uint8)
    Image.fromarray(smooth).convert("RGB").save(tmp_path / "1.png")
    translate(run, tmp_path / "1.png", output=tmp_path / "out")
    result = pixels_of(tmp_path / "out/1.png")
    assert result.shape == (*size, 3)
    assert np.abs(result[4:-4, 4:-4, 0].astype(int) - smooth[4:-4, 4:-4]).max() <= 2


@pytest.mark.parametrize("size", [(32, 32), (33, 100), (5, 7), (97, 64), (1, 200)])
@pytest.mark.parametrize("batch_size", [1, 8])
def test_native_copies_exactly_at_any_size(copy, tmp_path, size, batch_size):
    pixels = make_picture(tmp_path / "1.png", *size)
    options = {"native": True, "batch_size": batch_size}
    translate(copy, tmp_path / "1.png", output=tmp_path / "out", **options)
    np.testing.assert_array_equal(pixels_of(tmp_path / "out/1.png"), pixels)


def test_native_copies_16_bits_exactly(small, tmp_path):
    config = dataclasses.replace(small, source_channels=1, target_channels=1)
    run = make_run(tmp_path / "run", config, copying(32, 1), target_bits=16)
    deep = np.random.default_rng(0).integers(0, 65536, (50, 70), dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "1.png")
    translate(run, tmp_path / "1.png", output=tmp_path / "out", native=True)
    np.testing.assert_array_equal(pixels_of(tmp_path / "out/1.png"), deep)


@pytest.mark.parametrize(("length", "size", "zoom"), [(32, 32, 1), (33, 32, 1), (500, 32, 4)])
def test_windows_cover_everything_once(length, size, zoom):
    total, last = np.zeros(length * zoom), 0
    begins = place_windows(length, size, cell=1)
    for begin, share in share_pixels(begins, size, Fraction(zoom)).items():
        assert begin - last <= size // 2 + 1
        assert share.shape == (size * zoom,)
        total[begin * zoom : (begin + size) * zoom] += share
        last = begin
    assert last == length - size
    np.testing.assert_allclose(total, 1)


def test_native_shows_no_seams_though_each_window_differs(small, tmp_path):
    source = keras.Input((32, 32, 3), name="source")
    mean = keras.ops.mean(source, axis=(1, 2), keepdims=True)  # each window in one colour
    flat = keras.Model(source, mean + 0 * source)
    run = make_run(tmp_path / "run", small, flat)
    ramp = np.repeat(np.arange(0, 256, 1, np.uint8)[None], 64, axis=0)
    Image.fromarray(ramp).convert("RGB").save(tmp_path / "1.png")
    translate(run, tmp_path / "1.png", output=tmp_path / "out", native=True)
    steps = np.diff(pixels_of(tmp_path / "out/1.png")[..., 0].astype(int), axis=1)
    assert np.abs(steps).max() <= 2  # an unblended seam would be 16 or 32


def test_the_generator_never_gets_more_than_a_batch_of_windows(run, tmp_path, monkeypatch):
    shapes = set()

    def generate(generator, source, noise):
        shapes.add(tuple(source.shape))
        return script.generate(generator, source, noise)

    monkeypatch.setattr(translator, "generate", generate)
    make_picture(tmp_path / "1.png", 200, 150)
    options = {"native": True, "windows": "alone", "batch_size": 4}
    translate(run, tmp_path / "1.png", output=tmp_path / "out", **options)
    assert shapes == {(4, 32, 32, 3)}


def test_samples_differ_are_seeded_and_do_not_depend_on_other_pictures(run, tmp_path):
    make_picture(tmp_path / "a.png", 32, 32)
    make_picture(tmp_path / "b.png", 32, 32, seed=1)
    translate(run, tmp_path / "a.png", tmp_path / "b.png", output=tmp_path / "1", samples=3)
    names = [f"{letter}-{k}.png" for letter in "ab" for k in (1, 2, 3)]
    assert written(tmp_path / "1") == set(names)
    first = {name: pixels_of(tmp_path / "1" / name) for name in names}
    assert not np.array_equal(first["b-1.png"], first["b-2.png"])
    assert not np.array_equal(first["b-2.png"], first["b-3.png"])
    translate(run, tmp_path / "b.png", output=tmp_path / "2", samples=2)
    np.testing.assert_array_equal(pixels_of(tmp_path / "2/b-2.png"), first["b-2.png"])
    translate(run, tmp_path / "b.png", output=tmp_path / "3", samples=2, seed=1)
    assert not np.array_equal(pixels_of(tmp_path / "3/b-2.png"), first["b-2.png"])
    translate(run, tmp_path / "b.png", output=tmp_path / "4")
    assert not np.array_equal(pixels_of(tmp_path / "4/b.png"), first["b-1.png"])


def test_side_by_side_puts_the_input_first(run, tmp_path):
    pixels = make_picture(tmp_path / "1.png", 40, 50)
    translate(run, tmp_path / "1.png", output=tmp_path / "out", side_by_side=True, samples=2)
    panel = pixels_of(tmp_path / "out/1.png")
    assert panel.shape == (40, 150, 3)
    np.testing.assert_array_equal(panel[:, :50], pixels)
    assert not np.array_equal(panel[:, 50:100], panel[:, 100:])


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_pairs_translates_the_source_half(small, tmp_path, direction):
    run = make_run(tmp_path / "run", dataclasses.replace(small, direction=direction), copying())
    pixels = make_pair(tmp_path / "pair.png", 32)
    translate(run, tmp_path / "pair.png", output=tmp_path / "out", pairs=True)
    half = pixels[:, :32] if direction == "AtoB" else pixels[:, 32:]
    np.testing.assert_array_equal(pixels_of(tmp_path / "out/pair.png"), half)


def test_a_pair_given_by_mistake_is_recognised(small, tmp_path, capsys):
    run = make_run(tmp_path / "run", small, copying(), pair_shape=[40, 100])
    for name, width in (("a", 50), ("b", 100), ("c", 200)):
        make_picture(tmp_path / f"{name}.png", 40, width)
    translate(run, tmp_path / "a.png", tmp_path / "c.png", output=tmp_path / "1")
    assert "--pairs" not in capsys.readouterr().out
    translate(run, tmp_path / "a.png", tmp_path / "b.png", output=tmp_path / "2")
    said = capsys.readouterr().out
    assert f"{tmp_path / 'b.png'} looks like a pair" in said
    assert "--pairs" in said
    translate(run, tmp_path / "b.png", output=tmp_path / "3", pairs=True)
    assert "looks like" not in capsys.readouterr().out


def test_colorize_keeps_the_brightness_of_every_pixel_at_full_size(small, tmp_path):
    run = make_run(tmp_path / "run", small_task(small, "colorize"))
    grey = make_picture(tmp_path / "1.png", 90, 70, 1)[..., 0] // 2 + 64
    Image.fromarray(grey).save(tmp_path / "1.png")
    translate(run, tmp_path / "1.png", output=tmp_path / "out")
    colour = pixels_of(tmp_path / "out/1.png")
    assert colour.shape == (90, 70, 3)
    assert np.abs(colour @ np.array(LUMA) - grey).max() <= 1


def test_super_resolve_enlarges_pictures_of_any_size(small, tmp_path):
    config = small_task(small, "super-resolve", scale=4)
    run = make_run(tmp_path / "run", config)
    make_picture(tmp_path / "1.png", 8, 8)  # exactly what the training makes its sources from
    make_picture(tmp_path / "2.png", 30, 21)
    translate(run, tmp_path / "1.png", tmp_path / "2.png", output=tmp_path / "out")
    assert pixels_of(tmp_path / "out/2.png").shape == (120, 84, 3)
    trained = open_run(run)
    small_one = from_pixels(pixels_of(tmp_path / "1.png"))
    source = tf.clip_by_value(tf.image.resize(small_one, (32, 32), "bicubic"), -1, 1)
    expected = to_pixels(script.generate(trained.generator, source[None])[0])
    np.testing.assert_array_equal(pixels_of(tmp_path / "out/1.png"), expected)


@pytest.mark.parametrize("native", [True, False])
def test_inpaint_fills_holes_and_keeps_the_rest(small, tmp_path, native):
    run = make_run(tmp_path / "run", small_task(small, "inpaint"))
    pixels = make_picture(tmp_path / "1.png", 50, 60, 4)
    pixels[..., 3] = 255
    pixels[10:30, 20:40, 3] = 0
    for name, hidden in (("1", 0), ("2", 200)):  # what is behind a hole makes no difference
        pixels[10:30, 20:40, :3] = hidden
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    inputs = (tmp_path / "1.png", tmp_path / "2.png")
    translate(run, *inputs, output=tmp_path / "out", native=native)
    filled = pixels_of(tmp_path / "out/1.png")
    known = pixels[..., 3] == 255
    assert filled.shape == (50, 60, 3)
    np.testing.assert_array_equal(filled[known], pixels[known][:, :3])
    assert len(np.unique(filled[~known])) > 3
    np.testing.assert_array_equal(pixels_of(tmp_path / "out/2.png"), filled)


def test_inpaint_refuses_a_picture_without_holes(small, tmp_path, capsys):
    run = make_run(tmp_path / "run", small_task(small, "inpaint"))
    make_picture(tmp_path / "1.png", 32, 32)
    with pytest.raises(UserError, match="1 could not be translated"):
        translate(run, tmp_path / "1.png", output=tmp_path / "out")
    assert "nothing is transparent, so there is nothing to fill" in capsys.readouterr().out


def test_results_have_the_channels_of_the_targets(small, tmp_path):
    for channels, mode in ((1, "L"), (3, "RGB"), (4, "RGBA")):
        config = dataclasses.replace(small, target_channels=channels)
        run = make_run(tmp_path / f"run{channels}", config)
        make_picture(tmp_path / "1.png", 32, 32)
        make_picture(tmp_path / "2.png", 32, 32, 1)
        inputs, output = (tmp_path / "1.png", tmp_path / "2.png"), tmp_path / f"out{channels}"
        translate(run, *inputs, output=output)
        assert {Image.open(output / f"{k}.png").mode for k in (1, 2)} == {mode}
        translate(run, *inputs, output=output, format="jpg")  # which has no transparency
        assert Image.open(output / "1.jpg").mode == ("L" if mode == "L" else "RGB")
        translate(run, *inputs, output=output, format="webp")
        assert Image.open(output / "1.webp").mode == ("RGBA" if mode == "RGBA" else "RGB")


def test_16_bits_in_every_channel_reach_the_png(small, tmp_path):
    run = make_run(tmp_path / "run", small, copying(), target_bits=16)
    deep = np.random.default_rng(0).integers(0, 65536, (32, 32, 3), dtype=np.uint16)
    (tmp_path / "1.png").write_bytes(tf.io.encode_png(deep).numpy())
    translate(run, tmp_path / "1.png", output=tmp_path / "out")
    np.testing.assert_array_equal(read_picture(tmp_path / "out/1.png"), deep)
    translate(run, tmp_path / "1.png", output=tmp_path / "out", format="webp")
    assert Image.open(tmp_path / "out/1.webp").mode == "RGB"


def test_pictures_are_let_go_when_they_are_written(copy, tmp_path, monkeypatch):
    alive, most, load = weakref.WeakSet(), [], Translator.load

    def load_and_count(*arguments):
        loaded = load(*arguments)
        alive.add(loaded)
        most.append(len(alive))
        return loaded

    monkeypatch.setattr(Translator, "load", load_and_count)
    for k in range(60):
        make_picture(tmp_path / f"in/{k}.png", 8, 8)
    translate(copy, tmp_path / "in", output=tmp_path / "out", batch_size=2)
    assert len(most) == 60
    assert max(most) < 20  # and not all of them


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 0}, "--batch-size must be above 0"),
        ({"samples": -1}, "--samples not below"),
        ({"samples": 2}, "--samples is for pictures"),
    ],
)
def test_options_that_make_no_sense_are_one_line(copy, tmp_path, options, said):
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(UsageError, match=said):
        translate(copy, tmp_path / "clip.mp4", **options)
    with pytest.raises(UsageError, match="translate wants to know what"):
        translate(copy)


def make_disk_fail(monkeypatch, name: str, number: int) -> None:
    """Let the disk fail, with an error of the system, where a file of this name is written."""
    write_bytes = Path.write_bytes

    def write_or_fail(path, content):
        written = write_bytes(path, content)
        if path.name == f".partial-{name}":
            raise OSError(number, os.strerror(number))
        return written

    monkeypatch.setattr(Path, "write_bytes", write_or_fail)


@pytest.mark.parametrize("form", ["png", "jpg"])
def test_a_full_disk_is_one_line_that_names_the_file(copy, tmp_path, monkeypatch, capsys, form):
    for k in range(5):
        make_picture(tmp_path / f"in/{k}.png", 32, 32)
    make_disk_fail(monkeypatch, f"2.{form}", errno.ENOSPC)
    with pytest.raises(SystemExit) as exit:
        command_line.main(
            ["translate", str(copy), str(tmp_path / "in"), "--output=out", f"--format={form}"]
        )
    said = capsys.readouterr()
    assert exit.value.code == 1
    why = "could not be written (No space left on device). Free some space and start again."
    assert said.err == f"error: out/2.{form}: {why}\n"
    assert "Skipped" not in said.out
    assert not {name for name in written(tmp_path / "out") if name.startswith((".", "2"))}


def test_a_result_that_cannot_be_written_does_not_stop_the_others(
    copy, tmp_path, monkeypatch, capsys
):
    for k in range(4):
        make_picture(tmp_path / f"in/{k}.png", 32, 32)
    make_disk_fail(monkeypatch, "2.png", errno.EFBIG)
    with pytest.raises(UserError, match="1 could not be translated"):
        translate(copy, tmp_path / "in", output=tmp_path / "out")
    said = capsys.readouterr().out
    assert f"Skipped   {tmp_path}/out/2.png: could not be written (File too large)" in said
    assert "Wrote     3 of 4" in said
    assert written(tmp_path / "out") == {"0.png", "1.png", "3.png"}


@pytest.mark.parametrize("letter", ["x", "ü"])
def test_names_as_long_as_names_can_be_are_translated(copy, tmp_path, capsys, letter):
    stem = letter * (250 // len(letter.encode())) + "1"
    pixels = make_picture(tmp_path / "in" / f"{stem}.png", 32, 32)
    make_picture(tmp_path / "in/1.png", 32, 32)
    translate(copy, tmp_path / "in", output=tmp_path / "out")
    np.testing.assert_array_equal(pixels_of(tmp_path / "out" / f"{stem}.png"), pixels)
    with pytest.raises(UserError, match="1 could not be translated"):
        translate(copy, tmp_path / "in", output=tmp_path / "webp", format="webp")
    assert written(tmp_path / "webp") == {"1.webp"}
    assert ".webp: could not be written (File name too long)" in capsys.readouterr().out


def test_a_name_that_is_not_unicode_is_translated(copy, tmp_path):
    name = os.fsdecode(b"caf\xe9")
    pixels = make_picture(tmp_path / "in" / f"{name}.png", 32, 32)
    translate(copy, tmp_path / "in", output=tmp_path / "out", format="same")
    np.testing.assert_array_equal(pixels_of(tmp_path / "out" / f"{name}.png"), pixels)


def test_an_output_that_is_a_file_is_refused_before_the_work(copy, tmp_path):
    make_picture(tmp_path / "1.png", 32, 32)
    (tmp_path / "notes.txt").write_text("precious")
    for output in ("notes.txt", "notes.txt/deeper", "notes.txt/1.png"):
        said = r"^--output .*notes.txt.* written to \((it is a file|Not a directory)\).*$"
        with pytest.raises(UserError, match=said):
            translate(copy, tmp_path / "1.png", output=tmp_path / output)
    assert (tmp_path / "notes.txt").read_text() == "precious"


def test_a_folder_called_like_a_picture_is_a_folder(copy, tmp_path, capsys):
    make_picture(tmp_path / "in/folder.png/1.png", 32, 32)
    translate(copy, tmp_path / "in", output=tmp_path / "out")
    assert written(tmp_path / "out") == {"folder.png/1.png"}
    assert "Wrote     1 of 1" in capsys.readouterr().out


def test_a_huge_picture_that_cannot_be_read_or_written_is_skipped(copy, tmp_path, capsys):
    for name, height in (("1", 64), ("2", 65), ("3", 64)):
        make_picture(tmp_path / f"in/{name}.png", height, 64)
    (tmp_path / "out/3.png").mkdir(parents=True)
    with pytest.raises(UserError, match="2 could not be translated"):
        translate(
            copy,
            tmp_path / "in",
            output=tmp_path / "out",
            native=True,
            overwrite=True,
            max_pixels=64 * 64,
        )
    said = capsys.readouterr().out
    assert "2.png: has 4,160 pixels; translate --max-pixels 4160 reads it" in said
    assert f"Skipped   {tmp_path}/out/3.png: could not be written (Is a directory)" in said
    assert written(tmp_path / "out") == {"1.png"}


def test_a_picture_that_takes_more_memory_than_there_is_is_skipped(
    small, tmp_path, monkeypatch, capsys
):
    config = small_task(small, "super-resolve", scale=2)
    run = make_run(tmp_path / "run", config)
    for name, height in (("1", 64), ("2", 6400)):
        make_picture(tmp_path / f"in/{name}.png", height, 64)
    monkeypatch.setattr(picture_files, "memory_size", lambda: 64 * 64 * 1000)
    with pytest.raises(UserError, match="1 could not be translated"):
        translate(run, tmp_path / "in", output=tmp_path / "out", max_pixels=10**9)
    said = "2.png: has 409,600 pixels; translating it takes about 0.1 GB, and this machine has 0.0."
    assert f"{said} Translate parts of it." in capsys.readouterr().out
    assert written(tmp_path / "out") == {"1.png"}

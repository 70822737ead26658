"""Opening a trained run, from its folder or from its generator.keras alone."""

import dataclasses
import io
import json
import shutil
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import copying, make_picture, make_run, pixels_of
from helpers import translate
from keras import layers

import image_to_image_translation as script
from pix2pix.commands.archive_checks import NETWORK, WEIGHTS
from pix2pix.commands.export.command import export
from pix2pix.commands.open_run import open_run
from pix2pix.options.commands import Export
from pix2pix.talk.errors import UserError


@pytest.fixture
def copy(small, tmp_path):
    return make_run(tmp_path / "copy", small, copying())


def test_a_generator_alone_is_as_good_as_its_run(copy, tmp_path):
    pixels = make_picture(tmp_path / "1.png", 32, 32)
    shutil.move(copy / "generator.keras", tmp_path / "mine.keras")
    translate(tmp_path / "mine.keras", tmp_path / "1.png", output=tmp_path / "out")
    np.testing.assert_array_equal(pixels_of(tmp_path / "out/1.png"), pixels)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "none.keras",
            None,
            "no such run. In training_checkpoints there are none yet",
        ),
        ("folder", None, "there is no such file; it comes with the first checkpoint"),
        ("photo.keras", b"not a zip", "not a sound generator.keras"),
    ],
)
def test_what_is_no_run_is_one_line(tmp_path, monkeypatch, name, content, said):
    monkeypatch.chdir(tmp_path)  # where no runs are
    (tmp_path / "folder").mkdir()
    if content:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        open_run(tmp_path / name)


def test_a_run_can_be_named_as_it_was_for_train(copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(copy, tmp_path / "training_checkpoints/try")
    (tmp_path / "photos").mkdir()
    assert open_run(Path("try")).folder == Path("training_checkpoints/try")
    (tmp_path / "try").mkdir()  # a folder of the same name that is no run
    assert open_run(Path("try")).folder == Path("training_checkpoints/try")
    shutil.copytree(copy, tmp_path / "try", dirs_exist_ok=True)  # a path comes first
    assert open_run(Path("try")).folder == Path("try")
    with pytest.raises(UserError, match="tri: no such run. In training_checkpoints there are try;"):
        open_run(Path("tri"))


def test_a_generator_of_another_program_or_cut_short_is_one_line(copy, tmp_path):
    copying().save(tmp_path / "theirs.keras")
    with pytest.raises(UserError, match=r"theirs\.keras"):
        open_run(tmp_path / "theirs.keras")
    whole = (copy / "generator.keras").read_bytes()
    (copy / "generator.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="not a sound generator.keras"):
        open_run(copy)


def test_samples_leave_batch_statistics_alone(small, tmp_path):
    config = dataclasses.replace(small, normalization="batch", batch_size=2)
    trained = open_run(make_run(tmp_path / "run", config))
    before = [weight.numpy() for weight in trained.generator.weights]
    first = script.generate(trained.generator, tf.zeros([1, 32, 32, 3]), False)
    script.generate(trained.generator, tf.ones([1, 32, 32, 3]), True)
    for old, weight in zip(before, trained.generator.weights, strict=True):
        np.testing.assert_array_equal(old, weight)
    again = script.generate(trained.generator, tf.zeros([1, 32, 32, 3]), False)
    np.testing.assert_array_equal(first, again)


# --- A stranger's file ---


def refused(run: Path) -> str:
    """The one line that a run is refused with."""
    with pytest.raises(UserError) as refusal:
        open_run(run)
    assert str(refusal.value).startswith(f"{run}/generator.keras: not a sound generator.keras (")
    return str(refusal.value)


def replace_member(run: Path, name: str, content: bytes | None) -> None:
    """Put other content, compressed, into a generator.keras; or leave the member out."""
    with zipfile.ZipFile(run / "generator.keras") as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    with zipfile.ZipFile(run / "generator.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        for member, ours in members.items():
            if member != name:
                archive.writestr(member, ours)
        if content is not None:
            archive.writestr(name, content)


def as_npy(array: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["run.json", "example.npy", NETWORK, WEIGHTS])
def test_a_bomb_or_a_missing_part_is_refused(copy, name):
    replace_member(copy, name, bytes(2**26))
    size = (copy / "generator.keras").stat().st_size
    assert size < 2**18
    assert f"its {size:,} bytes would become 67," in refused(copy)
    replace_member(copy, name, None)
    assert name in refused(copy)


@pytest.mark.parametrize(("name", "size"), [("run.json", 2**20 + 1), (NETWORK, 2**20 + 1)])
def test_a_text_that_is_endless_is_refused(copy, name, size):
    replace_member(copy, name, np.random.default_rng(0).bytes(size))
    assert "has more than 1,048,576 bytes" in refused(copy)


@pytest.mark.parametrize(
    "content",
    [
        as_npy(np.zeros((1, 64, 64, 3), np.float32)),
        as_npy(np.zeros((1, 32, 32, 1), np.float32)),
        as_npy(np.zeros((1, 32, 32, 3), np.float16)),
        as_npy(np.full((1, 32, 32, 3), np.nan, np.float32)),
        as_npy(np.array([print]), allow_pickle=True),
        as_npy(np.zeros((1, 32, 32, 3), np.float32))[:-1],
        b"",
    ],
)
def test_an_example_that_is_no_source_is_refused(copy, content):
    replace_member(copy, "example.npy", content)
    refused(copy)


def with_layers(small, folder: Path, *between: layers.Layer, size: int = 32, channels: int = 3):
    """A run of a network of some layers."""
    x = source = keras.Input((size, size, channels), name="source")
    for layer in between:
        x = layer(x)
    return make_run(folder, small, keras.Model(source, layers.Identity(name="generated")(x)))


def test_a_network_only_computes(small, tmp_path):
    code = layers.Lambda(lambda x: x, output_shape=(32, 32, 3))
    assert "Lambda is no layer that only computes" in refused(
        with_layers(small, tmp_path / "code", code)
    )
    run = make_run(tmp_path / "words", small, copying())
    with zipfile.ZipFile(run / "generator.keras") as archive:
        network = json.loads(archive.read(NETWORK))
    for module, name in (
        ("keras.layers", "StringLookup"),  # reads its words from any file
        ("keras.layers", "TFSMLayer"),
        ("keras.utils", "get_file"),
        ("keras", "utils.get_file"),
        ("builtins", "function"),
        ("os", "system"),
        (None, "__lambda__"),
    ):
        network["config"]["layers"][1] |= {"module": module, "class_name": name}
        replace_member(run, NETWORK, json.dumps(network).encode())
        assert f"{name} is no layer that only computes" in refused(run)


def test_layers_of_other_kinds_that_compute_are_welcome(small, tmp_path):
    kinds = layers.PReLU(), layers.Conv2D(3, 3, padding="same"), layers.SpatialDropout2D(0.5)
    run = with_layers(small, tmp_path / "run", *kinds)
    assert len(open_run(run).generator.layers) == 5


@pytest.mark.parametrize(("size", "channels"), [(64, 3), (32, 1), (32, 4)])
def test_a_network_with_other_inputs_than_its_options_say(small, tmp_path, size, channels):
    run = with_layers(small, tmp_path / "run", size=size, channels=channels)
    wrong = f"it should be (32, 32, 3), but its network has ({size}, {size}, {channels})"
    assert f"run.json: with image_size and source_channels {wrong}" in refused(run)


def test_a_network_with_other_outputs_than_its_options_say(small, tmp_path):
    run = with_layers(small, tmp_path / "run", layers.Conv2D(1, 1))
    assert "target_channels it should be (32, 32, 3), but its network has (32, 32, 1)" in (
        refused(run)
    )


def test_a_network_that_would_take_gigabytes(small, tmp_path):
    run = with_layers(small, tmp_path / "run", layers.Conv2D(7, 1), layers.Conv2D(3, 1))
    with zipfile.ZipFile(run / "generator.keras") as archive:
        network = archive.read(NETWORK).decode()
    huge = network.replace('"filters": 7', '"filters": 2000000000').replace(" 7]", " 2000000000]")
    replace_member(run, NETWORK, huge.encode())
    assert "its network has 14,000,000,003 weights, but model.weights.h5 52" in refused(run)
    padded = layers.ZeroPadding2D(400), layers.Cropping2D(400)
    run = with_layers(small, tmp_path / "padded", *padded)
    assert "zero_padding2d" in refused(run)


@pytest.mark.parametrize("kind", ["link", "external", "vast"])
def test_weights_lie_in_their_file(small, tmp_path, kind):
    run = with_layers(small, tmp_path / "run", layers.Conv2D(3, 1, name="c"))
    with zipfile.ZipFile(run / "generator.keras") as archive:
        (tmp_path / "w.h5").write_bytes(archive.read(WEIGHTS))
    with h5py.File(tmp_path / "w.h5", "a") as weights:
        if kind == "link":
            weights["odd"] = h5py.ExternalLink("/etc/passwd", "/")
        elif kind == "external":
            weights.create_dataset("odd", (8,), "u1", external=[("/etc/passwd", 0, 8)])
        else:
            weights.create_dataset("odd", (2**31,), "f4", chunks=(2**20,), compression="gzip")
    replace_member(run, WEIGHTS, (tmp_path / "w.h5").read_bytes())
    assert f"{WEIGHTS}: " in refused(run)
    assert ("do not fit into it" if kind == "vast" else "odd lies elsewhere") in refused(run)


def test_two_files_of_one_name_are_refused(copy):
    with (
        pytest.warns(UserWarning, match="Duplicate"),
        zipfile.ZipFile(copy / "generator.keras", "a") as archive,
    ):
        archive.writestr("run.json", "{}")
    assert "it holds two files of one name" in refused(copy)


@pytest.mark.parametrize(
    "change",
    [
        *({"generator_filters": 1024}, {"normalization": "none"}),
        *({"upsampling": "resize"}, {"padding": "reflect"}),
    ],
)
def test_an_export_is_of_the_network_in_the_file(small, tmp_path, change):
    run = make_run(tmp_path / "run", small)
    with zipfile.ZipFile(run / "generator.keras") as archive:
        settings = json.loads(archive.read("run.json"))
    replace_member(run, "run.json", json.dumps(settings | change).encode())
    with pytest.raises(UserError, match="its options make another network than it has"):
        export(Export(run, ("keras",)))

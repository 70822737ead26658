"""Opening a trained run, from its folder or from its generator.keras alone."""

import dataclasses
import io
import json
import math
import re
import resource
import shutil
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import copying, make_picture, make_run, pixels_of
from helpers import translate, written
from keras import layers

import image_to_image_translation as script
from pix2pix.commands.open_run import TrainedRun, open_run
from pix2pix.options.found import Found
from pix2pix.options.saved import read_run
from pix2pix.options.train import Train
from pix2pix.runs.generator_file import EXAMPLE, RUN, WEIGHTS
from pix2pix.talk.errors import UserError

NETWORK = "config.json"  # within a generator.keras: the network, as Keras describes it


@pytest.fixture
def copy(small, tmp_path):
    return make_run(tmp_path / "copy", small, copying())


@pytest.fixture
def run(small, tmp_path):
    return make_run(tmp_path / "run", small)


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


def members_of(run: Path) -> dict[str, bytes]:
    """What a generator.keras holds, by name."""
    with zipfile.ZipFile(run / "generator.keras") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def replace_member(
    run: Path, name: str, content: bytes | None, compression: int = zipfile.ZIP_DEFLATED
) -> None:
    """Put other content, compressed, into a generator.keras; or leave the member out."""
    members = members_of(run)
    with zipfile.ZipFile(run / "generator.keras", "w", compression) as archive:
        for member, ours in members.items():
            if member != name:
                archive.writestr(member, ours)
        if content is not None:
            archive.writestr(name, content)


def as_npy(array: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def generated(trained: TrainedRun) -> np.ndarray:
    """What a run makes of its example."""
    return script.generate(trained.generator, trained.example).numpy()


TRACES = []  # of a trap that was sprung


@keras.saving.register_keras_serializable("tests", "trap")
def trap(*words: str) -> None:
    TRACES.append(words)


def set_trap(run: Path, function: str, *words: str) -> None:
    """Let the description of a network call a function while Keras makes the network of it."""
    network = json.loads(members_of(run)[NETWORK])
    first = network["config"]["layers"][0]
    history = {"dtype": "float32", "keras_history": [first["name"], 0, 0]}
    config = {"shape": first["config"]["batch_shape"], **history}
    tensor = {"class_name": "__keras_tensor__", "config": config}
    branch = {"module": "keras", "class_name": "function", "config": function}
    branch["registered_name"] = function
    operation = {
        "module": "keras.src.ops.core",
        "class_name": "Switch",
        "config": {"name": "switch"},
        "registered_name": "Switch",
        "name": "switch",
        "inbound_nodes": [{"args": [tensor, [branch], *words], "kwargs": {}}],
    }
    network["config"]["layers"].append(operation)
    replace_member(run, NETWORK, json.dumps(network).encode())


def test_no_function_that_a_file_names_is_called(run):
    expected = generated(open_run(run))
    set_trap(run, "tests>trap", "sprung")
    TRACES.clear()
    np.testing.assert_array_equal(generated(open_run(run)), expected)
    assert TRACES == []
    with suppress(Exception):  # Keras calls it, as it would in any older version of this program
        keras.saving.load_model(run / "generator.keras")
    assert TRACES[:1] == [("sprung",)]


@pytest.mark.parametrize("function", ["utils.get_file", "config.set_floatx"])
def test_no_function_of_keras_runs_or_writes(run, tmp_path, function):
    (tmp_path / "theirs").write_text("of an attacker")
    words = [str(tmp_path / "mine"), f"file://{tmp_path}/theirs"]
    set_trap(run, function, *(words if function == "utils.get_file" else ["float64"]))
    before = written(tmp_path)
    open_run(run)
    assert written(tmp_path) == before
    assert keras.config.floatx() == "float32"


def test_whatever_a_file_says_of_its_network_is_not_read(small, run, tmp_path):
    expected = generated(open_run(run))
    source = keras.Input((32, 32, 3))
    code = keras.Model(source, layers.Lambda(lambda x: 1 / 0, output_shape=(32, 32, 3))(source))
    code.save(tmp_path / "code.keras")
    with zipfile.ZipFile(tmp_path / "code.keras") as archive:
        described = archive.read(NETWORK)
    assert b"Lambda" in described
    for description in (described, b"no JSON", None):
        replace_member(run, NETWORK, description)
        np.testing.assert_array_equal(generated(open_run(run)), expected)


@pytest.mark.parametrize("name", [RUN, EXAMPLE, NETWORK, WEIGHTS, "other"])
def test_a_bomb_is_refused(run, name):
    replace_member(run, name, bytes(2**26))
    size = (run / "generator.keras").stat().st_size
    assert size < 2**19
    assert f"its {size:,} bytes would become 67," in refused(run)


@pytest.mark.parametrize("name", [RUN, EXAMPLE, WEIGHTS])
def test_a_missing_part_is_refused(run, name):
    replace_member(run, name, None)
    assert name in refused(run)


def test_a_text_that_is_endless_is_refused(run):
    replace_member(run, RUN, np.random.default_rng(0).bytes(2**20 + 1))
    assert "has more than 1,048,576 bytes" in refused(run)


def test_two_files_of_one_name_are_refused(run):
    with (
        pytest.warns(UserWarning, match="Duplicate"),
        zipfile.ZipFile(run / "generator.keras", "a") as archive,
    ):
        archive.writestr(RUN, "{}")
    assert "it holds two files of one name" in refused(run)


def test_names_without_end_are_refused_at_once(run):
    replace_member(run, 30_000 * "a/", b"")
    begun = time.perf_counter()
    assert "the names of the files in it have 60,0" in refused(run)
    assert time.perf_counter() - begun < 1


def test_an_unusual_compression_is_refused(run):
    with zipfile.ZipFile(run / "generator.keras", "a") as archive:
        archive.writestr("odd", b"", zipfile.ZIP_LZMA)  # which may ask for 4 GB to begin with
    assert "it is compressed by neither deflate nor nothing" in refused(run)


@pytest.mark.parametrize(
    "content",
    [
        as_npy(np.zeros((1, 64, 64, 3), np.float32)),
        as_npy(np.zeros((1, 32, 32, 1), np.float32)),
        as_npy(np.zeros((1, 32, 32, 3), np.float16)),
        as_npy(np.full((1, 32, 32, 3), np.nan, np.float32)),
        as_npy(np.array([print]), allow_pickle=True),
        as_npy(np.zeros((1, 32, 32, 3), np.float32))[:-1],
        as_npy(np.zeros(9, np.float32)).replace(b"(9,)", b"(999999999999,)"),
        b"",
    ],
)
def test_an_example_that_is_no_source_is_refused(run, content):
    replace_member(run, EXAMPLE, content)
    refused(run)


# --- Its weights ---


def change_weights(run: Path, change: Callable[[h5py.File], None]) -> None:
    """Change the file of weights in a generator.keras."""
    content = io.BytesIO(members_of(run)[WEIGHTS])
    with h5py.File(content, "a") as weights:
        change(weights)
    replace_member(run, WEIGHTS, content.getvalue(), zipfile.ZIP_STORED)


def arrays_in(weights: h5py.File) -> list[h5py.Dataset]:
    """All arrays in a file, the largest first."""
    items = []
    weights.visititems(lambda _, item: items.append(item))
    arrays = [item for item in items if isinstance(item, h5py.Dataset)]
    return sorted(arrays, key=lambda array: -array.size)


def put(weights: h5py.File, change: Callable[[np.ndarray], np.ndarray] | None) -> None:
    """Put another array in the place of the largest, or none."""
    array = arrays_in(weights)[0]
    name, value = array.name, array[()]
    del weights[name]
    if change:
        weights[name] = change(value)


def nan_at_the_end(value: np.ndarray) -> np.ndarray:
    value.flat[-1] = np.nan
    return value


WRONG_WEIGHTS = {
    "too few": (lambda file: put(file, None), r"1 \(16,384 numbers\) are missing, and 0 "),
    "too many": (
        lambda file: file.create_dataset("odd", data=np.zeros((2, 9), np.float32)),
        r"0 \(0 numbers\) are missing, and 1 \(18 numbers\) are too many",
    ),
    "of another shape": (
        lambda file: put(file, lambda value: value[..., :-1]),
        r"1 \(16,384 numbers\) are missing, and 1 \(15,872 numbers\) are too many",
    ),
    "as many, but turned round": (
        lambda file: put(file, lambda value: value.T),
        r"1 \(16,384 numbers\) are missing, and 1 \(16,384 numbers\) are too many",
    ),
    "elsewhere in the file": (lambda file: file.move(arrays_in(file)[0].name, "odd"), ""),
    "all elsewhere in the file": (lambda file: file.move("layers", "odd"), ""),
    "not finite": (
        lambda file: put(file, nan_at_the_end),
        "kernel is not where it should be, or not finite",
    ),
    "text": (
        lambda file: put(file, lambda value: value.astype("S9")),
        "does not lie there number by number",
    ),
}


@pytest.mark.parametrize("kind", WRONG_WEIGHTS)
def test_weights_of_another_network_are_refused(run, kind):
    change, said = WRONG_WEIGHTS[kind]
    change_weights(run, change)
    assert re.search(said, refused(run))


def create_virtual(weights: h5py.File) -> None:
    layout = h5py.VirtualLayout((8,), "u1")
    layout[:] = h5py.VirtualSource("/etc/passwd", "/", (8,))
    weights.create_virtual_dataset("odd", layout)


ELSEWHERE = {
    "external link": lambda file: file.update(odd=h5py.ExternalLink("/etc/passwd", "/")),
    "soft link": lambda file: file.update(odd=h5py.SoftLink("/layers")),
    "external array": lambda file: file.create_dataset(
        "odd", (8,), "u1", external=[("/etc/passwd", 0, 8)]
    ),
    "virtual array": create_virtual,
}


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_weights_lie_in_their_file(run, kind):
    change_weights(run, ELSEWHERE[kind])
    assert re.search(rf"{WEIGHTS}: /?odd lies elsewhere", refused(run))


def in_an_endless_row(weights: h5py.File) -> None:
    group = weights
    for _ in range(10_001):
        group = group.create_group("g")


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.update(odd=file["/"]),
        lambda file: [file.create_group(f"{k}") for k in range(10_001)],
        in_an_endless_row,
    ],
    ids=["a circle", "many", "an endless row"],
)
def test_groups_without_end_are_refused(run, change):
    change_weights(run, change)
    assert "there are more than 10,000 groups and arrays" in refused(run)


# --- Its options ---


def change_run(run: Path, found: dict | None = None, **options) -> tuple[Train, Found]:
    """Change what a generator.keras says of its run; what it says now."""
    saved = json.loads(members_of(run)[RUN]) | options
    saved["found"] |= found or {}
    replace_member(run, RUN, json.dumps(saved).encode())
    with zipfile.ZipFile(run / "generator.keras") as archive:
        return read_run(zipfile.Path(archive, RUN))[:2]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        *(({"generator_filters": 8}, {}), ({"generator_filters": 1024}, {})),
        *(({"normalization": "none"}, {}), ({"normalization": "batch", "batch_size": 2}, {})),
        *(({"upsampling": "resize"}, {}), ({}, {"depth": 4}), ({}, {"target_channels": 1})),
    ],
)
def test_options_of_another_network_are_refused(run, options, found):
    change_run(run, found, **options)
    assert "of the weights that the options make, " in refused(run)


@pytest.mark.parametrize(
    ("options", "found"),
    [({"image_size": 64}, {}), ({}, {"source_channels": 1}), ({}, {"source_channels": 4})],
)
def test_options_of_other_sources_are_refused(run, options, found):
    change_run(run, found, **options)
    assert f"{EXAMPLE}: " in refused(run)


@pytest.mark.parametrize(
    ("options", "found", "said"),
    [
        ({"generator_filters": 2**30}, {}, "--generator-filters must be a whole number from 1 to"),
        (
            {"image_size": "99999x99999"},
            {},
            "--image-size must be at most 8192 in height and width",
        ),
        ({"image_size": "32x"}, {}, "--image-size must be SIZE or HEIGHTxWIDTH, from 32 on"),
        ({"task": "superb"}, {}, "--task must be one of pairs, "),
        ({"task": "colorize"}, {}, "--direction must be AtoB with this --task"),
        ({"task": "colorize"}, {"direction": "AtoB"}, r"are \[3, 3\], but \[1, 3\] with this"),
        ({}, {"depth": 40}, "--depth must be at least 2 and at most how often"),
        ({}, {"target_channels": 10**9}, "target_channels must be a number of channels"),
        ({}, {"target_bits": None}, "target_bits is missing"),
        ({}, {"source": {"parts": [["a", 5], ["b", -2]]}}, "source must say what its"),
        ({"config": {"class_name": "Lambda"}, "odd": 1}, {}, "odd is no option of this program"),
    ],
)
def test_options_that_no_run_can_have_are_refused(run, options, found, said):
    saved = json.loads(members_of(run)[RUN]) | options
    saved["found"] |= found
    replace_member(run, RUN, json.dumps(saved).encode())
    assert re.search(said, refused(run))


def declare_weights(run: Path, options: Train, found: Found, in_pieces: bool) -> bytes:
    """A file of all weights that options make, in which none has a byte."""
    with tf.Graph().as_default():
        shapes = [tuple(weight.shape) for weight in script.build_generator(options, found).weights]
    assert 4 * sum(map(math.prod, shapes)) > 10**10
    content, how = io.BytesIO(), {"chunks": True, "compression": "gzip"} if in_pieces else {}
    with h5py.File(content, "w") as weights:
        for k, shape in enumerate(shapes):
            weights.create_dataset(f"layers/{k}/vars/0", shape, "f4", **how)
    return content.getvalue()


@pytest.mark.parametrize("kind", ["other weights", "no bytes", "in pieces"])
def test_networks_beyond_the_memory_are_refused_before_they_take_it(run, kind):
    options, found = change_run(run, {"depth": 5}, generator_filters=1024, image_size=32)
    if kind != "other weights":
        replace_member(run, WEIGHTS, declare_weights(run, options, found, kind == "in pieces"))
    assert (run / "generator.keras").stat().st_size < 2**20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in kB
    said = refused(run)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10**6
    if kind == "other weights":
        assert "of the weights that the options make" in said
    else:
        assert "does not lie there number by number" in said


def test_several_weights_in_one_place_are_refused(run):
    content = io.BytesIO()
    with h5py.File(io.BytesIO(members_of(run)[WEIGHTS])) as ours, h5py.File(content, "w") as theirs:
        largest, *others = arrays_in(ours)
        theirs[largest.name] = largest[()]
        place = theirs[largest.name].id.get_offset()
        for array in others:
            theirs.create_dataset(array.name, array.shape, "f4")
    nowhere = rb"(?<=\x03\x01)" + 8 * b"\xff"  # in the head of an array that was never written
    overlapping = re.sub(nowhere, re.escape(place.to_bytes(8, "little")), content.getvalue())
    replace_member(run, WEIGHTS, overlapping, zipfile.ZIP_STORED)
    assert re.search(r"its arrays have \d+,... bytes, more than it has itself", refused(run))

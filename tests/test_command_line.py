"""Flags, saved configurations, and errors of one line."""

import dataclasses
import json
import os
import re
import subprocess
import sys

import pytest
import tensorflow as tf
from conftest import SCRIPT, errors, flags, make_pair, start

import image_to_image_translation as script
from pix2pix import command_line
from pix2pix.options.train import Inspect, Train, flag
from pix2pix.talk.errors import UsageError, UserError
from pix2pix.talk.lines import SCRIPT as SCRIPT_COMMAND


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def parsed_options(*arguments: str) -> Train:
    """The options that these arguments mean."""
    return command_line.parse(arguments)[1]


def test_no_arguments_mean_train_on_facades():
    assert command_line.parse([]) == command_line.parse(["train"]) == ("train", Train())


def test_flags():
    parsed = parsed_options("train", "--dataset", "maps", "--steps", "7", "--direction=BtoA")
    assert parsed == Train(dataset="maps", steps=7, direction="BtoA")
    parsed = parsed_options("--no-flip", "--crop", "--image-size", "256x512", "--depth", "7")
    assert parsed == Train(flip=False, crop=True, image_size="256x512", depth=7)
    assert parsed_options("--image-size", "512").image_size == 512


def test_every_option_survives_a_saved_configuration(tmp_path):
    config = Train(
        source_dir=tmp_path,
        target_dir=tmp_path,
        direction="BtoA",
        seed=3,
        task="sketch",
        scale=2,
        holdout=0.25,
        skip_broken=True,
        image_size="64x96",
        fit="crop",
        crop=True,
        jitter=False,
        flip=False,
        source_channels=1,
        target_channels=4,
        learning_rate_decay_from=5,
        gan_loss="hinge",
        depth=4,
        normalization="none",
        upsampling="resize",
        average_weights=0.5,
        precision="bfloat16",
        xla="off",
    )
    assert parsed_options(*flags(config)) == config


@pytest.mark.parametrize("arguments", [["--stepz", "3"], ["--steps", "many"], ["translate"]])
def test_an_unknown_flag_is_a_usage_error(arguments, capsys):
    with pytest.raises(SystemExit) as exit:
        command_line.main(arguments)
    assert exit.value.code == 2
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("tarin", "Did you mean train?"),
        ("facade", "Did you mean facades?"),
        ("qqq", "See python image_to_image_translation.py --help."),
    ],
)
def test_a_mistyped_command_is_no_dataset(capsys, word, said):
    with pytest.raises(SystemExit) as exit:
        command_line.main([word, "--steps", "3"])
    assert exit.value.code == 2
    message = capsys.readouterr().err
    assert message == f"error: {word} is no command, no known dataset and no folder. {said}\n"


def test_a_mistyped_flag_leads_to_the_help_of_its_command(capsys):
    for arguments in (["--stepz", "3"], ["inspect", "--stepz", "3"]):
        with pytest.raises(SystemExit):
            command_line.main(arguments)
        said = " ".join(capsys.readouterr().err.replace("│", " ").split())
        assert "--steps INT" in said
        command = "inspect" if "inspect" in arguments else "train"
        assert f"run {SCRIPT_COMMAND} {command} --help" in said


def test_the_version_names_what_it_stands_on(capsys):
    with pytest.raises(SystemExit) as exit:
        command_line.main(["--version"])
    assert exit.value.code in (None, 0)
    assert capsys.readouterr().out.startswith("pix2pix 0.1.0, Python 3.")


def test_the_name_of_a_run_in_place_of_a_dataset_is_pointed_out(capsys):
    os.makedirs("training_checkpoints/mine")
    with open("training_checkpoints/mine/config.json", "w") as file:
        file.write("{}")
    with pytest.raises(SystemExit):
        command_line.main(["train", "mine"])
    message = capsys.readouterr().err
    assert message == "error: mine is a run, not a dataset. To go on with it: --name mine\n"


@pytest.mark.parametrize("closed", ["1", "2"])
def test_a_closed_stream_is_no_obstacle(closed):
    process = start("evaluate", "nowhere", shell=f"exec {closed}>&-")
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stdout == ""
    assert stderr.startswith("error: nowhere: no such run") == (closed == "1")


def test_help_that_is_cut_off_is_no_error():
    process = start("--help", shell="set -o pipefail")
    process.stdout.close()  # what `| head` does
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 1


def test_help_lists_the_commands_then_the_options_in_groups_in_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        command_line.parse(["--help"])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    commands = re.findall(r"(?m)^  ([a-z-]+)  +\S", text)
    assert commands == list(command_line.COMMANDS)
    groups = re.findall(r"(?m)^\W*([a-z]+) options\W*$", text)
    assert groups == ["data", "picture", "network", "training", "run"]


def test_help_explains_every_option(capsys):
    with pytest.raises(SystemExit) as exit:
        command_line.parse(["--help"])
    assert exit.value.code == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for field in dataclasses.fields(Train):
        assert flag(field.name) in text
    assert "How much the L1 distance to the ground truth counts" in text


def test_flags_beat_a_saved_configuration(tmp_path):
    saved = dataclasses.asdict(Train(dataset="maps", steps=7, seed=5, name="old"))
    path = tmp_path / "saved.json"
    path.write_text(json.dumps({**saved, "found": {}}, default=str))
    parsed = parsed_options("--config", str(path), "--steps", "9")
    assert (parsed.dataset, parsed.steps, parsed.seed, parsed.name) == ("maps", 9, 5, "old")
    assert parsed_options("--config", str(path), "--name", "new").name == "new"


def test_a_run_folder_can_be_renamed(small, tmp_path):
    script.train(dataclasses.replace(small, name="before"))
    (small.output / "before").rename(small.output / "after")
    parsed = parsed_options("--output", str(small.output), "--name", "after")
    assert parsed.run_folder == small.output / "after"


def test_going_on_needs_no_flag_to_be_repeated(small):
    script.train(dataclasses.replace(small, name="mine", l1_weight=10.0))
    parsed = parsed_options("--output", str(small.output), "--name", "mine", "--steps", "6")
    expected = dataclasses.replace(small, name="mine", l1_weight=10.0, steps=6)
    assert parsed == expected


def test_a_dataset_on_the_command_line_beats_remembered_folders(small, tmp_path):
    for folder in ("s", "d", "other"):
        make_pair(tmp_path / folder / "1.png", 40)
    told = {"source_dir": tmp_path / "s", "target_dir": tmp_path / "d", "dataset": "facades"}
    folder = script.train(dataclasses.replace(small, **told)).folder
    assert folder.name == "s_to_d"
    again = ["--config", str(folder / "config.json"), "--name", "new"]
    parsed = parsed_options(*again, "--dataset", str(tmp_path / "other"))
    assert (parsed.dataset, parsed.source_dir) == (str(tmp_path / "other"), None)
    parsed = parsed_options(*again, "--source-dir=x", "--target-dir=y")
    assert (str(parsed.source_dir), str(parsed.target_dir)) == ("x", "y")
    name, inspected = command_line.parse(["inspect", *again])
    assert name == "inspect"
    assert isinstance(inspected, Inspect)
    assert inspected.source_dir == tmp_path / "s"


def test_a_dataset_may_come_first_without_its_flag():
    os.mkdir("my_pairs")
    for command in ([], ["train"], ["inspect"]):
        parsed = parsed_options(*command, "my_pairs", "--steps", "7")
        assert (parsed.dataset, parsed.steps) == ("my_pairs", 7)


@pytest.mark.parametrize("content", ["{", "[1]", '{"stepz": 3}', '{"found": [1]}'])
def test_a_broken_configuration_is_named(tmp_path, content, capsys):
    path = tmp_path / "broken.json"
    path.write_text(content)
    with pytest.raises(SystemExit) as exit:
        command_line.main(["--config", str(path)])
    assert exit.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith(f"error: {path}: ")
    assert message.count("\n") == 1


def test_a_configuration_that_is_not_there(capsys):
    with pytest.raises(SystemExit):
        command_line.main(["--config", "nowhere.json"])
    assert "nowhere.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UserError("what and how"), 1, "error: what and how\n"),
        (UsageError("--flag must"), 2, "error: --flag must\n"),
        (PermissionError(13, "Permission denied", "/f"), 1, "Permission denied: '/f'\n"),
        (OSError(28, "No space left on device", "/f"), 1, "Free some space and start again"),
        (tf.errors.ResourceExhaustedError(None, None, "OOM\nat op"), 1, "--batch-size"),
        (tf.errors.ResourceExhaustedError(None, None, "f; No space left"), 1, "Free some space"),
    ],
)
def test_errors_end_in_one_line(monkeypatch, capsys, error, status, said):
    def fail(_):
        raise error

    monkeypatch.setattr(script, "train_as_told", fail)
    with pytest.raises(SystemExit) as exit:
        command_line.main([])
    assert exit.value.code == status
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1


def test_a_pair_that_goes_bad_during_training_is_named(small, pair_folder, monkeypatch, capsys):
    prepare = script.prepare

    def prepare_and_spoil(*arguments):
        prepared = prepare(*arguments)
        (pair_folder / "train/4.png").write_bytes(b"not any more")
        return prepared

    monkeypatch.setattr(script, "prepare", prepare_and_spoil)
    monkeypatch.setattr(script, "CACHE_BYTES", 0)
    with pytest.raises(SystemExit) as exit:
        command_line.main(flags(dataclasses.replace(small, dataset=str(pair_folder), steps=12)))
    assert exit.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith(f"error: {pair_folder / 'train/4.png'}: not a readable picture")
    assert message.count("\n") == 1


def test_tensorflow_says_nothing_while_it_is_loaded(small):
    process = start("evaluate", "nowhere")
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (1, "")
    assert stderr == (
        "error: nowhere: no such run. In training_checkpoints there are none yet; or name its "
        "path.\n"
    )


def test_a_terminal_without_unicode_is_no_obstacle(small, pair_folder):
    config = dataclasses.replace(small, dataset=str(pair_folder))
    process = start("inspect", *flags(config), shell="export PYTHONIOENCODING=ascii")
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, errors(stderr)) == (0, [])
    assert "left half (RGB) ? right half (RGB) at 32?32" in stdout


def test_a_user_sees_one_line_and_no_traceback(small):
    process = start(*flags(dataclasses.replace(small, image_size=100)))
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert stdout == ""
    assert errors(stderr) == [
        "error: --image-size must be SIZE or HEIGHTxWIDTH, from 32 on and multiples of 32 (unless "
        "there is a --depth below 5), not 100."
    ]
    assert not small.output.exists()


@pytest.mark.parametrize(
    ("typed", "known"),
    [
        (["--direction", "btoa"], "--direction must be one of AtoB, BtoA, not btoa."),
        (["inspect", "--source-channels=2"], "--source-channels must be one of 1, 3, 4, not 2."),
        (["evaluate", "x", "--split", "None"], "--split must be one of train, val, test, not None"),
    ],
)
def test_a_word_that_a_flag_does_not_know(typed, known, capsys):
    with pytest.raises(SystemExit) as exit:
        command_line.main(typed)
    assert exit.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {known}")


@pytest.mark.parametrize("package", ["tyro", "tensorflow", "matplotlib"])
def test_a_package_that_is_missing_is_one_line(package):
    program = f"""
import sys
sys.modules[{package!r}] = None
from pix2pix.command_line import main
main(["--dataset", "synthetic"])
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(SCRIPT.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    said = f"error: {package} is missing: pip install -r requirements.txt"
    assert done.stderr.splitlines() == [said]

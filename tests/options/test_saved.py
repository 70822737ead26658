"""A stranger's config.json: whatever stands in it is used as it should be, or refused in a line."""

import dataclasses
import json
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import make_picture, make_run

import image_to_image_translation as script
from pix2pix.commands import open_run as opening
from pix2pix.commands.evaluate.command import evaluate
from pix2pix.commands.export.command import export
from pix2pix.commands.open_run import open_run
from pix2pix.commands.translate.command import translate
from pix2pix.options.checks import check_train
from pix2pix.options.commands import Evaluate, Export, Translate
from pix2pix.options.saved import MOST_BYTES, fill_in, read_options
from pix2pix.options.train import Train, flag
from pix2pix.talk.errors import UserError

HUGE = "1" + 30 * "0"
NESTED = "[" * 10_000 + "]" * 10_000  # deeper than Python recurses
NONSENSE = (
    *("-1", "0", "2.5", HUGE, "1" + 400 * "0", "-Infinity", "NaN", "1e999", "[]", "{}", "[1]"),
    *('""', '"nonsense"', '"a\\nb"', '"a\\u0000b"', '"\\ud800"', f'"{5000 * "x"}"', '"../../up"'),
    *("true", NESTED, '{"class_name": "Lambda"}', '"999999"', '"64x99999999"', "[1, -1]"),
)
FOUND = ["direction", "source_channels", "target_channels", "depth"]
FOUND += ["target_bits", "step", "pairs", "pair_shape", "source", "target"]
FIELDS = [field.name for field in dataclasses.fields(Train) if field.name != "config"]
FIELDS += [f"found.{name}" for name in FOUND]
SECONDS = 60  # that no refusal takes, however busy the machine


def spell(settings: dict, field: str, value: str) -> str:
    """The content of a config.json in which a field, as `found.step` perhaps, has this value."""
    *outer, name = field.split(".")
    here = settings["found"] if outer else settings
    changed = {**here, name: "<value>"}
    settings = {**settings, "found": changed} if outer else changed
    return json.dumps(settings).replace('"<value>"', value)


def settings_of(run: Path) -> dict:
    """What the generator.keras of a run says of it: its config.json, and how far it was trained."""
    with zipfile.ZipFile(run / "generator.keras") as archive:
        return json.loads(archive.read("run.json"))


def put(run: Path, content: str) -> Path:
    """A copy of a run, with another config.json in its folder and in its generator.keras."""
    folder = run.with_name("copy")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "config.json").write_text(content)
    with (
        zipfile.ZipFile(run / "generator.keras") as ours,
        zipfile.ZipFile(folder / "generator.keras", "w") as theirs,
    ):
        for member in ours.infolist():
            is_settings = member.filename == "run.json"
            theirs.writestr(member, content if is_settings else ours.read(member))
    return folder


def open_settings(run: Path) -> None:
    """Open a run as all commands but train do."""
    assert open_run(run).step >= 0


def fill_settings(run: Path) -> None:
    """Take the options of a new run from the file, as train does before anything else."""
    check_train(fill_in(Train(config=run / "config.json"), {"config"}))


def train_from(run: Path) -> None:
    script.train(Train(config=run / "config.json", name="new", log_every=7))


def train_on(run: Path) -> None:
    script.train(Train(output=run.parent, name=run.name, log_every=7))


COMMANDS = {
    "translate": lambda run: translate(Translate(run, ("1.png",), overwrite=True)),
    "evaluate": lambda run: evaluate(Evaluate(run, split="test")),
    "export": lambda run: export(Export(run, ("keras",))),
    "train --config": train_from,
    "train": train_on,
}


@pytest.fixture
def run(small, pair_folder, tmp_path) -> Path:
    """A sound small run, and a picture to translate."""
    make_picture(tmp_path / "1.png", 32, 32)
    return make_run(tmp_path / "run", dataclasses.replace(small, dataset=str(pair_folder), steps=1))


def refusal(command: Callable, run: Path) -> str:
    """What a command says against a run, in one line and soon; nothing if it does its work."""
    start, said = time.monotonic(), ""
    try:
        command(run)
    except UserError as error:
        said = str(error)
    assert time.monotonic() - start < SECONDS
    assert "\n" not in said
    assert len(said) < 1000
    return said


@pytest.mark.parametrize("command", [open_settings, fill_settings])
def test_nonsense_in_any_field_is_refused_in_a_line_or_does_no_harm(run, command, monkeypatch):
    generator = open_run(run).generator
    monkeypatch.setattr(opening, "build_generator", lambda options, found: generator)
    for check in ("check_weights", "read_weights"):  # all take their time
        monkeypatch.setattr(opening, check, lambda archive, network: None)
    settings, refused = settings_of(run), dict.fromkeys(FIELDS, 0)
    for field in FIELDS:
        for value in NONSENSE:
            said = refusal(command, put(run, spell(settings, field, value)))
            named = flag(field.split(".")[-1])[2:] in said.replace("_", "-")
            assert not said or named or "cannot be read as a configuration" in said
            refused[field] += bool(said)
    seldom = {field for field in FIELDS if refused[field] < len(NONSENSE) / 2}
    assert seldom <= {"dataset", "source_dir", "target_dir", "mirror", "found.pairs"}  # any text


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_gets_further_with_nonsense(run, name):
    settings = settings_of(run)
    not_used = "found.depth" if "train" in name else "depth"
    for field in FIELDS:
        for value in (HUGE, "[]"):
            if value == HUGE and field in ("learning_rate", "l1_weight", not_used):
                continue  # a number like any other
            if value == "[]" and field == "augment":
                continue  # nothing, as by default
            if value == HUGE and (field, name) == ("keep_old", "train --config"):
                continue  # not taken from there
            assert refusal(COMMANDS[name], put(run, spell(settings, field, value))), field


def test_what_is_missing_is_named(run):
    settings = settings_of(run)
    for name in ("step", "target_bits"):
        found = {key: value for key, value in settings["found"].items() if key != name}
        copy = put(run, json.dumps({**settings, "found": found}))
        assert f"run.json: {name} is missing" in refusal(open_settings, copy)
    settings |= {"source_channels": None, "found": {"step": 1, "target_bits": 8}}
    assert "source_channels" in refusal(open_settings, put(run, json.dumps(settings)))
    settings |= {"source_channels": 3, "image_size": ""}  # of which the depth would follow
    for command in (open_settings, fill_settings):
        assert "--image-size must be" in refusal(command, put(run, json.dumps(settings)))


def test_a_configuration_that_is_endless_is_not_read(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"name": "' + MOST_BYTES * "x" + '"}')
    with pytest.raises(UserError, match=r"config\.json: .*more than 1,048,576 bytes"):
        read_options(path)


def test_what_pictures_cannot_decide_is_not_taken_from_there(run):
    settings = settings_of(run)
    found = settings["found"] | {"mirror": "http://elsewhere", "l1_weight": "much"}
    trained = open_run(put(run, json.dumps({**settings, "found": found})))
    assert (trained.options.mirror, trained.options.l1_weight) == (Train.mirror, 100.0)


def test_another_file_does_not_say_where_to_fetch_from_but_an_own_run_does(tmp_path):
    places = {"data_dir": "/their/place", "mirror": "http://their.place"}
    folder = tmp_path / "runs/mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**places, "seed": 5, "found": {}}))
    taken = fill_in(Train(config=folder / "config.json"), {"config"})
    assert (taken.data_dir, taken.mirror, taken.seed) == (Train.data_dir, Train.mirror, 5)
    asked = Train(config=folder / "config.json", mirror="http://mine")
    assert fill_in(asked, {"config", "mirror"}).mirror == "http://mine"
    own = fill_in(Train(output=tmp_path / "runs", name="mine"), {"output", "name"})
    assert (str(own.data_dir), own.mirror) == tuple(places.values())

"""The defaults, values that make no sense, and the name of a run."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from conftest import SCRIPT, settled

from pix2pix.options.checks import check_train
from pix2pix.options.commands import Evaluate, Export, Translate
from pix2pix.options.saved import from_saved, refuse_another_run, report_changes, write_run
from pix2pix.options.train import DATASETS, Rule, Train, fields_with, flag, types_of
from pix2pix.runs.run_folder import RunFolder
from pix2pix.talk.errors import UsageError, UserError

FIELDS = [field.name for field in dataclasses.fields(Train)]


def test_the_defaults():
    config = Train()
    assert (config.dataset, config.steps, config.batch_size, config.image_size) == (
        *("facades", 40_000),
        *(1, 256),
    )
    assert (config.learning_rate, config.beta_1, config.l1_weight) == (2e-4, 0.5, 100)
    assert (config.log_every, config.preview_every, config.checkpoint_every) == (100, 1000, 5000)
    check_train(config)


@pytest.mark.parametrize("module", ["pix2pix.options.train", "pix2pix.command_line"])
def test_options_are_known_without_tensorflow(module):
    program = f"import sys, {module}; print({{'tensorflow', 'keras'}} & sys.modules.keys())"
    process = subprocess.run(
        [sys.executable, "-c", program],
        cwd=SCRIPT.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stdout) == (0, "set()\n"), process.stderr


def test_a_configuration_cannot_be_changed_by_accident():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Train().steps = 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("batch_size", -1),
        ("image_size", 100),
        ("image_size", 16),
        ("image_size", 0),
        ("image_size", "256x"),
        ("image_size", "256x100"),
        ("image_size", "big"),
        ("image_size", "16x64"),
        ("depth", 1),
        ("depth", 9),
        ("task", "denoise"),
        ("scale", 1),
        ("holdout", 1.0),
        ("holdout", -0.1),
        ("source_channels", 2),
        ("fit", "pad"),
        ("gan_loss", "wasserstein"),
        ("normalization", "batch"),  # of one picture
        ("upsampling", "bilinear"),
        ("padding", "same"),
        ("learning_rate_decay_from", 40_000),
        ("learning_rate_decay_from", -1),
        ("average_weights", 1.0),
        ("source_dir", "nowhere"),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("beta_1", 1.0),
        ("l1_weight", -1.0),
        ("seed", -1),
        ("generator_filters", 0),
        ("log_every", 0),
        ("keep_checkpoints", 0),
        ("name", "a/b"),
        ("name", ".."),
        ("name", ""),
        ("dataset", "facade"),
        ("steps", 2.5),
        ("direction", "btoa"),
        ("precision", "int8"),
        ("xla", True),
    ],
)
def test_nonsense_is_refused_by_the_name_of_the_flag(field, value):
    with pytest.raises(UsageError) as refusal:
        check_train(dataclasses.replace(Train(), **{field: value}))
    message = str(refusal.value)
    assert message.startswith(f"--{field.replace('_', '-')} must be ")
    assert "\n" not in message
    assert str(value) in message


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"source_dir": "."}, "--source-dir and --target-dir must be given together"),
        ({"target_dir": "."}, "--source-dir and --target-dir must be given together"),
        ({"source_dir": ".", "target_dir": "nowhere"}, "--target-dir must"),
        ({"source_dir": ".", "target_dir": ".", "dataset": "maps"}, "--dataset must"),
    ],
)
def test_options_that_contradict_each_other(options, named):
    with pytest.raises(UsageError, match=named):
        check_train(dataclasses.replace(Train(), **options))


def test_a_very_long_run_is_checked_at_once():
    check_train(Train(steps=10**12, learning_rate_decay_from=10**11))


def test_every_known_dataset_has_a_direction_and_a_size():
    downloads = {name: row for name, row in DATASETS.items() if name != "synthetic"}
    assert downloads.keys() == {
        *("facades", "maps", "cityscapes"),
        *("edges2shoes", "edges2handbags", "night2day"),
    }
    backwards = {name for name, row in downloads.items() if row.direction == "BtoA"}
    assert backwards == {"facades", "cityscapes", "night2day"}
    assert all(row.megabytes >= 31 for row in downloads.values())


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "facades"),
        ({"dataset": "some/where/my_pairs/"}, "my_pairs"),
        ({"source_dir": "drawings"}, "drawings"),
        ({"source_dir": "x/drawings", "target_dir": "photos"}, "drawings_to_photos"),
        ({"task": "sketch"}, "facades-sketch"),
        ({"task": "sketch", "name": "mine"}, "mine"),
    ],
)
def test_the_name_of_a_run(options, name):
    assert Train(**options).run_folder.name == name


def test_a_notebook_may_give_paths_as_text_and_text_as_paths(tmp_path):
    check_train(Train(dataset=tmp_path, output="runs", data_dir=str(tmp_path), holdout=0))
    check_train(Train(source_dir=str(tmp_path), target_dir=tmp_path))
    for field, rule in (("dataset", "a path"), ("output", "a path"), ("mirror", "of type str")):
        with pytest.raises(UsageError, match=f"--{field} must be {rule}, not 3"):
            check_train(Train(**{field: 3}))


def test_paths_become_paths_whatever_they_were_given_as(tmp_path):
    run = RunFolder(tmp_path)
    translate = Translate(run, "photo.png", output="out")
    assert (translate.run, translate.inputs) == (tmp_path, ("photo.png",))
    assert translate.output == Path("out")
    assert Translate("try", [tmp_path / "a", "b"]).inputs == (str(tmp_path / "a"), "b")
    assert Evaluate(run, judge="judge").judge == Path("judge")
    assert Evaluate(run).output is None
    assert Export(run, output="x").output == Path("x")
    assert Train(source_dir="a").source_dir == Path("a")


def test_true_is_no_number():
    for field in ("steps", "source_channels", "learning_rate"):
        with pytest.raises(UsageError, match=f"--{field.replace('_', '-')} must be .*, not True"):
            check_train(Train(**{field: True}))


def test_a_whole_number_in_a_configuration_is_a_learning_rate():
    assert repr(from_saved({"learning_rate": 1, "l1_weight": 50}).learning_rate) == "1.0"


def test_a_run_whose_name_is_not_unicode_is_refused():
    with pytest.raises(UsageError, match=r"TensorFlow writes only where .* Choose another --name"):
        check_train(Train(dataset="synthetic", name="caf\udce9"))
    check_train(Train(dataset="synthetic", name="café"))


# --- what a change means when a run goes on ---


def rules_of(options: type) -> dict[str, list[Rule]]:
    """The rules that each option has; it should be one."""
    hints = get_type_hints(options, include_extras=True)
    rules = {}
    for field in dataclasses.fields(options):
        words = get_args(hints[field.name])
        rules[field.name] = [word for word in words if isinstance(word, Rule)]
    return rules


def test_every_option_has_one_rule():
    @dataclasses.dataclass(frozen=True)
    class MadeUp(Train):
        forgotten: int | None = None
        torn: Annotated[int, Rule.RUN, Rule.FREE] = 0

    def wrong(options: type) -> list[str]:
        return [name for name, rules in rules_of(options).items() if len(rules) != 1]

    assert wrong(Train) == []
    assert wrong(MadeUp) == ["forgotten", "torn"]
    by_rule = [fields_with(rule) for rule in Rule]
    assert sorted(name for names in by_rule for name in names) == sorted(FIELDS)
    assert sorted(fields_with(*Rule)) == sorted(FIELDS)


def another_value(kind: object, value: object) -> object:
    """A value of a type that is another one than this."""
    if get_origin(kind) is Literal:
        return next(choice for choice in get_args(kind) if choice != value)
    if get_origin(kind) in (Union, UnionType):
        return another_value(get_args(kind)[0], value)
    if get_origin(kind) is tuple:
        return (another_value(get_args(kind)[0], None),)
    return not value if kind is bool else kind("7")


@pytest.mark.parametrize("name", FIELDS)
def test_its_rule_says_what_a_changed_option_means(name, tmp_path, capsys):
    options, found = Train(), settled(Train())
    (tmp_path / "config.json").write_text(write_run(options, found))
    value = another_value(types_of(Train)[name], getattr(options, name))
    changed = dataclasses.replace(options, **{name: value})
    if name in vars(found):  # where what is asked for is what is found
        found = dataclasses.replace(found, **{name: value})

    refusal = ""
    try:
        refuse_another_run(changed, found, tmp_path)
    except UserError as error:
        refusal = str(error)
    report_changes(options, changed)
    told = capsys.readouterr().out

    (rule,) = rules_of(Train)[name]
    begun = f"{tmp_path} holds a run with {name.replace('_', ' ')} "
    assert refusal.startswith(begun) == (rule in (Rule.NETWORK, Rule.RUN))
    assert bool(refusal) == (rule in (Rule.NETWORK, Rule.RUN))
    before, now = getattr(options, name), getattr(changed, name)
    line = f"Changed   {flag(name)} {before} → {now}, from here on\n"
    assert told == (line if rule is Rule.TOLD else "")

"""The file as a text: its order, its measures, and that its documentation is true."""

import ast
import dataclasses
import os
import re
import shlex
import subprocess
import sys

import pytest
from conftest import SCRIPT

import image_to_image_translation as pix2pix

SOURCE = SCRIPT.read_text()
README = (SCRIPT.parent / "README.md").read_text()
DOCUMENTED = sorted(
    set(re.findall(r"(?m)^ *(python image_to_image_translation\.py[^\n]*)", README + SOURCE))
)


def test_no_function_is_long():
    functions = [node for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.FunctionDef)]
    lengths = {f.name: f.end_lineno - f.lineno + 1 for f in functions}
    limits = {"train": 60, "train_steps": 60}
    assert {n: length for n, length in lengths.items() if length > limits.get(n, 40)} == {}
    assert sorted(lengths.values())[len(lengths) // 2] <= 15


def test_the_banners_are_a_table_of_contents():
    banners = re.findall(r"(?m)^# --- .*$", SOURCE)
    assert all(
        re.fullmatch(r"# --- \d+[a-z]?\. .+ -+", line) and len(line) == 100 for line in banners
    )
    titles = [re.sub(r"# --- \d+[a-z]?\. (.+?) -+", r"\1", line) for line in banners]
    assert titles == [
        *("Imports, constants and small tools", "Configuration"),
        *("Configuration: what values may be", "Data", "Data: known datasets"),
        *("Data: made-up facades", "Data: finding pairs", "Data: reading", "Data: checking"),
        *("Data: tasks", "Data: jitter and batches"),
        *("Generator", "Discriminator", "The same networks, faster on a processor", "Losses"),
        *("Train step", "Several devices", "Pictures", "Run folder"),
        *("Train", "Before training: inspect"),
        *("Translate", "Translate: windows", "Translate: video"),
        *("Evaluate", "Evaluate: the judge", "Evaluate: the report", "Evaluate: the command"),
        *("Export", "Export: check and model card", "Import", "Command line"),
    ]
    assert len(SOURCE.splitlines()) <= 3450


def test_public_functions_have_a_docstring():
    tree = ast.parse(SOURCE)
    named = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert [node.name for node in named if not ast.get_docstring(node)] == []


def test_importing_does_nothing(tmp_path):
    program = "import image_to_image_translation, tensorflow.python.eager.context as c"
    program += "; assert c.context()._context_handle is None, 'devices were looked for'"
    done = subprocess.run(
        [sys.executable, "-B", "-c", program, "--nonsense"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(SCRIPT.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_there_are_commands_to_check():
    assert len(DOCUMENTED) >= 8


@pytest.mark.parametrize("command", DOCUMENTED)
def test_every_documented_command_parses(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder in ("my_pairs", "my_photos", "drawings", "photos"):
        (tmp_path / folder).mkdir()
    arguments = shlex.split(re.split(r" {2,}|`|\)", command)[0], comments=True)[2:]
    if "--help" in arguments:
        with pytest.raises(SystemExit) as exit:
            pix2pix.parse(arguments)
        assert exit.value.code == 0
    elif "--config" in arguments:
        with pytest.raises(pix2pix.UserError, match="No such file"):
            pix2pix.parse(arguments)
    else:
        options = pix2pix.parse(arguments)
        if isinstance(options, pix2pix.Train):
            pix2pix.check_config(options)


def test_the_readmes_table_of_options_is_the_dataclass():
    table = README.split("## Options")[1]
    rows = dict(re.findall(r"(?m)^\| `(--[a-z0-9-]+)` \| (.*?) ?\|", table))
    defaults = {}
    for field in dataclasses.fields(pix2pix.Train):
        switch = pix2pix.to_flags({field.name: not field.default})[0]
        name = switch if isinstance(field.default, bool) else pix2pix.flag(field.name)
        worded = field.default is None or isinstance(field.default, bool)
        defaults[name] = None if worded else f"`{field.default}`"
    assert list(rows) == list(defaults)  # in the same order
    shown = {name: rows[name] for name, default in defaults.items() if default}
    assert shown == {name: default for name, default in defaults.items() if default}


def test_the_readmes_python_runs(small, monkeypatch):
    folder = pix2pix.train(small)
    pairs = pix2pix.find_pairs(small)[0]["val"]
    source = folder / "labels.png"
    pix2pix.Image.fromarray(pairs.read(0)[0]).save(source)
    (block,) = [
        b for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "load_model" in b
    ]
    block = block.replace(
        "training_checkpoints/facades/generator.keras", f"{folder}/generator.keras"
    )
    exec(compile(block.replace("labels.png", str(source)), "README.md", "exec"), {})
    assert pix2pix.Image.open("photo.png").size == (32, 32)

"""The code and the documentation as texts: the floors, their measures, and that all is true."""

import ast
import dataclasses
import importlib
import os
import re
import shlex
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import SCRIPT
from PIL import Image

import image_to_image_translation as script
from pix2pix import command_line
from pix2pix.options import Train, check_train, flag
from pix2pix.support.terminal import UserError

ROOT = SCRIPT.parent
FILES = [SCRIPT, *sorted((ROOT / "pix2pix").rglob("*.py"))]
TREES = {file: ast.parse(file.read_text()) for file in FILES}
README = (ROOT / "README.md").read_text()
PAGES = [README, SCRIPT.read_text(), *(page.read_text() for page in ROOT.glob("docs/*.md"))]
DOCUMENTED = sorted(
    set(re.findall(r"(?m)^ *(python image_to_image_translation\.py[^\n]*)", "\n".join(PAGES)))
)


def module_name(file: Path) -> str:
    """A file's name in imports."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


def by_file(values: dict[Path, object]) -> dict[str, object]:
    """What was found in files, by their names; without those in which there is nothing."""
    return {str(file.relative_to(ROOT)): value for file, value in values.items() if value}


def functions(tree: ast.Module) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


# --- Measures ---


def test_no_file_is_long():
    limits = {SCRIPT: 1150}
    lengths = {file: len(file.read_text().splitlines()) for file in FILES}
    assert by_file({f: n for f, n in lengths.items() if n > limits.get(f, 450)}) == {}


def test_no_function_is_long():
    too_long, lengths = {}, []
    for file, tree in TREES.items():
        for function in functions(tree):
            length = function.end_lineno - function.lineno + 1
            lengths.append(length)
            if length > (60 if (file, function.name) == (SCRIPT, "train") else 40):
                too_long[file] = too_long.get(file, []) + [(function.name, length)]
    assert by_file(too_long) == {}
    assert statistics.median(lengths) <= 15


def test_everything_has_a_docstring():
    lacking = {}
    for file, tree in TREES.items():
        classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        members = [node for each in [tree, *classes] for node in each.body]
        named = [each for each in members if isinstance(each, ast.FunctionDef | ast.ClassDef)]
        plain = [each for each in named if not each.name.startswith("__")]
        lacking[file] = [node.name for node in plain if not ast.get_docstring(node)]
        lacking[file] += [] if ast.get_docstring(tree) else ["the file"]
    assert by_file(lacking) == {}


def test_the_banners_of_the_script_are_its_table_of_contents():
    banners = re.findall(r"(?m)^# --- .*$", SCRIPT.read_text())
    assert all(re.fullmatch(r"# --- \d+\. .+ -+", each) and len(each) == 100 for each in banners)
    assert [re.sub(r"# --- (\d+\. .+?) -+", r"\1", each) for each in banners] == [
        *("2. Imports and constants", "3. Data", "4. Generator", "5. Discriminator", "6. Losses"),
        *("7. Train step", "8. Previews", "9. Run folder", "10. Train"),
    ]


# --- The floors ---


def imported_modules(tree: ast.Module) -> set[str]:
    """The modules that a file imports, wherever in the file."""
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            modules |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
        elif isinstance(node, ast.Import):
            modules |= {each.name for each in node.names}
    return modules


def refused(file: Path) -> tuple[str, ...]:
    """What a file must not import, by the floor it is on."""
    name = module_name(file)
    if name.startswith("pix2pix.support"):
        return (SCRIPT.stem, "pix2pix.options", "pix2pix.command_line", "pix2pix.commands")
    if name in ("pix2pix.options", "pix2pix.command_line", "pix2pix"):
        return (SCRIPT.stem, "pix2pix.commands", "tensorflow", "keras")
    if file == SCRIPT:
        return ("pix2pix.commands",)
    return ("pix2pix.command_line",)


def test_no_floor_imports_from_one_above_it():
    found = {}
    for file, tree in TREES.items():
        modules = imported_modules(tree)
        found[file] = [
            m for m in modules if any(f"{m}.".startswith(f"{n}.") for n in refused(file))
        ]
    assert by_file(found) == {}


def test_only_tasks_know_one_task_from_another():
    comparison = re.compile(r"\.task (==|!=|in|not in) (?!Train\.task)")
    found = {file: comparison.findall(file.read_text()) for file in FILES}
    assert by_file(found) == {}


def test_nothing_has_the_name_of_another_thing():
    """A local, or a parameter, that is called like a function of the same file."""
    shared = {}
    for file, tree in TREES.items():
        names = {function.name for function in functions(tree)}
        stored = set()
        for function in functions(tree):
            inside = [node for node in ast.walk(function) if node is not function]
            stored |= {n.id for n in inside if isinstance(n, ast.Name) and type(n.ctx) is ast.Store}
            stored |= {node.arg for node in inside if isinstance(node, ast.arg)}
        shared[file] = names & stored
    assert by_file(shared) == {}


IMPORTS = """
import sys, image_to_image_translation, tensorflow.python.eager.context as context
assert context.context()._context_handle is None, "devices were looked for"
assert not [name for name in sys.modules if name.startswith("pix2pix.commands")]
"""
ONE_COMMAND = """
import sys
from pix2pix.command_line import main
try:
    main(["export", "nowhere"])
except SystemExit:
    pass
loaded = {name for name in sys.modules if name.startswith("pix2pix.commands.")}
assert "pix2pix.commands.export" in loaded, loaded
assert not loaded & {"pix2pix.commands.evaluate", "pix2pix.commands.translate"}, loaded
"""


@pytest.mark.parametrize("program", [IMPORTS, ONE_COMMAND])
def test_only_what_is_asked_for_is_loaded(tmp_path, program):
    done = subprocess.run(
        [sys.executable, "-B", "-c", program, "--nonsense"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_all_that_is_needed_is_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    setuptools = project["tool"]["setuptools"]
    packages = {module_name(file.parent) for file in FILES if file.name == "__init__.py"}
    assert set(setuptools["packages"]) == packages
    assert setuptools["py-modules"] == [SCRIPT.stem]
    assert setuptools["package-data"] == {"pix2pix": ["pages/*"]}
    module, function = project["project"]["scripts"]["pix2pix"].split(":")
    assert getattr(importlib.import_module(module), function) is command_line.main


# --- The documentation ---


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
            command_line.parse(arguments)
        assert exit.value.code == 0
    elif "--config" in arguments:
        with pytest.raises(UserError, match="No such file"):
            command_line.parse(arguments)
    else:
        _, options = command_line.parse(arguments)
        if isinstance(options, Train):
            check_train(options)


def test_every_documented_import_can_be_made():
    imports = re.findall(r"(?m)^ *(from (?:image_to|pix2pix)\S* import [\w, ]+)$", "\n".join(PAGES))
    assert len(imports) >= 2
    for line in imports:
        exec(line.strip(), {})


def test_every_documented_file_exists():
    names = re.findall(r"`((?:pix2pix|tests|docs|benchmarks)/[\w./]*)`", "\n".join(PAGES))
    assert len(names) >= 10
    assert [name for name in set(names) if not (ROOT / name).exists()] == []


def test_the_readmes_table_of_options_is_the_dataclass():
    table = README.split("## Options")[1]
    rows = dict(re.findall(r"(?m)^\| `(--[a-z0-9-]+)` \| (.*?) ?\|", table))
    defaults = {}
    for field in dataclasses.fields(Train):
        name, worded = flag(field.name), field.default is None or isinstance(field.default, bool)
        if field.default is True:
            name = name.replace("--", "--no-", 1)
        defaults[name] = None if worded else f"`{field.default}`"
    assert list(rows) == list(defaults)  # in the same order
    shown = {name: rows[name] for name, default in defaults.items() if default}
    assert shown == {name: default for name, default in defaults.items() if default}


def test_the_readmes_python_runs(small, monkeypatch):
    folder = script.train(small)
    splits, _ = script.find_splits(small)
    source = folder / "labels.png"
    Image.fromarray(splits["val"].read(0)[0]).save(source)
    (block,) = [
        b for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "load_model" in b
    ]
    block = block.replace(
        "training_checkpoints/facades/generator.keras", f"{folder}/generator.keras"
    )
    exec(compile(block.replace("labels.png", str(source)), "README.md", "exec"), {})
    assert Image.open("photo.png").size == (32, 32)

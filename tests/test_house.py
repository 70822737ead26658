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
from collections import Counter
from pathlib import Path

import pytest
from conftest import SCRIPT
from PIL import Image
from setuptools import find_packages

import image_to_image_translation as script
from pix2pix import command_line
from pix2pix.options.checks import check_train
from pix2pix.options.train import Train, flag
from pix2pix.talk.errors import UserError

ROOT = SCRIPT.parent
FILES = [SCRIPT, *sorted((ROOT / "pix2pix").rglob("*.py"))]
TREES = {file: ast.parse(file.read_text()) for file in FILES}
DOCUMENTS = {page: page.read_text() for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]}
PAGES = [*DOCUMENTS.values(), SCRIPT.read_text()]
PAPER = ["Generator", "Discriminator", "Losses", "Train step", "Training"]  # sections of the script
POSITIONAL = ("run", "runs", "inputs", "file")
OPTIONS = DOCUMENTS[ROOT / "docs" / "OPTIONS.md"]
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
    limits = {SCRIPT: 850}
    lengths = {file: len(file.read_text().splitlines()) for file in FILES}
    assert by_file({f: n for f, n in lengths.items() if n > limits.get(f, 450)}) == {}


def test_no_folder_is_full_and_no_name_says_nothing():
    counts = Counter(file.parent for file in FILES)
    assert {str(folder): n for folder, n in counts.items() if n > 10} == {}
    names = {file.name for file in FILES}
    assert not names & {"utils.py", "helpers.py", "common.py", "misc.py", "inspect.py"}


def test_no_function_is_long():
    too_long, lengths = {}, []
    for file, tree in TREES.items():
        for function in functions(tree):
            length = function.end_lineno - function.lineno + 1
            lengths.append(length)
            if length > 40:
                too_long[file] = too_long.get(file, []) + [(function.name, length)]
    assert by_file(too_long) == {}
    assert statistics.median(lengths) <= 15


def test_the_paper_fills_the_script():
    """Networks, losses, step, training, jitter and batches."""
    text, tree = SCRIPT.read_text(), TREES[SCRIPT]
    sections = re.split(r"(?m)^# --- \d+\. (.+?) -+\n", text)
    lines = dict(zip(sections[1::2], (len(s.splitlines()) for s in sections[2::2]), strict=True))
    paper = sum(lines[name] for name in PAPER)
    data = {f.name: f.end_lineno - f.lineno + 1 for f in functions(tree)}
    assert paper + data["jitter"] + data["batches"] >= 0.4 * len(text.splitlines())
    imports = [n for n in tree.body if isinstance(n, ast.ImportFrom)]
    ours = [n for n in imports if n.module.startswith("pix2pix")]
    assert len({n.module for n in ours}) <= 18
    assert sum(len(n.names) for n in ours) <= 55


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
    names = ["Imports and constants", "Data", *PAPER, "Previews", "Train"]
    numbered = [f"{number}. {name}" for number, name in enumerate(names, 1)]
    assert [re.sub(r"# --- (\d+\. .+?) -+", r"\1", each) for each in banners] == numbered


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


# From the roof to the ground: a room imports from those after it, and none from one before it.
ROOMS = [
    ("pix2pix.commands", "pix2pix.support"),
    SCRIPT.stem,
    ("pix2pix.preparation", "pix2pix.watch"),
    "pix2pix.options",
    ("pix2pix.pairs", "pix2pix.runs"),
    ("pix2pix.pictures", "pix2pix.networks"),
    "pix2pix.talk",
]
DOOR = "pix2pix.command_line"  # only the script, which begins with it, knows the door
WITHOUT_TENSORFLOW = re.compile(r"pix2pix\.(command_line|talk\..*|options(\.(?!advice).*)?)")


def lies_in(module: str, room: str) -> bool:
    return f"{module}.".startswith(f"{room}.")


def refused(file: Path) -> list[str]:
    """What a file must not import, by the room that it lies in."""
    name = module_name(file)
    if name == DOOR:
        return ["pix2pix.commands", SCRIPT.stem, "pix2pix.preparation", "tensorflow", "keras"]
    above, beside = [], []
    for floor in ROOMS:
        rooms = (floor,) if isinstance(floor, str) else floor
        if any(lies_in(name, room) for room in rooms):
            beside = [room for room in rooms if not lies_in(name, room)]
            break
        above += rooms
    heavy = ["tensorflow", "keras"] if WITHOUT_TENSORFLOW.fullmatch(name) else []
    return [*above, *beside, *heavy, *([] if file == SCRIPT else [DOOR])]


def test_no_room_imports_from_one_above_it():
    found = {}
    for file, tree in TREES.items():
        modules = imported_modules(tree)
        found[file] = [m for m in modules if any(lies_in(m, room) for room in refused(file))]
    assert by_file(found) == {}


def test_only_tasks_know_one_task_from_another():
    comparison = re.compile(r"\.task (==|!=|in|not in) (?!Train\.task)")
    found = {file: comparison.findall(file.read_text()) for file in FILES}
    assert by_file(found) == {}


def is_property(function: ast.FunctionDef) -> bool:
    names = [getattr(each, "id", "") for each in function.decorator_list]
    return bool({"property", "cached_property"} & set(names))


def test_nothing_has_the_name_of_another_thing():
    """A local, or a parameter, that is called like a function of the same file; a property is
    always behind a dot."""
    shared = {}
    for file, tree in TREES.items():
        names = {function.name for function in functions(tree) if not is_property(function)}
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
assert "pix2pix.commands.export.command" in loaded, loaded
others = {f"pix2pix.commands.{name}.command" for name in ("evaluate", "translate")}
assert not loaded & others, loaded
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
    assert set(find_packages(str(ROOT), **setuptools["packages"]["find"])) == packages
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
    for folder in (
        "my_pairs",
        "my_photos",
        "drawings",
        "photos",
        "dapi",
        "brightfield",
        "depth",
        "cells",
        "masks",
        "my_pairs.pack",
        "mr",
        "ct",
    ):
        (tmp_path / folder).mkdir()
    arguments = shlex.split(re.split(r" {2,}|`|\)", command)[0], comments=True)[2:]
    if "--help" in arguments:
        with pytest.raises(SystemExit) as exit:
            command_line.parse(arguments)
        assert exit.value.code == 0
    elif "--config" in arguments or "--from" in arguments:
        with pytest.raises(UserError, match="No such file|no such run"):
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


def option_rows(heading: str) -> dict[str, str]:
    """The flags in the tables of a section of OPTIONS.md, each with its default."""
    section = re.search(rf"(?m)^## {heading}\n((?:(?!## ).*\n)*)", OPTIONS)[1]
    return dict(re.findall(r"(?m)^\| `(--[a-z0-9-]+)` \| (.*?) ?\|", section))


def test_the_tables_of_the_options_of_train_are_the_dataclass():
    rows, defaults = option_rows("train and inspect"), {}
    for field in dataclasses.fields(Train):
        name, default = flag(field.name), field.default
        worded = default in (None, ()) or isinstance(default, bool)
        if field.default is True:
            name = name.replace("--", "--no-", 1)
        defaults[name] = None if worded else f"`{field.default}`"
    assert list(rows) == list(defaults)  # in the same order
    shown = {name: rows[name] for name, default in defaults.items() if default}
    assert shown == {name: default for name, default in defaults.items() if default}


@pytest.mark.parametrize(
    "command",
    ["pack", "translate", "draw", "evaluate", "compare", "export", "import-weights"],
)
def test_the_tables_of_the_options_of_other_commands_are_the_dataclasses(command):
    fields = dataclasses.fields(command_line.COMMANDS[command].options)
    names = [field.name for field in fields if field.name not in POSITIONAL]
    assert list(option_rows(command)) == [flag(name) for name in names]


def test_a_documented_generator_opens_with_keras_alone(small):
    folder = script.train(small).folder
    splits = script.find_splits(small)
    source = folder / "labels.png"
    Image.fromarray(splits["val"].read(0)[0]).save(source)
    blocks = re.findall(r"```python\n(.*?)```", "\n".join(DOCUMENTS.values()), re.DOTALL)
    (block,) = [block for block in blocks if "load_model" in block]
    block = block.replace(
        "training_checkpoints/facades/generator.keras", f"{folder}/generator.keras"
    )
    exec(compile(block.replace("labels.png", str(source)), "OPTIONS.md", "exec"), {})
    assert Image.open("photo.png").size == (32, 32)


def test_pages_are_narrow_and_the_readme_is_short():
    wide = {p: [n for n in text.splitlines() if len(n) >= 120] for p, text in DOCUMENTS.items()}
    assert by_file(wide) == {}
    assert len(DOCUMENTS[ROOT / "README.md"].splitlines()) <= 200


def without_code(text: str) -> str:
    """A page without what stands between lines of three backticks."""
    return re.sub(r"(?ms)^ *```.*?^ *```", "", text)


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    headings = re.findall(r"(?m)^#+ (.+)$", without_code(page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_broken(link: str, page: Path) -> bool:
    """Whether a link of a page leads to no file here, or to none of its headings."""
    target, _, anchor = link.partition("#")
    place = page.parent / target if target else page
    return not place.exists() or bool(anchor) and anchor not in anchors(place)


def test_links_and_pictures_lead_somewhere():
    broken = {}
    for page, text in DOCUMENTS.items():
        links = re.findall(r"\]\((?!http)([^)]+)\)", without_code(text))
        broken[page] = sorted({link for link in links if is_broken(link, page)})
    assert by_file(broken) == {}


def test_every_source_has_its_address():
    for text in DOCUMENTS.values():
        addresses = re.findall(r"(?m)^\[([^\]]+)\]: https://\S+$", text)
        used = re.findall(r"\[([\w-]+#\d+|\w+)\](?![(:])", without_code(text))
        assert set(used) == set(addresses)

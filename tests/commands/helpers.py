"""What the tests of the commands share: the commands as functions, and what they have written."""

import json
import re
from pathlib import Path

import keras
import numpy as np
from conftest import pixels_of

from pix2pix.commands.evaluate.command import evaluate as run_evaluate
from pix2pix.commands.export.command import export as run_export
from pix2pix.commands.translate.command import translate as run_translate
from pix2pix.options.commands import Evaluate, Export, Translate


def translate(run: Path, *inputs: Path, **options) -> Path:
    """Translate pictures, videos, folders or patterns; the folder of the results."""
    return run_translate(Translate(run, tuple(map(str, inputs)), **options))


def translated(run: Path, picture: Path, folder: Path, **options) -> np.ndarray:
    """The pixels of the translation of a picture."""
    translate(run, picture, output=folder, **options)
    return pixels_of(folder / f"{picture.stem}.png")


def written(folder: Path) -> set[str]:
    """The names of all files in a folder and below."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def evaluate(run: Path, **options) -> dict:
    """Evaluate a run; the content of its metrics.json."""
    folder = run_evaluate(Evaluate(run, **options)).folder
    return json.loads((folder / "metrics.json").read_text())


def read_page(folder: Path) -> tuple[str, dict]:
    """The page of results, and the results in it."""
    html = (folder / "index.html").read_text()
    return html, json.loads(re.search(r"const results = (.*);\n", html)[1])


def inception_stand_in(**options) -> keras.Model:
    """As quick as InceptionV3 is not: the mean of each colour."""
    assert options == {"include_top": False, "pooling": "avg"}
    picture = keras.Input((299, 299, 3))
    return keras.Model(picture, keras.layers.GlobalAveragePooling2D()(picture))


def export(run: Path, *formats: str, **options) -> Path:
    """Export a run; the folder of the formats."""
    return run_export(Export(run, formats, **options))

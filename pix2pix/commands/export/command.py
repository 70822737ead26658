"""export: write a generator in formats for other programs, and check that each computes the same.

All formats have one signature, `source` to `generated`, in batches of any size. A new format is a
row in FORMATS and a section of the same name in pages/model_card.md, whose code checks it.
"""

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from image_to_image_translation import generate
from pix2pix.commands.export.page import complete_page
from pix2pix.commands.export.picture_signature import picture_function, translates_whole_pictures
from pix2pix.commands.import_weights import authors_name, to_pytorch
from pix2pix.commands.open_run import TrainedRun, open_run
from pix2pix.options.commands import Export
from pix2pix.options.found import Found
from pix2pix.options.saved import write_run
from pix2pix.pictures.sides import Side
from pix2pix.runs.generator_file import save_generator
from pix2pix.runs.pages import PAGES
from pix2pix.runs.run_page import renew_links
from pix2pix.talk.errors import UsageError, UserError
from pix2pix.talk.files import replace_when_complete, write_text
from pix2pix.talk.lines import say_row
from pix2pix.talk.notebook import live_output

MODEL_CARD = PAGES / "model_card.md"
EXACT = 1e-5  # the largest difference that a format may have, with values from -1 to 1 …
OF_16_BITS = 1e-3  # … and one whose weights are rounded
NOISE = 1e-6  # in the source; a format may differ by ten times what this changes
LEAST_PSNR = 20  # decibels that a format with fewer bits must reach


@dataclass(frozen=True)
class Format:
    """One of the formats: the file, what writes it, and what has to be installed for that."""

    file: str
    write: Callable[[keras.Model, TrainedRun, Path, Export], None]
    packages: str = "keras"
    has_smaller: bool = False  # whether --half and --int8 apply
    tolerance: float = EXACT  # the largest difference that it may have


@dataclass(frozen=True)
class Written:
    """A file in a format, as the model card lists it."""

    file: str
    size: str
    difference: str
    psnr: str
    section: str  # of the model card

    @property
    def row(self) -> str:
        """Return the row of the file in the model card's table."""
        return f"| {self.file} | {self.size} | {self.difference} | {self.psnr} |"


@live_output()
def export(options: Export) -> Path:
    """Write the formats and their model card; return the folder they are in."""
    trained = open_run(options.run)
    folder = options.output or trained.folder / "export"
    if not options.formats:
        raise UsageError(f"--formats must be at least one of {', '.join(FORMATS)}.")
    if options.half and options.int8:
        raise UsageError("--half and --int8: one of them at a time.")
    smaller = options.half or options.int8
    if smaller and not any(FORMATS[name].has_smaller for name in options.formats):
        raise UsageError("--half and --int8 are for onnx and litert; name one with --formats.")
    folder.mkdir(parents=True, exist_ok=True)
    generator = trained.generator
    sections = card_sections(trained)
    written: dict[str, Written] = {}
    for name in options.formats:
        written[name] = write_checked(name, sections[name], generator, trained, folder, options)
    write_text(folder / "README.md", model_card(sections, written, trained))
    renew_links(trained.folder)
    say_row("Saved", f"{folder}, with a README.md that says how to use them")
    return folder


# --- Formats --------------------------------------------------------------------------------------


def write_keras(generator: keras.Model, trained: TrainedRun, path: Path, options: Export) -> None:
    """Write another generator.keras."""
    run = write_run(trained.options, trained.found, trained.step)
    save_generator(generator, run, trained.example, path)


def signature_function(generator: keras.Model) -> tf.types.experimental.PolymorphicFunction:
    """Return the signature that all formats have: `source` to `generated`."""
    spec = tf.TensorSpec(generator.input_shape, tf.float32, name="source")

    def forward(source: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"generated": generator(source, training=False)}

    return tf.function(forward, input_signature=[spec], autograph=False)


def write_saved_model(
    generator: keras.Model, trained: TrainedRun, path: Path, options: Export
) -> None:
    """Write a SavedModel with signatures for batches of sources and for encoded pictures."""
    module = tf.Module()
    module.weights = [variable.value for variable in generator.variables]
    signatures = {"serving_default": signature_function(generator)}
    if translates_whole_pictures(trained):
        signatures["picture"] = picture_function(generator, trained)
    tf.saved_model.save(module, path, signatures)


def write_onnx(generator: keras.Model, trained: TrainedRun, path: Path, options: Export) -> None:
    """Write an ONNX file."""
    import onnx
    import tf2onnx
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.transformers.float16 import convert_float_to_float16

    function = signature_function(generator)
    model, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=17)
    if options.half:
        model = convert_float_to_float16(model, keep_io_types=True)
    onnx.save(model, path)
    if options.int8:
        quantize_dynamic(path, path)


def write_litert(generator: keras.Model, trained: TrainedRun, path: Path, options: Export) -> None:
    """Write a LiteRT (TensorFlow Lite) file."""
    with tempfile.TemporaryDirectory() as folder:
        write_saved_model(generator, trained, Path(folder), options)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, ["serving_default"])
        if options.half or options.int8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if options.half:
            converter.target_spec.supported_types = [tf.float16]
        path.write_bytes(converter.convert())


def write_pytorch(generator: keras.Model, trained: TrainedRun, path: Path, options: Export) -> None:
    """Write the weights as the authors' PyTorch code saves them."""
    import torch

    weights = to_pytorch(generator, trained)
    torch.save({name: torch.tensor(value) for name, value in weights.items()}, path)


def write_page(generator: keras.Model, trained: TrainedRun, path: Path, options: Export) -> None:
    """Write a web page on which one draws, with the generator in it."""
    path.mkdir()
    exact = replace(options, half=False, int8=False)
    write_onnx(generator, trained, path / "generator.onnx", exact)
    complete_page(path, trained, options)


FORMATS = {
    "keras": Format("generator.keras", write_keras),
    "saved_model": Format("saved_model", write_saved_model),
    "onnx": Format("generator.onnx", write_onnx, "onnx onnxruntime tf2onnx", has_smaller=True),
    "litert": Format("generator.tflite", write_litert, "ai-edge-litert", has_smaller=True),
    "pytorch": Format("latest_net_G.pth", write_pytorch, "torch"),
    "page": Format("page", write_page, "onnx onnxruntime tf2onnx", tolerance=OF_16_BITS),
}


@contextmanager
def packages_for(name: str) -> Iterator[None]:
    """Say how to install what a format needs, if it is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        packages = FORMATS[name].packages
        raise UserError(f"{name} needs {error.name}: pip install {packages}") from error


# --- Checking -------------------------------------------------------------------------------------


def write_checked(
    name: str,
    section: str,
    generator: keras.Model,
    trained: TrainedRun,
    folder: Path,
    options: Export,
) -> Written:
    """Write a format, and open it as its section of the model card says.

    What computes something else is not kept."""
    form = FORMATS[name]
    smaller = smaller_kind(form, options)
    file = file_name(form, smaller)
    sources = np.concatenate([trained.example, trained.example[:, :, ::-1]])
    expected = generate(generator, sources).numpy()
    with packages_for(name), replace_when_complete(folder / file) as temporary:
        form.write(generator, trained, temporary, options)
        generated = run_snippet(section, form.file, temporary, sources)
        difference, psnr = compare(generated, expected)
        allowed = max(form.tolerance, 10 * noise_difference(generator, sources, expected))
        is_exact = difference <= allowed
        if not is_exact and not (smaller and psnr > LEAST_PSNR):
            raise UserError(
                f"{name}: computes something else than the run, by {difference:.2g}; not written."
            )
    size = sum(path.stat().st_size for path in [folder / file, *(folder / file).rglob("*")])
    section = section.replace(form.file, file)
    made = Written(file, f"{size / 1e6:.1f} MB", f"{difference:.2g}", f"{psnr:.0f} dB", section)
    about = f"{made.file}, {made.size}, largest difference {made.difference}, PSNR {made.psnr}"
    say_row(name, about, width=12)
    return made


def smaller_kind(form: Format, options: Export) -> str:
    """Return what a format is made smaller by: half, int8, or nothing."""
    if form.has_smaller and options.half:
        return "half"
    return "int8" if form.has_smaller and options.int8 else ""


def file_name(form: Format, smaller: str) -> str:
    """Name the file of a format."""
    path = Path(form.file)
    return f"{path.stem}-{smaller}{path.suffix}" if smaller else form.file


def run_snippet(section: str, file: str, path: Path, source: np.ndarray) -> np.ndarray:
    """Return what the code in a section of the model card makes of a batch."""
    code = section.partition("```python\n")[2].partition("```")[0]
    scope: dict[str, Any] = {"source": source}
    exec(code.replace(f'"{file}"', repr(str(path))), scope)
    return scope["generated"]


def compare(generated: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Return the largest difference of two batches with values from -1 to 1, and their PSNR."""
    error = np.abs(generated - expected)
    return float(error.max()), float(-10 * np.log10((error**2).mean() / 4 + 1e-16))


def noise_difference(generator: keras.Model, sources: np.ndarray, expected: np.ndarray) -> float:
    """Return what a little noise in the sources changes: how much a network enlarges rounding."""
    noise = np.random.default_rng(0).normal(0, NOISE, sources.shape).astype(np.float32)
    shaken = generate(generator, sources + noise).numpy()
    return compare(shaken, expected)[0]


# --- Model card -----------------------------------------------------------------------------------


def model_card(sections: dict[str, str], written: dict[str, Written], trained: TrainedRun) -> str:
    """Return the text of the model card, with the sections of the formats that were written."""
    card = ""
    for heading, section in sections.items():
        if not heading:
            card += section.replace("<table>", "\n".join(made.row for made in written.values()))
        elif heading in written:
            card += f"## {heading}\n{written[heading].section}"
        elif heading == "picture":
            if "saved_model" in written and translates_whole_pictures(trained):
                card += f"## {heading}\n{section}"
        elif heading not in FORMATS:
            card += f"## {heading}\n{section}"
    return card


def card_sections(trained: TrainedRun) -> dict[str, str]:
    """Return the sections of the model card by their headings; what comes before them is ""."""
    parts = re.split(r"(?m)^## (.+)\n", MODEL_CARD.read_text(encoding="utf-8"))
    sections = dict(zip(["", *parts[1::2]], parts[::2], strict=True))
    for name, value in card_values(trained).items():
        for heading, text in sections.items():
            sections[heading] = text.replace(f"<{name}>", str(value))
    return sections


def card_values(trained: TrainedRun) -> dict[str, object]:
    """Return what stands in the place of `<name>` in the model card."""
    options, found, (height, width) = trained.options, trained.found, trained.task.size
    norm = "F.instance_norm(x, weight=scale, bias=shift)"
    if options.normalization == "batch":
        mean, variance = (f'weights[f"{{name}}.running_{kind}"]' for kind in ("mean", "var"))
        norm = f"F.batch_norm(x, {mean}, {variance}, scale, shift)"
    return {
        "run": options.name or options.run_folder.name,
        "step": f"{trained.step:,}",
        "height": height,
        "width": width,
        "source_channels": found.source_channels,
        "target_channels": found.target_channels,
        "read_source": read_source_code(found, height, width),
        "save_generated": save_generated_code(found.target),
        "values": "pixels / 127.5 - 1" if is_photo(found.source) else "what the code below makes",
        "source_note": describe_source(trained),
        "normalise": norm,
        "authors": authors_name(options, found),
    }


def is_photo(side: Side) -> bool:
    """Tell whether a side has pictures that any program can open, in their whole range."""
    return not (side.measured or side.ranges)


def describe_source(trained: TrainedRun) -> str:
    """Return what the model card says about the source, and about labels."""
    notes = [trained.task.note]
    for title, side in (("source", trained.found.source), ("result", trained.found.target)):
        if side.parts:
            parts = ", ".join(f"{part.name} ({part.channels})" for part in side.parts)
            notes.append(f"The channels of a {title} are {parts}.")
        if side.classes:
            names = ", ".join(f"{label.name} {label.colour}" for label in side.classes)
            notes.append(f"A {title} is a label map in the colours {names}.")
    return " ".join(filter(None, notes))


def read_source_code(found: Found, height: int, width: int) -> str:
    """Return the code of the model card that makes a `source` of a file."""
    channels, side = found.source_channels, found.source
    shape = f".reshape(1, {height}, {width}, {channels})"
    if is_photo(side):
        method = "NEAREST" if side.classes else "BILINEAR"
        mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
        size = f"({width}, {height}), Image.Resampling.{method}"
        return (
            f'picture = Image.open("picture.png").convert("{mode}").resize({size})\n'
            f'source = np.asarray(picture, "float32"){shape} / 127.5 - 1'
        )
    return (
        f'pixels = np.load("picture.npy")  # [{height}, {width}, {channels}]\n'
        f'low, high = np.array({side.ranges}, "float32").T\n'
        f"source = (2 * (pixels - low) / (high - low) - 1).clip(-1, 1){shape}"
    )


def save_generated_code(target: Side) -> str:
    """Return the code of the model card that saves a `generated`."""
    if is_photo(target):
        return (
            "pixels = np.uint8(np.rint((generated[0] + 1) * 127.5))\n"
            'Image.fromarray(pixels.squeeze()).save("generated.png")'
        )
    return (
        f'low, high = np.array({target.ranges}, "float32").T\n'
        'np.save("generated.npy", (generated[0] + 1) / 2 * (high - low) + low)'
    )

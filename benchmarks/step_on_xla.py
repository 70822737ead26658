"""Carry the train step to a machine that has XLA but no TensorFlow, say one with another CUDA.

    python benchmarks/step_on_xla.py export FOLDER    # needs TensorFlow
    python benchmarks/step_on_xla.py run FOLDER       # needs JAX, which brings XLA

`export` writes the step as StableHLO, and what losses and weights were after five steps here. `run`
compiles that with XLA, says whether it computes the same there, and how long a step takes. Dropout
is off, because every compiler draws its random numbers in its own way. Initial weights are larger
than the step: they are not copied, both sides draw them alike.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

CHECKED_STEPS = 5


@dataclass(frozen=True)
class Export:
    """Write the train step of the default networks as StableHLO, with its losses here."""

    folder: tyro.conf.Positional[Path]
    """Where to."""
    image_size: int = 256
    """A power of two."""
    filters: int = 64
    """Of the first layer of both networks."""
    precision: str = "float32"
    """float32 or bfloat16."""


@dataclass(frozen=True)
class Run:
    """Compile an exported step with XLA, compare its losses, and time it."""

    folder: tyro.conf.Positional[Path]
    """Where it was exported to."""
    steps: int = 100
    """Steps timed."""


def draw(variables: list[dict], seed: int = 0) -> list[np.ndarray]:
    """Draw the initial value of each variable: normal, or one number."""
    random = np.random.default_rng(seed)
    values = []
    for variable in variables:
        shape, dtype = variable["shape"], variable["dtype"]
        noise = (
            random.standard_normal(shape) * variable["deviation"] if variable["deviation"] else 0
        )
        values.append(np.asarray(np.zeros(shape) + variable["mean"] + noise, dtype))
    return values


def draw_pair(size: int) -> list[np.ndarray]:
    """Draw a source and a target."""
    random = np.random.default_rng(1)
    return [random.uniform(-1, 1, (1, size, size, 3)).astype(np.float32) for _ in range(2)]


def export(options: Export) -> None:
    """Write step.mlir and step.json."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import tensorflow as tf

    import image_to_image_translation as script
    from pix2pix.options.train import Train
    from pix2pix.pictures.pixels import Kind
    from pix2pix.pictures.sides import PHOTOS
    from pix2pix.preparation import conclude

    script.with_fast_layers = lambda network: network  # which are for processors
    config = Train(
        image_size=options.image_size,
        generator_filters=options.filters,
        discriminator_filters=options.filters,
        precision=options.precision,
    )
    found = conclude(config, [(Kind(channels=3, bits=8),) * 2], [PHOTOS] * 2)
    training = script.Training(config, found)
    for layer in script.dropout_layers(training.generator):
        layer.rate = 0

    @tf.function(autograph=False, jit_compile=True)
    def step(source: tf.Tensor, target: tf.Tensor) -> list[tf.Tensor]:
        losses = script.train_step.python_function(training, source, target)
        return list(losses.values())

    pair = [tf.constant(picture) for picture in draw_pair(options.image_size)]
    options.folder.mkdir(parents=True, exist_ok=True)
    program = step.experimental_get_compiler_ir(*pair)(stage="stablehlo")
    (options.folder / "step.mlir").write_text(program)

    # The program takes the pair and these variables, and returns the losses and those that change.
    by_handle = {id(v.handle): v for v in [*training.variables, *training.noise]}
    variables = [by_handle[id(h)] for h in step.get_concrete_function(*pair).captured_inputs]
    kinds = [describe(variable.numpy(), variable.dtype.name) for variable in variables]
    for variable, value in zip(variables, draw(kinds), strict=True):
        variable.assign(value)
    before = [variable.numpy() for variable in variables]
    losses = [[float(loss) for loss in step(*pair)] for _ in range(CHECKED_STEPS)]
    for kind, variable, value in zip(kinds, variables, before, strict=True):
        kind["changes"] = not np.array_equal(variable.numpy(), value)
        kind["size_after"] = size_of(variable.numpy())
    facts = {"image_size": options.image_size, "precision": options.precision}
    facts |= {"variables": kinds, "losses": losses}
    (options.folder / "step.json").write_text(json.dumps(facts))
    size = (options.folder / "step.mlir").stat().st_size
    print(f"{options.folder}: step.mlir, {size / 1e6:.1f} MB, and step.json")


def size_of(value: np.ndarray) -> float:
    """The mean of absolute values."""
    return float(np.abs(value.astype(np.float64)).mean())


def describe(value: np.ndarray, dtype: str) -> dict:
    """How to draw a value of this kind."""
    deviation = float(value.std()) if value.size > 1 and dtype == "float32" else 0.0
    facts = {"shape": value.shape, "dtype": dtype, "mean": float(value.mean())}
    return facts | {"deviation": deviation}


def run(options: Run) -> None:
    """Compile, compare, and time."""
    import jax
    from jax.extend.backend import get_backend
    from jaxlib.xla_client import CompileOptions, DeviceList

    jax.config.update("jax_enable_x64", True)  # steps are counted in 64 bits
    facts = json.loads((options.folder / "step.json").read_text())
    backend, device = get_backend(), jax.devices()[0]
    started = time.perf_counter()
    program = (options.folder / "step.mlir").read_text()
    compiled = backend.compile_and_load(program, DeviceList((device,)), CompileOptions())
    print(f"{device.device_kind}: compiled in {time.perf_counter() - started:.0f} s")
    put = [jax.device_put(value, device) for value in draw(facts["variables"])]
    pair = [jax.device_put(value, device) for value in draw_pair(facts["image_size"])]
    changing = [k for k, variable in enumerate(facts["variables"]) if variable["changes"]]

    def step() -> list:
        results = compiled.execute([*pair, *put])
        losses, changed = results[: -len(changing)], results[-len(changing) :]
        for k, value in zip(changing, changed, strict=True):
            put[k] = value
        return losses

    count = len(facts["losses"])
    losses = [[float(np.asarray(loss)) for loss in step()] for _ in range(count)]
    weights = [size_of(np.asarray(value)) for value in put]
    expected = [variable["size_after"] for variable in facts["variables"]]
    difference = largest_difference(losses, facts["losses"]), largest_difference(weights, expected)
    print(f"{count} steps: within {max(difference):.0e} of the losses and weights of TensorFlow")
    started = time.perf_counter()
    for _ in range(options.steps):
        losses = step()
    np.asarray(losses[0])  # waits for it
    milliseconds = (time.perf_counter() - started) / options.steps * 1e3
    print(f"{milliseconds:.1f} ms a step of {facts['precision']}, over {options.steps} steps")


def largest_difference(values: list, expected: list) -> float:
    """The largest difference, each as a share of what was expected."""
    values, expected = np.array(values), np.array(expected)
    return float(np.max(np.abs(values - expected) / np.maximum(np.abs(expected), 1e-12)))


def main() -> None:
    """Do what is asked for."""
    options = tyro.cli(Export | Run)
    if isinstance(options, Export):
        export(options)
    else:
        run(options)


if __name__ == "__main__":
    main()

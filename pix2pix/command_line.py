"""From the arguments of the command line to a command and its options; errors as one line.

Loads no TensorFlow, and of the commands only the one asked for, so that --help is quick.
"""

import importlib
import re
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields

import tyro

from pix2pix.options import (
    Evaluate,
    Export,
    ImportWeights,
    Inspect,
    Train,
    Translate,
    check_train,
    read_config,
    run_folder,
    saved_options,
)
from pix2pix.support.terminal import UserError, first_line, program_name, say_for_now


@dataclass(frozen=True)
class Command:
    """A command: its options, and the module and function that carry it out."""

    options: type
    module: str
    function: str


COMMANDS = {
    "train": Command(Train, "image_to_image_translation", "train"),
    "inspect": Command(Inspect, "pix2pix.commands.inspect_dataset", "inspect_dataset"),
    "translate": Command(Translate, "pix2pix.commands.translate", "translate"),
    "evaluate": Command(Evaluate, "pix2pix.commands.evaluate", "evaluate"),
    "export": Command(Export, "pix2pix.commands.export", "export"),
    "import-weights": Command(ImportWeights, "pix2pix.commands.pytorch_weights", "import_weights"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; whatever a user can put right ends in one line."""
    try:
        name, options = parse(sys.argv[1:] if arguments is None else arguments)
        if isinstance(options, Train):
            check_train(options)  # now, since loading TensorFlow takes seconds
        command = COMMANDS[name]
        run_command = getattr(importlib.import_module(command.module), command.function)
        run_command(options)
    except KeyboardInterrupt:
        end("Stopped. The same command starts again.", 128 + signal.SIGINT)
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        end(f"error: {message}", getattr(error, "exit_status", 1))


def end(message: str, exit_status: int) -> None:
    """Say a last line on standard error, and end the program."""
    say_for_now("")  # over a line of progress
    print(message, file=sys.stderr)
    sys.exit(exit_status)


def explain(error: Exception) -> str | None:
    """Return one line about an error that a user can mend; None for any other error."""
    message = first_line(error)
    if isinstance(error, UserError):
        return message
    tf = sys.modules.get("tensorflow")  # without TensorFlow there are no errors of TensorFlow
    is_tensorflows = tf is not None and isinstance(error, tf.errors.OpError)
    if (isinstance(error, OSError) or is_tensorflows) and "No space left" in message:
        return f"{message}. Free some space and start again; it goes on from the last checkpoint."
    if isinstance(error, OSError):
        return message
    if is_tensorflows and isinstance(error, tf.errors.ResourceExhaustedError):
        return f"out of memory ({message}). Try a smaller --batch-size or --image-size."
    if is_tensorflows and "UserError: " in str(error):  # of a pair that went bad during training
        return re.search(r"UserError: (.+)", str(error))[1]
    return None


# --- Arguments ------------------------------------------------------------------------------------


def parse(arguments: Sequence[str]) -> tuple[str, object]:
    """Turn arguments into the name of a command and its options."""
    name, arguments = "train", list(arguments)
    if arguments and arguments[0] in COMMANDS:  # train may be left out
        name = arguments.pop(0)
    kind = COMMANDS[name].options
    if not issubclass(kind, Train):
        return name, tyro.cli(kind, args=arguments, prog=f"{program_name()} {name}")
    if arguments and not arguments[0].startswith("-"):
        arguments = ["--dataset", *arguments]
    typed = tyro.cli(kind, args=arguments)
    return name, complete(typed, typed_fields(arguments))


def typed_fields(arguments: Sequence[str]) -> set[str]:
    """Name the fields of Train whose flags are among the arguments."""
    flags = {argument.split("=")[0] for argument in arguments if argument.startswith("--")}
    names = {flag.removeprefix("--").replace("-", "_") for flag in flags}
    names |= {name.removeprefix("no_") for name in names}
    return names & {field.name for field in fields(Train)}


def complete(options: Train, typed: set[str]) -> Train:
    """Take what was not typed from --config or, without one, from the run that is there already."""
    path = options.config or run_folder(options) / "config.json"
    not_taken = set()
    if not options.config:
        if not path.exists():
            return options
        not_taken = {"output", "name"}  # the folder may have been moved since
    if "dataset" in typed:
        not_taken |= {"source_dir", "target_dir"}
    if "source_dir" in typed:
        not_taken |= {"dataset"}
    saved = saved_options(read_config(path))
    values = {name: value for name, value in saved.items() if name not in not_taken}
    return type(options)(**values | {name: getattr(options, name) for name in typed})

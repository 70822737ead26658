"""From the arguments of the command line to a command and its options; errors as one line.

Loads no TensorFlow, and of the commands only the one asked for, so that --help is quick.
"""

import difflib
import gc
import importlib
import importlib.metadata
import io
import os
import platform
import re
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Literal, NoReturn, get_args, get_origin

try:
    import tyro
except ModuleNotFoundError as missing:  # the first to be loaded of what has to be installed
    sys.exit(f"error: {missing.name} is missing: pip install -r requirements.txt")

from pix2pix import __version__
from pix2pix.options.checks import check_train
from pix2pix.options.commands import (
    Compare,
    Draw,
    Evaluate,
    Export,
    ImportWeights,
    Pack,
    Translate,
)
from pix2pix.options.saved import fill_in
from pix2pix.options.train import (
    DATASETS,
    DataOptions,
    Inspect,
    InspectOptions,
    LearningOptions,
    NetworkOptions,
    PictureOptions,
    RunOptions,
    Train,
    flag,
    types_of,
)
from pix2pix.talk.errors import UsageError, UserError, first_line
from pix2pix.talk.lines import program_name, say_for_now
from pix2pix.talk.stop_signals import stops_interrupt


@dataclass(frozen=True)
class Command:
    """A command: its options, the module and function that carry it out, and a line about it."""

    options: type
    module: str
    function: str
    about: str


NEEDED = ("tensorflow", "keras", "matplotlib", "IPython", "filelock", "tifffile")  # beside tyro

COMMANDS = {
    "train": Command(
        Train, "image_to_image_translation", "train_as_told", "the command, if none is named"
    ),
    "inspect": Command(
        Inspect,
        "pix2pix.commands.inspect_dataset",
        "inspect_dataset",
        "look at a dataset before training",
    ),
    "pack": Command(
        Pack, "pix2pix.commands.pack", "pack", "check it once, so that trainings start at once"
    ),
    "translate": Command(
        Translate, "pix2pix.commands.translate", "translate", "put a trained run to work"
    ),
    "draw": Command(
        Draw, "pix2pix.commands.draw", "draw", "draw, and see what it makes of it meanwhile"
    ),
    "evaluate": Command(
        Evaluate, "pix2pix.commands.evaluate", "evaluate", "measure it on pairs it has not seen"
    ),
    "compare": Command(
        Compare, "pix2pix.commands.compare", "compare", "put several trainings on one page"
    ),
    "export": Command(
        Export, "pix2pix.commands.export", "export", "write its generator for other programs"
    ),
    "import-weights": Command(
        ImportWeights,
        "pix2pix.commands.import_weights",
        "import_weights",
        "make a run of the authors' PyTorch weights",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; what a user can put right ends in one line."""
    open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # where there is no Unicode, × becomes ?
    try:
        name, options = parse(sys.argv[1:] if arguments is None else arguments)
        if isinstance(options, Train):
            check_train(options)  # now, since loading TensorFlow takes seconds
        say_for_now("Starting TensorFlow…")
        with stops_interrupt():
            run_command = load_function(COMMANDS[name])
            outcome = run_command(options)
        return getattr(outcome, "exit_status", 0)
    except KeyboardInterrupt as stop:
        number = stop.args[0] if stop.args else signal.SIGINT
        end("Stopped. The same command starts again.", 128 + number)
    except BrokenPipeError:  # `--help | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        end(f"error: {message}", getattr(error, "exit_status", 1))


def open_closed_streams() -> None:
    """Give standard output and error, if they were closed (`>&-`), a place where nothing is kept.

    Otherwise the next file that is opened would take their numbers, and get what is written."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))


def load_function(command: Command) -> Callable[[object], object]:
    """Load the module of a command, and return the function that carries the command out."""
    gc.disable()  # to look for garbage among what is loaded takes half a second, and finds none
    try:
        module = importlib.import_module(command.module)
    finally:
        gc.freeze()
        gc.enable()
    return getattr(module, command.function)


def end(message: str, exit_status: int) -> NoReturn:
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
    full_memory = tf is not None and isinstance(error, tf.errors.ResourceExhaustedError)
    if (isinstance(error, OSError) or is_tensorflows) and "No space left" in message:
        return f"{message}. Free some space and start again; it goes on from the last checkpoint."
    if isinstance(error, OSError):
        return message
    if isinstance(error, ModuleNotFoundError):
        package = str(error.name).partition(".")[0]
        if package in NEEDED:
            return f"{package} is missing: pip install -r requirements.txt"
    if full_memory:
        return f"out of memory ({message}). Try a smaller --batch-size or --image-size."
    if is_tensorflows and (said := re.search(r"UserError: (.+)", str(error))):
        return said[1]  # of a pair that went bad during training
    return None


# --- Arguments ------------------------------------------------------------------------------------

HELP = (tyro.conf.DisallowNone, tyro.conf.OmitArgPrefixes)  # neither {None}| nor --data.dataset


@dataclass(frozen=True)
class TrainInGroups:
    """The options of train as --help shows them."""

    data: DataOptions = DataOptions()
    picture: PictureOptions = PictureOptions()
    network: NetworkOptions = NetworkOptions()
    training: LearningOptions = LearningOptions()
    run: RunOptions = RunOptions()


@dataclass(frozen=True)
class InspectInGroups(TrainInGroups):
    """The options of inspect as --help shows them."""

    inspect: InspectOptions = InspectOptions()


def parse(arguments: Sequence[str]) -> tuple[str, object]:
    """Turn arguments into the name of a command and its options."""
    name, arguments = "train", list(arguments)
    if arguments == ["--version"]:
        print(describe_version())
        sys.exit()
    is_named = bool(arguments) and arguments[0] in COMMANDS
    if is_named:
        name = arguments.pop(0)
    kind, program = COMMANDS[name].options, f"{program_name()} {name}"
    for place, words in enumerate(pairwise(arguments)):
        if words == ("--crop", "informative"):
            arguments.insert(place + 1, "--windows")
            break
    refuse_other_choices(kind, arguments)
    if not issubclass(kind, Train):
        return name, tyro.cli(kind, args=arguments, prog=program, config=HELP)
    if arguments and not arguments[0].startswith("-"):
        refuse_mistyped(arguments[0])
        arguments = ["--dataset", *arguments]
    about = kind.__doc__ if is_named else f"{kind.__doc__}\n\n{list_commands()}"
    groups = TrainInGroups if kind is Train else InspectInGroups
    grouped = tyro.cli(groups, args=arguments, prog=program, description=about, config=HELP)
    values = [vars(group) for group in vars(grouped).values()]
    options = kind(**{name: value for group in values for name, value in group.items()})
    return name, fill_in(options, typed_fields(arguments))


def describe_version() -> str:
    """Say which versions of this program and of what it stands on are at work."""
    versions = [f"pix2pix {__version__}", f"Python {platform.python_version()}"]
    for package in ("tensorflow", "keras"):
        with suppress(importlib.metadata.PackageNotFoundError):  # it has other names too
            versions.append(f"{package} {importlib.metadata.version(package)}")
    return ", ".join(versions)


def list_commands() -> str:
    """List the commands, a line for each."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.about}" for name, command in COMMANDS.items()]
    return "\n".join(["Commands, each with a --help of its own:", *lines])


def refuse_mistyped(word: str) -> None:
    """Refuse a first argument that is neither a command nor a dataset."""
    if word in DATASETS or os.path.exists(word):
        return
    if (Train.output / word / "config.json").exists():
        raise UsageError(f"{word} is a run, not a dataset. To go on with it: --name {word}")
    similar = difflib.get_close_matches(word, [*COMMANDS, *DATASETS], n=1)
    question = f"Did you mean {similar[0]}?" if similar else f"See {program_name()} --help."
    raise UsageError(f"{word} is no command, no known dataset and no folder. {question}")


def refuse_other_choices(kind: type, arguments: Sequence[str]) -> None:
    """Refuse a word that is none of those a flag may have; tyro would offer None among them."""
    choices = {}
    for name, union in types_of(kind).items():
        if float in get_args(union):  # a number is one, too
            continue
        words = [part for part in get_args(union) if get_origin(part) is Literal]
        choices[flag(name)] = [str(word) for part in words for word in get_args(part)]
    for argument, following in pairwise([*arguments, ""]):
        typed, equals, value = argument.partition("=")
        word, known = value if equals else following, choices.get(typed.replace("_", "-"))
        if known and word and word not in known and not word.startswith("--"):
            raise UsageError(f"{typed} must be one of {', '.join(known)}, not {word}.")


def typed_fields(arguments: Sequence[str]) -> set[str]:
    """Name the fields of Train whose flags are among the arguments."""
    typed = {argument.split("=")[0].replace("_", "-") for argument in arguments}
    names = [field.name for field in fields(Train)]
    return {name for name in names if typed & {flag(name), flag(f"no_{name}")}}

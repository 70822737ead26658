"""What is told of a training while it runs: progress, tables, TensorBoard, previews, measures of
held-out pairs, warnings, and the page of the run. Nothing here decides what is learned."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import keras
import tensorflow as tf

from pix2pix.networks.imagenet_features import build_feature_network
from pix2pix.options.advice import announce, hint_at_less, how_to_go_on
from pix2pix.options.found import Found
from pix2pix.options.saved import to_saved
from pix2pix.options.train import Train
from pix2pix.pairs.splits import CheckedSplit
from pix2pix.runs.run_folder import draw_curves
from pix2pix.runs.run_page import RunPage
from pix2pix.runs.symptoms import warn
from pix2pix.runs.tables import add_row, begin_table
from pix2pix.runs.tensorboard import write_options, write_picture, write_scalars
from pix2pix.runs.validation import SHOWN, Validation, pairs_in_time
from pix2pix.talk.lines import say, say_for_now, say_row
from pix2pix.talk.notebook import show_curves, show_inline
from pix2pix.talk.progress import StepClock, is_due, say_step

STEPS_BEFORE_HINT = 10  # by which the time of the others is known


Generate = Callable[[keras.Model, tf.Tensor], tf.Tensor]  # what a generator makes of a batch


class Watched(Protocol):
    """A training, as far as it is asked here."""

    options: Train
    found: Found
    folder: Path
    generator: keras.Model
    average: keras.Model
    strategy: tf.distribute.Strategy

    @property
    def step(self) -> int:
        """Return how many steps are done."""

    @property
    def is_writer(self) -> bool:
        """Tell whether this process writes."""

    def mean_losses(self) -> dict[str, float]:
        """Return the mean losses since the last log line, by name."""

    def begin_means(self) -> None:
        """Begin new means."""

    def write_generator(self, example: tf.Tensor, name: str) -> None:
        """Write the generator as it is shown, under a name in the folder of the run."""


class Shown(Protocol):
    """The held-out pairs that show how a training goes."""

    split_name: str
    split: CheckedSplit
    sources: tf.Tensor  # in previews
    targets: tf.Tensor

    def load(self, numbers: Sequence[int], align: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Return some of the pairs, with targets as they are or moved to where they belong."""

    def save_preview(self) -> Path:
        """Save a preview of the present step."""


class Watch:
    """Tells how a training goes, in all places at once; of several workers, only the first does."""

    def __init__(
        self, training: Watched, held_out: Shown, generate: Generate, labels: dict[str, str]
    ) -> None:
        self.training, self.options, self.folder = training, training.options, training.folder
        self.held_out = held_out
        self.validation = plan_validation(training, held_out, generate)
        self.labels = labels  # of the losses on the screen, by their names in the tables
        self.metrics = self.folder / "metrics.csv"
        self.page = RunPage(self.folder, to_saved(Train()))
        self.clock = StepClock(self.options.steps)

    def announce(self, pairs: CheckedSplit) -> None:
        """Say what is about to be trained, on which pairs."""
        replicas = self.training.strategy.num_replicas_in_sync
        announce(self.options, self.training.found, pairs, self.held_out.split_name, replicas)
        steps = f"steps {self.training.step + 1:,} to {self.options.steps:,}"
        say_row("Run", f"{self.folder}, {steps}")
        say_row("Watch", f"{self.folder / 'index.html'} in a browser")

    def begin(self) -> None:
        """Begin the tables, the logs, the previews and the page, or go on with them."""
        step = self.training.step
        if self.training.is_writer:
            self.validation.begin(step)
            if self.options.keep_best and not self.validation.count:
                what = "--keep-best keeps nothing, as nothing is measured: docs/OPTIONS.md"
                say_row("Careful", what)
            begin_table(self.metrics, ["step", *self.labels, "steps_per_second"], step)
            self.tensorboard = tf.summary.create_file_writer(str(self.folder / "logs"))
            write_options(self.tensorboard, step, to_saved(self.options))
            if step == 0:
                self.show_preview()
            self.page.write(step, "training")
        say_for_now("Compiling the first step…")
        self.clock = StepClock(self.options.steps)

    def after(self, step: int) -> None:
        """Tell what is due after a step; when it is, stop where a loss is no number."""
        options, writes = self.options, self.training.is_writer
        log_due = is_due(step, options.log_every, options.steps)
        preview_due = is_due(step, options.preview_every, options.steps)
        line_due = writes and (log_due or self.clock.claim_line())
        losses = {}
        if line_due or log_due or preview_due:
            losses = self.training.mean_losses()  # waits for the device
        self.clock.tick()
        if line_due:
            say_step(step, self.clock, self.describe(losses))
        if writes and log_due:
            self.log(step, losses)
        if writes and preview_due:
            self.show_and_measure(step)
        if writes and len(self.clock.durations) == STEPS_BEFORE_HINT:
            hint_at_less(options, self.folder.name, step, self.clock.seconds_per_step)
        if log_due or preview_due:
            self.clock.resume()  # what this took is no part of the next step

    def saved(self) -> None:
        """Tell that the present step was saved."""
        if self.training.is_writer:
            checkpoint = self.folder / f"ckpt-{self.training.step}"
            say_row("Saved", f"{checkpoint} and generator.keras")
        self.clock.resume()  # what saving took is no part of the next step

    def end(self, stopped_by: int) -> None:
        """Tell that the training is finished, or was stopped and how it goes on."""
        if self.training.is_writer:
            self.page.write(self.training.step, "stopped" if stopped_by else "finished")
        if stopped_by:
            how = how_to_go_on(self.folder, self.options)
            say(f"Stopped at step {self.training.step:,}. To go on: {how}")
        else:
            best = "; the best one, best.keras" if (self.folder / "best.keras").exists() else ""
            say_row("Finished", f"the generator is {self.folder / 'generator.keras'}{best}")

    def describe(self, losses: dict[str, float]) -> str:
        """Say some losses in few characters: `gan 1.15 L1 0.349 D 0.634 right 0.71`."""
        shown = {name: label for name, label in self.labels.items() if label}
        return " ".join(f"{label} {losses[name]:.3g}" for name, label in shown.items())

    def log(self, step: int, losses: dict[str, float]) -> None:
        """Add a row to metrics.csv, to TensorBoard and to the page, and begin new means."""
        pace = 1 / self.clock.seconds_per_step
        add_row(self.metrics, step, [*losses.values(), pace])
        tagged = {f"loss/{name}": loss for name, loss in losses.items()}
        write_scalars(self.tensorboard, step, tagged | {"steps_per_second": pace})
        self.page.go_on(step, (self.options.steps - step) / pace)
        show_curves(lambda: draw_curves(self.metrics))
        self.training.begin_means()

    def show_preview(self) -> Path:
        """Save a preview, and show it in a notebook; return where it is."""
        path = self.held_out.save_preview()
        say_row("Preview", str(path))
        show_inline(path)
        return path

    def show_and_measure(self, step: int) -> None:
        """Save a preview, measure the generator, keep it if it is the best so far, and warn."""
        preview = self.show_preview()
        write_picture(self.tensorboard, step, preview)
        means, keep_best = self.validation.run(step), self.options.keep_best
        tagged = {f"validation/{name}": mean for name, mean in means.items()}
        write_scalars(self.tensorboard, step, tagged)
        if means and keep_best and self.validation.is_best(keep_best):
            self.training.write_generator(self.held_out.sources[:1], "best.keras")
        warn(self.folder, step)
        self.page.write(step, "training")


def plan_validation(training: Watched, held_out: Shown, generate: Generate) -> Validation:
    """Choose what measures a training: the held-out pairs, as many as there is time for."""
    options, split = training.options, held_out.split
    networks = {SHOWN: training.average}
    if training.average is not training.generator:
        networks["generator_"] = training.generator
    wanted = 0 if held_out.split_name == "train" else min(len(split), options.validate)
    in_time = pairs_in_time(options.preview_every * options.batch_size, len(networks))
    return Validation(
        networks,
        generate,
        load=lambda k: held_out.load([k], align=False),
        load_aligned=(lambda k: held_out.load([k], align=True)) if options.align else None,
        count=min(wanted, in_time),
        table=training.folder / "validation.csv",
        feature_network=build_feature_network(*held_out.targets.shape[1:])
        if options.critic == "features"
        else None,
    )


def say_finished(training: Watched) -> None:
    """Tell that there is nothing left to train."""
    if training.is_writer:
        RunPage(training.folder, to_saved(Train())).write(training.step, "finished")
    longer = f"To train longer: --steps {2 * training.step}"
    say(f"{training.folder} is finished: {training.step:,} steps. {longer}")

"""evaluate: measure a generator on pairs it was not trained on, and write a report."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from image_to_image_translation import find_splits
from pix2pix.commands.evaluate.class_scores import target_scores
from pix2pix.commands.evaluate.judge import judge_scores, open_judge
from pix2pix.commands.evaluate.metrics import (
    METRICS,
    feature_scores,
    load_inception,
    means_over_groups,
    measure_pairs,
)
from pix2pix.commands.evaluate.report import Report, score_tables, write_report
from pix2pix.commands.open_run import TrainedRun, open_run
from pix2pix.options.advice import refuse_broken, warn_of_shared_groups
from pix2pix.options.commands import Evaluate
from pix2pix.options.train import Train, dataset_name
from pix2pix.pairs.groups import put_into_groups
from pix2pix.pairs.splits import CheckedSplit, Split
from pix2pix.preparation import check_options, check_split
from pix2pix.runs.checkpoint_files import FAILED, checkpoints, restore_network
from pix2pix.runs.run_page import renew_links
from pix2pix.runs.validation import ALIGNED
from pix2pix.talk.errors import UsageError, UserError, first_line
from pix2pix.talk.lines import say, say_row
from pix2pix.talk.notebook import live_output


@live_output()
def evaluate(options: Evaluate) -> Report:
    """Measure a generator and write the report."""
    trained = open_run(options.run)
    chosen = choose_checkpoints(trained, options)
    of_data = choose_dataset(trained, options)
    unchecked = find_in_groups(of_data, options.group)
    name = choose_split(unchecked, of_data, options)
    if not options.dataset:
        warn_of_shared_groups({each: unchecked[each] for each in ("train", name)})
    split = check_split(unchecked[name], name, of_data)
    refuse_broken({name: split}, of_data)
    known, warnings = count_trained_on(split, trained.folder), []
    if known:
        warnings = [f"{known:,} of these {len(split):,} pairs were trained on: this is no test."]
    judge = open_judge(options.judge, trained, unchecked["train"]) if options.judge else None
    inception = load_inception() if options.fid else None

    say_row("Dataset", f"{dataset_name(of_data)}: {len(split):,} {name} pairs")
    steps, pairs = measure_steps(trained, split, chosen)
    step, mean = list(steps.items())[-1]
    summary: dict[str, Any] = {"run": str(options.run), "split": name, "warnings": warnings}
    summary |= {"size": trained.task.size, "step": step, "mean": mean}
    if split.pairs[0].group:
        summary["groups"] = means_over_groups(pairs)
    if trained.found.target.classes:
        summary["labels"] = target_scores(trained, split)
    if judge:
        judged = judge_scores(judge, trained, split)
        summary |= {"judged_by": str(options.judge), "judge": judged}
    if inception:
        summary |= feature_scores(inception, trained, split)
    summary |= {"steps": steps, "pairs": pairs}
    say_extras(summary)
    folder = options.output or trained.folder / "results"
    write_report(folder, summary, trained, split)
    renew_links(trained.folder)
    say_row("Saved", f"{folder / 'index.html'}, with metrics.json and metrics.csv beside it")
    return Report(folder, mean)


def choose_dataset(trained: TrainedRun, options: Evaluate) -> Train:
    """Return the run's own options with the pairs that are to be evaluated; check them.

    Where archives are fetched from and kept is for the user to say: the run may be a stranger's."""
    skips = trained.options.skip_broken or options.skip_broken
    places = {"data_dir": options.data_dir, "mirror": options.mirror}
    of_data = trained.data_options(options.dataset, skip_broken=skips, **places)
    known = of_data.known_dataset
    is_fetched = known is not None and known.megabytes > 0
    its_own = Path(trained.options.data_dir)
    if is_fetched and its_own != Path(options.data_dir) == Train.data_dir:
        say_row("Careful", f"the run was trained with --data-dir {its_own}; not used here")
    check_options(replace(of_data, group=options.group or of_data.group))
    return of_data


def find_in_groups(of_data: Train, group: str | None) -> dict[str, Split]:
    """Find the pairs as the run has divided them, whatever its groups were, and put them into those
    that are asked for."""
    splits = find_splits(of_data)
    if group:
        for name, split in splits.items():
            splits[name] = replace(split, pairs=put_into_groups(split.file_pairs, group))
    return splits


def choose_split(splits: dict[str, Split], of_data: Train, options: Evaluate) -> str:
    """Name the split to evaluate: not the one that was trained on, unless it is asked for."""
    wanted = [options.split] if options.split else ["test", "val"]
    present = [name for name, split in splits.items() if len(split)]
    for name in wanted:
        if name in present:
            return name
    raise UserError(
        f"{dataset_name(of_data)}: no {' or '.join(wanted)} pairs; --split can be "
        f"{', '.join(present)}."
    )


def count_trained_on(split: CheckedSplit, folder: Path) -> int:
    """Count how many of these pairs the run was trained on, by their names and sizes."""
    path = folder / "training_pairs.txt"
    text = path.read_text("utf-8", "surrogateescape") if path.exists() else ""
    trained_on = set(text.split("\n"))
    return sum(name in trained_on for name in split.names)


def measure_steps(
    trained: TrainedRun, split: CheckedSplit, chosen: dict[int, Path | None]
) -> tuple[dict[int, dict[str, float]], list[dict]]:
    """Measure the checkpoints that were chosen; return the mean metrics by step, and the metrics
    of each pair at the last one."""
    means_by_step, rows = {}, []
    for step, path in chosen.items():
        if path:
            load_weights(trained, path)
        rows = measure_pairs(trained, split)
        measured = [metric for metric in METRICS if metric in rows[0]]
        means = {metric: float(np.mean([row[metric] for row in rows])) for metric in measured}
        means_by_step[step] = means
        texts = {metric: f"{METRICS[metric]} {mean:.4g}" for metric, mean in means.items()}
        as_they_are = [text for metric, text in texts.items() if ALIGNED not in metric]
        aligned = [text for metric, text in texts.items() if ALIGNED in metric]
        say(f"Step {step:,}: {', '.join(as_they_are)}")
        if aligned:
            say_row("Aligned", ", ".join(aligned).replace("aligned ", ""))
    return means_by_step, rows


def choose_checkpoints(trained: TrainedRun, options: Evaluate) -> dict[int, Path | None]:
    """Return the checkpoints to evaluate by their steps, the newest last; None is the generator
    as it was opened."""
    if not options.checkpoint:
        return {trained.step: None}
    kept = {path.name.removeprefix("ckpt-"): path for path in checkpoints(trained.folder)}
    if not kept or options.checkpoint not in (*kept, "all"):
        there = f"all or one of {', '.join(kept)}" if kept else "left out: there are none here"
        raise UsageError(f"--checkpoint must be {there}, not {options.checkpoint}.")
    if options.checkpoint == "all":
        return {int(step): path for step, path in kept.items()}
    return {int(options.checkpoint): kept[options.checkpoint]}


def load_weights(trained: TrainedRun, path: Path) -> None:
    """Give the generator of a run the weights that it had at a checkpoint."""
    try:
        restore_network("average", trained.generator, path)
    except FAILED as error:
        raise UserError(f"{path}: cannot be read ({first_line(error)}).") from error


def say_extras(summary: dict) -> None:
    """Say the warnings, and the scores of labels, --judge and --fid."""
    for warning in summary["warnings"]:
        say_row("Careful", warning)
    for table in score_tables(summary):
        for row in table["rows"]:
            cells = zip(table["columns"], row, strict=True)
            say_row(table["title"], ", ".join(f"{name} {value}".strip() for name, value in cells))

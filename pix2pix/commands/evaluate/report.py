"""What evaluate writes: metrics.json, metrics.csv, and a page that contains all it shows."""

import base64
import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

import matplotlib.figure
import tensorflow as tf
from PIL import Image

from pix2pix.commands.evaluate.metrics import METRICS, generate_batches
from pix2pix.commands.open_run import TrainedRun
from pix2pix.options.found import Found
from pix2pix.pairs.splits import CheckedSplit
from pix2pix.pictures.pixels import shown_parts, to_pixels
from pix2pix.runs.pages import fill_page
from pix2pix.runs.run_folder import Folder
from pix2pix.talk.files import replace_when_complete, write_text

SHOWN = 200  # pairs at most, which a browser shows with ease
OVER_GROUPS = (
    "The mean over groups of the mean within each, so that all groups count alike; from ten groups "
    "on with the interval in which 95% of such means lie if groups are drawn anew."
)
NOT_THE_PAPERS_FID = (
    "On the InceptionV3 that comes with Keras (ImageNet weights), not on the network of 2015 that "
    "papers use: compare these figures only with each other."
)


@dataclass(frozen=True)
class Report(Folder):
    """The report of an evaluation, and the mean of each metric."""

    metrics: dict[str, float]

    def _repr_html_(self) -> str:
        """Write the metrics as a table."""
        rows = [f"<tr><th>{name}</th><td>{x:.4g}</td></tr>" for name, x in self.metrics.items()]
        return f"<table>{''.join(rows)}</table>"


def write_report(folder: Path, summary: dict, trained: TrainedRun, split: CheckedSplit) -> None:
    """Write the summary of an evaluation in all its forms."""
    folder.mkdir(parents=True, exist_ok=True)
    plot, table = "", io.StringIO()
    if len(summary["steps"]) > 1:
        plot_metrics(folder / "metrics.png", summary["steps"])
        plot = file_to_uri(folder / "metrics.png")
    columns = ["name", *(["group"] if "groups" in summary else []), *summary["mean"]]
    writer = csv.DictWriter(table, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(summary["pairs"])
    rows, titles = rows_with_pictures(summary["pairs"], trained, split)
    content = page_content(summary, rows, titles, plot) | {"legends": legends(trained.found)}
    write_text(folder / "metrics.json", json.dumps(summary, indent=2) + "\n")
    write_text(folder / "metrics.csv", table.getvalue())
    write_text(folder / "index.html", fill_page("results.html", content))


def plot_metrics(path: Path, means_by_step: dict[int, dict[str, float]]) -> None:
    """Draw the mean metrics over the steps."""
    figure = matplotlib.figure.Figure((10, 2.6), layout="constrained")
    metrics = list(means_by_step.values())[-1]
    for axes, metric in zip(figure.subplots(1, len(metrics)), metrics, strict=True):
        axes.plot(
            list(means_by_step), [means[metric] for means in means_by_step.values()], marker="o"
        )
        axes.set(title=METRICS[metric], xlabel="steps")
        axes.locator_params("x", nbins=4)
    with replace_when_complete(path) as temporary:
        figure.savefig(temporary, dpi=128)


def rows_with_pictures(
    rows: list[dict], trained: TrainedRun, split: CheckedSplit
) -> tuple[list[dict], list[str]]:
    """Return the worst and the best pairs by SSIM, each with its pictures, and their titles."""
    ranked = sorted(range(len(rows)), key=lambda k: rows[k]["ssim"])
    chosen = ranked if len(rows) <= SHOWN else ranked[: SHOWN // 2] + ranked[-SHOWN // 2 :]
    source, target = trained.found.source, trained.found.target
    with_pictures = []
    for batch in generate_batches(trained, split, chosen):
        columns = shown_parts("Input", batch.sources, source)
        columns |= shown_parts("Ground truth", batch.targets, target)
        columns |= shown_parts("Prediction", batch.generated, target)
        for k, *pictures in zip(batch.numbers, *columns.values(), strict=True):
            with_pictures.append(rows[k] | {"pictures": list(map(picture_to_uri, pictures))})
    return with_pictures, list(columns)


def picture_to_uri(picture: tf.Tensor) -> str:
    """Turn a picture [height, width, channels] into text in a web page."""
    pixels, encoded = to_pixels(picture), io.BytesIO()
    pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    Image.fromarray(pixels).save(encoded, "webp", quality=90)
    return data_uri("webp", encoded.getvalue())


def file_to_uri(path: Path) -> str:
    """Turn a picture file into text in a web page."""
    return data_uri(path.suffix[1:], path.read_bytes())


def data_uri(kind: str, encoded: bytes) -> str:
    """Turn an encoded picture into text in a web page."""
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"


def page_content(summary: dict, rows: list[dict], titles: list[str], plot: str) -> dict:
    """Return what the web page shows."""
    count, size = len(summary["pairs"]), "×".join(map(str, summary["size"]))
    left_out = ""
    if len(rows) < count:
        left_out = f"Only the {len(rows)} worst and best of {count:,} by SSIM are here."
    return {
        "title": f"{summary['run']}: {count:,} {summary['split']} pairs",
        "notes": [
            f"After {summary['step']:,} steps, at {size}, pixels from 0 to 1. "
            "↓ less is better, ↑ more is better."
        ],
        "warnings": summary["warnings"],
        "metrics": {name: METRICS[name] for name in summary["mean"]},
        "mean": summary["mean"],
        "tables": extra_tables(summary),
        "plot": plot,
        "left_out": left_out,
        "titles": titles,
        "rows": rows,
    }


def legends(found: Found) -> dict[str, list[dict]]:
    """Return the classes of label maps, by the title of their pictures."""
    sides = {"Classes of the input": found.source, "Classes of the target": found.target}
    return {
        title: [{"name": label.name, "colour": label.colour} for label in side.classes]
        for title, side in sides.items()
        if side.classes
    }


def extra_tables(summary: dict) -> list[dict]:
    """Return all scores of labels, --judge and --fid as tables of text, classes one by one too."""
    tables = score_tables(summary)
    return tables + class_tables(summary["labels"]) if "labels" in summary else tables


def score_tables(summary: dict) -> list[dict]:
    """Return the scores of groups, labels, --judge and --fid as tables of text."""
    tables = []
    if "groups" in summary:
        tables.append(group_table(**summary["groups"]))
    columns = ["", "per-pixel accuracy", "per-class accuracy", "class IoU"]
    if "labels" in summary:
        row = label_row("generated labels", summary["labels"])
        note = "How many pixels of the generated label maps are of the right class."
        tables.append({"title": "Labels", "note": note, "columns": columns, "rows": [row]})
    if "judge" in summary:
        rows = [label_row(f"{kind} photos", scores) for kind, scores in summary["judge"].items()]
        note = (
            f"How well {summary['judged_by']} reads the labels back; real photos are the ceiling."
        )
        tables.append({"title": "Judge", "note": note, "columns": columns, "rows": rows})
    if "fid" in summary:
        row = [f"{summary['fid']:.1f}", f"{summary['kid']:.4f}"]
        table = {"title": "FID and KID", "note": NOT_THE_PAPERS_FID, "columns": ["FID ↓", "KID ↓"]}
        tables.append({**table, "rows": [row]})
    return tables


def group_table(count: int, scores: dict[str, dict[str, float]]) -> dict:
    """Return the means over groups as a table of text."""
    row = [f"mean of {count:,}"]
    for each in scores.values():
        interval = f" ({each['from']:.4g} to {each['to']:.4g})" if "from" in each else ""
        row.append(f"{each['mean']:.4g}{interval}")
    columns = ["", *(METRICS[name] for name in scores)]
    return {"title": "Groups", "note": OVER_GROUPS, "columns": columns, "rows": [row]}


def label_row(title: str, scores: dict[str, float]) -> list[str]:
    """Return a row with the three scores of label maps."""
    names = ("per_pixel_accuracy", "per_class_accuracy", "class_iou")
    return [title, *(f"{scores[name]:.3f}" for name in names)]


def class_tables(labels: dict) -> list[dict]:
    """Return the scores of each class, and what it was taken for, as tables of text."""
    names, rows, taken = [row["name"] for row in labels["classes"]], [], []
    for row, counts in zip(labels["classes"], labels["confusion"], strict=True):
        rows.append([row["name"], *(f"{row[name]:.3f}" for name in ("share", "accuracy", "iou"))])
        total = max(1, sum(counts))
        taken.append([row["name"], *(f"{100 * count / total:.0f}" for count in counts)])
    note = "The share of each class in the ground truth, how much of it is right, and its IoU."
    columns = ["", "share", "accuracy", "IoU"]
    confusion_note = "What the pixels of each class (a row) became (columns), in percent."
    return [
        {"title": "Classes", "note": note, "columns": columns, "rows": rows},
        {"title": "Confusion", "note": confusion_note, "columns": ["", *names], "rows": taken},
    ]

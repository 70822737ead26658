"""What the pictures of a side mean, found out from some of them, or taken from the options."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pix2pix.pictures.label_maps import are_among, find_classes, read_classes
from pix2pix.pictures.pixels import Kind, find_ranges
from pix2pix.pictures.sides import Side
from pix2pix.talk.errors import UserError


def with_classes(
    side: Side, pictures: Iterable[np.ndarray], file: Path | None, title: str, labels: str
) -> Side:
    """Return a side with classes if `labels` says that it has some or, at auto, it looks so."""
    if labels not in (title, "both", "auto") or (labels == "auto" and side.parts):
        return side
    if side.parts:
        raise UserError(f"--labels {labels}: {title}s of several pictures cannot be label maps.")
    found = find_classes(pictures) if labels == "auto" or not file else ()
    classes = read_classes(file) if file and (found or labels != "auto") else found
    if not classes and labels != "auto":
        raise UserError(
            f"--labels {labels}: the {title}s have no few even colours that could be classes. "
            "List them in a file for --classes, or train with --labels none (and the recipe "
            "crisp instead of crisp-labels)."
        )
    return replace(side, classes=classes, measured=False) if classes else side


def with_older_classes(side: Side, older: Side) -> Side:
    """Return a side with the classes of an older run, in their order, if it has no others.

    The order in which classes are found is another in other pictures, and each is a channel of the
    networks."""
    return replace(side, classes=older.classes) if are_among(side.classes, older.classes) else side


def settle_kind(kinds: Sequence[Kind], side: Side) -> Kind:
    """Return the kind that all pictures of a side are brought to: the most that any of them has."""
    channels, bits = {kind.channels for kind in kinds}, max(kind.bits for kind in kinds)
    if side.classes:
        return Kind(3, 8)  # colours stand for the classes
    if side.measured and len(channels) > 1:
        counts = " or ".join(map(str, sorted(channels)))
        raise UserError(f"Measured pictures have {counts} channels: all must have equally many.")
    if channels & {2, 4} and not side.measured:  # one transparent picture is enough
        return Kind(4, bits)
    return Kind(max(channels), bits)


def with_ranges(
    side: Side,
    pictures: Iterable[np.ndarray],
    words: tuple[str, ...],
    title: str,
    bits: int,
) -> Side:
    """Return a side with the numbers that are black and white, as the words of --range say.

    Photos of 8 bits, and of 16 without such words, have their whole range."""
    if side.classes or (bits == 8 and not side.measured):
        return side
    if not words and side.measured:
        words = ("each",) if bits == 32 else ("0", str(2**bits - 1))
    if not words:
        return side
    if words[0] in ("auto", "each"):
        return replace(side, ranges=find_ranges(pictures, words[0] == "each"))
    numbers = [float(word) for word in words]
    low, high = numbers[-2:] if title == "target" else numbers[:2]
    return replace(side, ranges=((low, high),))

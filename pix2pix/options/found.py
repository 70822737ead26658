"""What the pictures of a training decide, beside its options."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from pix2pix.options.checks import MOST, check_sizes, is_a
from pix2pix.options.train import Train
from pix2pix.pictures.sides import PHOTOS, Misfit, Side, side_from_saved
from pix2pix.talk.errors import UsageError, shorten

MOST_CHANNELS = 1024  # of a picture
TARGET_BITS = (8, 16, 32)
DIRECTIONS = (None, "AtoB", "BtoA")
JUDGES = ("patches", "classes")


@dataclass(frozen=True)
class Found:
    """What the pictures of a training decide. A run goes on only where all of it is the same."""

    pairs: str | None  # how many, and their fingerprint; None where weights were imported
    direction: Literal["AtoB", "BtoA"] | None  # likewise
    source_channels: int
    target_channels: int
    depth: int  # how often the generator halves a picture
    target_bits: int  # 8, 16 or 32
    discriminator: Literal["patches", "classes"] = "patches"
    source: Side = PHOTOS
    target: Side = PHOTOS
    pair_shape: tuple[int, int] | None = None  # of most pictures, if each holds both halves
    misfit: Misfit | None = None  # with --align: how all targets are out of place alike

    def to_saved(self) -> dict[str, object]:
        """Return what config.json holds under "found"."""
        shape = self.pair_shape and list(self.pair_shape)
        sides = {"source": self.source.to_saved(), "target": self.target.to_saved()}
        return vars(self) | sides | {"pair_shape": shape, "misfit": self.misfit and [*self.misfit]}

    def without_names(self) -> "Found":
        """Return the same with classes that have no names, which change nothing of a run."""
        return replace(self, source=self.source.without_names(), target=self.target.without_names())


def read_found(saved: dict, options: Train) -> Found:
    """Turn what a config.json holds under "found" back into it; refuse what no pictures decide.

    An older run, or an imported one, leaves out what its options say."""
    channels: dict[str, int] = {}
    for name in ("source_channels", "target_channels"):
        count = saved.get(name, getattr(options, name))
        is_right = is_a(count, int) and 1 <= count <= MOST_CHANNELS
        channels[name] = checked(name, count, is_right, "a number of channels")
    bits, pairs, direction = (saved.get(name) for name in ("target_bits", "pairs", "direction"))
    depth = saved.get("depth", options.depth)
    if depth is None:
        check_sizes(options)
        depth = options.possible_halvings
    judge = saved.get("discriminator", options.discriminator)
    return Found(
        pairs=checked("pairs", pairs, pairs is None or is_a(pairs, str), "text"),
        direction=checked("direction", direction, direction in DIRECTIONS, "AtoB or BtoA")
        or options.direction,
        **channels,
        depth=checked("depth", depth, is_a(depth, int) and depth > 0, "a number of halvings"),
        target_bits=checked("target_bits", bits, bits in TARGET_BITS, "8, 16 or 32"),
        discriminator=checked("discriminator", judge, judge in JUDGES, "patches or classes"),
        source=read_side(saved, "source", channels["source_channels"]),
        target=read_side(saved, "target", channels["target_channels"]),
        pair_shape=read_pair_shape(saved),
        misfit=read_misfit(saved),
    )


def read_pair_shape(saved: dict) -> tuple[int, int] | None:
    """Return height and width of most pictures of pairs, if they were side by side."""
    shape = saved.get("pair_shape")
    if shape is None:
        return None
    is_list = is_a(shape, list) and len(shape) == 2
    is_right = is_list and all(is_a(length, int) and 1 <= length <= MOST for length in shape)
    height, width = checked("pair_shape", shape, is_right, "a height and a width")
    return height, width


def read_misfit(saved: dict) -> Misfit | None:
    """Return how all targets are out of place alike, if that was looked for."""
    misfit = saved.get("misfit")
    if misfit is None:
        return None
    is_list = is_a(misfit, list) and len(misfit) == 6
    is_right = is_list and all(is_a(each, int | float) and abs(each) < 1 for each in misfit)
    return tuple(map(float, checked("misfit", misfit, is_right, "six shares")))


def read_side(saved: dict, name: str, channels: int) -> Side:
    """Return what the pictures of a side mean, as config.json holds it."""
    try:
        return side_from_saved(saved.get(name, {}), channels)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        rule = f"{name} must say what its pictures of {channels} channels mean"
        raise UsageError(f"{rule}, not {shorten(str(saved[name]))}.") from error


def checked(name: str, value: Any, is_right: bool, rule: str) -> Any:
    """Return a value, or refuse it; the rule says what it must be."""
    if value is None and not is_right:
        raise UsageError(f"{name} is missing")
    if not is_right:
        raise UsageError(f"{name} must be {rule}, not {shorten(str(value))}.")
    return value

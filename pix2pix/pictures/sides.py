"""What the numbers in the pictures on one side of a pair mean, in plain values.

Loads nothing that takes time, as the options stand on it.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

from PIL import ImageColor

MOST_CLASSES = 256  # of a file; each is a channel of the networks
MOST_NUMBER = 2**16  # of a class, in pictures of one channel
LARGEST = 1e38  # number of a picture, as 32 bits of floating point hold


class LabelClass(NamedTuple):
    """A class of a label map: its number in pictures of one channel, its colour in others."""

    number: int
    colour: tuple[int, int, int]
    name: str

    def __str__(self) -> str:
        return " ".join(map(str, (self.number, *self.colour, self.name)))


def parse_class(line: str, index: int) -> LabelClass:
    """Turn a line `NUMBER RED GREEN BLUE NAME` into a class; without NUMBER it is its index."""
    words = line.split()
    number = index
    if len(words) > 3 and words[3].isdigit():
        number = int(words.pop(0))
    colour = tuple(map(int, words[:3]))
    if len(colour) != 3 or not all(0 <= level < 256 for level in colour):
        raise ValueError(f"{line}: three numbers from 0 to 255 are a colour")
    if abs(number) >= MOST_NUMBER:
        raise ValueError(f"{line}: a number is below {MOST_NUMBER}")
    return LabelClass(number, colour, " ".join(words[3:]) or f"class {index}")


# The classes of the CMP facade database, in the colours that the facades archive has them in.
FACADE_CLASSES = {
    "background": (0, 0, 222),
    "facade": (0, 48, 255),
    "window": (0, 128, 255),
    "door": (0, 207, 255),
    "cornice": (32, 255, 224),
    "sill": (112, 255, 143),
    "balcony": (192, 255, 63),
    "blind": (255, 239, 0),
    "deco": (255, 159, 0),
    "molding": (255, 80, 0),
    "pillar": (255, 0, 0),
    "shop": (174, 0, 0),
}
JPEG_NOISE = 16  # levels by which the archive's colours differ from these


def parse_colour(text: str) -> tuple[int, int, int] | None:
    """Return the colour that a word or hexadecimal number names: black, ff00ff; None if it is no
    colour."""
    for name in (text, f"#{text}"):
        with suppress(ValueError):
            red, green, blue, *_ = ImageColor.getrgb(name)
            return red, green, blue
    return None


def to_hex(colour: Iterable[int]) -> str:
    """Name a colour as web pages do: `#0030ff`."""
    return "#" + "".join(f"{level:02x}" for level in colour)


def name_facades(classes: Iterable[LabelClass]) -> tuple[LabelClass, ...]:
    """Return classes that were found in pictures with the names of the facades' classes, if they
    are at least half of these and no others."""
    classes = tuple(classes)
    names = [facade_class(label.colour) for label in classes]
    unnamed = all(label.name == to_hex(label.colour) for label in classes)
    if not (unnamed and all(names) and 2 * len(classes) >= len(FACADE_CLASSES)):
        return classes
    return tuple(label._replace(name=name) for label, name in zip(classes, names, strict=True))


def facade_class(colour: tuple[int, int, int]) -> str:
    """Return the name of the facades' class of a colour; nothing if none has it."""
    for name, own in FACADE_CLASSES.items():
        if max(abs(a - b) for a, b in zip(colour, own, strict=True)) <= JPEG_NOISE:
            return name
    return ""


class Part(NamedTuple):
    """One of several pictures that make a source together: where it is from, its channels."""

    name: str
    channels: int


@dataclass(frozen=True)
class Side:
    """What the pictures of sources, or of targets, mean. By default they are photos: grey or RGB,
    perhaps with transparency, whose darkest number is -1 and whose brightest is 1."""

    classes: tuple[LabelClass, ...] = ()  # of label maps
    measured: bool = False  # channels are measurements, and the last one is no transparency
    ranges: tuple[tuple[float, float], ...] = ()  # the numbers that are -1 and 1: of all or each
    parts: tuple[Part, ...] = ()  # of sources from several folders

    def to_saved(self) -> dict[str, object]:
        """Return what config.json holds of a side: what differs from a photo."""
        saved = {
            "classes": [str(label) for label in self.classes],
            "measured": self.measured,
            "ranges": [list(limits) for limits in self.ranges],
            "parts": [list(part) for part in self.parts],
        }
        return {name: value for name, value in saved.items() if value}

    def without_names(self) -> "Side":
        """Return the same with classes that have no names: these change nothing they mean."""
        return replace(self, classes=tuple(label._replace(name="") for label in self.classes))


# What is out of place in all targets alike: shares of height and width, down and right, in the
# middle of a picture; what is added to that towards its bottom; what is added towards its right.
Misfit = tuple[float, ...]

PHOTOS = Side()


def side_from_saved(saved: dict, channels: int) -> Side:
    """Turn what config.json holds of a side back into it; refuse what cannot be one."""
    classes = [parse_class(line, index) for index, line in enumerate(saved.get("classes", []))]
    ranges = [(float(low), float(high)) for low, high in saved.get("ranges", [])]
    parts = [Part(str(name), int(count)) for name, count in saved.get("parts", [])]
    sound = (
        saved.keys() <= vars(PHOTOS).keys()
        and len(classes) <= MOST_CLASSES
        and len(ranges) in (0, 1, channels)
        and all(-LARGEST < low < high < LARGEST for low, high in ranges)
        and (not parts or sum(part.channels for part in parts) == channels)
        and all(part.channels > 0 for part in parts)
    )
    if not sound:
        raise ValueError(f"{saved} does not say what pictures of {channels} channels mean")
    return Side(name_facades(classes), bool(saved.get("measured")), tuple(ranges), tuple(parts))

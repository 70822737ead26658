"""What the numbers in the pictures on one side of a pair mean, in plain values.

Loads nothing that takes time, as the options stand on it.
"""

from dataclasses import dataclass
from typing import NamedTuple

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


def parse_class(line: str, place: int) -> LabelClass:
    """Turn a line `NUMBER RED GREEN BLUE NAME` into a class; without NUMBER it is its place."""
    words = line.split()
    number = place
    if len(words) > 3 and words[3].isdigit():
        number = int(words.pop(0))
    colour = tuple(map(int, words[:3]))
    if len(colour) != 3 or not all(0 <= level < 256 for level in colour):
        raise ValueError(f"{line}: three numbers from 0 to 255 are a colour")
    if abs(number) >= MOST_NUMBER:
        raise ValueError(f"{line}: a number is below {MOST_NUMBER}")
    return LabelClass(number, colour, " ".join(words[3:]) or f"class {place}")


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


PHOTOS = Side()


def side_from_saved(saved: dict, channels: int) -> Side:
    """Turn what config.json holds of a side back into it; refuse what cannot be one."""
    classes = [parse_class(line, place) for place, line in enumerate(saved.get("classes", []))]
    ranges = [(float(low), float(high)) for low, high in saved.get("ranges", [])]
    parts = [Part(str(name), int(count)) for name, count in saved.get("parts", [])]
    sound = (
        saved.keys() <= vars(PHOTOS).keys()
        and len(classes) <= MOST_CLASSES
        and len(ranges) in (0, 1, channels)
        and all(-LARGEST < low < high < LARGEST for low, high in ranges)
        and (not parts or sum(part.channels for part in parts) == channels)
    )
    if not sound:
        raise ValueError(f"{saved} does not say what pictures of {channels} channels mean")
    return Side(tuple(classes), bool(saved.get("measured")), tuple(ranges), tuple(parts))

"""What a person can put right, said in one line."""

import re

LONGEST_VALUE = 100  # characters of a value in a message
LONGEST_MESSAGE = 10_000  # characters of an error: ten broken files with long names fit in


class UserError(Exception):
    """Something the user can put right: shown as one line, without a traceback."""

    exit_status = 1

    def __str__(self) -> str:
        """Return what is wrong, whatever the names of files in it: on one line, and not endless."""
        return shorten(on_one_line(super().__str__()), LONGEST_MESSAGE)

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows of it, in place of a traceback."""
        return [f"error: {self}"]


class UsageError(UserError):
    """A flag whose value makes no sense."""

    exit_status = 2


def on_one_line(text: str) -> str:
    r"""Spell characters that would begin a new line, or command a terminal, like `\n`."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda match: repr(match[0])[1:-1], text)


def shorten(text: str, length: int = LONGEST_VALUE) -> str:
    """Cut the middle out of a text that is longer."""
    if len(text) <= length:
        return text
    return f"{text[: length // 2]} … {text[-length // 2 :]}"


def first_line(error: Exception) -> str:
    """Return the first line of an error, without TensorFlow's names for its own parts."""
    return re.sub(r"\{\{.*?\}\} | \[Op:.*?\]", "", (str(error) or repr(error)).splitlines()[0])

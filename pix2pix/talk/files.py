"""Files: written whole or not at all, locked, read ahead in threads."""

import errno
import hashlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import BinaryIO, Literal, Protocol

import filelock

from pix2pix.talk.errors import UserError

FULL_DISK = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT))
PARTIAL = ".partial-"  # what the name of a file that is being written begins with
LONGEST_NAME = 255  # bytes, on nearly all file systems


class File(Protocol):
    """What is read like a path: a file of its own, or one inside of another."""

    @property
    def name(self) -> str:
        """Return its name, with the suffix."""

    @property
    def stem(self) -> str:
        """Return its name without the suffix."""

    @property
    def suffix(self) -> str:
        """Return what its name ends with, such as `.png`."""

    @property
    def parent(self) -> PurePath:
        """Return the folder it is, or was, in."""

    def absolute(self) -> PurePath:
        """Return where it is, or was."""

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """Open it for reading bytes."""


# --- Writing and locking --------------------------------------------------------------------------


@contextmanager
def replace_when_complete(path: Path) -> Iterator[Path]:
    """Yield a name to write to; the file or folder takes its final name once it is complete."""
    temporary = partial_path(path)
    try:
        yield temporary
        if temporary.is_dir() and path.is_dir():  # a file never takes the place of a folder
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)


def partial_path(path: Path) -> Path:
    """Return where a file is written before it is complete: beside it, with the same suffix."""
    name = path.name
    if len(os.fsencode(PARTIAL + name)) > LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest() + path.suffix
    return path.with_name(PARTIAL + name)


class FullDiskError(UserError):
    """A disk on which nothing more can be written."""


def says_full_disk(text: str) -> bool:
    """Tell whether an error message is about a full disk, or a quota that is used up."""
    return any(reason in text for reason in FULL_DISK)


def explain_unwritten(path: Path, error: OSError) -> UserError:
    """Return the line about a file that could not be written: which, why, and what to do."""
    reason = error.strerror or str(error)
    if says_full_disk(reason):
        way_out = "Free some space and start again"
        return FullDiskError(f"{path}: could not be written ({reason}). {way_out}.")
    return UserError(f"{path}: could not be written ({reason}). Choose another --output.")


def write_text(path: Path, text: str) -> None:
    """Write a whole text file, or nothing."""
    with replace_when_complete(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")  # any file name


@contextmanager
def lock_folder(folder: Path, refusal: str) -> Iterator[None]:
    """Keep other processes out of a folder; the system lifts the lock however this one ends."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / ".lock", blocking=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise UserError(refusal) from None
    except NotImplementedError as error:  # by file systems that know no locks
        raise UserError(f"{folder}: cannot be locked ({error}). Choose another folder.") from error
    try:
        yield
    finally:
        lock.release()
        if is_new and [path.name for path in folder.iterdir()] == [".lock"]:  # nothing came of it
            shutil.rmtree(folder)


# --- Reading ahead --------------------------------------------------------------------------------


def map_ahead(function: Callable, items: Iterable, count: int = 32) -> Iterator:
    """Map in threads, with up to `count` results made before they are asked for."""
    pool, waiting = ThreadPoolExecutor(), deque[Future]()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)

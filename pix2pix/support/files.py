"""Files: written whole or not at all, locked, read ahead in threads, downloaded and unpacked."""

import errno
import gzip
import hashlib
import http.client
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import filelock

from pix2pix.support.terminal import UserError, say, say_for_now, say_progress

NETWORK_TIMEOUT = 60  # seconds without a byte before a download is given up
CHUNK = 2**20  # bytes that are read at a time
CLASHES = (FileExistsError, IsADirectoryError, NotADirectoryError)  # of an archive with itself
FULL_DISK = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT))
PARTIAL = ".partial-"  # what the name of a file that is being written begins with
LONGEST_NAME = 255  # bytes, on nearly all file systems


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
    pool, waiting = ThreadPoolExecutor(), deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


# --- Downloads and archives -----------------------------------------------------------------------


def fetch_archive(name: str, megabytes: int, mirror: str, data_dir: Path) -> Path:
    """Return data_dir/name, downloaded from mirror/name.tar.gz and unpacked unless it is there."""
    folder, archive = data_dir / name, data_dir / f"{name}.tar.gz"
    if folder.is_dir():
        return folder
    url = f"{mirror.rstrip('/')}/{archive.name}"
    with lock_folder(data_dir, f"{data_dir}: another process is fetching a dataset; wait for it."):
        try:
            if folder.is_dir():  # another process was quicker
                return folder
            if not archive.exists():
                say(f"Fetching {url} (about {megabytes:,} MB) to {data_dir}")
                download(url, archive)
            unpack(archive, folder)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise UserError(
                f"{url}: could not be fetched to {data_dir} ({error}). Try again, or use "
                "--data-dir FOLDER, --mirror URL, --dataset FOLDER or --dataset synthetic."
            ) from error
    return folder


def download(url: str, archive: Path) -> None:
    """Fetch an archive, going on with what an earlier try has left."""
    part = archive.with_name(f"{archive.name}.part")
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(request, timeout=NETWORK_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        os.replace(part, archive)  # nothing comes after what we have: it is complete
        return
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        done = done if resumed else 0
        total = done + int(response.headers.get("Content-Length") or 0)
        with open(part, "ab" if resumed else "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                done += len(chunk)
                amount = f"{done / 1e6:.1f} of {total / 1e6:.1f} MB"
                say_progress(f"Downloading {archive.name}", done, total, amount)
    if done < total:
        raise OSError(f"the connection broke off after {done:,} of {total:,} bytes")
    os.replace(part, archive)
    say(f"Downloaded {archive.name}: {done / 1e6:.1f} MB")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive; its folder takes its name only when everything is there."""
    say_for_now(f"Unpacking {archive.name}")
    temporary = folder.with_name(f".partial-{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(temporary, filter="data")  # nothing outside the folder, no devices
            while tar.fileobj.read(CHUNK):  # to the very end, where gzip keeps the checksum
                pass
        if not any((temporary / folder.name / "train").glob("*")):
            raise tarfile.ReadError(f"there is nothing in {folder.name}/train")
        os.replace(temporary / folder.name, folder)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, *CLASHES) as error:
        archive.unlink()
        raise UserError(
            f"{archive}: not a sound archive of {folder.name} ({error}), so it was deleted. "
            "Try again, or take another server with --mirror URL."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    say(f"Unpacked into {folder}")

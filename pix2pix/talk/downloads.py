"""Datasets that are downloaded once, and unpacked."""

import gzip
import http.client
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path

from pix2pix.talk.errors import UserError
from pix2pix.talk.files import PARTIAL, lock_folder
from pix2pix.talk.lines import say, say_for_now
from pix2pix.talk.progress import say_progress

NETWORK_TIMEOUT = 60  # seconds without a byte before a download is given up
CHUNK = 2**20  # bytes that are read at a time
CLASHES = (FileExistsError, IsADirectoryError, NotADirectoryError)  # of an archive with itself


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
    temporary = folder.with_name(f"{PARTIAL}{folder.name}")
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

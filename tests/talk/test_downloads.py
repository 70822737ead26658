"""Downloading and unpacking the known datasets; writing whole files or none."""

import shutil
import sys
from pathlib import Path

import pytest
from server import make_archive, serving

from pix2pix.talk import downloads
from pix2pix.talk.errors import UserError
from pix2pix.talk.files import partial_path, replace_when_complete, write_text


def fetch(mirror: str, data_dir: Path) -> Path:
    """Fetch the smallest of the known datasets."""
    return downloads.fetch_archive("facades", 31, mirror, data_dir)


def refused(mirror: str, data_dir: Path) -> str:
    """The one line that a download is refused with."""
    with pytest.raises(UserError) as refusal:
        fetch(mirror, data_dir)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_a_good_archive_is_fetched_once(tmp_path, capsys):
    with serving(make_archive()) as (mirror, asked):
        folder = fetch(mirror, tmp_path)
        assert fetch(mirror + "/", tmp_path) == folder == tmp_path / "facades"
    assert len(asked) == 1
    assert sorted(path.name for path in (folder / "train").iterdir()) == ["0.png", "1.png", "2.png"]
    assert left_behind(tmp_path) == ["facades", "facades.tar.gz"]
    assert "about 31 MB" in capsys.readouterr().out


def test_the_download_shows_a_bar(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    body = make_archive()
    with serving(body) as (mirror, _):
        fetch(mirror, tmp_path)
    megabytes = f"{len(body) / 1e6:.1f}"
    lines = [line.strip() for line in capsys.readouterr().out.replace("\r", "\n").splitlines()]
    assert f"Downloading facades.tar.gz {'━' * 30} {megabytes} of {megabytes} MB" in lines
    assert f"Downloaded facades.tar.gz: {megabytes} MB" in lines


def test_an_unpacked_folder_that_was_deleted_comes_back_without_the_network(tmp_path):
    with serving(make_archive()) as (mirror, _):
        shutil.rmtree(fetch(mirror, tmp_path))
    assert (fetch("http://127.0.0.1:1", tmp_path) / "train/2.png").exists()


@pytest.mark.parametrize("behaviour", ["good", "ranges"])
def test_a_killed_download_is_repaired(tmp_path, behaviour):
    body = make_archive()
    (tmp_path / "facades.tar.gz.part").write_bytes(body[:1000])
    with serving(body, behaviour) as (mirror, asked):
        fetch(mirror, tmp_path)
    assert asked == ["bytes=1000-"]
    assert (tmp_path / "facades.tar.gz").read_bytes() == body


def test_a_download_killed_just_before_its_end_is_repaired(tmp_path):
    body = make_archive()
    (tmp_path / "facades.tar.gz.part").write_bytes(body)
    with serving(body, "ranges") as (mirror, asked):
        fetch(mirror, tmp_path)
    assert asked == [f"bytes={len(body)}-"]
    assert (tmp_path / "facades.tar.gz").read_bytes() == body


def test_a_killed_unpacking_is_repaired(tmp_path):
    (tmp_path / ".partial-facades/facades/train").mkdir(parents=True)
    (tmp_path / ".partial-facades/facades/train/half.png").write_bytes(b"half")
    (tmp_path / "facades.tar.gz").write_bytes(make_archive())
    folder = fetch("http://127.0.0.1:1", tmp_path)
    assert not (folder / "train/half.png").exists()
    assert left_behind(tmp_path) == ["facades", "facades.tar.gz"]


def test_a_connection_that_breaks_off(tmp_path):
    body = make_archive()
    with serving(body, "truncated") as (mirror, _):
        message = refused(mirror, tmp_path)
    assert f"broke off after {len(body) // 2:,} of {len(body):,} bytes" in message
    assert "--mirror" in message
    assert not (tmp_path / "facades.tar.gz").exists()
    with serving(body, "ranges") as (mirror, _):
        assert fetch(mirror, tmp_path).is_dir()


def test_a_server_that_falls_silent(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "NETWORK_TIMEOUT", 0.2)
    with serving(make_archive(), "slow") as (mirror, _):
        assert "(timed out). Try again" in refused(mirror, tmp_path)


def test_an_unknown_file_and_an_unreachable_host(tmp_path):
    with serving(make_archive()) as (mirror, _):
        message = refused(f"{mirror}/elsewhere", tmp_path)
    assert "404" in message
    assert message.endswith("--mirror URL, --dataset FOLDER or --dataset synthetic.")
    assert "refused" in refused("http://127.0.0.1:1", tmp_path)
    assert "--mirror" in refused("nonsense", tmp_path)


def damaged(kind: str) -> bytes:
    body = bytearray(make_archive())
    if kind == "cut":
        return bytes(body[: len(body) // 2])
    if kind == "a web page":
        return b"<html>Sorry</html>"
    if kind == "another dataset":
        return make_archive("maps")
    if kind == "no pairs":
        return make_archive(pairs=0)
    if kind in ("links out", "links to itself"):
        return make_archive(pairs=0, link="/etc" if kind == "links out" else ".")
    body[len(body) // 2 if kind == "flipped" else -5] ^= 1  # gzip's checksum is at the very end
    return bytes(body)


@pytest.mark.parametrize(
    "kind",
    [
        *("cut", "a web page", "another dataset", "flipped", "checksum"),
        *("no pairs", "links out", "links to itself"),
    ],
)
def test_a_broken_archive_is_named_and_never_stays(tmp_path, kind):
    with serving(damaged(kind)) as (mirror, _):
        message = refused(mirror, tmp_path)
    assert str(tmp_path / "facades.tar.gz") in message
    assert "deleted" in message
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("escape", ["../evil.png", "facades/../../evil.png", "{tmp}/evil.png"])
def test_an_archive_cannot_write_outside_its_folder(tmp_path, escape):
    cache = tmp_path / "cache"
    with serving(make_archive(escape=escape.format(tmp=tmp_path))) as (mirror, _):
        if escape.startswith("{"):  # an absolute name is taken as one inside the folder
            fetch(mirror, cache)
        else:
            assert "outside" in refused(mirror, cache)
            assert not cache.exists()  # it was not there before either
    assert not list(tmp_path.glob("evil*"))
    assert not list(cache.glob("evil*"))


def test_no_space_left(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(downloads.tarfile.TarFile, "extractall", full)
    with serving(make_archive()) as (mirror, _):
        message = refused(mirror, tmp_path)
    assert f"{tmp_path} ([Errno 28] No space left on device). Try again" in message
    assert "--data-dir FOLDER" in message
    assert left_behind(tmp_path) == ["facades.tar.gz"]  # it is whole, and need not be fetched again


def test_a_file_never_takes_the_place_of_a_folder_but_a_folder_does(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/precious").write_text("kept")
    with pytest.raises(OSError, match="Is a directory"):
        write_text(tmp_path / "a", "text")
    assert (tmp_path / "a/precious").read_text() == "kept"
    with replace_when_complete(tmp_path / "a") as temporary:
        temporary.mkdir()
        (temporary / "new").touch()
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["a", "a/new"]


def test_a_file_takes_its_name_only_when_it_is_complete(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail() -> None:
        with replace_when_complete(path) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file.txt", "old")]


@pytest.mark.parametrize("letter", ["x", "é"])  # of one byte, and of two
def test_a_name_as_long_as_names_can_be_is_written_too(tmp_path, letter):
    names = [letter * (248 // len(letter.encode())) + f"{k}.json" for k in (1, 2)]
    paths = [tmp_path / name for name in names]
    for path in paths:
        write_text(path, path.name)
        assert partial_path(path).suffix == ".json"  # which may say the format
    assert [path.read_text() for path in paths] == names
    assert left_behind(tmp_path) == names
    assert partial_path(paths[0]) != partial_path(paths[1])
    assert partial_path(tmp_path / "a.png") == tmp_path / ".partial-a.png"

"""Section 4a: downloading and unpacking the known datasets."""

import shutil

import pytest
from server import make_archive, serving

import image_to_image_translation as pix2pix


def refused(*arguments) -> str:
    """The one line that fetch refuses with."""
    with pytest.raises(pix2pix.UserError) as refusal:
        pix2pix.fetch("facades", *arguments)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def left_behind(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_a_good_archive_is_fetched_once(tmp_path, capsys):
    with serving(make_archive()) as (mirror, asked):
        folder = pix2pix.fetch("facades", mirror, tmp_path)
        assert pix2pix.fetch("facades", mirror + "/", tmp_path) == folder == tmp_path / "facades"
    assert len(asked) == 1
    assert sorted(path.name for path in (folder / "train").iterdir()) == ["0.png", "1.png", "2.png"]
    assert left_behind(tmp_path) == ["facades", "facades.tar.gz"]
    assert "about 31 MB" in capsys.readouterr().out


def test_the_download_shows_a_bar(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pix2pix.sys.stdout, "isatty", lambda: True)
    body = make_archive()
    with serving(body) as (mirror, _):
        pix2pix.fetch("facades", mirror, tmp_path)
    megabytes = f"{len(body) / 1e6:.1f}"
    lines = [line.strip() for line in capsys.readouterr().out.replace("\r", "\n").splitlines()]
    assert f"Downloading facades.tar.gz [{'#' * 20}] {megabytes} of {megabytes} MB" in lines
    assert f"Downloaded facades.tar.gz: {megabytes} MB" in lines


def test_an_unpacked_folder_that_was_deleted_comes_back_without_the_network(tmp_path):
    with serving(make_archive()) as (mirror, _):
        shutil.rmtree(pix2pix.fetch("facades", mirror, tmp_path))
    assert (pix2pix.fetch("facades", "http://127.0.0.1:1", tmp_path) / "train/2.png").exists()


@pytest.mark.parametrize("behaviour", ["good", "ranges"])
def test_a_killed_download_is_repaired(tmp_path, behaviour):
    body = make_archive()
    (tmp_path / "facades.tar.gz.part").write_bytes(body[:1000])
    with serving(body, behaviour) as (mirror, asked):
        pix2pix.fetch("facades", mirror, tmp_path)
    assert asked == ["bytes=1000-"]
    assert (tmp_path / "facades.tar.gz").read_bytes() == body


def test_a_download_killed_just_before_its_end_is_repaired(tmp_path):
    body = make_archive()
    (tmp_path / "facades.tar.gz.part").write_bytes(body)
    with serving(body, "ranges") as (mirror, asked):
        pix2pix.fetch("facades", mirror, tmp_path)
    assert asked == [f"bytes={len(body)}-"]
    assert (tmp_path / "facades.tar.gz").read_bytes() == body


def test_a_killed_unpacking_is_repaired(tmp_path):
    (tmp_path / ".partial-facades/facades/train").mkdir(parents=True)
    (tmp_path / ".partial-facades/facades/train/half.png").write_bytes(b"half")
    (tmp_path / "facades.tar.gz").write_bytes(make_archive())
    folder = pix2pix.fetch("facades", "http://127.0.0.1:1", tmp_path)
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
        assert pix2pix.fetch("facades", mirror, tmp_path).is_dir()


def test_a_server_that_falls_silent(tmp_path, monkeypatch):
    monkeypatch.setattr(pix2pix, "NETWORK_TIMEOUT", 0.2)
    with serving(make_archive(), "slow") as (mirror, _):
        assert "timed out. Try again" in refused(mirror, tmp_path)


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
            pix2pix.fetch("facades", mirror, cache)
        else:
            assert "outside" in refused(mirror, cache)
            assert left_behind(cache) == []
    assert not list(tmp_path.glob("evil*"))
    assert not list(cache.glob("evil*"))


def test_no_space_left(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pix2pix.tarfile.TarFile, "extractall", full)
    with serving(make_archive()) as (mirror, _):
        message = refused(mirror, tmp_path)
    assert f"{tmp_path}: [Errno 28] No space left on device. Try again" in message
    assert "--data-dir FOLDER" in message
    assert left_behind(tmp_path) == ["facades.tar.gz"]  # it is whole, and need not be fetched again

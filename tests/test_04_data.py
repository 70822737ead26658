"""Section 4: fetching, finding, reading, jitter, batches, and the synthetic dataset."""

import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf
from conftest import make_pair
from PIL import Image
from server import make_archive, serving

import image_to_image_translation as pix2pix

# --- fetch ---


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


# --- find and read ---


def test_pairs_are_cut_in_the_middle_and_turned_by_direction(pair_folder):
    whole = np.asarray(Image.open(pair_folder / "train/3.png"))
    for direction in ("AtoB", "BtoA"):
        config = pix2pix.Train(dataset=str(pair_folder), direction=direction)
        splits, found = pix2pix.find_pairs(config)
        halves = splits["train"].read(3)
        assert found == direction
        np.testing.assert_array_equal(halves[direction == "BtoA"], whole[:, :40])
        np.testing.assert_array_equal(halves[direction == "AtoB"], whole[:, 40:])
    assert {name: len(pairs) for name, pairs in splits.items()} == {"train": 6, "val": 2, "test": 1}
    assert pix2pix.find_pairs(pix2pix.Train(dataset=str(pair_folder)))[1] == "AtoB"


def test_a_folder_without_pairs(tmp_path):
    make_pair(tmp_path / "train/.hidden.png")
    (tmp_path / "train/notes.txt").write_text("not a picture")
    with pytest.raises(pix2pix.UserError, match="no pairs in .*train.*--dataset synthetic"):
        pix2pix.folder_pairs(tmp_path)


@pytest.mark.parametrize("kind", ["odd", "cut", "empty", "text", "16 bit grey", "16 bit RGB"])
def test_a_picture_that_is_no_pair_is_found_before_training(small, pair_folder, kind):
    broken = pair_folder / "train/2.png"
    whole = broken.read_bytes()
    if kind == "odd":
        Image.new("RGB", (63, 32)).save(broken)
    elif kind == "16 bit grey":
        Image.fromarray(np.zeros((32, 64), np.uint16)).save(broken)
    elif kind == "16 bit RGB":
        broken.write_bytes(tf.io.encode_png(tf.zeros([32, 64, 3], tf.uint16)).numpy())
    else:
        broken.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "text": b"hello"}[kind])
    with pytest.raises(pix2pix.UserError) as refusal:
        pix2pix.train(dataclasses.replace(small, dataset=str(pair_folder)))
    assert str(refusal.value).startswith(f"{broken}: ")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_other_kinds_of_pictures_become_rgb(tmp_path, mode):
    file = tmp_path / ("pair.tif" if mode == "CMYK" else "pair.png")
    Image.new("RGB", (8, 4), (255, 255, 255)).convert(mode).save(file)
    for half in pix2pix.read_pair(file):
        np.testing.assert_array_equal(half, np.full((4, 4, 3), 255))


def test_pairs_in_memory_and_pairs_read_on_the_fly_are_the_same(small, pair_folder, monkeypatch):
    config = dataclasses.replace(small, dataset=str(pair_folder))
    pairs = pix2pix.find_pairs(config)[0]["train"]
    kept = pix2pix.check_pairs(pairs, "training")
    monkeypatch.setattr(pix2pix, "CACHE_BYTES", 40 * 80 * 3 * 5)  # one pair short
    not_kept = pix2pix.check_pairs(pairs, "training")
    assert not_kept is pairs
    shutil.rmtree(pair_folder / "val")
    both = zip(pix2pix.batches(kept, config, 0), pix2pix.batches(not_kept, config, 0), strict=True)
    for ours, theirs in both:
        np.testing.assert_array_equal(ours, theirs)
    shutil.rmtree(pair_folder)
    assert len(kept.read(5)) == 2  # needs no file any more


# --- jitter and batches ---


def ramp(size: int) -> np.ndarray:
    """A picture that tells every position: red grows to the right, green downwards."""
    rows, columns = np.mgrid[:size, :size] * 255 / size
    return np.stack([columns, rows, np.zeros((size, size))], axis=-1).astype(np.float32)


def test_jitter_moves_source_and_target_together():
    picture = ramp(256)
    for number in range(10):
        source, target = pix2pix.jitter(picture, picture, 256, seed=[0, number])
        np.testing.assert_array_equal(source, target)


def test_jitter_enlarges_crops_and_mirrors():
    picture, mirrored, lefts, tops = ramp(256), [], [], []
    for number in range(200):
        source, _ = pix2pix.jitter(picture, picture, 256, seed=[0, number])
        assert source.shape == (256, 256, 3)
        red, green = (np.asarray((source[..., k] + 1) * 127.5 * 256 / 255) for k in (0, 1))
        slope = (red[128, 200] - red[128, 50]) / 150
        assert abs(abs(slope) - 256 / 286) < 0.01  # pixels of the original per pixel
        mirrored.append(slope < 0)
        lefts.append((red[128].mean() - 127.5) / (256 / 286) + 15)
        tops.append((green[:, 128].mean() - 127.5) / (256 / 286) + 15)
    assert 70 < sum(mirrored) < 130
    for offsets in (lefts, tops):
        assert len(set(np.round(offsets))) > 25
        assert min(offsets) > -1
        assert max(offsets) < 31


def test_values_fill_minus_one_to_one():
    black, white = np.zeros((40, 40, 3), np.uint8), np.full((40, 40, 3), 255, np.uint8)
    source, target = pix2pix.jitter(black, white, 32, seed=[0, 0])
    np.testing.assert_array_equal(source, np.full((32, 32, 3), -1))
    np.testing.assert_allclose(target, np.full((32, 32, 3), 1), atol=1e-6)


def numbered(count: int) -> pix2pix.Pairs:
    """Pairs that can be told apart after jitter: pair k is a plain picture of brightness k."""

    def read(k: int) -> tuple[np.ndarray, np.ndarray]:
        return (np.full((36, 36, 3), k, np.uint8),) * 2

    return pix2pix.Pairs(tuple(str(k) for k in range(count)), read)


def order(pairs: pix2pix.Pairs, config: pix2pix.Train, first_step: int = 0) -> np.ndarray:
    """Which pairs the steps get: [steps, batch]."""
    sources = [source for source, _ in pix2pix.batches(pairs, config, first_step)]
    return np.rint((np.array(sources)[:, :, 0, 0, 0] + 1) * 127.5).astype(int)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_every_pair_comes_once_per_epoch_in_a_new_order(small, batch_size):
    config = dataclasses.replace(small, batch_size=batch_size, steps=30 // batch_size)
    epochs = order(numbered(10), config).reshape(3, 10)
    for epoch in epochs:
        assert sorted(epoch) == list(range(10))
    assert len({tuple(epoch) for epoch in epochs}) == 3
    other = order(numbered(10), dataclasses.replace(config, seed=1)).reshape(3, 10)
    assert not np.array_equal(epochs, other)


def test_a_single_pair_is_enough(small):
    assert order(numbered(1), small).tolist() == [[0]] * small.steps


def test_data_is_a_function_of_seed_and_step(small, pair_folder):
    config = dataclasses.replace(small, dataset=str(pair_folder), batch_size=2, steps=8)
    pairs = pix2pix.find_pairs(config)[0]["train"]
    straight = [np.array(batch) for batch in pix2pix.batches(pairs, config, 0)]
    resumed = [np.array(batch) for batch in pix2pix.batches(pairs, config, 5)]
    np.testing.assert_array_equal(straight[5:], resumed)
    assert straight[0].shape == (2, 2, 32, 32, 3)
    flat = {batch.tobytes() for batch in straight}
    assert len(flat) == 8  # no two steps alike


def test_the_same_pair_is_jittered_anew_in_every_epoch(small):
    one = pix2pix.Pairs(("one",), lambda k: (pix2pix.draw_facade(0, 0, 64)[0],) * 2)
    config = dataclasses.replace(small, image_size=256, steps=20)
    sources = {np.array(source).tobytes() for source, _ in pix2pix.batches(one, config, 0)}
    assert len(sources) == 20


def test_previews_are_not_jittered(pair_folder):
    pairs = pix2pix.folder_pairs(pair_folder)["val"]
    sources, targets = pix2pix.held_out_examples(pairs, 40)
    assert sources.shape == targets.shape == (2, 40, 40, 3)
    np.testing.assert_array_equal(pix2pix.to_uint8(sources[1]), pairs.read(1)[0])


# --- synthetic ---


def test_synthetic_is_the_same_for_the_same_seed():
    photo, labels = pix2pix.draw_facade(3, 7, 96)
    again = pix2pix.draw_facade(3, 7, 96)
    np.testing.assert_array_equal(photo, again[0])
    np.testing.assert_array_equal(labels, again[1])
    assert not np.array_equal(photo, pix2pix.draw_facade(3, 8, 96)[0])
    assert not np.array_equal(photo, pix2pix.draw_facade(4, 7, 96)[0])


def test_synthetic_label_maps_hold_only_class_colours_and_photos_follow_them():
    colours = {tuple(map(int, label)) for label, _ in pix2pix.CMP.values()}
    seen = set()
    for number in range(20):
        photo, labels = pix2pix.draw_facade(0, number, 128)
        assert photo.shape == labels.shape == (128, 128, 3)
        assert photo.dtype == labels.dtype == np.uint8
        seen |= {tuple(map(int, colour)) for colour in np.unique(labels.reshape(-1, 3), axis=0)}
        wall, glass = (
            photo[(labels == pix2pix.CMP[name][0]).all(-1)].mean() for name in ("facade", "window")
        )
        assert wall > glass + 20
    assert seen == colours


def test_synthetic_splits_share_no_picture(small):
    splits, direction = pix2pix.find_pairs(small)
    assert direction == "BtoA"
    assert {name: len(pairs) for name, pairs in splits.items()} == {
        "train": 400,
        "val": 100,
        "test": 106,
    }
    identities = [identity for pairs in splits.values() for identity in pairs.identities]
    assert len(set(identities)) == len(identities) == 606
    first, drawn = splits["val"].read(0), pix2pix.draw_facade(0, 400, 32)
    np.testing.assert_array_equal(first, drawn[::-1])

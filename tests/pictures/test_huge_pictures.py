"""Pictures too large for the memory, with a limit that small ones exceed."""

import struct
import warnings
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from pix2pix.pictures import huge_pictures
from pix2pix.pictures.huge_pictures import write_png_rows
from pix2pix.pictures.picture_files import read_picture, write_picture
from pix2pix.talk.errors import UserError


@pytest.fixture
def _small_memory(monkeypatch) -> None:
    """As if a hundred pixels were many."""
    monkeypatch.setattr(huge_pictures, "HUGE", 100)
    monkeypatch.setattr(huge_pictures, "STRIP_HEIGHT", 16)


def noise(*shape: int, bits: int = 8) -> np.ndarray:
    """Random pixels."""
    return np.random.default_rng(0).integers(0, 2**bits, shape, dtype=f"uint{bits}")


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_png_written_row_by_row_is_a_png(tmp_path, channels, bits):
    pixels = noise(50, 7, channels, bits=bits)
    strips = (pixels[:1], pixels[1:33], pixels[33:33], pixels[33:])
    write_png_rows(tmp_path / "1.png", pixels.shape, bits, strips)
    encoded = (tmp_path / "1.png").read_bytes()
    decoded = tf.io.decode_png(encoded, dtype=pixels.dtype)  # which minds checksums
    np.testing.assert_array_equal(decoded, pixels)
    assert Image.open(tmp_path / "1.png").size == (7, 50)


@pytest.mark.usefixtures("_small_memory")
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_a_huge_picture_is_read_like_any_other(tmp_path, monkeypatch, mode, suffix):
    path, image = tmp_path / f"1{suffix}", Image.fromarray(noise(50, 30, 4)).convert(mode)
    if (suffix, mode) == (".png", "CMYK") or (suffix == ".jpg" and mode in ("LA", "P", "RGBA")):
        pytest.skip("there are none")
    image.save(path)
    huge = read_picture(path)
    assert isinstance(huge, np.memmap)
    monkeypatch.undo()
    usual = read_picture(path)
    assert huge.shape == usual.shape
    assert np.abs(huge.astype(int) - usual).max() <= (2 if suffix == ".jpg" else 0)


@pytest.mark.usefixtures("_small_memory")
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_a_huge_picture_is_turned_upright(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(6, 9, 3).repeat(8, 0).repeat(8, 1)).save(
        tmp_path / f"1{suffix}", exif=exif
    )
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / f"1{suffix}")))
    read = read_picture(tmp_path / f"1{suffix}")
    assert read.shape == expected.shape == (72, 48, 3)
    assert np.abs(read.astype(int) - expected).max() <= 2


@pytest.mark.usefixtures("_small_memory")
@pytest.mark.parametrize("bits", [8, 16])
def test_a_huge_picture_is_written_like_any_other(tmp_path, bits):
    pixels = noise(50, 30, 3, bits=bits)
    write_picture(tmp_path / "1.png", pixels)
    np.testing.assert_array_equal(read_picture(tmp_path / "1.png"), pixels)


def test_more_pixels_than_expected_are_refused_by_the_head_alone(tmp_path):
    head = b"IHDR" + struct.pack(">2I5B", 30_000, 20_000, 8, 2, 0, 0, 0)
    chunks = (head, b"IDAT", b"IEND")
    parts = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    (tmp_path / "1.png").write_bytes(huge_pictures.PNG_SIGNATURE + b"".join(parts))
    said = r"1.png: has 600,000,000 pixels; translate --max-pixels 600000000 reads it all the same$"
    with warnings.catch_warnings(action="error"), pytest.raises(UserError, match=said):
        read_picture(tmp_path / "1.png")


def test_a_picture_may_have_just_so_many_pixels(tmp_path):
    Image.fromarray(noise(5, 4, 3)).save(tmp_path / "1.png")
    assert read_picture(tmp_path / "1.png", 20).shape == (5, 4, 3)
    with pytest.raises(UserError, match=r"has 20 pixels; translate --max-pixels 20 reads"):
        read_picture(tmp_path / "1.png", 19)

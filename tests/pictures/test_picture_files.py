"""Every format read right or refused in one line."""

import io
import os
import resource
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
import tensorflow as tf
import tifffile
from conftest import SCRIPT
from PIL import Image, ImageOps

from pix2pix.pictures import picture_files
from pix2pix.pictures.picture_files import (
    PNG_START,
    check_memory,
    decode_picture,
    holds_measurements,
    read_picture,
    write_picture,
)
from pix2pix.pictures.pixels import resize
from pix2pix.talk.errors import UserError

rng = np.random.default_rng(0)
GREY = rng.integers(0, 256, (6, 9, 1), dtype=np.uint8)
RGB = rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)
RGBA = rng.integers(0, 256, (6, 9, 4), dtype=np.uint8)
DEEP = {n: rng.integers(0, 2**16, (6, 9, n), dtype=np.uint16) for n in (1, 2, 3, 4)}


def picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


@pytest.mark.parametrize("pixels", [GREY, RGB, RGBA], ids=["grey", "RGB", "RGBA"])
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".tif", ".tiff", ".PNG"])
def test_formats_without_loss_keep_every_value(tmp_path, suffix, pixels):
    if suffix == ".bmp" and pixels.shape[2] == 4:
        pytest.skip("Pillow writes no alpha to BMP")
    path = tmp_path / f"picture{suffix}"
    picture(pixels).save(path, **({"lossless": True, "exact": True} if suffix == ".webp" else {}))
    grey_webp = suffix == ".webp" and pixels.shape[2] == 1  # WebP knows no grey
    np.testing.assert_array_equal(read_picture(path), pixels.repeat(3, -1) if grey_webp else pixels)


@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "RGB"])
@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG"])
def test_jpeg_is_what_another_decoder_makes_of_it(tmp_path, suffix, pixels):
    path = tmp_path / f"picture{suffix}"
    picture(pixels.repeat(8, 0).repeat(8, 1)).save(path, quality=95)
    read = read_picture(path)
    assert read.shape == (48, 72, pixels.shape[2])
    expected = np.asarray(Image.open(path)).reshape(read.shape)
    assert np.abs(read.astype(int) - expected).max() <= 2


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_keeps_every_value(tmp_path, channels):
    (tmp_path / "deep.png").write_bytes(tf.io.encode_png(DEEP[channels]).numpy())
    read = read_picture(tmp_path / "deep.png")
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, DEEP[channels])


def test_16_bit_grey_tiff_keeps_every_value(tmp_path):
    picture(DEEP[1]).save(tmp_path / "deep.tif")
    np.testing.assert_array_equal(read_picture(tmp_path / "deep.tif"), DEEP[1])


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_tiff_keeps_every_value(tmp_path, channels):
    extra = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    tifffile.imwrite(tmp_path / "deep.tif", DEEP[channels], photometric="rgb", **extra)
    read = read_picture(tmp_path / "deep.tif")
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, DEEP[channels])


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_16_bit_tiffs_of_unusual_structure(tmp_path, compression):
    path, options = tmp_path / "deep.tif", {"compression": compression}
    planes = np.moveaxis(DEEP[3], -1, 0)
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate", **options)
    np.testing.assert_array_equal(read_picture(path), DEEP[3])
    tifffile.imwrite(path, np.stack([DEEP[3], DEEP[3] // 2]), photometric="rgb", **options)
    np.testing.assert_array_equal(read_picture(path), DEEP[3])  # the first page
    tifffile.imwrite(path, DEEP[1][..., 0], photometric="miniswhite", **options)
    np.testing.assert_array_equal(read_picture(path), 65535 - DEEP[1])


@pytest.mark.parametrize(("mode", "kind"), [("I", "PPM"), ("F", "PPM"), ("I;16", "JPEG2000")])
def test_deep_pictures_in_formats_without_a_promise_are_refused(tmp_path, mode, kind):
    Image.new(mode, (4, 4)).save(tmp_path / "deep.png", kind)
    with pytest.raises(UserError, match=rf"deep.png: .*more than 8 bits in {kind}; PNG, TIFF and"):
        read_picture(tmp_path / "deep.png")


def test_of_an_animation_the_first_picture_is_taken(tmp_path):
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "blue")]
    for name in ("a.gif", "a.webp", "a.png"):
        options = {"lossless": True} if name == "a.webp" else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        expected = np.full((4, 5, 3), (255, 0, 0))
        np.testing.assert_array_equal(read_picture(tmp_path / name), expected)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".tif", ".bmp"])
def test_palettes_become_rgb(tmp_path, suffix):
    palette = Image.fromarray(RGB).quantize(64)
    palette.save(tmp_path / f"palette{suffix}")
    read = read_picture(tmp_path / f"palette{suffix}")
    np.testing.assert_array_equal(read, np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("suffix", [".gif", ".png"])
def test_a_transparent_palette_becomes_rgba(tmp_path, suffix):
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    palette.putpixel((0, 0), 0)
    palette.save(tmp_path / f"palette{suffix}", transparency=0)
    read = read_picture(tmp_path / f"palette{suffix}")
    assert read.shape == (4, 4, 4)
    assert read[0, 0, 3] == 0
    assert read[1, 1].tolist() == [200, 100, 50, 255]


def test_a_colour_that_stands_for_transparency_in_a_png(tmp_path):
    for pixels, key in ((RGB, tuple(map(int, RGB[2, 3]))), (GREY, int(GREY[2, 3, 0]))):
        picture(pixels).save(tmp_path / "keyed.png", transparency=key)
        read = read_picture(tmp_path / "keyed.png")
        np.testing.assert_array_equal(
            read[..., :3], pixels.repeat(4 - pixels.shape[2], -1)[..., :3]
        )
        expected = np.where((pixels == np.array(key)).all(-1), 0, 255)
        np.testing.assert_array_equal(read[..., 3], expected)
        assert read[2, 3, 3] == 0


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG: length, kind, body, checksum."""
    check = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)


def grey_png(rows: list[bytes], width: int, bits: int, *chunks: bytes) -> bytes:
    """A grey PNG of packed rows, with more chunks behind its head."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), bits, 0, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"".join((PNG_START, head, *chunks, pixels, png_chunk(b"IEND", b"")))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_colour_that_stands_for_transparency_at_16_bits(tmp_path, channels):
    encoded, key = tf.io.encode_png(DEEP[channels]).numpy(), DEEP[channels][2, 3]
    chunk = png_chunk(b"tRNS", struct.pack(f">{channels}H", *key))
    (tmp_path / "keyed.png").write_bytes(encoded[:33] + chunk + encoded[33:])
    read = read_picture(tmp_path / "keyed.png")
    assert (read.dtype, read.shape) == (np.uint16, (6, 9, 4))
    np.testing.assert_array_equal(read[..., :3], np.broadcast_to(DEEP[channels], (6, 9, 3)))
    np.testing.assert_array_equal(
        read[..., 3], np.where((DEEP[channels] == key).all(-1), 0, 2**16 - 1)
    )
    assert (read[..., 3] == 0).sum() == 1


@pytest.mark.parametrize(
    ("bits", "row", "key", "grey"),
    [(1, 0b01000000, 1, [0, 255]), (2, 0b10110000, 2, [170, 255]), (4, 0x3C, 3, [51, 204])],
)
def test_a_grey_that_stands_for_transparency_at_few_bits(tmp_path, bits, row, key, grey):
    chunk = png_chunk(b"tRNS", struct.pack(">H", key))
    (tmp_path / "keyed.png").write_bytes(grey_png([bytes([row])], 2, bits, chunk))
    expected = [[g, g, g, 0 if g == key * 255 // (2**bits - 1) else 255] for g in grey]
    assert read_picture(tmp_path / "keyed.png").tolist() == [expected]


def test_orientation_that_a_png_says_in_a_text(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    body = exif.tobytes()
    profile = f"\nexif\n{len(body):8}\n{body.hex()}\n".encode()
    for kind, text in ((b"tEXt", b"\0" + profile), (b"zTXt", b"\0\0" + zlib.compress(profile))):
        chunk = png_chunk(kind, b"Raw profile type exif" + text)
        encoded = tf.io.encode_png(RGB).numpy()
        (tmp_path / "turned.png").write_bytes(encoded[:33] + chunk + encoded[33:])
        np.testing.assert_array_equal(read_picture(tmp_path / "turned.png"), np.rot90(RGB, -1))
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="3"/></x:xmpmeta>'
    chunk = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    (tmp_path / "turned.png").write_bytes(encoded[:33] + chunk + encoded[33:])
    np.testing.assert_array_equal(read_picture(tmp_path / "turned.png"), RGB[::-1, ::-1])


def test_black_and_white_and_cmyk(tmp_path):
    for suffix in (".png", ".tif", ".bmp"):
        Image.fromarray(GREY[..., 0] > 127).save(tmp_path / f"two{suffix}")
        read = read_picture(tmp_path / f"two{suffix}")
        np.testing.assert_array_equal(read, np.where(GREY > 127, 255, 0))
    for suffix in (".tif", ".jpg"):
        Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / f"cmyk{suffix}")
        read = read_picture(tmp_path / f"cmyk{suffix}")
        assert read.shape == (8, 8, 3)
        assert np.abs(read - np.array([255.0, 0, 0])).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_pictures_are_turned_as_the_camera_was_held(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    blocks = Image.fromarray(RGB.repeat(8, 0).repeat(8, 1))
    path = tmp_path / f"turned{suffix}"
    blocks.save(path, exif=exif, **({"lossless": True} if suffix == ".webp" else {}))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    read = read_picture(path)
    assert read.shape == ((48, 72, 3) if orientation < 5 else (72, 48, 3)) == expected.shape
    assert np.abs(read.astype(int) - expected).max() <= 2


def test_a_deep_png_is_turned_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    encoded = tf.io.encode_png(DEEP[3]).numpy()
    body = exif.tobytes().removeprefix(b"Exif\0\0")
    check = struct.pack(">I", zlib.crc32(b"eXIf" + body))
    chunk = struct.pack(">I", len(body)) + b"eXIf" + body + check
    (tmp_path / "turned.png").write_bytes(encoded[:33] + chunk + encoded[33:])
    read = read_picture(tmp_path / "turned.png")
    np.testing.assert_array_equal(read, np.rot90(DEEP[3], -1))


def test_a_wrong_suffix_does_no_harm(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "picture.png")
    (tmp_path / "picture.png").rename(tmp_path / "picture.jpg")
    np.testing.assert_array_equal(read_picture(tmp_path / "picture.jpg"), RGB)


def test_forty_megapixels(tmp_path):
    rows = np.linspace(0, 255, 5000).astype(np.uint8)[:, None].repeat(8000, 1)
    Image.fromarray(rows).save(tmp_path / "large.png", compress_level=1)
    read = read_picture(tmp_path / "large.png")
    np.testing.assert_array_equal(read[..., 0], rows)
    small = resize(read, (32, 32))
    assert np.abs(small[..., 0] - np.linspace(4, 251, 32)[:, None]).max() <= 1


def test_a_file_need_not_lie_on_the_disk():
    whole = io.BytesIO()
    Image.fromarray(RGB).save(whole, "PNG")
    np.testing.assert_array_equal(decode_picture(whole), RGB)
    for damaged in (whole.getvalue()[:60], b"", b"<html>"):
        with pytest.raises(UserError, match=r"^not a readable picture \("):
            decode_picture(io.BytesIO(damaged))


# --- Large ones ---


def test_more_pixels_than_expected_are_refused_by_the_head_alone(tmp_path):
    head = struct.pack(">2I5B", 30_000, 20_000, 8, 2, 0, 0, 0)
    chunks = png_chunk(b"IHDR", head) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    (tmp_path / "1.png").write_bytes(PNG_START + chunks)
    said = r"1.png: has 600,000,000 pixels; translate --max-pixels 600000000 reads it all the same$"
    with warnings.catch_warnings(action="error"), pytest.raises(UserError, match=said):
        read_picture(tmp_path / "1.png")


def test_a_picture_may_have_just_so_many_pixels(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "1.png")
    assert read_picture(tmp_path / "1.png", 54).shape == (6, 9, 3)
    with pytest.raises(UserError, match=r"has 54 pixels; translate --max-pixels 54 reads"):
        read_picture(tmp_path / "1.png", 53)


def test_what_a_translation_takes_may_be_more_than_the_memory(tmp_path, monkeypatch):
    Image.fromarray(RGB).save(tmp_path / "1.png")
    check_memory(tmp_path / "1.png", 1)
    monkeypatch.setattr(picture_files, "memory_size", lambda: 2e9)
    check_memory(tmp_path / "1.png", int(2e9 / 54))
    what = "1.png: has 54 pixels; translating it takes about 2.7 GB, and this machine has 2.0."
    with pytest.raises(UserError, match=rf"{what} Translate parts of it.$"):
        check_memory(tmp_path / "1.png", 50_000_000)
    monkeypatch.undo()
    monkeypatch.delattr(os, "sysconf")  # as on Windows
    check_memory(tmp_path / "1.png", 10**15)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_what_is_too_large_for_tensorflow_is_read_like_any_other(
    tmp_path, monkeypatch, mode, suffix
):
    path, image = tmp_path / f"1{suffix}", Image.fromarray(RGBA.repeat(8, 0)).convert(mode)
    if (suffix, mode) == (".png", "CMYK") or (suffix == ".jpg" and mode in ("LA", "P", "RGBA")):
        pytest.skip("there are none")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(path, exif=exif)
    usual = read_picture(path)
    monkeypatch.setattr(picture_files, "LARGEST_FOR_TENSORFLOW", 100)
    large = read_picture(path)
    assert large.shape == usual.shape
    assert np.abs(large.astype(int) - usual).max() <= (2 if suffix == ".jpg" else 0)


def test_what_is_too_large_for_tensorflow_is_written_too(tmp_path, monkeypatch):
    monkeypatch.setattr(picture_files, "LARGEST_PNG", 100)
    for pixels in (RGB, RGBA, DEEP[1]):  # the last one of less than a hundred numbers
        write_picture(tmp_path / "1.png", pixels)
        np.testing.assert_array_equal(read_picture(tmp_path / "1.png"), pixels)
    said = r"2.png: .png cannot hold 6×9 pixels, 3 channels of 16 bits; choose --format tif or npy"
    with pytest.raises(UserError, match=said):
        write_picture(tmp_path / "2.png", DEEP[3])


# --- Damaged ones ---


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".bmp", ".webp", ".tif"])
@pytest.mark.parametrize("damage", ["cut", "empty", "text", "one byte"])
def test_a_damaged_file_is_named_in_one_line(tmp_path, suffix, damage):
    whole = io.BytesIO()
    Image.fromarray(RGB.repeat(8, 0).repeat(8, 1)).save(
        whole, Image.registered_extensions()[suffix]
    )
    data = {
        "cut": whole.getvalue()[: len(whole.getvalue()) * 2 // 3],
        "empty": b"",
        "text": b"<html>404 Not Found</html>",
        "one byte": b"\x89",
    }[damage]
    (tmp_path / f"broken{suffix}").write_bytes(data)
    with pytest.raises(UserError) as refusal:
        read_picture(tmp_path / f"broken{suffix}")
    message = str(refusal.value)
    assert message.startswith(f"{tmp_path}/broken{suffix}: not a readable picture (")
    assert "\n" not in message


def test_one_wrong_bit_in_a_png_is_noticed(tmp_path):
    whole = io.BytesIO()
    Image.fromarray(RGB).save(whole, "PNG")
    for place in range(45, len(whole.getvalue()) - 16, 7):  # in the compressed pixels
        data = bytearray(whole.getvalue())
        data[place] ^= 4
        (tmp_path / "flipped.png").write_bytes(data)
        with pytest.raises(UserError, match="not a readable picture"):
            read_picture(tmp_path / "flipped.png")


# --- Measurements ---


@pytest.mark.parametrize(
    "dtype", ["bool", "int16", "int32", "uint32", "float16", "float32", "float64", ">f4", "int64"]
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_are_read_as_plain_numbers(tmp_path, suffix, dtype):
    numbers = rng.integers(0, 1000, (4, 5, 7)).astype(dtype)
    path = tmp_path / f"array{suffix}"
    (np.save if suffix == ".npy" else np.savez)(path, numbers)
    read = read_picture(path)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, numbers.astype(np.float32))
    assert holds_measurements(path)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2"])
def test_arrays_of_8_and_16_bits_stay_as_they_are(tmp_path, dtype):
    numbers = rng.integers(0, 256, (4, 5)).astype(dtype)
    np.save(tmp_path / "array.npy", numbers)
    read = read_picture(tmp_path / "array.npy")
    assert read.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(read, numbers[..., None])


def test_arrays_that_are_no_pictures_are_refused_in_words(tmp_path):
    holed = np.zeros((4, 4), np.float32)
    holed[1, 1] = np.nan
    for array, why in {
        "objects": (np.full((2, 2), None), "Python's objects"),
        "complex": (np.zeros((2, 2), complex), "complex128 is no kind of numbers"),
        "line": (np.zeros(5), r"shape \(5,\), not \[height, width, channels\]"),
        "empty": (np.zeros((0, 5)), r"its shape is \(0, 5, 1\)"),
        "holed": (holed, "some numbers are missing"),
        "overflowing": (np.full((2, 2), 1e300), "some numbers are infinite"),
    }.values():
        np.save(tmp_path / "array.npy", array, allow_pickle=True)
        with pytest.raises(UserError, match=rf"array.npy: not a readable picture \(.*{why}"):
            read_picture(tmp_path / "array.npy")
    np.savez(tmp_path / "two.npz", a=GREY, b=GREY)
    with pytest.raises(UserError, match="2 arrays in it, not one"):
        read_picture(tmp_path / "two.npz")
    whole = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        whole, {"shape": (10**6, 10**6), "fortran_order": False, "descr": "|u1"}
    )
    (tmp_path / "huge.npy").write_bytes(whole.getvalue())
    with pytest.raises(UserError, match="1,000,000×1,000,000 pixels of 1 channels are more than"):
        read_picture(tmp_path / "huge.npy")


def test_only_measurements_are_told_to_be_some(tmp_path):
    for suffix in (".png", ".jpg", ".gif", ".bmp", ".webp", ".tif"):
        Image.fromarray(RGB).save(tmp_path / f"colours{suffix}")
        assert not holds_measurements(tmp_path / f"colours{suffix}")
    (tmp_path / "broken.tif").write_bytes(b"II*\0nothing")
    (tmp_path / "empty.npy").touch()
    for name in ("broken.tif", "empty.npy", "absent.npy"):
        assert not holds_measurements(tmp_path / name)


# --- Writing ---


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("suffix", [".tif", ".tiff", ".npy", ".npz", ".NPY"])
def test_what_is_written_without_loss_is_read_again(tmp_path, suffix, channels, dtype):
    path = tmp_path / f"picture{suffix}"
    numbers = (1000 * rng.random((4, 5, channels))).astype(dtype)
    write_picture(path, numbers)
    read = read_picture(path)
    assert read.dtype == numbers.dtype
    np.testing.assert_array_equal(read, numbers)
    measured = suffix[1] in "nN" or channels > 4 or dtype == "float32"
    assert holds_measurements(path) == measured
    write_picture(path, numbers, as_measurements=True)
    np.testing.assert_array_equal(read_picture(path), numbers)
    if channels != 1:  # one grey channel is what it is
        assert holds_measurements(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_what_a_format_cannot_hold_is_refused_with_the_way_out(tmp_path, suffix):
    for numbers in (np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(UserError, match=rf"\{suffix} cannot hold .*; choose --format tif or"):
            write_picture(tmp_path / f"picture{suffix}", numbers)
    assert list(tmp_path.iterdir()) == []


LOUD = """
import sys
from pathlib import Path
from pix2pix.pictures.picture_files import read_picture
from pix2pix.talk.errors import UserError
print("imported", file=sys.stderr, flush=True)
for name in sys.argv[1:]:
    try:
        read_picture(Path(name))
        print("read")
    except UserError:
        print("refused")
"""


def test_no_library_warns_on_standard_error(tmp_path):
    Image.new("1", (10_000, 10_000)).save(tmp_path / "large.png")  # Pillow would warn of a bomb
    for name, first, last in (("libtiff.tif", 200, 230), ("tifffile.tif", 20, 50)):
        whole = io.BytesIO()
        blocks = Image.fromarray(RGB.repeat(8, 0))
        blocks.save(whole, "TIFF", compression="tiff_adobe_deflate")
        data = whole.getvalue()
        (tmp_path / name).write_bytes(data[:first] + bytes(30) + data[last:])
    done = subprocess.run(
        [sys.executable, "-c", LOUD, *map(str, sorted(tmp_path.iterdir()))],
        env=os.environ | {"PYTHONPATH": str(SCRIPT.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["read", "refused", "refused"]
    said = done.stderr.partition("imported\n")[2].splitlines()
    assert [line for line in said if not line.startswith("ZIPDecode: ")] == []  # but libtiff's


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "bmp"])
def test_a_picture_that_does_not_fit_on_the_disk_is_not_there(tmp_path, suffix):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    write_picture(tmp_path / f"whole.{suffix}", pixels)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    lacking = (tmp_path / f"whole.{suffix}").stat().st_size - 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (lacking, before[1]))  # much like a full disk
    try:
        with pytest.raises(OSError, match="File too large"):
            write_picture(tmp_path / f"1.{suffix}", pixels)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == [f"whole.{suffix}"]

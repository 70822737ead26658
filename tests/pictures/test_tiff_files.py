"""TIFFs of all kinds: odd depths, alpha, stacks, bands, georeferences."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from pix2pix.pictures import tiff_pages
from pix2pix.pictures.picture_files import holds_measurements, read_picture, write_picture
from pix2pix.talk.errors import UserError

rng = np.random.default_rng(0)
DEEP = {n: rng.integers(0, 2**16, (6, 9, n), dtype=np.uint16) for n in (1, 3, 4, 5)}
GREY = rng.integers(0, 256, (6, 9), dtype=np.uint8)
SHORT = 3  # a type of values


def tiff(width: int, height: int, data: bytes, big_endian: bool = False, **extra: tuple) -> bytes:
    """A TIFF of one strip, written by hand; more tags as _258=(12,)."""
    order = ">" if big_endian else "<"
    tags = {
        256: (width,),
        257: (height,),
        258: (8,),
        259: (1,),
        262: (1,),
        277: (1,),
        278: (height,),
    }
    tags |= {int(name[1:]): values for name, values in extra.items()}
    behind = 8 + 2 + 12 * (len(tags) + 2) + 4
    tags |= {273: (behind,), 279: (len(data),)}
    entries = b""
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}H", *values)
        if len(packed) > 4:
            place = behind + len(data)
            data += packed
            packed = struct.pack(order + "I", place)
        entries += struct.pack(order + "HHI", tag, SHORT, len(values)) + packed.ljust(4, b"\0")
    start = b"MM\0*" if big_endian else b"II*\0"
    head = start + struct.pack(order + "IH", 8, len(tags))
    return head + entries + bytes(4) + data


def pack(numbers: np.ndarray, bits: int) -> bytes:
    """Numbers of so many bits, row by row, each padded to whole bytes."""
    places = np.arange(bits)[::-1]
    rows = (numbers[..., None] >> places & 1).astype(np.uint8).reshape(len(numbers), -1)
    return np.packbits(rows, axis=1).tobytes()


# --- Colours ---


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("photometric", [0, 1])
def test_10_to_14_bits_fill_16(tmp_path, bits, photometric, big_endian):
    pytest.importorskip("imagecodecs")
    full = 2**bits - 1
    numbers = rng.integers(0, full, (6, 9))
    numbers[0, :3] = 0, full, full // 2
    data = tiff(9, 6, pack(numbers, bits), big_endian, _258=(bits,), _262=(photometric,))
    (tmp_path / "deep.tif").write_bytes(data)
    read = read_picture(tmp_path / "deep.tif")
    expected = np.rint(numbers * 65535 / full)
    assert (read.dtype, expected[0, 1]) == (np.uint16, 65535)
    np.testing.assert_array_equal(read[..., 0], expected if photometric else 65535 - expected)
    assert not holds_measurements(tmp_path / "deep.tif")


def test_12_bits_in_colour_and_4_bits_in_colour(tmp_path):
    pytest.importorskip("imagecodecs")
    for bits, full in ((12, 65535), (4, 255)):
        numbers = rng.integers(0, 2**bits, (6, 9, 3))
        data = pack(numbers.reshape(6, 27), bits)
        colour = {"_258": (bits,) * 3, "_262": (2,), "_277": (3,)}
        (tmp_path / "deep.tif").write_bytes(tiff(9, 6, data, **colour))
        read = read_picture(tmp_path / "deep.tif")
        np.testing.assert_array_equal(read, np.rint(numbers * full / (2**bits - 1)))


@pytest.mark.parametrize("planes", [False, True])
def test_16_bit_cmyk_is_not_rgba(tmp_path, planes):
    inks = np.array([[[0, 0, 0, 0], [65535, 0, 0, 0], [0, 30000, 65535, 0], [0, 0, 0, 65535]]])
    inks = inks.astype(np.uint16)
    arranged = np.moveaxis(inks, -1, 0) if planes else inks
    planar = "separate" if planes else "contig"
    path = tmp_path / "cmyk.tif"
    tifffile.imwrite(path, arranged, photometric="separated", planarconfig=planar)
    white, cyan, orange, black = read_picture(path)[0].tolist()
    assert white == [65535, 65535, 65535]
    assert cyan == [0, 65535, 65535]
    assert orange == [65535, 35535, 0]
    assert black == [0, 0, 0]
    assert not holds_measurements(path)


def test_cmyk_with_alpha_keeps_its_alpha(tmp_path):
    data = tiff(1, 1, bytes((255, 0, 0, 0, 128)), _258=(8,) * 5, _262=(5,), _277=(5,), _338=(2,))
    (tmp_path / "alpha.tif").write_bytes(data)
    assert read_picture(tmp_path / "alpha.tif").tolist() == [[[0, 255, 255, 128]]]
    assert not holds_measurements(tmp_path / "alpha.tif")


@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [2, 4])
def test_colours_that_alpha_was_multiplied_into_are_brought_back(tmp_path, channels, dtype, planes):
    full = np.iinfo(dtype).max
    straight = rng.integers(0, full, (6, 9, channels)).astype(float)
    straight[..., -1] = rng.integers(full // 2, full + 1, (6, 9))
    straight[0, 0] = [*[0] * (channels - 1), 0]
    stored = straight.copy()
    stored[..., :-1] *= straight[..., -1:] / full
    stored = np.rint(stored).astype(dtype)
    tifffile.imwrite(
        tmp_path / "alpha.tif",
        np.moveaxis(stored, -1, 0) if planes else stored,
        photometric="rgb" if channels == 4 else "minisblack",
        planarconfig="separate" if planes else "contig",
        extrasamples=["assocalpha"],
    )
    read = read_picture(tmp_path / "alpha.tif")
    assert (read.dtype, read.shape) == (dtype, straight.shape)
    assert np.abs(read - straight).max() <= 2
    assert not holds_measurements(tmp_path / "alpha.tif")


def test_colours_of_unknown_kinds_are_refused_in_words(tmp_path):
    path = tmp_path / "odd.tif"
    tifffile.imwrite(path, DEEP[3], photometric="cielab")
    with pytest.raises(UserError, match="odd.tif: .*colours of a kind that is not known here, 8"):
        read_picture(path)
    tifffile.imwrite(path, np.zeros((4, 4), np.complex64))
    with pytest.raises(UserError, match="odd.tif: .*complex64 is no kind of numbers for pixels"):
        read_picture(path)


def test_the_orientation_of_a_tiff_that_pillow_does_not_know(tmp_path):
    path = tmp_path / "turned.tif"
    tifffile.imwrite(path, DEEP[3], photometric="rgb", extratags=[(274, SHORT, 1, 6, True)])
    np.testing.assert_array_equal(read_picture(path), np.rot90(DEEP[3], -1))


# --- Measurements ---


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint32", "float16", "float64"])
@pytest.mark.parametrize("shape", [(6, 9), (6, 9, 3)])
def test_other_numbers_are_read_as_they_are(tmp_path, shape, dtype):
    path = tmp_path / "numbers.tif"
    numbers = rng.integers(-100, 100, shape).astype(dtype)
    tifffile.imwrite(path, numbers, photometric="rgb" if len(shape) == 3 else "minisblack")
    read = read_picture(path)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, numbers.reshape(6, 9, -1).astype(np.float32))
    assert holds_measurements(path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_grey_pages_of_one_size_are_channels(tmp_path, dtype):
    path = tmp_path / "stack.tif"
    pages = rng.integers(0, 200, (5, 6, 9)).astype(dtype)
    tifffile.imwrite(path, pages, photometric="minisblack")
    np.testing.assert_array_equal(read_picture(path), np.moveaxis(pages, 0, -1))
    assert read_picture(path).dtype == dtype
    assert holds_measurements(path)


def test_other_pages_are_passed_over(tmp_path):
    path, first = tmp_path / "pages.tif", Image.fromarray(GREY)
    others = {
        "another size": Image.new("L", (4, 4)),
        "another depth": Image.fromarray(DEEP[1][..., 0]),
        "colour": Image.new("RGB", (9, 6)),
    }
    for other in others.values():
        first.save(path, save_all=True, append_images=[other])
        np.testing.assert_array_equal(read_picture(path)[..., 0], GREY)
        assert not holds_measurements(path)
    text = Image.fromarray(GREY > 127)
    text.save(path, save_all=True, append_images=[text])  # pages of 1 bit, as a scanner writes
    assert read_picture(path).shape == (6, 9, 1)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_numbers_that_were_cut_short_are_refused(tmp_path, compression):
    numbers = rng.random((60, 90)).astype(np.float32)
    tifffile.imwrite(tmp_path / "whole.tif", numbers, compression=compression, metadata=None)
    data = (tmp_path / "whole.tif").read_bytes()
    for length in (len(data) - 40, len(data) // 2):
        (tmp_path / "cut.tif").write_bytes(data[:length])
        with pytest.raises(UserError, match="cut.tif: not a readable picture"):
            read_picture(tmp_path / "cut.tif")


def test_a_stack_that_was_cut_short_is_refused(tmp_path):
    pages = [Image.fromarray(GREY) for _ in range(3)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    data = (tmp_path / "stack.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="cut.tif: not a readable picture"):
        read_picture(tmp_path / "cut.tif")


@pytest.mark.parametrize("planes", [False, True])
def test_bands_are_channels(tmp_path, planes):
    path = tmp_path / "bands.tif"
    arranged = np.moveaxis(DEEP[5], -1, 0) if planes else DEEP[5]
    planar = "separate" if planes else "contig"
    tifffile.imwrite(path, arranged, photometric="minisblack", planarconfig=planar)
    np.testing.assert_array_equal(read_picture(path), DEEP[5])
    assert holds_measurements(path)


@pytest.mark.parametrize(
    ("photometric", "channels", "extra", "measured"),
    [
        *(("rgb", 4, ["unspecified"], True), ("rgb", 4, ["unassalpha"], False)),
        *(("minisblack", 2, ["unspecified"], True), ("minisblack", 2, ["unassalpha"], False)),
        *(("rgb", 5, ["unassalpha", "unspecified"], True), ("rgb", 3, None, False)),
    ],
)
def test_a_channel_that_is_not_called_alpha_is_none(
    tmp_path, photometric, channels, extra, measured
):
    path = tmp_path / "bands.tif"
    numbers = rng.integers(0, 256, (6, 9, channels), dtype=np.uint8)
    tifffile.imwrite(
        path, numbers, photometric=photometric, planarconfig="contig", extrasamples=extra
    )
    np.testing.assert_array_equal(read_picture(path), numbers)
    assert holds_measurements(path) == measured


def test_bigtiff_of_both_byte_orders(tmp_path):
    for order in "<>":
        path = tmp_path / "big.tif"
        tifffile.imwrite(path, DEEP[5], bigtiff=True, byteorder=order, photometric="minisblack")
        np.testing.assert_array_equal(read_picture(path), DEEP[5].transpose(1, 2, 0))
        assert holds_measurements(path)


def test_a_compression_without_its_decoder(tmp_path, monkeypatch):
    pytest.importorskip("imagecodecs")
    tifffile.imwrite(tmp_path / "deep.tif", DEEP[3], photometric="rgb", compression="lzw")
    np.testing.assert_array_equal(read_picture(tmp_path / "deep.tif"), DEEP[3])

    def lack(*_: object) -> None:
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPage, "asarray", lack)
    with pytest.raises(UserError, match=r"deep.tif: pip install imagecodecs to read it"):
        read_picture(tmp_path / "deep.tif")


def test_a_volume_is_its_first_slice_or_refused(tmp_path):
    volume = rng.integers(0, 256, (16, 32, 48), dtype=np.uint8)
    options = {"photometric": "minisblack", "volumetric": True, "tile": (16, 16, 16)}
    tifffile.imwrite(tmp_path / "volume.tif", volume, **options)
    np.testing.assert_array_equal(read_picture(tmp_path / "volume.tif")[..., 0], volume[0])
    tifffile.imwrite(tmp_path / "deep.tif", volume.astype(np.float32), **options)
    with pytest.raises(UserError, match=r"deep.tif: .*\(a volume of 16 slices\)"):
        read_picture(tmp_path / "deep.tif")


# --- Damaged and hostile files ---

PAGE = 2 + 9 * 12 + 4  # bytes that a page of `tiff` has


def chain(*following: int | None) -> bytes:
    """A TIFF of grey pages that share their pixels; of each, the number of the page behind it."""
    whole, behind = tiff(9, 6, GREY.tobytes()), 8 + PAGE * len(following)
    tags = whole[8 : 4 + PAGE].replace(struct.pack("<I", 8 + PAGE), struct.pack("<I", behind))
    places = [0 if number is None else 8 + PAGE * number for number in following]
    pages = b"".join(tags + struct.pack("<I", place) for place in places)
    return whole[:8] + pages + whole[8 + PAGE :]


def test_pages_that_bite_their_own_tail_end_there(tmp_path):
    chains = {1: [0], 2: [1, 0], 3: [1, 2, 1], 4: [1, 2, 3, None], 150: [*range(1, 150), 0]}
    for channels, following in chains.items():
        (tmp_path / "chain.tif").write_bytes(chain(*following))
        read = read_picture(tmp_path / "chain.tif")
        np.testing.assert_array_equal(read, GREY[..., None].repeat(channels, -1))


def test_pages_that_are_not_there_or_too_many_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_pages, "MOST_PAGES", 100)
    for following, why in {
        (10**6,): "its list of pages is damaged or cut short",
        (1, 10**6): "its list of pages is damaged or cut short",
        (*range(1, 101), None): "more than 100 pages",
    }.items():
        (tmp_path / "chain.tif").write_bytes(chain(*following))
        with pytest.raises(UserError, match=rf"chain.tif: not a readable picture \({why}\)"):
            read_picture(tmp_path / "chain.tif")
        assert not holds_measurements(tmp_path / "chain.tif")


def test_a_page_that_differs_ends_the_search_for_others(tmp_path):
    data = bytearray(chain(1, 10**6))
    data[8 + PAGE + 10] = 5  # pixels, the width of the second one
    (tmp_path / "chain.tif").write_bytes(data)
    np.testing.assert_array_equal(read_picture(tmp_path / "chain.tif")[..., 0], GREY)


def test_tags_that_fill_the_memory_are_refused(tmp_path):
    count, times = 10**6, 100  # strips, each time the tag says so
    entry = struct.pack("<HHII", 273, 4, count, 8)
    head = struct.pack("<4sI", b"II*\0", 8 + 4 * count) + bytes(4 * count)
    (tmp_path / "tags.tif").write_bytes(head + struct.pack("<H", times) + entry * times + bytes(4))
    with pytest.raises(UserError, match=r"tags.tif: .*\(a page with more than .* bytes of tags\)"):
        read_picture(tmp_path / "tags.tif")
    assert not holds_measurements(tmp_path / "tags.tif")


def test_a_size_that_is_not_true_is_refused_before_it_takes_memory(tmp_path):
    numbers = {"_258": (16,) * 3, "_262": (2,), "_277": (3,)}
    for name, bits in (("deep.tif", numbers), ("grey.tif", {"_258": (64,)})):
        (tmp_path / name).write_bytes(tiff(65_000, 60_000, GREY.tobytes(), **bits))
        with pytest.raises(UserError, match=rf"{name}: .*(60,000×65,000|3,900,000,000) pixels"):
            read_picture(tmp_path / name)


def test_a_strip_with_too_many_rows_is_cut(tmp_path):
    data = zlib.compress(GREY.tobytes() + bytes(18))
    (tmp_path / "long.tif").write_bytes(tiff(9, 6, data, _259=(8,)))
    np.testing.assert_array_equal(read_picture(tmp_path / "long.tif")[..., 0], GREY)


# --- Georeference ---

POINT_KEYS = (1, 1, 0, 1, 1025, 0, 1, 2)
AREA_KEYS = (1, 1, 0, 1, 1025, 0, 1, 1)


def write_geotiff(path: Path, keys: tuple[int, ...], **place: tuple[float, ...]) -> None:
    """A grey GeoTIFF of 6×9 pixels; its place as _33550=(10, 10, 0)."""
    tags = [(int(name[1:]), 12, len(values), values, True) for name, values in place.items()]
    tags += [(34735, SHORT, len(keys), keys, True), (42113, 2, 0, "-9999", True)]
    tifffile.imwrite(path, GREY, extratags=tags, metadata=None)


def tags_of(path: Path) -> dict[int, tuple]:
    """The tags of the first page."""
    with tifffile.TiffFile(path) as file:
        return {tag.code: tag.value for tag in file.pages.first.tags}


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_a_result_lies_where_its_geotiff_lies(tmp_path, channels, kind):
    place = {"_33550": (10.0, 20.0, 0.0), "_33922": (0.0, 0.0, 0.0, 5e5, 4e6, 0.0)}
    write_geotiff(tmp_path / "map.tif", AREA_KEYS, **place)
    result = tmp_path / "result.tif"
    write_picture(result, np.ones((6, 9, channels), kind), like=tmp_path / "map.tif")
    tags = tags_of(result)
    assert (tags[33550], tags[33922]) == (place["_33550"], place["_33922"])
    assert tags[34735] == AREA_KEYS
    assert tags[42113] == "-9999"
    write_picture(result, np.ones((12, 27, channels), kind), like=tmp_path / "map.tif")
    assert tags_of(result)[33550] == pytest.approx((10 / 3, 10, 0))
    assert read_picture(result).shape == (12, 27, channels)


def test_places_counted_from_the_centre_of_pixels(tmp_path):
    place = {"_33550": (10.0, 10.0, 0.0), "_33922": (0.0, 0.0, 0.0, 105.0, 95.0, 0.0)}
    write_geotiff(tmp_path / "map.tif", POINT_KEYS, **place)
    write_picture(tmp_path / "large.tif", np.ones((12, 18, 1), np.uint8), tmp_path / "map.tif")
    # the corner of the map, (100, 100), is half a pixel from a centre, before and after
    tags = tags_of(tmp_path / "large.tif")
    column, row, _, x, y, _ = tags[33922]
    corner = x - (column + 0.5) * tags[33550][0], y + (row + 0.5) * tags[33550][1]
    assert corner == pytest.approx((100, 100))


@pytest.mark.parametrize(("keys", "centre"), [(AREA_KEYS, 0), (POINT_KEYS, 0.5)])
def test_a_turned_map_is_scaled_by_its_matrix(tmp_path, keys, centre):
    matrix = np.array([[0, -10, 0, 300], [-10, 0, 0, 700], [0, 0, 0, 0], [0, 0, 0, 1.0]])
    write_geotiff(tmp_path / "map.tif", keys, _34264=tuple(matrix.ravel()))
    write_picture(tmp_path / "large.tif", np.ones((12, 27, 1), np.uint8), tmp_path / "map.tif")
    scaled = np.reshape(tags_of(tmp_path / "large.tif")[34264], (4, 4))
    for old in (np.array([0, 0]), np.array([9, 6])):  # opposite corners, (column, row)
        before = matrix @ [*(old - centre), 0, 1]
        after = scaled @ [*(old * (3, 2) - centre), 0, 1]
        np.testing.assert_allclose(after, before)


def test_only_a_geotiff_has_a_place(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "photo.tif")
    Image.fromarray(GREY).save(tmp_path / "photo.png")
    for name in ("photo.tif", "photo.png"):
        write_picture(tmp_path / "result.tif", GREY[..., None], like=tmp_path / name)
        assert not {33550, 33922, 34264, 34735} & set(tags_of(tmp_path / "result.tif"))


def test_a_place_that_makes_no_sense_is_left_away(tmp_path):
    write_geotiff(tmp_path / "map.tif", AREA_KEYS, _33922=(1.0, 2.0, 3.0, 4.0, 5.0))
    write_picture(tmp_path / "result.tif", GREY[..., None], like=tmp_path / "map.tif")
    assert 33922 not in tags_of(tmp_path / "result.tif")
    np.testing.assert_array_equal(read_picture(tmp_path / "result.tif")[..., 0], GREY)


def test_rasterio_finds_the_same_place(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    from rasterio.transform import Affine

    profile = {"driver": "GTiff", "width": 9, "height": 6, "count": 1, "dtype": "uint8"}
    place = Affine(10, 0, 500_000, 0, -10, 4_000_000)
    with rasterio.open(tmp_path / "map.tif", "w", crs=32633, transform=place, **profile) as new:
        new.write(GREY, 1)
    for numbers in (np.ones((12, 18, 3), np.uint8), np.ones((12, 18, 5), np.float32)):
        write_picture(tmp_path / "result.tif", numbers, like=tmp_path / "map.tif")
        with rasterio.open(tmp_path / "result.tif") as result:
            assert result.crs.to_epsg() == 32633
            assert result.transform == Affine(5, 0, 500_000, 0, -5, 4_000_000)

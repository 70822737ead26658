"""Windows of a picture that agree where they overlap, and frames of a video that do not flicker."""

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import copying, make_picture, make_run, pixels_of, small_task
from helpers import translate, translated
from PIL import Image

import image_to_image_translation as script
from pix2pix.commands.open_run import open_run, prepare_source
from pix2pix.commands.translate import agreement, command
from pix2pix.commands.translate.agreement import find_common, generate_together, measure_windows
from pix2pix.commands.translate.translator import Canvas, Job, Translator, Window, keep_steady
from pix2pix.options.commands import Translate
from pix2pix.pictures.pixels import from_pixels, to_pixels


@pytest.fixture
def run(small, tmp_path):
    return make_run(tmp_path / "run", small)


def sky_and_leaves(path: Path, height: int, width: int) -> np.ndarray:
    """Write a picture with a smooth upper half and one of noise."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels[: height // 2] = np.linspace(120, 240, height // 2)[:, None, None]
    Image.fromarray(pixels).save(path)
    return pixels


def windows_of(trained, pixels: np.ndarray, monkeypatch, **options) -> dict[tuple, np.ndarray]:
    """What is generated of each window, by where it begins."""
    made, blend = {}, Window.blend

    def blend_and_keep(window, image, zoom):
        if zoom == 1:
            made[window.sample, window.top, window.left] = image
        blend(window, image, zoom)

    monkeypatch.setattr(Window, "blend", blend_and_keep)
    asked = Translate(trained.folder, (), native=True, **options)
    translator = Translator(trained, asked)
    list(translator.generate([translator.load(pixels, Job(Path("1.png"), []))]))
    return made


def disagreement(windows: dict[tuple, np.ndarray]) -> float:
    """The mean difference of neighbours where they overlap."""
    differences = []
    for (sample, top, left), image in windows.items():
        below = [row for each, row, column in windows if (each, column) == (sample, left)]
        if below := [row for row in below if row > top]:
            other = windows[sample, min(below), left]
            shift = min(below) - top
            differences.append(np.abs(image[shift:] - other[:-shift]).mean())
    return float(np.mean(differences))


@pytest.mark.parametrize("samples", [0, 2])
def test_windows_agree_where_they_overlap(run, tmp_path, monkeypatch, samples):
    trained, pixels = open_run(run), sky_and_leaves(tmp_path / "1.png", 100, 70)
    differ = {
        how: disagreement(windows_of(trained, pixels, monkeypatch, windows=how, samples=samples))
        for how in ("alone", "agree")
    }
    assert 0 < differ["agree"] < 0.5 * differ["alone"]


@pytest.mark.parametrize("has_fast_layers", [True, False])  # False: as on a GPU
def test_a_window_with_what_it_has_in_common_with_itself_is_as_alone(
    small, tmp_path, monkeypatch, has_fast_layers
):
    if not has_fast_layers:
        monkeypatch.setattr(agreement, "with_fast_layers", lambda network: network)
    run = make_run(tmp_path / "run", dataclasses.replace(small, image_size=64))
    trained = open_run(run)
    source = prepare_source(make_picture(tmp_path / "1.png", 64, 64), trained)[None]
    map, moments = (x.numpy()[0] for x in measure_windows(trained.generator, source, False))
    common = find_common(map, moments)

    def generated(statistics: np.ndarray) -> np.ndarray:
        inputs = (source, common.map[None], statistics[None])
        return generate_together(trained.generator, *inputs, False).numpy()

    expected = script.generate(trained.generator, source).numpy()
    np.testing.assert_allclose(generated(common.statistics), expected, atol=1e-5)
    change = np.abs(generated(4 * common.statistics) - expected).mean()
    assert change > 0.2 * np.abs(expected).mean()


def test_alone_is_each_window_by_itself_blended(run, tmp_path):
    trained, pixels = open_run(run), sky_and_leaves(tmp_path / "1.png", 75, 32)
    weight = np.sin(np.pi * (np.arange(32) + 0.5) / 32) ** 2
    total, result = np.zeros((75, 1, 1)), np.zeros((75, 32, 3), np.float32)
    for top in (0, 14, 29, 43):
        total[top : top + 32, 0, 0] += weight
    for top in (0, 14, 29, 43):
        source = np.stack([from_pixels(pixels[top : top + 32])] * 8)
        share = (weight[:, None, None] / total[top : top + 32]) * np.ones((32, 1))
        result[top : top + 32] += script.generate(trained.generator, source)[0] * share
    out = translated(run, tmp_path / "1.png", tmp_path / "out", native=True, windows="alone")
    np.testing.assert_array_equal(out, to_pixels(result))


@pytest.mark.parametrize("samples", [0, 2])
def test_a_single_window_is_the_same_either_way(run, tmp_path, samples):
    make_picture(tmp_path / "1.png", 32, 32)
    results = {}
    for how in ("alone", "agree"):
        options = {"windows": how, "samples": samples, "native": True, "format": "npy"}
        translate(run, tmp_path / "1.png", output=tmp_path / how, **options)
        results[how] = [np.load(path) for path in sorted((tmp_path / how).iterdir())]
    np.testing.assert_array_equal(results["agree"], results["alone"])


def test_a_result_does_not_depend_on_its_batch_or_the_other_pictures(run, tmp_path):
    sizes = [(32, 32), (60, 41), (20, 32), (90, 32), (33, 33)]  # single windows and several
    for k, size in enumerate(sizes):
        make_picture(tmp_path / f"in/{k}.png", *size, seed=k)
    for batch_size in (1, 3, 8):
        output = tmp_path / f"of {batch_size}"
        translate(run, tmp_path / "in", output=output, native=True, batch_size=batch_size)
    for k, size in enumerate(sizes):
        alone = translated(run, tmp_path / f"in/{k}.png", tmp_path / "one", native=True)
        assert alone.shape[:2] == size
        for batch_size in (1, 3, 8):
            np.testing.assert_array_equal(pixels_of(tmp_path / f"of {batch_size}/{k}.png"), alone)


def test_samples_differ_and_are_seeded(run, tmp_path):
    make_picture(tmp_path / "1.png", 50, 40)
    make_picture(tmp_path / "2.png", 40, 60, seed=2)
    options = {"native": True, "samples": 2}
    translate(run, tmp_path / "1.png", tmp_path / "2.png", output=tmp_path / "both", **options)
    translate(run, tmp_path / "2.png", output=tmp_path / "one", **options)
    first, second = (pixels_of(tmp_path / f"both/2-{k}.png") for k in (1, 2))
    np.testing.assert_array_equal(pixels_of(tmp_path / "one/2-2.png"), second)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("normalization", ["batch", "none"])
def test_where_nothing_is_normalised_by_itself_nothing_is_shared(small, tmp_path, normalization):
    config = dataclasses.replace(small, normalization=normalization, batch_size=2)
    run = make_run(tmp_path / "run", config)
    make_picture(tmp_path / "1.png", 70, 50)
    agree = translated(run, tmp_path / "1.png", tmp_path / "agree", native=True)
    alone = translated(run, tmp_path / "1.png", tmp_path / "alone", native=True, windows="alone")
    np.testing.assert_array_equal(agree, alone)


@pytest.mark.parametrize(
    "options",
    [{"fit": "crop"}, {"crop": True}, {"normalization": "plain-instance"}, {"depth": 2}],
)
def test_any_kind_of_run_has_windows_that_agree(small, tmp_path, monkeypatch, options):
    run = make_run(tmp_path / "run", dataclasses.replace(small, **options))
    pixels = sky_and_leaves(tmp_path / "1.png", 101, 43)
    assert translated(run, tmp_path / "1.png", tmp_path / "out").shape == pixels.shape
    trained, differ = open_run(run), {}
    for how in ("alone", "agree"):
        differ[how] = disagreement(windows_of(trained, pixels, monkeypatch, windows=how))
    assert differ["agree"] < differ["alone"]


def test_windows_of_super_resolution_agree_at_the_size_of_the_result(small, tmp_path):
    run = make_run(tmp_path / "run", small_task(small, "super-resolve", scale=4))
    make_picture(tmp_path / "1.png", 21, 30)
    usual = translated(run, tmp_path / "1.png", tmp_path / "usual")
    agree = translated(run, tmp_path / "1.png", tmp_path / "agree", windows="agree")
    alone = translated(run, tmp_path / "1.png", tmp_path / "alone", windows="alone")
    assert agree.shape == alone.shape == (84, 120, 3)
    assert not np.array_equal(agree, alone)
    np.testing.assert_array_equal(usual, alone)  # whose mean is nearer to the truth


# --- Videos ---


def frame_of(translator: Translator, seen: np.ndarray, values: np.ndarray) -> Canvas:
    """A frame of a video that was generated already."""
    loaded = translator.fit(seen, Job(Path("clip.mp4"), []))
    canvas = Canvas.make_empty(
        loaded, translator.trained.window, Fraction(translator.trained.task.zoom), 3, 1
    )
    canvas.samples[0] += values
    return canvas


def test_what_the_source_does_not_change_stays_near_to_the_frame_before(run):
    translator = Translator(open_run(run), Translate(run, ()))
    still = np.full((32, 32, 3), 100, np.uint8)
    moved = still.copy()
    moved[:8] = 200
    sources, values = (still, still, moved), (0.0, 0.5, -0.5)
    frames = [frame_of(translator, *each) for each in zip(sources, values, strict=True)]
    first, second, third = (frame.samples[0] for frame in keep_steady(frames))
    np.testing.assert_array_equal(first, 0)
    np.testing.assert_allclose(second, 0.05, atol=1e-6)  # nine parts of ten are kept
    np.testing.assert_allclose(third[8:], 0.9 * 0.05 - 0.1 * 0.5, atol=1e-6)
    np.testing.assert_array_equal(third[:8], -0.5)  # all is new where the source is


def test_frames_of_a_video_flicker_less_than_alone(run, tmp_path, monkeypatch):
    clip = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    clip = clip.repeat(6, axis=0)
    for k, frame in enumerate(clip):
        frame[4:12, 4 * k : 4 * k + 8] = 255
    still = (clip == clip[0]).all(axis=(0, 3))
    written = {}

    def keep_frames(frames, rate, original, path):
        written[path.parent.name] = np.stack(list(frames)).astype(float)
        path.touch()

    monkeypatch.setattr(command, "frame_rate", lambda path: "25")
    monkeypatch.setattr(command, "read_frames", lambda path, rate: (frame for frame in clip))
    monkeypatch.setattr(command, "write_frames", keep_frames)
    (tmp_path / "clip.mp4").touch()
    for how in ("alone", "agree"):
        translate(run, tmp_path / "clip.mp4", output=tmp_path / how, windows=how, batch_size=4)
    changes = {how: np.abs(np.diff(written[how], axis=0))[:, still].mean() for how in written}
    assert 0 < changes["agree"] < 0.5 * changes["alone"]
    np.testing.assert_array_equal(written["agree"][0], written["alone"][0])


def test_a_video_of_larger_results_stays_steady(small, tmp_path):
    run = make_run(tmp_path / "run", small_task(small, "super-resolve", scale=4))
    translator = Translator(open_run(run), Translate(run, ()))
    seen = np.full((8, 8, 3), 100, np.uint8)
    frames = [frame_of(translator, seen, value) for value in (0.0, 1.0)]
    _, second = (frame.samples[0] for frame in keep_steady(frames))
    np.testing.assert_allclose(second, np.full((32, 32, 3), 0.1), atol=1e-6)


def test_a_run_without_normalisation_copies_windows_as_they_are(small, tmp_path):
    run = make_run(tmp_path / "run", small, copying())
    pixels = make_picture(tmp_path / "1.png", 77, 41)
    out = translated(run, tmp_path / "1.png", tmp_path / "out", native=True)
    np.testing.assert_array_equal(out, pixels)

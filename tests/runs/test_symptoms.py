"""Symptoms, on made histories and made pictures; and that each is told once."""

import numpy as np
import pytest
from conftest import SCRIPT

from pix2pix.runs.symptoms import SYMPTOMS, find_symptoms, measure_pictures, warn
from pix2pix.runs.tables import add_row, begin_table


def metrics(steps: int = 10_000, right: float = 0.8, l1: tuple[float, float] = (0.3, 0.2)) -> dict:
    """A history with a row every 100 steps; the L1 goes evenly from one value to another."""
    numbers = list(range(100, steps + 1, 100))
    falling = list(np.linspace(*l1, len(numbers)))
    return {
        "step": numbers,
        "generator_l1": falling,
        "discriminator_right": [right] * len(numbers),
    }


def validation(steps: int = 10_000, **columns) -> dict:
    """A history with rows every 1,000 steps, sound where nothing else is said."""
    numbers = list(range(1000, steps + 1, 1000))
    sound = {"l1": 0.17, "variety": 0.6, "grid": 1.0, "spot": 0.1} | columns
    rows = {name: np.broadcast_to(value, len(numbers)).tolist() for name, value in sound.items()}
    return {"step": numbers, **rows}


def test_a_sound_training_has_none():
    assert find_symptoms(metrics(), validation()) == []
    assert find_symptoms({"step": [], "generator_l1": [], "discriminator_right": []}, {}) == []
    assert find_symptoms(metrics(steps=100), validation(steps=1000)) == []


def test_a_discriminator_that_separates_everything():
    assert find_symptoms(metrics(right=0.995), {}) == ["discriminator"]
    assert find_symptoms(metrics(right=0.97), {}) == []
    once = metrics(right=0.995)
    once["discriminator_right"][-3] = 0.9
    assert find_symptoms(once, {}) == []
    assert find_symptoms(metrics(steps=1900, right=0.995), {}) == []
    with_critic = metrics(right=0.7)
    for share, told in ((0.9, []), (0.995, ["discriminator"]), (np.nan, [])):
        with_critic["critic_right"] = [share] * len(with_critic["step"])
        assert find_symptoms(with_critic, {}) == told


def test_pairs_learned_by_heart():
    rises = np.concatenate([[0.2, 0.17], np.linspace(0.171, 0.19, 8)])
    assert find_symptoms(metrics(), validation(l1=rises)) == ["by-heart"]
    assert find_symptoms(metrics(l1=(0.2, 0.3)), validation(l1=rises)) == []  # worse in both
    late = np.concatenate([np.linspace(0.2, 0.17, 8), [0.18, 0.19]])
    assert find_symptoms(metrics(), validation(l1=late)) == []
    little = np.concatenate([[0.2, 0.17], np.linspace(0.17, 0.172, 8)])
    assert find_symptoms(metrics(), validation(l1=little)) == []


@pytest.mark.filterwarnings("error")
def test_few_rows_of_losses_say_nothing_of_what_was_learned_by_heart():
    rises = np.concatenate([[0.2, 0.17], np.linspace(0.175, 0.19, 8)])
    every_10_000 = {"step": [10_000], "generator_l1": [0.2], "discriminator_right": [0.8]}
    assert find_symptoms(every_10_000, validation(l1=rises)) == []
    early = {"step": [2_000], "generator_l1": [0.2], "discriminator_right": [0.8]}
    assert find_symptoms(early, validation(l1=rises)) == []


@pytest.mark.parametrize(("name", "bad"), [("variety", 0.1), ("grid", 5.0), ("spot", 0.6)])
def test_what_pictures_show_three_times(name, bad):
    assert find_symptoms(metrics(), validation(**{name: bad})) == [name]
    once = validation(**{name: bad})
    once[name][-2] = validation()[name][-2]
    assert find_symptoms(metrics(), once) == []
    assert find_symptoms(metrics(), validation(steps=2000, **{name: bad})) == []
    early = {"step": [100, 300, 500], name: [bad] * 3}
    assert find_symptoms(metrics(), early) == []


@pytest.fixture
def pictures() -> np.ndarray:
    """Eight smooth pictures that differ."""
    random = np.random.default_rng(0)
    coarse = random.uniform(-0.8, 0.8, (8, 16, 16, 3)).astype(np.float32)
    noise = random.normal(0, 0.02, (8, 64, 64, 3))
    return coarse.repeat(4, axis=1).repeat(4, axis=2) + noise.astype(np.float32)


def test_sound_pictures_have_sound_numbers(pictures):
    found = measure_pictures(pictures, pictures)
    assert found["variety"] == pytest.approx(1)
    assert found["grid"] <= 1
    assert found["spot"] == 0


@pytest.mark.parametrize("period", [2, 4])
@pytest.mark.parametrize("axis", [1, 2])
def test_a_grid(pictures, period, axis):
    wave = 0.15 * np.cos(2 * np.pi * np.arange(64) / period).astype(np.float32)
    shape = [1, 1, 1, 1]
    shape[axis] = 64
    found = measure_pictures(pictures, pictures + wave.reshape(shape))
    assert found["grid"] > 5
    in_both = measure_pictures(pictures + wave.reshape(shape), pictures + wave.reshape(shape))
    assert in_both["grid"] == pytest.approx(1)


def test_a_spot_and_sameness(pictures):
    spotted = pictures.copy()
    spotted[:, 20:24, 40:44] = -1
    assert measure_pictures(pictures, spotted)["spot"] > 0.5
    assert measure_pictures(spotted, spotted)["spot"] == 0  # the targets have it, too
    moving = pictures.copy()
    for k in range(8):
        moving[k, 4 * k : 4 * k + 4, 40:44] = -1
    assert measure_pictures(pictures, moving)["spot"] < 0.3
    alike = pictures[:1] + 0.05 * pictures
    assert measure_pictures(pictures, alike)["variety"] == pytest.approx(0.05, rel=1e-3)
    assert measure_pictures(pictures[:1], pictures[:1])["spot"] == 0


def test_each_is_told_once_even_after_a_stop(tmp_path, capsys):
    for name, columns in (("metrics", metrics(right=1.0)), ("validation", validation(grid=5.0))):
        table = tmp_path / f"{name}.csv"
        begin_table(table, list(columns), 0)
        for step, *values in zip(*columns.values(), strict=True):
            add_row(table, step, values)
    warn(tmp_path, 10_000)
    said = capsys.readouterr().out
    assert said.count("Careful") == 2
    assert "--upsampling resize" in said
    assert "docs/TROUBLE.md#a-checkerboard-pattern" in said
    warn(tmp_path, 11_000)
    assert capsys.readouterr().out == ""
    lines = (tmp_path / "warnings.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "step 10000 discriminator",
        "step 10000 grid",
    ]


def test_each_leads_to_a_section_that_says_what_to_try():
    page = (SCRIPT.parent / "docs/TROUBLE.md").read_text()
    for symptom in SYMPTOMS.values():
        assert f"](#{symptom.section})" in page

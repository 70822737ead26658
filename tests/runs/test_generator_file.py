"""generator.keras is in float32, whatever a training computes in and whatever its layers are."""

import dataclasses

import keras
import numpy as np
import pytest
from conftest import settled

import image_to_image_translation as script
from pix2pix.networks.devices import compute_in
from pix2pix.pictures.sides import LabelClass, Side
from pix2pix.runs.generator_file import save_generator

LABELS = Side(classes=(LabelClass(0, (255, 0, 0), "red"), LabelClass(1, (0, 0, 255), "blue")))


@pytest.mark.parametrize("computing_type", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    ("changes", "decided"),
    [({}, {}), ({"padding": "reflect", "image_size": 64}, {}), ({}, {"source": LABELS})],
)
def test_every_generator_is_saved_in_float32(small, tmp_path, computing_type, changes, decided):
    config = dataclasses.replace(small, **changes)
    with compute_in(computing_type):
        generator = script.build_generator(config, settled(config, **decided))
    source = np.random.default_rng(0).uniform(-1, 1, (1, *generator.input_shape[1:]))
    save_generator(generator, "{}", source.astype(np.float32), tmp_path / "generator.keras")
    saved = keras.models.load_model(tmp_path / "generator.keras")
    assert {layer.compute_dtype for layer in saved.layers} == {"float32"}
    np.testing.assert_allclose(saved(source), generator(source), atol=0.01)
    in_float32 = script.build_generator(config, settled(config, **decided))
    in_float32.set_weights(generator.get_weights())
    np.testing.assert_allclose(saved(source), in_float32(source), atol=1e-6)  # nothing is rounded

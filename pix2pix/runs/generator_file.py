"""generator.keras: a generator that Keras alone can open, with what made it in the same file."""

import json
import zipfile
from pathlib import Path

import keras
import numpy as np
from keras import layers


def in_float32(network: keras.Model) -> keras.Model:
    """Return a copy that computes in float32, as everything after the training does."""

    def copy_in_float32(operation: keras.Operation) -> keras.Operation:
        config = operation.get_config()
        if isinstance(operation, layers.Layer):  # operations of keras.ops take what they get
            config["dtype"] = "float32"
        return type(operation).from_config(config)

    if all(layer.compute_dtype == "float32" for layer in network.layers):
        return network
    copy = keras.models.clone_model(network, clone_function=copy_in_float32)
    copy.set_weights(network.get_weights())
    return copy


def save_generator(generator: keras.Model, settings: dict, example: np.ndarray, path: Path) -> None:
    """Write a generator.keras that carries its config.json and an example of a source in itself."""
    in_float32(generator).save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("run.json", json.dumps(settings))
        with archive.open("example.npy", "w") as file:
            np.save(file, example)

"""Fixtures: small colour photos, made from the samples in data/, and a tiny real model."""

import gc
import json
import os
import shutil

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "PYTEST_XDIST_WORKER" in os.environ:  # one core for each, or they wait for each other
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")

from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from nxap_color import models
from nxap_color.extractors import Extractor
from nxap_color.layers import HintLikeness
from nxap_color.training.exporting import export_beside

# TensorFlow's graphs are millions of objects, through which the collector would go again and again.
gc.set_threshold(200_000, 20, 20)

PROJECT = Path(__file__).resolve().parent.parent
_NAMES = ("astronaut", "bee", "cat", "chickens", "citrus-fruits", "coffee", "dahlia", "dandelions", "dog")
_NAMES += ("dogs-at-window", "fig", "forest-stream")
SAMPLES = [next((PROJECT / "data" / "photos").rglob(f"{name}.jpg")) for name in _NAMES]


def pytest_addoption(parser):
    parser.addoption("--mutants", type=int, default=3000, help="damaged files that the fuzz test tries")
    parser.addoption("--fuzz-seed", type=int, default=0, help="which damaged files these are")


def pytest_collection_modifyitems(items):
    """Puts the long ones first, so that no worker waits for another at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def project():
    return PROJECT


@pytest.fixture
def photo_folder(tmp_path):
    """A folder with 12 small photos of different sizes, two of them in a subfolder."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for index, path in enumerate(SAMPLES):
        with Image.open(path) as photo:
            small = photo.resize((48 + 3 * index, 40 + index))
        small.save((folder / "more" if index >= 10 else folder) / path.name)
    return folder


@pytest.fixture(scope="session")
def sample_rgb():
    """One of the sample photos, uint8 (288, 384, 3) or so."""
    with Image.open(PROJECT / "data" / "photos" / "test" / "cat.jpg") as photo:
        return np.asarray(photo.convert("RGB"))


@pytest.fixture(scope="session")
def tiny_model():
    """A real network of two layers that colours something: lightness -> ab at 1/2 of the size."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, 1), name="lightness")
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(inputs)
    outputs = keras.layers.Conv2D(2, 3, padding="same", activation="tanh")(x)
    return keras.Model({"lightness": inputs}, outputs, name="tiny")


@pytest.fixture(scope="session")
def tiny_model_file(tiny_model, tmp_path_factory):
    """The file of `tiny_model`, with the exported one beside it."""
    path = tmp_path_factory.mktemp("model") / "tiny.keras"
    tiny_model.save(path)
    export_beside(path)
    return path


@pytest.fixture(scope="session")
def guided_model_file(tmp_path_factory):
    """The file of a small real network that knows how far colour hints reach, and its ONNX."""
    keras.utils.set_random_seed(1)
    inputs = {"lightness": keras.Input((None, None, 1), name="lightness")}
    x = keras.layers.Conv2D(8, 3, strides=4, padding="same", activation="relu")(inputs["lightness"])
    ab = keras.layers.Conv2D(2, 3, padding="same", activation="tanh")(x)
    outputs = keras.layers.Concatenate()([ab, HintLikeness()(x, inputs["lightness"])])
    path = tmp_path_factory.mktemp("guided") / "guided.keras"
    keras.Model(inputs, outputs, name="guided").save(path)
    path.with_suffix(".json").write_text(json.dumps({"network_size": 96}))
    export_beside(path)
    return path


@pytest.fixture
def quick_model_file(tiny_model_file, tmp_path_factory):
    """The tiny model with a recipe that has it look at small pictures, not at larger ones."""
    path = tmp_path_factory.mktemp("quick") / "quick.keras"
    for suffix in (".keras", ".onnx"):
        shutil.copy(tiny_model_file.with_suffix(suffix), path.with_suffix(suffix))
    path.with_suffix(".json").write_text(json.dumps({"network_size": 32}))
    return path


@pytest.fixture
def tiny_extractor():
    """A real frozen network, with batch normalisation: (32, 32, 3) -> 4 features."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, activation="relu")(inputs))
    return Extractor(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x), name="tiny_features"))


@pytest.fixture
def tiny_fusion(tiny_extractor):
    """A small network of the real kind whose answer depends on the features."""
    keras.utils.set_random_seed(0)
    model = models.build_fusion(tiny_extractor, filters=4)
    model.get_layer("ab").set_weights([np.random.default_rng(0).normal(0.0, 0.3, (3, 3, 2, 2)), np.zeros(2)])
    return model

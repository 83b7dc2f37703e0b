"""Layers that look at the whole picture, against closed forms."""

import keras
import numpy as np
import pytest
from keras import ops

from nxap_color import models
from nxap_color.attention import HintAttention, LearnedQueries, PoolHints


def random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def test_hints_are_pooled_over_what_is_hinted():
    hints = np.zeros((1, 4, 8, 3), "float32")
    hints[0, 0, 0] = (0.4, -0.2, 1.0)
    hints[0, 1, 1] = (0.2, 0.0, 1.0)
    hints[0, 2:, 4:] = (-0.5, 0.5, 1.0)
    pooled = ops.convert_to_numpy(PoolHints(4)(hints))
    np.testing.assert_allclose(pooled[0], [[(0.3, -0.1, 1.0), (-0.5, 0.5, 1.0)]], atol=1e-6)


def test_one_hinted_pixel_of_a_large_cell_is_found():
    hints = np.zeros((1, 16, 16, 3), "float32")
    hints[0, 7, 9] = (0.25, 0.5, 1.0)
    np.testing.assert_allclose(PoolHints(16)(hints)[0, 0, 0], (0.25, 0.5, 1.0), atol=1e-5)


def trained(layer, *inputs):
    """Call a layer, and give all its weights values as after a training."""
    layer(*inputs)
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(0.0, 0.3, weight.shape) for weight in layer.get_weights()])
    return layer


def test_without_hints_features_stay_as_they_are():
    features = random(2, 4, 5, 16)
    nothing = np.zeros((2, 4, 5, 3), "float32")
    layer = trained(HintAttention(8), features, nothing)
    np.testing.assert_array_equal(layer(features, nothing), features)


def test_an_untrained_layer_ignores_hints():
    features, hints = random(1, 4, 5, 16), np.ones((1, 4, 5, 3), "float32")
    np.testing.assert_array_equal(HintAttention(8)(features, hints), features)


def test_a_hint_reaches_the_far_corner_and_only_hinted_places_are_attended_to():
    """The answer by hand: softmax over the two hinted places and one more of logit 0 and value 0."""
    features, hints = random(1, 3, 4, 6), np.zeros((1, 3, 4, 3), "float32")
    hints[0, 0, 0], hints[0, 2, 1] = (0.3, -0.1, 1.0), (-0.2, 0.4, 1.0)
    layer = trained(HintAttention(8), features, hints)
    query, key, value, output = layer.get_weights()
    places, known = features.reshape(12, 6), hints.reshape(12, 3)
    hinted = [0, 9]
    logits = places @ query @ (places[hinted] @ key).T / np.sqrt(8)
    weights = np.exp(logits)
    weights /= weights.sum(axis=1, keepdims=True) + 1.0
    values = np.concatenate([places, known], axis=1)[hinted] @ value
    expected = features + (weights @ values @ output).reshape(features.shape)
    answer = ops.convert_to_numpy(layer(features, hints))
    np.testing.assert_allclose(answer, expected, atol=1e-5)
    assert np.abs(answer - features)[0, 0, 3].max() > 0.01  # far from both


@pytest.mark.parametrize(
    ("layer", "arguments"), [(PoolHints, [0]), (HintAttention, [0]), (LearnedQueries, [0, 8])]
)
def test_impossible_sizes_are_refused(layer, arguments):
    with pytest.raises(ValueError, match=f"{layer.__name__} needs"):
        layer(*arguments)


@pytest.fixture(scope="module")
def networks():
    """A U-Net, and one with hints and queries that has its weights."""
    keras.utils.set_random_seed(0)
    plain = models.build_unet(decoder_filters=(16, 12, 8))
    plain.get_layer("ab").set_weights([random(1, 1, 8, 2), np.zeros(2)])
    return plain, models.build_unet(decoder_filters=(16, 12, 8), hints=True, queries=4)


def test_hints_and_queries_start_from_a_network_without(networks):
    from nxap_color.training.pretrained import copy_weights

    plain, guided = networks
    copy_weights(plain, guided)
    lightness, hints = random(1, 64, 96, 1), random(1, 64, 96, 3)
    answer = plain.predict_on_batch({"lightness": lightness})
    np.testing.assert_allclose(
        guided.predict_on_batch({"lightness": lightness, "hints": hints}), answer, atol=1e-6
    )
    assert np.abs(answer).max() > 0.1


def test_hints_and_queries_survive_saving_in_safe_mode_at_any_size(networks, tmp_path):
    _, guided = networks
    for weight in guided.weights:  # those that are 0 would hide a fault
        weight.assign(0.1 * random(*weight.shape) if len(weight.shape) else weight)
    guided.save(tmp_path / "guided.keras")
    loaded = keras.saving.load_model(tmp_path / "guided.keras", safe_mode=True)
    for size in ((64, 96), (32, 160)):
        given = {"lightness": random(2, *size, 1), "hints": random(2, *size, 3)}
        np.testing.assert_allclose(loaded(given), guided(given), atol=1e-5)

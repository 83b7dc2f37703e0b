"""Colour queries, and what hints and they add to a network."""

import keras
import numpy as np
import pytest

from nxap_color import models
from nxap_color.attention import LearnedQueries


def random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="LearnedQueries needs"):
        LearnedQueries(0, 8)


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
    given = {"lightness": random(1, 64, 96, 1)}
    answer = plain.predict_on_batch(given)
    np.testing.assert_allclose(guided.predict_on_batch(given)[..., :2], answer, atol=1e-6)
    assert np.abs(answer).max() > 0.1


def test_hints_and_queries_survive_saving_in_safe_mode_at_any_size(networks, tmp_path):
    _, guided = networks
    for weight in guided.weights:  # those that are 0 would hide a fault
        weight.assign(0.1 * random(*weight.shape) if len(weight.shape) else weight)
    guided.save(tmp_path / "guided.keras")
    loaded = keras.saving.load_model(tmp_path / "guided.keras", safe_mode=True)
    for size in ((64, 96), (32, 160)):
        given = {"lightness": random(2, *size, 1)}
        np.testing.assert_allclose(loaded(given), guided(given), atol=1e-5)

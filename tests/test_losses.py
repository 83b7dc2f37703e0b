"""Losses against closed forms."""

import keras
import numpy as np
import pytest
from PIL import Image

from nxap_color.color import AB_SCALE
from nxap_color.losses import AbMeanSquaredError, ChromaWeightedHuber, shrink_to


def constant(ab, side=8):
    return np.broadcast_to(np.float32(ab) / AB_SCALE, (2, side, side, 2)).copy()


def test_truth_is_shrunk_as_pillow_does():
    truth = np.random.default_rng(0).normal(size=(1, 16, 24, 2)).astype("float32")
    shrunk = np.asarray(shrink_to(truth, np.zeros((1, 4, 6, 2), "float32")))
    for channel in range(2):
        expected = Image.fromarray(truth[0, :, :, channel]).resize((6, 4), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(shrunk[0, :, :, channel], np.asarray(expected), atol=1e-5)


def test_truth_of_the_right_size_is_left_alone():
    truth = np.random.default_rng(0).normal(size=(2, 5, 7, 2)).astype("float32")
    np.testing.assert_allclose(shrink_to(truth, truth), truth, atol=1e-6)


@pytest.mark.parametrize("loss", [ChromaWeightedHuber(), AbMeanSquaredError()])
def test_loss_of_the_truth_is_zero(loss):
    assert float(loss(constant((20, -30)), constant((20, -30)))) == pytest.approx(0.0, abs=1e-5)


def test_huber_of_a_known_error():
    """Truth of chroma 40 weighs 2; an error of 12 units at delta 5 costs 25 (13 / 5 - 1)."""
    loss = float(ChromaWeightedHuber(delta=5.0, chroma_scale=40.0)(constant((40, 0)), constant((40, 12), 2)))
    assert loss == pytest.approx(2.0 * 25.0 * (13.0 / 5.0 - 1.0), rel=1e-3)


def test_squared_error_of_a_known_error():
    loss = float(AbMeanSquaredError()(constant((40, 0)), constant((40, 12), 2)))
    assert loss == pytest.approx((12.0 / AB_SCALE) ** 2 / 2.0, rel=1e-3)


def test_vivid_colours_weigh_more():
    loss = ChromaWeightedHuber()
    assert float(loss(constant((60, 60)), constant((60, 50)))) > float(
        loss(constant((0, 0)), constant((0, -10)))
    )


@pytest.mark.parametrize("loss", [ChromaWeightedHuber(delta=3.0, chroma_scale=20.0), AbMeanSquaredError()])
def test_losses_survive_serialization(loss):
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config()

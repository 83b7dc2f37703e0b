"""Losses against closed forms."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from nxap_color.color import AB_SCALE, ab_bins
from nxap_color.gaussian_process import HINT_CHANNELS, guess_missing, place_points
from nxap_color.losses import (
    HINT_COUNTS,
    HINTS_FLOOR,
    LOSSES,
    AbBinsCrossEntropy,
    AbMeanSquaredError,
    ChromaWeightedHuber,
    HuberAndMoments,
    WithHints,
    make_loss,
    shrink_to,
)
from nxap_color.training.config import LOSS_NAMES


def constant(ab, side=8):
    return np.broadcast_to(np.float32(ab) / AB_SCALE, (2, side, side, 2)).copy()


def test_truth_is_shrunk_as_pillow_does():
    truth = np.random.default_rng(0).normal(size=(1, 16, 24, 2)).astype("float32")
    shrunk = np.asarray(shrink_to(truth, np.zeros((1, 4, 6, 2), "float32")))
    for channel in range(2):
        expected = Image.fromarray(truth[0, :, :, channel]).resize((6, 4), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(shrunk[0, :, :, channel], np.asarray(expected), atol=1e-5)


def test_truth_of_open_height_and_width_is_shrunk_alike():
    truth = np.random.default_rng(0).normal(size=(3, 64, 32, 2)).astype("float32")
    prediction = np.zeros((3, 16, 8, 2), "float32")
    spec = tf.TensorSpec((None, None, None, 2))
    traced = tf.function(shrink_to, input_signature=(spec, spec))(truth, prediction)
    np.testing.assert_allclose(traced, shrink_to(truth, prediction), atol=1e-6)


def test_truth_of_the_right_size_is_left_alone():
    truth = np.random.default_rng(0).normal(size=(2, 5, 7, 2)).astype("float32")
    np.testing.assert_allclose(shrink_to(truth, truth), truth, atol=1e-6)


@pytest.mark.parametrize("loss", [ChromaWeightedHuber(), AbMeanSquaredError(), HuberAndMoments()])
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


@pytest.mark.parametrize(
    "loss",
    [
        ChromaWeightedHuber(delta=3.0, chroma_scale=20.0),
        AbMeanSquaredError(),
        HuberAndMoments(moments_weight=2.0, delta=3.0),
        AbBinsCrossEntropy(np.arange(1, 1 + len(ab_bins())), uniform_share=0.3),
    ],
)
def test_losses_survive_serialization(loss):
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config()


def with_logits(ab, logits):
    return np.concatenate([ab, logits], axis=-1).astype("float32")


def test_cross_entropy_of_evenly_spread_bins():
    """Whatever the truth, the cross-entropy of Q even bins is log Q, and the mean weight is 1."""
    bins = ab_bins()
    truth = np.float32(bins)[None, :, None] / AB_SCALE
    prior = np.random.default_rng(0).uniform(0.1, 1.0, len(bins))
    flat = with_logits(truth, np.zeros((1, len(bins), 1, len(bins))))
    per_pixel = np.asarray(AbBinsCrossEntropy(prior, 0.5).call(truth, flat))[0, :, 0]
    assert np.sum(per_pixel * prior / prior.sum()) == pytest.approx(np.log(len(bins)), rel=1e-4)
    even = np.asarray(AbBinsCrossEntropy(prior, 1.0).call(truth, flat))
    np.testing.assert_allclose(even, np.log(len(bins)), rtol=1e-4)


def test_rare_colours_weigh_more():
    prior = np.ones(len(ab_bins()))
    prior[10] = 1e-3
    truth = np.float32(ab_bins()[[10, 20]])[None, :, None] / AB_SCALE
    ratios = []
    for uniform_share in (1.0, 0.5, 0.01):
        loss = AbBinsCrossEntropy(prior, uniform_share)
        rare, common = loss.call(truth, with_logits(truth, np.zeros((1, 2, 1, len(prior)))))[0, :, 0]
        ratios.append(float(rare) / float(common))
    # ((1 - u) p + u / Q) of the common over that of the rare colour, p = 1 / (Q - 1 + 0.001), Q = 260.
    np.testing.assert_allclose(ratios, [1.0, 2.0, 91.7], rtol=0.02)


def test_an_impossible_mixture_is_refused():
    with pytest.raises(ValueError, match=r"uniform_share in \(0, 1\], received 0"):
        AbBinsCrossEntropy(np.ones(len(ab_bins())), uniform_share=0)


def test_the_true_bin_costs_least():
    truth = np.broadcast_to(np.float32(ab_bins()[50]) / AB_SCALE, (1, 4, 4, 2))
    logits = np.zeros((1, 4, 4, len(ab_bins())), "float32")
    right, wrong = logits.copy(), logits.copy()
    right[..., 50], wrong[..., 60] = 5.0, 5.0
    loss = AbBinsCrossEntropy(np.ones(len(ab_bins())))
    assert float(loss(truth, with_logits(truth, right))) < float(loss(truth, with_logits(truth, wrong)))


def test_moments_see_the_amount_of_colour_and_not_its_place():
    """Two halves swapped: the distance per pixel is large, the moments agree to the last bit."""
    truth = np.concatenate([constant((30, 0)), constant((-30, 0))], axis=1)
    pixels = ChromaWeightedHuber().call(truth, truth[:, ::-1])
    both = HuberAndMoments(moments_weight=5.0).call(truth, truth[:, ::-1])
    np.testing.assert_allclose(both, pixels, rtol=1e-4)
    muted = np.asarray(HuberAndMoments(moments_weight=1.0).call(truth, 0.5 * truth))
    # Mean chroma and the spread of a are both short by 15 units.
    extra = muted - np.asarray(ChromaWeightedHuber().call(truth, 0.5 * truth))
    np.testing.assert_allclose(extra, 2 * 15.0**2, rtol=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_finite_from_a_gray_start(name):
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        pytest.skip("takes the gradient with TensorFlow")
    truth = constant((0, 0))
    start = tf.Variable(np.zeros((2, 4, 4, 2 + len(ab_bins())), "float32"))
    with tf.GradientTape() as tape:
        loss = make_loss(name, np.ones(len(ab_bins())))(truth, start)
    assert np.isfinite(np.asarray(tf.convert_to_tensor(tape.gradient(loss, start)))).all()


def test_the_command_line_offers_every_loss():
    assert set(LOSS_NAMES) == set(LOSSES)


def answered(ab, likeness):
    return np.concatenate([ab, likeness], axis=-1).astype("float32")


def test_hints_leave_what_the_process_cannot_guess():
    """As prediction corrects them: beside the colours' own loss, the logarithm of what is left."""
    rng = np.random.default_rng(0)
    truth, ab = rng.normal(0.0, 0.01, (2, 3, 8, 8, 2)).astype("float32")
    likeness = rng.normal(0.0, 1.0, (3, 8, 8, HINT_CHANNELS)).astype("float32")
    loss = WithHints(ChromaWeightedHuber())
    found = np.asarray(loss.call(truth, answered(ab, likeness)))
    colours = np.asarray(loss.colour_loss.call(truth, ab))
    places = np.random.default_rng(0).random((len(HINT_COUNTS), max(HINT_COUNTS)))
    for index, count in zip(range(3), HINT_COUNTS, strict=False):
        missing = AB_SCALE * (truth - ab)[index].reshape(-1, 2)
        known = np.int64(64 * places[index, :count])
        left = missing - guess_missing(place_points(likeness[index]), known, missing[known])
        expected = np.log(np.square(left).sum(axis=-1).mean() + HINTS_FLOOR)
        np.testing.assert_allclose(found[index] - colours[index], expected, rtol=1e-3)


def test_hints_have_no_slope_in_colours_and_one_in_likeness():
    rng = np.random.default_rng(0)
    truth = rng.normal(0.0, 0.1, (2, 8, 8, 2)).astype("float32")
    answer = tf.Variable(answered(0.0 * truth, rng.normal(0.0, 1.0, (2, 8, 8, HINT_CHANNELS))))
    slopes = []
    for loss in (WithHints(AbMeanSquaredError()), AbMeanSquaredError()):
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(loss.call(truth, answer if len(slopes) == 0 else answer[..., :2]))
        slopes.append(np.asarray(tf.convert_to_tensor(tape.gradient(value, answer))))
    np.testing.assert_allclose(slopes[0][..., :2], slopes[1][..., :2], atol=1e-7)
    assert np.abs(slopes[0][..., 2:]).max() > 1e-3


def test_a_loss_with_hints_is_restored_from_its_configuration():
    loss = WithHints(HuberAndMoments(moments_weight=0.25))
    restored = WithHints.from_config(loss.get_config())
    assert restored.colour_loss.get_config() == loss.colour_loss.get_config()

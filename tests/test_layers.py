"""Upsampling layers against closed forms and Keras's own resize."""

import keras
import numpy as np
import pytest
from keras import ops

from nxap_color.color import AB_SCALE, ab_bins
from nxap_color.layers import AnnealedMean, FeatureFusion, GuidedUpsampling, UpsampleLike, resample


def random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def test_upsample_like_is_bilinear():
    x = random(2, 5, 7, 3)
    doubled = UpsampleLike()(x, np.zeros((2, 10, 14, 1), "float32"))
    expected = ops.image.resize(x, (10, 14), "bilinear", data_format="channels_last")
    np.testing.assert_allclose(doubled, expected, atol=1e-6)


@pytest.mark.parametrize("size", [(10, 14), (5, 7), (3, 2), (4, 7), (1, 1)])
def test_pictures_are_resampled_as_keras_does(size):
    x = random(2, 5, 7, 3)
    steps = tuple(of / side for of, side in zip((5, 7), size, strict=True))
    expected = ops.image.resize(x, size, "bilinear", antialias=True, data_format="channels_last")
    np.testing.assert_allclose(resample(x, size, steps), expected, atol=1e-5)


def test_upsample_like_trims_to_odd_sizes():
    assert UpsampleLike()(random(1, 5, 7, 3), random(1, 9, 13, 2)).shape == (1, 9, 13, 3)


@pytest.mark.parametrize("size", [(37, 53), (64, 64), (5, 200), (1, 1)])
def test_constant_ab_stays_constant(size):
    ab = np.broadcast_to(np.float32([12.0, -34.0]), (1, 9, 14, 2))
    full = GuidedUpsampling()(ab, 50.0 + 20.0 * random(1, *size, 1))
    assert full.shape == (1, *size, 2)
    np.testing.assert_allclose(full, np.broadcast_to([12.0, -34.0], full.shape), atol=1e-3)


def test_colour_edges_follow_lightness_edges():
    """A step in lightness that falls between low-resolution pixels: colour turns at it, not around it."""
    edge = 29  # of 64 columns; the low-resolution pixel from 28 to 31 is on both sides
    lightness = np.full((1, 64, 64, 1), 30.0, "float32")
    lightness[:, :, edge:] = 80.0
    truth = np.zeros((1, 64, 64, 2), "float32")
    truth[:, :, edge:] = (40.0, -30.0)
    small = truth.reshape(1, 16, 4, 16, 4, 2).mean(axis=(2, 4))
    guided = ops.convert_to_numpy(GuidedUpsampling()(small, lightness))
    bilinear = ops.convert_to_numpy(ops.image.resize(small, (64, 64), "bilinear"))
    beside = slice(edge - 4, edge + 4)
    guided_error = np.abs(guided - truth)[:, :, beside].mean()
    assert guided_error < 0.25 * np.abs(bilinear - truth)[:, :, beside].mean()
    assert np.abs(guided[:, :, edge] - guided[:, :, edge - 1]).mean() > 25.0


def test_faint_texture_is_not_turned_into_colour():
    lightness = 50.0 + random(1, 64, 64, 1)  # noise of 1 L unit, well below the square root of epsilon
    ab = 20.0 * random(1, 16, 16, 2)
    guided = ops.convert_to_numpy(GuidedUpsampling()(ab, lightness))
    smooth = ops.convert_to_numpy(GuidedUpsampling()(ab, np.full_like(lightness, 50.0)))
    assert np.abs(guided - smooth).mean() < 1.0


@pytest.mark.parametrize("arguments", [{"radius": 0}, {"epsilon": 0.0}])
def test_impossible_windows_are_refused(arguments):
    with pytest.raises(ValueError, match="radius >= 1 and epsilon > 0"):
        GuidedUpsampling(**arguments)


def test_layers_survive_saving_in_safe_mode(tmp_path):
    lightness = keras.Input((None, None, 1))
    ab = keras.layers.Conv2D(2, 3, strides=2, padding="same")(lightness)
    again = keras.layers.Conv2D(4, 3, strides=2, padding="same")(ab)
    outputs = GuidedUpsampling(radius=2, epsilon=9.0)(UpsampleLike()(again, ab)[..., :2], lightness)
    model = keras.Model(lightness, outputs)
    model.save(tmp_path / "layers.keras")
    loaded = keras.saving.load_model(tmp_path / "layers.keras", safe_mode=True)
    layer = next(layer for layer in loaded.layers if isinstance(layer, GuidedUpsampling))
    assert (layer.radius, layer.epsilon) == (2, 9.0)
    x = random(1, 37, 53, 1)
    np.testing.assert_allclose(loaded(x), model(x), atol=1e-5)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_annealed_mean_of_two_colours(temperature):
    """Of two bins, one e times as likely as the other, the first gets 1 / (1 + exp(-1 / T)) of the say."""
    logits = np.full((1, 1, 1, len(ab_bins())), -1e4, "float32")
    logits[..., 3], logits[..., 200] = 1.0, 0.0
    share = 1.0 / (1.0 + np.exp(-1.0 / temperature))
    expected = share * ab_bins()[3] + (1.0 - share) * ab_bins()[200]
    answer = AB_SCALE * np.asarray(AnnealedMean(temperature)(logits))
    np.testing.assert_allclose(answer[0, 0, 0], expected, atol=1e-3)


def test_a_temperature_of_0_is_refused():
    with pytest.raises(ValueError, match="temperature > 0, received 0"):
        AnnealedMean(0)


@pytest.mark.parametrize("size", [(1, 1), (3, 7), (8, 4)])
def test_fusion_is_a_1x1_convolution_of_the_map_and_the_repeated_vector(size):
    layer, inputs, features = FeatureFusion(5), random(2, *size, 3), random(2, 4)
    answer = layer(inputs, features)
    kernel, bias = layer.get_weights()
    everywhere = np.tile(features[:, None, None], (1, *size, 1))
    expected = np.concatenate([inputs, everywhere], axis=-1) @ kernel + bias
    np.testing.assert_allclose(answer, np.maximum(expected, 0.0), atol=1e-5)


def test_fusion_survives_saving_in_safe_mode_at_any_size(tmp_path):
    lightness, features = keras.Input((None, None, 3)), keras.Input((4,))
    model = keras.Model([lightness, features], FeatureFusion(6)(lightness, features))
    model.save(tmp_path / "fusion.keras")
    loaded = keras.saving.load_model(tmp_path / "fusion.keras", safe_mode=True)
    for size in ((5, 4), (9, 2), (3, 3)):
        given = [random(2, *size, 3), random(2, 4)]
        np.testing.assert_array_equal(loaded.predict_on_batch(given), model.predict_on_batch(given))


def test_fusion_without_filters_is_refused():
    with pytest.raises(ValueError, match="filters >= 1, received 0"):
        FeatureFusion(0)

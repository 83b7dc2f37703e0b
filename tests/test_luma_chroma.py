"""Luma and chroma against scikit-image."""

import numpy as np
import pytest
from skimage.color import lab2rgb, rgb2lab, rgb2ycbcr

from nxap_color import color


@pytest.fixture
def rgb():
    return np.random.default_rng(0).random((16, 12, 3)).astype("float32")


def true_chroma(rgb):
    return (rgb2ycbcr(rgb)[..., 1:] - 128.0) / 224.0


def test_luma_and_chroma_make_the_colour_again(rgb):
    luma = color.rgb_to_luma(rgb, "bt601")
    np.testing.assert_allclose(luma, (rgb2ycbcr(rgb)[..., 0] - 16.0) / 219.0, atol=1e-5)
    joined = color.join_luma_chroma(luma, np.float32(true_chroma(rgb)), "bt601")
    np.testing.assert_allclose(joined, rgb, atol=2e-3)  # scikit-image's matrix has three decimals


def test_the_luma_of_joined_colours_is_the_given_one(rgb):
    luma, chroma = rgb[..., 0], rgb[..., 1:] - 0.5
    for matrix in color.LUMA_WEIGHTS:
        joined = color.join_luma_chroma(luma, chroma, matrix)
        np.testing.assert_allclose(color.rgb_to_luma(joined, matrix), luma, atol=1e-5)


def test_lightness_of_grays():
    gray = np.arange(256, dtype="uint8")
    expected = rgb2lab(np.repeat(gray[:, None, None], 3, axis=2))[:, 0, 0]
    np.testing.assert_allclose(color.gray_to_lightness(gray), expected, atol=1e-3)


def test_ab_becomes_the_chroma_of_that_colour():
    rng = np.random.default_rng(0)
    gray = rng.integers(80, 200, (16, 12), dtype="uint8")
    ab = rng.uniform(-12, 12, (16, 12, 2)).astype("float32")
    lab = np.dstack([rgb2lab(np.repeat(gray[..., None], 3, axis=2))[..., 0], ab])
    np.testing.assert_allclose(color.ab_to_chroma(ab, gray, "bt601"), true_chroma(lab2rgb(lab)), atol=1.5e-3)


def test_chroma_never_leaves_the_gamut():
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 256, (64, 64), dtype="uint8")
    ab = rng.uniform(-100, 100, (64, 64, 2)).astype("float32")
    for matrix in color.LUMA_WEIGHTS:
        chroma = color.ab_to_chroma(ab, gray, matrix)
        rgb = color.join_luma_chroma(gray / np.float32(255), chroma, matrix)
        assert rgb.min() >= -1e-4 and rgb.max() <= 1 + 1e-4
    assert not color.ab_to_chroma(ab, np.zeros_like(gray), "bt709").any()

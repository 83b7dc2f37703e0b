"""Colour conversion against scikit-image, the gamut, and luma and chroma of films."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops
from skimage.color import lab2rgb, rgb2lab, rgb2ycbcr

from nxap_color import color


@pytest.fixture(scope="module")
def cube():
    """A dense grid of the sRGB cube, 33 steps along each axis."""
    axis = np.linspace(0.0, 1.0, 33, dtype="float32")
    return np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)


@pytest.fixture(scope="module")
def colours_out_of_gamut():
    random = np.random.default_rng(0)
    lab = random.uniform((0, -110, -110), (100, 110, 110), (20_000, 3)).astype("float32")
    return lab[~ops.convert_to_numpy(color.is_in_gamut(lab))]


def test_lab_is_that_of_scikit_image(cube):
    lab = ops.convert_to_numpy(color.rgb_to_lab(cube))
    np.testing.assert_allclose(lab, rgb2lab(cube.astype("float64")), atol=0.01)


def test_rgb_is_that_of_scikit_image(cube):
    lab = rgb2lab(cube.astype("float64"))
    np.testing.assert_allclose(ops.convert_to_numpy(color.lab_to_rgb(lab)), lab2rgb(lab), atol=1e-4)


def test_round_trip_loses_less_than_an_8_bit_step(cube):
    back = ops.convert_to_numpy(color.lab_to_rgb(color.rgb_to_lab(cube)))
    assert np.abs(back - cube).max() < 1.0 / 255.0


def test_the_gray_of_a_lightness_is_that_of_scikit_image():
    lightness = np.linspace(0.0, 100.0, 401)
    expected = lab2rgb(np.stack([lightness, 0.0 * lightness, 0.0 * lightness], axis=-1))[:, 0]
    np.testing.assert_allclose(color.lightness_to_gray(lightness), expected, atol=1e-4)


def test_any_leading_dimensions(cube):
    batch = cube[:24].reshape(2, 3, 4, 3)
    lab = ops.convert_to_numpy(color.rgb_to_lab(batch))
    np.testing.assert_allclose(lab.reshape(24, 3), color.rgb_to_lab(cube[:24]), atol=1e-4)


def test_ab_of_the_gamut_stays_inside_the_scale(cube):
    lightness, ab = color.split_lightness_ab(cube)
    assert np.abs(lightness).max() <= 1.0 + 1e-6
    assert 0.8 < np.abs(ab).max() < 1.0


def test_splitting_and_joining_give_the_photo_back(cube):
    back = ops.convert_to_numpy(color.join_lightness_ab(*color.split_lightness_ab(cube)))
    assert np.abs(back - cube).max() < 1.0 / 255.0


def test_colours_of_the_cube_are_in_gamut_and_come_back_unchanged(cube):
    lab = ops.convert_to_numpy(color.rgb_to_lab(cube))
    assert ops.convert_to_numpy(color.is_in_gamut(lab)).all()
    np.testing.assert_array_equal(color.clip_to_gamut(lab), lab)


def test_clipping_to_gamut_keeps_the_lightness_where_clipping_rgb_does_not(colours_out_of_gamut):
    lab = colours_out_of_gamut
    plain = rgb2lab(ops.convert_to_numpy(color.lab_to_rgb(lab)))
    kept = rgb2lab(ops.convert_to_numpy(color.lab_to_rgb(color.clip_to_gamut(lab))))
    assert np.abs(plain[:, 0] - lab[:, 0]).mean() > 5.0
    assert np.abs(kept[:, 0] - lab[:, 0]).max() < 0.1


def test_clipping_to_gamut_keeps_the_hue_and_as_much_chroma_as_fits(colours_out_of_gamut):
    lab = colours_out_of_gamut
    clipped = ops.convert_to_numpy(color.clip_to_gamut(lab))
    hue, clipped_hue = (np.arctan2(x[:, 2], x[:, 1]) for x in (lab, clipped))
    vivid = np.hypot(*clipped[:, 1:].T) > 5.0
    np.testing.assert_allclose(clipped_hue[vivid], hue[vivid], atol=1e-3)
    assert ops.convert_to_numpy(color.is_in_gamut(clipped)).all()
    slightly_more = np.concatenate([lab[:, :1], clipped[:, 1:] * 1.02], axis=1)[vivid]
    assert not ops.convert_to_numpy(color.is_in_gamut(slightly_more)).any()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="takes the gradient with TensorFlow")
def test_gradients_are_finite_everywhere_also_at_black_and_white(cube):
    import tensorflow as tf

    rgb = tf.constant(cube)
    with tf.GradientTape() as tape:
        tape.watch(rgb)
        total = tf.reduce_sum(color.lab_to_rgb(color.rgb_to_lab(rgb) * 1.01))
    assert np.isfinite(tape.gradient(total, rgb)).all()


def test_every_colour_has_a_bin_no_further_than_half_its_diagonal(cube):
    ab = rgb2lab(cube).reshape(-1, 3)[::7, 1:]
    distance = np.linalg.norm(ab[:, None] - color.ab_bins()[None], axis=-1).min(axis=1)
    assert distance.max() <= color.AB_BIN_SIDE / np.sqrt(2.0) + 0.1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_lightness_in_numpy_is_that_of_scikit_image(dtype, channels):
    values = np.random.default_rng(0).random((40, 50, channels))
    pixels = values.astype(dtype) if dtype == np.float32 else (values * np.iinfo(dtype).max).astype(dtype)
    rgb = np.broadcast_to(pixels / (1 if dtype == np.float32 else np.iinfo(dtype).max), (40, 50, 3))
    found = color.find_lightness(pixels)
    assert found.dtype == np.float32 and found.shape == (40, 50, 1)
    np.testing.assert_allclose(found[..., 0], rgb2lab(rgb)[..., 0], atol=1e-3)


@pytest.fixture
def noise():
    return np.random.default_rng(0).random((16, 12, 3)).astype("float32")


def true_chroma(rgb):
    return (rgb2ycbcr(rgb)[..., 1:] - 128.0) / 224.0


def test_luma_and_chroma_make_the_colour_again(noise):
    luma = color.rgb_to_luma(noise, "bt601")
    np.testing.assert_allclose(luma, (rgb2ycbcr(noise)[..., 0] - 16.0) / 219.0, atol=1e-5)
    joined = color.join_luma_chroma(luma, np.float32(true_chroma(noise)), "bt601")
    np.testing.assert_allclose(joined, noise, atol=2e-3)  # scikit-image's matrix has three decimals


def test_the_luma_of_joined_colours_is_the_given_one(noise):
    luma, chroma = noise[..., 0], noise[..., 1:] - 0.5
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


def test_amplified_colours_keep_half_of_their_cast():
    """By its definition: differences grow by the gain, the mean colour by half of what exceeds 1."""
    ab = np.random.default_rng(0).normal((8.0, 14.0), 6.0, (20, 30, 2)).astype("float32")
    mean = ab.mean(axis=(0, 1))
    found = color.amplify_colours(ab, 1.5)
    np.testing.assert_allclose(found, 1.25 * mean + 1.5 * (ab - mean), atol=1e-4)
    assert found.dtype == np.float32
    np.testing.assert_allclose(color.amplify_colours(ab, 0.6), 0.6 * ab, atol=1e-5)
    np.testing.assert_allclose(color.amplify_colours(ab, 1.0), ab, atol=1e-5)
    assert not color.amplify_colours(ab, 0.0).any()


def test_photos_and_films_are_prepared_without_keras():
    """A backend takes seconds to start; only networks need it."""
    script = "import sys, nxap_color.color, nxap_color.images, nxap_color.upsampling\n"
    script += "import nxap_color.media.films, numpy as np\n"
    script += "nxap_color.color.join_lightness_ab(np.zeros((4, 4, 1)), np.ones((4, 4, 2)))\n"
    script += "nxap_color.upsampling.upsample_guided(np.zeros((2, 2, 2)), np.zeros((4, 4), 'float32'))\n"
    script += "assert not {'keras', 'tensorflow'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

"""The one guided upsampling: photos, films and the Keras layer give the same colours."""

import numpy as np
import pytest
from keras import ops
from PIL import Image
from skimage.color import rgb2lab

from nxap_color import color, images, upsampling
from nxap_color.layers import GuidedUpsampling
from nxap_color.prepared import finish_photo, prepare_pixels
from nxap_color.upsampling import colours_at, fit_colours, upsample_guided
from nxap_color.video import find_chroma

# (h, w) of the network's answer and (H, W) of the picture: odd sizes, ratios that are no whole numbers, a
# single row, and pictures smaller than the answer.
SIZES = [
    ((48, 64), (288, 384)), ((48, 86), (361, 641)), ((7, 9), (37, 53)), ((1, 50), (1, 400)),
    ((5, 3), (101, 67)), ((1, 1), (1, 1)), ((1, 1), (9, 7)), ((4, 4), (3, 2)),
]  # fmt: skip
TOLERANCE = 1e-3  # ab units; a step of 8-bit sRGB is worth some 0.5


def layer(ab, lightness):
    """The layer's answer for one picture, float32 (H, W, 2)."""
    return ops.convert_to_numpy(GuidedUpsampling()(ab[None], lightness[None, ..., None]))[0]


@pytest.fixture(params=SIZES, ids=str)
def scene(request, sample_rgb):
    """A photo's gray at a size, uint8, and colours for it at a smaller size: its own, with some noise."""
    small, size = request.param
    photo = Image.fromarray(sample_rgb)
    gray = np.asarray(photo.convert("L").resize(size[::-1]))
    lab = rgb2lab(photo.resize(small[::-1]))
    noise = np.random.default_rng(0).normal(0.0, 5.0, (*small, 2))
    return np.float32(lab[..., 1:] + noise), gray


def test_it_is_the_layer(scene):
    ab, gray = scene
    lightness = color.gray_to_lightness(gray)
    np.testing.assert_allclose(upsample_guided(ab, lightness), layer(ab, lightness), atol=TOLERANCE)


def test_strips_leave_no_seams(sample_rgb):
    """Strips of a picture on its side run along the other axis."""
    gray = np.asarray(Image.fromarray(sample_rgb).convert("L").resize((1100, 1500)))
    lightness = color.gray_to_lightness(gray)
    assert len(list(images.strips(*lightness.shape))) > 5
    ab = np.float32(np.random.default_rng(0).normal(0.0, 20.0, (51, 37, 2)))
    upright, lying = upsample_guided(ab, lightness), upsample_guided(ab.swapaxes(0, 1), lightness.T)
    np.testing.assert_allclose(upright, lying.swapaxes(0, 1), atol=TOLERANCE)


def test_photos_get_the_colours_of_the_layer(scene):
    ab, gray = scene
    photo = np.float32(gray[..., None] / 255.0)
    lightness = color.find_lightness(photo)
    expected = layer(0.6 * ab, lightness[..., 0])
    coloured = finish_photo(prepare_pixels(photo, ab.shape[:2]), 0.6 * ab)
    lab = np.concatenate([lightness, expected], axis=-1)
    # In the middle tones an ab unit moves a channel of sRGB by about a fiftieth, by more near black.
    np.testing.assert_allclose(coloured, color.lab_to_rgb(color.clip_to_gamut(lab)), atol=TOLERANCE / 20)


@pytest.mark.parametrize("matrix", color.LUMA_WEIGHTS)
def test_films_get_the_colours_of_the_layer(matrix, scene):
    ab, gray = scene
    expected = layer(0.6 * ab, color.gray_to_lightness(gray))
    found = find_chroma(gray, 0.6 * ab, matrix)
    np.testing.assert_allclose(found, color.ab_to_chroma(expected, gray, matrix), atol=TOLERANCE / 50)


def test_the_layer_has_the_window_of_photos_and_films():
    assert GuidedUpsampling().get_config()["radius"] == upsampling.RADIUS
    assert GuidedUpsampling().get_config()["epsilon"] == upsampling.EPSILON


def test_single_pixels_get_the_colours_of_the_whole(scene):
    ab, gray = scene
    lightness = color.gray_to_lightness(gray)
    fitted = fit_colours(ab, images.shrink(lightness[..., None], ab.shape[:2])[..., 0])
    places = np.random.default_rng(1).integers(0, gray.shape, (50, 2))
    expected = upsample_guided(ab, lightness)[tuple(places.T)]
    np.testing.assert_allclose(colours_at(fitted, lightness, places), expected, atol=TOLERANCE)

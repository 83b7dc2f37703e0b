"""Colours that are offered at a place."""

import numpy as np
import pytest
from PIL import ImageColor
from skimage.color import rgb2lab

from nxap_color.color import is_in_gamut
from nxap_color.guidance import Hint
from nxap_color.palette import NEAR_DUPLICATE, likely_colours, possible_ab
from nxap_color.prepared import prepare_pixels


def lab_of(name):
    return rgb2lab(np.array(ImageColor.getrgb(name)) / 255.0)


@pytest.fixture
def prepared():
    """A gray photo of one lightness on its left, another on its right."""
    gray = np.full((40, 80, 1), 118, "uint8")  # L 50
    gray[:, 40:] = 200
    return prepare_pixels(gray, (10, 20))


def test_possible_colours_are_those_in_gamut():
    ab, possible = possible_ab(53.0, step=5.0)
    assert ab.shape == (45, 45, 2) and possible.shape == (45, 45)
    assert ab[0, 0].tolist() == [-110.0, 110.0] and ab[-1, -1].tolist() == [110.0, -110.0]
    assert ab[22, 22].tolist() == [0.0, 0.0] and possible[22, 22]
    red = np.abs(ab - 0.9 * lab_of("#f00")[1:]).sum(axis=-1) < 5.0
    assert possible[red].any() and 0.05 < possible.mean() < 0.5
    lab = np.insert(ab, 0, 53.0, axis=-1)
    np.testing.assert_array_equal(possible, is_in_gamut(lab))


@pytest.mark.parametrize("lightness", [0.0, 100.0])
def test_black_and_white_have_no_colour_but_their_own(lightness):
    ab, possible = possible_ab(lightness)
    assert np.hypot(*ab[possible].T).max() <= 3.0


def test_the_answer_comes_first_then_other_looks_then_what_is_frequent_at_like_lightness(prepared):
    first = np.zeros((10, 20, 2), "float32")
    first[:, :10], first[:2, :6], first[:, 10:] = (20.0, 0.0), (0.0, 30.0), (-40.0, 0.0)
    second = first.copy()
    second[:, :10] = (20.0, 15.0)
    colours = [lab_of(name) for name in likely_colours(prepared, Hint(25, 30, "gray"), [first, second], 8)]
    np.testing.assert_allclose([lab[0] for lab in colours], 50.0, atol=0.5)
    np.testing.assert_allclose(colours[0][1:], (20.0, 0.0), atol=1.0)
    np.testing.assert_allclose(colours[1][1:], (20.0, 15.0), atol=1.0)
    np.testing.assert_allclose(colours[2][1:], (0.0, 30.0), atol=1.0)  # the right half is too light to count
    np.testing.assert_allclose(colours[3][1:], (30.0, 0.0), atol=1.0)  # more vivid


def test_near_duplicates_are_merged_and_no_more_than_asked_for_are_listed(prepared):
    answer = np.float32(np.random.default_rng(0).normal(0.0, 20.0, (10, 20, 2)))
    names = likely_colours(prepared, Hint("10%", "10%", "gray"), [answer, answer + 1.0], 50)
    colours = np.array([lab_of(name) for name in names])
    apart = np.hypot(*(colours[:, None, 1:] - colours[None, :, 1:]).transpose(2, 0, 1))
    apart[np.diag_indices(len(apart))] = 99.0
    assert len(names) > 6 and apart.min() > NEAR_DUPLICATE - 1.0  # which 8 bits may take
    assert likely_colours(prepared, Hint("10%", "10%", "gray"), [answer, answer + 1.0], 3) == names[:3]


def test_colours_that_srgb_cannot_show_are_brought_inside():
    dark = prepare_pixels(np.full((8, 8), 20, "uint8")[..., None], (4, 4))
    answer = np.full((4, 4, 2), (80.0, 60.0), "float32")
    (name, *_) = likely_colours(dark, Hint(3, 3, "gray"), [answer], 4)
    lightness, a, b = lab_of(name)
    assert lightness == pytest.approx(dark.lightness[3, 3], abs=0.6)
    assert 5.0 < np.hypot(a, b) < 60.0 and b / a == pytest.approx(0.75, abs=0.1)

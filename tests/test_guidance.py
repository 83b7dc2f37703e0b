"""Colour hints: simulated for training, drawn for the network, and kept to in the result."""

import numpy as np
import pytest

from nxap_color.color import AB_SCALE
from nxap_color.guidance import Hint, correct_colours, draw_hints, random_square, simulate_hints


def random_ab(*size):
    return np.random.default_rng(0).uniform(-0.5, 0.5, (*size, 2)).astype("float32")


def test_simulated_hints_tell_the_truth_where_they_are_and_nothing_elsewhere():
    ab = np.broadcast_to(np.float32([0.25, -0.125]), (48, 64, 2))
    for seed in range(40):
        hints = simulate_hints(ab, seed)
        assert hints.shape == (48, 64, 3) and hints.dtype == np.float32
        assert set(np.unique(hints[..., 2])) <= {0.0, 1.0}
        np.testing.assert_array_equal(hints[..., :2], ab * hints[..., 2:])


def test_a_quarter_of_the_photos_have_no_hints_and_the_others_several():
    ab = random_ab(64, 64)
    shares = np.array([simulate_hints(ab, (seed, 1))[..., 2].mean() for seed in range(600)])
    assert 0.2 < (shares == 0.0).mean() < 0.3
    assert 0.0 < (shares == 1.0).mean() < 0.03
    assert 0.005 < np.median(shares[shares > 0.0]) < 0.2


def test_the_same_seed_gives_the_same_hints():
    ab = random_ab(32, 32)
    np.testing.assert_array_equal(simulate_hints(ab, (3, 4)), simulate_hints(ab, (3, 4)))


@pytest.mark.parametrize("size", [(40, 60), (3, 2), (1, 1)])
def test_squares_lie_inside(size):
    rng = np.random.default_rng(0)
    for _ in range(200):
        rows, columns = random_square(size, 5, rng)
        assert 0 <= rows.start < rows.stop <= size[0] and 0 <= columns.start < columns.stop <= size[1]
        assert rows.stop - rows.start == min(5, size[0])


def test_a_hint_is_drawn_where_it_is_at_another_size():
    drawn = draw_hints([Hint(x=29.5, y=9.5, ab=(64.0, -32.0), radius=10)], (100, 200), (10, 20))
    expected = np.zeros((10, 20, 3), "float32")
    expected[0:2, 2:4] = (64.0 / AB_SCALE, -32.0 / AB_SCALE, 1.0)
    np.testing.assert_allclose(drawn, expected)


@pytest.mark.parametrize("place", [(0, 0), (199, 99), (100, 50)])
def test_the_smallest_hint_is_a_pixel(place):
    drawn = draw_hints([Hint(*place, (10.0, 20.0), radius=0.5)], (100, 200), (10, 20))
    assert drawn[..., 2].sum() == 1.0
    assert drawn[place[1] // 10, place[0] // 10, 2] == 1.0


def test_colours_are_corrected_at_the_hint_and_where_it_looks_alike():
    """Two halves of unlike lightness: a hint on the left changes what is near, and nothing on the right."""
    lightness = np.full((40, 80), 20.0, "float32")
    lightness[:, 40:] = 80.0
    ab = np.zeros((40, 80, 2), "float32")
    drawn = draw_hints([Hint(35, 20, (30.0, -10.0), radius=1)], (40, 80), (40, 80))
    corrected = correct_colours(ab, drawn, lightness)
    np.testing.assert_allclose(corrected[20, 35], (30.0, -10.0), atol=2.0)
    assert corrected[20, 33, 0] > 20.0 and abs(corrected[20, 5]).max() < 1.0
    assert abs(corrected[:, 40:]).max() < 0.5


def test_right_colours_are_left_alone():
    ab = AB_SCALE * random_ab(8, 8)
    drawn = np.zeros((8, 8, 3), "float32")
    drawn[2, 3] = (*ab[2, 3] / AB_SCALE, 1.0)
    np.testing.assert_allclose(correct_colours(ab, drawn, np.zeros((8, 8), "float32")), ab, atol=1e-4)

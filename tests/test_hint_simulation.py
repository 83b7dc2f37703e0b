"""The hints of a user, simulated for training."""

import numpy as np
import pytest

from nxap_color.hint_simulation import random_square, simulate_hints


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

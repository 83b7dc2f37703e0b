"""How far hints reach, against the definition."""

import numpy as np
import pytest
from keras import ops

from nxap_color import gaussian_process
from nxap_color.gaussian_process import HINT_CHANNELS, covariance, guess_missing, place_points


def random_likeness(*size):
    return np.random.default_rng(0).normal(size=(*size, HINT_CHANNELS)).astype("float32")


def test_points_have_their_places_in_shorter_sides_and_their_likeness():
    likeness = random_likeness(4, 6)
    points = place_points(likeness)
    np.testing.assert_allclose(points[0, :2], (0.0, 0.0))
    np.testing.assert_allclose(points[2 * 6 + 5, :2], (2 / 4, 5 / 4))
    np.testing.assert_array_equal(points[:, 2:], likeness.reshape(24, -1))


@pytest.mark.parametrize("function", [place_points, lambda x, xp: covariance(x, x[..., :2, :], xp)])
def test_tensors_give_what_arrays_give(function):
    likeness = random_likeness(2, 3, 5)
    np.testing.assert_allclose(
        function(ops.convert_to_tensor(likeness), ops), function(likeness, np), atol=1e-4
    )


def by_definition(one, other, everywhere=gaussian_process.EVERYWHERE, share_of_reach=1.0):
    """The covariance of two points, number by number."""
    far, unlike = (np.sum(np.square(one[part] - other[part])) for part in (slice(0, 2), slice(2, -1)))
    parts = [
        variance * np.exp(-far / (2 * reach**2)) * np.exp(-unlike / (2 * (likeness * share_of_reach) ** 2))
        for variance, reach, likeness in gaussian_process.PARTS
    ]
    limit = gaussian_process.MAX_LOG_DEVIATION
    return np.exp(np.clip([one[-1], other[-1]], -limit, limit).sum()) * (everywhere + sum(parts))


def test_the_covariance_is_that_of_the_definition():
    points = place_points(2.0 * random_likeness(3, 4)).astype("float64")
    expected = [[by_definition(one, other) for other in points[:5]] for one in points]
    np.testing.assert_allclose(covariance(points, points[:5]), expected, rtol=1e-6)


def test_the_guess_is_the_mean_of_two_processes():
    """Joint normal variables: the mean of all, given some that were seen with noise."""
    points = place_points(random_likeness(5, 6))
    known, missing = np.array([3, 17, 20]), np.float32([(30, -40), (-3, 4), (6, 8)])
    common = [row * min(1.0, gaussian_process.COMMON / np.hypot(*row)) for row in missing]
    own = {"everywhere": 0.0, "share_of_reach": gaussian_process.OWN_REACH}
    expected = 0.0
    for part, options in ((common, {}), (missing - common, own)):
        rows = ([by_definition(one, other, **options) for other in points] for one in np.float64(points))
        everything = np.array(list(rows))
        among = everything[np.ix_(known, known)] + gaussian_process.NOISE * np.eye(3)
        expected = expected + everything[:, known] @ np.linalg.inv(among) @ part
    np.testing.assert_allclose(guess_missing(points, known, missing), expected, atol=1e-2)


def test_what_is_missed_nowhere_is_guessed_nowhere():
    points = place_points(random_likeness(5, 6))
    assert not guess_missing(points, np.array([4, 9]), np.zeros((2, 2), "float32")).any()

"""Propagate hints with a Gaussian process over position and learned features.

What a network misses at one place (the residual) it misses at others, too: near it, and wherever things are
alike. Networks of `models.build_unet(hints=True)` therefore answer, beside each colour, `HINT_CHANNELS`
numbers: the pixel's *likeness*, an embedding that lies close to those of pixels alike, and the logarithm of
the residual's deviation. With the covariance below, the best guess at all residuals, given a few, is a closed
form. `losses.WithHints` trains the likeness for it.

Reference:
    Rasmussen, Williams: Gaussian Processes for Machine Learning, 2006, chapter 2; Wilson et al.: Deep Kernel
    Learning, AISTATS 2016, for a covariance on what a network sees.
"""

from types import ModuleType
from typing import Any

import numpy as np

LIKENESS_LENGTH = 16
HINT_CHANNELS = LIKENESS_LENGTH + 1

# The covariance's parts: variance; length scale in the picture, as a share of its shorter side; length scale
# in likeness.
# Found with the shipped network, by gradient descent on the error that is left.
PARTS = ((1.5, 3.4, 4.0), (0.57, 0.28, 3.0), (0.35, 0.066, 2.1))
EVERYWHERE = 0.2  # variance of what a whole photo has in common
NOISE = 0.02  # variance of what a place shares with no other
MAX_LOG_DEVIATION = 3.0

CACHED = 2**16  # covariances that are computed at a time

# The light of a photo may be missed by so many ab units; what is missed beyond is a thing's own colour, such
# as a dress's. Of that other things know nothing: likeness reaches less far, and nothing is in common.
COMMON = 8.0
OWN_REACH = 0.6


def place_points(likeness: Any, xp: ModuleType = np) -> Any:
    """Put the pixel coordinates of a picture before its likeness vectors.

    Args:
        likeness: array (..., h, w, HINT_CHANNELS).
        xp: NumPy, or `keras.ops` for tensors.

    Returns:
        Array (..., h * w, 2 + HINT_CHANNELS): row and column as shares of the shorter side, likeness,
        logarithm of the deviation.
    """
    height, width, channels = xp.shape(likeness)[-3:]
    flat = xp.reshape(likeness, (*xp.shape(likeness)[:-3], height * width, channels))
    rows, columns = (xp.arange(side, dtype="float32") for side in (height, width))
    down = xp.reshape(rows[:, None] + 0.0 * columns, (-1, 1))
    across = xp.reshape(0.0 * rows[:, None] + columns, (-1, 1))
    shorter = xp.minimum(rows[-1], columns[-1]) + 1.0
    places = xp.concatenate([down, across], axis=-1) / shorter
    return xp.concatenate([xp.zeros_like(flat[..., :2]) + places, flat], axis=-1)


def covariance(
    some: Any, others: Any, xp: ModuleType = np, everywhere: float = EVERYWHERE, share_of_reach: float = 1.0
) -> Any:
    """Compute the covariance of residuals between some places and others.

    Args:
        some, others: arrays (..., n, channels) and (..., m, channels) as from `place_points`.
        xp: NumPy, or `keras.ops` for tensors.
        everywhere: variance of what all places have in common.
        share_of_reach: factor of the length scales in likeness of `PARTS`.

    Returns:
        Array (..., n, m).
    """
    far = _squared_distances(some[..., :2], others[..., :2], xp)
    unlike = _squared_distances(some[..., 2:-1], others[..., 2:-1], xp)
    unlike = unlike / share_of_reach**2
    total = everywhere
    for variance, reach, likeness_reach in PARTS:
        total = total + variance * xp.exp(far * (-0.5 / reach**2) + unlike * (-0.5 / likeness_reach**2))
    deviations = [
        xp.exp(xp.clip(points[..., -1], -MAX_LOG_DEVIATION, MAX_LOG_DEVIATION)) for points in (some, others)
    ]
    return total * deviations[0][..., :, None] * deviations[1][..., None, :]


def _squared_distances(some, others, xp):
    squares = (xp.sum(points * points, axis=-1) for points in (some, others))
    one, other = squares
    products = xp.matmul(some, xp.swapaxes(others, -1, -2))
    return xp.maximum(one[..., :, None] + other[..., None, :] - 2.0 * products, 0.0)


def guess_missing(points: np.ndarray, known: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Guess the residuals of all places from those of a few.

    Args:
        points: float32 array (n, channels) as from `place_points`.
        known: int array (m,), indices of the places that are known, m >= 1.
        missing: float32 array (m, 2): the residuals there, ab units.

    Returns:
        float32 array (n, 2), ab units: the mean of one Gaussian process for the light, and of one for things.
    """
    size = np.linalg.norm(missing, axis=-1, keepdims=True)
    shared = missing * np.minimum(1.0, COMMON / np.maximum(size, 1e-6))
    places = points[known]
    guess = spread(points, places, weigh_known(places, shared))
    if size.max() > COMMON:
        own = {"everywhere": 0.0, "share_of_reach": OWN_REACH}
        guess += spread(points, places, weigh_known(places, missing - shared, **own), **own)
    return guess


def spread(points: np.ndarray, known: np.ndarray, weights: np.ndarray, **options: float) -> np.ndarray:
    """Spread what is missing at known places to all points.

    Args:
        points: float32 array (n, channels) as from `place_points`.
        known: float32 array (m, channels), those that are known.
        weights: float32 array (m, 2), as from `weigh_known`.
        **options: as in `covariance`.

    Returns:
        float32 array (n, 2), ab units.
    """
    # So few at a time that the covariances stay in a processor's cache.
    rows = max(1, CACHED // len(known))
    parts = (points[start : start + rows] for start in range(0, len(points), rows))
    return np.concatenate([covariance(part, known, **options) @ weights for part in parts])


def weigh_known(known: np.ndarray, missing: np.ndarray, noise: float = NOISE, **options: float) -> np.ndarray:
    """Weigh known places for `spread`: their covariance with others, times the weights, is the guess there.

    Args:
        known: float32 array (m, channels) as from `place_points`, m >= 1; the time that it takes grows with
            the cube of m.
        missing: float32 array (m, 2): the residuals there, ab units.
        noise: variance of what a place shares with no other.
        **options: as in `covariance`.

    Returns:
        float32 array (m, 2).
    """
    exact = known.astype("float64")  # or rounding weighs as much as the noise
    among = covariance(exact, exact, **options) + noise * np.eye(len(known))
    return np.float32(np.linalg.solve(among, missing))

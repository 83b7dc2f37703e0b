"""Simulate the colour hints of a user, to train a network on them and to measure it."""

from collections.abc import Sequence

import numpy as np

# How training simulates a user (Zhang et al. 2017, section 3.1, with more photos without hints).
SHARE_WITHOUT = 0.25  # of the photos have no hints,
SHARE_DENSE = 0.01  # all colours are told in these,
MEAN_HINTS = 7.0  # and so many on average in the others
MAX_HINT_SIDE = 9  # pixels


def simulate_hints(ab: np.ndarray, seed: int | Sequence[int]) -> np.ndarray:
    """Tell the true colour at some places of a photo, as a user might, to train a network on it.

    Users click on what matters, more in the middle than at the border; how often, and with how thick a
    brush, differs.

    Reference:
        Zhang et al.: Real-Time User-Guided Image Colorization, SIGGRAPH 2017.

    Args:
        ab: float32 array (H, W, 2), the true ab / AB_SCALE.
        seed: whole number, or a list of them; the same one gives the same hints.

    Returns:
        float32 array (H, W, 3): at hinted pixels the mean ab / AB_SCALE of their square, and 1; 0 elsewhere.
    """
    rng = np.random.default_rng(seed)
    kind = rng.random()
    if kind < SHARE_DENSE:
        return np.concatenate([ab, np.ones_like(ab[..., :1])], axis=-1)
    hints = np.zeros((*ab.shape[:2], 3), "float32")
    if kind < SHARE_DENSE + SHARE_WITHOUT:
        return hints
    for _ in range(rng.geometric(1.0 / MEAN_HINTS)):
        paint_hint(hints, ab, *random_square(ab.shape[:2], int(rng.integers(1, MAX_HINT_SIDE + 1)), rng))
    return hints


def random_square(size: tuple[int, int], side: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """Place a square in a picture at random, its middle normally distributed around the picture's.

    Args:
        size: (height, width) of the picture.
        side: pixels of the square; cut where the picture is smaller.
        rng: what draws the place, with a deviation of a quarter of the picture's height and width.

    Returns:
        Slices of rows and columns.
    """
    square = []
    for length in size:
        within = min(side, length)
        start = round(rng.normal(length / 2, length / 4) - within / 2)
        start = min(max(start, 0), length - within)
        square.append(slice(start, start + within))
    return tuple(square)


def paint_hint(hints: np.ndarray, ab: np.ndarray, rows: slice, columns: slice) -> None:
    """Hint at the true mean colour of a rectangle.

    Args:
        hints: float32 array (H, W, 3) as from `simulate_hints`, changed in place.
        ab: float32 array (H, W, 2), the true ab / AB_SCALE.
        rows, columns: the rectangle.
    """
    hints[rows, columns, :2] = ab[rows, columns].mean(axis=(0, 1))
    hints[rows, columns, 2] = 1.0

"""Colour hints: what a user knows about the colours of a photo, as an input of the network."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nxap_color.color import AB_SCALE

# The side of a hint that does not say how far it goes, as a share of the photo's shorter side.
HINT_SIDE = 0.02

# How far what the network missed at a hint is corrected around it: over so much of the shorter side of its
# answer, and to so much other lightness, in L units.
REACH = 0.06
LIKENESS = 10.0
_FAINT = 0.05  # weight at which a correction has fallen to a half

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


@dataclass(frozen=True)
class Hint:
    """A place of a photo whose colour is known.

    Args:
        x, y: pixels of the upright photo, from its left and upper border; (0, 0) is its first pixel.
        ab: (a, b) in ab units. Lightness is the photo's own.
        radius: half the side of the square that has this colour, in pixels > 0; None for `HINT_SIDE` of the
            photo.
    """

    x: float
    y: float
    ab: tuple[float, float]
    radius: float | None = None


def draw_hints(hints: Sequence[Hint], photo_size: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Draw the hints of a photo as an input of the network.

    Args:
        hints: `Hint`s; later ones cover earlier ones.
        photo_size: (H, W) of the photo, in whose pixels the hints are given.
        size: (h, w) of the result.

    Returns:
        float32 array (h, w, 3): ab / AB_SCALE where a hint is, which is one pixel at least, and 0 elsewhere;
        and a mask, 1 or 0.
    """
    drawn = np.zeros((*size, 3), "float32")
    for hint in hints:
        radius = hint.radius or HINT_SIDE * min(photo_size) / 2
        square = []
        for middle, length, of in zip((hint.y, hint.x), size, photo_size, strict=True):
            first, end = ((middle + 0.5 + step) * length / of for step in (-radius, radius))
            first = min(max(round(first), 0), length - 1)
            square.append(slice(first, max(round(end), first + 1)))
        drawn[tuple(square)] = (*np.float32(hint.ab) / AB_SCALE, 1.0)
    return drawn


def correct_colours(ab: np.ndarray, drawn: np.ndarray, lightness: np.ndarray) -> np.ndarray:
    """Give hinted places the colours asked for, and what is near and of like lightness a part of the change.

    Args:
        ab: float32 array (h, w, 2), ab units: the network's answer, which saw the hints.
        drawn: float32 array (h, w, 3) as from `draw_hints`.
        lightness: float32 array (h, w), L in [0, 100].

    Returns:
        float32 array (h, w, 2), ab units.
    """
    rows, columns = np.nonzero(drawn[..., 2])
    missing = drawn[rows, columns, :2] * AB_SCALE - ab[rows, columns]
    reach = REACH * min(ab.shape[:2])
    change, total = np.zeros_like(ab), np.full(ab.shape[:2], _FAINT, "float32")
    down, across = np.ogrid[: ab.shape[0], : ab.shape[1]]
    for row, column, difference in zip(rows, columns, missing, strict=True):
        distance = ((down - row) ** 2 + (across - column) ** 2) / reach**2
        distance = distance + ((lightness - lightness[row, column]) / LIKENESS) ** 2
        weight = np.exp(-distance / 2.0, dtype="float32")
        change += weight[..., None] * difference
        total += weight
    return ab + change / total[..., None]

"""Keep to colour hints: correct what the network misses, broadly at its size and exactly at full size."""

from collections.abc import Sequence

import numpy as np

from nxap_color.color import AB_SCALE, clip_to_gamut
from nxap_color.gaussian_process import guess_missing, place_points
from nxap_color.guidance import Hint, place
from nxap_color.images import strips
from nxap_color.upsampling import colours_at, fit_colours

# Guided upsampling shows less of a small change than there is: what it shows is corrected, twice.
ROUNDS = 2
MAX_KNOWN = 600  # hinted places whose colours are spread, of more an even choice

# How far what is left at the very pixel is corrected at full size: to one pixel of the network's answer
# beside it, and to so much other lightness, in L units, where the correction has fallen to nothing.
PIXEL_LIKENESS = 20.0
# Share of a correction that hints forgo, so that it stays small where two contradict each other side by side.
_RIDGE = 0.001
MIN_PIXEL_REACH = 2.0
GOOD_ENOUGH = 0.05  # ab units that a pixel may still miss
MAX_ROUNDS = 200

# A share of the chroma asked for below which a colour is not the one that was meant.
NOTABLE_LOSS = 0.9


def correct_colours(
    ab: np.ndarray, drawn: np.ndarray, likeness: np.ndarray, lightness: np.ndarray
) -> np.ndarray:
    """Give hinted places the colours asked for, and what is alike its part of the change.

    Args:
        ab: float32 array (h, w, 2), ab units: the network's answer.
        drawn: float32 array (h, w, 3) as from `guidance.draw_hints`, with one hint at least.
        likeness: float32 array (h, w, HINT_CHANNELS), what the network answers beside it; see
            `gaussian_process`.
        lightness: float32 array (h, w), L in [0, 100].

    Returns:
        float32 array (h, w, 2), ab units.
    """
    points, wanted = place_points(likeness), (drawn[..., :2] * AB_SCALE).reshape(-1, 2)
    known = _some_of_each(np.flatnonzero(drawn[..., 2]), wanted)
    wanted = wanted[known]
    for _ in range(ROUNDS):
        fitted = fit_colours(ab, lightness)
        shown = fitted[..., :2] * lightness[..., None] + fitted[..., 2:]
        missing = wanted - shown.reshape(-1, 2)[known]
        ab = ab + guess_missing(points, known, missing).reshape(ab.shape)
    return ab


def _some_of_each(places, colours):
    """Keep at most about `MAX_KNOWN` of many places, evenly, and one at least of each colour."""
    if len(places) <= MAX_KNOWN:
        return places
    _, first, number = np.unique(colours[places], axis=0, return_index=True, return_inverse=True)
    ordered = np.argsort(number.ravel(), kind="stable")
    even = ordered[np.linspace(0, len(places) - 1, MAX_KNOWN).astype(int)]
    return places[np.union1d(even, first[:MAX_KNOWN])]


class PixelCorrection:
    """What the very pixels of hints still miss at full size, and how far it goes around them.

    Guided upsampling follows the lightness and so misses a hint on texture or at an edge. The rest is
    interpolated between the hints' pixels by a radial function of place and lightness that falls to 0: it
    goes no further than the smallest thing that the network sees, and not across edges.

    Reference:
        Askey, 1973, for the function (1 - r)^2, r < 1, positive definite in three dimensions: hints have a
        solution however they lie.

    Args:
        hints: `Hint`s; of those at one pixel the last counts.
        fitted: float32 array (h, w, 4) as from `upsampling.fit_colours`.
        lightness: float32 array (H, W) of the photo, L in [0, 100].

    Raises:
        errors.HintError: if a hint lies outside the photo.
    """

    def __init__(self, hints: Sequence[Hint], fitted: np.ndarray, lightness: np.ndarray):
        wanted = {_pixel(hint, lightness.shape): hint.ab for hint in hints}
        self.places = np.array(list(wanted))
        self.lightness = lightness
        cell = max(of / length for of, length in zip(lightness.shape, fitted.shape[:2], strict=True))
        self.reach = max(MIN_PIXEL_REACH, cell)  # no NumPy scalar, which would make float64 of all below
        self.levels = lightness[tuple(self.places.T)]
        missing = np.float32(list(wanted.values())) - colours_at(fitted, lightness, self.places)
        self.amounts = _solve(self._mutual(), missing)  # (n, 2), ab units

    def _mutual(self):
        """What hints weigh at the pixels of each other, float32 (n, n)."""
        columns = np.float32([*self.places.T, self.levels])
        count = len(self.places)
        weights = np.empty((count, count), "float32")
        for some in strips(count, count):
            weights[some] = self._fall_off(*(column[some, None] - column for column in columns))
        weights[np.diag_indices(count)] += _RIDGE
        return weights

    def add_to(self, planes: Sequence[np.ndarray], rows: slice) -> None:
        """Correct some rows of a photo in place: a and b, ab units, each a float32 array (rows, W)."""
        top, width = rows.start, self.lightness.shape[1]
        y = self.places[:, 0]
        for index in np.flatnonzero((y > top - self.reach) & (y < rows.stop - 1 + self.reach)):
            row, column = self.places[index]
            first, end = max(top, int(row - self.reach)), min(rows.stop, int(row + self.reach) + 1)
            left, right = max(0, int(column - self.reach)), min(width, int(column + self.reach) + 1)
            down = np.arange(first - row, end - row, dtype="float32")[:, None]
            across = np.arange(left - column, right - column, dtype="float32")
            lighter = self.lightness[first:end, left:right] - self.levels[index]
            weight = self._fall_off(down, across, lighter)
            for plane, amount in zip(planes, self.amounts[index], strict=True):
                plane[first - top : end - top, left:right] += amount * weight

    def _fall_off(self, down, across, lighter):
        """Weight in [0, 1] of a hint, so many pixels and L units away: 1 at its own."""
        squared = (down * down + across * across) * (1.0 / self.reach**2)
        squared = squared + lighter * lighter * np.float32(1.0 / PIXEL_LIKENESS**2)
        return np.maximum(1.0 - np.sqrt(squared, dtype="float32"), 0.0) ** 2


def _solve(matrix, wanted):
    """Solve matrix @ x = wanted, (n, n) and (n, 2) in ab units, by conjugate gradients.

    As good as need be after a few rounds, where a direct solution takes seconds for thousands of hints.
    """
    found, rest, direction = np.zeros_like(wanted), wanted, wanted
    power = (rest * rest).sum(axis=0)
    for _ in range(MAX_ROUNDS):
        if np.abs(rest).max() < GOOD_ENOUGH:
            break
        change = matrix @ direction
        length = power / np.maximum((direction * change).sum(axis=0), 1e-12)
        found, rest = found + length * direction, rest - length * change
        former, power = power, (rest * rest).sum(axis=0)
        direction = rest + power / np.maximum(former, 1e-12) * direction
    return found


def duller_hints(hints: Sequence[Hint], lightness: np.ndarray) -> list[Hint]:
    """List the hints whose colours sRGB cannot show at the lightness of their places.

    Args:
        hints: `Hint`s.
        lightness: float32 array (H, W) of the photo, L in [0, 100].

    Returns:
        Those that lose a notable part of their chroma.

    Raises:
        errors.HintError: if one lies outside the photo.
    """
    if not hints:
        return []
    wanted = np.array([(lightness[_pixel(hint, lightness.shape)], *hint.ab) for hint in hints])
    shown = clip_to_gamut(wanted)
    loses = np.hypot(*shown.T[1:]) < NOTABLE_LOSS * np.hypot(*wanted.T[1:])
    return [hint for hint, loss in zip(hints, loses, strict=True) if loss]


def _pixel(hint, photo_size):
    """Row and column of the pixel in whose middle, or next to it, a hint lies."""
    y, x = place(hint, photo_size)
    return round(y), round(x)

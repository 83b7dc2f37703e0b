"""Colours to offer: those that are likely at a place of a photo, and those that sRGB has at a lightness."""

from collections.abc import Sequence

import numpy as np

from nxap_color.color import AB_BIN_SIDE, clip_to_gamut, is_in_gamut, lab_to_rgb
from nxap_color.guidance import Hint, place
from nxap_color.prepared import Prepared
from nxap_color.upsampling import colours_at, fit_colours

# Of two colours at one lightness, closer than this in ab units, one is enough.
NEAR_DUPLICATE = 6.0
# Places count as much as their lightness is like that of the place asked for, within so many L units.
LIKE_LIGHTNESS = 8.0
# The model's own colour, calmer and more vivid.
OTHER_VIVIDNESS = (1.5, 0.6)

# Beyond all colours of sRGB, in ab units.
AB_LIMIT = 110.0


def possible_ab(lightness: float, step: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Find which colours sRGB can show at a lightness, for an interface to draw them.

    Args:
        lightness: L in [0, 100].
        step: ab units between neighbours of the grid.

    Returns:
        Two arrays: float32 (n, n, 2), the grid's (a, b) in ab units, a growing along rows and b from the last
        row up to the first, as it is drawn; and bool (n, n), whether sRGB can show it.
    """
    axis = np.arange(-AB_LIMIT, AB_LIMIT + step / 2.0, step, dtype="float32")
    ab = np.stack(np.meshgrid(axis, axis[::-1]), axis=-1)
    return ab, is_in_gamut(_at(lightness, ab))


def likely_colours(prepared: Prepared, where: Hint, answers: Sequence[np.ndarray], count: int) -> list[str]:
    """List different colours that are likely at a place, most likely first.

    Args:
        prepared: `Prepared`.
        where: `Hint` whose place is meant.
        answers: the network's answers, float32 arrays (h, w, 2), ab units; the first one is the safest.
        count: how many at most.

    Returns:
        List of "#rrggbb" at the lightness of the place, at least 1, if `count` is.

    Raises:
        errors.HintError: if the place lies outside the photo.
    """
    pixel = np.rint([place(where, prepared.size)]).astype(int)
    lightness = prepared.lightness[tuple(pixel[0])]
    here = [colours_at(fit_colours(ab, prepared.small), prepared.lightness, pixel) for ab in answers]
    elsewhere = _frequent(answers[0], prepared.small - lightness)
    candidates = np.concatenate([*here, elsewhere, *(gain * here[0] for gain in OTHER_VIVIDNESS)])
    chosen = []
    for lab in clip_to_gamut(_at(lightness, candidates)):
        if all(np.hypot(*(lab - other)[1:]) >= NEAR_DUPLICATE for other in chosen):
            chosen.append(lab)
    return [_to_hex(lab) for lab in chosen[:count]]


def _frequent(ab, lighter):
    """Mean colours (n, 2) of the ab bins into which an answer (h, w, 2) falls, the fullest bin first.

    Pixels count by how little `lighter` (h, w), in L units, they are than the place asked for.
    """
    ab, weights = ab.reshape(-1, 2), np.exp(-0.5 * (lighter.ravel() / LIKE_LIGHTNESS) ** 2)
    _, bins = np.unique(np.rint(ab / AB_BIN_SIDE), axis=0, return_inverse=True)
    bins = bins.ravel()
    totals = np.bincount(bins, weights)
    sums = np.stack([np.bincount(bins, weights * channel) for channel in ab.T], axis=-1)
    order = np.argsort(-totals, kind="stable")
    order = order[totals[order] > 0.01 * totals.sum()]  # what few places have is chance
    return np.float32(sums[order] / totals[order, None])


def _at(lightness, ab):
    """Lab (..., 3) of colours (..., 2) at one lightness."""
    return np.concatenate([np.full_like(ab[..., :1], lightness), ab], axis=-1)


def _to_hex(lab):
    red, green, blue = np.rint(255.0 * lab_to_rgb(lab)).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"

"""Scribbles: strokes of colour, drawn on a transparent layer over a photo, as places with colours."""

from pathlib import Path

import cv2
import numpy as np

from nxap_color.color import rgb_to_lab
from nxap_color.errors import HintError
from nxap_color.images import to_float
from nxap_color.media.photos import Photo

# Strokes become hints cell by cell; so many cells make up the layer's shorter side.
CELLS = 64
# A cell counts if it has at least this share of what the fullest one beside it has: strokes of any width are
# found, and cells that they merely touch are left out.
FULL_ENOUGH = 0.5
# Pixels by which rounding may change the shorter side of the smaller of two pictures of the same aspect.
ASPECT_SLACK = 1.0


def require_aspect(path: str | Path, size: tuple[int, int], photo_size: tuple[int, int]) -> None:
    """Check that a layer fits a photo, scaled if need be.

    Args:
        path: path of the layer, for the error.
        size: (H, W) of the layer.
        photo_size: (H, W) of the photo.

    Raises:
        errors.HintError: if their aspects differ.
    """
    smaller, larger = sorted((size, photo_size))
    short, long = np.argsort(larger, kind="stable")
    # Where one was scaled to the other, rounding took each side half a pixel from where it should be.
    if abs(smaller[short] - smaller[long] * larger[short] / larger[long]) > ASPECT_SLACK:
        raise HintError(
            f"The scribbles '{path}' have {size[1]} x {size[0]} pixels, another aspect than the photo of "
            f"{photo_size[1]} x {photo_size[0]}."
        )


def find_strokes(path: str | Path, layer: Photo) -> list[tuple[float, float, tuple[float, float]]]:
    """Find the strokes on a transparent layer, one place for each small cell that they cover.

    Reference:
        Levin, Lischinski, Weiss: Colorization using Optimization, SIGGRAPH 2004, for scribbles.

    Args:
        path: path of the layer, for errors.
        layer: `Photo`, transparent where nothing is said.

    Returns:
        List of (x, y, (a, b)): the middle of the opaque pixels of a cell, in percent of the way from the
        first pixel to the last, and the ab of their mean colour, ab units.

    Raises:
        errors.HintError: if nothing is transparent, or nothing is opaque.
    """
    opaque = np.ones(layer.rgb.shape[:2], bool) if layer.alpha is None else layer.alpha > _middle(layer.alpha)
    if opaque.all():
        raise HintError(
            f"The scribbles '{path}' have no transparency: use a transparent layer, in PNG, WebP or TIFF."
        )
    if not opaque.any():
        raise HintError(f"The scribbles '{path}' are empty: no pixel is opaque.")
    size = opaque.shape
    cells = tuple(max(1, round(length / max(1.0, min(size) / CELLS))) for length in size)
    share = _cell_means(np.float32(opaque), cells)
    neighbours = cv2.dilate(share, np.ones((3, 3), np.uint8))
    chosen = (share > 0.0) & (share >= FULL_ENOUGH * neighbours)

    def mean(plane):
        """Mean over the opaque pixels of each chosen cell."""
        return _cell_means(plane * opaque, cells)[chosen] / share[chosen]

    y, x = (mean(np.float32(axis)) for axis in np.ogrid[: size[0], : size[1]])
    percent = 100.0 * np.stack([x / max(1, size[1] - 1), y / max(1, size[0] - 1)], axis=-1)
    rgb = np.stack([mean(to_float(layer.rgb[..., channel])) for channel in range(3)], axis=-1)
    ab = rgb_to_lab(rgb)[:, 1:]
    return [(*places, tuple(colour)) for places, colour in zip(percent.tolist(), ab.tolist(), strict=True)]


def _middle(alpha):
    return np.iinfo(alpha.dtype).max // 2


def _cell_means(plane, cells):
    """Mean of a float32 plane (H, W) over each of (rows, columns) cells that together make it up."""
    return cv2.resize(plane, cells[::-1], interpolation=cv2.INTER_AREA)

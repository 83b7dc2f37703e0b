"""Guided upsampling at prediction, in NumPy and OpenCV: for photos and films, without Keras.

The network decides colours at a small size. `layers.GuidedUpsampling` brings them to full size inside a
network; here is the same computation for what comes after one, in strips that bound memory. A test holds
the two within 1e-3 ab units of each other.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from nxap_color.images import bilinear, enlarge, shrink, strips

RADIUS = 1  # low-resolution pixels: the window around each is 2 * RADIUS + 1 wide
EPSILON = 25.0  # squared L units: contrast well below its square root is texture, not an edge of colour


def upsample_guided(ab: np.ndarray, lightness: np.ndarray) -> np.ndarray:
    """Bring low-resolution colour to full size, with edges where the lightness has them.

    The fast guided filter: around each low-resolution pixel ab is fitted as a linear function of lightness;
    the coefficients are smoothed, enlarged, and applied to the full-size lightness.

    Reference:
        He, Sun, Tang: Guided Image Filtering, ECCV 2010; He, Sun: Fast Guided Filter, arXiv 1505.00996.

    Args:
        ab: float32 array (h, w, 2), ab units.
        lightness: float32 array (H, W) of the same scene, L in [0, 100].

    Returns:
        float32 array (H, W, 2), ab units.
    """
    fitted = fit_colours(ab, shrink(lightness[..., None], ab.shape[:2])[..., 0])
    planes = [colour_rows(fitted, lightness, rows) for rows in strips(*lightness.shape)]
    return np.concatenate([cv2.merge(pair) for pair in planes])


def fit_colours(ab: np.ndarray, lightness: np.ndarray) -> np.ndarray:
    """Fit colour as a linear function of lightness around each low-resolution pixel.

    Args:
        ab: float32 array (h, w, 2), ab units.
        lightness: float32 array (h, w), L in [0, 100].

    Returns:
        float32 array (h, w, 4): the slopes of a and b, ab units per L unit, and their offsets, ab units.
    """
    ab, lightness = np.float64(ab), np.float64(lightness)[..., None]
    mean_lightness, mean_ab = _window_mean(lightness), _window_mean(ab)
    variance = _window_mean(lightness * lightness) - mean_lightness * mean_lightness
    covariance = _window_mean(lightness * ab) - mean_lightness * mean_ab
    slope = covariance / (np.maximum(variance, 0.0) + EPSILON)
    offset = mean_ab - slope * mean_lightness
    return np.float32(_window_mean(np.concatenate([slope, offset], axis=-1)))


def colour_rows(
    fitted: np.ndarray, lightness: np.ndarray, rows: slice, out: Sequence[np.ndarray | None] = (None,) * 4
) -> list[np.ndarray]:
    """Colour some rows of a photo.

    Args:
        fitted: float32 array (h, w, 4) as from `fit_colours`.
        lightness: float32 array (H, W) of the whole photo, L in [0, 100].
        rows: slice of its rows.
        out: four float32 arrays (rows, W) to work in; None for new ones.

    Returns:
        a and b, ab units, each a float32 array (rows, W): the first two of `out`.
    """
    # Plane by plane, several times as fast in NumPy as all four together.
    planes = [enlarge(fitted[..., part], lightness.shape, rows, out[part]) for part in range(4)]
    slopes, offsets = planes[:2], planes[2:]
    for slope, offset in zip(slopes, offsets, strict=True):
        slope *= lightness[rows]
        slope += offset
    return slopes  # which are a and b now


def colours_at(fitted: np.ndarray, lightness: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Compute the colours of single pixels, those that `colour_rows` gives them.

    Args:
        fitted: float32 array (h, w, 4) as from `fit_colours`.
        lightness: float32 array (H, W) of the whole photo, L in [0, 100].
        places: int array (n, 2) of rows and columns.

    Returns:
        float32 array (n, 2), ab units.
    """
    (top, bottom, down), (left, right, across) = (
        bilinear(places[:, axis], lightness.shape[axis], fitted.shape[axis]) for axis in (0, 1)
    )
    down, across = down[:, None], across[:, None]
    upper = (1.0 - across) * fitted[top, left] + across * fitted[top, right]
    lower = (1.0 - across) * fitted[bottom, left] + across * fitted[bottom, right]
    values = (1.0 - down) * upper + down * lower
    return values[:, :2] * lightness[places[:, 0], places[:, 1], None] + values[:, 2:]


def _window_mean(x):
    """Mean over the window around each pixel of (h, w, channels); at the border over the part inside."""
    side = (2 * RADIUS + 1,) * 2
    mean = cv2.blur(x, side, borderType=cv2.BORDER_CONSTANT)
    share = cv2.blur(np.ones(x.shape[:2]), side, borderType=cv2.BORDER_CONSTANT)  # of the window, inside
    return mean.reshape(x.shape) / share[..., None]  # OpenCV drops the dimension of a single channel

"""Guided upsampling at prediction, in NumPy and OpenCV: for photos and films, without Keras.

The network decides colours at a small size. `layers.GuidedUpsampling` brings them to full size inside a
network; here is the same computation for what comes after one, in strips that bound memory. A test holds
the two within 1e-3 ab units of each other.
"""

from collections.abc import Iterator

import cv2
import numpy as np

from nxap_color.images import enlarge, shrink, strips

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
    return np.concatenate([cv2.merge(planes) for _, planes in upsampled_strips(ab, lightness)])


def upsampled_strips(ab: np.ndarray, lightness: np.ndarray) -> Iterator[tuple[slice, list[np.ndarray]]]:
    """Yield the result of `upsample_guided` in strips: slices of rows, and their a and b, each (rows, W)."""
    small = shrink(lightness[..., None], ab.shape[:2])[..., 0]
    coefficients = _fit(ab, small)
    for rows in strips(*lightness.shape):
        # Plane by plane, several times as fast in NumPy as all four together.
        planes = [enlarge(coefficients[..., channel], lightness.shape, rows) for channel in range(4)]
        slopes, offsets = planes[:2], planes[2:]
        for slope, offset in zip(slopes, offsets, strict=True):
            slope *= lightness[rows]
            slope += offset
        yield rows, slopes  # which are a and b now


def _fit(ab, lightness):
    """Fit ab (h, w, 2) as a linear function of lightness (h, w): slopes and offsets, float32 (h, w, 4)."""
    ab, lightness = np.float64(ab), np.float64(lightness)[..., None]
    mean_lightness, mean_ab = _window_mean(lightness), _window_mean(ab)
    variance = _window_mean(lightness * lightness) - mean_lightness * mean_lightness
    covariance = _window_mean(lightness * ab) - mean_lightness * mean_ab
    slope = covariance / (np.maximum(variance, 0.0) + EPSILON)
    offset = mean_ab - slope * mean_lightness
    return np.float32(_window_mean(np.concatenate([slope, offset], axis=-1)))


def _window_mean(x):
    """Mean over the window around each pixel of (h, w, channels); at the border over the part inside."""
    side = (2 * RADIUS + 1,) * 2
    mean = cv2.blur(x, side, borderType=cv2.BORDER_CONSTANT)
    share = cv2.blur(np.ones(x.shape[:2]), side, borderType=cv2.BORDER_CONSTANT)  # of the window, inside
    return mean.reshape(x.shape) / share[..., None]  # OpenCV drops the dimension of a single channel

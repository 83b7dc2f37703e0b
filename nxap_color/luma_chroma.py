"""Colour as films store it: luma, which a gray film has, and two colour differences (Y'CbCr).

Photos keep their lightness L, films keep their luma: it stays bit for bit as it was, and the colours
are worked out and stored at half its size, as the format wants it.
"""

import functools

import cv2
import numpy as np

from nxap_color import color

# Shares of red, green and blue in luma: of standard definition (ITU-R BT.601) and of high (BT.709).
LUMA_WEIGHTS = {"bt601": (0.299, 0.587, 0.114), "bt709": (0.2126, 0.7152, 0.0722)}


def rgb_to_luma(rgb, matrix):
    """Takes the luma of a picture.

    Args:
        rgb: array (H, W, 3), sRGB in any range.
        matrix: "bt601" or "bt709".

    Returns:
        float32 array (H, W), in the range of `rgb`.
    """
    return np.asarray(rgb, "float32") @ np.float32(LUMA_WEIGHTS[matrix])


def join_luma_chroma(luma, chroma, matrix):
    """Puts luma and colour differences together.

    Args:
        luma: float32 array (H, W) in [0, 1].
        chroma: float32 array (H, W, 2), (Cb, Cr) in [-0.5, 0.5].
        matrix: "bt601" or "bt709".

    Returns:
        float32 array (H, W, 3), sRGB; outside [0, 1] where the two do not go together.
    """
    return cv2.transform(cv2.merge([luma, chroma]), np.linalg.inv(_luma_chroma_from_rgb(matrix)))


@functools.cache
def _luma_chroma_from_rgb(matrix):
    """The matrix (3, 3) that takes sRGB to luma in [0, 1], and Cb and Cr in [-0.5, 0.5]."""
    luma = np.array(LUMA_WEIGHTS[matrix])
    red, _, blue = np.eye(3)
    return np.stack([luma, (blue - luma) / (2 * (1 - luma[2])), (red - luma) / (2 * (1 - luma[0]))])


def gray_to_lightness(gray):
    """Looks up the lightness of a gray: uint8 array (...), sRGB 0..255 -> float32 array (...), L 0..100."""
    return color.find_lightness(gray[..., None])[..., 0]


def ab_to_chroma(ab, gray, matrix):
    """Turns colours at a given gray into the colour differences of a film.

    Args:
        ab: float32 array (H, W, 2), ab units.
        gray: uint8 array (H, W), sRGB gray 0..255.
        matrix: "bt601" or "bt709".

    Returns:
        float32 array (H, W, 2), (Cb, Cr) in [-0.5, 0.5], reduced where luma `gray` / 255 with them would
        leave sRGB: a player would cut such colours off, and change luma and hue.
    """
    rgb = cv2.cvtColor(cv2.merge([gray_to_lightness(gray), ab]), cv2.COLOR_Lab2RGB)
    chroma = cv2.transform(rgb, _luma_chroma_from_rgb(matrix)[1:])
    luma = np.multiply(gray, 1 / 255, dtype="float32")
    rgb = join_luma_chroma(luma, chroma, matrix)
    outside = cv2.inRange(rgb, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)) == 0
    # Few pixels ever are: the rest is left alone.
    luma = luma[outside]
    offsets = rgb[outside] - luma[:, None]
    highest, lowest = offsets.max(axis=1), -offsets.min(axis=1)
    factor = np.minimum((1.0 - luma) / (highest + 1e-6), luma / (lowest + 1e-6))
    chroma[outside] *= np.minimum(factor, 1.0)[:, None]
    return chroma

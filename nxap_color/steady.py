"""Temporally stable colour: carried from frame to frame along the motion of the lightness."""

import math

import cv2
import numpy as np

# How long a colour is remembered, in seconds of film, where the motion is certain. Longer is steadier but
# slower to follow a better answer; shorter flickers (see the table in README.md).
MEMORY = 1.2
# Motion that misses its start by this many pixels there and back, or that changes the lightness by this many
# 8-bit steps, has little weight.
_ROUND_TRIP = 1.0
_LIGHTNESS_CHANGE = 12.0
_LEAST_SIDE = 16
# Below this mean confidence nothing of the last frame is seen again: a new shot. Hard cuts stay below
# 0.06, the fastest motion tried above 0.4.
CUT_CONFIDENCE = 0.2


class SteadyColour:
    """Blend each frame's colours with those of the frame before, moved to where things are now.

    A network that looks at single frames changes its mind about things that have not changed: the film
    flickers. Here the last frame's colours are carried along the dense optical flow of the lightness
    (Kroeger et al. 2016), and trusted as far as that flow is: where backward and forward flow contradict
    each other, or the lightness does not match, something has come into view or turned, and the network's
    own answer counts. That answer always has a small share, so that nothing smears or fades for good.

    Reference:
        Lai, Huang, Wang et al.: Learning Blind Video Temporal Consistency, ECCV 2018, for the confidence;
        Kroeger, Timofte, Dai, Van Gool: Fast Optical Flow using Dense Inverse Search, ECCV 2016.

    Args:
        fps: frames per second.
        memory: seconds after which the weight of a colour has fallen to 1/e; 0 keeps nothing.
        follows_motion: False blends with the last frame's colours where they were, as a baseline: things
            that move leave a trail, and the film turns gray.

    Attributes:
        previous: (lightness uint8 (2h, 2w), ab float32 (h, w, 2)) of the last frame, or None before the
            first; all that is needed to resume.

    Example:
        >>> steady = SteadyColour(fps=25)
        >>> steady.follow(np.zeros((64, 96), "uint8"), np.ones((16, 24, 2), "float32"))[1]
        True
    """

    def __init__(self, fps: float, memory: float = MEMORY, follows_motion: bool = True):
        self.share = math.exp(-1.0 / (fps * memory)) if memory > 0 else 0.0
        self.follows_motion = follows_motion
        self.previous = None
        # Its finer presets find better motion than the default, and are fast enough at this size.
        self.flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def follow(self, lightness: np.ndarray, ab: np.ndarray) -> tuple[np.ndarray, bool]:
        """Take the next frame and return its steady colours.

        Args:
            lightness: uint8 array (H, W), the frame's gray at any size.
            ab: float32 array (h, w, 2), the network's colours for it, in any unit.

        Returns:
            float32 array (h, w, 2), the steady colours; and whether the frame begins a new shot: its colours
            are then the network's own.
        """
        height, width = ab.shape[:2]
        # Twice the size of the colours, to see motion by fractions of their pixels.
        lightness = cv2.resize(lightness, (2 * width, 2 * height), interpolation=cv2.INTER_AREA)
        is_cut = True
        if not self.follows_motion:
            is_cut = self.previous is None
            ab = ab if is_cut else ab + self.share * (self.previous[1] - ab)
        elif self.previous is not None and self.previous[1].shape == ab.shape:
            backward, confidence = self._motion(lightness)
            is_cut = bool(confidence.mean() < CUT_CONFIDENCE)
            if not is_cut:
                backward = cv2.resize(backward, (width, height), interpolation=cv2.INTER_AREA) / 2.0
                weight = self.share * cv2.resize(confidence, (width, height), interpolation=cv2.INTER_AREA)
                ab = ab + weight[..., None] * (warp(self.previous[1], backward) - ab)
        self.previous = (lightness, ab)
        return ab, is_cut

    def _motion(self, lightness):
        """Flow (H, W, 2) from this frame to the last one, in pixels, and how far to trust it, in [0, 1]."""
        last = self.previous[0]
        if min(last.shape) < _LEAST_SIDE:  # too small for OpenCV: as if nothing moved
            backward = np.zeros((*last.shape, 2), "float32")
            return backward, self._confidence(lightness, last, backward, 0.0)
        backward = self.flow.calc(lightness, last, None)
        forward = self.flow.calc(last, lightness, None)
        round_trip = round_trip_error(backward, forward)
        return backward, self._confidence(lightness, last, backward, round_trip)

    def _confidence(self, lightness, last, backward, round_trip):
        """How far to trust a flow, (H, W) in [0, 1], from its round trip and the change of lightness."""
        change = warp(last.astype("float32"), backward) - lightness
        change -= np.median(change)  # old films change their exposure from frame to frame
        change = cv2.blur(np.abs(change), (3, 3))  # grain is no motion
        exponent = (round_trip / _ROUND_TRIP) ** 2 + (change / _LIGHTNESS_CHANGE) ** 2
        return np.exp(-0.5 * exponent)


def warp(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Fetch every pixel from where the flow points, bilinearly.

    Args:
        picture: float32 array (H, W) or (H, W, C).
        flow: float32 array (H, W, 2), (x, y) in pixels.

    Returns:
        float32 array of the shape of `picture`; outside the picture, its border is fetched.
    """
    rows, columns = np.indices(flow.shape[:2], dtype="float32")
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    return cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def round_trip_error(there: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Return how far, in pixels (H, W), two flows (H, W, 2), there and back, miss each pixel's start."""
    return np.linalg.norm(there + warp(back, there), axis=-1)

"""Take colours from a photo of the same scene: another frame, another print, a later picture of the place.

Where a photo shows the same scene is found by the geometry of its details. Its colours are then hints by the
hundred, without places: they reach what the network takes for alike (`gaussian_process`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from nxap_color.color import amplify_colours
from nxap_color.gaussian_process import guess_missing, place_points
from nxap_color.images import shrink

# Details are looked for in pictures of this shorter side, in pixels.
MATCHED_SIDE = 256
MAX_MATCHED_ASPECT = 4.0  # longer ones are shrunk further
MAX_DETAILS = 2000
# A detail is found again if what is most like it is so much more like it than the second (Lowe 2004), ...
_RATIO = 0.75
# ... and lies, in pixels, where one shift, turn and change of size of the picture takes it.
_TOLERANCE = 8.0
# Of pairs of photos of different scenes none had more than 15 such details, of the same scene most hundreds.
LEAST_MATCHES = 20
# Places of all references together that are known, at most.
KNOWN_PLACES = 600
# Variance of what a place shares with no other: more than where a user says what a colour is.
REFERENCE_NOISE = 0.1


class Details(NamedTuple):
    """What a picture can be recognised by.

    Attributes:
        places: float32 array (n, 2), x and y in pixels.
        descriptors: float32 array (n, 128).
    """

    places: np.ndarray
    descriptors: np.ndarray


@dataclass(frozen=True)
class Reference:
    """A colour photo, and what the network makes of it in gray.

    Attributes:
        name: what notes call it.
        answer: float32 array (h, w, 2 + HINT_CHANNELS): ab units and likeness, the mean of `Prepared.looks`.
        true_ab: float32 array (h, w, 2): its own colours, ab units.
        details: `Details` of the photo and of its mirror image.
    """

    name: str
    answer: np.ndarray
    true_ab: np.ndarray
    details: tuple[Details, Details]

    def shows(self, details: Details) -> bool:
        """Return whether it shows the scene that has these `Details`, or its mirror image."""
        return any(count_matches(own, details) >= LEAST_MATCHES for own in self.details)


def find_details(lightness: np.ndarray) -> Details:
    """Find what a photo can be recognised by.

    Reference:
        Lowe: Distinctive Image Features from Scale-Invariant Keypoints, IJCV 2004.

    Args:
        lightness: float32 array (H, W), L in [0, 100].
    """
    scale = MATCHED_SIDE / max(min(lightness.shape), max(lightness.shape) / MAX_MATCHED_ASPECT)
    size = tuple(max(1, round(side * min(scale, 1.0))) for side in lightness.shape)
    gray = np.uint8(shrink(lightness[..., None], size)[..., 0] * 2.55)
    found, descriptors = cv2.SIFT_create(MAX_DETAILS, contrastThreshold=0.02).detectAndCompute(gray, None)
    if descriptors is None:
        descriptors = np.zeros((0, 128), "float32")
    return Details(np.float32([each.pt for each in found]).reshape(-1, 2), descriptors)


def count_matches(some: Details, others: Details) -> int:
    """Count the details of one picture that are found again in another, all moved in the same way.

    Reference:
        Fischler, Bolles: Random Sample Consensus, 1981.
    """
    if min(len(some.places), len(others.places)) < LEAST_MATCHES:
        return 0
    pairs = cv2.BFMatcher().knnMatch(some.descriptors, others.descriptors, k=2)
    pairs = [best for best, second in pairs if best.distance < _RATIO * second.distance]
    if len(pairs) < LEAST_MATCHES:
        return 0
    here = some.places[[pair.queryIdx for pair in pairs]]
    there = others.places[[pair.trainIdx for pair in pairs]]
    _, fits = cv2.estimateAffinePartial2D(here, there, ransacReprojThreshold=_TOLERANCE)
    return 0 if fits is None else int(fits.sum())


def guess_from_references(likeness: np.ndarray, references: Sequence[Reference], gain: float) -> np.ndarray:
    """Guess what a network misses in a photo from what it misses in others of the same scene.

    Args:
        likeness: float32 array (h, w, HINT_CHANNELS), what it says of the photo.
        references: one `Reference` or more.
        gain: by how much its answer is amplified.

    Returns:
        float32 array (h, w, 2), ab units.
    """
    points, missing, each = [_placeless(likeness)], [], KNOWN_PLACES // len(references)
    for reference in references:
        missed = (reference.true_ab - amplify_colours(reference.answer[..., :2], gain)).reshape(-1, 2)
        kept = np.linspace(0, len(missed) - 1, min(each, len(missed))).astype(int)
        points.append(_placeless(reference.answer[..., 2:])[kept])
        missing.append(missed[kept])
    count = len(points[0])
    points, missing = np.concatenate(points), np.concatenate(missing)
    # Hundreds of places tell well enough what is whose own colour.
    known = np.arange(count, len(points))
    guess = guess_missing(points, known, missing, common=np.inf, noise=REFERENCE_NOISE)
    return guess[:count].reshape(*likeness.shape[:2], 2)


def _placeless(likeness):
    """Points as from `place_points`, all at one place: where things are in a reference says nothing."""
    points = place_points(likeness)
    points[:, :2] = 0.0
    return points

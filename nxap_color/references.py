"""Take colours from a photo of the same scene: another frame, another print, a later picture of the place.

Whether a photo shows the same scene, and where, is found by the geometry of its details. Its colours are then
hints by the hundred (`gaussian_process`).
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from nxap_color.color import amplify_colours
from nxap_color.gaussian_process import place_points, spread, weigh_known
from nxap_color.images import shrink

# Details are looked for in pictures of this shorter side, in pixels.
MATCHED_SIDE = 256
MAX_MATCHED_ASPECT = 4.0  # longer ones are shrunk further
MAX_DETAILS = 2000
# A detail is found again if what is most like it is so much more like it than the second (Lowe 2004), ...
_RATIO = 0.75
# ... and lies where one shift, turn and change of size of the picture takes it, but for so much of its
# shorter side.
_TOLERANCE = 1 / 32
# ... so many times larger or smaller at most.
MAX_SCALE = 8.0
# Of pairs of photos of different scenes none had more than 15 such details, of the same scene most hundreds.
LEAST_MATCHES = 20
# Of the clearest details so many are compared first, and so many have to be found again.
CLEAREST, LEAST_CLEAREST = 300, 8
# More references than these, which most details speak for, tell nothing new.
MAX_MATCHES = 6
NAMED = 3  # references that a note names
# Places of all references together that are known, at most.
KNOWN_PLACES = 600
# Variance of what a place shares with no other: more than where a user says what a colour is.
REFERENCE_NOISE = 0.1


class Details(NamedTuple):
    """What a picture can be recognised by.

    Attributes:
        places: float32 array (n, 2), x and y as shares of the picture's shorter side; the clearest details
            first.
        descriptors: float32 array (n, 128).
    """

    places: np.ndarray
    descriptors: np.ndarray

    def clearest(self) -> "Details":
        """Return the clearest few, enough to tell whether a comparison of all is worth its time."""
        return Details(self.places[:CLEAREST], self.descriptors[:CLEAREST])


@dataclass(frozen=True)
class Reference:
    """A colour photo, or its mirror image, and what the network makes of it in gray.

    Attributes:
        name: what notes call it.
        answer: float32 array (h, w, 2 + HINT_CHANNELS): ab units and likeness, at one look.
        true_ab: float32 array (h, w, 2): its own colours, ab units.
        details: its `Details`.
        is_mirrored: whether it is the mirror image.
    """

    name: str
    answer: np.ndarray
    true_ab: np.ndarray
    details: Details
    is_mirrored: bool = False

    def digest(self) -> str:
        """Return what tells its colours from those of others."""
        return f"{zlib.crc32(self.true_ab.tobytes()):08x}"

    def match(self, details: Details) -> "Match | None":
        """Return where it lies in a picture that has these `Details`; None if that shows another scene."""
        count, transform = match_details(self.details, details)
        return Match(self, transform, count) if count else None


class Match(NamedTuple):
    """A reference, and where it lies in a picture of the same scene.

    Attributes:
        reference: `Reference`.
        transform: float array (2, 3) that takes (x, y, 1) of the reference to (x, y) of the picture, both as
            shares of the shorter side; None where that is not known, as when a thing turns away. Its colours
            then go to what is alike, wherever it is.
        count: how many details tell so.
    """

    reference: Reference
    transform: np.ndarray | None
    count: int


def find_details(lightness: np.ndarray) -> Details:
    """Find what a photo can be recognised by.

    Reference:
        Lowe: Distinctive Image Features from Scale-Invariant Keypoints, IJCV 2004.

    Args:
        lightness: float32 array (H, W), L in [0, 100].
    """
    size = matched_size(*lightness.shape)
    gray = np.uint8(shrink(lightness[..., None], size)[..., 0] * 2.55)
    found, descriptors = cv2.SIFT_create(MAX_DETAILS, contrastThreshold=0.02).detectAndCompute(gray, None)
    if descriptors is None:
        descriptors = np.zeros((0, 128), "float32")
    places = np.float32([each.pt for each in found]).reshape(-1, 2)
    clearest = np.argsort([-each.response for each in found], kind="stable")
    return Details((places[clearest] + 0.5) / min(size), descriptors[clearest])


def matched_size(height: int, width: int) -> tuple[int, int]:
    """Return the size (h, w) at which details are looked for in a picture of `height` x `width` pixels."""
    scale = MATCHED_SIDE / max(min(height, width), max(height, width) / MAX_MATCHED_ASPECT)
    height, width = (max(1, round(side * min(scale, 1.0))) for side in (height, width))
    return height, width


def match_details(
    some: Details, others: Details, least: int = LEAST_MATCHES
) -> tuple[int, np.ndarray | None]:
    """Find the details of one picture again in another, all shifted, turned and scaled in the same way.

    Reference:
        Fischler, Bolles: Random Sample Consensus, 1981.

    Args:
        some, others: `Details`.
        least: how many have to be found again, at least 3.

    Returns:
        How many are found again, and the transformation as in `Match`; 0 and None if they are fewer.
    """
    if min(len(some.places), len(others.places)) < least:
        return 0, None
    pairs = cv2.BFMatcher().knnMatch(some.descriptors, others.descriptors, k=2)
    pairs = [best for best, second in pairs if best.distance < _RATIO * second.distance]
    if len(pairs) < least:
        return 0, None
    here = some.places[[pair.queryIdx for pair in pairs]]
    there = others.places[[pair.trainIdx for pair in pairs]]
    transform, fits = cv2.estimateAffinePartial2D(here, there, ransacReprojThreshold=_TOLERANCE)
    count = 0 if fits is None else int(fits.sum())
    if count < least:
        return 0, None
    scale = np.hypot(*transform[:, 0])  # of all details at one place it is 0
    return (count, transform) if 1 / MAX_SCALE < scale < MAX_SCALE else (0, None)


def refer_to_matches(answer: np.ndarray, matches: Sequence[Match], gain: float) -> np.ndarray:
    """Colour a picture from others of the same scene: what a network misses here it misses there.

    Args:
        answer: float32 array (h, w, 2 + HINT_CHANNELS), what it answers to the picture at one look.
        matches: `Match`es; without any it gets the network's own colours.
        gain: by how much its colours are amplified.

    Returns:
        float32 array (h, w, 2), ab units.
    """
    ab = amplify_colours(answer[..., :2], gain)
    if not matches:
        return ab
    is_placed = any(match.transform is not None for match in matches)
    if is_placed:  # the others tell less
        matches = [match for match in matches if match.transform is not None]
    matches = sorted(matches, key=lambda match: -match.count)[:MAX_MATCHES]
    asked, known, missing = place_points(answer[..., 2:]), [], []
    each = KNOWN_PLACES // len(matches)
    for reference, transform, _ in matches:
        points = place_points(reference.answer[..., 2:])
        kept = np.linspace(0, len(points) - 1, min(each, len(points))).astype(int)
        if is_placed:
            points[:, :2] = _carry(points[:, :2], transform, reference.true_ab.shape[:2], answer.shape[:2])
        missed = (reference.true_ab - amplify_colours(reference.answer[..., :2], gain)).reshape(-1, 2)
        known.append(points[kept])
        missing.append(missed[kept])
    # Hundreds of places tell well enough what is whose own colour: no part of it is set apart.
    known, missing = np.concatenate(known), np.concatenate(missing)
    if not is_placed:
        asked[:, :2] = known[:, :2] = 0.0
    weights = weigh_known(known, missing, noise=REFERENCE_NOISE)
    return ab + spread(asked, known, weights).reshape(ab.shape)


def _carry(places, transform, size, there):
    """Take places as in `place_points` from a picture of `size`, (h, w), to where they are in another."""
    x, y = (places[:, ::-1] + 0.5 / min(size)).T
    carried = np.stack([x, y, np.ones_like(x)], axis=1) @ np.float32(transform).T
    return carried[:, ::-1] - 0.5 / min(there)


def name_some(names: Sequence[str]) -> str:
    """Join the names of references to a text, of many the first `NAMED`."""
    if len(names) <= NAMED:
        return " or ".join(names)
    return f"{', '.join(names[:NAMED])} or {len(names) - NAMED} others"

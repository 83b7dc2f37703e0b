"""Colour hints in films: each holds for its shot, carried along the motion from the frame that it is for."""

import math
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from nxap_color.guidance import Hint, place
from nxap_color.shots import begins_shot
from nxap_color.steady import SteadyColour

# Hints reach so many frames back, at most: their grays have to be kept.
FRAMES_BACK = 1500
# A point whose way there and back misses its start by so many pixels, some 200 being the shorter side, is
# lost.
_ROUND_TRIP = 1.0
_WINDOW = (21, 21)  # pixels around a point that are followed with it

FilmHints = dict[int, list[Hint]]  # by the number of the frame, from 0


def carry_hints(
    frames: Iterable[tuple[float, np.ndarray]],
    hints: Sequence[Hint],
    size: tuple[int, int],
    steady: SteadyColour,
) -> FilmHints:
    """Find where the hints of a film are in each frame of their shots.

    Reference:
        Bouguet: Pyramidal Implementation of the Lucas Kanade Feature Tracker, 2000.

    Args:
        frames: pairs of when a frame is due, in seconds, and its upright gray, uint8 (h, w), as small as the
            network sees it. They are read until the last hint is lost or its shot has ended.
        hints: `Hint`s with a time; each is for the frame that is shown then.
        size: (H, W) of the upright frames, in whose pixels hints are given.
        steady: `SteadyColour` at its start, which finds the cuts.

    Returns:
        Dict from the number of a frame to the hints in it, moved to where they are there. Those that were
        given for a frame nearer by come later, and so cover others.

    Raises:
        errors.HintError: if a hint lies outside the frames.
    """
    waiting = deque(
        sorted(((hint.time, hint, place(hint, size)) for hint in hints), key=lambda each: each[0])
    )
    found, shot, active = defaultdict(list), deque(maxlen=FRAMES_BACK), []
    for number, (gray, end) in enumerate(_with_ends(frames)):
        if begins_shot(steady, gray):
            shot.clear()
            active = []
        elif active:
            active = _move(active, shot[-1], gray)
        shot.append(gray)
        while waiting and waiting[0][0] < end:
            _, hint, (y, x) = waiting.popleft()
            # From the middles of the frame's pixels to those of its small gray.
            scales = [side / of for side, of in zip(gray.shape[::-1], size[::-1], strict=True)]
            at = [(middle + 0.5) * scale - 0.5 for middle, scale in zip((x, y), scales, strict=True)]
            active.append(((number, hint), at))
            _go_back(found, shot, number, active[-1])
        found[number] += active
        if not waiting and not active:
            break
    return {
        number: _by_nearness(number, points, gray.shape, size) for number, points in found.items() if points
    }


def _with_ends(frames):
    """Yield grays and until when each is shown, in seconds; the last one for good."""
    frames = iter(frames)
    _, gray = next(frames)
    for seconds, following in frames:
        yield gray, seconds - 1e-3
        gray = following
    yield gray, math.inf


def _by_nearness(number, points, small_size, size):
    """Hints of a frame at their places in it, those given for frames nearer by last."""
    points = sorted(points, key=lambda point: -abs(number - point[0][0]))
    return [_moved_to(hint, at, small_size, size) for (_, hint), at in points]


def _move(points, last, gray):
    """Move pairs (what, place) from one gray to the next; those that are lost are left out."""
    before = np.float32([at for _, at in points])[:, None]
    options = {"winSize": _WINDOW, "maxLevel": 3}
    after, is_found, _ = cv2.calcOpticalFlowPyrLK(last, gray, before, None, **options)
    back, is_back, _ = cv2.calcOpticalFlowPyrLK(gray, last, after, None, **options)
    misses = np.linalg.norm(back - before, axis=-1).ravel()
    height, width = gray.shape
    inside = ((after[:, 0] >= 0) & (after[:, 0] <= (width - 1, height - 1))).all(axis=-1)
    is_kept = (is_found.ravel() > 0) & (is_back.ravel() > 0) & (misses < _ROUND_TRIP) & inside
    return [(what, at) for (what, _), at, kept in zip(points, after[:, 0], is_kept, strict=True) if kept]


def _go_back(found, shot, number, point):
    """Follow a point from the last of a shot's grays back to the first, or until it is lost."""
    points, grays = [point], list(shot)
    for step in range(1, len(grays)):
        points = _move(points, grays[-step], grays[-step - 1])
        if not points:
            return
        found[number - step] += points


def _moved_to(hint, at, small_size, size):
    x, y = (
        (middle + 0.5) * of / side - 0.5
        for middle, side, of in zip(at, small_size[::-1], size[::-1], strict=True)
    )
    height, width = size
    return Hint(min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0), hint.color, hint.radius)

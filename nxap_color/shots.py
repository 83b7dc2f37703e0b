"""Divide a film into shots, and find the reference photos that show each."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from nxap_color.color import gray_to_lightness
from nxap_color.references import LEAST_CLEAREST, Match, Reference, find_details, match_details
from nxap_color.steady import SteadyColour

# Every `STEP`-th frame of a shot is compared with the references that were found in it so far, every
# `SEARCH_STEP`-th with all. As far from where it was found a reference counts.
STEP = 5
SEARCH_STEP = 20


class Shot(NamedTuple):
    """Frames of a film between two cuts.

    Attributes:
        start: number of its first frame, from 0.
        end: number of the frame after its last.
        matches: dict from the number of a frame to its `Match`es with references, where there are any.
    """

    start: int
    end: int
    matches: dict[int, list[Match]]


def find_shots(
    grays: Iterable[np.ndarray], steady: SteadyColour, references: Sequence[Reference] = ()
) -> Iterator[Shot]:
    """Find the cuts of a film, and where references lie in the frames of each shot.

    Args:
        grays: the frames' grays, uint8 (H, W), upright.
        steady: `SteadyColour` at its start, which finds the cuts.
        references: `Reference`s; their mirror images are not looked for.

    Yields:
        `Shot` after `Shot`.
    """
    start, end, sightings = 0, 0, {}
    for number, gray in enumerate(grays):
        if begins_shot(steady, gray) and number:
            yield Shot(start, number, _between(sightings, start, number))
            start, sightings = number, {}
        if references and (number - start) % STEP == 0:
            details = find_details(gray_to_lightness(gray))
            for index, reference in enumerate(references):
                is_due = index in sightings or (
                    (number - start) % SEARCH_STEP == 0 and _may_show(reference, details)
                )
                if is_due and (match := reference.match(details)):
                    sightings.setdefault(index, []).append((number, match))
        end = number + 1
    if end:
        yield Shot(start, end, _between(sightings, start, end))


def _may_show(reference, details):
    """Whether a comparison of all details is worth its time: of hundreds of references few are."""
    if reference.is_mirrored:
        return False
    count, _ = match_details(reference.details.clearest(), details.clearest(), LEAST_CLEAREST)
    return count > 0


def _between(sightings, start, end):
    """Matches in the frames of a shot, interpolated; without a place at some distance from sightings."""
    matches = {}
    for seen in sightings.values():
        numbers = np.array([number for number, _ in seen])
        entries = np.reshape([match.transform for _, match in seen], (-1, 6)).T
        first, last = max(start, numbers[0] - SEARCH_STEP), min(end, numbers[-1] + SEARCH_STEP + 1)
        for number in range(first, last):
            nearest = np.abs(numbers - number).argmin()
            transform = None
            if abs(numbers[nearest] - number) <= STEP:
                transform = np.reshape([np.interp(number, numbers, entry) for entry in entries], (2, 3))
            match = seen[nearest][1]._replace(transform=transform)
            matches.setdefault(number, []).append(match)
    return matches


def begins_shot(steady: SteadyColour, gray: np.ndarray) -> bool:
    """Return whether a frame, uint8 (H, W), shows nothing of the last one that `steady` was given."""
    colours = np.zeros((max(1, gray.shape[0] // 4), max(1, gray.shape[1] // 4), 2), "float32")
    return steady.follow(gray, colours)[1]

"""Divide a film into shots, and find the reference photos that show each."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from nxap_color.color import gray_to_lightness
from nxap_color.references import Match, Reference, find_details
from nxap_color.steady import SteadyColour

# Frames of a shot from one that is compared with the references to the next; those that have not been found
# in the shot yet are looked for in every `SEARCHES`-th of these.
STEP = 5
SEARCHES = 4


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
        references: `Reference`s.

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
                is_due = index in sightings or (number - start) % (SEARCHES * STEP) == 0
                if is_due and (match := reference.match(details)):
                    sightings.setdefault(index, []).append((number, match))
        end = number + 1
    if end:
        yield Shot(start, end, _between(sightings, start, end))


def _between(sightings, start, end):
    """Matches in all frames of a shot, interpolated; without a place far from where they were seen."""
    matches = {}
    for seen in sightings.values():
        numbers, (reference, *_) = np.array([number for number, _ in seen]), seen[0][1]
        entries = np.reshape([match.transform for _, match in seen], (-1, 6)).T
        for number in range(start, end):
            transform = None
            if np.abs(numbers - number).min() <= STEP:
                transform = np.reshape([np.interp(number, numbers, entry) for entry in entries], (2, 3))
            matches.setdefault(number, []).append(Match(reference, transform))
    return matches


def begins_shot(steady: SteadyColour, gray: np.ndarray) -> bool:
    """Return whether a frame, uint8 (H, W), shows nothing of the last one that `steady` was given."""
    colours = np.zeros((max(1, gray.shape[0] // 4), max(1, gray.shape[1] // 4), 2), "float32")
    return steady.follow(gray, colours)[1]

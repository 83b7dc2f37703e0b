"""What a command line tells of colours: hints for one photo or film, and photos to take colours from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nxap_color.cli.jobs import kind_of
from nxap_color.corrections import duller_hints
from nxap_color.errors import PhotoError, UsageError
from nxap_color.guidance import Hint, parse_hint, read_hints
from nxap_color.media.photos import count_pictures, read_photo

if TYPE_CHECKING:
    from nxap_color.colorizer import Colorizer
    from nxap_color.prepared import Prepared

# More hints than this are not named one by one.
NAMED_HINTS = 3


@dataclass(frozen=True)
class Told:
    """What a user says of the colours of photos.

    Attributes:
        hints: `Hint`s of the one photo or film.
        file: file of more of them, as in `guidance.read_hints`, or None.
        references: dict from path to pixels of photos to take colours from.
    """

    hints: tuple[Hint, ...] = ()
    file: Path | None = None
    references: dict[str, np.ndarray] = field(default_factory=dict)

    def for_input(self, size: tuple[int, int] | None = None) -> list[Hint]:
        """Return all hints; HintError if scribbles have another aspect than the photo of `size` (H, W)."""
        return [*(read_hints(self.file, size) if self.file else []), *self.hints]

    def apply_to(self, colorizer: "Colorizer") -> "Colorizer":
        """Return a colorizer that takes colours from the references; ModelError if it takes no hints."""
        colorizer.require_hints()
        return colorizer.with_references(self.references)


def read_told(
    texts: Sequence[str], file: Path | None, references: Sequence[Path], inputs: Sequence[Path]
) -> Told:
    """Read what a command line tells of colours, before any work is done.

    Args:
        texts: hints as in `guidance.parse_hint`.
        file: file of more of them, or None.
        references: paths of photos to take colours from.
        inputs: what is to be coloured.

    Returns:
        `Told`; places are not yet known to lie inside the photo.

    Raises:
        errors.HintError: if a hint, or the file of hints, cannot be used.
        errors.PhotoError: if a reference cannot be read.
        errors.UsageError: if there are hints and the inputs are several, a folder, an animation or
            pages; or if one in a film has no time, or one in a photo has one; or if there are references and
            an input is a film or an animation.
    """
    hints = tuple(parse_hint(text) for text in texts)
    if (hints or file) and (found := _neither_photo_nor_film(inputs)):
        raise UsageError(f"Hints belong to one photo or film, but the input is {found}.")
    is_film = kind_of(inputs[0]) == "film"
    for hint in [*hints, *(read_hints(file) if file else [])]:
        if is_film and hint.time is None:
            raise UsageError(
                f'The hint {hint} needs its second in the film, such as @2.5, or "time" in a file.'
            )
        if not is_film and hint.time is not None:
            raise UsageError(f"The hint {hint} has a time, {hint.time:g} s, but the input is no film.")
    for path in inputs if references else ():
        if not path.is_dir() and kind_of(path) in ("film", "GIF"):
            raise UsageError(f"References are for photos, but the input {path} is a {kind_of(path)}.")
    return Told(hints, file, {str(path): read_photo(path).rgb for path in references})


def reference_notes(colorizer: "Colorizer", prepared: "Prepared") -> list[str]:
    """List a note if none of the references shows the scene of a photo.

    Args:
        colorizer: `Colorizer`.
        prepared: `Prepared` that it has answered to.

    Returns:
        List of texts, none if colours were taken from a reference, or there are no references.
    """
    if not colorizer.references or prepared.references:
        return []
    names = " or ".join(reference.name for reference in colorizer.references)
    return [f"it shows nothing that {names} shows; coloured without"]


def _neither_photo_nor_film(inputs):
    """Say what inputs are that are not one photo or film; None if they are, or cannot be read at all."""
    if len(inputs) > 1:
        return f"{len(inputs)} files"
    (path,) = inputs
    if path.is_dir():
        return "a folder"
    if kind_of(path) == "GIF":
        return "a GIF"
    if kind_of(path) != "photo":
        return None
    try:
        contents = count_pictures(path)
    except PhotoError:  # an error of the photo, told as one
        return None
    if contents.count == 1:
        return None
    return f"{contents.count} frames" if contents.is_animation else f"{contents.count} pages"


def hint_notes(hints: Sequence[Hint], lightness: np.ndarray) -> list[str]:
    """Say which hints ask for more chroma than sRGB has at the photo's lightness.

    Args:
        hints: `Hint`s of the photo.
        lightness: float32 array (H, W) of the photo, L in [0, 100].

    Returns:
        List of texts, none for hints that are kept to.
    """
    duller = duller_hints(hints, lightness)
    if len(duller) > NAMED_HINTS:
        return [
            f"{len(duller)} of {len(hints)} hints are more vivid than sRGB can show at the lightness there; "
            "the nearest are shown"
        ]
    return [
        f"the hint {hint} is more vivid than sRGB can show at the lightness there; the nearest is shown"
        for hint in duller
    ]

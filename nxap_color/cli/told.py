"""What a command line tells of colours: hints for one photo or film, and photos to take colours from."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nxap_color.cli.jobs import kind_of
from nxap_color.corrections import duller_hints
from nxap_color.errors import PhotoError, UsageError
from nxap_color.guidance import Hint, parse_hint, read_hints
from nxap_color.media.kinds import PHOTO_SUFFIXES
from nxap_color.media.photos import count_pictures
from nxap_color.references import name_some

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
        references: photos to take colours from.
    """

    hints: tuple[Hint, ...] = ()
    file: Path | None = None
    references: tuple[Path, ...] = ()

    def for_input(self, size: tuple[int, int] | None = None) -> list[Hint]:
        """Return all hints; HintError if scribbles have another aspect than the photo of `size` (H, W)."""
        return [*(read_hints(self.file, size) if self.file else []), *self.hints]

    def apply_to(self, colorizer: "Colorizer") -> "Colorizer":
        """Return a colorizer that takes colours from the references.

        Raises:
            errors.ModelError: if it takes no hints.
            errors.PhotoError: if a reference cannot be read, or is gray.
        """
        return colorizer.with_references({str(path): path for path in self.references})


def read_told(
    texts: Sequence[str], file: Path | None, references: Sequence[Path], inputs: Sequence[Path]
) -> Told:
    """Read what a command line tells of colours, before any work is done.

    Args:
        texts: hints as in `guidance.parse_hint`.
        file: file of more of them, or None.
        references: paths of photos to take colours from, or of folders of these.
        inputs: what is to be coloured.

    Returns:
        `Told`; places are not yet known to lie inside the photo.

    Raises:
        errors.HintError: if a hint, or the file of hints, cannot be used.
        errors.UsageError: if there are hints and the inputs are several, a folder, or pages; or if one in a
            film or an animation has no time, or one in a photo has one; or if there is no such
            reference, or no photo in a folder of them.
    """
    hints = tuple(parse_hint(text) for text in texts)
    if hints or file:
        if found := _is_several(inputs):
            raise UsageError(f"Hints belong to one photo or film, but the input is {found}.")
        moves = _moves(inputs[0])
        for hint in [*hints, *(read_hints(file) if file else [])]:
            if moves and hint.time is None:
                raise UsageError(
                    f'The hint {hint} needs its second in the film, such as @2.5, or "time" in a file.'
                )
            if not moves and hint.time is not None:
                raise UsageError(f"The hint {hint} has a time, {hint.time:g} s, but the input is no film.")
    return Told(hints, file, tuple(photo for path in references for photo in _photos_at(path)))


def _photos_at(path):
    """List a photo, or the photos of a folder, by name."""
    if not path.exists():
        raise UsageError(f"There is no reference {path}: expected a colour photo, or a folder of these.")
    if not path.is_dir():
        return [path]
    photos = sorted(each for each in path.iterdir() if kind_of(each) == "photo")
    if not photos:
        known = ", ".join(sorted(PHOTO_SUFFIXES))
        raise UsageError(f"There are no photos in the folder of references {path}: expected {known}.")
    return photos


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
    names = list(dict.fromkeys(reference.name for reference in colorizer.references))
    return [f"it shows nothing that {name_some(names)} shows; coloured without"]


def _is_several(inputs):
    """Say what inputs are that are not one photo or film; None if they are, or cannot be read at all."""
    if len(inputs) > 1:
        return f"{len(inputs)} files"
    (path,) = inputs
    if path.is_dir():
        return "a folder"
    contents = _contents_of(path)
    if contents is None or contents.is_animation or contents.count == 1:
        return None
    return f"{contents.count} pages"


def _moves(path):
    """Return whether an input is a film or an animation."""
    contents = _contents_of(path)
    return kind_of(path) in ("film", "GIF") or contents is not None and contents.is_animation


def _contents_of(path):
    """`Contents` of a photo; None of anything else, and of what cannot be read: an error told as one."""
    with contextlib.suppress(PhotoError):
        return count_pictures(path) if kind_of(path) == "photo" else None
    return None


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

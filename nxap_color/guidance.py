"""Colour hints: what a user knows about the colours of a photo or film, in pictures and in files."""

import contextlib
import functools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ImageColor

from nxap_color.color import AB_SCALE, rgb_to_lab
from nxap_color.errors import HintError, PhotoError
from nxap_color.media.atomic import written_whole
from nxap_color.media.kinds import is_photo
from nxap_color.media.photos import read_photo
from nxap_color.scribbles import find_strokes, require_aspect

# The side of a hint that does not say how far it goes, as a share of the photo's shorter side.
HINT_SIDE = 0.02


@dataclass(frozen=True)
class Hint:
    """A place of a photo whose colour is known.

    Args:
        x, y: pixels of the upright photo, from its left and upper border, (0, 0) being its first pixel; or
            percentages as text, from "0%", the first pixel, to "100%", the last.
        color: "#rrggbb" or a CSS name. Only hue and chroma count: lightness is the photo's own. Or (a, b) in
            ab units.
        radius: half the side of the square that has this colour, in pixels > 0; None for `HINT_SIDE` of the
            photo.
        time: in a film, seconds from its start, 0 or above; None in a photo. It then holds for its shot.

    Raises:
        errors.HintError: if the colour is unknown, the place is neither number nor percentage, the radius is
            not above 0, or the time below 0.

    Example:
        >>> Hint("40%", 120, "teal")
        Hint(x='40%', y=120.0, color='teal', radius=None, time=None)
    """

    x: float | str
    y: float | str
    color: str | tuple[float, float]
    radius: float | None = None
    time: float | None = None

    def __post_init__(self):
        checked = {"x": _read_place(self.x), "y": _read_place(self.y), "radius": _read_radius(self.radius)}
        checked["time"] = _read_time(self.time)
        checked["color"] = self.color if isinstance(self.color, str) else _read_ab(self.color)
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        _ = self.ab  # raises for a colour that is unknown

    @classmethod
    def from_ab(
        cls,
        x: float | str,
        y: float | str,
        ab: tuple[float, float],
        radius: float | None = None,
        time: float | None = None,
    ) -> "Hint":
        """Make a hint of a colour in ab units, such as a true one that was measured."""
        return cls(x, y, ab, radius, time)

    @property
    def ab(self) -> tuple[float, float]:
        """The colour's (a, b), in ab units."""
        return _find_ab(self.color) if isinstance(self.color, str) else self.color

    def __str__(self) -> str:
        """Return the place, as on a command line, to name the hint by."""
        return ",".join(side if isinstance(side, str) else f"{side:.10g}" for side in (self.x, self.y))


def _read_place(value):
    """Check a coordinate: a number as a float, a percentage as it is."""
    text = value.strip() if isinstance(value, str) else value
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        is_share = isinstance(text, str) and text.endswith("%")
        number = float(text[:-1] if is_share else text)
        if math.isfinite(number):
            return text if is_share else number
    raise HintError(
        f"The place of a hint is a number of pixels or a percentage such as 40%, received {value!r}."
    )


def _read_radius(value):
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        if value is None or 0.0 < float(value) < math.inf:
            return value if value is None else float(value)
    raise HintError(f"The radius of a hint is a number of pixels above 0, received {value!r}.")


def _read_time(value):
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        if value is None or (not isinstance(value, bool) and 0.0 <= float(value) < math.inf):
            return value if value is None else float(value)
    raise HintError(f"The time of a hint is a number of seconds, 0 or above, received {value!r}.")


def _read_ab(value):
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        a, b = (float(part) for part in value)
        if math.isfinite(a + b):
            return a, b
    raise HintError(
        f"The colour of a hint is #rrggbb, a CSS name, or a pair of numbers (a, b), received {value!r}."
    )


@functools.lru_cache(maxsize=4096)
def _find_ab(name):
    """Compute (a, b), in ab units, of a colour's name."""
    try:
        rgb = ImageColor.getrgb(name.strip())[:3]
    except ValueError as error:
        raise HintError(
            f"There is no colour {name!r}: expected #rrggbb or a CSS name, such as teal or firebrick."
        ) from error
    _, a, b = rgb_to_lab(np.array(rgb) / 255.0)
    return float(a), float(b)


def place(hint: Hint, photo_size: tuple[int, int]) -> tuple[float, float]:
    """Find where a hint lies in a photo.

    Args:
        hint: `Hint`.
        photo_size: (H, W) of the photo.

    Returns:
        (y, x) in pixels of the photo, from (0, 0), the middle of its first pixel, to (H - 1, W - 1).

    Raises:
        errors.HintError: if it lies outside the photo.
    """
    found = []
    for side, length in zip((hint.y, hint.x), photo_size, strict=True):
        middle = float(side[:-1]) / 100.0 * (length - 1) if isinstance(side, str) else side
        if not -0.5 <= middle <= length - 0.5:
            height, width = photo_size
            raise HintError(f"The hint {hint} lies outside the photo of {width} x {height} pixels.")
        found.append(min(max(middle, 0.0), length - 1.0))
    return tuple(found)


def draw_hints(hints: Sequence[Hint], photo_size: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Draw the hints of a photo at the size of the network's answer.

    Args:
        hints: `Hint`s; later ones cover earlier ones.
        photo_size: (H, W) of the photo, in whose pixels the hints are given.
        size: (h, w) of the result.

    Returns:
        float32 array (h, w, 3): ab / AB_SCALE where a hint is, which is one pixel at least, and 0 elsewhere;
        and a mask, 1 or 0.

    Raises:
        errors.HintError: if one lies outside the photo.
    """
    drawn = np.zeros((*size, 3), "float32")
    for hint in hints:
        radius = hint.radius or HINT_SIDE * min(photo_size) / 2
        square = []
        for middle, length, of in zip(place(hint, photo_size), size, photo_size, strict=True):
            first, end = ((middle + 0.5 + step) * length / of for step in (-radius, radius))
            first = min(max(round(first), 0), length - 1)
            square.append(slice(first, max(round(end), first + 1)))
        drawn[tuple(square)] = (*np.float32(hint.ab) / AB_SCALE, 1.0)
    return drawn


def parse_hint(text: str) -> Hint:
    """Parse a hint of a command line.

    Args:
        text: "X,Y,COLOUR", such as "120,88,#8c2f2b" or "40%,55%,green"; in a film with the second,
            "X,Y,COLOUR@2.5".

    Raises:
        errors.HintError: if it is none.
    """
    parts = text.split(",", 2)
    if len(parts) < 3:
        raise HintError(f"A hint is X,Y,COLOUR, such as 120,88,#8c2f2b or 40%,55%,green; received {text!r}.")
    color, *time = parts[2].split("@", 1)
    return Hint(*parts[:2], color, time=_read_seconds(time[0]) if time else None)


def _read_seconds(text):
    with contextlib.suppress(ValueError):
        return float(text)
    raise HintError(f"The time of a hint is a number of seconds, such as @2.5, received @{text}.")


def read_hints(path: str | Path, photo_size: tuple[int, int] | None = None) -> list[Hint]:
    """Read the hints of a photo from a JSON file, or from a picture of scribbles.

    The JSON file holds {"hints": [{"x": 120, "y": 88, "color": "#8c2f2b"}, ...]}, each with "ab": [a, b] for
    "color" if need be, with a "radius" or without, and in films with a "time" in seconds. Scribbles are
    strokes on a transparent layer of the photo's own size or one of the same aspect, in PNG, WebP or TIFF.

    Args:
        path: path of the file.
        photo_size: (H, W) of the photo, whose aspect a layer has to have; None if it is not known yet.

    Returns:
        List of `Hint`s, at least one from scribbles; those of scribbles in percentages.

    Raises:
        errors.HintError: if the file is missing or damaged, or holds no hints.
    """
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise HintError(f"The hints '{path}' cannot be read: {error.strerror}.") from error
    if is_photo(path) and not text.lstrip().startswith(b"{"):
        return _read_scribbles(path, photo_size)
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HintError(f"The hints '{path}' are neither JSON nor a PNG, WebP or TIFF: {error}.") from error
    listed = listed.get("hints") if isinstance(listed, dict) else None
    if not isinstance(listed, list):
        raise HintError(f"The hints '{path}' have no list \"hints\".")
    return [_from_json(path, number, each) for number, each in enumerate(listed, 1)]


def _read_scribbles(path, photo_size):
    """Hint at the strokes on a transparent layer."""
    try:
        layer = read_photo(path)
    except PhotoError as error:
        raise HintError(f"The hints cannot be read. {error}") from error
    if photo_size:
        require_aspect(path, layer.rgb.shape[:2], photo_size)
    return [Hint.from_ab(f"{x:.4f}%", f"{y:.4f}%", ab) for x, y, ab in find_strokes(path, layer)]


def _from_json(path, number, given):
    """Make a hint of an entry of a JSON file; errors name its number, from 1."""
    where = f"Hint {number} of '{path}'"
    if not isinstance(given, dict):
        raise HintError(f"{where} is no object with x, y and color.")
    if missing := [key for key in ("x", "y") if key not in given]:
        raise HintError(f"{where} has no {missing[0]}.")
    if "frame" in given:
        raise HintError(f'{where} has the number of a frame: say its "time" instead, in seconds.')
    if ("color" in given) == ("ab" in given):
        raise HintError(f"{where} needs either a color or ab.")
    if not isinstance(given.get("color", ""), str):
        raise HintError(f"{where} has a color that is no text: {given['color']!r}.")
    try:
        return Hint(
            given["x"],
            given["y"],
            given.get("color", given.get("ab")),
            given.get("radius"),
            given.get("time"),
        )
    except HintError as error:
        raise HintError(f"{where}: {error}") from error


def write_hints(path: str | Path, hints: Sequence[Hint]) -> None:
    """Write hints to a JSON file, atomically, as `read_hints` reads it.

    Args:
        path: path of the file.
        hints: `Hint`s.

    Raises:
        errors.HintError: if it cannot be written.
    """
    listed = {"hints": [_to_json(hint) for hint in hints]}
    try:
        with written_whole(Path(path)) as unfinished:
            unfinished.write_text(json.dumps(listed, indent=1), encoding="utf-8")
    except OSError as error:
        raise HintError(f"The hints '{path}' cannot be written: {error.strerror}.") from error


def _to_json(hint: Hint) -> dict[str, Any]:
    colour = {"color": hint.color} if isinstance(hint.color, str) else {"ab": list(hint.color)}
    options = {"radius": hint.radius, "time": hint.time}
    return {"x": hint.x, "y": hint.y, **colour} | {k: v for k, v in options.items() if v is not None}

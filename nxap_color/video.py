"""Streams of frames in temporally stable colour."""

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from nxap_color import color
from nxap_color.colorizer import Colorizer
from nxap_color.corrections import correct_colours
from nxap_color.errors import FilmError
from nxap_color.film_hints import FilmHints
from nxap_color.guidance import draw_hints
from nxap_color.images import shrink
from nxap_color.inference import BATCH_SIZE
from nxap_color.media.films import Frame
from nxap_color.references import Match, refer_to_matches
from nxap_color.steady import MEMORY, SteadyColour
from nxap_color.upsampling import upsample_guided


@dataclass(frozen=True)
class FilmGuide:
    """What is known of the colours of a film, by the numbers of its frames, from 0.

    Attributes:
        hints: dict from frame to its `Hint`s, as from `film_hints.carry_hints`.
        references: dict from frame to its `Match`es with references, as from `shots.find_shots`.
    """

    hints: FilmHints = field(default_factory=dict)
    references: dict[int, list[Match]] = field(default_factory=dict)

    def every(self, step: int) -> "FilmGuide":
        """Return the guide of every `step`-th frame, from the first on, which are then numbered anew."""
        some = (
            {n // step: told for n, told in known.items() if n % step == 0}
            for known in (self.hints, self.references)
        )
        return FilmGuide(*some)


def colorize_frames(
    colorizer: Colorizer,
    frames: Iterable[np.ndarray],
    fps: float = 25.0,
    memory: float = MEMORY,
    guide: FilmGuide | None = None,
) -> Iterator[np.ndarray]:
    """Colour the frames of a film one after the other, without flicker.

    Args:
        colorizer: `Colorizer`.
        frames: uint8 arrays (H, W, 3), sRGB, all of one size. Of frames in colour only the luma is used.
        fps: frames per second, > 0.
        memory: seconds for which colours are remembered, as in `SteadyColour`; 0 colours frame by frame.
        guide: what is known of their colours; references of the colorizer count only as far as they are
            named there.

    Yields:
        uint8 array (H, W, 3) for each frame, of the same luma.

    Raises:
        FilmError: if the frames are of another kind, or not of one size.

    Example:
        >>> from nxap_color.colorizer import Colorizer
        >>> gray = np.zeros((4, 36, 52, 3), "uint8")
        >>> next(colorize_frames(Colorizer.load(), gray)).shape
        (36, 52, 3)
    """
    lumas = (luma_of(frame) for frame in frames)
    for coloured in follow_colours(colorizer, lumas, SteadyColour(fps, memory), guide=guide):
        yield paint(coloured.frame, coloured.ab)


def luma_of(frame: np.ndarray) -> Frame:
    """Make a `Frame` of pixels, uint8 (H, W, 3), sRGB.

    Raises:
        FilmError: if they are of another kind.
    """
    frame = np.asarray(frame)
    if frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape or frame.dtype != np.uint8:
        raise FilmError(f"A frame is uint8 (height, width, 3), received {frame.dtype} {frame.shape}.")
    return Frame(color.rgb_to_luma(frame, "bt601"))


class Coloured(NamedTuple):
    """A frame and its colours, at the size of the network's answer.

    Attributes:
        frame: `films.Frame`.
        ab: float32 array (h, w, 2), ab units at the colorizer's vividness, turned as the frame is.
        is_cut: whether it begins a new shot.
        memory: what `SteadyColour.previous` was after it.
    """

    frame: Frame
    ab: np.ndarray
    is_cut: bool
    memory: tuple


def follow_colours(
    colorizer: Colorizer,
    frames: Iterable[Frame],
    steady: SteadyColour,
    turns: int = 0,
    guide: FilmGuide | None = None,
    first: int = 0,
) -> Iterator[Coloured]:
    """Decide the colours of a film while the following frames are already being read.

    Args:
        colorizer: `Colorizer`.
        frames: `films.Frame`s of one size.
        steady: `SteadyColour`, which remembers the last frame.
        turns: quarter turns counterclockwise after which the frames are upright.
        guide: what is known of their colours.
        first: number of the first of them in the film.

    Yields:
        `Coloured` for each frame. A broken frame keeps the colours of the one before.

    Raises:
        FilmError: if the frames are not of one size.
    """
    frames = _of_one_size(frames)
    answers = (
        ask_network(colorizer, batch, turns, guide is not None) for batch in _ahead(in_batches(frames))
    )
    numbers, guide, likeness = itertools.count(first), guide or FilmGuide(), None
    for batch, grays, colours in _ahead(answers):
        for frame, gray, answer in zip(batch, grays, colours, strict=True):
            number, size = next(numbers), upright_size(frame, turns)
            hints = guide.hints.get(number)
            if not frame.is_broken or likeness is None:
                likeness, lightness = answer[..., 2:], gray
            if frame.is_broken and steady.previous is not None:
                ab, is_cut = steady.previous[1], False
            else:
                ab = refer_to_matches(answer, guide.references.get(number, ()), colorizer.gain)
                ab, is_cut = steady.follow(gray, _keep_to(hints, ab, likeness, gray, size))
            # Once more, exactly: what moves takes some of the colours with it that were there before.
            ab = _keep_to(hints, ab, likeness, lightness, size)
            yield Coloured(frame, np.ascontiguousarray(np.rot90(ab, -turns)), is_cut, steady.previous)


def _keep_to(hints, ab, likeness, gray, size):
    """Correct the colours of a frame of `size` (H, W) towards its hints, if it has any."""
    if not hints:
        return ab
    lightness = shrink(color.gray_to_lightness(gray)[..., None], ab.shape[:2])[..., 0]
    return correct_colours(ab, draw_hints(hints, size, ab.shape[:2]), likeness, lightness)


def in_batches(items: Iterable) -> Iterator[list]:
    """Group items as the network takes them: lists of BATCH_SIZE, the last one shorter."""
    items = iter(items)
    return iter(lambda: list(itertools.islice(items, BATCH_SIZE)), [])


def ask_network(
    colorizer: Colorizer, frames: list[Frame], turns: int = 0, with_likeness: bool = False
) -> tuple[list[Frame], list[np.ndarray], list[np.ndarray]]:
    """Let the network colour frames, each by itself.

    Args:
        colorizer: `Colorizer`.
        frames: `Frame`s of one size.
        turns: quarter turns counterclockwise after which they are upright.
        with_likeness: whether to return what hints and references need, too.

    Returns:
        The frames, the list of their upright grays, uint8 (h, w), and the list of the network's colours for
        these, float32 arrays (h / stride, w / stride, 2), ab units, with likeness behind them if need be.
    """
    shape, extractor = frames[0].luma.shape, colorizer.extractor

    def upright(size):
        return [upright_gray(frame, size, turns) for frame in frames]

    grays = upright(colorizer.input_size(*shape))
    inputs = [{"lightness": color.scale_lightness(color.gray_to_lightness(g))[..., None]} for g in grays]
    if extractor:
        features = extractor.of_frames(upright(extractor.inner_size(*shape)))
        for given, vector in zip(inputs, features, strict=True):
            given[extractor.name] = vector
    if with_likeness:
        return frames, grays, colorizer.predict_likeness(inputs)
    return frames, grays, colorizer.predict_ab(inputs)


def _of_one_size(frames):
    shape = None
    for frame in frames:
        shape = shape or frame.luma.shape
        if frame.luma.shape != shape:
            raise FilmError(f"Frames must be of one size, received {frame.luma.shape} after {shape}.")
        yield frame


def _ahead(items):
    """Yield the items of an iterator while a thread of its own computes the next one."""
    end = object()
    with ThreadPoolExecutor(1) as thread:
        upcoming = thread.submit(next, items, end)
        while (item := upcoming.result()) is not end:
            upcoming = thread.submit(next, items, end)
            yield item


def paint(frame: Frame, ab: np.ndarray) -> np.ndarray:
    """Give a frame its colours, at full size.

    Args:
        frame: `Frame` with the luma of BT.601, (H, W), from 0 to 255.
        ab: float32 array (h, w, 2), ab units, as from `follow_colours`.

    Returns:
        uint8 array (H, W, 3), sRGB, of the same luma.
    """
    chroma = find_chroma(frame.gray(), ab, "bt601")
    rgb = color.join_luma_chroma(frame.luma / 255.0, chroma, "bt601")
    return np.uint8(np.rint(np.clip(rgb, 0.0, 1.0) * 255.0))


def find_chroma(gray: np.ndarray, ab: np.ndarray, matrix: str) -> np.ndarray:
    """Bring the colours of a frame to the size of its gray.

    Args:
        gray: uint8 array (H, W).
        ab: float32 array (h, w, 2), ab units, as from `follow_colours`.
        matrix: "bt601" or "bt709".

    Returns:
        float32 array (H, W, 2), (Cb, Cr) in [-0.5, 0.5].
    """
    full = upsample_guided(ab, color.gray_to_lightness(gray))
    return color.ab_to_chroma(full, gray, matrix)


def upright_gray(frame: Frame, size: tuple[int, int] | None, turns: int) -> np.ndarray:
    """Return the gray of a frame, uint8, resized as in `Frame.gray` and then turned upright."""
    return np.ascontiguousarray(np.rot90(frame.gray(size), turns))


def whole_grays(
    frames: Iterable[Frame], size: tuple[int, int], turns: int
) -> Iterator[tuple[Frame, np.ndarray]]:
    """Yield each frame with its upright gray; a broken one with that of the frame before.

    Args:
        frames: `Frame`s.
        size: (height, width) to which they are resized before they are turned.
        turns: quarter turns counterclockwise.
    """
    gray = None
    for frame in frames:
        if gray is None or not frame.is_broken:
            gray = upright_gray(frame, size, turns)
        yield frame, gray


def upright_size(frame: Frame, turns: int) -> tuple[int, int]:
    """Return (H, W) of a frame once it is upright."""
    return frame.luma.shape[:: -1 if turns % 2 else 1]

"""Films, animations and streams of frames in temporally stable colour."""

import collections
import contextlib
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from nxap_color import color
from nxap_color.colorizer import Colorizer
from nxap_color.corrections import correct_colours
from nxap_color.errors import FilmError, HintError
from nxap_color.film_hints import FilmHints, carry_hints
from nxap_color.guidance import Hint, draw_hints
from nxap_color.images import shrink
from nxap_color.inference import BATCH_SIZE
from nxap_color.media import animations, ffmpeg, films
from nxap_color.media.atomic import make_folder
from nxap_color.media.films import Frame
from nxap_color.media.segments import SEGMENT_FRAMES, SegmentStore
from nxap_color.steady import MEMORY, SteadyColour
from nxap_color.upsampling import upsample_guided


def colorize_frames(
    colorizer: Colorizer, frames: Iterable[np.ndarray], fps: float = 25.0, memory: float = MEMORY
) -> Iterator[np.ndarray]:
    """Colour the frames of a film one after the other, without flicker.

    Args:
        colorizer: `Colorizer`.
        frames: uint8 arrays (H, W, 3), sRGB, all of one size. Of frames in colour only the luma is used.
        fps: frames per second, > 0.
        memory: seconds for which colours are remembered, as in `SteadyColour`; 0 colours frame by frame.

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
    lumas = (Frame(color.rgb_to_luma(_checked(frame), "bt601")) for frame in frames)
    for coloured in follow_colours(colorizer, lumas, SteadyColour(fps, memory)):
        yield paint(coloured.frame, coloured.ab)


def _checked(frame):
    frame = np.asarray(frame)
    if frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape or frame.dtype != np.uint8:
        raise FilmError(f"A frame is uint8 (height, width, 3), received {frame.dtype} {frame.shape}.")
    return frame


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
    hints: FilmHints | None = None,
) -> Iterator[Coloured]:
    """Decide the colours of a film while the following frames are already being read.

    Args:
        colorizer: `Colorizer`.
        frames: `films.Frame`s of one size.
        steady: `SteadyColour`, which remembers the last frame.
        turns: quarter turns counterclockwise after which the frames are upright.
        hints: dict from the number of a frame, from 0, to its hints, as from `film_hints.carry_hints`.

    Yields:
        `Coloured` for each frame. A broken frame keeps the colours of the one before.

    Raises:
        FilmError: if the frames are not of one size.
    """
    frames = _of_one_size(frames)
    answers = (ask_network(colorizer, batch, turns, bool(hints)) for batch in _ahead(in_batches(frames)))
    numbers, hints = itertools.count(), hints or {}
    for batch, grays, colours in _ahead(answers):
        for frame, gray, answer in zip(batch, grays, colours, strict=True):
            if frame.is_broken and steady.previous is not None:
                ab, is_cut = steady.previous[1], False
            else:
                likeness, lightness = answer[..., 2:], gray
                ab, is_cut = steady.follow(gray, answer[..., :2])
            ab, told = colorizer.amplify(ab), hints.get(next(numbers), ())
            if told:  # not remembered, so that nothing but its own hints decides about a frame
                drawn = draw_hints(told, _upright_size(frame, turns), ab.shape[:2])
                small = shrink(color.gray_to_lightness(lightness)[..., None], ab.shape[:2])[..., 0]
                ab = correct_colours(ab, drawn, likeness, small)
            yield Coloured(frame, np.ascontiguousarray(np.rot90(ab, -turns)), is_cut, steady.previous)


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
        with_likeness: whether to return what hints need, too.

    Returns:
        The frames, the list of their upright grays, uint8 (h, w), and the list of the network's colours for
        these, float32 arrays (h / stride, w / stride, 2), ab units, with likeness behind them if need be.
    """
    shape, extractor = frames[0].luma.shape, colorizer.extractor

    def upright(size):
        return [_upright_gray(frame, size, turns) for frame in frames]

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


def colorize_video(
    colorizer: Colorizer,
    source: str | Path,
    target: str | Path,
    crf: int = ffmpeg.DEFAULT_CRF,
    memory: float = MEMORY,
    quiet: bool = True,
    hints: Sequence[Hint] = (),
) -> list[str]:
    """Colour a film, keeping its sound, subtitles and times.

    Finished segments are kept in a hidden folder beside the target until all is done: after a stop, the
    same call resumes after the last of them.

    Args:
        colorizer: `Colorizer`.
        source: path of a film.
        target: path of the film to write; replaced if it exists.
        crf: constant rate factor, 0 to 51, as in `films.video_codec`.
        memory: seconds for which colours are remembered, as in `SteadyColour`; 0 colours frame by frame.
        quiet: whether to leave out the progress bar.
        hints: `guidance.Hint`s with a time, in pixels of the upright frame; each holds for its shot.

    Returns:
        List of texts on what could not be kept as it was.

    Raises:
        HintError: if a hint has no time, or lies outside the frames or after the end.
        ModelError: if there are hints, and the network does not take any.
        FilmError: if the film cannot be read or the result cannot be written. Also if the end of its file is
            missing, but only once what there is of it has been coloured and written.
    """
    source, target = Path(source), Path(target)
    film, suffix = films.probe(source), target.suffix.lower()
    check_target(source, target)
    steady = SteadyColour(float(film.fps), memory)
    carried = _carry_hints(colorizer, film, hints, quiet) if hints else {}
    with contextlib.closing(SegmentStore(target, _settings(colorizer, film, crf, memory, hints))) as store:
        try:
            streams, note = films.plan_streams(film, suffix, store.folder)
            _go_on(colorizer, film, store, steady, suffix, crf, quiet, carried)
        except BaseException:
            if not store.segments:  # nothing to go on from
                store.remove()
            raise
        segments = [(s["path"], int(s["time"])) for s in store.segments]
        films.join_segments(film, segments, target, streams)
        broken = np.concatenate([segment["broken"] for segment in store.segments])
        store.remove()
    if film.is_cut_off:
        raise FilmError(f"The end of its file is missing; {target} holds what there is. Fetch it again.")
    return [note] * bool(note) + film.losses + _describe_broken(broken)


def _go_on(colorizer, film, store, steady, suffix, crf, quiet, hints):
    """Colour what of a film is not in the `SegmentStore` yet."""
    steady.previous = store.memory
    frames = itertools.islice(films.read_film(film), store.frames, None)
    hints = {number - store.frames: some for number, some in hints.items()}
    coloured = follow_colours(colorizer, frames, steady, film.turns, hints)
    codec, total = films.video_codec(suffix, crf, film.is_variable), len(film.times) or None
    with tqdm(total=total, initial=store.frames, unit="frame", disable=quiet or None) as bar:
        while segment := list(itertools.islice(coloured, 1)):
            part = itertools.chain(segment, itertools.islice(coloured, SEGMENT_FRAMES - 1))
            _write_segment(colorizer, film, store, part, codec, bar)


def _carry_hints(colorizer, film, hints, quiet):
    """Find where hints are in the frames of a film, before it is coloured."""
    colorizer.require_hints()
    if untimed := [hint for hint in hints if hint.time is None]:
        raise HintError(f"A hint in a film needs a time in seconds; {untimed[0]} has none.")
    frames = films.read_film(film)
    first = next(frames)
    shape = first.luma.shape
    last = film.times[-1] + film.last_duration if film.times else first.time
    end = float((last - first.time) * film.time_base)
    for hint in hints:
        if film.times and hint.time > end:
            raise HintError(f"The hint {hint} at {hint.time:g} s lies after the end of the film, {end:g} s.")

    def upright():
        gray = None
        for frame in tqdm(itertools.chain([first], frames), **progress):
            if gray is None or not frame.is_broken:
                gray = _upright_gray(frame, colorizer.input_size(*shape), film.turns)
            yield float((frame.time - first.time) * film.time_base), gray

    progress = {"desc": "following hints", "unit": "frame", "disable": quiet or None, "leave": False}
    with contextlib.closing(frames):
        return carry_hints(upright(), hints, _upright_size(first, film.turns), SteadyColour(float(film.fps)))


def _upright_gray(frame, size, turns):
    return np.ascontiguousarray(np.rot90(frame.gray(size), turns))


def _upright_size(frame, turns):
    """(H, W) of a frame once it is upright."""
    return frame.luma.shape[:: -1 if turns % 2 else 1]


def check_target(source: Path, target: Path) -> None:
    """Check, before any work is done, that a result may be written, and make the folder for it.

    Args:
        source, target: `Path`s.

    Raises:
        UserError: if the target is a folder, or the source itself, or its folder cannot be made.
    """
    if target.is_dir():
        raise FilmError(f"{target} is a folder: name a file for the result.")
    if target.exists() and target.samefile(source):
        raise FilmError(f"The result would replace the source {source}: name another file.")
    make_folder(target.parent)


def _describe_broken(numbers):
    """The numbers of broken frames -> a list with a text on them, or none."""
    if not len(numbers):
        return []
    if len(numbers) == 1:
        return [f"1 broken frame kept the colours before it: number {numbers[0]}"]
    some = ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
    return [f"{len(numbers)} broken frames kept the colours before them: numbers {some}"]


def _write_segment(colorizer, film, store, part, codec, bar):
    """Encode the next frames of a film and record the segment as finished."""
    start, times, broken = store.frames, [], []
    try:
        with films.FilmWriter(store.next_path, film, codec) as writer:
            for number, coloured in enumerate(part, start):
                gray = coloured.frame.gray(film.chroma_size)
                writer.write(coloured.frame, find_chroma(gray, coloured.ab, film.matrix))
                times.append(coloured.frame.time)
                broken += [number] if coloured.frame.is_broken else []
                bar.update()
    except FilmError as error:
        raise FilmError(f"Frame {start + len(times)}: {error} What is finished is kept.") from error
    lightness, ab = coloured.memory
    store.finish(frames=len(times), time=times[0], broken=np.array(broken, int), lightness=lightness, ab=ab)


def _settings(colorizer, film, crf, memory, hints):
    """Everything that affects the output: finished segments are reused only if it is unchanged."""
    file = film.path.stat()
    return {
        "source": [str(film.path.resolve()), file.st_size, file.st_mtime_ns],
        "model": [colorizer.network.digest(), colorizer.network_size, colorizer.gain],
        "extractor": colorizer.extractor.digest if colorizer.extractor else None,
        "crf": crf,
        "memory": memory,
    } | ({"hints": [repr(hint) for hint in hints]} if hints else {})


# How long browsers show frames that give no duration, in milliseconds.
_UNSAID_DURATION = 100
_PALETTE_FRAMES = 16


def colorize_animation(
    colorizer: Colorizer, source: str | Path, target: str | Path, memory: float = MEMORY, quiet: bool = True
) -> None:
    """Colour an animation; durations, loop count and transparency stay as they are.

    A GIF gets one palette for all frames, so that colours do not jump.

    Args:
        colorizer: `Colorizer`.
        source: path of a GIF, PNG or WebP.
        target: path of the GIF, PNG or WebP to write; replaced if it exists.
        memory: seconds for which colours are remembered, as in `SteadyColour`; 0 colours frame by frame.
        quiet: whether to leave out the progress bar.

    Raises:
        FilmError, PhotoError: if the animation cannot be read or the result cannot be written.
    """
    source, target = Path(source), Path(target)
    durations, has_holes = [], False
    for frame in animations.read_frames(source):
        durations.append(frame.duration)
        has_holes |= (frame.alpha <= 127).any()
    check_target(source, target)
    shown = [duration or _UNSAID_DURATION for duration in durations]
    fps = 1000.0 * len(shown) / sum(shown)
    bar = tqdm(total=len(durations), unit="frame", disable=quiet or None)

    def coloured():
        waiting = collections.deque()
        for rgb in colorize_frames(colorizer, _pictures(source, waiting), fps, memory):
            yield dataclasses.replace(waiting.popleft(), rgb=rgb)
            bar.update()

    properties = animations.read_properties(source)
    with bar:
        if target.suffix.lower() != ".gif":
            animations.write_animation(target, coloured(), properties)
            return
        step = -(-len(durations) // _PALETTE_FRAMES)
        some = itertools.islice(_pictures(source), 0, None, step)
        palette = animations.choose_palette(list(colorize_frames(colorizer, some, fps, memory=0)))
        with animations.GifWriter(target, palette, properties.loop, has_holes) as writer:
            for frame in coloured():
                writer.write(frame)


def _pictures(source, waiting=None):
    """Yield the pixels of an animation's frames, and append the frames to a queue, if there is one."""
    for frame in animations.read_frames(source):
        if waiting is not None:
            waiting.append(frame)
        yield frame.rgb

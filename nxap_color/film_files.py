"""Films and animations as files: read, coloured without flicker, written again."""

import collections
import contextlib
import dataclasses
import itertools
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nxap_color.colorizer import Colorizer
from nxap_color.errors import FilmError, HintError
from nxap_color.film_hints import carry_hints
from nxap_color.guidance import Hint
from nxap_color.media import animations, ffmpeg, films
from nxap_color.media.atomic import make_folder
from nxap_color.media.segments import SEGMENT_FRAMES, SegmentStore
from nxap_color.references import matched_size, name_some
from nxap_color.shots import find_shots
from nxap_color.steady import MEMORY, SteadyColour
from nxap_color.video import (
    FilmGuide,
    colorize_frames,
    find_chroma,
    follow_colours,
    luma_of,
    whole_grays,
)


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
        List of texts on what could not be kept as it was, and on references that show nothing of it.

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
    with contextlib.closing(SegmentStore(target, _settings(colorizer, film, crf, memory, hints))) as store:
        try:
            streams, note = films.plan_streams(film, suffix, store.folder)
            guide, unseen = _guide_of(colorizer, film, hints, quiet)
            _go_on(colorizer, film, store, steady, suffix, crf, quiet, guide)
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
    return [note] * bool(note) + film.losses + unseen + _describe_broken(broken)


def _go_on(colorizer, film, store, steady, suffix, crf, quiet, guide):
    """Colour what of a film is not in the `SegmentStore` yet."""
    steady.previous = store.memory
    frames = itertools.islice(films.read_film(film), store.frames, None)
    coloured = follow_colours(colorizer, frames, steady, film.turns, guide, store.frames)
    codec, total = films.video_codec(suffix, crf, film.is_variable), len(film.times) or None
    with tqdm(total=total, initial=store.frames, unit="frame", disable=quiet or None) as bar:
        while segment := list(itertools.islice(coloured, 1)):
            part = itertools.chain(segment, itertools.islice(coloured, SEGMENT_FRAMES - 1))
            _write_segment(film, store, part, codec, bar)


def _guide_of(colorizer, film, hints, quiet):
    """As `_guide`, of a film."""
    end = None
    if film.times:
        end = float((film.times[-1] + film.last_duration - film.times[0]) * film.time_base)
    bar = {"total": len(film.times) or None, "disable": quiet or None}
    size, fps = (film.height, film.width), float(film.fps)
    return _guide(
        colorizer, lambda: films.read_film(film), size, film.turns, fps, film.time_base, hints, end, **bar
    )


def _guide(colorizer, read, size, turns, fps, time_base, hints, end, **progress):
    """Look through a film before it is coloured: where its hints are, and which references show its shots.

    Args:
        colorizer: `Colorizer`.
        read: function that returns a generator of its `Frame`s.
        size: their (height, width), as stored.
        turns: quarter turns counterclockwise after which they are upright.
        fps: frames per second.
        time_base: seconds of a tick of their times.
        hints: `Hint`s.
        end: seconds after which it is over, or None if that is not known.
        **progress: options of the progress bar.

    Returns:
        `FilmGuide` and a list of notes; None and no notes if there is nothing to be guided by.
    """
    if not hints and not colorizer.references:
        return None, []
    colorizer.require_hints()
    for hint in hints:
        if hint.time is None:
            raise HintError(f"A hint in a film needs a time in seconds; {hint} has none.")
        if end is not None and hint.time > end:
            raise HintError(f"The hint {hint} at {hint.time:g} s lies after the end of the film, {end:g} s.")

    def grays(small, doing):
        first = None
        with contextlib.closing(read()) as frames:
            bar = tqdm(frames, desc=doing, unit="frame", leave=False, **progress)
            for frame, gray in whole_grays(bar, small, turns):
                first = frame.time if first is None else first
                yield float((frame.time - first) * time_base), gray

    carried, shown = {}, {}
    if hints:
        upright = size[:: -1 if turns % 2 else 1]
        with contextlib.closing(grays(colorizer.input_size(*size), "following hints")) as seen:
            carried = carry_hints(seen, hints, upright, SteadyColour(fps))
    if colorizer.references:
        with contextlib.closing(grays(matched_size(*size), "comparing with references")) as seen:
            for shot in find_shots((gray for _, gray in seen), SteadyColour(fps), colorizer.references):
                shown.update(shot.matches)
    return FilmGuide(carried, shown), _unseen(colorizer.references, shown)


def _unseen(references, shown):
    """List a note on references that show no frame."""
    used = {match.reference.name for matches in shown.values() for match in matches}
    unseen = [name for name in dict.fromkeys(reference.name for reference in references) if name not in used]
    return [f"no shot shows what {name_some(unseen)} shows; coloured without"] if unseen else []


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


def _write_segment(film, store, part, codec, bar):
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
        "hints": [repr(hint) for hint in hints],
        "references": [[reference.name, reference.digest()] for reference in colorizer.references],
    }


# How long browsers show frames that give no duration, in milliseconds.
_UNSAID_DURATION = 100
_PALETTE_FRAMES = 16


def colorize_animation(
    colorizer: Colorizer,
    source: str | Path,
    target: str | Path,
    memory: float = MEMORY,
    quiet: bool = True,
    hints: Sequence[Hint] = (),
) -> list[str]:
    """Colour an animation; durations, loop count and transparency stay as they are.

    A GIF gets one palette for all frames, so that colours do not jump.

    Args:
        colorizer: `Colorizer`.
        source: path of a GIF, PNG or WebP.
        target: path of the GIF, PNG or WebP to write; replaced if it exists.
        memory: seconds for which colours are remembered, as in `SteadyColour`; 0 colours frame by frame.
        quiet: whether to leave out the progress bar.
        hints: as in `colorize_video`.

    Returns:
        List of texts on references that show nothing of it.

    Raises:
        HintError, ModelError: as `colorize_video`.
        FilmError, PhotoError: if the animation cannot be read or the result cannot be written.
    """
    source, target = Path(source), Path(target)
    durations, has_holes = [], False
    for frame in animations.read_frames(source):
        durations.append(frame.duration)
        size = frame.rgb.shape[:2]
        has_holes |= (frame.alpha <= 127).any()
    check_target(source, target)
    properties = animations.read_properties(source)
    shown = [duration or _UNSAID_DURATION for duration in durations]
    fps = 1000.0 * len(shown) / sum(shown)
    if properties.has_still:  # which no program shows that shows the others
        shown[0] = 0
    starts = list(itertools.accumulate(shown, initial=0))
    progress = {"total": len(durations), "disable": quiet or None}

    def read():
        for start, rgb in zip(starts, _pictures(source)):  # noqa: B905 - the last start is the end
            yield dataclasses.replace(luma_of(rgb), time=start)

    guide, notes = _guide(
        colorizer, read, size, 0, fps, Fraction(1, 1000), hints, sum(shown) / 1000.0, **progress
    )
    bar = tqdm(unit="frame", **progress)

    def coloured():
        waiting = collections.deque()
        for rgb in colorize_frames(colorizer, _pictures(source, waiting), fps, memory, guide):
            yield dataclasses.replace(waiting.popleft(), rgb=rgb)
            bar.update()

    with bar:
        if target.suffix.lower() != ".gif":
            animations.write_animation(target, coloured(), properties)
            return notes
        step = -(-len(durations) // _PALETTE_FRAMES)
        some = itertools.islice(_pictures(source), 0, None, step)
        known = guide and guide.every(step)
        palette = animations.choose_palette(list(colorize_frames(colorizer, some, fps, 0, known)))
        with animations.GifWriter(target, palette, properties.loop, has_holes) as writer:
            for frame in coloured():
                writer.write(frame)
    return notes


def _pictures(source, waiting=None):
    """Yield the pixels of an animation's frames, and append the frames to a queue, if there is one."""
    for frame in animations.read_frames(source):
        if waiting is not None:
            waiting.append(frame)
        yield frame.rgb

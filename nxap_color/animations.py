"""GIFs, and PNGs and WebPs that move, in colour that holds: `colorize_animation`."""

import collections
import dataclasses
import itertools
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nxap_color import animation_io, luma_chroma
from nxap_color.steady import MEMORY
from nxap_color.video import check_target, colorize_frames

# What browsers show frames for that give no duration, in milliseconds.
_UNSAID_DURATION = 100
_PALETTE_FRAMES = 16


def colorize_animation(colorizer, source, target, memory=MEMORY, quiet=True):
    """Colours an animation; durations, loop count and transparency stay as they are.

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
    for frame in animation_io.read_frames(source):
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

    properties = animation_io.read_properties(source)
    with bar:
        if target.suffix.lower() != ".gif":
            animation_io.write_animation(target, coloured(), properties)
            return
        step = -(-len(durations) // _PALETTE_FRAMES)
        some = itertools.islice(_pictures(source), 0, None, step)
        palette = animation_io.choose_palette(list(colorize_frames(colorizer, some, fps, memory=0)))
        with animation_io.GifWriter(target, palette, properties.loop, has_holes) as writer:
            for frame in coloured():
                writer.write(frame)


def _pictures(source, waiting=None):
    """Yields the pixels of an animation's frames, and puts the frames into a queue, if there is one."""
    for frame in animation_io.read_frames(source):
        if waiting is not None:
            waiting.append(frame)
        yield frame.rgb


def compare_gifs(before, after, target):
    """Puts a GIF and its coloured version side by side.

    Args:
        before: path of the source, of which the gray is shown.
        after: path of the coloured one, with as many frames of the same size.
        target: path to write; replaced if it exists.

    Raises:
        FilmError: if one cannot be read or the result cannot be written.
    """
    before, after, target = Path(before), Path(after), Path(target)
    first = _beside(next(animation_io.read_frames(before)), next(animation_io.read_frames(after)))
    frames = zip(animation_io.read_frames(before), animation_io.read_frames(after), strict=True)
    palette, loop = animation_io.choose_palette([first.rgb]), animation_io.read_properties(before).loop
    with animation_io.GifWriter(target, palette, loop, has_holes=True) as writer:
        for pair in frames:
            writer.write(_beside(*pair))


def _beside(before, after):
    """Two `AnimationFrame`s -> one, the gray of the first on the left."""
    gray = np.uint8(np.rint(luma_chroma.rgb_to_luma(before.rgb, "bt601")))
    rgb = np.concatenate([np.repeat(gray[..., None], 3, axis=2), after.rgb], axis=1)
    return dataclasses.replace(after, rgb=rgb, alpha=np.hstack([before.alpha, after.alpha]))

"""GIFs in colour that holds, with one palette for all frames: `colorize_gif`."""

import collections
import dataclasses
import itertools
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nxap_color import gif_io, luma_chroma
from nxap_color.steady import MEMORY
from nxap_color.video import check_target, colorize_frames

# What browsers show frames of a GIF for that give no duration, in milliseconds.
_UNSAID_DURATION = 100
_PALETTE_FRAMES = 16


def colorize_gif(colorizer, source, target, memory=MEMORY, quiet=True):
    """Colours a GIF; durations, loop count and transparency stay as they are.

    Args:
        colorizer: `Colorizer`.
        source: path of a GIF.
        target: path of the GIF to write; replaced if it exists.
        memory: seconds for which colours are remembered, as in `SteadyColour`; 0 colours frame by frame.
        quiet: whether to leave out the progress bar.

    Raises:
        FilmError: if the GIF cannot be read or the result cannot be written.
    """
    source, target = Path(source), Path(target)
    durations, has_holes = [], False
    for frame in gif_io.read_gif(source):
        durations.append(frame.duration)
        has_holes |= not frame.is_opaque.all()
    check_target(source, target)
    shown = [duration or _UNSAID_DURATION for duration in durations]
    fps = 1000.0 * len(shown) / sum(shown)
    step = -(-len(durations) // _PALETTE_FRAMES)
    some = itertools.islice((frame.rgb for frame in gif_io.read_gif(source)), 0, None, step)
    palette = gif_io.choose_palette(list(colorize_frames(colorizer, some, fps, memory=0)))
    waiting = collections.deque()

    def pictures():
        for frame in gif_io.read_gif(source):
            waiting.append(frame)
            yield frame.rgb

    bar = tqdm(total=len(durations), unit="frame", disable=quiet or None)
    with bar, gif_io.GifWriter(target, palette, gif_io.loop_count(source), has_holes) as writer:
        for rgb in colorize_frames(colorizer, pictures(), fps, memory):
            writer.write(dataclasses.replace(waiting.popleft(), rgb=rgb))
            bar.update()


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
    first = _beside(next(gif_io.read_gif(before)), next(gif_io.read_gif(after)))
    frames = zip(gif_io.read_gif(before), gif_io.read_gif(after), strict=True)
    palette, loop = gif_io.choose_palette([first.rgb]), gif_io.loop_count(before)
    with gif_io.GifWriter(target, palette, loop, has_holes=True) as writer:
        for pair in frames:
            writer.write(_beside(*pair))


def _beside(before, after):
    """Two `GifFrame`s -> one, the gray of the first on the left."""
    gray = np.uint8(np.rint(luma_chroma.rgb_to_luma(before.rgb, "bt601")))
    rgb = np.concatenate([np.repeat(gray[..., None], 3, axis=2), after.rgb], axis=1)
    return dataclasses.replace(after, rgb=rgb, is_opaque=np.hstack([before.is_opaque, after.is_opaque]))

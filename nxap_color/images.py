"""Pixels in NumPy: bit depth, orientation, resizing in strips that bound memory, pictures side by side."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from PIL import Image

# Larger than what a strip costs to set up, small enough for a processor's cache.
STRIP_PIXELS = 2**17


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """Round uint16 pixels, 0..65535, to uint8; uint8 pixels come back as they are. Any shape."""
    return pixels if pixels.dtype == np.uint8 else ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def to_float(pixels: np.ndarray) -> np.ndarray:
    """Convert pixels to float32 in [0, 1]: uint8 and uint16 by their range; floats keep their values."""
    scale = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    return pixels.astype("float32") / np.float32(scale)


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Rotate and mirror pixels (H, W, ...) as an EXIF orientation, 1 to 8, says; other values mean 1."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def strips(height: int, width: int) -> Iterator[slice]:
    """Yield slices of rows that together make up a picture of `height` x `width` pixels."""
    rows = max(1, STRIP_PIXELS // width)
    for start in range(0, height, rows):
        yield slice(start, min(start + rows, height))


def share_strips(work: Callable[[Iterator[slice]], object], height: int, width: int) -> None:
    """Share the `strips` of a picture between threads, one for each processor that OpenCV may use.

    Args:
        work: function that works through an iterator of slices of rows; others take from the same one. What
            it needs for a strip it can set aside once: fresh memory costs more than what is done to it.
        height, width: pixels of the picture.
    """
    shared = list(strips(height, width))
    left = iter(shared)  # a list's iterator may be shared, a generator may not
    threads = max(1, min(len(shared), cv2.getNumThreads()))
    with ThreadPoolExecutor(threads) as pool:
        try:
            for _ in pool.map(work, [left] * threads):  # which raises what the function raises
                pass
        finally:
            deque(left, maxlen=0)  # after a stop or an error nothing is left to do


def shrink(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a picture bilinearly, with antialiasing.

    Args:
        pixels: array (H, W, channels), uint8, uint16, or float in any range.
        size: (h, w).

    Returns:
        float32 array (h, w, channels); in [0, 1] if `pixels` are integers.
    """
    # Columns first: the rows of a strip do not depend on those of another.
    narrow = [
        _resize(to_float(pixels[rows]), (rows.stop - rows.start, size[1]))
        for rows in strips(*pixels.shape[:2])
    ]
    return _resize(np.concatenate(narrow), size)


def _resize(pixels, size):
    # Pillow weighs pixels as TensorFlow does, which makes the training crops; OpenCV does not.
    channels = [Image.fromarray(np.ascontiguousarray(channel)) for channel in np.moveaxis(pixels, -1, 0)]
    resized = [channel.resize(size[::-1], Image.Resampling.BILINEAR) for channel in channels]
    return np.stack([np.asarray(channel) for channel in resized], axis=-1)


def enlarge(
    grid: np.ndarray, size: tuple[int, int], rows: slice, out: np.ndarray | None = None
) -> np.ndarray:
    """Resize a small picture of one channel bilinearly, and return some rows of the result.

    Args:
        grid: float32 array (h, w).
        size: (H, W) of the whole result.
        rows: slice of its rows.
        out: float32 array (rows, W) to write to; None for a new one.

    Returns:
        float32 array (rows, W).
    """
    above, below, weights = bilinear(np.arange(rows.start, rows.stop), size[0], len(grid))
    weights = weights[:, None]
    tall = (1.0 - weights) * grid[above] + weights * grid[below]
    return cv2.resize(tall, (size[1], len(tall)), dst=out)


def bilinear(places: np.ndarray, length: int, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find between which points of a grid pixels lie, along one axis.

    Args:
        places: int array (n,), pixels along an axis of `length` pixels.
        length: pixels of that axis.
        steps: points of the grid along it, each in the middle of an equal share; the first and the last
            extend to the border.

    Returns:
        Two int arrays (n,), the points before and after each pixel, and a float32 array (n,), the weight in
        [0, 1] of the latter.
    """
    centres = (places + 0.5) * (steps / length) - 0.5
    centres = np.clip(centres, 0.0, steps - 1.0)
    before = np.minimum(np.int64(centres), max(0, steps - 2))
    return before, np.minimum(before + 1, steps - 1), np.float32(centres - before)


def contact_sheet(rows: list[list[np.ndarray]], height: int = 160, gap: int = 4) -> np.ndarray:
    """Arrange pictures in rows, all of one height, on white.

    Args:
        rows: lists of pictures, uint8 (H, W, 3) or float (H, W, 3) in [0, 1], sRGB.
        height: pixels of each row.
        gap: white pixels between pictures.

    Returns:
        uint8 array (H, W, 3).
    """
    joined = []
    for row in rows:
        tiles = [_to_height(picture, height) for picture in row]
        space = np.full((height, gap, 3), 255, "uint8")
        joined.append(np.concatenate([part for tile in tiles for part in (tile, space)][:-1], axis=1))
    width = max(row.shape[1] for row in joined)
    padded = [np.pad(r, ((0, gap), (0, width - r.shape[1]), (0, 0)), constant_values=255) for r in joined]
    return np.concatenate(padded)[:-gap]


def as_uint8(picture: np.ndarray) -> np.ndarray:
    """Return a picture of any depth, float in [0, 1], uint16 or uint8, of any shape, as uint8."""
    picture = np.asarray(picture)
    if np.issubdtype(picture.dtype, np.floating):
        return np.uint8(np.clip(picture, 0.0, 1.0) * 255.0 + 0.5)
    return to_uint8(picture)


def before_after(before: np.ndarray, after: np.ndarray, height: int | None = None) -> np.ndarray:
    """Place a photo and its coloured version side by side.

    Args:
        before: array (H, W, 3), uint8, uint16 or float in [0, 1]; shown in gray.
        after: array (H, W, 3), the same kinds.
        height: pixels of the result, or None for H but at most 1080.

    Returns:
        uint8 array (height, width, 3).
    """
    gray = np.asarray(Image.fromarray(as_uint8(before)).convert("L").convert("RGB"))
    return contact_sheet([[gray, after]], height or min(len(before), 1080))


def _to_height(picture, height):
    picture = as_uint8(picture)
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))

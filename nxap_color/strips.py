"""Large pictures a strip of rows at a time, so that floats of the whole never fill the memory."""

import cv2
import numpy as np
from PIL import Image

# Above what a strip costs to set up, below what a processor's cache and small memories can take.
STRIP_PIXELS = 2**18


def strips(height, width):
    """Yields slices of rows that together make up a picture of `height` x `width` pixels."""
    rows = max(1, STRIP_PIXELS // width)
    for start in range(0, height, rows):
        yield slice(start, min(start + rows, height))


def to_float(pixels):
    """Brings pixels to float32 in [0, 1]: uint8 and uint16 by their range; floats keep their values."""
    scale = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    return pixels.astype("float32") / np.float32(scale)


def shrink(pixels, size):
    """Resizes a picture bilinearly, with antialiasing.

    Args:
        pixels: array (H, W, channels), uint8, uint16, or float in any range.
        size: (h, w).

    Returns:
        float32 array (h, w, channels); of whole numbers in [0, 1].
    """
    # Columns first: the rows of a strip say nothing about those of another.
    narrow = [
        _resize(to_float(pixels[rows]), (rows.stop - rows.start, size[1]))
        for rows in strips(*pixels.shape[:2])
    ]
    return _resize(np.concatenate(narrow), size)


def enlarge(grid, size, rows):
    """Resizes a small picture bilinearly, and gives some rows of the result.

    Args:
        grid: float32 array (h, w, channels).
        size: (H, W) of the whole result.
        rows: slice of its rows.

    Returns:
        float32 array (rows, W, channels).
    """
    # Where the middles of the rows lie in the grid, beyond whose border its own rows go on.
    middles = (np.arange(rows.start, rows.stop) + 0.5) * (len(grid) / size[0]) - 0.5
    middles = np.clip(middles, 0.0, len(grid) - 1.0)
    above = np.minimum(np.int64(middles), max(0, len(grid) - 2))
    below = np.minimum(above + 1, len(grid) - 1)
    weights = np.float32(middles - above)[:, None, None]
    tall = (1.0 - weights) * grid[above] + weights * grid[below]
    wide = cv2.resize(tall, (size[1], len(tall)))
    return wide.reshape(*wide.shape[:2], -1)  # OpenCV drops the dimension of a single channel


def _resize(pixels, size):
    # Pillow weighs the pixels as TensorFlow does, with which training crops are made; OpenCV does not.
    channels = [Image.fromarray(np.ascontiguousarray(channel)) for channel in np.moveaxis(pixels, -1, 0)]
    resized = [channel.resize(size[::-1], Image.Resampling.BILINEAR) for channel in channels]
    return np.stack([np.asarray(channel) for channel in resized], axis=-1)

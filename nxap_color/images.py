"""Pixels in NumPy: bit depths, resizing in strips that bound memory, and pictures side by side."""

import cv2
import numpy as np
from PIL import Image


def to_uint8(pixels):
    """Rounds uint16 pixels, 0..65535, to uint8; uint8 pixels come back as they are. Any shape."""
    return pixels if pixels.dtype == np.uint8 else ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def turn_upright(pixels, orientation):
    """Turns and mirrors pixels (H, W, ...) as an EXIF orientation, 1 to 8, says; others mean 1."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


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


def contact_sheet(rows, height=160, gap=4):
    """Puts pictures into rows, all of one height, on white.

    Args:
        rows: list of lists of pictures, uint8 (H, W, 3) or float (H, W, 3) in [0, 1], sRGB.
        height: pixels of each row.
        gap: white pixels between pictures.

    Returns:
        uint8 array (H, W, 3).
    """
    strips = []
    for row in rows:
        tiles = [_to_height(picture, height) for picture in row]
        space = np.full((height, gap, 3), 255, "uint8")
        strips.append(np.concatenate([part for tile in tiles for part in (tile, space)][:-1], axis=1))
    width = max(strip.shape[1] for strip in strips)
    padded = [np.pad(s, ((0, gap), (0, width - s.shape[1]), (0, 0)), constant_values=255) for s in strips]
    return np.concatenate(padded)[:-gap]


def _to_height(picture, height):
    picture = _as_uint8(picture)
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def before_after(before, after, height=None):
    """Puts a photo and its coloured version side by side.

    Args:
        before: array (H, W, 3), uint8, uint16 or float in [0, 1]; of colour photos the gray is shown.
        after: array (H, W, 3), the same kinds.
        height: pixels of the result, or None for H but at most 1080.

    Returns:
        uint8 array (height, width, 3).
    """
    gray = np.asarray(Image.fromarray(_as_uint8(before)).convert("L").convert("RGB"))
    return contact_sheet([[gray, after]], height or min(len(before), 1080))


def _as_uint8(picture):
    picture = np.asarray(picture)
    if np.issubdtype(picture.dtype, np.floating):
        return np.uint8(np.clip(picture, 0.0, 1.0) * 255.0 + 0.5)
    return to_uint8(picture)

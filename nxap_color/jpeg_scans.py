"""The scans that a JPEG consists of (ITU T.81): what libjpeg fills up with gray, and Pillow does not tell."""

import io
import re

import numpy as np
from PIL import Image

_START_OF_SCAN, _RESTART_INTERVAL, _END = 0xDA, 0xDD, 0xD9
_HUFFMAN_FRAMES = (0xC0, 0xC1, 0xC2)
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # but for those within a scan
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_GRAY = 128
# Any bytes will do that are no marker and no picture without contrast.
_MORE = bytes(range(1, 255)) * 4


def has_all_blocks(jpeg, image):
    """Tells whether a JPEG holds as many blocks of pixels as its head says; libjpeg fills up with gray.

    What follows the last block of a scan is skipped, so that more bytes at its end change the picture only
    if blocks are missing. This is tried where the last corner is gray; the others are whole.

    Args:
        jpeg: bytes of a JPEG.
        image: the same as Pillow decoded it.

    Returns:
        True or False.
    """
    corner = np.asarray(image.crop((max(0, image.width - 8), max(0, image.height - 8), *image.size)))
    if np.abs(corner.astype(int) - _GRAY).max() > 1:
        return True
    with Image.open(io.BytesIO(lengthen_scans(jpeg)), formats=("JPEG",)) as other:
        return image.tobytes() == other.tobytes()


def lengthen_scans(jpeg):
    """Puts bytes at the end of each scan that would be pixels if any were missing.

    Args:
        jpeg: bytes of a JPEG.

    Returns:
        bytes. The same if it is not in Huffman's code (of which an arithmetic one knows no end).
    """
    pieces, start, has_restarts = [], 0, False
    while found := _MARKER.search(jpeg, start):
        marker, end = jpeg[found.end() - 1], found.end()
        if marker == _END or 0xC0 <= marker <= 0xCF and marker not in (*_HUFFMAN_FRAMES, 0xC4, 0xC8, 0xCC):
            break
        if marker != 0xD8:
            end += int.from_bytes(jpeg[end : end + 2], "big")
        has_restarts |= marker == _RESTART_INTERVAL
        pieces.append(jpeg[start:end])
        start = end
        if marker == _START_OF_SCAN:
            following = _MARKER.search(jpeg, start)
            end = following.start() if following else len(jpeg)
            pieces += [jpeg[start:end], _more(jpeg[start:end], has_restarts)]
            start = end
    return b"".join((*pieces, jpeg[start:]))


def _more(scan, has_restarts):
    """Bytes to follow those of a scan; where it restarts at intervals, for the next eight of them."""
    if not has_restarts:
        return _MORE
    last = max((found.end() for found in _RESTART.finditer(scan)), default=None)
    first = 0 if last is None else scan[last - 1] - 0xD0 + 1
    return _MORE + b"".join(bytes((0xFF, 0xD0 + (first + step) % 8)) + _MORE for step in range(8))

"""The chunks that a PNG consists of (PNG specification, W3C): what Pillow and OpenCV leave undone."""

import io
import re
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of each colour type
# First row and column, and the steps between them, of the seven passes of an interlaced PNG (Adam7).
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


class Chunk(NamedTuple):
    """One chunk: its four letters, its data, and all its bytes with length and checksum."""

    kind: bytes
    data: memoryview
    whole: memoryview


def read_chunks(png):
    """Yields the `Chunk`s of a PNG, bytes or the like."""
    png = memoryview(png).cast("B")
    start = len(_SIGNATURE)
    while start + 12 <= len(png):
        end = start + 12 + int.from_bytes(png[start : start + 4], "big")
        yield Chunk(bytes(png[start + 4 : start + 8]), png[start + 8 : end - 4], png[start:end])
        start = end


def has_all_pixels(png):
    """Tells whether a PNG holds as many rows, in each frame, as its heads say; Pillow fills up with black.

    Args:
        png: bytes of a PNG, which Pillow could read.

    Returns:
        True or False.
    """
    head, missing, inflate, has_begun = b"", 0, None, False
    for kind, data, _ in read_chunks(png):
        if kind == b"IHDR" or kind == b"fcTL" and has_begun:
            # A frame's chunk begins with a number, and its size is where the head has its own.
            if missing > 0:
                return False
            head, size = (data, data[:8]) if kind == b"IHDR" else (head, data[4:12])
            missing, inflate = _num_bytes(head, size), zlib.decompressobj()
        waiting = {b"IDAT": data, b"fdAT": data[4:]}.get(kind, b"")
        has_begun |= kind == b"IDAT"
        while waiting and missing > 0:
            # Little by little: a small chunk may hold gigabytes of zeros.
            missing -= len(inflate.decompress(waiting, 2**20))
            waiting = inflate.unconsumed_tail
    return missing <= 0


def _num_bytes(head, size):
    """Data of the chunk IHDR, and width and height as there -> bytes of all rows, with their filters."""
    width, height = (int.from_bytes(size[start : start + 4], "big") for start in (0, 4))
    bits = head[8] * _CHANNELS[head[9]]
    passes = _PASSES if head[12] else ((0, 0, 1, 1),)
    sizes = [
        (-(-(height - row) // rows), -(-(width - column) // columns)) for row, column, rows, columns in passes
    ]
    return sum(high * (1 + -(-wide * bits // 8)) for high, wide in sizes if high > 0 and wide > 0)


def copy_metadata(source, target):
    """Puts what a PNG holds besides its picture into another one.

    Args:
        source: bytes of a PNG without a palette.
        target: bytes of the PNG whose picture counts, and which holds nothing else.

    Returns:
        List of bytes-likes that make up the result.
    """
    head, *rest = read_chunks(target)
    kept = [chunk for chunk in read_chunks(source) if chunk.kind not in (b"IHDR", b"IDAT", b"IEND")]
    return [_SIGNATURE, *(chunk.whole for chunk in (head, *kept, *rest))]


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

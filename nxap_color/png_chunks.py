"""The chunks that a PNG consists of (PNG specification, W3C): what Pillow and OpenCV leave undone."""

import zlib
from typing import NamedTuple

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

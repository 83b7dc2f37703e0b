"""Check that JPEGs and PNGs hold all their pixels, which Pillow does not, and move chunks between PNGs.

PNG chunks: PNG specification (W3C). JPEG scans: ITU-T T.81.
"""

import io
import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from nxap_color.errors import CodecError
from nxap_color.media.guard import codec_errors

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of each PNG colour type
_HEAD_BYTES = 13  # of a chunk IHDR
# First row and column, and the steps between them, of the seven passes of an interlaced PNG (Adam7).
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
_INFLATE_BYTES = 2**20  # at a time: a small chunk may hold gigabytes of zeros

_START_OF_SCAN, _RESTART_INTERVAL, _START_OF_IMAGE, _END_OF_IMAGE = 0xDA, 0xDD, 0xD8, 0xD9
_FRAMES, _HUFFMAN_FRAMES = range(0xC0, 0xD0), (0xC0, 0xC1, 0xC2)
_NO_FRAMES = (0xC4, 0xC8, 0xCC)  # tables among the codes of frames
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # except those within a scan
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_FILL_GRAY = 128  # what libjpeg puts where blocks are missing
# Any bytes will do that are no marker and no picture without contrast.
_MORE = bytes(range(1, 255)) * 4


def check_rows(image: Image.Image, stream: BinaryIO) -> None:
    """Check that no rows of a picture are missing.

    Args:
        image: Pillow image, loaded.
        stream: the binary file object that it comes from.

    Raises:
        CodecError: if it is a JPEG, or a PNG with all its frames, and has fewer rows than its head says.
    """
    stream.seek(0)
    is_whole = True
    if image.format == "PNG":
        is_whole = has_all_pixels(stream.read())
    elif image.format in ("JPEG", "MPO"):
        is_whole = has_all_blocks(stream.read(), image)
    if not is_whole:
        raise CodecError("it has fewer rows of pixels than its head says")


class Chunk(NamedTuple):
    """One chunk of a PNG.

    Attributes:
        kind: its four letters.
        data: its data.
        whole: all its bytes, with length and checksum.
    """

    kind: bytes
    data: memoryview
    whole: memoryview


def read_chunks(png: bytes | memoryview) -> Iterator[Chunk]:
    """Yield the `Chunk`s of a PNG."""
    png = memoryview(png).cast("B")
    start = len(_PNG_SIGNATURE)
    while start + 12 <= len(png):
        end = start + 12 + int.from_bytes(png[start : start + 4], "big")
        yield Chunk(bytes(png[start + 4 : start + 8]), png[start + 8 : end - 4], png[start:end])
        start = end


def has_all_pixels(png: bytes) -> bool:
    """Tell whether each frame of a PNG has as many rows as its head says; Pillow fills up with black.

    Args:
        png: bytes of a PNG that Pillow could read.

    Returns:
        Whether no row is missing.

    Raises:
        CodecError: if a head or the compressed data are damaged.
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
            with codec_errors():
                missing -= len(inflate.decompress(waiting, _INFLATE_BYTES))
            waiting = inflate.unconsumed_tail
    return missing <= 0


def _num_bytes(head, size):
    """Data of the chunk IHDR, and width and height as there -> bytes of all rows, with their filters."""
    if len(head) < _HEAD_BYTES or head[9] not in _CHANNELS:
        raise CodecError("its head is damaged")
    width, height = (int.from_bytes(size[start : start + 4], "big") for start in (0, 4))
    bits = head[8] * _CHANNELS[head[9]]
    passes = _PASSES if head[12] else ((0, 0, 1, 1),)
    sizes = [
        (-(-(height - row) // rows), -(-(width - column) // columns)) for row, column, rows, columns in passes
    ]
    return sum(high * (1 + -(-wide * bits // 8)) for high, wide in sizes if high > 0 and wide > 0)


def copy_metadata(source: bytes | memoryview, target: bytes | memoryview) -> list[bytes | memoryview]:
    """Put what a PNG holds besides its picture into another one.

    Args:
        source: a PNG without a palette.
        target: the PNG whose picture counts, and that holds nothing else.

    Returns:
        The pieces that make up the result, in order.
    """
    head, *rest = read_chunks(target)
    kept = [chunk for chunk in read_chunks(source) if chunk.kind not in (b"IHDR", b"IDAT", b"IEND")]
    return [_PNG_SIGNATURE, *(chunk.whole for chunk in (head, *kept, *rest))]


def has_all_blocks(jpeg: bytes, image: Image.Image) -> bool:
    """Tell whether a JPEG has as many blocks of pixels as its head says; libjpeg fills up with gray.

    Decoders skip what follows the last block of a scan, so more bytes at its end change the picture only if
    blocks are missing. This is tried where the last corner is gray; other JPEGs are whole.

    Args:
        jpeg: bytes of a JPEG.
        image: the same as Pillow decoded it.

    Returns:
        Whether no block is missing.

    Raises:
        CodecError: if it cannot be decoded again.
    """
    corner = np.asarray(image.crop((max(0, image.width - 8), max(0, image.height - 8), *image.size)))
    if np.abs(corner.astype(int) - _FILL_GRAY).max() > 1:
        return True
    longer = io.BytesIO(lengthen_scans(jpeg))
    with codec_errors(), Image.open(longer, formats=("JPEG",)) as other:
        return image.tobytes() == other.tobytes()


def lengthen_scans(jpeg: bytes) -> bytes:
    """Append bytes to each scan of a JPEG that would be pixels if any were missing.

    Args:
        jpeg: bytes of a JPEG.

    Returns:
        The longer JPEG; the same if its scans are not Huffman-coded (an arithmetic code has no end).
    """
    pieces, start, has_restarts = [], 0, False
    while found := _MARKER.search(jpeg, start):
        marker, end = jpeg[found.end() - 1], found.end()
        if marker == _END_OF_IMAGE or marker in _FRAMES and marker not in (*_HUFFMAN_FRAMES, *_NO_FRAMES):
            break
        if marker != _START_OF_IMAGE:
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
    """Return bytes to follow those of a scan; where it restarts at intervals, for the next eight of them."""
    if not has_restarts:
        return _MORE
    last = max((found.end() for found in _RESTART.finditer(scan)), default=None)
    first = 0 if last is None else scan[last - 1] - 0xD0 + 1
    return _MORE + b"".join(bytes((0xFF, 0xD0 + (first + step) % 8)) + _MORE for step in range(8))

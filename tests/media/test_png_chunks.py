"""Chunks of PNGs, against files by Pillow and OpenCV."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from nxap_color.errors import FilmError, PhotoError
from nxap_color.media.animations import read_frames
from nxap_color.media.photo_integrity import copy_metadata, has_all_pixels, read_chunks
from nxap_color.media.photos import read_photo


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(5).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


def pillow(image, **options):
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


def interlaced(height, width):
    """A gray PNG of 8 bits in Adam7's passes, which neither Pillow nor OpenCV writes."""
    pixels = noise(height, width)
    starts = (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    )
    rows = [row for y, x, down, right in starts for row in pixels[y::down, x::right] if row.size]
    head, data = (
        struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1),
        zlib.compress(b"".join(b"\0" + bytes(r) for r in rows)),
    )
    chunks = [b"IHDR" + head, b"IDAT" + data, b"IEND"]
    packed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


PNGS = [
    pillow(Image.fromarray(noise(37, 53))),
    pillow(Image.fromarray(noise(37, 53)).convert("1")),
    pillow(Image.fromarray(noise(37, 53) // 16).quantize(9), bits=4),
    pillow(Image.fromarray(noise(37, 53, 2))),
    pillow(Image.fromarray(noise(37, 53, 4))),
    pillow(Image.fromarray(noise(37, 53, dtype=np.uint16))),
    cv2.imencode(".png", noise(37, 53, 3, dtype=np.uint16))[1].tobytes(),
    interlaced(37, 53),
    interlaced(1, 1),
    interlaced(3, 1),
]


def with_height(png, height):
    data = bytearray(png)
    data[20:24] = struct.pack(">I", height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


@pytest.mark.parametrize("png", PNGS)
def test_a_png_with_too_few_rows_is_refused(png):
    assert has_all_pixels(png)
    photo = read_photo(io.BytesIO(png))
    lying = with_height(png, len(photo.rgb) + 8)
    assert not has_all_pixels(lying)
    with pytest.raises(PhotoError, match="fewer rows of pixels than its head says|unrecognized data"):
        read_photo(io.BytesIO(lying))


def test_an_animated_png_with_too_few_rows_in_one_frame_is_refused(tmp_path):
    frames = [Image.fromarray(noise(37, 53, 3)).rotate(angle) for angle in (0, 90, 180)]
    for default_image in (False, True):
        png = pillow(frames[0], save_all=True, append_images=frames[1:], default_image=default_image)
        assert has_all_pixels(png)
        chunks = list(read_chunks(png))
        last = [index for index, chunk in enumerate(chunks) if chunk.kind == b"fcTL"][-1]
        data = zlib.compress(zlib.decompress(chunks[last + 1].data[4:])[:-60])
        short = [chunk.whole for chunk in chunks]
        body = b"fdAT" + bytes(chunks[last + 1].data[:4]) + data
        short[last + 1] = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        lying = png[:8] + b"".join(short)
        assert not has_all_pixels(lying)
        path = tmp_path / "lying.png"
        path.write_bytes(lying)
        with pytest.raises(FilmError, match="fewer rows of pixels than its head says"):
            list(read_frames(path))


def test_a_bomb_is_inflated_no_further_than_its_size_says():
    """30 megabytes of zeros for one pixel."""
    data = zlib.compressobj(9)
    packed = data.compress(bytes(30_000_000)) + data.flush()
    chunk = b"IDAT" + packed
    png = pillow(Image.new("L", (1, 1)))
    start = png.index(b"IDAT") - 4
    png = (
        png[:start]
        + struct.pack(">I", len(packed))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + png[-12:]
    )
    assert has_all_pixels(png)


def test_metadata_move_and_the_picture_stays():
    source = pillow(Image.new("RGB", (1, 1)), dpi=(300, 300), icc_profile=b"profile")
    target = pillow(Image.fromarray(noise(9, 14, 3)))
    result = b"".join(copy_metadata(source, target))
    kinds = [chunk.kind for chunk in read_chunks(result)]
    assert kinds[0] == b"IHDR" and kinds[-1] == b"IEND" and {b"iCCP", b"pHYs"} < set(kinds)
    with Image.open(io.BytesIO(result)) as image:
        np.testing.assert_array_equal(np.asarray(image), noise(9, 14, 3))
        assert image.info["icc_profile"] == b"profile"

"""JPEGs and PNGs that lack pixels, and chunks of PNGs, against changed files by Pillow and OpenCV."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from nxap_color.errors import CodecError, FilmError, PhotoError
from nxap_color.media.animations import read_frames
from nxap_color.media.photo_integrity import (
    copy_metadata,
    has_all_blocks,
    has_all_pixels,
    lengthen_scans,
    read_chunks,
)
from nxap_color.media.photos import read_photo


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(5).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


KINDS = {
    "gray": ("L", {}),
    "colour": ("RGB", {}),
    "4:4:4": ("RGB", {"subsampling": 0}),
    "CMYK": ("CMYK", {}),
    "progressive": ("RGB", {"progressive": True}),
    "restarts": ("RGB", {"restart_marker_blocks": 7}),
    "own tables": ("L", {"optimize": True}),
}


def jpeg_of(pixels, mode="RGB", **options):
    stream = io.BytesIO()
    Image.fromarray(pixels[..., :3]).convert(mode).save(stream, "JPEG", **options)
    return stream.getvalue()


def with_jpeg_height(jpeg, height):
    """The same with another height in its head."""
    frame = next(start for start in range(len(jpeg)) if jpeg[start : start + 2] in (b"\xff\xc0", b"\xff\xc2"))
    return jpeg[: frame + 5] + height.to_bytes(2, "big") + jpeg[frame + 7 :]


def pixels_of(jpeg):
    with Image.open(io.BytesIO(jpeg)) as image:
        return np.asarray(image)


@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_with_too_few_rows_is_refused(kind):
    """It ends as it should, so that Pillow takes it for whole."""
    mode, options = KINDS[kind]
    jpeg = jpeg_of(noise(61, 75, 4), mode, **options)
    assert read_photo(io.BytesIO(jpeg)).rgb.shape == (61, 75, 3)
    lying = with_jpeg_height(jpeg, 96)
    assert pixels_of(lying).shape[0] == 96
    with pytest.raises(PhotoError, match="fewer rows of pixels than its head says"):
        read_photo(io.BytesIO(lying))


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"progressive"}))  # which only loses detail so
def test_a_jpeg_that_lost_the_end_of_its_data_is_refused(kind):
    mode, options = KINDS[kind]
    jpeg = jpeg_of(noise(61, 75, 4), mode, **options)
    with pytest.raises(PhotoError, match="fewer rows of pixels than its head says"):
        read_photo(io.BytesIO(jpeg[: len(jpeg) * 2 // 3] + b"\xff\xd9"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", [127, 128, 129])
def test_a_whole_jpeg_may_be_gray_below(kind, level):
    mode, options = KINDS[kind]
    pixels = noise(61, 75, 4)
    pixels[20:] = level
    jpeg = jpeg_of(pixels, mode, **options)
    longer = lengthen_scans(jpeg)
    assert len(longer) > len(jpeg)
    np.testing.assert_array_equal(pixels_of(longer), pixels_of(jpeg))
    with Image.open(io.BytesIO(jpeg)) as image:
        assert has_all_blocks(jpeg, image)


def test_the_smallest_gray_jpeg_is_whole():
    assert (read_photo(io.BytesIO(jpeg_of(np.full((1, 1, 3), 128, np.uint8)))).rgb == 128).all()


def png_of(image, **options):
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
    png_of(Image.fromarray(noise(37, 53))),
    png_of(Image.fromarray(noise(37, 53)).convert("1")),
    png_of(Image.fromarray(noise(37, 53) // 16).quantize(9), bits=4),
    png_of(Image.fromarray(noise(37, 53, 2))),
    png_of(Image.fromarray(noise(37, 53, 4))),
    png_of(Image.fromarray(noise(37, 53, dtype=np.uint16))),
    cv2.imencode(".png", noise(37, 53, 3, dtype=np.uint16))[1].tobytes(),
    interlaced(37, 53),
    interlaced(1, 1),
    interlaced(3, 1),
]


def with_png_height(png, height):
    data = bytearray(png)
    data[20:24] = struct.pack(">I", height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


@pytest.mark.parametrize("png", PNGS)
def test_a_png_with_too_few_rows_is_refused(png):
    assert has_all_pixels(png)
    photo = read_photo(io.BytesIO(png))
    lying = with_png_height(png, len(photo.rgb) + 8)
    assert not has_all_pixels(lying)
    with pytest.raises(PhotoError, match="fewer rows of pixels than its head says|unrecognized data"):
        read_photo(io.BytesIO(lying))


def test_an_animated_png_with_too_few_rows_in_one_frame_is_refused(tmp_path):
    frames = [Image.fromarray(noise(37, 53, 3)).rotate(angle) for angle in (0, 90, 180)]
    for default_image in (False, True):
        png = png_of(frames[0], save_all=True, append_images=frames[1:], default_image=default_image)
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
    png = png_of(Image.new("L", (1, 1)))
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
    source = png_of(Image.new("RGB", (1, 1)), dpi=(300, 300), icc_profile=b"profile")
    target = png_of(Image.fromarray(noise(9, 14, 3)))
    result = b"".join(copy_metadata(source, target))
    kinds = [chunk.kind for chunk in read_chunks(result)]
    assert kinds[0] == b"IHDR" and kinds[-1] == b"IEND" and {b"iCCP", b"pHYs"} < set(kinds)
    with Image.open(io.BytesIO(result)) as image:
        np.testing.assert_array_equal(np.asarray(image), noise(9, 14, 3))
        assert image.info["icc_profile"] == b"profile"


def test_a_damaged_head_is_named_and_a_bug_is_not():
    chunks = list(read_chunks(png_of(Image.new("L", (3, 3)))))
    short = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 4) + b"IHDR" + bytes(8) + bytes(chunks[1].whole)
    with pytest.raises(CodecError, match="head is damaged"):
        has_all_pixels(short)
    with pytest.raises(TypeError):
        has_all_pixels("a text")

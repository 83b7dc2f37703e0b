"""Pixels of more than 8 bits, against NumPy, tifffile, OpenCV and Pillow."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from nxap_color.errors import PhotoError
from nxap_color.media.photo_depth import open_tiff, read_tiff_page, write_png
from nxap_color.media.photo_integrity import copy_metadata
from nxap_color.media.photos import Photo, count_pictures, read_photo, write_photo


def noise(*shape, top=65536, dtype=np.uint16):
    return np.random.default_rng(7).integers(0, top, shape, dtype=dtype)


RGB, GRAY, ALPHA = noise(9, 14, 3), noise(9, 14), noise(9, 14)
RGBA = np.dstack([RGB, ALPHA])


def tiff_of(pixels, photometric="rgb", **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, photometric=photometric, **options)
    return stream


def opencv(suffix, pixels, *options):
    """A file by OpenCV, whose order of channels is another."""
    order = [2, 1, 0, 3][: pixels.shape[2]]
    return io.BytesIO(cv2.imencode(suffix, np.ascontiguousarray(pixels[..., order]), options)[1].tobytes())


def pillow(pixels, format, **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format, **options)
    return stream


def gray_and_alpha_png(gray, alpha):
    """Which neither Pillow nor OpenCV writes with 16 bits."""
    rows = b"".join(b"\0" + row.tobytes() for row in np.dstack([gray, alpha]).astype(">u2"))
    head = struct.pack(">IIBBBBB", *gray.shape[::-1], 16, 4, 0, 0, 0)
    chunks = [b"IHDR" + head, b"IDAT" + zlib.compress(rows), b"IEND"]
    packed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(packed))


LZW = (cv2.IMWRITE_TIFF_COMPRESSION, 5)
PLANES = {"planarconfig": "separate"}


@pytest.mark.parametrize(
    ("stream", "rgb", "alpha"),
    [
        (tiff_of(RGB, byteorder="<", compression="zlib"), RGB, None),
        (tiff_of(RGB, byteorder=">", compression="zlib", predictor=True), RGB, None),
        (tiff_of(RGB, tile=(16, 16)), RGB, None),
        (tiff_of(RGB, bigtiff=True), RGB, None),
        (tiff_of(np.moveaxis(RGB, 2, 0), **PLANES), RGB, None),
        (tiff_of(RGBA, extrasamples=["unassalpha"]), RGB, ALPHA),
        (tiff_of(RGB, extratags=[(274, "H", 1, 6, True)]), np.rot90(RGB, -1), None),
        (tiff_of(RGB.astype(np.float32)), RGB, None),
        (tiff_of(RGB / 65535.0), RGB, None),
        (tiff_of(RGB.astype(np.uint32)), RGB, None),
        (tiff_of(GRAY, "minisblack"), GRAY[..., None], None),
        (tiff_of(65535 - GRAY, "miniswhite"), GRAY[..., None], None),
        (
            tiff_of(np.dstack([GRAY, ALPHA]), "minisblack", extrasamples=["unassalpha"]),
            GRAY[..., None],
            ALPHA,
        ),
        (opencv(".tiff", RGB, *LZW), RGB, None),
        (opencv(".png", RGB), RGB, None),
        (opencv(".png", RGBA), RGB, ALPHA),
        (gray_and_alpha_png(GRAY, ALPHA), GRAY[..., None], ALPHA),
        (pillow(GRAY, "PNG"), GRAY[..., None], None),
        (
            pillow(GRAY, "PNG", transparency=int(GRAY[2, 3])),
            GRAY[..., None],
            np.where(GRAY[2, 3] == GRAY, 0, 65535),
        ),
        (pillow(noise(9, 14, top=200), "PNG"), noise(9, 14, top=200)[..., None], None),  # a dark one
    ],
)
def test_16_bits_keep_their_values(stream, rgb, alpha):
    photo = read_photo(stream)
    assert photo.rgb.dtype == np.uint16
    np.testing.assert_array_equal(photo.rgb, np.broadcast_to(rgb, photo.rgb.shape))
    np.testing.assert_array_equal(photo.alpha, alpha)


def test_premultiplied_alpha_is_divided_out():
    rgb, alpha = noise(9, 14, 3), np.uint16(noise(9, 14, top=40000) + 20000)
    premultiplied = np.dstack([np.rint(rgb * (alpha[..., None] / 65535.0)), alpha]).astype(np.uint16)
    photo = read_photo(tiff_of(premultiplied, extrasamples=["assocalpha"]))
    np.testing.assert_allclose(photo.rgb, rgb.astype(float), atol=3)
    np.testing.assert_array_equal(photo.alpha, alpha)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@pytest.mark.parametrize(
    ("low", "middle", "high", "expected"),
    [(0, 0, 1, 0), (0, 51, 255, 13107), (0, 300, 65535, 300), (-1, 0, 1, 32768), (1e5, 2e5, 3e5, 32768)],
)
def test_32_bits_are_scaled_to_16(low, middle, high, expected, dtype):
    gray = np.array([[low, middle, high]], dtype)
    np.testing.assert_array_equal(read_photo(pillow(gray, "TIFF")).rgb[0, :, 2], [0, expected, 65535])


def test_a_page_without_pixels_is_refused():
    data = bytearray(tiff_of(RGB).getvalue())
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as tiff:
        offset = tiff.pages[0].tags["ImageLength"].valueoffset
    data[offset : offset + 2] = bytes(2)
    with pytest.raises(PhotoError, match="no pixels"):
        read_photo(io.BytesIO(bytes(data)))


def test_compressed_planes_are_refused_rather_than_read_as_noise():
    data = bytearray(tiff_of(np.moveaxis(RGB, 2, 0), **PLANES).getvalue())
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as tiff:
        offset = tiff.pages[0].tags["Compression"].valueoffset
    data[offset] = 5  # LZW
    with pytest.raises(PhotoError, match="separate colour planes"):
        read_photo(io.BytesIO(bytes(data)))


@pytest.mark.parametrize(
    "stream",
    [opencv(".tiff", noise(64, 64, 3), *LZW), tiff_of(noise(64, 64, 3)), opencv(".png", noise(64, 64, 3))],
)
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_truncated_ones_are_refused(stream, part):
    with pytest.raises(PhotoError):
        read_photo(io.BytesIO(stream.getvalue()[: int(len(stream.getvalue()) * part)]))


METADATA = {"text": {"Title": "Avia"}, "dpi": (300.0, 300.0), "xmp": b"<x:xmpmeta/>"}


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("alpha", [None, ALPHA])
def test_16_bits_are_written_with_their_metadata(tmp_path, suffix, alpha):
    path, exif = tmp_path / f"a{suffix}", Image.Exif()
    exif[0x010F] = "Leica"
    assert write_photo(path, Photo(RGB, alpha, {**METADATA, "exif": exif.tobytes()})) == []
    photo = read_photo(path)
    np.testing.assert_array_equal(photo.rgb, RGB)
    np.testing.assert_array_equal(photo.alpha, alpha)
    assert photo.metadata["dpi"] == pytest.approx((300.0, 300.0), abs=0.1)
    assert photo.metadata["xmp"] == b"<x:xmpmeta/>"
    with Image.open(path) as image:
        assert image.getexif()[0x010F] == "Leica"
        image.load()
        assert suffix == ".tif" or image.text["Title"] == "Avia"
    other = tifffile.imread(path) if suffix == ".tif" else cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert other.dtype == np.uint16 and other.shape == (9, 14, 3 if alpha is None else 4)


def test_16_bits_are_rounded_for_other_formats(tmp_path):
    rgb = np.arange(65535, dtype=np.uint16).reshape(257, 85, 3)
    write_photo(tmp_path / "a.bmp", Photo(rgb))
    np.testing.assert_array_equal(read_photo(tmp_path / "a.bmp").rgb, np.floor(rgb / 257 + 0.5))


@pytest.mark.parametrize(("png", "rgb"), [(pillow(GRAY, "PNG"), GRAY[..., None]), (opencv(".png", RGB), RGB)])
def test_pngs_of_16_bits_are_turned_upright(png, rgb):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = pillow(np.zeros((1, 1, 3), np.uint8), "PNG", exif=exif.tobytes())
    photo = read_photo(io.BytesIO(b"".join(copy_metadata(turned.getbuffer(), png.getbuffer()))))
    assert photo.rgb.dtype == np.uint16
    np.testing.assert_array_equal(photo.rgb, np.broadcast_to(np.rot90(rgb, -1), photo.rgb.shape))


def test_what_is_not_finite_is_black():
    gray = np.array([[np.nan, np.inf, -np.inf, 0.0, 1.0]], np.float32)
    np.testing.assert_array_equal(read_photo(pillow(gray, "TIFF")).rgb[0, :, 0], [0, 0, 0, 0, 65535])


def test_a_size_in_the_head_that_is_no_number_is_damage():
    """Of two values, which tifffile hands on as a tuple."""
    data = bytearray(tiff_of(RGB).getvalue())
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as tiff:
        offset = tiff.pages[0].tags["ImageLength"].offset
    data[offset + 4] = 2
    for read in (read_photo, count_pictures):
        with pytest.raises(PhotoError):
            read(io.BytesIO(bytes(data)))


def test_bugs_are_not_called_damage():
    stream = tiff_of(RGB)
    with pytest.raises(TypeError):
        read_tiff_page(stream, open_tiff(stream), 0, check_size=lambda size: None)  # it is given two numbers
    with pytest.raises(AttributeError):
        write_png(io.BytesIO(), RGB.tolist(), {})

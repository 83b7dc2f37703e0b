"""Metadata, through reading and writing photos, against Pillow and NumPy."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from nxap_color.media.photo_metadata import find_profile, read_metadata
from nxap_color.media.photos import Photo, read_photo, write_photo

SUFFIXES = [".jpg", ".png", ".tif", ".webp"]
Y, X = np.mgrid[0:40, 0:56]
RGB = np.stack((X * 4, Y * 6, 255 - (X + Y) * 2), axis=-1).astype(np.uint8)
IMAGE = Image.fromarray(RGB)
RAMP = Image.fromarray(((X + 56 * Y) % 256).astype(np.uint8))
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Make="N"/></x:xmpmeta>'

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# Red and green change places.
SWAPPED = SRGB.replace(b"rXYZ", b"----").replace(b"gXYZ", b"rXYZ").replace(b"----", b"gXYZ")
GRAY = SRGB.replace(b"RGB XYZ ", b"GRAYXYZ ").replace(b"rTRC", b"kTRC")
# The exponent 2.4 in the curve of sRGB becomes 1.5.
BRIGHT_GRAY = GRAY.replace(struct.pack(">i", round(2.4 * 65536)), struct.pack(">i", 98304))


def cmyk_profile():
    """Makes a profile from a table of the 16 corners of CMYK in Lab; cyan and yellow change places."""
    inks = np.stack(np.meshgrid(*[(0, 1)] * 4, indexing="ij"), axis=-1).reshape(16, 4)
    c, m, y, k = inks.T
    light = np.maximum(0, 255 - 60 * (c + m + y) - 200 * k)
    corners = np.stack((light, 128 + 60 * (m - y), 128 + 60 * (c - m)), axis=-1).astype(np.uint8)
    ramp, identity = bytes(range(256)), struct.pack(">9i", *np.eye(3, dtype=int).ravel() * 65536)
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + identity + ramp * 4 + corners.tobytes() + ramp * 3
    head = SRGB[4:12] + b"prtrCMYKLab " + SRGB[24:128] + struct.pack(">I4sII", 1, b"A2B0", 144, len(table))
    return struct.pack(">I", 144 + len(table)) + head + table


def to_srgb(image, icc):
    profile, srgb = io.BytesIO(icc), io.BytesIO(SRGB)
    return np.asarray(ImageCms.profileToProfile(image, profile, srgb, 1, "RGB", flags=0x2000))


TAKEN = {0x9003: "2001:02:03 04:05:06"}
BROKEN_DIRECTORY = b"Exif\0\0no TIFF at all"
BROKEN_VALUE = (
    b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x0f\0\x0b\0\0\0\1\0\0\0\3\0\0\0\0"  # a maker that is a number
)


def exif_of(orientation):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x8769] = "Nikon", orientation, {**TAKEN, 0xA005: {1: "R98"}}
    return exif.tobytes()


def read_saved(path, image=IMAGE, **options):
    image.save(path, **options)
    return read_photo(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_srgb_profile_is_kept(tmp_path, suffix):
    write_photo(tmp_path / f"b{suffix}", read_saved(tmp_path / f"a{suffix}", icc_profile=SRGB))
    assert Image.open(tmp_path / f"b{suffix}").info["icc_profile"] == SRGB


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_other_rgb_profile_is_converted(tmp_path, suffix):
    photo = read_saved(tmp_path / f"a{suffix}", icc_profile=SWAPPED)
    stored = np.asarray(Image.open(tmp_path / f"a{suffix}")).astype(int)
    assert np.abs(photo.rgb - stored[..., [1, 0, 2]]).max() <= 1


def test_converted_photo_is_not_converted_again(tmp_path):
    photo = read_saved(tmp_path / "a.png", icc_profile=SWAPPED)
    write_photo(tmp_path / "b.png", photo)
    assert "icc_profile" in photo.metadata
    np.testing.assert_array_equal(read_photo(tmp_path / "b.png").rgb, photo.rgb)


def test_equal_photos_get_equal_profiles(tmp_path):
    icc = read_saved(tmp_path / "a.png", icc_profile=SWAPPED).metadata["icc_profile"]
    assert icc[24:36] == struct.pack(">6H", 2000, 1, 1, 0, 0, 0)


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_profile_applies_to_the_colours_of_other_modes(tmp_path, mode):
    photo = read_saved(tmp_path / "a.png", IMAGE.convert(mode), icc_profile=SWAPPED)
    np.testing.assert_array_equal(photo.rgb, to_srgb(IMAGE.convert(mode).convert("RGB"), SWAPPED))


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_gray_profile_is_converted(tmp_path, mode):
    gray = RAMP.convert(mode)
    expected = to_srgb(gray.convert("L"), BRIGHT_GRAY)[..., 1:2].repeat(3, axis=2)
    photo = read_saved(tmp_path / "a.png", gray, icc_profile=BRIGHT_GRAY)
    np.testing.assert_array_equal(photo.rgb, expected)
    assert photo.metadata["icc_profile"][16:20] == b"RGB "


def test_gray_profile_is_converted_in_16_bits(tmp_path):
    gray = Image.fromarray(np.asarray(RAMP).astype(np.uint16) * 257)
    photo = read_saved(tmp_path / "a.png", gray, icc_profile=BRIGHT_GRAY)
    np.testing.assert_array_equal(photo.rgb[..., 0], to_srgb(RAMP, BRIGHT_GRAY)[..., 1] * np.uint16(257))


def test_cmyk_is_converted_through_its_profile(tmp_path):
    inks = Image.fromarray(np.dstack((RGB, RGB[..., 0] // 3)), "CMYK")
    photo = read_saved(tmp_path / "a.tif", inks, icc_profile=cmyk_profile())
    np.testing.assert_array_equal(photo.rgb, to_srgb(inks, cmyk_profile()))


def test_16_bit_tiff_is_converted_through_its_profile(tmp_path):
    write_photo(tmp_path / "a.tif", Photo(RGB.astype(np.uint16) * 257, None, {"icc_profile": SWAPPED}))
    np.testing.assert_array_equal(read_photo(tmp_path / "a.tif").rgb, to_srgb(IMAGE, SWAPPED))


@pytest.mark.parametrize("icc", [b"garbage", SRGB[:200], BRIGHT_GRAY], ids=["text", "cut", "gray"])
def test_unusable_profile_is_ignored(tmp_path, icc):
    photo = read_saved(tmp_path / "a.png", icc_profile=icc)
    np.testing.assert_array_equal(photo.rgb, RGB)
    assert "icc_profile" not in photo.metadata


@pytest.mark.parametrize("source", SUFFIXES)
@pytest.mark.parametrize("target", SUFFIXES)
def test_exif_goes_along_without_orientation_and_layout(tmp_path, source, target):
    photo = read_saved(tmp_path / f"a{source}", exif=exif_of(3))
    write_photo(tmp_path / f"b{target}", photo)
    exif = Image.open(tmp_path / f"b{target}").getexif()
    assert exif[0x010F] == "Nikon"
    assert exif.get_ifd(0x8769) == TAKEN
    assert 0x0112 not in exif
    assert target == ".tif" or set(exif) == {0x010F, 0x8769}


def test_exif_in_text_of_png_turns_once(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(exif_of(6)):8}\n{exif_of(6).hex()}\n")
    write_photo(tmp_path / "b.png", read_saved(tmp_path / "a.png", pnginfo=info))
    np.testing.assert_array_equal(read_photo(tmp_path / "b.png").rgb, np.rot90(RGB, -1))
    assert Image.open(tmp_path / "b.png").text == {}


@pytest.mark.parametrize(
    "xmp",
    [
        '<a tiff:Orientation="6" tiff:Make="N"/>',
        '<a tiff:Make="N"><tiff:Orientation>6</tiff:Orientation></a>',
    ],
)
def test_orientation_in_xmp_does_not_turn_again(tmp_path, xmp):
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp)
    photo = read_saved(tmp_path / "a.png", exif=exif_of(1), pnginfo=info)
    write_photo(tmp_path / "b.png", photo)
    np.testing.assert_array_equal(read_photo(tmp_path / "b.png").rgb, RGB)
    assert b'tiff:Make="N"' in photo.metadata["xmp"] and b"Orientation" not in photo.metadata["xmp"]


@pytest.mark.parametrize("exif", [BROKEN_DIRECTORY, BROKEN_VALUE])
def test_broken_exif_is_left_out(tmp_path, exif):
    photo = read_saved(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(photo.rgb, RGB)
    assert "exif" not in photo.metadata


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_xmp_is_kept(tmp_path, suffix):
    write_photo(tmp_path / f"a{suffix}", Photo(RGB, None, {"xmp": XMP}))
    metadata = read_photo(tmp_path / f"a{suffix}").metadata
    assert metadata["xmp"] == XMP
    assert "text" not in metadata


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".bmp"])
def test_resolution_is_kept(tmp_path, suffix):
    write_photo(tmp_path / f"a{suffix}", Photo(RGB, None, {"dpi": (300, 200)}))
    assert read_photo(tmp_path / f"a{suffix}").metadata["dpi"] == pytest.approx((300, 200), abs=0.1)


def test_16_bit_tiff_keeps_all_but_exif_directories(tmp_path):
    metadata = {"exif": exif_of(1), "icc_profile": SRGB, "xmp": XMP, "dpi": (300.0, 150.0)}
    write_photo(tmp_path / "a.tif", Photo(RGB.astype(np.uint16), None, metadata))
    read = read_photo(tmp_path / "a.tif").metadata
    assert Image.open(tmp_path / "a.tif").getexif()[0x010F] == "Nikon"
    assert {**read, "exif": exif_of(1)} == metadata


def test_text_of_png_is_kept(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "Ada")
    info.add_itxt("Title", "日本", lang="ja", tkey="題")
    write_photo(tmp_path / "b.png", read_saved(tmp_path / "a.png", pnginfo=info))
    text = Image.open(tmp_path / "b.png").text
    assert text == {"Author": "Ada", "Title": "日本"}
    assert text["Title"].lang == "ja"


def test_comment_of_jpeg_is_kept(tmp_path):
    write_photo(tmp_path / "b.jpg", read_saved(tmp_path / "a.jpg", comment="Grüße"))
    assert Image.open(tmp_path / "b.jpg").info["comment"].decode() == "Grüße"


@pytest.mark.parametrize("key", ["exif", "xmp", "comment"])
def test_what_is_too_large_for_jpeg_is_left_out(tmp_path, key):
    write_photo(tmp_path / "a.jpg", Photo(RGB, None, {key: b"x" * 65510}))
    assert key not in Image.open(tmp_path / "a.jpg").info


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_nothing_is_invented(tmp_path, suffix):
    assert read_saved(tmp_path / f"a{suffix}").metadata == {}


@pytest.mark.parametrize("mode", ["L", "1"])
def test_rgb_profile_of_a_gray_photo_is_converted(tmp_path, mode):
    bright = SRGB.replace(struct.pack(">i", round(2.4 * 65536)), struct.pack(">i", 98304))
    photo = read_saved(tmp_path / "a.png", RAMP.convert(mode), icc_profile=bright)
    np.testing.assert_array_equal(photo.rgb, to_srgb(RAMP.convert(mode).convert("RGB"), bright))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_texts_and_place_go_along(tmp_path, suffix):
    exif, place = Image.Exif(), {1: "N", 2: (41.0, 23.0, 12.5)}
    texts = {
        0x010E: "Avia",
        0x0131: "scanner",
        0x0132: "2001:02:03 04:05:06",
        0x013B: "Ada",
        0x8298: "nobody",
    }
    exif.update({**texts, 0x8825: place})
    write_photo(tmp_path / f"b{suffix}", read_saved(tmp_path / f"a{suffix}", exif=exif.tobytes()))
    read = Image.open(tmp_path / f"b{suffix}").getexif()
    assert {tag: read.get(tag) for tag in texts} == texts
    assert read.get_ifd(0x8825) == place


@pytest.mark.parametrize("function", [find_profile, read_metadata])
def test_bugs_are_not_called_broken_metadata(function):
    with pytest.raises(AttributeError):
        function(RGB)  # an array instead of an image

"""Photos read and written, against Pillow, NumPy and scikit-image."""

import contextlib
import io
import os
import stat
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage.color import rgb2lab
from skimage.metrics import peak_signal_noise_ratio

from nxap_color.errors import PhotoError
from nxap_color.media.kinds import PHOTO_SUFFIXES, is_photo
from nxap_color.media.photos import (
    Contents,
    Photo,
    count_pictures,
    read_pages,
    read_photo,
    write_pages,
    write_photo,
)

FORMATS = {".bmp": "BMP", ".jpg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".webp": "WEBP"}


def smooth():
    """Makes an asymmetric colour gradient that lossy formats keep well."""
    y, x = np.mgrid[0:40, 0:56]
    return np.stack((x * 4, y * 6, 255 - (x + y) * 2), axis=-1).astype(np.uint8)


def noise(*shape, top=256, dtype=np.uint8):
    return np.random.default_rng(7).integers(0, top, shape, dtype=dtype)


def stream_of(image, format, **options):
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream


def oriented(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("suffix", [*sorted(PHOTO_SUFFIXES), ".JPG", ".Tiff"])
def test_is_photo_knows_the_suffixes(suffix):
    assert is_photo(f"x/y{suffix}")


@pytest.mark.parametrize("name", ["a.gif", "a.jpg.txt", "jpg", ".jpg", "x/._a.jpg", ".nxap-1.png"])
def test_is_photo_rejects_other_and_hidden_files(name):
    assert not is_photo(name)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_lossless_formats_keep_every_pixel(tmp_path, suffix):
    write_photo(tmp_path / f"a{suffix}", Photo(noise(19, 31, 3)))
    with Image.open(tmp_path / f"a{suffix}", formats=[FORMATS[suffix]]) as image:
        np.testing.assert_array_equal(np.asarray(image), noise(19, 31, 3))
    np.testing.assert_array_equal(read_photo(tmp_path / f"a{suffix}").rgb, noise(19, 31, 3))


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lossy_formats_stay_close(tmp_path, suffix):
    write_photo(tmp_path / f"a{suffix}", Photo(smooth()))
    with Image.open(tmp_path / f"a{suffix}", formats=[FORMATS[suffix]]) as image:
        assert peak_signal_noise_ratio(smooth(), np.asarray(image)) > 35
    assert peak_signal_noise_ratio(smooth(), read_photo(tmp_path / f"a{suffix}").rgb) > 35


def test_jpeg_has_full_chroma(tmp_path):
    write_photo(tmp_path / "a.jpg", Photo(smooth()))
    # One sampling factor for all three components is 4:4:4.
    assert {layer[1:3] for layer in Image.open(tmp_path / "a.jpg").layer} == {(1, 1)}


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lower_quality_gives_smaller_files(tmp_path, suffix):
    for quality in (95, 30):
        write_photo(tmp_path / f"{quality}{suffix}", Photo(noise(64, 64, 3)), quality)
    assert (tmp_path / f"30{suffix}").stat().st_size < (tmp_path / f"95{suffix}").stat().st_size / 1.5


def test_file_object_is_read_from_its_beginning():
    stream = stream_of(Image.fromarray(noise(8, 9, 3)), "PNG")
    stream.seek(5)
    np.testing.assert_array_equal(read_photo(stream).rgb, noise(8, 9, 3))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "quarters", "mirrored"),
    [(1, 0, 0), (2, 0, 1), (3, 2, 0), (4, 2, 1), (5, 1, 1), (6, 3, 0), (7, 3, 1), (8, 1, 0)],
)
def test_photos_are_turned_upright(format, orientation, quarters, mirrored):
    image = Image.fromarray(smooth())
    stored = np.asarray(Image.open(stream_of(image, format)))
    photo = read_photo(stream_of(image, format, exif=oriented(orientation)))
    np.testing.assert_array_equal(photo.rgb, np.rot90(np.fliplr(stored) if mirrored else stored, quarters))


LEVELS, PALETTE = noise(9, 14, top=8), noise(8, 3)
GRAY, PALETTED = Image.fromarray(LEVELS), Image.fromarray(LEVELS)
PALETTED.putpalette(PALETTE.tobytes())


@pytest.mark.parametrize(
    ("image", "options", "rgb", "alpha"),
    [
        (GRAY, {}, LEVELS[..., None].repeat(3, 2), None),
        (GRAY, {"transparency": 2}, LEVELS[..., None].repeat(3, 2), (LEVELS != 2) * 255),
        (
            Image.fromarray(noise(9, 14, 2)),
            {},
            noise(9, 14, 2)[..., :1].repeat(3, 2),
            noise(9, 14, 2)[..., 1],
        ),
        (Image.fromarray(LEVELS > 4), {}, (LEVELS > 4)[..., None].repeat(3, 2) * 255, None),
        (
            Image.fromarray(LEVELS > 4),
            {"transparency": 0},
            (LEVELS > 4)[..., None].repeat(3, 2) * 255,
            (LEVELS > 4) * 255,
        ),
        (
            Image.fromarray(PALETTE[LEVELS]),
            {"transparency": tuple(PALETTE[5].tolist())},
            PALETTE[LEVELS],
            (LEVELS != 5) * 255,
        ),
        (PALETTED, {}, PALETTE[LEVELS], None),
        (PALETTED, {"transparency": 3}, PALETTE[LEVELS], (LEVELS != 3) * 255),
        (PALETTED, {"transparency": bytes(range(8))}, PALETTE[LEVELS], LEVELS),
    ],
)
def test_png_of_any_mode_becomes_rgb_and_alpha(image, options, rgb, alpha):
    photo = read_photo(stream_of(image, "PNG", **options))
    assert photo.rgb.dtype == np.uint8
    np.testing.assert_array_equal(photo.rgb, rgb)
    np.testing.assert_array_equal(photo.alpha, alpha)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_alpha_is_kept(tmp_path, suffix):
    write_photo(tmp_path / f"a{suffix}", Photo(noise(9, 14, 3), noise(9, 14)))
    np.testing.assert_array_equal(read_photo(tmp_path / f"a{suffix}").alpha, noise(9, 14))


@pytest.mark.parametrize("suffix", [".webp", ".jpg", ".bmp"])  # the last two cannot hold alpha
def test_colours_below_transparency_are_kept(tmp_path, suffix):
    write_photo(tmp_path / f"a{suffix}", Photo(smooth(), np.zeros((40, 56), np.uint8)))
    assert np.abs(read_photo(tmp_path / f"a{suffix}").rgb - smooth().astype(float)).mean() < 3


@contextlib.contextmanager
def full_disk():
    """Lets no file grow beyond 1000 bytes, with the error of the system that Python makes of it."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_full_disk_leaves_the_old_file_alone(tmp_path, suffix, dtype):
    (tmp_path / f"a{suffix}").write_bytes(b"the old file")
    photo = Photo(noise(64, 64, 3, top=np.iinfo(dtype).max, dtype=dtype))
    with (
        full_disk(),
        pytest.raises(PhotoError, match="cannot be written: .* Check the folder and its free space"),
    ):
        write_photo(tmp_path / f"a{suffix}", photo)
    assert names(tmp_path) == [f"a{suffix}"]
    assert (tmp_path / f"a{suffix}").read_bytes() == b"the old file"


def test_an_interruption_leaves_the_old_file_alone(tmp_path):
    def pages():
        yield Photo(smooth())
        raise KeyboardInterrupt

    (tmp_path / "a.tif").write_bytes(b"the old file")
    with pytest.raises(KeyboardInterrupt):
        write_pages(tmp_path / "a.tif", pages(), 10**4)
    assert names(tmp_path) == ["a.tif"]
    assert (tmp_path / "a.tif").read_bytes() == b"the old file"


def test_bugs_are_not_called_damage(tmp_path):
    """What no photo can cause surfaces as it is."""
    with pytest.raises(AttributeError):
        read_photo(5)
    with pytest.raises(AttributeError):
        count_pictures(None)
    for metadata in (None, {"text": {5: "five"}}):
        with pytest.raises((AttributeError, TypeError)):
            write_photo(tmp_path / "a.png", Photo(smooth(), metadata=metadata))

    def pages():
        yield Photo(smooth())
        raise TypeError("a bug in what makes the pages")

    with pytest.raises(TypeError, match="a bug"):
        write_pages(tmp_path / "a.tif", pages(), 10**4)
    assert names(tmp_path) == []


def test_written_files_have_the_usual_permissions(tmp_path):
    old = os.umask(0o027)
    try:
        write_photo(tmp_path / "a.png", Photo(smooth()))
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o640


IMPOSSIBLE_WRITES = [
    ("a.gif", (4, 5, 3), "must be one of .bmp, .jfif"),
    ("folder.png", (4, 5, 3), "folder.png.*Check the folder"),
    ("no/a.png", (4, 5, 3), "No such file"),
    ("a.webp", (1, 17000, 3), "WEBP holds at most 16383 pixels on a side, and it has 17000"),
    ("a.png", (4, 5, 4), "uint8"),
    ("a.png", (0, 5, 3), "uint8"),
]


@pytest.mark.parametrize(("name", "shape", "reason"), IMPOSSIBLE_WRITES)
def test_impossible_writes_are_refused_and_leave_nothing(tmp_path, name, shape, reason):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(PhotoError, match=reason):
        write_photo(tmp_path / name, Photo(np.zeros(shape, np.uint8)))
    assert names(tmp_path) == ["folder.png"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("no.jpg", "no.jpg' does not exist"), (".", "is a folder"), ("empty.jpg", "is empty")],
)
def test_refused_reads_name_the_reason(tmp_path, name, reason):
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(PhotoError, match=reason):
        read_photo(tmp_path / name)


@pytest.mark.parametrize("format", FORMATS.values())
@pytest.mark.parametrize("part", [0.1, 0.6, 0.9])
def test_truncated_photos_are_refused(format, part):
    pixels = noise(64, 64, 3)
    # With the directory of a TIFF in front, so that only pixels are missing.
    stream = stream_of(Image.fromarray(pixels), format)
    if format == "TIFF":
        tifffile.imwrite(stream := io.BytesIO(), pixels, photometric="rgb")
    with pytest.raises(PhotoError):
        read_photo(io.BytesIO(stream.getvalue()[: int(len(stream.getvalue()) * part)]))


def huge_png(width, height):
    """The head of a PNG that says how large it is, and nothing else."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = b"IDAT" + zlib.compress(b"")
    parts = [
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
        for part in (chunk, pixels)
    ]
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def huge_deep_tiff():
    """A TIFF of 16 bits, 30 bytes of pixels, that claims to be 40,000 x 40,000."""
    tifffile.imwrite(stream := io.BytesIO(), noise(1, 5, 3, dtype=np.uint16), photometric="rgb")
    data = bytearray(stream.getvalue())
    stream.seek(0)
    with tifffile.TiffFile(stream) as tiff:
        for name in ("ImageWidth", "ImageLength"):
            offset = tiff.pages[0].tags[name].valueoffset
            data[offset : offset + 2] = struct.pack("<H", 40_000)
    return io.BytesIO(bytes(data))


@pytest.mark.parametrize("bomb", [huge_png(15_001, 10_000), huge_png(60_000, 60_000), huge_deep_tiff()])
def test_too_many_pixels_are_refused_before_they_take_memory(bomb):
    tracemalloc.start()
    with pytest.raises(PhotoError, match="more than 150 megapixels; scale it down first"):
        read_photo(bomb)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_an_animation_of_too_many_pixels_is_refused(tmp_path):
    """PNG and WebP frames are all in memory at once."""
    data = bytearray(animated("PNG").getvalue())
    start = data.index(b"acTL")
    data[start + 4 : start + 8] = struct.pack(">I", 10**6)
    data[start + 12 : start + 16] = struct.pack(">I", zlib.crc32(data[start : start + 12]))
    with pytest.raises(PhotoError, match="more than 150 megapixels"):
        count_pictures(io.BytesIO(bytes(data)))


def animated(format, count=3):
    pictures = [Image.fromarray(smooth() // (index + 1)) for index in range(count)]
    return stream_of(pictures[0], format, save_all=True, append_images=pictures[1:], duration=100)


@pytest.mark.parametrize(
    ("stream", "count", "is_animation"),
    [
        (animated("PNG"), 3, True),
        (animated("WEBP"), 3, True),
        (animated("GIF"), 3, True),
        (animated("TIFF"), 3, False),
        (animated("MPO"), 1, False),  # a JPEG with previews
        (animated("PNG", 1), 1, False),
    ],
)
def test_pictures_are_counted(stream, count, is_animation):
    assert count_pictures(stream) == Contents(count, is_animation, count * 40 * 56)


def test_every_page_of_a_tiff_is_read_and_written(tmp_path):
    """8 and 16 bits, gray and colour, with alpha and without, turned, each page of another size."""
    gray16, rgb, alpha = noise(9, 14, top=65536, dtype=np.uint16), noise(10, 6, 3), noise(10, 6)
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(gray16, photometric="minisblack")
        tiff.write(np.dstack([rgb, alpha]), photometric="rgb", extrasamples=["unassalpha"])
        tiff.write(noise(5, 7) > 99, photometric="minisblack")
        tiff.write(rgb, photometric="rgb", extratags=[(274, "H", 1, 6, True)])
    photos = list(read_pages(tmp_path / "a.tif"))
    expected = [gray16[..., None].repeat(3, 2), rgb, (noise(5, 7) > 99)[..., None].repeat(3, 2) * 255]
    expected.append(np.rot90(rgb, -1))
    for photo, pixels in zip(photos, expected, strict=True):
        np.testing.assert_array_equal(photo.rgb, pixels)
    np.testing.assert_array_equal(photos[1].alpha, alpha)
    photos[0].metadata["dpi"] = (300.0, 300.0)
    write_pages(tmp_path / "b.tif", iter(photos), count_pictures(tmp_path / "a.tif").pixels)
    for again, pixels in zip(read_pages(tmp_path / "b.tif"), expected, strict=True):
        np.testing.assert_array_equal(again.rgb, pixels)
    assert read_photo(tmp_path / "b.tif").metadata["dpi"] == (300.0, 300.0)
    with Image.open(tmp_path / "b.tif") as image:  # Pillow agrees
        assert image.n_frames == 4


def test_a_damaged_page_leaves_no_half_of_the_pages(tmp_path):
    data = animated("TIFF").getvalue()
    (tmp_path / "a.tif").write_bytes(data[: len(data) - 1000])
    with pytest.raises(PhotoError):
        write_pages(tmp_path / "b.tif", read_pages(tmp_path / "a.tif"), 10**4)
    assert names(tmp_path) == ["a.tif"]


def test_pages_go_into_tiffs_only(tmp_path):
    with pytest.raises(PhotoError, match="cannot hold several pages; name a .tif file"):
        write_pages(tmp_path / "b.png", [Photo(smooth())] * 2, 10**4)


def test_photos_of_cielab_keep_their_lightness(tmp_path):
    """Of which white a TIFF's Lab is relative to is not the same as scikit-image's: a little colour only."""
    lab = rgb2lab(smooth()) * (1.0, 0.2, 0.2)
    stored = np.int16(np.rint(lab * (2.55, 1.0, 1.0))).astype(np.uint8)
    tifffile.imwrite(tmp_path / "lab.tif", stored, photometric="cielab")
    np.testing.assert_allclose(rgb2lab(read_photo(tmp_path / "lab.tif").rgb)[..., 0], lab[..., 0], atol=1.0)


@pytest.mark.parametrize(
    ("suffix", "format"), [(".jpg", "PNG"), (".png", "JPEG"), (".tif", "WEBP"), (".webp", "GIF")]
)
def test_what_the_name_says_does_not_matter(tmp_path, suffix, format):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(smooth()[..., 1]).save(path, format)
    assert np.abs(read_photo(path).rgb - smooth()[..., 1:2].astype(float)).mean() < 3


def test_what_a_format_cannot_hold_is_said(tmp_path):
    deep = Photo(noise(4, 5, 3, dtype=np.uint16), noise(4, 5, dtype=np.uint16))
    assert write_photo(tmp_path / "a.png", deep) == write_photo(tmp_path / "a.tif", deep) == []
    eight, transparency = write_photo(tmp_path / "a.jpg", deep)
    assert "8 of its 16 bits" in eight and "transparency" in transparency
    assert len(write_photo(tmp_path / "a.webp", deep)) == 1


def test_transparency_is_turned_with_the_photo():
    image = Image.fromarray(np.dstack([smooth(), noise(40, 56)]))
    photo = read_photo(stream_of(image, "PNG", exif=oriented(6)))
    np.testing.assert_array_equal(photo.alpha, np.rot90(noise(40, 56), -1))


def test_a_name_as_long_as_the_system_allows_is_written(tmp_path):
    path = tmp_path / ("x" * 251 + ".png")
    write_photo(path, Photo(smooth()))
    assert names(tmp_path) == [path.name]

"""Tests of nxap_color.image_io against Pillow, numpy and scikit-image."""

import io
import os
import stat

import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin
from skimage.metrics import peak_signal_noise_ratio

from nxap_color.image_io import PHOTO_SUFFIXES, Photo, PhotoError, is_photo, read_photo, write_photo

FORMATS = {".bmp": "BMP", ".jpg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".webp": "WEBP"}


def smooth():
    """Makes an asymmetric colour gradient that lossy formats keep well."""
    y, x = np.mgrid[0:40, 0:56]
    return np.stack((x * 4, y * 6, 255 - (x + y) * 2), axis=-1).astype(np.uint8)


def noise(*shape, top=256, dtype=np.uint8):
    return np.random.default_rng(7).integers(0, top, shape, dtype=dtype)


def noise16(*shape):
    return noise(*shape, top=65536, dtype=np.uint16)


def stream_of(image, format, **options):
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream


def tiff_of(pixels, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, photometric="rgb", **options)
    return stream


def oriented(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("suffix", [*PHOTO_SUFFIXES, ".JPG", ".Tiff"])
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


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize("top", [200, 65536])  # a dark one is not taken for 8 bits
def test_gray16_keeps_its_values(format, top):
    gray = noise(9, 14, top=top, dtype=np.uint16)
    photo = read_photo(stream_of(Image.fromarray(gray), format))
    assert photo.rgb.dtype == np.uint16
    np.testing.assert_array_equal(photo.rgb, np.dstack([gray] * 3))


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@pytest.mark.parametrize(
    ("low", "middle", "high", "expected"),
    [(0, 0, 1, 0), (0, 51, 255, 13107), (0, 300, 65535, 300), (-1, 0, 1, 32768), (1e5, 2e5, 3e5, 32768)],
)
def test_gray32_is_scaled_to_16_bits(low, middle, high, expected, dtype):
    gray = Image.fromarray(np.array([[low, middle, high]], dtype))
    np.testing.assert_array_equal(read_photo(stream_of(gray, "TIFF")).rgb[0, :, 2], [0, expected, 65535])


@pytest.mark.parametrize("byteorder", "<>")
def test_rgb16_tiff_keeps_its_values(byteorder):
    photo = read_photo(tiff_of(noise16(9, 14, 3), byteorder=byteorder, compression="zlib"))
    assert photo.rgb.dtype == np.uint16
    np.testing.assert_array_equal(photo.rgb, noise16(9, 14, 3))


def test_rgb16_tiff_that_is_turned_becomes_uint8():
    photo = read_photo(tiff_of(noise16(9, 14, 3), extratags=[(274, "H", 1, 6, True)]))
    assert np.abs(photo.rgb - np.rot90(noise16(9, 14, 3), -1) / 257).max() <= 1


def test_rgb16_tiff_of_separate_planes_is_refused():
    with pytest.raises(PhotoError, match="separate colour planes"):
        read_photo(tiff_of(noise16(3, 9, 14), planarconfig="separate"))


def test_uint16_stays_in_tiff(tmp_path):
    write_photo(tmp_path / "a.tif", Photo(noise16(9, 14, 3)))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), noise16(9, 14, 3))


@pytest.mark.parametrize(("name", "alpha"), [("a.png", None), ("a.tif", np.zeros((257, 85), np.uint8))])
def test_uint16_is_rounded_elsewhere(tmp_path, name, alpha):
    rgb = np.arange(65535, dtype=np.uint16).reshape(257, 85, 3)
    write_photo(tmp_path / name, Photo(rgb, alpha))
    np.testing.assert_array_equal(read_photo(tmp_path / name).rgb, np.floor(rgb / 257 + 0.5))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_failure_in_the_middle_leaves_the_old_file_alone(tmp_path, monkeypatch, error):
    def save_half(image, stream, *args, **options):
        stream.write(b"\x89PNG half a fi")
        raise error

    monkeypatch.setattr(Image.Image, "save", save_half)
    (tmp_path / "a.png").write_bytes(b"the old file")
    with pytest.raises((PhotoError, KeyboardInterrupt), match="No space left|^$"):
        write_photo(tmp_path / "a.png", Photo(smooth()))
    assert names(tmp_path) == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"the old file"


def test_written_files_have_the_usual_permissions(tmp_path):
    old = os.umask(0o027)
    try:
        write_photo(tmp_path / "a.png", Photo(smooth()))
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o640


IMPOSSIBLE_WRITES = [
    ("a.gif", (4, 5, 3), "must be one of .bmp, .jpeg"),
    ("folder.png", (4, 5, 3), "folder.png.*Check the folder"),
    ("no/a.png", (4, 5, 3), "No such file"),
    ("a.webp", (1, 17000, 3), "16383"),
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
    stream = tiff_of(pixels) if format == "TIFF" else stream_of(Image.fromarray(pixels), format)
    with pytest.raises(PhotoError):
        read_photo(io.BytesIO(stream.getvalue()[: int(len(stream.getvalue()) * part)]))


def test_too_many_pixels_are_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(PhotoError, match="too many pixels"):
        read_photo(stream_of(Image.fromarray(smooth()), "PNG"))


def test_memory_error_is_not_blamed_on_the_photo(monkeypatch):
    def fail(image):
        raise MemoryError

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    with pytest.raises(MemoryError):
        read_photo(stream_of(Image.fromarray(smooth()), "PNG"))

"""Whatever is given to the command line: nothing is lost, nothing is left half-done, and all is named."""

import contextlib
import os
import random
import re
import resource
import signal
import stat
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile
from commands import start, stop_when
from PIL import Image
from skimage.color import rgb2lab

from nxap_color import predict
from nxap_color.cli.batch import run_jobs
from nxap_color.cli.jobs import Report, plan
from nxap_color.colorizer import Colorizer
from nxap_color.media.photos import read_photo


@pytest.fixture
def run(tiny_model_file, monkeypatch, tmp_path):
    """The command line with a tiny model, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: predict.main([*map(str, arguments), "--model", str(tiny_model_file)])


@pytest.fixture
def gray(sample_rgb):
    return Image.fromarray(sample_rgb).convert("L").resize((96, 64))


def names(folder):
    return sorted(path.name for path in Path(folder).rglob("*") if path.is_file())


# Every kind of photo, and the gray that it shows.


def deep(gray):
    """16 bits whose lower ones matter."""
    return np.asarray(gray).astype(np.uint16) * 257 // 2 + 3000


def sepia(gray):
    return Image.merge(
        "RGB", [gray.point(lambda level, part=part: level * part) for part in (1.0, 0.85, 0.65)]
    )


def turned(gray, orientation):
    """A file that shows `gray` once it is turned as its EXIF says."""
    back = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    exif = Image.Exif()
    exif[0x0112] = orientation
    return gray.transpose(back[orientation]), {"exif": exif.tobytes()}


KINDS = {
    "gray.jpg": lambda gray: gray,
    "rgb.PNG": lambda gray: gray.convert("RGB"),
    "palette.png": lambda gray: gray.convert("P"),
    "gray and alpha.png": lambda gray: Image.merge("LA", [gray, gray.point(lambda level: 255 - level)]),
    "rgba.tif": lambda gray: Image.merge("RGBA", [gray] * 3 + [gray.point(lambda level: 255 - level)]),
    "cmyk.jpg": lambda gray: Image.merge(
        "CMYK", [Image.new("L", gray.size)] * 3 + [gray.point(lambda x: 255 - x)]
    ),
    "bits.png": lambda gray: gray.point(lambda level: 255 * (level > 99)).convert("1"),
    "àvia 1920 – 白黒.webp": lambda gray: gray.convert("RGB"),
    "sepia.bmp": sepia,
    "1x1.png": lambda gray: gray.resize((1, 1)),
    "strip.png": lambda gray: gray.resize((4000, 1)),
    "column.jpg": lambda gray: gray.resize((1, 4000)),
    "black.jpg": lambda gray: gray.point(lambda level: 0),
    "white.jpg": lambda gray: gray.point(lambda level: 255),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_photo_keeps_its_lightness_size_and_alpha(run, gray, tmp_path, name):
    path, image = tmp_path / name, KINDS[name](gray)
    image.save(path, **({"lossless": True} if name.endswith("webp") else {}))
    assert run(path) == 0
    with Image.open(path) as before, Image.open(tmp_path / f"{path.stem}_color{path.suffix}") as after:
        assert (after.size, after.format) == (before.size, before.format)
        expected, result = (np.asarray(image.convert("RGB")) for image in (before, after))
        assert np.abs(rgb2lab(expected)[..., 0] - rgb2lab(result)[..., 0]).mean() < 1.0
        assert before.has_transparency_data == after.has_transparency_data
        if before.has_transparency_data:
            np.testing.assert_array_equal(before.getchannel("A"), after.getchannel("A"))
    if name not in ("1x1.png", "black.jpg", "white.jpg", "bits.png"):
        assert np.ptp(result.astype(int), axis=-1).mean() > 2.0, "it has colour"


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_turned_photos_come_out_upright_once(run, gray, tmp_path, orientation):
    image, options = turned(gray, orientation)
    image.save(tmp_path / "a.png", **options)
    assert run(tmp_path / "a.png") == 0
    with Image.open(tmp_path / "a_color.png") as result:
        assert result.getexif().get(0x0112, 1) == 1
        lightness = rgb2lab(np.asarray(result))[..., 0]
    assert np.abs(lightness - rgb2lab(np.dstack([gray] * 3))[..., 0]).mean() < 1.0


@pytest.mark.parametrize("name", ["a.png", "a.tif", "pages.tif", "float.tif"])
def test_16_bits_of_lightness_are_kept(run, gray, tmp_path, name):
    path, pixels = tmp_path / name, deep(gray)
    if name == "a.png":
        Image.fromarray(pixels).save(path)
    else:
        stored = np.float32(pixels / 65535.0) if name == "float.tif" else pixels
        pages = [stored, stored[::-1]] if name == "pages.tif" else [stored]
        with tifffile.TiffWriter(path) as tiff:
            for page in pages:
                tiff.write(page, photometric="minisblack")
    assert run(path) == 0
    result = tmp_path / f"{path.stem}_color{path.suffix}"
    photo = read_photo(result)
    assert photo.rgb.dtype == np.uint16
    expected = rgb2lab(np.dstack([pixels / 65535.0] * 3))[..., 0]
    # A tenth of what 8 bits would be off by.
    assert np.abs(rgb2lab(photo.rgb / 65535.0)[..., 0] - expected).mean() < 0.02
    if name == "pages.tif":
        with Image.open(result) as image:
            assert image.n_frames == 2


def test_a_link_to_a_photo_is_coloured_beside_the_link(run, gray, tmp_path):
    (tmp_path / "there").mkdir()
    gray.save(tmp_path / "there" / "a.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "there" / "a.jpg")
    assert run(tmp_path / "link.jpg") == 0
    assert names(tmp_path) == ["a.jpg", "link.jpg", "link_color.jpg"]


def test_links_in_a_folder_are_coloured_by_their_own_names(run, gray, tmp_path):
    album, there = tmp_path / "album", tmp_path / "there.jpg"
    album.mkdir()
    gray.save(there)
    (album / "link.jpg").symlink_to(there)
    assert run(album) == 0
    assert names(tmp_path / "album_color") == ["link.jpg"]


def test_a_link_to_a_folder_is_coloured_beside_the_link(run, gray, tmp_path):
    (tmp_path / "real" / "deep").mkdir(parents=True)
    gray.save(tmp_path / "real" / "deep" / "a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "deep")
    assert run(tmp_path / "link") == 0
    assert names(tmp_path / "link_color") == ["a.jpg"]
    assert not (tmp_path / "real" / "deep_color").exists()


# What is broken is named, and costs nothing but itself.


def truncated(path, gray):
    gray.save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:-500])


def lying(path, gray):
    """A PNG that says it is twice as high as it is."""
    import struct
    import zlib

    gray.save(path, "PNG")
    data = bytearray(path.read_bytes())
    data[20:24] = struct.pack(">I", 2 * gray.height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)


BROKEN = {
    "truncated.jpg": (truncated, "damaged, incomplete"),
    "empty.png": (lambda path, _: path.touch(), "is empty or no"),
    "random.tif": (lambda path, _: path.write_bytes(random.Random(0).randbytes(5000)), "is empty or no"),
    "text.jpg": (lambda path, _: path.write_text("Dear grandmother"), "is empty or no"),
    "lying.png": (lying, "damaged, incomplete"),
    "gone.jpg": (lambda path, _: path.symlink_to("nowhere.jpg"), "There is no such file"),
    "pipe.jpg": (lambda path, _: os.mkfifo(path), "a device, a pipe or the like"),
    "camera.CR2": (lambda path, _: path.write_bytes(b"raw"), ".CR2 cannot be read; save it as TIFF"),
    "no frames.mp4": (lambda path, _: path.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(12)), "film"),
    "no frames.gif": (lambda path, _: path.write_bytes(b"GIF89a" + bytes(7)), "is empty or no"),
}


def test_all_that_is_broken_is_named_once_and_the_rest_is_done(run, gray, tmp_path, capsys):
    folder = tmp_path / "album"
    folder.mkdir()
    (folder / "folder.jpg").mkdir()  # which is none of our business
    for name in ("a.jpg", "z.jpg"):
        gray.save(folder / name)
    for name, (make, _) in BROKEN.items():
        make(folder / name, gray)
    assert run(folder) == 1
    output = capsys.readouterr()
    assert output.out.splitlines()[-1].startswith(f"wrote 2 of {2 + len(BROKEN)} files")
    assert "Traceback" not in output.err
    for name, (_, reason) in BROKEN.items():
        (line,) = [line for line in output.err.splitlines() if line.startswith(f"error: {folder / name}: ")]
        assert reason in line
    assert len(output.err.splitlines()) == len(BROKEN)
    assert names(tmp_path / "album_color") == ["a.jpg", "z.jpg"]


def test_a_folder_named_like_a_photo_is_a_folder(run, gray, tmp_path, capsys):
    folder = tmp_path / "album.jpg"
    folder.mkdir()
    assert run(folder) == 1
    assert capsys.readouterr().err == f"error: {folder}: There are no photos or films in this folder.\n"
    gray.save(folder / "a.jpg")
    assert run(folder) == 0
    assert names(tmp_path / "album.jpg_color") == ["a.jpg"]


class Failing:
    """A colorizer that fails with an error in one of its steps, at photos of 40 x 30 pixels."""

    def __init__(self, colorizer, step, error):
        self.colorizer, self.step, self.error = colorizer, step, error

    def __getattr__(self, name):
        method = getattr(self.colorizer, name)

        def fail_or_go_on(photo, *arguments):
            if getattr(photo, "size" if self.step == "finish" else "shape")[:2] == (30, 40):
                raise self.error
            return method(photo, *arguments)

        return fail_or_go_on if name == self.step else method


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("step", ["prepare", "finish", "colorize"])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "There is not enough memory for a picture of this size."),
        (OSError(28, "No space left on device"), "No space left on device"),
        (TypeError("one\ntwo"), "TypeError: one (a bug in nxap_color: --debug shows where)"),
    ],
)
def test_a_failure_costs_one_file_and_a_bug_is_called_one(
    gray, tmp_path, tiny_model, capsys, error, reason, step, debug
):
    album, suffix = tmp_path / "album", "tif" if step == "colorize" else "png"
    album.mkdir()
    for name, size in (("a", (96, 64)), ("b", (40, 30)), ("c", (64, 96))):
        pages = {"save_all": True, "append_images": [gray.resize(size)]} if suffix == "tif" else {}
        gray.resize(size).save(album / f"{name}.{suffix}", **pages)
    report = colour(Failing(Colorizer(tiny_model, 64), step, error), album, debug=debug)
    assert report.failed == [album / f"b.{suffix}"]
    assert names(tmp_path / "album_color") == [f"a.{suffix}", f"c.{suffix}"]
    *shown, line = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {album / 'b'}.{suffix}: ") and reason in line
    assert bool(shown) == debug == ("in fail_or_go_on" in "".join(shown))


@contextlib.contextmanager
def as_somebody(folder):
    """A process of root's, as in containers, may do all: for once it is nobody's, and owns nothing."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public_folder():
    """A folder outside of pytest's own, into which only root may look."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def colour(colorizer, *inputs, debug=False):
    jobs, refused = plan(list(inputs))
    assert not refused
    report = Report(len(jobs))
    run_jobs(jobs, lambda: colorizer, report, debug=debug)
    return report


def test_an_unreadable_photo_and_a_read_only_folder_are_named(gray, public_folder, tiny_model, capsys):
    colorizer, secret, photo = (
        Colorizer(tiny_model, 64),
        public_folder / "secret.jpg",
        public_folder / "a.jpg",
    )
    for path in (secret, photo):
        gray.save(path)
    secret.chmod(0)
    mode = stat.S_IMODE(public_folder.stat().st_mode)
    public_folder.chmod(0o555)
    with as_somebody(public_folder):
        report = colour(colorizer, secret, photo)
    public_folder.chmod(mode)
    assert report.failed == [secret, photo] and not report.written
    first, second = capsys.readouterr().err.splitlines()
    assert "secret.jpg' may not be opened; check its access rights" in first
    assert "a_color.jpg' cannot be written: Permission denied. Check the folder and its free space" in second
    assert names(public_folder) == ["a.jpg", "secret.jpg"]


def save_all(gray, path, **options):
    others = [gray.rotate(20 * number) for number in range(1, 4)]
    gray.save(path, save_all=True, append_images=others, **options)


LARGE = {
    **dict.fromkeys(["a.jpg", "a.png", "a.tif", "a.webp", "a.bmp"], lambda gray, path: gray.save(path)),
    "16 bits.png": lambda gray, path: Image.fromarray(deep(gray)).save(path),
    "16 bits.tif": lambda gray, path: tifffile.imwrite(path, deep(gray)),
    "pages.tif": save_all,
    **dict.fromkeys(["moving.gif", "moving.png", "moving.webp"], partial(save_all, duration=100)),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_full_disk_leaves_nothing_half_written(gray, tmp_path, tiny_model, capsys, name):
    """As far as a process can tell: the system lets it write no file beyond some thousand bytes."""
    photo = tmp_path / name
    result = photo.with_name(f"{photo.stem}_color{photo.suffix}")
    LARGE[name](gray.resize((400, 300)), photo)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        report = colour(Colorizer(tiny_model, 64), photo)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert report.failed == [photo]
    assert re.search(rf"{result.name}'? cannot be written: ", capsys.readouterr().err)
    assert names(tmp_path) == [photo.name]


def test_a_hard_link_to_the_input_is_not_replaced(run, gray, tmp_path, capsys):
    photo, link = tmp_path / "a.jpg", tmp_path / "b.jpg"
    gray.save(photo)
    link.hardlink_to(photo)
    before = photo.read_bytes()
    assert run(photo, "-o", link, "--overwrite") == 1
    assert f"would replace the input {photo}" in capsys.readouterr().err
    assert link.read_bytes() == photo.read_bytes() == before


# Stopped, or twice at once.


@pytest.fixture
def album(gray, tmp_path):
    """A folder with a photo of a megapixel, by a hundred names."""
    folder = tmp_path / "album"
    folder.mkdir()
    gray.resize((1200, 800)).save(folder / "000.png")
    for number in range(1, 100):
        (folder / f"{number:03}.png").hardlink_to(folder / "000.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stopped_run_says_what_is_done_and_leaves_nothing_half_written(album, tiny_model_file, stop):
    results = album.with_name("album_color")
    process = start("nxap_color.predict", album, "--model", tiny_model_file)
    status, _, errors = stop_when(lambda: len(list(results.glob("[0-9]*"))) >= 3, process, stop)
    assert status == 128 + stop
    done = names(results)
    assert 3 <= len(done) < 100 and not [name for name in done if name.startswith(".")]
    for path in results.iterdir():
        assert read_photo(path).rgb.shape == (800, 1200, 3)
    (line,) = errors.splitlines()
    assert line.startswith(f"stopped; wrote {len(done)} of 100 files") and "goes on there" in line


@pytest.mark.slow
def test_two_runs_at_once_do_not_spoil_each_other(album, tiny_model_file):
    for path in sorted(album.iterdir())[8:]:
        path.unlink()
    arguments = (album, "--model", tiny_model_file, "--quiet")
    processes = [start("nxap_color.predict", *arguments) for _ in range(2)]
    for process in processes:
        _, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")
    results = album.with_name("album_color")
    assert names(results) == names(album)
    first = read_photo(results / "000.png").rgb
    for path in results.iterdir():
        # How many photos go through the network together moves the last bits of its answer.
        difference = np.abs(read_photo(path).rgb.astype(int) - first)
        assert difference.max() <= 1 and (difference > 0).mean() < 0.001


# Models from strangers.


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("text.keras", "could not be loaded as a Keras model"),
        ("missing.keras", "There is no model"),
        ("folder.keras", "There is no model"),
        ("../../tiny", "There is no model"),
    ],
)
def test_what_is_no_model_is_wrong_usage(gray, tmp_path, capsys, name, reason):
    gray.save(tmp_path / "a.jpg")
    (tmp_path / "text.keras").write_text("no model")
    (tmp_path / "folder.keras").mkdir()
    assert predict.main([str(tmp_path / "a.jpg"), "--model", str(tmp_path / name)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and reason in line
    assert names(tmp_path) == ["a.jpg", "text.keras"]

"""Animations, against Pillow's reading of them and ffmpeg's."""

import struct
import tracemalloc

import numpy as np
import pytest
from films import report
from PIL import Image, ImageCms
from scipy.spatial import cKDTree

from nxap_color import predict
from nxap_color.errors import FilmError
from nxap_color.media import animations
from nxap_color.media.photos import read_photo

DURATIONS = [50, 120, 30, 500, 100, 70]


@pytest.fixture
def pictures(sample_rgb):
    """Six gray pictures, RGBA, the second and third the same; in all but the fourth a corner is a hole."""
    gray = np.asarray(Image.fromarray(sample_rgb).convert("L").resize((96, 64)))
    alpha = np.full(gray.shape, 255, "uint8")
    alpha[:16, :16] = 0
    holes, whole, shifts = alpha, np.full_like(alpha, 255), (0, 4, 4, 8, 12, 16)
    alphas = (holes, holes, holes, whole, holes, holes[::-1])
    return [
        Image.fromarray(np.dstack([np.roll(gray, shift, 1)] * 3 + [alpha]), "RGBA")
        for shift, alpha in zip(shifts, alphas, strict=True)
    ]


@pytest.fixture
def gif(tmp_path, pictures):
    path = tmp_path / "old.gif"
    with animations.GifWriter(
        path, np.repeat(np.arange(255, dtype="uint8")[:, None], 3, 1), 3, True
    ) as writer:
        for picture, duration in zip(pictures, DURATIONS, strict=True):
            rgba = np.asarray(picture)
            writer.write(animations.AnimationFrame(rgba[..., :3], rgba[..., 3], duration))
    return path


def look(path):
    """Pillow's view of an animation: loop count, durations, and RGBA frames."""
    with Image.open(path) as gif:
        durations, frames = [], []
        for number in range(gif.n_frames):
            gif.seek(number)
            frames.append(np.asarray(gif.convert("RGBA")))
            durations.append(gif.info.get("duration"))
        return gif.info.get("loop"), durations, np.stack(frames)


def colour(path, model, *options):
    assert predict.main([str(path), "--model", str(model), "--quiet", *options]) == 0
    return path.with_name("old_color.gif")


def test_durations_loop_and_transparency_are_kept(gif, tiny_model_file):
    result = colour(gif, tiny_model_file)
    loop, durations, frames = look(result)
    assert (loop, durations) == (3, DURATIONS)
    np.testing.assert_array_equal(frames[..., 3], look(gif)[2][..., 3])
    assert report(result)["duration"] == report(gif)["duration"] == "00:00:00.87"
    old = look(gif)[2][..., :3].astype(float)
    luma = frames[..., :3] @ np.array([0.299, 0.587, 0.114])
    seen = frames[..., 3] > 0
    assert np.abs(luma - old[..., 0])[seen].mean() < 5.0
    assert np.ptp(frames[..., :3].astype(int), axis=-1)[seen].mean() > 3.0


def test_a_gif_by_pillow_with_disposal_and_no_loop(tmp_path, pictures, tiny_model_file):
    path = tmp_path / "old.gif"
    some = [pictures[index] for index in (0, 1, 3, 4)]
    some[0].save(path, save_all=True, append_images=some[1:], duration=[40, 80, 120, 160], disposal=2)
    loop, durations, frames = look(colour(path, tiny_model_file))
    assert loop is None and durations == [40, 80, 120, 160]
    np.testing.assert_array_equal(frames[..., 3], look(path)[2][..., 3])


def test_what_stands_still_does_not_flicker(tmp_path, pictures, tiny_model_file):
    """One palette and a dithering that stands still: equal frames come out equal."""
    path = tmp_path / "old.gif"
    with animations.GifWriter(
        path, np.repeat(np.arange(255, dtype="uint8")[:, None], 3, 1), 0, False
    ) as writer:
        for _ in range(4):
            writer.write(
                animations.AnimationFrame(
                    np.asarray(pictures[0])[..., :3], np.full((64, 96), 255, "uint8"), 100
                )
            )
    _, durations, frames = look(colour(path, tiny_model_file))
    assert durations == [100] * 4
    # Not every pixel: on some processors a network's answers differ in the last bit by the place in a batch,
    # and rounding may then choose another entry of the palette.
    assert (frames != frames[0]).any(axis=-1).mean() < 1e-3


def test_a_divider_of_a_few_rows(tmp_path, tiny_model_file):
    """Too flat for OpenCV's flow, which would take the whole process along."""
    path = tmp_path / "old.gif"
    with animations.GifWriter(
        path, np.repeat(np.arange(255, dtype="uint8")[:, None], 3, 1), 0, False
    ) as writer:
        for number in range(3):
            rgb = np.full((10, 600, 3), 60 + number, "uint8")
            writer.write(animations.AnimationFrame(rgb, np.full((10, 600), 255, "uint8"), 100))
    assert look(colour(path, tiny_model_file))[2].shape == (3, 10, 600, 4)


def test_dithering_keeps_the_mean_colour(tmp_path):
    """A gray between two of the palette becomes a mixture of these."""
    palette = np.repeat(np.uint8([96, 108])[:, None], 3, axis=1)
    with animations.GifWriter(tmp_path / "gray.gif", palette, 0, False) as writer:
        writer.write(
            animations.AnimationFrame(
                np.full((64, 64, 3), 101, "uint8"), np.full((64, 64), 255, "uint8"), 100
            )
        )
    frames = look(tmp_path / "gray.gif")[2]
    assert set(np.unique(frames[..., :3])) == {96, 108}
    assert abs(frames[..., :3].mean() - 101) < 2.5


@pytest.mark.parametrize("colours", [255, 37, 1])
def test_pixels_take_the_nearest_colour_of_the_palette(tmp_path, colours):
    """As near as SciPy's search finds one, of several just as near any; and in little memory."""
    palette = np.random.default_rng(0).integers(0, 256, (colours, 3)).astype("uint8")
    tracemalloc.start()
    nearest = animations.GifWriter(tmp_path / "new.gif", palette, 0, False).nearest
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    middles = np.stack(np.meshgrid(*[np.arange(2.0, 256.0, 4.0)] * 3, indexing="ij"), axis=-1)
    assert nearest.shape == middles.shape[:-1] and nearest.dtype == np.uint8
    distances = np.linalg.norm(middles - palette[nearest], axis=-1)
    np.testing.assert_allclose(distances, cKDTree(palette.astype(float)).query(middles)[0], rtol=1e-12)
    assert peak < 50e6


def test_compare_shows_both(gif, tiny_model_file):
    result = colour(gif, tiny_model_file, "--compare")
    loop, durations, frames = look(result.with_name("old_color_compare.gif"))
    assert (loop, durations) == (3, DURATIONS)
    assert frames.shape[1:3] == (64, 192)


@pytest.mark.parametrize("damage", [b"", b"no gif", 300, -3000, -200])
def test_broken_gifs_are_named(gif, damage, tiny_model_file, capsys, tmp_path):
    whole = gif.read_bytes()
    gif.write_bytes(whole[:damage] if isinstance(damage, int) else damage)
    assert predict.main([str(gif), "--model", str(tiny_model_file)]) == 1
    assert f"error: {gif}: " in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["old.gif"]


def test_a_missing_gif_is_named(tmp_path):
    with pytest.raises(FilmError, match="Frame 0"):
        next(animations.read_frames(tmp_path / "none.gif"))


def save(pictures, path, format=None, **options):
    pictures[0].save(path, format, save_all=True, append_images=pictures[1:], **options)
    return path


def run(path, model, *options):
    return predict.main([str(path), "--model", str(model), "--quiet", *options])


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_pngs_and_webps_that_move_are_coloured_as_animations(tmp_path, pictures, tiny_model_file, format):
    """With their profile, too: the third and the fourth picture differ only in the corner that is a hole."""
    suffix, options = f".{format.lower()}", {"lossless": True} if format == "WEBP" else {}
    exif = Image.Exif()
    exif[0x010F] = "Leica"
    source = save(
        pictures, tmp_path / f"old{suffix}", duration=DURATIONS, loop=3, exif=exif.tobytes(), **options
    )
    assert run(source, tiny_model_file, "--compare") == 0
    result = tmp_path / f"old_color{suffix}"
    loop, durations, frames = look(result)
    before = look(source)
    assert loop == before[0] == 3 and durations == before[1]
    np.testing.assert_array_equal(frames[..., 3], before[2][..., 3])
    luma = frames[..., :3] @ np.array([0.299, 0.587, 0.114])
    seen = frames[..., 3] > 0
    assert np.abs(luma - before[2][..., 0])[seen].mean() < 3.0
    assert np.ptp(frames[..., :3].astype(int), axis=-1)[seen].mean() > 3.0
    with Image.open(result) as image, Image.open(tmp_path / "old_color_compare.jpg") as both:
        assert image.format == format and image.getexif()[0x010F] == "Leica"
        assert both.width > 2 * image.width


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_animations_are_turned_upright_once(tmp_path, pictures, tiny_model_file, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    source = save(pictures, tmp_path / f"old{suffix}", duration=100, exif=exif.tobytes())
    assert run(source, tiny_model_file) == 0
    frames = look(tmp_path / f"old_color{suffix}")[2]
    np.testing.assert_array_equal(frames[..., 3], np.rot90(look(source)[2][..., 3], -1, axes=(1, 2)))
    with Image.open(tmp_path / f"old_color{suffix}") as result:
        assert result.getexif().get(0x0112, 1) == 1


def test_a_still_before_a_moving_png_stays_outside_of_the_animation(tmp_path, pictures, tiny_model_file):
    source = save(pictures, tmp_path / "old.png", default_image=True, duration=DURATIONS[1:])
    assert run(source, tiny_model_file) == 0
    with Image.open(source) as before, Image.open(tmp_path / "old_color.png") as after:
        assert after.default_image and after.n_frames == before.n_frames
    assert look(source)[1][1:] == look(tmp_path / "old_color.png")[1][1:]


@pytest.mark.parametrize(("name", "format", "written"), [("a.png", "GIF", "PNG"), ("a.gif", "PNG", "GIF")])
def test_an_animation_by_a_wrong_name_is_written_as_what_the_name_says(
    tmp_path, pictures, tiny_model_file, name, format, written
):
    some = [pictures[index] for index in (0, 1, 3, 4)]
    source = save(
        some, tmp_path / name, format, duration=[40, 80, 120, 160], disposal=2 if format == "GIF" else 0
    )
    assert run(source, tiny_model_file) == 0
    with Image.open(tmp_path / f"a_color{source.suffix}") as result:
        assert result.format == written and result.n_frames == 4


def test_what_cannot_move_is_no_place_for_an_animation(tmp_path, pictures, tiny_model_file, capsys):
    source = save(pictures, tmp_path / "old.png", duration=100)
    assert run(source, tiny_model_file, "-o", str(tmp_path / "new.jpg")) == 1
    assert "cannot hold an animation; name a .png or .webp file" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["old.png"]


def test_frames_of_too_many_pixels_are_refused(tmp_path, tiny_model_file, capsys):
    head = b"GIF89a" + (7000).to_bytes(2, "little") * 2 + b"\x80\0\0" + bytes(6)
    (tmp_path / "bomb.gif").write_bytes(
        head + b"!\xf9\4\0\0\0\0\0" + b",\0\0\0\0\x58\x1b\x58\x1b\0\2\2L\1\0;"
    )
    assert run(tmp_path / "bomb.gif", tiny_model_file) == 1
    assert "more than 40 megapixels" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_profiles_of_animations_are_applied(tmp_path, pictures, suffix):
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    bright = icc.replace(struct.pack(">i", round(2.4 * 65536)), struct.pack(">i", 98304))
    source = save(pictures, tmp_path / f"old{suffix}", duration=100, icc_profile=bright)
    frame = next(animations.read_frames(source))
    assert frame.rgb.mean() > look(source)[2][0, ..., :3].mean() + 10
    np.testing.assert_array_equal(frame.rgb, read_photo(source).rgb)


@pytest.mark.parametrize("format", ["JPEG", "BMP"])
def test_a_photo_by_the_name_of_a_gif_becomes_one(tmp_path, pictures, tiny_model_file, format):
    pictures[0].convert("RGB").save(tmp_path / "old.gif", format)
    assert look(colour(tmp_path / "old.gif", tiny_model_file))[2].shape == (1, 64, 96, 4)


def test_upper_case_names_are_those_of_gifs_too(gif, tiny_model_file):
    source = gif.rename(gif.with_name("OLD.GIF"))
    assert run(source, tiny_model_file, "--compare") == 0
    for name in ("OLD_color.GIF", "OLD_color_compare.GIF"):
        with Image.open(gif.with_name(name)) as result:
            assert result.format == "GIF" and result.n_frames == len(DURATIONS)


def test_bugs_are_not_called_damage(gif, tmp_path):
    with pytest.raises(AttributeError):
        next(animations.read_frames(str(gif)))  # a text instead of a path
    properties = animations.Properties(0, False, {"text": {5: "five"}})
    with pytest.raises((AttributeError, TypeError)):
        animations.write_animation(tmp_path / "new.png", animations.read_frames(gif), properties)
    assert [path.name for path in tmp_path.iterdir()] == ["old.gif"]

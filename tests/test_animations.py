"""GIFs, against Pillow's reading of them and ffmpeg's."""

import numpy as np
import pytest
from films import report
from PIL import Image

from nxap_color import animation_io, predict
from nxap_color.ffmpeg import FilmError

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
    with animation_io.GifWriter(
        path, np.repeat(np.arange(255, dtype="uint8")[:, None], 3, 1), 3, True
    ) as writer:
        for picture, duration in zip(pictures, DURATIONS, strict=True):
            rgba = np.asarray(picture)
            writer.write(animation_io.AnimationFrame(rgba[..., :3], rgba[..., 3], duration))
    return path


def look(path):
    """Pillow's view of a GIF: loop count, durations, and RGBA frames."""
    with Image.open(path) as gif:
        durations, frames = [], []
        for number in range(gif.n_frames):
            gif.seek(number)
            durations.append(gif.info["duration"])
            frames.append(np.asarray(gif.convert("RGBA")))
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
    with animation_io.GifWriter(
        path, np.repeat(np.arange(255, dtype="uint8")[:, None], 3, 1), 0, False
    ) as writer:
        for _ in range(4):
            writer.write(
                animation_io.AnimationFrame(
                    np.asarray(pictures[0])[..., :3], np.full((64, 96), 255, "uint8"), 100
                )
            )
    _, durations, frames = look(colour(path, tiny_model_file))
    assert durations == [100] * 4
    assert (frames == frames[0]).all()


def test_a_divider_of_a_few_rows(tmp_path, tiny_model_file):
    """Too flat for OpenCV's flow, which would take the whole process along."""
    path = tmp_path / "old.gif"
    with animation_io.GifWriter(
        path, np.repeat(np.arange(255, dtype="uint8")[:, None], 3, 1), 0, False
    ) as writer:
        for number in range(3):
            rgb = np.full((10, 600, 3), 60 + number, "uint8")
            writer.write(animation_io.AnimationFrame(rgb, np.full((10, 600), 255, "uint8"), 100))
    assert look(colour(path, tiny_model_file))[2].shape == (3, 10, 600, 4)


def test_dithering_keeps_the_mean_colour(tmp_path):
    """A gray between two of the palette becomes a mixture of these."""
    palette = np.repeat(np.uint8([96, 108])[:, None], 3, axis=1)
    with animation_io.GifWriter(tmp_path / "gray.gif", palette, 0, False) as writer:
        writer.write(
            animation_io.AnimationFrame(
                np.full((64, 64, 3), 101, "uint8"), np.full((64, 64), 255, "uint8"), 100
            )
        )
    frames = look(tmp_path / "gray.gif")[2]
    assert set(np.unique(frames[..., :3])) == {96, 108}
    assert abs(frames[..., :3].mean() - 101) < 2.5


def test_compare_shows_both(gif, tiny_model_file):
    result = colour(gif, tiny_model_file, "--compare")
    loop, durations, frames = look(result.with_name("old_color_compare.gif"))
    assert (loop, durations) == (3, DURATIONS)
    assert frames.shape[1:3] == (64, 192)


@pytest.mark.parametrize("damage", [b"", b"no gif", "cut"])
def test_broken_gifs_are_named(gif, damage, tiny_model_file, capsys, tmp_path):
    whole = gif.read_bytes()
    gif.write_bytes(whole[:300] if damage == "cut" else damage)
    assert predict.main([str(gif), "--model", str(tiny_model_file)]) == 1
    assert f"error: {gif}: " in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["old.gif"]


def test_a_missing_gif_is_named(tmp_path):
    with pytest.raises(FilmError, match="Frame 0"):
        next(animation_io.read_frames(tmp_path / "none.gif"))

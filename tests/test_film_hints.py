"""Colour hints in films: a known motion is followed through its shot, and only through it."""

import cv2
import numpy as np
import pytest
from films import ffmpeg
from PIL import Image
from skimage.color import rgb2lab
from test_video import frames_of

from nxap_color.colorizer import Colorizer
from nxap_color.errors import HintError, ModelError
from nxap_color.film_files import colorize_video
from nxap_color.film_hints import carry_hints
from nxap_color.guidance import Hint
from nxap_color.steady import SteadyColour

SIZE = (192, 288)  # height, width
FIRST_SHOT, FRAMES, FPS = 20, 30, 25
RADIUS = 30


def disc_at(number):
    """Where the middle of the disc is in a frame of the first shot, x and y."""
    return 70 + 5 * number, 90 + number


@pytest.fixture(scope="module")
def grays(project):
    """A disc that crosses a street, and after a cut a garden; uint8 arrays."""

    def gray_of(name):
        with Image.open(project / "data" / "photos" / name) as photo:
            return np.asarray(photo.convert("L").resize(SIZE[::-1]))

    street, garden, skin = map(gray_of, ("test/hawa-mahal.jpg", "test/dandelions.jpg", "train/dahlia.jpg"))
    frames = []
    for number in range(FRAMES):
        frame = (street if number < FIRST_SHOT else np.roll(garden, number, axis=1)).copy()
        if number < FIRST_SHOT:
            x, y = disc_at(number)
            mask = cv2.circle(np.zeros(SIZE, "uint8"), (x, y), RADIUS, 1, -1) > 0
            frame[mask] = np.roll(skin, (y - 96, x - 144), axis=(0, 1))[mask] // 3 + 110
        frames.append(frame)
    return frames


@pytest.fixture(scope="module")
def film(grays, tmp_path_factory):
    folder = tmp_path_factory.mktemp("film")
    for number, gray in enumerate(grays):
        Image.fromarray(gray).save(folder / f"{number:03d}.png")
    ffmpeg(
        "-framerate", FPS, "-i", folder / "%03d.png", "-crf", 4, "-pix_fmt", "yuv420p", folder / "film.mp4"
    )
    return folder / "film.mp4"


def carry(grays, *hints, size=SIZE):
    frames = ((number / FPS, gray) for number, gray in enumerate(grays))
    return carry_hints(frames, hints, size, SteadyColour(FPS))


@pytest.mark.parametrize("given", [0, 9, 19])
def test_a_hint_follows_its_thing_through_its_shot(grays, given):
    found = carry(grays, Hint(*disc_at(given), "red", time=given / FPS))
    assert set(found) == set(range(FIRST_SHOT))
    for number, (hint,) in found.items():
        np.testing.assert_allclose((hint.x, hint.y), disc_at(number), atol=2.0)
        assert hint.color == "red"


def test_places_are_given_in_pixels_and_percentages_of_the_full_frame(grays):
    middle = Hint("50%", "50%", "red", time=1.0)
    large = carry(grays, middle, size=(1080, 1620))
    assert set(large) == set(range(FIRST_SHOT, FRAMES))
    (hint,) = large[25]
    np.testing.assert_allclose((hint.x, hint.y), (809.5, 539.5), atol=1.0)


def test_what_leaves_the_frame_is_lost(grays):
    moving = [np.roll(grays[0], 20 * number, axis=1) for number in range(12)]
    found = carry(moving, Hint(200, 90, "red", time=0.0))
    assert 2 <= len(found) <= 6


@pytest.mark.parametrize(("seconds", "number"), [(0.8, 20), (0.79, 19), (0.77, 19), (1.3, 29), (0.0, 0)])
def test_a_hint_is_for_the_frame_that_is_shown_at_its_time(grays, seconds, number):
    """From frame 20 on, after the cut, that is in the other shot; the last frame is shown for good."""
    found = carry(grays, Hint(250, 150, "red", time=seconds))
    (hint,) = found[number]
    np.testing.assert_allclose((hint.x, hint.y), (250, 150), atol=0.01)
    assert (0 in found) == (number < FIRST_SHOT)


def test_of_two_hints_for_one_thing_the_one_for_the_nearer_frame_covers_the_other(grays):
    early, late = Hint(*disc_at(2), "red", time=2 / FPS), Hint(*disc_at(17), "green", time=17 / FPS)
    found = carry(grays, late, early)
    assert [hint.color for hint in found[2]] == ["green", "red"]
    assert [hint.color for hint in found[16]] == ["red", "green"]
    both = carry(grays, early, Hint(*disc_at(2), "blue", time=2 / FPS))
    assert [hint.color for hint in both[2]] == ["red", "blue"]


def test_hints_outside_and_after_the_end_are_named(grays, film, tmp_path):
    with pytest.raises(HintError, match="lies outside"):
        carry(grays, Hint(5, 600, "red", time=0.0))
    with pytest.raises(HintError, match="The hint 5,6 at 9 s lies after the end of the film, 1.2 s"):
        colorize_video(Colorizer.load(), film, tmp_path / "told.mp4", hints=[Hint(5, 6, "red", time=9.0)])


def test_hints_of_a_turned_film_are_for_its_upright_frames(film, tmp_path):
    """A quarter turn in the file: what is shown is 192 pixels wide and 288 high."""
    ffmpeg("-display_rotation:v:0", 90, "-i", film, "-c", "copy", tmp_path / "turned.mp4")
    x, y = disc_at(10)
    hint = Hint.from_ab(y, SIZE[1] - 1 - x, (35.0, 20.0), time=10 / FPS)
    colorize_video(Colorizer.load(), tmp_path / "turned.mp4", tmp_path / "told.mp4", hints=[hint])
    picture, tenth = tmp_path / "frame.png", "select=eq(n\\,10)"
    ffmpeg("-noautorotate", "-i", tmp_path / "told.mp4", "-vf", tenth, "-update", 1, picture)
    frame = np.asarray(Image.open(picture).convert("RGB"))
    assert frame.shape[:2] == SIZE
    ab = rgb2lab(frame)[y - 8 : y + 9, x - 8 : x + 9].mean(axis=(0, 1))[1:]
    np.testing.assert_allclose(ab, (35.0, 20.0), atol=8.0)


def test_a_thing_has_its_colour_in_the_whole_shot_and_other_shots_stay_as_they_are(film, tmp_path):
    colorizer, wanted = Colorizer.load(), (35.0, 20.0)
    hint = Hint.from_ab(*disc_at(10), wanted, time=10 / FPS)
    colorize_video(colorizer, film, tmp_path / "plain.mp4")
    colorize_video(colorizer, film, tmp_path / "told.mp4", hints=[hint])
    plain, told = frames_of(tmp_path / "plain.mp4"), frames_of(tmp_path / "told.mp4")
    for number in (0, FIRST_SHOT - 1):
        x, y = disc_at(number)
        inside = (slice(y - 8, y + 9), slice(x - 8, x + 9))
        np.testing.assert_allclose(rgb2lab(told[number])[inside].mean(axis=(0, 1))[1:], wanted, atol=8.0)
        assert np.abs(rgb2lab(plain[number])[inside].mean(axis=(0, 1))[1:] - wanted).max() > 15.0
    np.testing.assert_array_equal(told[FIRST_SHOT:], plain[FIRST_SHOT:])


def test_hints_without_a_time_and_models_without_hints_are_refused(film, tmp_path, tiny_model):
    with pytest.raises(HintError, match="needs a time in seconds; 5,6 has none"):
        colorize_video(Colorizer.load(), film, tmp_path / "told.mp4", hints=[Hint(5, 6, "red")])
    with pytest.raises(ModelError, match="takes no colour hints"):
        colorize_video(Colorizer(tiny_model), film, tmp_path / "told.mp4", hints=[Hint(5, 6, "red", time=0)])

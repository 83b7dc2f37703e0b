"""Colours that follow motion, on films whose motion is known."""

import numpy as np
import pytest
from PIL import Image

from nxap_color.steady import SteadyColour, round_trip_error, warp

SIZE = (24, 32)


@pytest.fixture(scope="module")
def scene(project):
    """A wide gray photo with a colour of its own at every place: uint8 (48, 160), float32 (24, 80, 2)."""
    with Image.open(project / "data" / "photos" / "test" / "cat.jpg") as photo:
        gray = np.asarray(photo.convert("L").resize((160, 120)))[30:78]
    rows, columns = np.indices((24, 80), dtype="float32")
    return gray, np.stack([40 * np.sin(columns / 6), 40 * np.cos(rows / 5)], axis=-1)


def camera(scene, place):
    """What a camera sees that has moved `place` pixels of the colours to the right."""
    gray, ab = scene
    return gray[:, 2 * place : 2 * place + 64], ab[:, place : place + 32]


def noisy(ab, rng):
    return (ab + rng.normal(0, 10, ab.shape)).astype("float32")


def error(ab, truth):
    return np.linalg.norm(ab - truth, axis=-1)[2:-2, 3:-3].mean()


def test_the_first_frame_is_the_networks_own(scene):
    gray, ab = camera(scene, 0)
    steady, is_cut = SteadyColour(25).follow(gray, ab)
    assert is_cut
    np.testing.assert_array_equal(steady, ab)


def test_colours_move_with_things_and_lose_their_noise(scene):
    rng = np.random.default_rng(0)
    ways = {"steady": SteadyColour(25), "averaged": SteadyColour(25, follows_motion=False)}
    errors = {"single": [], **{way: [] for way in ways}}
    for place in range(40):
        gray, truth = camera(scene, place)
        seen = noisy(truth, rng)
        errors["single"].append(error(seen, truth))
        for way, steady in ways.items():
            errors[way].append(error(steady.follow(gray, seen)[0], truth))
    last = {way: np.mean(values[20:]) for way, values in errors.items()}
    assert last["steady"] < 0.6 * last["single"]
    assert last["steady"] < 0.25 * last["averaged"], "without following motion colours are smeared"


def test_hundreds_of_frames_neither_fade_nor_drift(scene):
    rng = np.random.default_rng(1)
    steady = SteadyColour(25)
    gray, truth = camera(scene, 10)
    for number in range(300):
        grain = np.clip(gray + rng.normal(0, 8, gray.shape), 0, 255).astype("uint8")
        ab, _ = steady.follow(grain, noisy(truth, rng))
        if number == 10:
            early = ab
    assert np.abs(ab.mean(axis=(0, 1)) - early.mean(axis=(0, 1))).max() < 1.0
    assert np.linalg.norm(ab, axis=-1).mean() > 0.97 * np.linalg.norm(truth, axis=-1).mean()


def test_after_a_cut_nothing_is_carried_over(scene, sample_rgb):
    steady = SteadyColour(25)
    gray, ab = camera(scene, 0)
    steady.follow(gray, ab)
    other = np.asarray(Image.fromarray(sample_rgb).convert("L").rotate(180).resize((64, 48)))
    result, is_cut = steady.follow(other, -ab)
    assert is_cut
    np.testing.assert_array_equal(result, -ab)


def test_a_change_of_exposure_is_no_cut(scene):
    steady = SteadyColour(25)
    gray, ab = camera(scene, 0)
    steady.follow(gray, ab)
    brighter = np.clip(gray.astype(int) + 30, 0, 255).astype("uint8")
    result, is_cut = steady.follow(brighter, np.zeros_like(ab))
    assert not is_cut
    assert np.linalg.norm(result) > 0.7 * np.linalg.norm(ab)


def test_what_comes_into_view_gets_its_own_colour(scene):
    steady = SteadyColour(25)
    gray, ab = camera(scene, 0)
    steady.follow(gray, ab)
    gray, new = gray.copy(), np.zeros_like(ab)
    gray[:, :20] = np.where(np.indices((48, 20)).sum(axis=0) // 4 % 2, 250, 5)  # a chequered thing
    result, is_cut = steady.follow(gray, new)
    assert not is_cut
    assert np.abs(result[4:-4, 1:7]).mean() < 0.3 * np.abs(ab[4:-4, 1:7]).mean()
    assert np.abs(result[4:-4, 16:]).mean() > 0.8 * np.abs(ab[4:-4, 16:]).mean()


def test_without_memory_frames_are_on_their_own(scene):
    steady, rng = SteadyColour(25, memory=0), np.random.default_rng(0)
    for place in range(3):
        gray, truth = camera(scene, place)
        seen = noisy(truth, rng)
        np.testing.assert_allclose(steady.follow(gray, seen)[0], seen, atol=1e-4)


@pytest.mark.parametrize("height", [1, 2, 5, 7, 8])
def test_flat_pictures_are_blended_where_they_are(height):
    steady, ab = SteadyColour(25), np.ones((height, 96, 2), "float32")
    gray = np.full((4 * height, 384), 100, "uint8")
    steady.follow(gray, ab)
    result, is_cut = steady.follow(gray, np.zeros_like(ab))
    assert not is_cut
    np.testing.assert_allclose(result, steady.share, rtol=1e-3)


def test_warp_fetches_from_where_the_flow_points():
    picture = np.arange(48, dtype="float32").reshape(6, 8)
    flow = np.zeros((6, 8, 2), "float32")
    flow[..., 0], flow[..., 1] = 2, -1
    np.testing.assert_array_equal(warp(picture, flow)[1:, :-2], picture[:-1, 2:])
    assert round_trip_error(flow, -flow).max() == 0.0
    np.testing.assert_allclose(round_trip_error(flow, 0 * flow), np.sqrt(5), rtol=1e-6)

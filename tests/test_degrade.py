"""Damage of old photos, made on purpose."""

import numpy as np
import pytest
from skimage.color import lab2xyz, rgb2lab, rgb2xyz

from nxap_color import color, degrade


@pytest.fixture
def lightness(sample_rgb):
    return np.float32(rgb2lab(sample_rgb)[..., :1] / 50.0 - 1.0)


def test_the_emulsion_of_luminance_changes_nothing(sample_rgb, lightness):
    recorded = degrade.record(sample_rgb / 255.0, color.LUMINANCE_WEIGHTS)
    np.testing.assert_allclose(recorded, lightness, atol=1e-3)


@pytest.mark.parametrize("weights", degrade.EMULSIONS.values(), ids=degrade.EMULSIONS)
def test_an_emulsion_keeps_the_mean_exposure_and_gray_as_it_is(sample_rgb, weights):
    dark = sample_rgb / 255.0 * 0.5  # so that nothing is cut at white
    recorded = degrade.record(dark, weights)
    assert recorded.shape == (*dark.shape[:2], 1) and recorded.dtype == np.float32
    luminance = lab2xyz(np.concatenate([50.0 * (recorded + 1.0), 0.0 * dark[..., :2]], axis=-1))[..., 1]
    assert luminance.mean() == pytest.approx(rgb2xyz(dark)[..., 1].mean(), rel=1e-3)
    assert sum(weights) == pytest.approx(1.0)
    gray = np.float32(np.linspace(0.0, 1.0, 48).reshape(4, 12, 1) * np.ones(3))
    expected = rgb2lab(gray)[..., :1] / 50.0 - 1.0
    np.testing.assert_allclose(degrade.record(gray, weights), expected, atol=2e-3)


def test_plates_are_blind_to_red_and_filters_to_blue():
    patches = np.float32([[[1, 0, 0], [0, 1, 0], [0, 0, 1]]])
    seen = {name: degrade.record(patches, weights)[0, :, 0] for name, weights in degrade.EMULSIONS.items()}
    red, green, blue = seen["blue-sensitive"]
    assert red == -1.0 < green < blue
    assert seen["orthochromatic"][0] < seen["orthochromatic"][1]
    assert seen["red-filter"][0] > seen["red-filter"][1] > seen["red-filter"][2]
    assert seen["yellow-filter"][2] < seen["yellow-filter"][0]
    assert np.ptp(seen["equal-thirds"]) < 1e-6


def test_a_batch_is_exposed_photo_by_photo(sample_rgb):
    pair = np.stack([sample_rgb[:40, :40], sample_rgb[100:140, 100:140]]) / 255.0
    weights = degrade.EMULSIONS["orthochromatic"]
    expected = [degrade.record(photo, weights) for photo in pair]
    np.testing.assert_allclose(degrade.record(pair, weights), expected, atol=1e-6)


def test_a_photo_without_what_the_plate_sees_stays_black():
    red = np.zeros((4, 4, 3), "float32")
    red[..., 0] = 1.0
    np.testing.assert_array_equal(degrade.record(red, degrade.EMULSIONS["blue-sensitive"]), -1.0)


def test_drawn_emulsions_lie_between_luminance_and_the_named_ones():
    drawn = np.array([degrade.draw_emulsion((7, seed)) for seed in range(300)])
    np.testing.assert_allclose(drawn.sum(axis=-1), 1.0, atol=1e-3)
    np.testing.assert_array_equal(drawn[3], degrade.draw_emulsion((7, 3)))
    ends = [np.array(weights) - color.LUMINANCE_WEIGHTS for weights in degrade.EMULSIONS.values()]
    shares = []
    for offset in drawn - color.LUMINANCE_WEIGHTS:
        fits = [
            (np.linalg.norm(offset - (offset @ end) / (end @ end) * end), i) for i, end in enumerate(ends)
        ]
        distance, nearest = min(fits)
        assert distance < 1e-9
        shares.append((nearest, (offset @ ends[nearest]) / (ends[nearest] @ ends[nearest])))
    assert {nearest for nearest, _ in shares} == set(range(len(ends)))
    assert 0.0 <= min(share for _, share in shares) < 0.1 < 0.9 < max(share for _, share in shares) <= 1.0


def test_a_recorded_photo_keeps_its_colours(sample_rgb):
    weights = degrade.EMULSIONS["orthochromatic"]
    before, after = rgb2lab(sample_rgb), rgb2lab(degrade.record_photo(sample_rgb, weights))
    expected = 50.0 * (degrade.record(sample_rgb / 255.0, weights)[..., 0] + 1.0)
    np.testing.assert_allclose(after[..., 0], expected, atol=1.0)
    assert np.abs(before[..., 0] - after[..., 0]).mean() > 1.0
    assert np.median(np.abs(before[..., 1:] - after[..., 1:])) < 0.5


def test_shape_and_range_stay(lightness):
    for seed in range(30):
        damaged = degrade.degrade(lightness, seed)
        assert damaged.shape == lightness.shape and damaged.dtype == np.float32
        assert damaged.min() >= -1.0 and damaged.max() <= 1.0


def test_the_same_seed_does_the_same_damage_and_another_does_not(lightness):
    first = degrade.degrade(lightness, (3, 4))
    np.testing.assert_array_equal(first, degrade.degrade(lightness, (3, 4)))
    assert not np.array_equal(first, degrade.degrade(lightness, (3, 5)))


@pytest.mark.parametrize("size", [(1, 1), (7, 300)])
def test_small_and_narrow_photos(size):
    for seed in range(20):
        damaged = degrade.degrade(np.full((*size, 1), 0.2, "float32"), seed)
        assert damaged.shape == (*size, 1) and np.isfinite(damaged).all()


def test_values_that_rounding_left_outside_the_range_do_no_harm():
    for seed in range(20):
        assert np.isfinite(degrade.degrade(np.full((8, 8, 1), -1.00001, "float32"), seed)).all()


def test_each_damage_is_what_its_name_says(lightness):
    tones = (lightness[..., 0] + 1.0) / 2.0
    side, rng = min(tones.shape), np.random.default_rng(0)
    step = np.abs(np.diff(tones)).mean()
    assert np.abs(np.diff(degrade._blur(tones, side, rng))).mean() < step
    assert np.abs(np.diff(degrade._grain(tones, side, rng))).mean() > step
    white = np.ones((40, 60))
    dark = degrade._vignette(white, 40, rng)
    assert dark[0, 0] == dark.min() and dark[20, 30] > 0.99
    faded = [degrade._fade_or_crush(np.array([0.0, 1.0]), 1, rng) for _ in range(50)]
    assert all(black < white for black, white in faded)
    assert min(black for black, _ in faded) < 0.0 < max(black for black, _ in faded)
    assert 0.0 < np.abs(degrade._compress(tones, side, rng) - tones).mean() < 0.05


def test_half_of_the_damages_happen(lightness):
    untouched = sum(
        np.allclose(degrade.degrade(lightness[:40, :40], s), lightness[:40, :40]) for s in range(320)
    )
    assert 2 <= untouched <= 22  # 1 in 32


def test_a_degraded_photo_keeps_its_colours(sample_rgb):
    damaged = degrade.degrade_photo(sample_rgb, 1)
    before, after = rgb2lab(sample_rgb), rgb2lab(damaged)
    assert np.abs(before[..., 0] - after[..., 0]).mean() > 1.0
    hues = [np.arctan2(lab[..., 2], lab[..., 1]) for lab in (before, after)]
    vivid = (np.hypot(*np.moveaxis(after[..., 1:], -1, 0)) > 15) & (after[..., 0] > 20)
    assert np.median(np.abs(np.angle(np.exp(1j * (hues[0] - hues[1]))))[vivid]) < 0.05

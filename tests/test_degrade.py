"""Damage of old photos, made on purpose."""

import numpy as np
import pytest
from skimage.color import rgb2lab

from nxap_color import degrade


@pytest.fixture
def lightness(sample_rgb):
    return np.float32(rgb2lab(sample_rgb)[..., :1] / 50.0 - 1.0)


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

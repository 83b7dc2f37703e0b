"""The training pipeline."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from skimage.color import rgb2lab

from nxap_color import color
from nxap_color.color import AB_SCALE, LIGHTNESS_SCALE
from nxap_color.data import (
    _degrade_some,
    ab_histogram,
    centre_crop,
    is_gray,
    mean_ab,
    random_crop,
    require_usable,
    training_batches,
    validation_batches,
)
from nxap_color.degrade import degrade
from nxap_color.errors import UserError
from nxap_color.training.sources import load_photos


def batches_of(folder, num_batches=3, **arguments):
    photos = load_photos([folder], 0.3)
    return photos, training_batches(photos, (32, 48), 4, num_batches, **arguments)


def lightness_of(batches, count):
    return np.concatenate([inputs["lightness"] for inputs, _ in batches.take(count).as_numpy_iterator()])


def test_batches_have_the_shapes_and_ranges_of_the_network(photo_folder):
    _, batches = batches_of(photo_folder)
    for inputs, ab in batches.take(2).as_numpy_iterator():
        assert set(inputs) == {"lightness"}
        lightness = inputs["lightness"]
        assert lightness.shape == (4, 32, 48, 1) and ab.shape == (4, 32, 48, 2)
        assert -1.0 <= lightness.min() < -0.2 and 0.2 < lightness.max() <= 1.0 + 1e-6
        assert 0.1 < np.abs(ab).max() < 1.0


def test_lightness_and_ab_are_those_of_scikit_image(photo_folder):
    photos = load_photos([photo_folder], 0.3)
    name, rgb = next(photos.validation.as_numpy_iterator())
    inputs, ab = next(validation_batches(photos, (32, 32), 1).as_numpy_iterator())
    lab = rgb2lab(centre_crop(rgb, (32, 32)).numpy())
    np.testing.assert_allclose((inputs["lightness"][0] + 1.0) * LIGHTNESS_SCALE, lab[..., :1], atol=0.01)
    np.testing.assert_allclose(ab[0] * AB_SCALE, lab[..., 1:], atol=0.01)


def test_the_same_seed_gives_the_same_batches(photo_folder):
    first, again, other = (lightness_of(batches_of(photo_folder, seed=seed)[1], 4) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_pipeline_that_starts_at_an_epoch_goes_on_as_the_whole_one(photo_folder):
    whole = lightness_of(batches_of(photo_folder)[1], 9)
    later = lightness_of(batches_of(photo_folder, first_epoch=1)[1], 6)
    np.testing.assert_array_equal(whole[12:], later)


def test_epochs_differ(photo_folder):
    whole = lightness_of(batches_of(photo_folder, num_batches=2)[1], 4)
    assert not np.array_equal(whole[:8], whole[8:])


def test_broken_and_gray_photos_are_left_out_and_counted(photo_folder):
    (photo_folder / "broken.jpg").write_bytes(b"no photo")
    good = (photo_folder / "cat.jpg").read_bytes()
    (photo_folder / "truncated.jpg").write_bytes(good[: len(good) // 2])
    Image.effect_noise((64, 64), 60).convert("RGB").save(photo_folder / "gray.png")
    photos, batches = batches_of(photo_folder, num_batches=6)
    for _ in batches.take(6):
        pass
    for _ in validation_batches(photos, (32, 32), 4):
        pass
    skipped = {
        reason: {name.rpartition("/")[2] for name in found} for reason, found in photos.skipped.items()
    }
    assert skipped == {"broken": {"broken.jpg", "truncated.jpg"}, "gray": {"gray.png"}}


def test_a_folder_of_gray_photos_is_refused_at_once(tmp_path):
    for number in range(8):
        Image.effect_noise((32, 32), 60).convert("RGB").save(tmp_path / f"{number}.png")
    with pytest.raises(UserError, match=r"None of the photos to train on can be used \(0 broken, \d gray\)"):
        require_usable(load_photos([tmp_path], 0.3))


def test_gray_and_sepia_are_told_from_colour(sample_rgb):
    gray = np.repeat(sample_rgb.mean(axis=-1, keepdims=True), 3, axis=-1)
    sepia = np.uint8(gray * np.float32([0.9, 0.88, 0.86]))
    assert is_gray(np.uint8(gray)) and is_gray(sepia)
    assert not is_gray(sample_rgb)


@pytest.mark.parametrize("size", [(40, 90), (90, 40), (33, 33), (5, 7)])
def test_crops_have_one_size_and_keep_the_aspect(size):
    """On a picture whose red runs from left to right and green from top to bottom, slopes tell squashing."""
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    rgb = np.uint8(np.stack([columns, rows, 0 * rows], axis=-1))
    crop = random_crop(rgb, (32, 32), (1, 2)).numpy() * 255.0
    assert crop.shape == (32, 32, 3)
    down, right = np.diff(crop[8:-8, 8:-8, 1], axis=0).mean(), np.diff(crop[8:-8, 8:-8, 0], axis=1).mean()
    assert abs(right) == pytest.approx(down, rel=0.02)


def test_every_second_crop_is_mirrored():
    rgb = np.uint8(np.broadcast_to(np.arange(100)[None, :, None], (100, 100, 3)))
    slopes = [np.diff(random_crop(rgb, (16, 16), (0, n)).numpy()[0, :, 0]).mean() for n in range(60)]
    assert 15 < np.sum(np.array(slopes) < 0) < 45


def test_crops_invent_no_colours():
    flat = np.broadcast_to(np.uint8([200, 30, 90]), (50, 70, 3))
    crop = random_crop(flat, (64, 64), (3, 4)).numpy() * 255.0
    np.testing.assert_allclose(crop, np.broadcast_to([200, 30, 90], crop.shape), atol=1e-3)


def test_mean_ab_is_the_mean_colour(tmp_path):
    for index, rgb in enumerate([(200, 30, 90), (20, 130, 240)] * 4):
        picture = np.zeros((40, 40, 3), "uint8")
        picture[:] = rgb
        picture[:20] //= 2  # so that it does not count as gray
        Image.fromarray(picture).save(tmp_path / f"{index}.png")
    photos = load_photos([tmp_path], 0.3)
    batches = validation_batches(photos, (16, 16), 1)
    expected = np.mean([ab.mean(axis=(0, 1, 2)) for _, ab in batches.as_numpy_iterator()], axis=0) * AB_SCALE
    np.testing.assert_allclose(mean_ab(batches), expected, rtol=1e-5)


def test_degraded_batches_keep_the_colours_and_damage_a_share(photo_folder):
    _, clean = batches_of(photo_folder)
    _, half = batches_of(photo_folder, degraded=0.5)
    lightness, damaged = (lightness_of(batches, 3) for batches in (clean, half))
    ab, same_ab = (np.concatenate([ab for _, ab in batches.take(3)]) for batches in (clean, half))
    np.testing.assert_array_equal(ab, same_ab)
    changed = np.abs(damaged - lightness).max(axis=(1, 2, 3)) > 1e-4
    assert 1 <= changed.sum() < len(changed)
    again = lightness_of(batches_of(photo_folder, degraded=0.5)[1], 3)
    np.testing.assert_array_equal(again, damaged)


def test_the_histogram_counts_the_nearest_bins(tmp_path):
    batch = np.zeros((2, 8, 8, 2), "float32")
    batch[1] = color.ab_bins()[7] / color.AB_SCALE
    shares = ab_histogram(tf.data.Dataset.from_tensors(({"lightness": batch[..., :1]}, batch)))
    gray = np.argmin(np.abs(color.ab_bins()).sum(axis=-1))
    assert shares[7] == shares[gray] == 0.5


def test_the_choice_of_a_photo_says_nothing_about_its_damage():
    """NumPy takes the seeds (1, 2, 3) and (1, 2, 3, 0) for one: damage would follow the choice."""
    photo = np.float32(np.random.default_rng(0).uniform(-1.0, 1.0, (32, 32, 1)))
    batches = tf.data.Dataset.from_tensors(np.stack([photo] * 4))
    (damaged,) = batches.map(lambda lightness: _degrade_some(lightness, 1.0, (1, 2, 3)))
    draws = [degrade(photo, (1, 2, 3)), *damaged.numpy()]
    alike = [np.allclose(one, other) for one, other in itertools.combinations(draws, 2)]
    assert len(alike) == 10 and not any(alike)

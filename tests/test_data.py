"""The training pipeline."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from skimage.color import rgb2lab

from nxap_color import color
from nxap_color.color import AB_SCALE, LIGHTNESS_SCALE
from nxap_color.crops import sharp_size
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
from nxap_color.metrics import colorfulness
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
    assert skipped == {"broken": {"broken.jpg", "truncated.jpg"}, "gray": {"gray.png"}, "pale": set()}


def save_pale(path, rgb, share=0.2):
    gray = rgb.mean(axis=-1, keepdims=True)
    Image.fromarray(np.uint8(gray + share * (rgb - gray))).save(path)


def test_pale_photos_are_left_out_unless_they_are_wanted(photo_folder, sample_rgb):
    save_pale(photo_folder / "pale.png", sample_rgb[:96, :96], 0.35)
    with Image.open(photo_folder / "pale.png") as photo:
        pale = np.asarray(photo)
    assert not is_gray(pale) and 5 < colorfulness(pale) < 15
    for least, expected in ((15.0, {"pale.png"}), (0.0, set())):
        photos = load_photos([photo_folder], 0.3, min_colorfulness=least)
        for part in (
            training_batches(photos, (32, 32), 4, 6).take(6),
            validation_batches(photos, (32, 32), 4),
        ):
            for _ in part:
                pass
        assert {name.rpartition("/")[2] for name in photos.skipped["pale"]} == expected


def test_the_colour_of_a_photo_is_measured_once(photo_folder):
    photos, batches = batches_of(photo_folder, num_batches=9)
    for _ in batches.take(9):
        pass
    kept = next(path for path in photo_folder.glob("*.jpg") if str(path) in train_names(photos))
    Image.effect_noise((64, 64), 60).convert("RGB").save(kept)
    for _ in training_batches(photos, (32, 48), 4, 9).take(9):
        pass
    assert not photos.skipped["gray"]


def train_names(photos):
    return {name.decode() for name, _ in photos.train(0).as_numpy_iterator()}


@pytest.fixture
def mixed_folder(photo_folder, tmp_path):
    """Photos of 40 to 51 px on the shorter side, and a few of 70 and of 100."""
    for index, path in enumerate(sorted(photo_folder.rglob("*.jpg"))):
        side = 70 if index < 8 else 100
        with Image.open(path) as photo:
            photo.resize((side, side + 20)).save(photo_folder / f"large{index}.jpg")
    return photo_folder


def test_small_photos_are_used_at_the_size_at_which_they_are_sharp(mixed_folder):
    photos = load_photos([mixed_folder], 0.3)
    batches = training_batches(photos, (96, 96), 4, 12)
    shapes = [ab.shape for _, ab in batches.take(12).as_numpy_iterator()]
    assert set(shapes) == {(36, 32, 32, 2), (9, 64, 64, 2), (4, 96, 96, 2)}
    shared = training_batches(photos, (96, 96), 4, 12, devices=4)
    assert {ab.shape[0] for _, ab in shared.take(12).as_numpy_iterator()} == {36, 8, 4}
    assert shared.element_spec[1].shape.as_list() == [None, None, None, 2]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((64, 64), (64, 64)),
        ((63, 300), (32, 32)),
        ((127, 128), (96, 96)),
        ((128, 129), (128, 128)),
        ((900, 800), (128, 128)),
        ((9, 7), (32, 32)),
    ],
)
def test_the_sharp_size_is_the_largest_that_needs_no_enlarging(shape, expected):
    assert tuple(sharp_size(np.zeros((*shape, 3), "uint8"), (128, 128)).numpy()) == expected


def test_validation_has_every_photo_once_whatever_its_size(mixed_folder):
    photos = load_photos([mixed_folder], 0.5)
    shapes = [ab.shape for _, ab in validation_batches(photos, (96, 96), 2).as_numpy_iterator()]
    assert sum(shape[0] for shape in shapes) == photos.num_validation > 8
    assert len({shape[1:3] for shape in shapes}) == 3


def test_photos_of_several_sizes_come_in_the_same_order_after_a_stop(mixed_folder):
    photos = load_photos([mixed_folder], 0.3)
    starts = [training_batches(photos, (96, 96), 4, 5, first_epoch=epoch) for epoch in (0, 1)]
    whole, later = ([ab for _, ab in batches.take(10).as_numpy_iterator()] for batches in starts)
    for one, other in zip(whole[5:], later[:5], strict=True):
        np.testing.assert_array_equal(one, other)


def test_batches_of_several_sizes_are_traced_once(mixed_folder):
    """Or a training would be compiled again for each size."""
    traces = []

    @keras.saving.register_keras_serializable(package="tests")
    class Counting(keras.layers.Layer):
        def call(self, x):
            traces.append(x.shape)
            return x

    lightness = keras.Input((None, None, 1), name="lightness")
    network = keras.Model(
        {"lightness": lightness}, keras.layers.Conv2D(2, 3, padding="same")(Counting()(lightness))
    )
    network.compile("sgd", "mse")
    traces.clear()
    batches = training_batches(load_photos([mixed_folder], 0.3), (96, 96), 4, 12)
    network.fit(batches, epochs=1, steps_per_epoch=12, verbose=0)
    assert 1 <= len(traces) <= 2


def test_emulsions_change_the_lightness_of_a_share_and_no_colours(photo_folder):
    share, (_, plain) = {"emulsions": 0.5}, batches_of(photo_folder, 6)
    _, changed = batches_of(photo_folder, 6, **share)
    lightness, recorded = (lightness_of(batches, 6) for batches in (plain, changed))
    ab, same_ab = (np.concatenate([ab for _, ab in batches.take(6)]) for batches in (plain, changed))
    np.testing.assert_array_equal(ab, same_ab)
    differ = np.abs(recorded - lightness).max(axis=(1, 2, 3)) > 1e-3
    assert 0.2 < differ.mean() < 0.8
    assert recorded.min() >= -1.0 and recorded.max() <= 1.0 + 1e-6
    later = lightness_of(batches_of(photo_folder, 6, first_epoch=1, **share)[1], 3)
    np.testing.assert_array_equal(lightness_of(batches_of(photo_folder, 6, **share)[1], 9)[24:], later)


def test_damage_follows_the_emulsion(photo_folder):
    """A crop that is not damaged has the lightness of its emulsion, and damage chooses as it does without."""
    clean, emulsion, damage, both = (
        lightness_of(batches_of(photo_folder, 4, emulsions=some, degraded=other)[1], 4)
        for some, other in ((0, 0), (1, 0), (0, 0.5), (1, 0.5))
    )
    chosen = np.abs(damage - clean).max(axis=(1, 2, 3)) > 1e-4
    kept = np.abs(both - emulsion).max(axis=(1, 2, 3)) <= 1e-4
    assert 0 < chosen.sum() < len(chosen)
    np.testing.assert_array_equal(chosen, ~kept)


def test_a_folder_of_gray_photos_is_refused_at_once(tmp_path):
    for number in range(8):
        Image.effect_noise((32, 32), 60).convert("RGB").save(tmp_path / f"{number}.png")
    with pytest.raises(
        UserError, match=r"None of the photos to train on can be used \(0 broken, \d gray, 0 pale\)"
    ):
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

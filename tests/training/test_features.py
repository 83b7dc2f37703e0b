"""Features of photos, found once."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from nxap_color.data import training_batches, validation_batches
from nxap_color.training import features
from nxap_color.training.features import PhotoFeatures, cache_name
from nxap_color.training.sources import load_photos


class MeanOfRGB:
    """The simplest of extractors, which counts what it is asked."""

    name, num_features, digest = "mean_of_rgb", 2, "00000000"

    def __init__(self, stop_after=10**9):
        self.asked, self.stop_after = 0, stop_after

    def __call__(self, photos):
        self.asked += len(photos)
        if self.asked > self.stop_after:
            raise KeyboardInterrupt
        return np.float32([[photo.mean() / 255.0, 1.0] for photo in photos])


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "features"


@pytest.fixture
def photos(photo_folder):
    return load_photos([photo_folder], 0.3)


def rows_of(dataset, found):
    for name, rgb in dataset:
        yield found.of(tf.reshape(name, (1,)))[0, 0], np.mean(rgb) / 255.0


def test_every_photo_has_the_features_of_the_whole_of_it(photos, folder):
    found = PhotoFeatures(MeanOfRGB(), photos, folder)
    pairs = list(rows_of(photos.train(1).concatenate(photos.validation), found))
    assert len(pairs) == found.num_found == 12
    np.testing.assert_allclose(*np.transpose(pairs), atol=2e-3)  # half precision
    assert len({float(value) for value, _ in pairs}) == 12


def test_a_second_run_asks_nothing(photos, folder):
    first = PhotoFeatures(MeanOfRGB(), photos, folder)
    extractor = MeanOfRGB()
    again = PhotoFeatures(extractor, photos, folder)
    assert extractor.asked == again.num_found == 0
    names = tf.stack([name for name, _ in photos.train(0)])
    np.testing.assert_array_equal(first.of(names), again.of(names))


def test_another_split_of_the_same_photos_asks_nothing(photo_folder, photos, folder):
    PhotoFeatures(MeanOfRGB(), photos, folder)
    extractor = MeanOfRGB()
    PhotoFeatures(extractor, load_photos([photo_folder], 0.3, seed=1), folder)
    assert extractor.asked == 0


@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_that_was_stopped_goes_on_also_in_another_order(photo_folder, folder, monkeypatch, seed):
    # Or the stop would need more than 512 photos.
    monkeypatch.setattr(features, "FILE_PHOTOS", features.BATCH_SIZE)
    with pytest.raises(KeyboardInterrupt):
        PhotoFeatures(MeanOfRGB(stop_after=8), load_photos([photo_folder], 0.3), folder)
    assert len(list(folder.iterdir())) == 1
    extractor, photos = MeanOfRGB(), load_photos([photo_folder], 0.3, seed)
    found = PhotoFeatures(extractor, photos, folder)
    assert extractor.asked == found.num_found == 4
    np.testing.assert_allclose(*np.transpose(list(rows_of(photos.train(0), found))), atol=2e-3)


def test_two_runs_at_once_and_a_damaged_file_spoil_nothing(photos, photo_folder, folder, tmp_path):
    """Each run leaves a file of its own: photos occur twice, in different orders."""
    PhotoFeatures(MeanOfRGB(), photos, folder)
    PhotoFeatures(MeanOfRGB(), load_photos([photo_folder], 0.3, seed=1), tmp_path / "other")
    for path in (tmp_path / "other").iterdir():
        path.rename(folder / path.name)
    (folder / "cut off.npz").write_bytes(next(folder.iterdir()).read_bytes()[:100])
    found = PhotoFeatures(MeanOfRGB(), photos, folder)
    np.testing.assert_allclose(*np.transpose(list(rows_of(photos.train(0), found))), atol=2e-3)


def test_a_broken_photo_stops_nothing(photo_folder, folder):
    (photo_folder / "broken.jpg").write_bytes(b"no photo")
    photos = load_photos([photo_folder], 0.3)
    PhotoFeatures(MeanOfRGB(), photos, folder)
    extractor = MeanOfRGB()
    PhotoFeatures(extractor, photos, folder)
    assert extractor.asked == 0


def test_batches_carry_the_features_of_their_own_photos(photos, folder):
    """Crops of nearly the whole photo are about as light as it."""
    found = PhotoFeatures(MeanOfRGB(), photos, folder)
    batches = training_batches(photos, (32, 32), 4, 2, min_crop=0.9, features=found)
    for dataset in (batches.take(4), validation_batches(photos, (32, 32), 4, features=found)):
        pairs = []
        for inputs, ab in dataset.as_numpy_iterator():
            lightness, vectors = inputs["lightness"], inputs["mean_of_rgb"]
            assert vectors.shape == (len(ab), 2) and lightness.shape == (*ab.shape[:3], 1)
            pairs += zip(vectors[:, 0], lightness.mean(axis=(1, 2, 3)), strict=True)
        means, crops = np.transpose(pairs)
        assert np.corrcoef(means, crops)[0, 1] > 0.9


def test_the_name_of_the_folder_stands_for_extractor_and_photos(photos, photo_folder):
    other = MeanOfRGB()
    other.digest = "00000001"
    fewer = load_photos([photo_folder / "more"], 0.5)
    names = {
        cache_name(extractor, some, sources)
        for extractor, some, sources in itertools.product(
            (MeanOfRGB(), other), (photos, fewer), (["a"], ["b"])
        )
    }
    assert len(names) == 8 and all(name.startswith("features-mean_of_rgb-") for name in names)

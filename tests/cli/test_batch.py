"""Photos of a folder, which are read, coloured and written at the same time."""

import threading

import keras
import numpy as np
import pytest
from PIL import Image

from nxap_color.cli.batch import BATCH_PHOTOS, BATCH_PIXELS, LARGE_PIXELS, colorize_files
from nxap_color.cli.jobs import plan
from nxap_color.colorizer import Colorizer
from nxap_color.media.photos import read_photo


@pytest.fixture
def colorizer(tiny_model):
    return Colorizer(tiny_model, 32)


def test_results_are_those_of_one_photo_at_a_time_and_come_in_order(colorizer, photo_folder):
    jobs, _ = plan([photo_folder])
    outcomes = list(colorize_files(colorizer, jobs))
    assert outcomes == [(job, []) for job in jobs] and len(jobs) > BATCH_PHOTOS
    for job in jobs:
        expected = colorizer.colorize(read_photo(job.source).rgb)
        found = read_photo(job.target).rgb
        assert np.abs(found.astype(int) - expected).mean() < 3.0  # JPEG's own


class Watched:
    """A colorizer that notes how many photos go together, and how many are on their way at the same time.

    Its results are one pixel large: the time that real ones take is not what is tested.
    """

    def __init__(self, colorizer):
        self.colorizer, self.lock = colorizer, threading.Lock()
        self.on_the_way, self.most, self.batches = 0, 0, []

    def __getattr__(self, name):
        return getattr(self.colorizer, name)

    def prepare(self, photo):
        with self.lock:
            self.on_the_way += 1
            self.most = max(self.most, self.on_the_way)
        return self.colorizer.prepare(photo)

    def answer_batch(self, photos, hints):
        self.batches.append(len(photos))
        return self.colorizer.answer_batch(photos, hints)

    def finish(self, prepared, ab, hints):
        with self.lock:
            self.on_the_way -= 1
        return np.zeros((1, 1, 3), prepared.pixels.dtype)


def album_of(folder, *pixels):
    """The jobs of photos with so many pixels each."""
    folder.mkdir()
    for index, count in enumerate(pixels):
        Image.new("L", (count // 100, 100), 99).save(folder / f"{index:02d}.png", compress_level=1)
    return plan([folder])[0]


@pytest.mark.parametrize(
    ("pixels", "batches"),
    [
        ([1000] * (BATCH_PHOTOS + 1), [BATCH_PHOTOS, 1]),
        ([BATCH_PIXELS // 2] * 3, [2, 1]),
        ([1000, BATCH_PIXELS, 1000], [1, 1, 1]),
        ([1000, 3 * BATCH_PIXELS, 1000], [1, 1, 1]),
        ([], []),
    ],
)
def test_batches_hold_so_many_photos_and_so_many_pixels(colorizer, tmp_path, pixels, batches):
    watched = Watched(colorizer)
    jobs = album_of(tmp_path / "album", *pixels)
    assert list(colorize_files(watched, jobs)) == [(job, []) for job in jobs]
    assert watched.batches == batches


def test_photos_overlap_but_only_a_few_are_on_their_way(colorizer, tmp_path):
    watched = Watched(colorizer)
    jobs = album_of(tmp_path / "album", *[6000] * (5 * BATCH_PHOTOS))
    assert len(list(colorize_files(watched, jobs))) == len(jobs)
    assert BATCH_PHOTOS < watched.most <= 3 * BATCH_PHOTOS
    assert watched.on_the_way == 0


def test_a_large_photo_has_the_memory_for_itself(colorizer, tmp_path):
    watched = Watched(colorizer)
    jobs = album_of(tmp_path / "album", *[LARGE_PIXELS + 100] * 3)
    assert list(colorize_files(watched, jobs)) == [(job, []) for job in jobs]
    assert watched.most == 1


def test_of_photos_that_go_together_only_the_one_to_blame_fails(photo_folder):
    """A network that answers NaN where it is given white; what went together is then tried one by one."""
    lightness = keras.Input((None, None, 1), name="lightness")
    ab = keras.layers.Conv2D(2, 3, strides=2, padding="same", activation="tanh")(lightness)
    is_number = keras.ops.sqrt(0.9 - keras.ops.max(lightness, axis=(1, 2, 3), keepdims=True))
    network = keras.Model(lightness, ab + 0.0 * is_number, name="dazzled")
    jobs, _ = plan([photo_folder])
    for number, job in enumerate(jobs[:5]):
        Image.new("L", (96, 64), 255 if number == 2 else 99).save(job.source)
    outcomes = [outcome for _, outcome in colorize_files(Colorizer(network, 32), jobs[:5])]
    assert "damaged" in str(outcomes.pop(2))
    assert outcomes == [[]] * 4
    assert [job.target.exists() for job in jobs[:5]] == [True, True, False, True, True]


class Counting(keras.layers.Layer):
    """Counts how often Python runs through it: once each time that a network is compiled."""

    times = 0

    def call(self, inputs):
        self.times += 1
        return inputs


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="other backends compile for each size")
def test_photos_of_many_sizes_are_not_compiled_for_each():
    """TensorFlow traces a network for the first size, and with the next ones for all."""
    lightness, layer = keras.Input((None, None, 1), name="lightness"), Counting()
    ab = keras.layers.Conv2D(2, 3, strides=2, padding="same")(layer(lightness))
    colorizer, widths = Colorizer(keras.Model(lightness, ab), 64), range(64, 512, 32)
    layer.times = 0
    photos = [np.zeros((64, width), "uint8") for width in widths]
    colorizer.colorize_batch([*photos, *(photo.T for photo in photos)])
    assert 0 < layer.times <= 4 < len(widths)

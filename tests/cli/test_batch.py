"""Photos of a folder, which are read, coloured and written at the same time."""

import threading

import keras
import numpy as np
import pytest
from PIL import Image

from nxap_color.cli import batch
from nxap_color.cli.batch import BATCH_PHOTOS, BATCH_PIXELS, LARGE_PIXELS, Job, colorize_files, plan
from nxap_color.colorizer import Colorizer
from nxap_color.media.photos import Contents, read_photo


@pytest.fixture
def colorizer(tiny_model):
    return Colorizer(tiny_model, 32)


def tasks_of(*pixels):
    return [batch.Task(Job(None, None), set(), Contents(1, False, count)) for count in pixels]


def test_results_are_those_of_one_photo_at_a_time_and_come_in_order(colorizer, photo_folder):
    jobs, _ = plan([photo_folder])
    outcomes = list(colorize_files(colorizer, jobs))
    assert outcomes == [(job, []) for job in jobs] and len(jobs) > BATCH_PHOTOS
    for job in jobs:
        expected = colorizer.colorize(read_photo(job.source).rgb)
        found = read_photo(job.target).rgb
        assert np.abs(found.astype(int) - expected).mean() < 3.0  # JPEG's own


@pytest.mark.parametrize(
    ("pixels", "batches"),
    [
        ([10] * (BATCH_PHOTOS + 1), [BATCH_PHOTOS, 1]),
        ([BATCH_PIXELS // 2] * 3, [2, 1]),
        ([10, BATCH_PIXELS, 10], [1, 1, 1]),
        ([10, 3 * BATCH_PIXELS, 10], [1, 1, 1]),
        ([], []),
    ],
)
def test_batches_hold_so_many_photos_and_so_many_pixels(pixels, batches):
    assert [len(group) for group in batch._in_batches(tasks_of(*pixels))] == batches


class Seen:
    """A colorizer that counts the photos which are on their way at the same time."""

    extractor = None

    def __init__(self, colorizer):
        self.colorizer, self.lock = colorizer, threading.Lock()
        self.on_the_way, self.most = 0, 0

    def network_input(self, photo):
        with self.lock:
            self.on_the_way += 1
            self.most = max(self.most, self.on_the_way)
        return self.colorizer.network_input(photo)

    def predict_ab(self, inputs, features=None):
        return self.colorizer.predict_ab(inputs)

    def merge(self, photo, ab):
        result = self.colorizer.merge(photo, ab)
        with self.lock:
            self.on_the_way -= 1
        return result


@pytest.fixture
def album(tmp_path, sample_rgb):
    """The jobs of 40 photos, in five batches."""
    folder = tmp_path / "album"
    folder.mkdir()
    for index in range(5 * BATCH_PHOTOS):
        Image.fromarray(sample_rgb[:64, :96]).save(folder / f"{index:02d}.png")
    return plan([folder])[0]


def test_photos_overlap_but_only_a_few_are_on_their_way(colorizer, album):
    seen = Seen(colorizer)
    assert len(list(colorize_files(seen, album))) == len(album)
    assert BATCH_PHOTOS < seen.most <= 3 * BATCH_PHOTOS
    assert seen.on_the_way == 0


def test_a_large_photo_has_the_memory_for_itself(colorizer, album, monkeypatch):
    monkeypatch.setattr(batch, "count_pictures", lambda path: Contents(1, False, LARGE_PIXELS + 1))
    seen = Seen(colorizer)
    assert len(list(colorize_files(seen, album[:4]))) == 4
    assert seen.most == 1


def test_of_photos_that_go_together_only_the_one_to_blame_fails(colorizer, album):
    class Choosy(Seen):
        def predict_ab(self, inputs, features=None):
            if any(given.mean() > 0.9 for given in inputs):
                raise ValueError("too bright")
            return self.colorizer.predict_ab(inputs)

    Image.new("L", (96, 64), 255).save(album[2].source)
    outcomes = [outcome for _, outcome in colorize_files(Choosy(colorizer), album[:5])]
    assert str(outcomes.pop(2)) == "too bright"
    assert outcomes == [[]] * 4
    assert [job.target.exists() for job in album[:5]] == [True, True, False, True, True]


def test_stopping_tells_what_is_done(colorizer, album, stop_writing_after):
    written, told = stop_writing_after(11), []
    with pytest.raises(KeyboardInterrupt):
        for job, _ in colorize_files(colorizer, album):
            told.append(job.target)
    assert sorted(told) == sorted(written) and len(told) == 11


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow counts")
def test_photos_of_many_sizes_are_not_compiled_for_each(tmp_path, colorizer):
    """TensorFlow traces a network for the first size, and with the next ones for all."""
    inputs = [np.zeros((32, 32 * step, 1), "float32") for step in range(1, 20)]
    colorizer.predict_ab(inputs + 3 * [given.transpose(1, 0, 2) for given in inputs])
    assert colorizer.model.predict_function.experimental_get_tracing_count() <= 4

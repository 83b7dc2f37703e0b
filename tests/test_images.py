"""Large pictures in strips, against Keras's own resizing of the whole."""

import numpy as np
import pytest
from keras import ops

from nxap_color import images
from nxap_color.colorizer import Colorizer


def noise(*shape):
    return np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)


def resized(pixels, size, antialias):
    return ops.convert_to_numpy(
        ops.image.resize(
            np.float32(pixels), size, "bilinear", antialias=antialias, data_format="channels_last"
        )
    )


@pytest.fixture
def thin_strips(monkeypatch):
    monkeypatch.setattr(images, "STRIP_PIXELS", 600)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 100), (100, 7), (5, 4000), (48, 50)])
def test_strips_make_up_the_whole(thin_strips, height, width):
    rows = [row for part in images.strips(height, width) for row in range(height)[part]]
    assert rows == list(range(height))


@pytest.mark.parametrize("size", [(10, 13), (1, 1), (61, 83), (90, 100)])
def test_shrinking_in_strips_is_shrinking_the_whole(thin_strips, size):
    pixels = noise(61, 83, 3)
    np.testing.assert_allclose(images.shrink(pixels, size), resized(pixels / 255.0, size, True), atol=1e-5)


@pytest.mark.parametrize("grid", [(9, 7, 4), (1, 1, 2), (2, 1, 4), (1, 5, 1), (61, 83, 4)])
def test_enlarged_strips_are_those_of_the_whole(thin_strips, grid):
    grid, size = np.float32(noise(*grid)), (61, 83)
    parts = [images.enlarge(grid, size, rows) for rows in images.strips(*size)]
    assert len(parts) > 5
    np.testing.assert_allclose(np.concatenate(parts), resized(grid, size, False), atol=1e-3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_whole_numbers_become_floats_of_their_range(dtype):
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    np.testing.assert_array_equal(images.to_float(np.array([0, top], dtype)), [0.0, 1.0])


def test_strips_leave_no_seams(tiny_model, sample_rgb, monkeypatch):
    whole = Colorizer(tiny_model, 64).colorize(sample_rgb)
    monkeypatch.setattr(images, "STRIP_PIXELS", 5000)
    in_strips = Colorizer(tiny_model, 64).colorize(sample_rgb)
    assert np.abs(whole.astype(int) - in_strips).max() <= 1
    assert np.mean(whole != in_strips) < 1e-3

"""Large pictures in strips, against Keras's own resizing of the whole."""

import time

import numpy as np
import pytest
from keras import ops
from PIL import Image

from nxap_color import images
from nxap_color.prepared import finish_photo, prepare_pixels


def noise(*shape):
    return np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)


def resized(pixels, size, antialias):
    return ops.convert_to_numpy(
        ops.image.resize(
            np.float32(pixels), size, "bilinear", antialias=antialias, data_format="channels_last"
        )
    )


LARGE = (1500, 1100)  # more than six strips


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 100), (5, 200_000), (4000, 99), LARGE])
def test_strips_make_up_the_whole(height, width):
    rows = [row for part in images.strips(height, width) for row in range(height)[part]]
    assert rows == list(range(height))


@pytest.mark.parametrize("size", [(10, 13), (1, 1), (600, 83), LARGE, (1600, 1200)])
def test_shrinking_in_strips_is_shrinking_the_whole(size):
    pixels = noise(*LARGE, 3)
    # Where TensorFlow enlarges, it counts places in float32, which at a thousand pixels leaves 1e-4 of one.
    atol = 1e-5 if size <= LARGE else 3e-4
    np.testing.assert_allclose(images.shrink(pixels, size), resized(pixels / 255.0, size, True), atol=atol)


@pytest.mark.parametrize("grid", [(9, 7), (1, 1), (2, 1), (1, 5), LARGE])
def test_enlarged_strips_are_those_of_the_whole(grid):
    grid = np.float32(noise(*grid))
    parts = [images.enlarge(grid, LARGE, rows) for rows in images.strips(*LARGE)]
    assert len(parts) > 5
    expected = resized(grid[..., None], LARGE, False)[..., 0]
    np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_whole_numbers_become_floats_of_their_range(dtype):
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    np.testing.assert_array_equal(images.to_float(np.array([0, top], dtype)), [0.0, 1.0])


def test_strips_leave_no_seams(sample_rgb):
    """Strips of a photo on its side run along the other axis: a seam would be seen in one of the two."""
    photo = np.asarray(Image.fromarray(sample_rgb).resize(LARGE[::-1]))
    ab = np.float32(np.random.default_rng(0).normal(0.0, 20.0, (48, 36, 2)))
    upright, lying = (
        finish_photo(prepare_pixels(pixels, colours.shape[:2]), colours)
        for pixels, colours in ((photo, ab), (photo.swapaxes(0, 1), ab.swapaxes(0, 1)))
    )
    assert np.abs(upright.astype(int) - lying.swapaxes(0, 1)).max() <= 1
    assert np.mean(upright != lying.swapaxes(0, 1)) < 1e-3


@pytest.mark.parametrize("size", [LARGE, (1, 1), (3, 500_000)])
def test_shared_strips_are_all_done_once(size):
    done = np.zeros(size[0], int)

    def work(some_strips):
        for rows in some_strips:
            done[rows] += 1

    images.share_strips(work, *size)
    assert (done == 1).all()


def test_an_error_in_one_strip_ends_the_others():
    begun = []

    def work(some_strips):
        for rows in some_strips:
            begun.append(rows.start)
            time.sleep(0.01)
            if rows.start == 0:
                raise MemoryError

    with pytest.raises(MemoryError):
        images.share_strips(work, 500, images.STRIP_PIXELS)  # a row for each
    assert len(begun) < 400


def test_points_of_a_grid_lie_in_the_middle_of_equal_shares():
    """As `enlarge` has it: a grid of 4 over 8 pixels lies at 0.5, 2.5, 4.5 and 6.5."""
    before, after, weight = images.bilinear(np.arange(8), 8, 4)
    places = (1.0 - weight) * (2 * before + 0.5) + weight * (2 * after + 0.5)
    np.testing.assert_allclose(places, np.clip(np.arange(8), 0.5, 6.5))
    assert [side.tolist() for side in images.bilinear(np.arange(3), 3, 1)] == [[0] * 3] * 3

"""Scribbles: strokes on a transparent layer become places with colours."""

import numpy as np
import pytest
from skimage.color import rgb2lab

from nxap_color.errors import HintError
from nxap_color.media.photos import Photo
from nxap_color.scribbles import CELLS, find_strokes, require_aspect

RED, BLUE = (200, 30, 30), (20, 40, 220)


def layer_of(size, dtype="uint8", *strokes):
    """A `Photo`, transparent but for rectangles: slices of rows and columns, and a colour in 8 bits."""
    scale = np.iinfo(dtype).max // 255
    rgb, alpha = np.zeros((*size, 3), dtype), np.zeros(size, dtype)
    for rows, columns, colour in strokes:
        rgb[rows, columns], alpha[rows, columns] = np.array(colour) * scale, np.iinfo(dtype).max
    return Photo(rgb, alpha)


def ab_of(rgb):
    return rgb2lab(np.array(rgb) / 255.0)[1:]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_each_cell_under_a_stroke_is_a_place_of_its_colour(dtype):
    """Cells of 4 pixels: one that is covered, and four of which a half is."""
    one = (slice(40, 44), slice(80, 84), RED)
    four = (slice(80, 82), slice(100, 116), BLUE)
    found = find_strokes("strokes.png", layer_of((4 * CELLS, 4 * CELLS), dtype, one, four))
    side = 4 * CELLS - 1
    places = np.array([(x, y) for x, y, _ in found]) * side / 100.0
    expected = [(81.5, 41.5), *((101.5 + 4 * step, 80.5) for step in range(4))]
    np.testing.assert_allclose(places, expected, atol=1e-3)
    colours = [ab_of(RED)] + [ab_of(BLUE)] * 4
    np.testing.assert_allclose([ab for _, _, ab in found], colours, atol=0.1)


def test_cells_that_a_stroke_merely_touches_are_left_out():
    found = find_strokes("strokes.png", layer_of((256, 256), "uint8", (slice(40, 45), slice(80, 85), RED)))
    assert len(found) == 1


def test_a_thin_line_over_a_large_layer_is_found():
    line = (slice(700, 701), slice(100, 900), RED)
    found = find_strokes("strokes.png", layer_of((1280, 1280), "uint8", line))
    assert 39 <= len(found) <= 41


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (3, 2)])
def test_a_layer_smaller_than_the_cells_has_one_for_each_pixel(size):
    layer = layer_of(size, "uint8", (slice(0, 1), slice(0, 1), RED))
    if size == (1, 1):
        with pytest.raises(HintError, match="have no transparency"):
            find_strokes("strokes.png", layer)
    else:
        (found,) = find_strokes("strokes.png", layer)
        assert found[:2] == (0.0, 0.0)


def test_faint_pixels_do_not_count():
    layer = layer_of((64, 64), "uint8", (slice(10, 11), slice(10, 11), RED))
    layer.alpha[30, 30] = 100
    assert len(find_strokes("strokes.png", layer)) == 1


@pytest.mark.parametrize("alpha", [None, np.full((9, 9), 255, "uint8")])
def test_an_opaque_picture_is_refused(alpha):
    with pytest.raises(HintError, match="'old.jpg' have no transparency: use a transparent layer"):
        find_strokes("old.jpg", Photo(np.zeros((9, 9, 3), "uint8"), alpha))


def test_an_empty_layer_is_refused():
    with pytest.raises(HintError, match="'strokes.png' are empty: no pixel is opaque"):
        find_strokes("strokes.png", layer_of((9, 9)))


@pytest.mark.parametrize(
    "size", [(480, 640), (960, 1280), (240, 320), (241, 321), (3000, 4000), (37, 49), (107, 143)]
)
def test_a_layer_of_the_photos_aspect_is_scaled(size):
    require_aspect("strokes.png", size, (480, 640))


@pytest.mark.parametrize("size", [(640, 480), (480, 648), (490, 640), (3000, 4100), (48, 60)])
def test_a_layer_of_another_aspect_is_refused_by_name(size):
    expected = f"'strokes.png' have {size[1]} x {size[0]} pixels, another aspect than the photo of 640 x 480"
    with pytest.raises(HintError, match=expected):
        require_aspect("strokes.png", size, (480, 640))

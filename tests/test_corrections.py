"""Hints are kept to: broadly at the network's size, exactly at full size."""

import numpy as np
import pytest
from PIL import Image

from nxap_color.color import AB_SCALE, LIGHTNESS_SCALE, gray_to_lightness
from nxap_color.corrections import PixelCorrection, correct_colours, duller_hints
from nxap_color.gaussian_process import HINT_CHANNELS
from nxap_color.guidance import Hint, draw_hints
from nxap_color.images import shrink
from nxap_color.layers import LIKENESS_OF_LIGHTNESS
from nxap_color.upsampling import colour_rows, fit_colours


def random_ab(*size):
    return np.random.default_rng(0).uniform(-64.0, 64.0, (*size, 2)).astype("float32")


def likeness_of(lightness):
    """What an untrained network says: what is of like lightness is alike."""
    scaled = lightness / LIGHTNESS_SCALE - 1.0
    return LIKENESS_OF_LIGHTNESS * np.eye(1, HINT_CHANNELS, dtype="float32") * scaled[..., None]


def test_colours_are_corrected_at_the_hint_and_where_it_looks_alike():
    """Two halves of unlike lightness: a hint on the left changes what is alike, and little on the right."""
    lightness = np.full((40, 80), 20.0, "float32")
    lightness[:, 40:] = 80.0
    ab = np.zeros((40, 80, 2), "float32")
    drawn = draw_hints([Hint.from_ab(35, 20, (30.0, -10.0), radius=1)], (40, 80), (40, 80))
    corrected = correct_colours(ab, drawn, likeness_of(lightness), lightness)
    np.testing.assert_allclose(corrected[20, 35], (30.0, -10.0), atol=2.0)
    assert corrected[20, 33, 0] > 25.0 > corrected[20, 5, 0] > 15.0
    assert abs(corrected[:, 40:]).max() < 5.0


def test_right_colours_are_left_alone():
    ab, lightness = np.full((8, 8, 2), (12.0, -30.0), "float32"), np.full((8, 8), 50.0, "float32")
    drawn = np.zeros((8, 8, 3), "float32")
    drawn[2, 3] = (*ab[2, 3] / AB_SCALE, 1.0)
    np.testing.assert_allclose(correct_colours(ab, drawn, likeness_of(lightness), lightness), ab, atol=1e-3)


def test_of_thousands_of_places_a_single_one_of_another_colour_counts():
    lightness = np.full((48, 64), 50.0, "float32")
    whole = Hint.from_ab("50%", "50%", (-30.0, 10.0), radius=100)
    for x, y in ((7, 5), (40, 33), (63, 47)):
        drawn = draw_hints([whole, Hint.from_ab(x, y, (40.0, 0.0), radius=0.5)], (48, 64), (48, 64))
        corrected = correct_colours(
            np.zeros((48, 64, 2), "float32"), drawn, likeness_of(lightness), lightness
        )
        assert corrected[y, x, 0] > corrected[20, 20, 0] + 10.0
        np.testing.assert_allclose(corrected[20, 20], (-30.0, 10.0), atol=6.0)


def corrected(hints, ab, lightness):
    """Full-size ab (H, W, 2), without and with the hints' pixels corrected."""
    small = shrink(lightness[..., None], ab.shape[:2])[..., 0]
    fitted = fit_colours(ab, small)
    everything = slice(0, len(lightness))
    before = np.stack(colour_rows(fitted, lightness, everything), axis=-1)
    planes = colour_rows(fitted, lightness, everything)
    PixelCorrection(hints, fitted, lightness).add_to(planes, everything)
    return before, np.stack(planes, axis=-1)


@pytest.fixture
def textured(sample_rgb):
    """The lightness of a photo (288, 384), whose edges and texture are its own."""
    gray = np.asarray(Image.fromarray(sample_rgb).convert("L").resize((384, 288)))
    return gray_to_lightness(gray)


def test_pixels_get_their_colours_on_edges_on_texture_and_near_each_other(textured):
    rng = np.random.default_rng(2)
    edges = np.abs(np.diff(textured, axis=1)).ravel().argsort()[-40:]
    rows, columns = np.unravel_index(edges, (288, 383))
    anywhere = [(int(y), int(x)) for y, x in zip(rows, columns, strict=True)]
    crowd = [(100 + step // 3, 200 + step % 3) for step in range(9)]
    places = list(dict.fromkeys([*anywhere, *crowd, (0, 0), (287, 383)]))
    hints = [Hint.from_ab(x, y, tuple(rng.normal(0.0, 20.0, 2))) for y, x in places]
    _, after = corrected(hints, random_ab(24, 32) / 2.0, textured)
    found = np.array([after[place] for place in places])
    assert np.hypot(*(found - [hint.ab for hint in hints]).T).max() < 0.5


def test_the_correction_ends_at_one_low_resolution_pixel_and_at_edges():
    lightness = np.full((120, 160), 40.0, "float32")
    lightness[:, 83:] = 70.0
    before, after = corrected([Hint.from_ab(80, 60, (50.0, 0.0))], random_ab(12, 16) / 8.0, lightness)
    change = np.abs(after - before).max(axis=-1)
    down, across = np.ogrid[:120, :160]
    far = np.hypot(down - 60, across - 80) >= 10.0
    assert change[60, 80] > 30.0 and change[60, 78] > 15.0
    assert change[far].max() == 0.0
    assert change[:, 83:].max() == 0.0


def test_of_two_hints_at_one_pixel_the_last_counts(textured):
    hints = [Hint.from_ab(50.2, 60, (30.0, 0.0)), Hint.from_ab(49.8, 60, (-10.0, 5.0))]
    _, after = corrected(hints, random_ab(24, 32) / 8.0, textured)
    np.testing.assert_allclose(after[60, 50], (-10.0, 5.0), atol=1.0)


def test_strips_are_corrected_as_the_whole_is(textured):
    hints = [Hint.from_ab(50, y, (30.0, -20.0)) for y in (0, 99, 100, 287)]
    ab = random_ab(24, 32) / 8.0
    _, expected = corrected(hints, ab, textured)
    fitted = fit_colours(ab, shrink(textured[..., None], ab.shape[:2])[..., 0])
    correction = PixelCorrection(hints, fitted, textured)
    for rows in (slice(0, 100), slice(100, 103), slice(103, 288)):
        planes = colour_rows(fitted, textured, rows)
        correction.add_to(planes, rows)
        np.testing.assert_allclose(np.stack(planes, axis=-1), expected[rows], atol=1e-3)


def test_hints_that_srgb_cannot_show_are_listed():
    lightness = np.array([[10.0, 53.0]], "float32")  # red has a lightness of 53
    dark, bright, gray = Hint(0, 0, "#ff0000"), Hint(1, 0, "#ff0000"), Hint(0, 0, "gray")
    assert duller_hints([dark, bright, gray], lightness) == [dark]
    assert duller_hints([], lightness) == []


def test_hints_drawn_at_the_networks_size_have_its_answer_corrected():
    lightness = np.full((20, 20), 50.0, "float32")
    drawn = draw_hints([Hint.from_ab("50%", "50%", (20.0, 10.0))], (200, 200), (20, 20))
    ab = correct_colours(np.zeros((20, 20, 2), "float32"), drawn, likeness_of(lightness), lightness)
    np.testing.assert_allclose(ab[drawn[..., 2] > 0.0], [(20.0, 10.0)], atol=2.0)

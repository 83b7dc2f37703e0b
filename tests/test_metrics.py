"""Metrics against known values."""

import numpy as np
import pytest
from skimage.color import lab2rgb

from nxap_color.color import AB_SCALE
from nxap_color.metrics import AbError, ChromaRatio, colorfulness, compare_photos


def constant(ab, side=8):
    return np.broadcast_to(np.float32(ab) / AB_SCALE, (1, side, side, 2)).copy()


def test_ab_error_is_a_distance_averaged_over_photos():
    metric = AbError()
    metric.update_state(constant((0, 0)), constant((3, 4), 2))
    metric.update_state(constant((10, 0)), constant((10, 15), 2))
    assert float(metric.result()) == pytest.approx(10.0, rel=1e-4)


def test_chroma_ratio_tells_a_muted_answer():
    metric = ChromaRatio()
    metric.update_state(constant((30, 40)), constant((15, 20), 2))
    assert float(metric.result()) == pytest.approx(0.5, rel=1e-4)


def test_metrics_start_over():
    metric = ChromaRatio()
    metric.update_state(constant((30, 40)), constant((15, 20)))
    metric.reset_state()
    assert float(metric.result()) == 0.0


def test_gray_is_not_colourful():
    assert colorfulness(np.full((8, 8, 3), 77, "uint8")) == 0.0


def test_colorfulness_of_two_known_colours():
    """Half red, half blue: R-G is 255 and 0, (R+G)/2-B is 127.5 and -255."""
    picture = np.zeros((8, 8, 3), "uint8")
    picture[:, :4, 0] = 255
    picture[:, 4:, 2] = 255
    spread = np.hypot(127.5, 191.25)
    mean = np.hypot(127.5, -63.75)
    assert colorfulness(picture) == pytest.approx(spread + 0.3 * mean)


def test_differences_have_their_sign():
    """Green minus red must not wrap around in 8 bits: green is as colourful as red is in R-G."""
    green = np.zeros((8, 8, 3), "uint8")
    green[..., 1] = 255
    assert colorfulness(green) == pytest.approx(0.3 * np.hypot(255.0, 127.5))


def test_colorfulness_of_absolute_differences():
    """|R-G| is 255 and 0, |(R+G)/2-B| 127.5 and 255: its spread is a third of that with signs."""
    picture = np.zeros((8, 8, 3), "uint8")
    picture[:, :4, 0] = 255
    picture[:, 4:, 2] = 255
    spread = np.hypot(127.5, 63.75)
    mean = np.hypot(127.5, 191.25)
    assert colorfulness(picture, absolute=True) == pytest.approx(spread + 0.3 * mean)


def lab_photo(colours):
    """A photo of 8 x 8 with columns of these (a, b) at lightness 55, uint8."""
    lab = np.full((8, len(colours), 3), 55.0)
    lab[..., 1:] = colours
    return np.uint8(np.rint(lab2rgb(np.repeat(lab, -(-8 // len(colours)), axis=1)) * 255.0))


def test_strong_reds_and_blues_are_summed_where_the_truth_has_them():
    """Of 10 columns 2 are strongly red and 2 strongly blue; what comes out elsewhere does not count."""
    truth = lab_photo([(50, 20), (0, -40), (28, 0), (0, -13), (0, 60)])
    result = lab_photo([(20, 20), (0, -10), (60, 0), (0, -40), (60, 0)])
    figures = compare_photos(result, truth)
    pixels = 8 * 2
    assert figures["true_red"] == pytest.approx(50 * pixels, rel=0.02)
    assert figures["red"] == pytest.approx(20 * pixels, rel=0.02)
    assert figures["true_blue"] == pytest.approx(40 * pixels, rel=0.02)
    assert figures["blue"] == pytest.approx(10 * pixels, rel=0.05)
    figures = compare_photos(truth, lab_photo([(0, 0)] * 5))
    assert [figures[key] for key in ("red", "true_red", "blue", "true_blue")] == [0.0] * 4


def test_equal_photos_have_no_difference(sample_rgb):
    figures = compare_photos(sample_rgb, sample_rgb)
    assert figures["psnr"] == float("inf")
    assert figures["ssim"] == pytest.approx(1.0)
    assert figures["delta_e"] == figures["ab_error"] == 0.0
    assert figures["colorfulness"] == figures["true_colorfulness"] > 10.0


def test_psnr_of_a_known_error(sample_rgb):
    truth = np.clip(sample_rgb, 10, 245)
    figures = compare_photos(truth + np.uint8(10), truth)
    assert figures["psnr"] == pytest.approx(10.0 * np.log10(255.0**2 / 10.0**2))


def test_delta_e_of_a_known_pair():
    """Gray of L 50 and 60 (119 and 145 in sRGB) differ by 9.3 to 9.5 in CIEDE2000; ab does not differ."""
    figures = compare_photos(np.full((8, 8, 3), 145, "uint8"), np.full((8, 8, 3), 119, "uint8"))
    assert 9.0 < figures["delta_e"] < 10.0
    assert figures["ab_error"] < 0.05


def test_photos_of_different_size_are_refused():
    with pytest.raises(ValueError, match="one shape and at least 7 pixels"):
        compare_photos(np.zeros((8, 8, 3), "uint8"), np.zeros((8, 9, 3), "uint8"))

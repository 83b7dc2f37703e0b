"""Figures."""

import subprocess
import sys

import numpy as np

from nxap_color.images import before_after, contact_sheet
from nxap_color.models import build_autoencoder
from nxap_color.teaching.plotting import draw_flow, draw_network, plot_ab_plane, plot_tradeoff


def test_a_contact_sheet_scales_every_picture_to_one_height():
    rows = [
        [np.zeros((40, 60, 3), "uint8"), np.ones((80, 80, 3), "float32")],
        [np.zeros((40, 20, 3), "uint8")],
    ]
    sheet = contact_sheet(rows, height=20, gap=4)
    assert sheet.shape == (20 + 4 + 20, 30 + 4 + 20, 3)
    assert (sheet[5, 10] == 0).all() and (sheet[5, 45] == 255).all()
    assert (sheet[30, 5] == 0).all() and (sheet[30, 15:] == 255).all()


def test_before_is_shown_in_gray_and_after_in_its_colours():
    red = np.zeros((30, 40, 3), "uint8")
    red[..., 0] = 255
    picture = before_after(red, red)
    assert picture.shape == (30, 84, 3)
    assert np.ptp(picture[10, 10]) == 0
    np.testing.assert_array_equal(picture[10, 60], (255, 0, 0))


def test_the_tradeoff_joins_amounts_of_colour_and_shows_the_gain_over_gray():
    points = {"gray": (0.0, 22.0), "net x1.2": (0.9, 22.5), "net": (0.7, 23.5)}
    summary = {label: {"colorfulness_ratio": ratio, "psnr": psnr} for label, (ratio, psnr) in points.items()}
    figure = plot_tradeoff(summary)
    (axes,) = figure.axes
    net = next(line for line in axes.lines if line.get_label() == "net")
    np.testing.assert_array_equal(net.get_xydata(), [(0.7, 23.5), (0.9, 22.5)])
    figure.draw_without_rendering()
    (right,) = axes.child_axes
    np.testing.assert_allclose(right.get_ylim(), np.subtract(axes.get_ylim(), 22.0))
    assert not plot_tradeoff({"net": summary["net"]}).axes[0].child_axes


def test_motion_has_a_hue_for_its_direction_and_none_where_nothing_moves():
    flow = np.zeros((4, 6, 2))
    flow[:2, :, 0] = 3.0  # to the right
    flow[2, :, 0] = -1.5  # to the left, half as fast
    picture = draw_flow(flow)
    np.testing.assert_array_equal(picture[0, 0], (255, 0, 0))
    np.testing.assert_array_equal(picture[2, 0], (128, 255, 255))
    np.testing.assert_array_equal(picture[3, 0], (255, 255, 255))


def test_the_ab_plane_shows_its_own_colours_and_white_outside_of_srgb():
    image = plot_ab_plane(lightness=50.0, points={"red": [50.0, 30.0]}).axes[0].images[0].get_array()
    assert image.shape == (221, 221, 3)
    np.testing.assert_allclose(image[110, 110], 0.466, atol=2e-3)  # L = 50 in gray
    assert image[130, 150, 0] > image[130, 150, 2] + 0.2  # a = 40, b = 20 is reddish
    np.testing.assert_array_equal(image[0, 0], 1.0)


def test_a_network_is_drawn_with_a_box_for_each_layer():
    figure = draw_network(build_autoencoder(), ["conv0", "conv5", "conv11"], [("conv0", "conv11")], side=32)
    boxes = figure.axes[0].patches
    assert [box.get_height() for box in boxes[:3]] == [32, 4, 16]
    assert boxes[0].get_width() < boxes[1].get_width()


def test_a_network_of_several_inputs_is_drawn(tiny_fusion):
    figure = draw_network(tiny_fusion, [tiny_fusion.layers[-1].name], side=32)
    assert figure.axes[0].patches[0].get_height() == 16


def test_the_module_is_there_without_keras_and_matplotlib(project):
    code = "import sys, nxap_color.teaching.plotting; print({'keras', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr

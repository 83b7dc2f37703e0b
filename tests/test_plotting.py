"""Figures."""

import numpy as np

from nxap_color.plotting import before_after, contact_sheet


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

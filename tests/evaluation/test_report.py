"""The table of figures on a terminal."""

import re

import pytest

from nxap_color.evaluation.report import format_table

GRAY = {
    "psnr": 20.0, "psnr_interval": [19.0, 21.0], "gain": 0.0, "gain_interval": [0.0, 0.0], "ssim": 0.9,
    "delta_e": 12.0, "delta_e_interval": [11.0, 13.0], "ab_error": 20.0, "colorfulness_ratio": 0.001,
    "colorfulness_ratio_interval": [0.001, 0.001], "colorfulness_ratio_absolute": 0.001,
    "recovered_red": -1e-6, "recovered_blue": None, "seconds": 0.05,
}  # fmt: skip
UNET = GRAY | {"psnr": 19.4, "gain": -0.6, "gain_interval": [-1.25, 0.05], "recovered_red": 0.254}
UNET |= {"recovered_blue": -0.201, "colorfulness_ratio": 0.85, "colorfulness_ratio_absolute": 0.9}


def cells_of(line):
    return re.split(r"\s{2,}", line.strip())


def test_the_table_has_a_line_for_each_method_and_a_heading_for_each_figure():
    heading, gray, unet = format_table({"gray": GRAY, "unet": UNET}).splitlines()
    columns = dict(
        zip(cells_of(heading), zip(cells_of(gray)[1:], cells_of(unet)[1:], strict=True), strict=False)
    )
    assert len(cells_of(heading)) + 1 == len(cells_of(gray)) == len(cells_of(unet))
    assert columns["gain"] == ("+0.00", "-0.60") and "-1.25 to +0.05" in unet
    assert columns["ratio"] == ("0.00", "0.85") and columns["|ratio|"] == ("0.00", "0.90")
    assert columns["red"] == ("0%", "25%") and columns["blue"] == ("-", "-20%")


def test_columns_that_nothing_was_measured_for_are_left_out():
    table = format_table({"gray": GRAY | {"recovered_red": None}})
    assert not {"red", "blue", "FD"} & set(table.split())
    assert "FD" in format_table({"gray": GRAY | {"fd_lite0": 30.0}}).split()


@pytest.mark.parametrize("label", ["unet", "unet x1.25"])
def test_the_table_fits_a_terminal(label):
    widest = UNET | {"fd_lite0": 123.45}
    lines = format_table({"gray": GRAY, label: widest}).splitlines()
    assert len({len(line) for line in lines}) == 1 and len(lines[0]) <= 120

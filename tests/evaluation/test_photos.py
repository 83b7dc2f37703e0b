"""Means, intervals and groups of figures."""

import csv
import re

import numpy as np
import pytest
from scipy.stats import bootstrap

from nxap_color.evaluation.photos import (
    pool_seeds,
    psnr_gains,
    read_csv,
    summarize,
    summarize_groups,
    table,
    without_seed,
    write_csv,
)

KEYS = ("ssim", "delta_e", "ab_error", "seconds")


def figures(psnr, colorfulness=1.0, true_colorfulness=1.0):
    row = {"psnr": psnr, "colorfulness": colorfulness, "true_colorfulness": true_colorfulness}
    return {"model": row | dict.fromkeys(KEYS, 0.0)}


def test_the_colorfulness_ratio_is_that_of_the_means():
    summary = summarize([figures(1.0, 10.0, 10.0), figures(1.0, 20.0, 50.0)])
    assert summary["model"]["colorfulness_ratio"] == pytest.approx(0.5)


def test_intervals_are_those_of_scipy():
    rng = np.random.default_rng(1)
    psnr, results, truths = rng.normal(24, 3, 100), rng.uniform(10, 40, 100), rng.uniform(30, 50, 100)
    photos = [figures(*row) for row in zip(psnr, results, truths, strict=True)]
    summary = summarize(photos)["model"]
    options = {"n_resamples": 5000, "method": "percentile", "rng": 1}
    expected = bootstrap((psnr,), np.mean, **options).confidence_interval
    np.testing.assert_allclose(summary["psnr_interval"], expected, atol=0.06)
    expected = bootstrap(
        (results, truths), lambda a, b, axis: a.mean(axis) / b.mean(axis), paired=True, **options
    ).confidence_interval
    np.testing.assert_allclose(summary["colorfulness_ratio_interval"], expected, atol=0.006)


def test_groups_are_summarized_on_their_own():
    photos = [figures(20.0), figures(22.0), figures(30.0)]
    groups = summarize_groups(photos, ["b", "b", "a"])
    assert list(groups) == ["a", "b"]
    assert (groups["b"]["photos"], groups["b"]["results"]["model"]["psnr"]) == (2, 21.0)
    assert summarize_groups(photos, ["a", "a", "a"]) == {}


def test_the_table_has_a_line_for_each_method():
    lines = table(summarize([figures(20.0)])).splitlines()
    assert len(lines) == 2 and lines[1].split()[:3] == ["model", "20.00", "20.00-20.00"]
    headings, cells = (re.split(r"\s{2,}", line.strip()) for line in lines)
    assert len(headings) + 1 == len(cells)
    assert cells[1 + headings.index("dE00")] == "0.00" and cells[1 + headings.index("ratio")] == "1.00"


def test_gains_are_taken_photo_by_photo():
    """Photos differ by 10 dB, the methods always by 1: the interval has no width."""
    photos = [figures(psnr) | {"other": figures(psnr - 1.0)["model"]} for psnr in (20.0, 25.0, 30.0)]
    assert psnr_gains(photos, "model") == {"other": [1.0, 1.0, 1.0]}


def test_the_csv_has_a_line_for_each_method_and_the_ends_of_intervals(tmp_path):
    write_csv(tmp_path / "table.csv", summarize([figures(20.0, 3.0, 4.0), figures(24.0, 3.0, 4.0)]))
    with (tmp_path / "table.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["method"], row["psnr"], row["psnr_low"], row["psnr_high"]) == ("model", "22", "20", "24")
    assert row["colorfulness_ratio"] == row["colorfulness_ratio_low"] == "0.75"
    read = read_csv(tmp_path / "table.csv")
    assert list(read) == ["model"] and read["model"]["psnr"] == 22.0 and read["model"]["psnr_high"] == 24.0


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("runs/wide-2.keras", "runs/wide"),
        ("wide_10", "wide"),
        ("wide-2.keras x0.8", "wide x0.8"),
        ("unet", "unet"),
        ("gray", "gray"),
        ("net2.keras", "net2.keras"),
    ],
)
def test_the_seed_is_the_number_at_the_end_of_a_name(label, name):
    assert without_seed(label) == name


def test_seeds_of_one_network_are_averaged_photo_by_photo():
    rows = [(20.0, 22.0, 30.0), (24.0, 26.0, 32.0)]
    labels = ("net-0.keras", "net-1.keras", "gray")
    photos = [
        {label: figures(psnr)["model"] for label, psnr in zip(labels, row, strict=True)} for row in rows
    ]
    pooled, single = pool_seeds(photos)
    assert [(photo["net"]["psnr"], photo["gray"]["psnr"]) for photo in pooled] == [(21.0, 30.0), (25.0, 32.0)]
    assert single == {"net": [22.0, 24.0]}

"""Means, intervals and groups of figures."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from nxap_color.evaluation.photos import (
    RESAMPLES,
    measure_photos,
    pool_distances,
    pool_seeds,
    psnr_gains,
    read_csv,
    summarize,
    summarize_groups,
    without_seed,
    write_csv,
)

KEYS = ("ssim", "delta_e", "ab_error", "seconds", "red", "true_red", "blue", "true_blue")
ABSOLUTE = ("colorfulness_absolute", "true_colorfulness_absolute")


def figures(psnr, colorfulness=1.0, true_colorfulness=1.0, **others):
    row = {"psnr": psnr, "colorfulness": colorfulness, "true_colorfulness": true_colorfulness}
    return {"model": row | dict.fromkeys(KEYS, 0.0) | dict.fromkeys(ABSOLUTE, 1.0) | others}


def test_the_colorfulness_ratio_is_that_of_the_means():
    summary = summarize([figures(1.0, 10.0, 10.0), figures(1.0, 20.0, 50.0)])
    assert summary["model"]["colorfulness_ratio"] == pytest.approx(0.5)


def test_the_ratio_of_absolute_differences_stands_beside_it():
    absolute = dict(zip(ABSOLUTE, (9.0, 10.0), strict=True))
    row = summarize([figures(1.0, 10.0, 20.0, **absolute)])["model"]
    assert (row["colorfulness_ratio"], row["colorfulness_ratio_absolute"]) == pytest.approx((0.5, 0.9))


def test_recovered_colours_are_shares_over_all_photos_together():
    """A photo without strong reds has no say; the mean of the photos' own shares would be 0.75."""
    photos = [figures(1.0, red=10.0, true_red=10.0), figures(1.0, red=45.0, true_red=90.0), figures(1.0)]
    row = summarize(photos)["model"]
    assert row["recovered_red"] == pytest.approx(0.55)
    assert row["recovered_blue"] is None


def test_the_gain_over_gray_is_taken_photo_by_photo():
    """Gray differs by 10 dB among photos, the gain by 1: its interval shows that alone."""
    rows = [(20.0, 21.0), (25.0, 27.0), (30.0, 31.0), (22.0, 24.0)]
    photos = [{"gray": figures(gray)["model"], **figures(psnr)} for gray, psnr in rows]
    summary = summarize(photos)
    assert summary["gray"]["gain"] == 0.0 and summary["gray"]["gain_interval"] == [0.0, 0.0]
    low, high = summary["model"]["gain_interval"]
    assert summary["model"]["gain"] == 1.5 and 1.0 <= low < 1.5 < high <= 2.0
    assert "gain" not in summarize([figures(20.0)])["model"]


def test_intervals_are_percentiles_of_figures_of_photos_drawn_with_replacement():
    """Of the same photos every time, results and truths of one photo always together."""
    rng = np.random.default_rng(1)
    psnr, results, truths = rng.normal(24, 3, 100), rng.uniform(10, 40, 100), rng.uniform(30, 50, 100)
    photos = [figures(*row) for row in zip(psnr, results, truths, strict=True)]
    summary = summarize(photos)["model"]
    drawn = np.random.default_rng(0).integers(100, size=(RESAMPLES, 100))
    expected = np.percentile(psnr[drawn].mean(axis=1), (2.5, 97.5))
    np.testing.assert_allclose(summary["psnr_interval"], expected, atol=1e-9)
    ratios = results[drawn].mean(axis=1) / truths[drawn].mean(axis=1)
    expected = np.percentile(ratios, (2.5, 97.5))
    np.testing.assert_allclose(summary["colorfulness_ratio_interval"], expected, atol=1e-9)


def test_the_interval_of_one_photo_has_no_width():
    summary = summarize([figures(20.0, 3.0, 4.0)])["model"]
    assert summary["psnr_interval"] == [20.0, 20.0]
    assert summary["colorfulness_ratio_interval"] == [0.75, 0.75]


@pytest.fixture
def photos_to_measure(tmp_path, sample_rgb):
    """A photo, one of 4 x 5 pixels, a gray one, and one that is none."""
    Image.fromarray(sample_rgb).resize((24, 16)).save(tmp_path / "cat.png")
    Image.fromarray(sample_rgb[:4, :5]).save(tmp_path / "tiny.png")
    Image.fromarray(sample_rgb).convert("L").resize((24, 16)).save(tmp_path / "gray.png")
    (tmp_path / "text.png").write_text("no photo")
    return [str(tmp_path / f"{name}.png") for name in ("cat", "tiny", "gray", "text")]


def test_photos_that_cannot_be_measured_are_reported(photos_to_measure):
    reasons = []
    measured = measure_photos(photos_to_measure, {}, (2.6, 9.3), lambda *reason: reasons.append(reason))
    assert [name for name, *_ in measured] == photos_to_measure[:1]
    assert [name for name, _ in reasons] == photos_to_measure[1:]
    texts = [str(reason) for _, reason in reasons]
    assert "too small" in texts[0] and "is gray" in texts[1] and "is empty or no" in texts[2]


def test_a_bug_in_a_method_is_not_blamed_on_the_photo(photos_to_measure):
    def colorize(rgb):
        raise ValueError("shapes do not match")

    reasons = []
    broken = {"broken": SimpleNamespace(colorize=colorize)}
    with pytest.raises(ValueError, match="shapes do not match"):
        list(measure_photos(photos_to_measure, broken, (2.6, 9.3), lambda *reason: reasons.append(reason)))
    assert not reasons


def test_groups_are_summarized_on_their_own():
    photos = [figures(20.0), figures(22.0), figures(30.0)]
    groups = summarize_groups(photos, ["b", "b", "a"])
    assert list(groups) == ["a", "b"]
    assert (groups["b"]["photos"], groups["b"]["results"]["model"]["psnr"]) == (2, 21.0)
    assert summarize_groups(photos, ["a", "a", "a"]) == {}


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
    assert not {"gain", "recovered_red", "fd_lite0"} & set(read["model"])  # which were not measured


def test_tables_of_earlier_versions_are_read(project):
    """They have no gain, absolute ratio, recovered colours or distance."""
    for name in ("losses.csv", "limits.csv", "fusion_experiment.csv"):
        table = read_csv(project / "saved_models" / name)
        assert len(table) > 3 and all(20.0 < row["psnr"] < 26.0 for row in table.values())
        assert all("colorfulness_ratio" in row and "gain" not in row for row in table.values())


def test_the_csv_has_what_was_measured(tmp_path):
    photo = {"gray": figures(20.0)["model"], **figures(21.5, red=1.0, true_red=4.0)}
    summary = summarize([photo])
    summary["model"]["fd_lite0"] = 12.5
    write_csv(tmp_path / "table.csv", summary)
    row = read_csv(tmp_path / "table.csv")["model"]
    figures_read = [row[key] for key in ("gain", "gain_low", "gain_high", "recovered_red", "fd_lite0")]
    assert figures_read == [1.5, 1.5, 1.5, 0.25, 12.5] and "recovered_blue" not in row


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


def test_distances_of_seeds_of_one_network_are_averaged():
    assert pool_distances({"net-0 x0.8": 10.0, "gray": 50.0, "net-1 x0.8": 14.0}) == {
        "net x0.8": 12.0, "gray": 50.0
    }  # fmt: skip

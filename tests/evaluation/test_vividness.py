"""Models compared at equal colorfulness."""

import pytest

from nxap_color.evaluation.vividness import gains_at_ratio, label_vividness, models_of, without_vividness


def summary(points=()):
    """Figures of methods, a dict from label to (colorfulness ratio, gain), beside the baselines."""
    points = {"gray": (0.0, 0.0), "mean ab": (0.2, 0.6), **dict(points)}
    return {label: {"colorfulness_ratio": ratio, "gain": gain} for label, (ratio, gain) in points.items()}


@pytest.mark.parametrize("amount", [0.0, 0.85, 1.0, 1.5, 2])
def test_a_label_names_model_and_amount(amount):
    label = label_vividness("runs/net-2.keras", amount)
    assert without_vividness(label) == "runs/net-2.keras"
    assert (label == "runs/net-2.keras") == (amount == 1.0)


def test_settings_of_a_model_are_sorted_by_colorfulness():
    found = models_of(summary({"net x1.2": (0.8, 1.0), "net": (0.7, 1.2)}))
    assert {model: [row["gain"] for row in rows] for model, rows in found.items()} == {"net": [1.2, 1.0]}


def test_the_gain_is_interpolated_between_the_nearest_settings():
    """From 0.8 to 1.0 it falls by 2 dB: a quarter of the way by 0.5."""
    points = {"net x1.4": (1.0, -1.0), "net": (0.6, 1.5), "net x1.2": (0.8, 1.0), "other x1.2": (0.85, 0.3)}
    points |= {"other": (0.7, 0.6)}
    assert gains_at_ratio(summary(points)) == pytest.approx({"net": 0.5, "other": 0.3})
    assert gains_at_ratio(summary(points), 0.6)["net"] == 1.5


@pytest.mark.parametrize(
    "points",
    [
        {"net": (0.85, 1.0)},
        {"net": (0.7, 1.0), "net x1.1": (0.84, 0.9)},
        {"net x0.9": (0.86, 1.0), "net": (0.95, 0.9)},
    ],
)
def test_nothing_is_extrapolated(points):
    assert gains_at_ratio(summary(points)) == {"net": None}

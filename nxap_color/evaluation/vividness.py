"""Models at several amounts of colour: their labels, and what they gain at equal colorfulness."""

import re
from typing import Any

import numpy as np

BASELINES = ("gray", "mean ab")  # what every model is measured beside: no colour, and one for all photos
COMPARED_RATIO = 0.85  # nearly as colourful as life, and within reach of good models


def label_vividness(model: str, amount: float) -> str:
    """Return the label of a model at an amount of colour: "unet x0.8", or "unet" at 1."""
    return model if amount == 1.0 else f"{model} x{amount:g}"


def without_vividness(label: str) -> str:
    """Return the model of a label: "unet x0.8" -> "unet"."""
    return re.sub(r" x[\d.]+$", "", label)


def models_of(summary: dict[str, dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Collect the figures of each model at all its amounts of colour.

    Args:
        summary: dict from method to figures, as from `photos.summarize`.

    Returns:
        Dict from model to the figures of its settings, the calmest first; without the baselines.
    """
    models = {}
    for label, row in summary.items():
        if label not in BASELINES:
            models.setdefault(without_vividness(label), []).append(row)
    return {model: sorted(rows, key=lambda row: row["colorfulness_ratio"]) for model, rows in models.items()}


def gains_at_ratio(
    summary: dict[str, dict[str, Any]], ratio: float = COMPARED_RATIO
) -> dict[str, float | None]:
    """Compare models of unlike colour: their gains over gray at one colorfulness ratio.

    An output that fears colour has the better PSNR, so models are compared where they are equally colourful.

    Args:
        summary: dict from method to figures, as from `photos.summarize`: "gain" and "colorfulness_ratio".
        ratio: the (signed) colorfulness ratio.

    Returns:
        Dict from model to its gain in dB, interpolated linearly between the two settings of vividness on
        either side of `ratio`; None if there are none.
    """
    gains = {}
    for model, rows in models_of(summary).items():
        ratios = [row["colorfulness_ratio"] for row in rows]
        reached = len(rows) > 1 and ratios[0] <= ratio <= ratios[-1]
        gains[model] = float(np.interp(ratio, ratios, [row["gain"] for row in rows])) if reached else None
    return gains

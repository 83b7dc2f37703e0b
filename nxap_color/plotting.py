"""Figures for notebooks, reports and command lines."""

import re

import numpy as np
from PIL import Image

from nxap_color.high_depth import to_uint8


def contact_sheet(rows, height=160, gap=4):
    """Puts pictures into rows, all of one height, on white.

    Args:
        rows: list of lists of pictures, uint8 (H, W, 3) or float (H, W, 3) in [0, 1], sRGB.
        height: pixels of each row.
        gap: white pixels between pictures.

    Returns:
        uint8 array (H, W, 3).
    """
    strips = []
    for row in rows:
        tiles = [_to_height(picture, height) for picture in row]
        space = np.full((height, gap, 3), 255, "uint8")
        strips.append(np.concatenate([part for tile in tiles for part in (tile, space)][:-1], axis=1))
    width = max(strip.shape[1] for strip in strips)
    padded = [np.pad(s, ((0, gap), (0, width - s.shape[1]), (0, 0)), constant_values=255) for s in strips]
    return np.concatenate(padded)[:-gap]


def _to_height(picture, height):
    picture = _as_uint8(picture)
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def before_after(before, after, height=None):
    """Puts a photo and its coloured version side by side.

    Args:
        before: array (H, W, 3), uint8, uint16 or float in [0, 1]; of colour photos the gray is shown.
        after: array (H, W, 3), the same kinds.
        height: pixels of the result, or None for H but at most 1080.

    Returns:
        uint8 array (height, width, 3).
    """
    gray = np.asarray(Image.fromarray(_as_uint8(before)).convert("L").convert("RGB"))
    return contact_sheet([[gray, after]], height or min(len(before), 1080))


def _as_uint8(picture):
    picture = np.asarray(picture)
    if np.issubdtype(picture.dtype, np.floating):
        return np.uint8(np.clip(picture, 0.0, 1.0) * 255.0 + 0.5)
    return to_uint8(picture)


def plot_tradeoff(summary, path):
    """Draws PSNR against colorfulness ratio: up is closer to the truth, right is more colourful.

    Methods that differ in vividness alone ("unet x0.8", "unet", "unet x1.2") are joined by a line.

    Args:
        summary: dict from method to figures, as from `scores.summarize`.
        path: file to write, .png, .svg or .pdf.
    """
    # The object interface alone: pyplot would look for a screen.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 5.5), layout="constrained")
    axes = figure.add_subplot(xlabel="colorfulness ratio (1 = as the true photos)", ylabel="PSNR, dB")
    families = {}
    for label, row in summary.items():
        point = (row["colorfulness_ratio"], row["psnr"], label)
        families.setdefault(re.sub(r" x[\d.]+$", "", label), []).append(point)
    for family, points in families.items():
        ratios, psnr, labels = zip(*sorted(points), strict=True)
        axes.plot(ratios, psnr, "o-", label=family)
        for point in zip(ratios, psnr, labels, strict=True):
            axes.annotate(
                point[2].removeprefix(family).strip(), point[:2], (4, 4), textcoords="offset points"
            )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)

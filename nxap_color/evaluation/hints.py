"""Measure what colour hints gain: the protocol of Zhang et al. (Real-Time User-Guided Colorization, 2017)."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio
from tqdm import tqdm

from nxap_color.color import rgb_to_lab
from nxap_color.evaluation.report import find_photos
from nxap_color.guidance import Hint
from nxap_color.images import to_uint8
from nxap_color.media.collections import own_name, read_listed

if TYPE_CHECKING:
    from nxap_color.colorizer import Colorizer

PROTOCOL_SIDE = 256  # pixels to which photos are squeezed, whatever their aspect
PATCH_SIDE = 6


def true_hints(truth: np.ndarray, count: int, seed: int) -> list[Hint]:
    """Hint at the true mean colours of squares at random places.

    Args:
        truth: uint8 array (H, W, 3), sRGB.
        count: how many; those of a smaller count are the first of a larger one.
        seed: whole number; the same one gives the same places.
    """
    lab = rgb_to_lab(truth.astype("float32") / np.float32(255.0))
    rng, hints = np.random.default_rng(seed), []
    for _ in range(count):
        rows, columns = random_square(truth.shape[:2], PATCH_SIDE, rng)
        y, x = (part.start + (part.stop - part.start - 1) / 2 for part in (rows, columns))
        ab = tuple(lab[rows, columns, 1:].mean(axis=(0, 1)))
        hints.append(Hint.from_ab(x, y, ab, PATCH_SIDE / 2))
    return hints


def random_square(size: tuple[int, int], side: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """Place a square in a picture at random, its middle normally distributed around the picture's.

    Args:
        size: (height, width) of the picture.
        side: pixels of the square; cut where the picture is smaller.
        rng: what draws the place, with a deviation of a quarter of the picture's height and width.

    Returns:
        Slices of rows and columns.
    """
    square = []
    for length in size:
        within = min(side, length)
        start = round(rng.normal(length / 2, length / 4) - within / 2)
        start = min(max(start, 0), length - within)
        square.append(slice(start, start + within))
    return tuple(square)


def report_hints(
    source: str | Path, colorizer: "Colorizer", counts: Sequence[int], quiet: bool = True
) -> dict[str, Any]:
    """Measure how close photos come to the truth, given the true colours of some places.

    Args:
        source: photos, as in `report.find_photos`.
        colorizer: the model; it has to take hints.
        counts: how many hints in each photo, each measured on its own.
        quiet: whether to leave out the progress bar.

    Returns:
        Dict of what is worth keeping, for JSON: "source", "photos" (how many), and "psnr", a dict from count
        to the mean PSNR in dB.

    Raises:
        UserError: if there are no photos, one cannot be read, or the model takes no hints.
    """
    names, psnr = find_photos(source), []
    for name in tqdm(names, unit="photo", disable=quiet or None):
        photo = Image.fromarray(to_uint8(read_listed(name).rgb))
        squeezed = photo.resize((PROTOCOL_SIDE, PROTOCOL_SIDE), Image.Resampling.BICUBIC)
        truth, seed = np.asarray(squeezed), zlib.crc32(own_name(name).encode(errors="surrogateescape"))
        hints = true_hints(truth, max(counts), seed)
        results = [colorizer.colorize(truth, hints[:count]) for count in counts]
        psnr.append([peak_signal_noise_ratio(truth, result, data_range=255) for result in results])
    means = dict(zip(counts, np.mean(psnr, axis=0).tolist(), strict=True))
    return {"source": Path(source).name, "photos": len(names), "psnr": means}


def format_hints(report: dict[str, Any]) -> str:
    """Format the result of `report_hints` as lines of text for a terminal."""
    size = f"{PROTOCOL_SIDE} x {PROTOCOL_SIDE} pixels"
    lines = [
        f"{report['photos']} photos of {report['source']}, {size}",
        "hints   PSNR    gain over the first",
    ]
    first = next(iter(report["psnr"].values()))
    for count, psnr in report["psnr"].items():
        lines.append(f"{count:5} {psnr:6.2f} {psnr - first:+6.2f} dB")
    return "\n".join(lines)

"""Measure what colour hints gain: the protocol of Zhang et al. (Real-Time User-Guided Colorization, 2017)."""

import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from nxap_color.color import rgb_to_lab
from nxap_color.guidance import Hint, random_square
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
        hints.append(Hint(x, y, tuple(lab[rows, columns, 1:].mean(axis=(0, 1))), PATCH_SIDE / 2))
    return hints


def measure_hints(names: Iterable[str], colorizer: "Colorizer", counts: Iterable[int]) -> dict[int, float]:
    """Measure how close photos come to the truth, given the true colours of some places.

    Args:
        names: photos, as from `collections.list_photos`.
        colorizer: the model; it has to take hints.
        counts: how many hints, each measured on its own.

    Returns:
        Dict from count to the mean PSNR in dB.

    Raises:
        UserError: if a photo cannot be read, or the model takes no hints.
    """
    counts, psnr = list(counts), []
    for name in names:
        photo = Image.fromarray(to_uint8(read_listed(name).rgb))
        squeezed = photo.resize((PROTOCOL_SIDE, PROTOCOL_SIDE), Image.Resampling.BICUBIC)
        truth, seed = np.asarray(squeezed), zlib.crc32(own_name(name).encode(errors="surrogateescape"))
        hints = true_hints(truth, max(counts), seed)
        results = [colorizer.colorize(truth, hints[:count]) for count in counts]
        psnr.append([peak_signal_noise_ratio(truth, result, data_range=255) for result in results])
    return dict(zip(counts, np.mean(psnr, axis=0).tolist(), strict=True))

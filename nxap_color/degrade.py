"""Damage clean lightness like an old photo's, to train and to measure on it."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image
from skimage.filters import gaussian

from nxap_color import color

# Each kind of damage happens to half of the photos, so that all mixtures of them occur.
SHARE_OF_EACH = 0.5


def degrade(lightness: np.ndarray, seed: int | Sequence[int]) -> np.ndarray:
    """Blur, fade, darken at the corners, grain and compress a photo, each at random.

    The order is that in which an old photo suffers: lens, paper, film, scan. Lengths are shares of the
    shorter side, so that a seed means similar damage at any size.

    Args:
        lightness: float32 array (H, W, 1), L / LIGHTNESS_SCALE - 1 in [-1, 1].
        seed: whole number, or a list of them; the same one gives the same damage.

    Returns:
        float32 array (H, W, 1) in [-1, 1].
    """
    rng = np.random.default_rng(seed)
    tones = np.clip((lightness[..., 0] + 1.0) / 2.0, 0.0, 1.0)
    side = min(tones.shape)
    for damage in (_vignette, _blur, _fade_or_crush, _grain, _compress):
        happens, own_rng = rng.random() < SHARE_OF_EACH, rng.spawn(1)[0]
        if happens:
            tones = np.clip(damage(tones, side, own_rng), 0.0, 1.0)
    return (2.0 * tones - 1.0).astype("float32")[..., None]


def degrade_photo(rgb: np.ndarray, seed: int | Sequence[int]) -> np.ndarray:
    """Degrade the lightness of a colour photo and keep its colours.

    Args:
        rgb: uint8 array (H, W, 3), sRGB.
        seed: as in `degrade`.

    Returns:
        uint8 array (H, W, 3), sRGB; colours that do not exist at the new lightness have lost chroma.
    """
    lightness, ab = color.split_lightness_ab(rgb.astype("float32") / 255.0)
    degraded = color.join_lightness_ab(degrade(lightness, seed), ab)
    return np.uint8(np.rint(255.0 * degraded))


def _vignette(tones: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Take from the corners 10 to 50 % of their lightness."""
    rows, columns = (np.linspace(-1.0, 1.0, length)[:, None] for length in tones.shape)
    return tones * (1.0 - rng.uniform(0.1, 0.5) * (rows**2 + columns.T**2) / 2.0)


def _blur(tones: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Blur by a Gaussian of 0.2 to 1.2 % of the side: 0.4 to 2.3 pixels at 192."""
    return gaussian(tones, rng.uniform(0.002, 0.012) * side, mode="nearest")


def _fade_or_crush(tones: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Bend the tone curve between a black and a white that may lie inside (faded) or outside (crushed)."""
    black, white = rng.uniform(-0.15, 0.25), rng.uniform(0.75, 1.15)
    return black + (white - black) * tones ** np.exp(rng.uniform(-0.5, 0.5))


def _grain(tones: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Add noise of 1 to 8 % of white, in lumps that survive when the photo is shrunk."""
    strength, lump = rng.uniform(0.01, 0.08), rng.uniform(0.001, 0.006) * side
    noise = gaussian(rng.standard_normal(tones.shape), lump)
    return tones + strength * noise / (noise.std() or 1.0)  # one pixel has no deviation


def _compress(tones: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Compress as a JPEG of quality 20 to 70."""
    file = io.BytesIO()
    Image.fromarray(np.uint8(np.rint(255.0 * tones))).save(file, "JPEG", quality=int(rng.integers(20, 71)))
    return np.asarray(Image.open(file)) / 255.0

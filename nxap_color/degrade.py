"""Make of clean photos what old ones are, to train and to measure on: their grays, and their damage."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from nxap_color import color

# Each kind of damage happens to half of the photos, so that all mixtures of them occur.
SHARE_OF_EACH = 0.5

# Shares of linear red, green and blue in the gray of emulsions and of filters before a panchromatic one, in
# round figures. Plates were sensitive to blue alone, orthochromatic ones from 1884 to green, too.
EMULSIONS = {
    "orthochromatic": (0.02, 0.48, 0.50),
    "blue-sensitive": (0.00, 0.05, 0.95),
    "red-filter": (0.90, 0.10, 0.00),
    "yellow-filter": (0.48, 0.50, 0.02),
    "equal-thirds": (1 / 3, 1 / 3, 1 / 3),
}


def record(rgb: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """Find the lightness of a photo as an emulsion would have recorded it, at the same mean exposure.

    The channels are mixed in linear light, and the mixture is scaled to the mean luminance of the photo.

    Args:
        rgb: float array (..., H, W, 3), sRGB in [0, 1].
        weights: shares of red, green and blue, such as one of `EMULSIONS`.

    Returns:
        float32 array (..., H, W, 1), L / LIGHTNESS_SCALE - 1 in [-1, 1]; what is brighter than white is cut.
    """
    linear = color.rgb_to_linear(np.asarray(rgb, "float32"))
    mixed, luminance = (linear @ np.float32(some)[:, None] for some in (weights, color.LUMINANCE_WEIGHTS))
    means = [part.mean(axis=(-3, -2), keepdims=True, dtype="float64") for part in (luminance, mixed)]
    exposed = np.clip(mixed * np.float32(means[0] / np.maximum(means[1], 1e-9)), 0.0, 1.0)
    return color.scale_lightness(color.luminance_to_lightness(exposed))


def record_photo(rgb: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """Give a colour photo the lightness that an emulsion would have recorded, and keep its colours.

    Args:
        rgb: uint8 array (H, W, 3), sRGB.
        weights: as in `record`.

    Returns:
        uint8 array (H, W, 3), sRGB; colours that do not exist at the new lightness have lost chroma.
    """
    return _with_lightness(rgb, lambda rgb, _: record(rgb, weights))


def _with_lightness(rgb, find):
    """Give a uint8 photo the lightness that `find` makes of its rgb in [0, 1] and its own lightness."""
    rgb = rgb.astype("float32") / 255.0
    lightness, ab = color.split_lightness_ab(rgb)
    return np.uint8(np.rint(255.0 * color.join_lightness_ab(find(rgb, lightness), ab)))


def draw_emulsion(seed: int | Sequence[int]) -> np.ndarray:
    """Draw an emulsion between the luminance of a photo and one of `EMULSIONS`, evenly.

    Args:
        seed: whole number, or a list of them; the same one gives the same emulsion.

    Returns:
        float64 array (3,), shares of linear red, green and blue that sum to 1.
    """
    rng = np.random.default_rng(seed)
    emulsion = np.array(list(EMULSIONS.values()))[rng.integers(len(EMULSIONS))]
    return emulsion + rng.random() * (np.array(color.LUMINANCE_WEIGHTS) - emulsion)


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
    return _with_lightness(rgb, lambda _, lightness: degrade(lightness, seed))


def _vignette(tones: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Take from the corners 10 to 50 % of their lightness."""
    rows, columns = (np.linspace(-1.0, 1.0, length)[:, None] for length in tones.shape)
    return tones * (1.0 - rng.uniform(0.1, 0.5) * (rows**2 + columns.T**2) / 2.0)


def _blur(tones: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Blur by a Gaussian of 0.2 to 1.2 % of the side: 0.4 to 2.3 pixels at 192."""
    return _smooth(tones, rng.uniform(0.002, 0.012) * side)


def _fade_or_crush(tones: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Bend the tone curve between a black and a white that may lie inside (faded) or outside (crushed)."""
    black, white = rng.uniform(-0.15, 0.25), rng.uniform(0.75, 1.15)
    return black + (white - black) * tones ** np.exp(rng.uniform(-0.5, 0.5))


def _grain(tones: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Add noise of 1 to 8 % of white, in lumps that survive when the photo is shrunk."""
    strength, lump = rng.uniform(0.01, 0.08), rng.uniform(0.001, 0.006) * side
    noise = _smooth(rng.standard_normal(tones.shape), lump)
    return tones + strength * noise / (noise.std() or 1.0)  # one pixel has no deviation


def _smooth(values, deviation):
    """Blur an array (H, W) by a Gaussian of a standard deviation in pixels."""
    from skimage.filters import gaussian  # here: it takes half a second, and parsers only list `EMULSIONS`

    return gaussian(values, deviation, mode="nearest")


def _compress(tones: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Compress as a JPEG of quality 20 to 70."""
    file = io.BytesIO()
    Image.fromarray(np.uint8(np.rint(255.0 * tones))).save(file, "JPEG", quality=int(rng.integers(20, 71)))
    return np.asarray(Image.open(file)) / 255.0

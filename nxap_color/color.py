"""Colour spaces: sRGB, CIE Lab (D65) and Y'CbCr, and the scales in which networks see them.

A colour photo is split into lightness L (0..100), which a gray photo already has, and the two colour
axes a (green to red) and b (blue to yellow), which a network has to invent. Films store luma and two
colour differences instead.

The Lab functions take arrays or tensors of any Keras backend, with any leading dimensions. Tensors are
computed in `keras.ops`, are differentiable except where a function says otherwise, and give tensors. NumPy
arrays give NumPy arrays, without Keras being imported: a backend takes longer to start than one photo takes.
"""

import functools
from types import ModuleType
from typing import Any

import cv2
import numpy as np

Tensor = Any  # a NumPy array, or a tensor of whichever backend Keras runs on

# The network sees lightness as L / LIGHTNESS_SCALE - 1, in [-1, 1], and answers ab / AB_SCALE. In the
# sRGB gamut a lies in [-86.2, 98.3] and b in [-107.9, 94.5], so that ab / AB_SCALE stays inside (-1, 1).
LIGHTNESS_SCALE = 50.0
AB_SCALE = 128.0

# Side of the squares into which classification divides the ab plane, in ab units (Zhang et al. 2016).
AB_BIN_SIDE = 10.0

# Share of a gain above 1 that goes to a picture's mean colour; see `amplify_colours`. Chosen on validation
# photos: 1 costs 0.05 dB at equal colorfulness, and 0.3 dB where there are people.
MEAN_SHARE = 0.5

# Shares of red, green and blue in luma: of standard definition (ITU-R BT.601) and of high (BT.709).
LUMA_WEIGHTS = {"bt601": (0.299, 0.587, 0.114), "bt709": (0.2126, 0.7152, 0.0722)}

# IEC 61966-2-1 primaries and D65 white (2 degree observer), the figures scikit-image uses.
_XYZ_FROM_RGB = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
# Shares of linear red, green and blue in luminance, Y.
LUMINANCE_WEIGHTS = _XYZ_FROM_RGB[1]
_RGB_FROM_XYZ = (
    (3.240481343, -1.537151516, -0.498536326),
    (-0.969254950, 1.875990001, 0.041555927),
    (0.055646640, -0.204041338, 1.057311070),
)
_WHITE = (0.95047, 1.0, 1.08883)

# CIE's f is a cube root, with a straight line below _F_KNEE that keeps its slope finite at black.
_F_KNEE = 0.008856
_F_SLOPE = 7.787
_F_OFFSET = 16.0 / 116.0

# Twelve halvings place the border of the gamut to 1/4096 of the chroma: below half an 8-bit step.
_GAMUT_STEPS = 12
_GAMUT_SLACK = 1e-4  # of linear RGB: what rounding leaves on colours that are exactly in gamut


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """Convert sRGB to CIE Lab under D65, as scikit-image's `rgb2lab` does.

    Args:
        rgb: float tensor (..., 3), sRGB in [0, 1].

    Returns:
        Float tensor (..., 3): L in [0, 100], a and b in about [-108, 99].
    """
    library = _library_of(rgb)
    linear = _to_linear(rgb, library)
    xyz = _mix(linear, _XYZ_FROM_RGB, library) / library.array(_WHITE, dtype=linear.dtype)
    # Each branch is fed only values it is smooth on: a where() passes NaN gradients of the unused one.
    root = library.maximum(xyz, _F_KNEE) ** (1.0 / 3.0)
    f = library.where(xyz > _F_KNEE, root, _F_SLOPE * xyz + _F_OFFSET)
    fx, fy, fz = f[..., 0], f[..., 1], f[..., 2]
    return library.stack([116.0 * fy - 16.0, 500.0 * (fx - fy), 200.0 * (fy - fz)], axis=-1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Convert CIE Lab under D65 to sRGB, clipping each channel to [0, 1].

    The clip shifts the lightness of colours outside the gamut: see `clip_to_gamut`.

    Args:
        lab: float tensor (..., 3), L in [0, 100], a and b in Lab units.

    Returns:
        Float tensor (..., 3), sRGB in [0, 1].
    """
    library = _library_of(lab)
    return _encode_gamma(library.clip(_lab_to_linear_rgb(lab, library), 0.0, 1.0), library)


def lightness_to_gray(lightness: Tensor) -> Tensor:
    """Convert lightness to gray: `lab_to_rgb` for ab = 0, in a third of the time.

    Args:
        lightness: float tensor of any shape, L in [0, 100].

    Returns:
        Float tensor of the same shape, sRGB in [0, 1], the value of all three channels.
    """
    library = _library_of(lightness)
    return _encode_gamma(_f_inverse((lightness + 16.0) / 116.0, library), library)


def is_in_gamut(lab: Tensor) -> Tensor:
    """Test which Lab colours sRGB can show.

    Args:
        lab: float tensor (..., 3), L in [0, 100], a and b in Lab units.

    Returns:
        Boolean tensor (...).
    """
    library = _library_of(lab)
    linear = _lab_to_linear_rgb(lab, library)
    inside = library.logical_and(linear >= -_GAMUT_SLACK, linear <= 1.0 + _GAMUT_SLACK)
    return library.all(inside, axis=-1)


def clip_to_gamut(lab: Tensor) -> np.ndarray:
    """Bring colours into the sRGB gamut by reducing chroma; lightness and hue stay as they are.

    Clipping RGB channels instead would change the lightness, the one thing that a colorizer knows for
    certain. Computed in NumPy for tensors, too: the search visits single pixels, each a dozen times. Not
    differentiable.

    Args:
        lab: float array or tensor (..., 3), L in [0, 100], a and b in Lab units.

    Returns:
        float32 array (..., 3), the same L, and a and b multiplied by the largest factor in [0, 1] that
        sRGB can show (found by bisection). Colours in gamut come back unchanged.
    """
    lab = _to_numpy(lab)
    clipped = np.array(lab, "float32").reshape(-1, 3)
    # As many at a time as fit into a processor's cache.
    for start in range(0, len(clipped), 2**14):
        some = clipped[start : start + 2**14]
        some[:, 1:] *= _largest_factor(some)[:, None]
    return clipped.reshape(lab.shape)


def _largest_factor(lab):
    """Lab (pixels, 3), a float32 array -> what a and b are multiplied by to be in gamut, in [0, 1]."""
    fy = (lab[:, 0] + np.float32(16.0)) / np.float32(116.0)
    to_x, to_z = lab[:, 1] / np.float32(500.0), lab[:, 2] / np.float32(-200.0)
    # Linear RGB is a mixture of X, Y and Z, of which only X and Z change with the chroma.
    from_xyz = np.float32(_RGB_FROM_XYZ) * np.float32(_WHITE)
    from_y = [_f_inverse(fy, np) * part for part in from_xyz[:, 1]]
    slack = 0.9 * _GAMUT_SLACK  # so that `is_in_gamut`, which rounds in another order, agrees

    def is_inside(factor):
        x, z = _cube_inverse(fy + factor * to_x), _cube_inverse(fy + factor * to_z)
        red, green, blue = (
            part_x * x + y + part_z * z for (part_x, _, part_z), y in zip(from_xyz, from_y, strict=True)
        )
        lowest = np.minimum(np.minimum(red, green), blue)
        highest = np.maximum(np.maximum(red, green), blue)
        return (lowest >= -slack) & (highest <= 1.0 + slack)

    is_fine = is_inside(np.float32(1.0))
    factor = np.zeros_like(fy)
    for step in 0.5 ** np.arange(1, _GAMUT_STEPS + 1, dtype="float32"):
        factor += step * is_inside(factor + step)
    return np.where(is_fine, np.float32(1.0), factor)


def _cube_inverse(f):
    """`_f_inverse` of a float32 array, in half the time: few values lie on its straight line."""
    ratio = f * f * f
    if len(low := np.flatnonzero(f <= np.float32(_F_KNEE ** (1.0 / 3.0)))):
        ratio[low] = (f[low] - _F_OFFSET) / _F_SLOPE
    return ratio


def find_lightness(pixels: np.ndarray) -> np.ndarray:
    """Find the lightness of a picture as `rgb_to_lab` does, in NumPy, several times as fast.

    Args:
        pixels: array (..., 1) of gray or (..., 3), sRGB: uint8, uint16, or float in [0, 1].

    Returns:
        float32 array (..., 1), L in [0, 100].
    """
    if pixels.dtype.kind == "u":
        linear, lightness = _levels(np.iinfo(pixels.dtype).max)
        if pixels.dtype == np.uint8 and pixels.shape[-1] == 1 and pixels.size:
            return cv2.LUT(np.ascontiguousarray(pixels).reshape(-1), lightness).reshape(pixels.shape)
        if pixels.shape[-1] == 1:
            return lightness[pixels]
        linear = linear[pixels]
    else:
        linear = _to_linear(pixels.astype("float32"), np)
    if linear.shape[-1] == 3:
        linear = linear @ np.float32(LUMINANCE_WEIGHTS)[:, None]
    return luminance_to_lightness(linear)


def gray_to_lightness(gray: np.ndarray) -> np.ndarray:
    """Look up the lightness of a gray: uint8 array (...), sRGB 0..255 -> float32 array (...), L 0..100."""
    return find_lightness(gray[..., None])[..., 0]


@functools.cache
def _levels(top):
    """Two float32 arrays (top + 1,): linear value and lightness of each level of gray from 0 to `top`."""
    linear = _to_linear(np.arange(top + 1) / top, np).astype("float32")
    return linear, luminance_to_lightness(linear)


def luminance_to_lightness(luminance: np.ndarray) -> np.ndarray:
    """Convert luminance to lightness, in NumPy: Y over white's, in [0, 1] -> L in [0, 100], any shape."""
    return np.where(luminance > _F_KNEE, 116.0 * np.cbrt(luminance) - 16.0, 116.0 * _F_SLOPE * luminance)


def scale_lightness(lightness: Tensor) -> Tensor:
    """Scale lightness to the range of the network: array or tensor, L 0..100 -> [-1, 1]."""
    return lightness / LIGHTNESS_SCALE - 1.0


def split_lightness_ab(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Split colour pictures into what a network is given and what it has to answer.

    The one preprocessing of training and evaluation. Prediction, which has no colours to split, takes
    `scale_lightness` of `find_lightness`, the same to within rounding.

    Args:
        rgb: float tensor (..., 3), sRGB in [0, 1].

    Returns:
        Lightness (..., 1), L / LIGHTNESS_SCALE - 1 in [-1, 1]; and ab / AB_SCALE (..., 2) in (-1, 1).
    """
    lab = rgb_to_lab(rgb)
    return scale_lightness(lab[..., :1]), lab[..., 1:] / AB_SCALE


def join_lightness_ab(lightness: Tensor, ab: Tensor) -> np.ndarray:
    """Join lightness and colour to a picture, the inverse of `split_lightness_ab`. Not differentiable.

    Args:
        lightness: float tensor (..., 1) in [-1, 1].
        ab: float tensor (..., 2), ab / AB_SCALE.

    Returns:
        float32 array (..., 3), sRGB in [0, 1]; colours that sRGB cannot show have lost chroma, not
        lightness.
    """
    lightness, ab = _to_numpy(lightness), _to_numpy(ab)
    lab = np.concatenate([(lightness + 1.0) * LIGHTNESS_SCALE, ab * AB_SCALE], axis=-1)
    with np.errstate(over="ignore", invalid="ignore"):  # a network whose training explodes
        return lab_to_rgb(clip_to_gamut(lab))


def amplify_colours(ab: np.ndarray, gain: float) -> np.ndarray:
    """Make a picture more or less colourful.

    Up to 1 the gain multiplies everything. Beyond it what sets things apart grows by all of the gain, the
    mean colour of the picture by `MEAN_SHARE` of what exceeds 1: a cast, which is often wrong, stays small.

    Args:
        ab: float32 array (H, W, 2), ab units.
        gain: 0 for gray, 1 for the same, at least 0.

    Returns:
        float32 array (H, W, 2), ab units.
    """
    spread, shift = np.float32(gain), np.float32(min(gain, 1.0) + MEAN_SHARE * max(0.0, gain - 1.0))
    mean = ab.mean(axis=(0, 1), dtype="float32")
    return spread * ab + (shift - spread) * mean


@functools.cache
def ab_bins() -> np.ndarray:
    """List the colours that a classifying network chooses between.

    Reference:
        Zhang, Isola, Efros: Colorful Image Colorization, ECCV 2016.

    Returns:
        float32 array (bins, 2), read-only: the centres, in ab units, of the squares of side `AB_BIN_SIDE`
        into which at least one sRGB colour falls.
    """
    # In NumPy, since networks ask for the bins while a backend compiles them and computes nothing.
    levels = np.linspace(0.0, 1.0, 52)  # every fifth 8-bit step
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1)
    ab = rgb_to_lab(cube).reshape(-1, 3)[:, 1:]
    bins = (np.unique(np.rint(ab / AB_BIN_SIDE), axis=0) * AB_BIN_SIDE).astype("float32")
    bins.flags.writeable = False  # it is shared
    return bins


def rgb_to_linear(rgb: np.ndarray) -> np.ndarray:
    """Convert sRGB to linear light: float array of any shape in [0, 1] -> the same shape in [0, 1]."""
    return _to_linear(rgb, np)


def rgb_to_luma(rgb: np.ndarray, matrix: str) -> np.ndarray:
    """Compute the luma of a picture.

    Args:
        rgb: array (H, W, 3), sRGB in any range.
        matrix: "bt601" or "bt709".

    Returns:
        float32 array (H, W), in the range of `rgb`.
    """
    return np.asarray(rgb, "float32") @ np.float32(LUMA_WEIGHTS[matrix])


def join_luma_chroma(luma: np.ndarray, chroma: np.ndarray, matrix: str) -> np.ndarray:
    """Join luma and colour differences to a picture.

    Args:
        luma: float32 array (H, W) in [0, 1].
        chroma: float32 array (H, W, 2), (Cb, Cr) in [-0.5, 0.5].
        matrix: "bt601" or "bt709".

    Returns:
        float32 array (H, W, 3), sRGB; outside [0, 1] where no colour has that luma and chroma.
    """
    return cv2.transform(cv2.merge([luma, chroma]), np.linalg.inv(_luma_chroma_from_rgb(matrix)))


def ab_to_chroma(ab: np.ndarray, gray: np.ndarray, matrix: str) -> np.ndarray:
    """Convert colours at a given gray to the colour differences of a film.

    Args:
        ab: float32 array (H, W, 2), ab units.
        gray: uint8 array (H, W), sRGB gray 0..255.
        matrix: "bt601" or "bt709".

    Returns:
        float32 array (H, W, 2), (Cb, Cr) in [-0.5, 0.5], reduced where luma `gray` / 255 with them would
        leave sRGB: a player would clip such colours and change luma and hue.
    """
    rgb = cv2.cvtColor(cv2.merge([gray_to_lightness(gray), ab]), cv2.COLOR_Lab2RGB)
    chroma = cv2.transform(rgb, _luma_chroma_from_rgb(matrix)[1:])
    luma = np.multiply(gray, 1 / 255, dtype="float32")
    rgb = join_luma_chroma(luma, chroma, matrix)
    outside = cv2.inRange(rgb, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)) == 0
    # Few pixels ever are: the rest is left alone.
    luma = luma[outside]
    offsets = rgb[outside] - luma[:, None]
    highest, lowest = offsets.max(axis=1), -offsets.min(axis=1)
    factor = np.minimum((1.0 - luma) / (highest + 1e-6), luma / (lowest + 1e-6))
    chroma[outside] *= np.minimum(factor, 1.0)[:, None]
    return chroma


@functools.cache
def _luma_chroma_from_rgb(matrix):
    """The matrix (3, 3) that takes sRGB to luma in [0, 1], and Cb and Cr in [-0.5, 0.5]."""
    luma = np.array(LUMA_WEIGHTS[matrix])
    red, _, blue = np.eye(3)
    return np.stack([luma, (blue - luma) / (2 * (1 - luma[2])), (red - luma) / (2 * (1 - luma[0]))])


def _library_of(values) -> ModuleType:
    """What computes on some values: `numpy` for its arrays, `keras.ops` for all else."""
    if isinstance(values, np.ndarray):
        return np
    from keras import ops  # only where there are tensors, so that colouring photos can do without Keras

    return ops


def _to_numpy(values):
    return values if isinstance(values, np.ndarray) else _library_of(values).convert_to_numpy(values)


def _to_linear(rgb, library):
    """sRGB in [0, 1] -> linear light in [0, 1]."""
    # As in `rgb_to_lab`, for the sake of gradients.
    curved = ((library.maximum(rgb, 0.04045) + 0.055) / 1.055) ** 2.4
    return library.where(rgb > 0.04045, curved, rgb / 12.92)


def _encode_gamma(linear, library):
    """Linear light in [0, 1] -> sRGB in [0, 1]."""
    curved = 1.055 * library.maximum(linear, 0.0031308) ** (1.0 / 2.4) - 0.055
    return library.where(linear > 0.0031308, curved, 12.92 * linear)


def _lab_to_linear_rgb(lab, library):
    """Lab (..., 3) -> linear RGB (..., 3), outside [0, 1] where sRGB cannot show the colour."""
    fy = (lab[..., 0] + 16.0) / 116.0
    f = library.stack([fy + lab[..., 1] / 500.0, fy, fy - lab[..., 2] / 200.0], axis=-1)
    xyz = _f_inverse(f, library)
    return _mix(xyz * library.array(_WHITE, dtype=xyz.dtype), _RGB_FROM_XYZ, library)


def _f_inverse(f, library):
    """CIE's f of X, Y or Z over white's -> that ratio."""
    # Multiplied, since NumPy's power takes ten times as long.
    return library.where(f > _F_KNEE ** (1.0 / 3.0), f * f * f, (f - _F_OFFSET) / _F_SLOPE)


def _mix(channels, matrix, library):
    """Multiply each (..., 3) vector by a 3x3 matrix."""
    return library.matmul(channels, library.transpose(library.array(matrix, dtype=channels.dtype)))

"""A photo as a colorizer holds it, and how it is finished at full size once its colours are decided."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from nxap_color import color, errors
from nxap_color.corrections import PixelCorrection
from nxap_color.guidance import Hint
from nxap_color.images import share_strips, shrink, strips
from nxap_color.references import Match
from nxap_color.runtime import Inputs
from nxap_color.upsampling import colour_rows, fit_colours


@dataclass
class Prepared:
    """A photo, and all that can be known of it before its colours are.

    Attributes:
        pixels: array (H, W, 1 or 3) as from `as_pixels`.
        lightness: float32 array (H, W), L in [0, 100].
        small: float32 array (h, w), the lightness at the size of the network's answer.
        inputs: what the network is given of it, as from `Colorizer.network_input`, at two looks: smaller,
            and its mirror image, larger.
        looks: float32 array (2, h, w, channels): what the network answered to these, both the right way
            round and at the size of `small`: ab units and, behind them, what it says of hints; None before
            that.
        usual: float32 array (h, w, channels): what it answers at the usual size, if there are references.
        looked: the network that answered, and the references it was compared with; with others it is asked,
            and compared, again.
        references: `Match`es with those that show the same scene.
    """

    pixels: np.ndarray
    lightness: np.ndarray
    small: np.ndarray
    inputs: tuple[Inputs, ...] = ()
    looks: np.ndarray | None = None
    usual: np.ndarray | None = None
    looked: tuple[Any, Any] = (None, None)
    references: list[Match] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the photo."""
        return self.lightness.shape


def prepare_pixels(
    pixels: np.ndarray, small_size: tuple[int, int], inputs: tuple[Inputs, ...] = ()
) -> Prepared:
    """Find the lightness of a photo at both sizes.

    Args:
        pixels: array (H, W, 1 or 3) as from `as_pixels`.
        small_size: (h, w) of the network's answer.
        inputs: as in `Prepared`.
    """
    lightness = np.empty(pixels.shape[:2], "float32")

    def find(some_strips):
        for rows in some_strips:
            lightness[rows] = color.find_lightness(pixels[rows])[..., 0]

    share_strips(find, *lightness.shape)
    return Prepared(pixels, lightness, shrink(lightness[..., None], small_size)[..., 0], inputs)


def finish_photo(prepared: Prepared, ab: np.ndarray, hints: Sequence[Hint] = ()) -> np.ndarray:
    """Give a photo its colours at full size.

    Args:
        prepared: `Prepared`.
        ab: float32 array (h, w, 2), ab units, of the size of `prepared.small`.
        hints: `guidance.Hint`s; their very pixels get the colours asked for.

    Returns:
        Array (H, W, 3) of the photo's dtype, sRGB: the lightness of the photo, colours inside the gamut.

    Raises:
        errors.HintError: if a hint lies outside the photo.
    """
    lightness, dtype = prepared.lightness, prepared.pixels.dtype
    fitted = fit_colours(ab, prepared.small)
    correction = PixelCorrection(hints, fitted, lightness) if hints else None
    result = np.empty((*prepared.size, 3), dtype)

    def finish(some_strips):
        # Set aside once: fresh memory for each strip takes three times as long as all computation on it.
        tall = next(strips(*prepared.size)).stop
        work = np.empty((4, tall, prepared.size[1]), "float32")
        lab, rgb = np.empty((2, *work.shape[1:], 3), "float32")
        for rows in some_strips:
            height = rows.stop - rows.start
            planes = colour_rows(fitted, lightness, rows, work[:, :height])
            if correction:
                correction.add_to(planes, rows)
            cv2.merge([lightness[rows], *planes], lab[:height])
            _lab_to_pixels(lab[:height], rgb[:height], result[rows])

    share_strips(finish, *prepared.size)
    return result


def _lab_to_pixels(lab, rgb, pixels):
    """Write float32 Lab (H, W, 3) as sRGB to `pixels`, (H, W, 3) of any type; `rgb` is float32 to work in.

    Colours that sRGB cannot show lose chroma, not lightness.
    """
    is_8_bit = pixels.dtype == np.uint8
    # OpenCV is off by a tenth of an 8-bit step at most, and takes a twentieth of the time.
    rgb = cv2.cvtColor(lab, cv2.COLOR_Lab2RGB, rgb) if is_8_bit else color.lab_to_rgb(lab)
    # Only what was clipped, a small part of most photos, needs the search for the border of the gamut.
    outside = np.flatnonzero(cv2.inRange(rgb, (1e-9,) * 3, (1.0 - 1e-7,) * 3) == 0)
    if len(outside):
        clipped = lab.reshape(-1, 3)[outside]
        # Black and white, common in scans, have no colours to search for.
        is_extreme = (clipped[:, 0] <= 0.0) | (clipped[:, 0] >= 100.0)
        clipped[is_extreme, 1:] = 0.0
        coloured = ~is_extreme
        clipped[coloured] = color.clip_to_gamut(clipped[coloured])
        rgb.reshape(-1, 3)[outside] = color.lab_to_rgb(clipped)
    if is_8_bit:
        cv2.convertScaleAbs(rgb, pixels, 255.0)
    elif pixels.dtype.kind == "u":
        pixels[:] = np.rint(rgb * np.iinfo(pixels.dtype).max)
    else:
        pixels[:] = rgb


def as_pixels(image: np.ndarray) -> np.ndarray:
    """Check that an image can be coloured, and bring it to three dimensions.

    Args:
        image: as in `Colorizer.colorize`.

    Returns:
        The same as an array (H, W, 1 or 3); with one channel if the three are one and the same.

    Raises:
        errors.PhotoError: if it is no such array.
    """
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
        raise errors.PhotoError(f"A photo is an array (height, width, 1 or 3), received shape {image.shape}.")
    if image.strides[2] == 0:  # gray, as `photos.read_photo` gives it
        image = image[..., :1]
    if image.dtype in (np.uint8, np.uint16):
        return image
    if not np.issubdtype(image.dtype, np.floating):
        raise errors.PhotoError(f"A photo is uint8, uint16, or float in [0, 1], received {image.dtype}.")
    if not (image.min() >= 0.0 and image.max() <= 1.0):
        raise errors.PhotoError(
            f"Float photos lie in [0, 1], received {image.min():.4g} to {image.max():.4g}."
        )
    return image

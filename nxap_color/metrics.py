"""Metrics of colorization: Keras metrics to watch a training, and NumPy ones to judge finished photos."""

from typing import Any

import keras
import numpy as np
from keras import KerasTensor as Tensor
from keras import ops
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from nxap_color.color import AB_SCALE
from nxap_color.errors import UserError
from nxap_color.losses import shrink_to

MIN_SIDE = 7  # pixels, the window of SSIM
# Where a true colour is a strong one, ab units. Blue is rarer than yellow and weaker than red.
STRONG_RED = 30.0  # a above it
STRONG_BLUE = -15.0  # b below it


@keras.saving.register_keras_serializable(package="nxap_color")
class AbError(keras.metrics.Mean):
    """Root mean squared distance in the ab plane, in ab units, averaged over photos.

    Args:
        name: the metric's name.
        dtype: as in every metric.

    Input shape:
        y_true (batch, H, W, 2) and y_pred (batch, h, w, 2 or more) with H >= h and W >= w, ab / AB_SCALE;
        channels after the first two (the logits of bins) are ignored.
    """

    def __init__(self, name: str = "ab_error", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        y_true, y_pred = _as_float32(y_true, y_pred[..., :2])
        squared = ops.sum(ops.square(shrink_to(y_true, y_pred) - y_pred), axis=-1)
        super().update_state(AB_SCALE * ops.sqrt(ops.mean(squared, axis=(1, 2))), sample_weight)


@keras.saving.register_keras_serializable(package="nxap_color")
class ChromaRatio(keras.metrics.Metric):
    """Mean chroma of the predictions over mean chroma of the truths: 1 is as colourful as life.

    Args:
        name: the metric's name.
        dtype: as in every metric.

    Input shape:
        y_true (batch, H, W, 2) and y_pred (batch, h, w, 2 or more) with H >= h and W >= w, ab / AB_SCALE;
        channels after the first two (the logits of bins) are ignored.
    """

    def __init__(self, name: str = "chroma_ratio", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        self.predicted = self.add_weight(name="predicted", initializer="zeros")
        self.true = self.add_weight(name="true", initializer="zeros")

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        y_true, y_pred = _as_float32(y_true, y_pred[..., :2])
        self.predicted.assign_add(ops.mean(_chroma(y_pred)))
        self.true.assign_add(ops.mean(_chroma(shrink_to(y_true, y_pred))))

    def result(self) -> Tensor:
        return ops.divide_no_nan(self.predicted, self.true)


def _as_float32(*tensors):
    """Cast to float32: in mixed precision predictions are half precision, too coarse to sum over pixels."""
    return [ops.cast(tensor, "float32") for tensor in tensors]


def _chroma(ab):
    return ops.sqrt(ops.sum(ops.square(ab), axis=-1))


def compare_photos(result: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Measure a coloured photo against the true one.

    Args:
        result: uint8 array (H, W, 3), sRGB; H and W at least 7.
        truth: uint8 array (H, W, 3), sRGB.

    Returns:
        Dict of floats:
        psnr: dB on RGB, higher is better; infinite for equal pictures.
        ssim: structural similarity on RGB, up to 1 (Wang et al. 2004).
        delta_e: mean CIEDE2000 difference, 0 for equal pictures; about 1 can just be seen.
        ab_error: root mean squared distance in the ab plane, ab units.
        colorfulness, true_colorfulness: see `colorfulness`.
        colorfulness_absolute, true_colorfulness_absolute: the same with `absolute`.
        red, true_red: sums of a, ab units, over the pixels whose true a is above `STRONG_RED`; both 0 where
            there are none.
        blue, true_blue: the same of -b, over the pixels whose true b is below `STRONG_BLUE`.

    Raises:
        UserError: if the shapes differ or a side is below `MIN_SIDE` pixels.
    """
    if result.shape != truth.shape or min(truth.shape[:2]) < MIN_SIDE:
        raise UserError(
            f"Photos to compare must be of one shape and at least {MIN_SIDE} pixels high and wide, received "
            f"{result.shape} and {truth.shape}."
        )
    lab, true_lab = rgb2lab(result), rgb2lab(truth)
    red, blue = true_lab[..., 1] > STRONG_RED, true_lab[..., 2] < STRONG_BLUE
    equal = np.array_equal(
        result, truth
    )  # whose error of 0 scikit-image takes the logarithm of, with a warning
    return {
        "psnr": float("inf") if equal else float(peak_signal_noise_ratio(truth, result, data_range=255)),
        "ssim": float(structural_similarity(truth, result, channel_axis=2, data_range=255)),
        "delta_e": float(deltaE_ciede2000(true_lab, lab).mean()),
        "ab_error": float(np.sqrt(np.square(lab - true_lab)[..., 1:].sum(axis=-1).mean())),
        "colorfulness": colorfulness(result),
        "true_colorfulness": colorfulness(truth),
        "colorfulness_absolute": colorfulness(result, absolute=True),
        "true_colorfulness_absolute": colorfulness(truth, absolute=True),
        "red": float(lab[red, 1].sum()),
        "true_red": float(true_lab[red, 1].sum()),
        "blue": float(-lab[blue, 2].sum()),
        "true_blue": float(-true_lab[blue, 2].sum()),
    }


def colorfulness(rgb: np.ndarray, absolute: bool = False) -> float:
    """Measure how colourful people find a picture (Hasler, Süsstrunk 2003).

    The paper takes standard deviations and means of the differences R - G and (R + G) / 2 - B with their
    signs. Many implementations, among them the one that DDColor (Kang et al. 2023) is measured with, take
    them of the absolute differences: red beside green then counts for less. Values of the two variants
    cannot be compared.

    Args:
        rgb: uint8 array (H, W, 3), sRGB.
        absolute: whether to take |R - G| and |(R + G) / 2 - B|, to compare with published figures.

    Returns:
        Float, 0 for gray, about 40 for an average photo, above 80 for a very colourful one.
    """
    red, green, blue = np.moveaxis(rgb.astype("float64"), -1, 0)
    red_green, yellow_blue = red - green, (red + green) / 2.0 - blue
    if absolute:
        red_green, yellow_blue = np.abs(red_green), np.abs(yellow_blue)
    spread = np.hypot(red_green.std(), yellow_blue.std())
    return float(spread + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean()))

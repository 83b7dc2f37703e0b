"""Losses between predicted and true ab.

All take y_true (batch, H, W, 2) and y_pred (batch, h, w, 2 or more) with H >= h and W >= w: ab / AB_SCALE
in the first two channels and, for the losses that classify, the logits of `color.ab_bins` behind them.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import KerasTensor as Tensor
from keras import ops

from nxap_color import gaussian_process
from nxap_color.color import AB_BIN_SIDE, AB_SCALE, ab_bins
from nxap_color.gaussian_process import HINT_CHANNELS
from nxap_color.layers import resample

# How many places are told in training, photo by photo.
HINT_COUNTS = (1, 2, 4, 8, 16, 32, 64)
HINTS_FLOOR = 5.0  # squared ab units that nobody sees: photos that miss no more do not count


def shrink_to(truth: Tensor, prediction: Tensor) -> Tensor:
    """Shrink the truth to the prediction's height and width (antialiased, triangle filter).

    A network that decides colours at 1/4 of the input is judged on the colours at that size.

    Args:
        truth: tensor (batch, H, W, channels).
        prediction: tensor (batch, h, w, channels), H >= h and W >= w.

    Returns:
        Tensor (batch, h, w, channels).
    """
    size = ops.shape(prediction)[1:3]
    steps = (of / side for of, side in zip(ops.shape(truth)[1:3], size, strict=True))
    return resample(truth, size, tuple(steps))


@keras.saving.register_keras_serializable(package="nxap_color")
class ChromaWeightedHuber(keras.losses.Loss):
    """Pseudo-Huber distance in the ab plane, weighted by 1 + chroma / `chroma_scale` of the truth.

    Squared error answers every doubt with the mean of all plausible colours, a brownish gray. The Huber
    part forgives the outliers that pull it there. Most pixels of most photos are nearly gray; the weight
    makes the rare vivid ones count.

    Args:
        delta: ab units; the loss is quadratic below and linear above.
        chroma_scale: ab units; a pixel of this chroma counts twice as much as a gray one.
        name: the loss's name.
    """

    def __init__(self, delta: float = 5.0, chroma_scale: float = 40.0, name: str = "chroma_weighted_huber"):
        super().__init__(name=name)
        self.delta = delta
        self.chroma_scale = chroma_scale

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        truth, ab = _ab_units(y_true, y_pred)
        squared_distance = ops.sum(ops.square(truth - ab), axis=-1)
        huber = self.delta**2 * (ops.sqrt(1.0 + squared_distance / self.delta**2) - 1.0)
        return huber * (1.0 + _chroma(truth) / self.chroma_scale)

    def get_config(self) -> dict[str, Any]:
        return {"delta": self.delta, "chroma_scale": self.chroma_scale, "name": self.name}


@keras.saving.register_keras_serializable(package="nxap_color")
class AbMeanSquaredError(keras.losses.Loss):
    """Mean squared error of ab / AB_SCALE, the loss of the first published colorization CNNs.

    Args:
        name: the loss's name.
    """

    def __init__(self, name: str = "ab_mean_squared_error"):
        super().__init__(name=name)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return ops.mean(ops.square(shrink_to(y_true, y_pred) - y_pred[..., :2]), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}


@keras.saving.register_keras_serializable(package="nxap_color")
class HuberAndMoments(ChromaWeightedHuber):
    """`ChromaWeightedHuber`, plus the error of each photo's mean chroma and spread of colour.

    The colour of a car cannot be known, so every loss per pixel mutes it; how colourful a street is can be
    guessed well. Comparing the mean chroma and the standard deviations of a and b of each photo asks for
    spread without asking for it at one place.

    Args:
        moments_weight: weight of their squared differences, in ab units.
        **kwargs: as in `ChromaWeightedHuber`.
    """

    def __init__(self, moments_weight: float = 0.5, name: str = "huber_and_moments", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.moments_weight = moments_weight

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        truth, ab = _ab_units(y_true, y_pred)
        distance = ops.sum(ops.square(_moments(truth) - _moments(ab)), axis=-1)
        return super().call(y_true, y_pred) + self.moments_weight * distance[:, None, None]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "moments_weight": self.moments_weight}


@keras.saving.register_keras_serializable(package="nxap_color")
class AbBinsCrossEntropy(keras.losses.Loss):
    """Cross-entropy over bins of the ab plane, the truth softened to a Gaussian, rare colours weighted up.

    Reference:
        Zhang, Isola, Efros: Colorful Image Colorization, ECCV 2016. There the Gaussian reaches the five
        nearest bins and the prior is smoothed; here it reaches all bins, and the prior is used as it is.

    Args:
        prior: share of each of `color.ab_bins` in the training photos, (bins,).
        uniform_share: Zhang's lambda, in (0, 1]: how much of an even distribution is mixed into the prior
            before its inverse becomes the weight. At 1 all colours weigh alike; the smaller it is, the more
            the rare ones weigh.
        name: the loss's name.

    Raises:
        ValueError: if `uniform_share` is out of range.
    """

    def __init__(
        self, prior: Sequence[float], uniform_share: float = 0.5, name: str = "ab_bins_cross_entropy"
    ):
        super().__init__(name=name)
        self.prior = [float(share) for share in prior]
        self.uniform_share = uniform_share
        if not 0.0 < uniform_share <= 1.0:
            raise ValueError(f"AbBinsCrossEntropy needs uniform_share in (0, 1], received {uniform_share}.")
        share = np.asarray(self.prior) / np.sum(self.prior)
        weights = 1.0 / ((1.0 - uniform_share) * share + uniform_share / len(share))
        self._weights = np.float32(weights / np.sum(share * weights))  # 1 on average

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        truth, logits = AB_SCALE * shrink_to(y_true, y_pred), y_pred[..., 2:]
        bins = ops.cast(ab_bins(), truth.dtype)
        # The squared distance to each bin without |truth|^2, which the softmax cancels.
        distance = ops.sum(ops.square(bins), axis=-1) - 2.0 * ops.matmul(truth, ops.transpose(bins))
        target = ops.softmax(-distance / (2.0 * (AB_BIN_SIDE / 2.0) ** 2), axis=-1)
        cross_entropy = -ops.sum(target * ops.log_softmax(logits, axis=-1), axis=-1)
        weight = ops.take(ops.convert_to_tensor(self._weights), ops.argmin(distance, axis=-1))
        return weight * cross_entropy

    def get_config(self) -> dict[str, Any]:
        return {"prior": self.prior, "uniform_share": self.uniform_share, "name": self.name}


@keras.saving.register_keras_serializable(package="nxap_color")
class WithHints(keras.losses.Loss):
    """Add to a loss of colours the log residual error that is left after simulated hints.

    The first of y_pred's channels are what the other loss takes, the last `HINT_CHANNELS` a `HintLikeness`.
    What the network misses is corrected as a user's hints would correct it, by the mean of the Gaussian
    process of `gaussian_process`, from 1 to 64 places of each photo. The logarithm lets easy photos count,
    as PSNR does. Its gradient with respect to the colours is zero.

    Args:
        colour_loss: `keras.losses.Loss` of the colours.
        name: the loss's name.
    """

    def __init__(self, colour_loss: keras.losses.Loss, name: str = "with_hints"):
        super().__init__(name=name)
        self.colour_loss = colour_loss

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        answered, likeness = y_pred[..., :-HINT_CHANNELS], y_pred[..., -HINT_CHANNELS:]
        truth, ab = _ab_units(y_true, answered)
        missing = ops.stop_gradient(truth - ab)
        points = gaussian_process.place_points(likeness, ops)
        missing = ops.reshape(missing, (ops.shape(points)[0], -1, 2))
        left = missing - _guess_from_some(points, missing)
        error = ops.log(ops.mean(ops.sum(ops.square(left), axis=-1), axis=-1) + HINTS_FLOOR)
        return self.colour_loss.call(y_true, answered) + error[:, None, None]

    def get_config(self) -> dict[str, Any]:
        return {"colour_loss": keras.saving.serialize_keras_object(self.colour_loss), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "WithHints":
        config = {**config, "colour_loss": keras.saving.deserialize_keras_object(config["colour_loss"])}
        return cls(**config)


def _guess_from_some(points, missing):
    """Guess what is missing (batch, n, 2) at points (batch, n, channels), from a few places of each photo.

    Which ones is fixed, so that two runs, and what a run does after a stop, stay the same.
    """
    batch, places = ops.shape(points)[:2]
    numbers = ops.arange(batch) % len(HINT_COUNTS)
    chosen = np.random.default_rng(0).random((len(HINT_COUNTS), max(HINT_COUNTS), 1)).astype("float32")
    chosen = ops.take(chosen, numbers, axis=0) * ops.cast(places, "float32")
    chosen = ops.minimum(ops.cast(chosen, "int32"), places - 1)
    known, known_missing = (ops.take_along_axis(of, chosen, axis=1) for of in (points, missing))
    # What photos with fewer hints have too many is known so badly that it does not count.
    is_one_too_many = np.arange(max(HINT_COUNTS)) >= np.array(HINT_COUNTS)[:, None]
    noise = np.float32(gaussian_process.NOISE + 1e6 * is_one_too_many)[..., None] * np.eye(max(HINT_COUNTS))
    among = gaussian_process.covariance(known, known, ops) + ops.take(
        noise.astype("float32"), numbers, axis=0
    )
    weights = ops.solve(among, known_missing)
    return ops.matmul(gaussian_process.covariance(points, known, ops), weights)


def _ab_units(y_true, y_pred):
    """Return truth and predicted colour at the size of the prediction, in ab units."""
    return AB_SCALE * shrink_to(y_true, y_pred), AB_SCALE * y_pred[..., :2]


def _chroma(ab):
    # The small constant keeps the square root's slope finite at gray.
    return ops.sqrt(ops.sum(ops.square(ab), axis=-1) + 1e-6)


def _moments(ab):
    """(batch, h, w, 2) -> (batch, 3): mean chroma, and the standard deviations of a and of b."""
    spread = ops.sqrt(ops.var(ab, axis=(1, 2)) + 1e-6)
    return ops.concatenate([ops.mean(_chroma(ab), axis=(1, 2))[:, None], spread], axis=-1)


# By the name that `train --loss` takes.
LOSSES = {
    "huber": ChromaWeightedHuber,
    "mse": AbMeanSquaredError,
    "moments": HuberAndMoments,
    "bins": AbBinsCrossEntropy,
}


def make_loss(name: str, prior: Sequence[float] | None = None) -> keras.losses.Loss:
    """Make the loss that `train --loss` names.

    Args:
        name: a key of `LOSSES`.
        prior: for the losses that classify, the share of each of `color.ab_bins`.
    """
    loss = LOSSES[name]
    return loss(prior) if loss is AbBinsCrossEntropy else loss()

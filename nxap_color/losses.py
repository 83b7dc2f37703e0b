"""Losses between predicted and true ab, in ab units."""

import keras
from keras import ops

from nxap_color.color import AB_SCALE


def shrink_to(truth, prediction):
    """Shrinks the truth to the prediction's height and width (antialiased, triangle filter).

    A network that decides colours at 1/4 of the input is judged on the colours seen at that size.

    Args:
        truth: tensor (batch, H, W, channels).
        prediction: tensor (batch, h, w, channels), H >= h and W >= w.

    Returns:
        Tensor (batch, h, w, channels).
    """
    size = ops.shape(prediction)[1:3]
    return ops.image.resize(truth, size, "bilinear", antialias=True, data_format="channels_last")


@keras.saving.register_keras_serializable(package="nxap_color")
class ChromaWeightedHuber(keras.losses.Loss):
    """Pseudo-Huber distance in the ab plane, weighted by 1 + chroma / `chroma_scale` of the truth.

    Squared error answers every doubt with the mean of all plausible colours, a brownish gray. The Huber
    part forgives the outliers that pull it there; the weight makes up for most pixels of most photos
    being nearly gray, so that the rare vivid ones count.

    Args:
        delta: ab units; the loss is quadratic below and linear above.
        chroma_scale: ab units; a pixel of this chroma counts twice as much as a gray one.
        name: the loss's name.

    Input shape:
        y_true (batch, H, W, 2) and y_pred (batch, h, w, 2) with H >= h and W >= w, ab / AB_SCALE.
    """

    def __init__(self, delta=5.0, chroma_scale=40.0, name="chroma_weighted_huber"):
        super().__init__(name=name)
        self.delta = delta
        self.chroma_scale = chroma_scale

    def call(self, y_true, y_pred):
        truth = AB_SCALE * shrink_to(y_true, y_pred)
        squared_distance = ops.sum(ops.square(truth - AB_SCALE * y_pred), axis=-1)
        huber = self.delta**2 * (ops.sqrt(1.0 + squared_distance / self.delta**2) - 1.0)
        # The small constant keeps the square root's slope finite at gray.
        chroma = ops.sqrt(ops.sum(ops.square(truth), axis=-1) + 1e-6)
        return huber * (1.0 + chroma / self.chroma_scale)

    def get_config(self):
        return {"delta": self.delta, "chroma_scale": self.chroma_scale, "name": self.name}


@keras.saving.register_keras_serializable(package="nxap_color")
class AbMeanSquaredError(keras.losses.Loss):
    """Mean squared error of ab / AB_SCALE, the loss of the first published colorization CNNs.

    Args:
        name: the loss's name.

    Input shape:
        y_true (batch, H, W, 2) and y_pred (batch, h, w, 2) with H >= h and W >= w, ab / AB_SCALE.
    """

    def __init__(self, name="ab_mean_squared_error"):
        super().__init__(name=name)

    def call(self, y_true, y_pred):
        return ops.mean(ops.square(shrink_to(y_true, y_pred) - y_pred), axis=-1)

    def get_config(self):
        return {"name": self.name}


LOSSES = {"huber": ChromaWeightedHuber, "mse": AbMeanSquaredError}

"""Metrics of colorization: Keras metrics to watch a training, and NumPy ones to judge finished photos."""

import keras
from keras import ops

from nxap_color.color import AB_SCALE
from nxap_color.losses import shrink_to


@keras.saving.register_keras_serializable(package="nxap_color")
class AbError(keras.metrics.Mean):
    """Root mean squared distance in the ab plane, in ab units, averaged over photos.

    Args:
        name: the metric's name.
        dtype: as in every metric.

    Input shape:
        y_true (batch, H, W, 2) and y_pred (batch, h, w, 2) with H >= h and W >= w, ab / AB_SCALE.
    """

    def __init__(self, name="ab_error", dtype=None):
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true, y_pred = _as_float32(y_true, y_pred)
        squared = ops.sum(ops.square(shrink_to(y_true, y_pred) - y_pred), axis=-1)
        super().update_state(AB_SCALE * ops.sqrt(ops.mean(squared, axis=(1, 2))), sample_weight)


@keras.saving.register_keras_serializable(package="nxap_color")
class ChromaRatio(keras.metrics.Metric):
    """Mean chroma of the predictions over mean chroma of the truths: 1 is as colourful as life.

    Args:
        name: the metric's name.
        dtype: as in every metric.

    Input shape:
        y_true (batch, H, W, 2) and y_pred (batch, h, w, 2) with H >= h and W >= w, ab / AB_SCALE.
    """

    def __init__(self, name="chroma_ratio", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.predicted = self.add_weight(name="predicted", initializer="zeros")
        self.true = self.add_weight(name="true", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true, y_pred = _as_float32(y_true, y_pred)
        self.predicted.assign_add(ops.mean(_chroma(y_pred)))
        self.true.assign_add(ops.mean(_chroma(shrink_to(y_true, y_pred))))

    def result(self):
        return ops.divide_no_nan(self.predicted, self.true)


def _as_float32(*tensors):
    """In mixed precision predictions come in half precision, too coarse to sum over pixels."""
    return [ops.cast(tensor, "float32") for tensor in tensors]


def _chroma(ab):
    return ops.sqrt(ops.sum(ops.square(ab), axis=-1))

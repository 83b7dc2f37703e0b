"""Keras layers that look at the whole picture: attention to colour hints, and colour queries."""

import math
from typing import Any

import keras
from keras import layers, ops

from nxap_color.color import Tensor

# Logit of places that must not be attended to; half precision still holds it.
_NOWHERE = -1e4


@keras.saving.register_keras_serializable(package="nxap_color")
class PoolHints(layers.Layer):
    """Shrink colour hints to the size of a feature map: the mean colour of what is hinted in each cell.

    Reference:
        Zhang et al.: Real-Time User-Guided Image Colorization, SIGGRAPH 2017, for the hints.

    Args:
        factor: whole number of pixels on a side of a cell, at least 1.
        **kwargs: `name`, `dtype` and the other arguments of every layer.

    Input shape:
        (batch, H, W, 3): ab / AB_SCALE where a colour is hinted and 0 elsewhere; and a mask, 1 or 0.

    Output shape:
        (batch, ceil(H / factor), ceil(W / factor), 3), the same for cells; the mask is 1 in cells that hold a
        hint, however small.

    Example:
        >>> PoolHints(4)(keras.ops.ones((1, 8, 16, 3))).shape
        (1, 2, 4, 3)
    """

    def __init__(self, factor: int, **kwargs: Any):
        super().__init__(**kwargs)
        if factor < 1:
            raise ValueError(f"PoolHints needs factor >= 1, received {factor}.")
        self.factor = factor

    def call(self, inputs: Tensor) -> Tensor:
        pooled = ops.average_pool(
            inputs, self.factor, self.factor, padding="same", data_format="channels_last"
        )
        share = pooled[..., 2:]
        mean = pooled[..., :2] / ops.maximum(share, 1e-4)  # one pixel of 64 x 64 is more
        return ops.concatenate([mean, ops.cast(share > 0, mean.dtype)], axis=-1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        cells = (side and -(-side // self.factor) for side in input_shape[1:3])
        return (input_shape[0], *cells, input_shape[3])

    def get_config(self) -> dict:
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable(package="nxap_color")
class HintAttention(layers.Layer):
    """Carry colour hints to all places that look like the hinted ones, however far away.

    Convolutions carry a hint only as far as they reach. Here every place attends to the hinted places, or to
    none: without hints, and before any training, the features come out as they are.

    Reference:
        Vaswani et al.: Attention Is All You Need, NeurIPS 2017.

    Args:
        key_dim: length of the vectors that are compared, at least 1.
        **kwargs: `name`, `dtype` and the other arguments of every layer.

    Input shape:
        Two tensors: `features` (batch, h, w, channels), and `hints` (batch, h, w, 3) as from `PoolHints`.

    Output shape:
        That of `features`.

    Example:
        >>> HintAttention(8)(keras.ops.ones((1, 4, 5, 16)), keras.ops.zeros((1, 4, 5, 3))).shape
        (1, 4, 5, 16)
    """

    def __init__(self, key_dim: int = 64, **kwargs: Any):
        super().__init__(**kwargs)
        if key_dim < 1:
            raise ValueError(f"HintAttention needs key_dim >= 1, received {key_dim}.")
        self.key_dim = key_dim

    def build(self, features_shape: tuple, hints_shape: tuple) -> None:
        channels = features_shape[-1]

        def project(name, given, answered, initializer="glorot_uniform"):
            return self.add_weight(shape=(given, answered), initializer=initializer, name=name)

        self.query = project("query", channels, self.key_dim)
        self.key = project("key", channels, self.key_dim)
        self.value = project("value", channels + 3, self.key_dim)
        self.output_kernel = project("output", self.key_dim, channels, "zeros")

    def call(self, features: Tensor, hints: Tensor) -> Tensor:
        batch, height, width, _ = ops.shape(features)

        def as_list(x):  # of places
            return ops.reshape(x, (batch, height * width, x.shape[-1]))

        places, known = as_list(features), as_list(hints)
        keys = ops.transpose(ops.matmul(places, self.key), (0, 2, 1))
        logits = ops.matmul(ops.matmul(places, self.query), keys) / math.sqrt(self.key_dim)
        logits = ops.where(ops.transpose(known[..., 2:], (0, 2, 1)) > 0, logits, _NOWHERE)
        # One more place, with a value of 0, to attend to where no hint fits.
        logits = ops.concatenate([logits, ops.zeros_like(logits[..., :1])], axis=-1)
        weights = ops.softmax(logits, axis=-1)[..., :-1]
        values = ops.matmul(ops.concatenate([places, known], axis=-1), self.value)
        spread = ops.matmul(ops.matmul(weights, values), self.output_kernel)
        return features + ops.reshape(spread, (batch, height, width, features.shape[-1]))

    def compute_output_shape(self, features_shape: tuple, hints_shape: tuple) -> tuple:
        return features_shape

    def get_config(self) -> dict:
        return {**super().get_config(), "key_dim": self.key_dim}


@keras.saving.register_keras_serializable(package="nxap_color")
class LearnedQueries(layers.Layer):
    """Give every picture of a batch the same learned vectors, which then ask it about its colours.

    Reference:
        Kang et al.: DDColor, ICCV 2023, section 3.2.

    Args:
        num_queries, dim: how many vectors, of which length; at least 1.
        **kwargs: `name`, `dtype` and the other arguments of every layer.

    Input shape:
        (batch, ...), of which only the batch size matters.

    Output shape:
        (batch, num_queries, dim).

    Example:
        >>> LearnedQueries(20, 64)(keras.ops.ones((2, 5))).shape
        (2, 20, 64)
    """

    def __init__(self, num_queries: int, dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        if num_queries < 1 or dim < 1:
            raise ValueError(
                f"LearnedQueries needs num_queries >= 1 and dim >= 1, received {num_queries} and {dim}."
            )
        self.num_queries = num_queries
        self.dim = dim

    def build(self, input_shape: tuple) -> None:
        shape = (self.num_queries, self.dim)
        self.queries = self.add_weight(shape=shape, initializer="random_normal", name="queries")

    def call(self, inputs: Tensor) -> Tensor:
        return ops.broadcast_to(self.queries, (ops.shape(inputs)[0], self.num_queries, self.dim))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (input_shape[0], self.num_queries, self.dim)

    def get_config(self) -> dict:
        return {**super().get_config(), "num_queries": self.num_queries, "dim": self.dim}


def ask_color_queries(
    features: list[keras.KerasTensor], embedding: keras.KerasTensor, num_queries: int, dim: int
) -> keras.KerasTensor:
    """Add the layers of colour queries, named queries_...: learned vectors that look at the whole picture.

    At each size, the coarsest first, the queries attend to the features and then to each other. In the end
    each query is compared with every pixel: "how much does this pixel belong to what I found?"

    Reference:
        Kang et al.: DDColor, ICCV 2023, section 3.2 (there 100 queries of 256 numbers, and 9 such steps).

    Args:
        features: symbolic tensors (batch, h, w, channels) of several sizes, the coarsest first.
        embedding: symbolic tensor (batch, h, w, channels) of what each pixel is.
        num_queries, dim: how many queries, of which length (a multiple of 4).

    Returns:
        Symbolic tensor (batch, h, w, num_queries), the size of `embedding`.
    """
    x = LearnedQueries(num_queries, dim, name="queries")(embedding)
    for step, feature in enumerate(features):
        name = f"queries_{step}"
        tokens = layers.Dense(dim, name=f"{name}_project")(feature)
        tokens = layers.Reshape((-1, dim), name=f"{name}_tokens")(tokens)
        tokens = layers.LayerNormalization(name=f"{name}_tokens_norm")(tokens)
        x = _attend(x, tokens, dim, f"{name}_cross")
        x = _attend(x, x, dim, f"{name}_self")
        y = layers.Dense(2 * dim, activation="relu", name=f"{name}_expand")(x)
        y = layers.Dense(dim, name=f"{name}_shrink")(y)
        x = layers.LayerNormalization(name=f"{name}_norm")(layers.Add(name=f"{name}_add")([x, y]))
    pixels = layers.Dense(dim, name="queries_pixels")(embedding)
    return ops.einsum("bhwd,bqd->bhwq", pixels, x)


def _attend(x, tokens, dim, name):
    """Let queries (batch, queries, dim) attend to tokens (batch, tokens, dim)."""
    y = layers.MultiHeadAttention(num_heads=4, key_dim=dim // 4, name=name)(x, tokens)
    return layers.LayerNormalization(name=f"{name}_norm")(layers.Add(name=f"{name}_add")([x, y]))

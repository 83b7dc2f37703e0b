"""Colour queries: learned vectors that look at the whole picture."""

from typing import Any

import keras
from keras import layers, ops

from nxap_color.color import Tensor


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

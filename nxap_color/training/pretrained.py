"""Weights of other models: to start a training from, to keep as they are, or to average with."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from nxap_color import saved
from nxap_color.errors import UserError

HEADS = ("ab", "ab_bins")  # the last layer with weights, whose shape depends on the loss
ADDED = ("hints_", "queries")  # how names of layers begin that change nothing before they are trained


def copy_weights(source: keras.Model, model: keras.Model, head_may_differ: bool = True) -> None:
    """Copy the weights of a network to another, which fine-tuning then starts from.

    Layers are matched by name. The head, which belongs to the loss, may differ, and what spreads hints or
    asks colour queries may be missing in the source; they then keep their own weights.

    Args:
        source: `keras.Model` to copy from.
        model: `keras.Model` to copy to, changed in place.
        head_may_differ: whether a head of another shape keeps its own weights, or is an error.

    Raises:
        UserError: if another layer is missing in `source` or has another shape.
    """
    for layer in model.layers:
        if not layer.weights:
            continue
        try:
            layer.set_weights(source.get_layer(layer.name).get_weights())
        except ValueError as error:
            is_missing = layer.name.startswith(ADDED) and not _has(source, layer.name)
            if (layer.name in HEADS and head_may_differ) or is_missing:
                continue
            shapes = " and ".join(str(tuple(weight.shape)) for weight in layer.weights)
            raise UserError(
                f"The weights of {source.name} do not fit {model.name}, which needs a layer {layer.name} "
                f"with {shapes}. Start from a model of the same architecture."
            ) from error


def average_weights(names: Sequence[str | Path]) -> keras.Model:
    """Average networks that were fine-tuned from one start: better than each of them, at no cost.

    What spreads hints or asks colour queries is averaged over those that have it, the first one among them.

    Reference:
        Wortsman et al.: Model Soups, ICML 2022.

    Args:
        names: names of shipped models or paths of `.keras` files, of one architecture.

    Returns:
        A `keras.Model`.

    Raises:
        ModelError: if one is missing or cannot be used.
        ValueError: if they are of different architectures.
    """
    networks = [saved.load_model(str(name)) for name in names]
    mean = networks[0]
    for layer in mean.layers:
        if layer.weights:
            having = [n for n in networks if not layer.name.startswith(ADDED) or _has(n, layer.name)]
            same = [network.get_layer(layer.name).get_weights() for network in having]
            layer.set_weights([np.mean(weights, axis=0) for weights in zip(*same, strict=True)])
    return mean


def _has(network, name):
    return name in {layer.name for layer in network.layers}


def freeze_encoder(model: keras.Model, num_blocks: int) -> None:
    """Exclude the stem and the first blocks of the encoder from the training.

    Their large feature maps take most time, and their edges and textures are the same in every photo.

    Args:
        model: `keras.Model` as from `build_unet`, changed in place.
        num_blocks: how many of the 16 blocks; with 0 nothing is frozen, not even the stem.

    Raises:
        UserError: if the encoder has no such block.
    """
    blocks = [f"encoder_block{index}_" for index in range(num_blocks)]
    frozen = [layer for layer in model.layers if layer.name.startswith(("encoder_stem", *blocks))]
    if num_blocks and not any(layer.name.startswith(blocks[-1]) for layer in frozen):
        raise UserError(f"{model.name} has no {num_blocks} encoder blocks to freeze.")
    for layer in frozen if num_blocks else ():
        layer.trainable = False


def freeze_all_but_hints(model: keras.Model) -> None:
    """Freeze every layer except the one that learns how colour hints spread.

    Args:
        model: `keras.Model` as from `build_unet` with hints, changed in place.
    """
    for layer in model.layers:
        layer.trainable = layer.name.startswith("hints_")

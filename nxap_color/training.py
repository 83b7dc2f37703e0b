"""What a training run needs around `fit`: two learning rates, callbacks, and a state to resume from."""

import contextlib
import csv
import json
import os
import shutil
import time
from pathlib import Path

import h5py
import keras
from keras import ops

from nxap_color.color import join_lightness_ab
from nxap_color.distribute import World
from nxap_color.image_io import Photo
from nxap_color.image_output import write_photo
from nxap_color.plotting import contact_sheet

# Arguments that may differ between the start of a run and its --resume.
_FREE_ON_RESUME = ("resume", "overwrite", "sample_every", "distribute")


class EncoderAdam(keras.optimizers.Adam):
    """Adam with a smaller learning rate for the pretrained encoder than for the fresh decoder.

    A rate that is right for new layers destroys within a few steps what ImageNet taught the others
    (Howard, Ruder: ULMFiT, ACL 2018, call it discriminative fine-tuning).

    Args:
        learning_rate: rate or schedule of all layers but the encoder's.
        encoder_rate: the encoder's rate as a share of it; layers named `encoder_...` belong to it.
        **kwargs: as in `keras.optimizers.Adam`.
    """

    def __init__(self, learning_rate, encoder_rate=1.0, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.encoder_rate = encoder_rate

    def build(self, variables):
        super().build(variables)
        in_encoder = (variable.path.startswith("encoder_") for variable in variables)
        self._shares = [self.encoder_rate if inside else 1.0 for inside in in_encoder]

    def update_step(self, gradient, variable, learning_rate):
        share = self._shares[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * share)

    def get_config(self):
        return {**super().get_config(), "encoder_rate": self.encoder_rate}


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


class Run:
    """The files of one training run, and where to go on after a stop.

    Beside FILE.keras stand FILE.csv (the log), FILE.json (the recipe, at the end), FILE.samples/ and,
    until the end, FILE.resume/ with the arguments, the weights and the optimizer's state.

    Args:
        output: FILE.keras.
        world: `distribute.World`, of which the first process writes the files and the others read them;
            without it the only one.

    Raises:
        ValueError: if `output` does not end in .keras.
    """

    def __init__(self, output, world=None):
        self.output = Path(output)
        self.world = world or World()
        if self.output.suffix != ".keras":
            raise ValueError(f"A model file ends in .keras, received {output}.")
        self.log = self.output.with_suffix(".csv")
        self.state = self.output.with_suffix(".resume")

    def start(self, arguments, overwrite=False):
        """Clears the place for a new run; the first process does, for all.

        Args:
            arguments: dict of what the run was started with, kept for `resume`.
            overwrite: whether a model that stands at the output may be replaced.

        Raises:
            ValueError: if a model stands there and may not be replaced.
        """
        if not self.world.is_first:
            return
        if self.state.exists() and not overwrite:
            raise ValueError(f"{self.output} was stopped: --resume goes on with it, --overwrite starts anew.")
        if self.output.exists() and not overwrite:
            raise ValueError(f"{self.output} exists: choose another --output, or --overwrite to replace it.")
        shutil.rmtree(self.state, ignore_errors=True)
        self.state.mkdir(parents=True)
        (self.state / "arguments.json").write_text(json.dumps(plain_arguments(arguments)), encoding="utf-8")
        for stale in (self.log, self.output.with_suffix(".json")):
            stale.unlink(missing_ok=True)

    def resume(self, arguments):
        """Goes back to the end of the last complete epoch of a run that was stopped.

        Args:
            arguments: dict, the same as at its start.

        Returns:
            The first epoch to train.

        Raises:
            ValueError: if there is no such run, or it was started with other arguments.
        """
        if not (self.state / "arguments.json").exists():
            hint = "leave out --resume to start one" if self.world.is_first else "share or copy its folder"
            raise ValueError(f"There is no stopped run at {self.output}: {hint}.")
        before = json.loads((self.state / "arguments.json").read_text(encoding="utf-8"))
        now = plain_arguments(arguments)
        changed = [
            f"{key} (was {before.get(key)}, now {value})"
            for key, value in now.items()
            if value != before.get(key)
        ]
        if changed:
            raise ValueError(f"A run goes on with the arguments of its start; not so {', '.join(changed)}.")
        progress = self.state / "state" / "training_metadata.json"
        first_epoch = json.loads(progress.read_text(encoding="utf-8"))["epoch"] if progress.exists() else 0
        if not self.world.is_first:
            return first_epoch
        if not first_epoch:  # what a stop within the first epoch has left of its weights
            shutil.rmtree(self.state / "state", ignore_errors=True)
        elif self.world.processes > 1:
            self._repair_weights()
        # An epoch that was logged but not kept before the stop is trained, and logged, again.
        lines = self.log.read_text(encoding="utf-8").splitlines(keepends=True) if self.log.exists() else []
        if lines:
            self.log.write_text("".join(lines[: 1 + first_epoch]), encoding="utf-8")
        return first_epoch

    def _repair_weights(self):
        """Does what Keras does on finding weights half written, before several processes do."""
        weights = self.state / "state" / "latest.weights.h5"
        try:
            h5py.File(weights).close()
        except OSError:
            shutil.copyfile(f"{weights}.bkp", weights)

    def history(self):
        """Reads the log: a list of dicts, one an epoch, the values as text."""
        if not self.log.exists():
            return []
        with self.log.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def callbacks(self, network, validation, sample_every):
        """Makes the callbacks of a run, in the order in which they see the end of an epoch.

        Args:
            network: the `keras.Model` to save; the one being fitted shares its layers.
            validation: `tf.data.Dataset`, as from `data.validation_batches`.
            sample_every: epochs between two sample pictures.

        Returns:
            List of Keras callbacks.
        """
        state = str(self.state / "state")
        if not self.world.is_first:
            # It loads, which all have to do together, and never saves.
            load = keras.callbacks.BackupAndRestore(state, save_freq=2**62)
            return [load, keras.callbacks.TerminateOnNaN()]
        best = min((float(row["val_loss"]) for row in self.history()), default=None)
        callbacks = [
            EpochSeconds(),
            SaveBest(network, self.output, best),
            SampleSheets(network, validation, self.output.with_suffix(".samples"), sample_every),
            keras.callbacks.CSVLogger(str(self.log), append=True),
            keras.callbacks.TerminateOnNaN(),
            # Kept until `finish`, and twice, so that a stop at any moment leaves a state to go on from.
            keras.callbacks.BackupAndRestore(state, double_checkpoint=True, delete_checkpoint=False),
        ]
        return self.world.alone(callbacks)

    def finish(self, recipe):
        """Writes the recipe beside the model and removes what only `resume` needed."""
        text = json.dumps(recipe, indent=2) + "\n"
        self.output.with_suffix(".json").write_text(text, encoding="utf-8")
        self.forget()

    def forget(self):
        """Removes what only `resume` needs."""
        shutil.rmtree(self.state, ignore_errors=True)


def plain_arguments(arguments):
    """The arguments of a run as plain JSON values, without those that say nothing about its result."""
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in arguments.items()}
    return {key: value for key, value in plain.items() if key not in _FREE_ON_RESUME}

"""The recipe of a training run: what is needed to run it again, and to predict with what came of it."""

import csv
import json
import os
import platform
import shutil
import time
from importlib import metadata
from pathlib import Path

import h5py
import keras
import tensorflow as tf

from nxap_color.training.callbacks import EpochSeconds, SampleSheets, SaveBest
from nxap_color.training.distribute import World

# The side of a photo at prediction as a multiple of the training crops' side, which hold 0.6 to 1 of a photo.
# On 100 validation photos, crops of 128 px: 1.0 gave 24.02 dB, 1.25 24.17, 1.5 24.28, 1.75 24.22.
NETWORK_SCALE = 1.5
# What the chroma is multiplied by at prediction, by the loss that muted it; see saved_models/README.md.
CHROMA_GAIN = {"huber": 1.1}


def make_recipe(args, model, photos, steps, mean_ab, history, origins):
    """Puts together what is needed to run a training again, and what came of it.

    Args:
        args: the namespace of `make_parser`.
        model: the network.
        photos: the `sources.Photos` it was trained on.
        steps: steps in an epoch.
        mean_ab: the mean colour of the training photos, (a, b) in ab units.
        history: the log, a list of dicts.
        origins: dict from "init" and "averaged_with" to the recipe of the model whose weights it started
            from and the list of those that it was averaged with, and from "extractor" to what tells which
            one's features it takes; what is empty is left out.

    Returns:
        A dict of plain JSON values.
    """
    versions = {"keras": keras.__version__, "tensorflow": tf.__version__}
    if keras.backend.backend() == "jax":
        versions["jax"] = metadata.version("jax")
    best = min(history, key=lambda row: float(row["val_loss"]))
    return {
        "arguments": plain_arguments(vars(args)),
        **{role: origin for role, origin in origins.items() if origin},
        "network_size": round(args.image_size * NETWORK_SCALE),
        "chroma_gain": CHROMA_GAIN.get(args.loss, 1.0),
        "parameters": model.count_params(),
        "data": {
            "train": photos.num_train,
            "validation": photos.num_validation,
            "left_out": {reason: len(names) for reason, names in photos.skipped.items()},
            "digest": photos.digest,
            "mean_ab": [round(float(value), 2) for value in mean_ab],
        },
        "steps": steps * args.epochs,
        "minutes": round(sum(float(row["seconds"]) for row in history) / 60, 1),
        "cpu_minutes": round(sum(float(row["cpu_seconds"]) for row in history) / 60, 1),
        "best_epoch": {key: float(value) for key, value in best.items()},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {device_names()}",
        "versions": {"python": platform.python_version(), **versions},
        "finished": time.strftime("%Y-%m-%d"),
    }


def device_names():
    """Says in a word or two what Keras computes on, beside the processor."""
    if keras.backend.backend() == "jax":  # whose cards TensorFlow need not know
        gpus = [name for name in keras.distribution.list_devices() if not name.startswith("cpu")]
    else:
        gpus = tf.config.list_physical_devices("GPU")
    return f"{len(gpus)} GPU" if gpus else "no GPU"


# Arguments that may differ between the start of a run and its --resume.
_FREE_ON_RESUME = ("resume", "overwrite", "sample_every", "distribute")


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

"""The files of a training run, and its recipe: what it takes to repeat it and to predict with its model."""

import csv
import json
import os
import platform
import shutil
import time
from importlib import metadata
from typing import Any

import h5py
import keras
import numpy as np
import tensorflow as tf

from nxap_color.errors import UserError
from nxap_color.training.callbacks import EpochSeconds, SampleSheets, SaveBest, UseAverage
from nxap_color.training.config import TrainConfig
from nxap_color.training.distribute import World
from nxap_color.training.sources import PhotoSet

# The side of a photo at prediction as a multiple of the training crops' side, which hold 0.6 to 1 of a photo.
# On 100 validation photos, crops of 128 px: 1.0 gave 24.02 dB, 1.25 24.17, 1.5 24.28, 1.75 24.22.
NETWORK_SCALE = 1.5
# What the chroma is multiplied by at prediction, by the loss that muted it; see saved_models/README.md.
CHROMA_GAIN = {"huber": 1.1}


def make_recipe(
    run: "Run",
    model: keras.Model,
    photos: PhotoSet,
    steps: int,
    mean_ab: np.ndarray,
    origins: dict[str, Any],
) -> dict[str, Any]:
    """Put together what is needed to run a training again, and what came of it.

    Args:
        run: the run, with its settings and its log.
        model: the network.
        photos: the photos it was trained on.
        steps: steps in an epoch.
        mean_ab: the mean colour of the training photos, (a, b) in ab units.
        origins: where weights and features come from: "init" has the recipe of the model that the run started
            from, "averaged_with" the list of those that it was averaged with, and "extractor" the name, the
            weights and the digest of the extractor. Empty entries are left out.

    Returns:
        A dict of plain JSON values.
    """
    config, history = run.config, run.history()
    best = min(history, key=lambda row: float(row["val_loss"]))
    recipe = {
        "arguments": config.to_dict(),
        **{role: origin for role, origin in origins.items() if origin},
        "network_size": round(config.image_size * NETWORK_SCALE),
        "chroma_gain": CHROMA_GAIN.get(config.loss, 1.0),
        "parameters": model.count_params(),
        "data": {
            "train": photos.num_train,
            "validation": photos.num_validation,
            "left_out": {reason: len(names) for reason, names in photos.skipped.items()},
            "digest": photos.digest,
            "mean_ab": [round(float(value), 2) for value in mean_ab],
        },
        "steps": steps * config.epochs,
        "minutes": round(sum(float(row["seconds"]) for row in history) / 60, 1),
        "cpu_minutes": round(sum(float(row["cpu_seconds"]) for row in history) / 60, 1),
        "best_epoch": {key: float(value) for key, value in best.items()},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {device_names()}",
        "versions": _versions(),
        "finished": time.strftime("%Y-%m-%d"),
    }
    return recipe | run.world.record()


def _versions() -> dict[str, str]:
    """Versions of what decides the result: Python, Keras and its backend."""
    versions = {"keras": keras.__version__, "tensorflow": tf.__version__}
    if keras.backend.backend() == "jax":
        versions["jax"] = metadata.version("jax")
    return {"python": platform.python_version(), **versions}


def device_names() -> str:
    """Describe the devices that Keras computes on, beside the processor, such as "1 GPU"."""
    if keras.backend.backend() == "jax":  # whose cards TensorFlow need not know
        gpus = [name for name in keras.distribution.list_devices() if not name.startswith("cpu")]
    else:
        gpus = tf.config.list_physical_devices("GPU")
    return f"{len(gpus)} GPU" if gpus else "no GPU"


class Run:
    """The files of one training run, and where to continue after a stop.

    Beside FILE.keras stand FILE.csv (the log), FILE.json (the recipe, at the end), FILE.samples/ and,
    until the end, FILE.resume/ with the settings, the weights and the optimizer's state.

    Args:
        config: the settings; their `output` is FILE.keras.
        world: `distribute.World`, of which the first process writes the files and the others read them;
            without it the only one.
    """

    def __init__(self, config: TrainConfig, world: World | None = None):
        self.config = config
        self.output = config.output
        self.world = world or World()
        self.log = self.output.with_suffix(".csv")
        self.state = self.output.with_suffix(".resume")

    def start(self) -> None:
        """Clear the place for a new run; the first process does, for all.

        Raises:
            UserError: if a model or a stopped run is there, and the settings do not say to overwrite it.
        """
        if not self.world.is_first:
            return
        if self.state.exists() and not self.config.overwrite:
            raise UserError(f"{self.output} was stopped: --resume goes on with it, --overwrite starts anew.")
        if self.output.exists() and not self.config.overwrite:
            raise UserError(f"{self.output} exists: choose another --output, or --overwrite to replace it.")
        shutil.rmtree(self.state, ignore_errors=True)
        self.state.mkdir(parents=True)
        settings = json.dumps(self.config.to_dict())
        (self.state / "arguments.json").write_text(settings, encoding="utf-8")
        for stale in (self.log, self.output.with_suffix(".json")):
            stale.unlink(missing_ok=True)

    def resume(self) -> int:
        """Return to the end of the last complete epoch of a run that was stopped.

        Returns:
            The first epoch to train, counted from 0.

        Raises:
            UserError: if there is no such run, or it was started with other settings.
        """
        if not (self.state / "arguments.json").exists():
            hint = "leave out --resume to start one" if self.world.is_first else "share or copy its folder"
            raise UserError(f"There is no stopped run at {self.output}: {hint}.")
        self._require_same_settings()
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

    def _require_same_settings(self) -> None:
        """Compare the settings with those at the start; an older version may have had fewer."""
        try:
            settings = json.loads((self.state / "arguments.json").read_text(encoding="utf-8"))
            before = TrainConfig.from_dict(settings).to_dict()
        except json.JSONDecodeError:
            raise UserError(f"{self.state} is damaged: start anew with --overwrite.") from None
        now = self.config.to_dict()
        changed = [f"{key} (was {before[key]}, now {now[key]})" for key in now if now[key] != before[key]]
        if changed:
            raise UserError(f"A run goes on with the arguments of its start; not so {', '.join(changed)}.")

    def _repair_weights(self) -> None:
        """Do what Keras does on finding weights half written, before several processes do."""
        weights = self.state / "state" / "latest.weights.h5"
        try:
            h5py.File(weights).close()
        except OSError:
            shutil.copyfile(f"{weights}.bkp", weights)

    def history(self) -> list[dict[str, str]]:
        """Read the log: a dict for each epoch, the values as text."""
        if not self.log.exists():
            return []
        with self.log.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def callbacks(self, network: keras.Model, validation: tf.data.Dataset) -> list[keras.callbacks.Callback]:
        """Make the callbacks of a run, in the order in which they see the end of an epoch.

        Args:
            network: the model to save; the one being fitted shares its layers.
            validation: batches as from `data.validation_batches`, of which samples are drawn.

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
            SampleSheets(network, validation, self.output.with_suffix(".samples"), self.config.sample_every),
            *([UseAverage()] if self.config.ema else []),
            keras.callbacks.CSVLogger(str(self.log), append=True),
            keras.callbacks.TerminateOnNaN(),
            # Kept until `finish`, and twice, so that a stop at any moment leaves a state to go on from.
            keras.callbacks.BackupAndRestore(state, double_checkpoint=True, delete_checkpoint=False),
        ]
        return self.world.alone(callbacks)

    def finish(self, recipe: dict[str, Any]) -> None:
        """Write the recipe beside the model and remove what only `resume` needed."""
        text = json.dumps(recipe, indent=2) + "\n"
        self.output.with_suffix(".json").write_text(text, encoding="utf-8")
        self.forget()

    def forget(self) -> None:
        """Remove what only `resume` needs."""
        shutil.rmtree(self.state, ignore_errors=True)

"""The recipe of a training run: what is needed to run it again, and to predict with what came of it."""

import os
import platform
import time
from importlib import metadata

import keras
import tensorflow as tf

from nxap_color import training

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
        "arguments": training.plain_arguments(vars(args)),
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

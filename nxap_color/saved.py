"""Models on disk: finding, loading and checking a network and the recipe beside it."""

import contextlib
import json
from pathlib import Path

import keras

from nxap_color.errors import ModelError
from nxap_color.media.collections import SHIPPED

SAVED_MODELS = SHIPPED / "saved_models"
DEFAULT_MODEL = "unet"


def find_model(name):
    """Finds the file of a model.

    Args:
        name: name of a shipped model ("unet"), or path of a `.keras` file.

    Returns:
        `Path` of the file.

    Raises:
        ModelError: if there is none.
    """
    path = SAVED_MODELS / f"{name}.keras" if Path(name).suffix == "" else Path(name)
    if not path.is_file():
        shipped = ", ".join(sorted(file.stem for file in SAVED_MODELS.glob("*.keras")))
        raise ModelError(
            f"There is no model {name}: expected the path of a .keras file or one of the shipped: {shipped}."
        )
    return path


def load_model(name=DEFAULT_MODEL):
    """Loads a colorization network, shipped or one's own, for prediction.

    Files are opened in Keras's safe mode: one that asks for foreign code is refused.

    Args:
        name: name of a shipped model ("unet"), or path of a `.keras` file.

    Returns:
        A `keras.Model`; lightness (batch, H, W, 1) in [-1, 1], and for a network that fuses them features
        (batch, num_features) -> ab / AB_SCALE (batch, h, w, 2).

    Raises:
        ModelError: if the file is missing, is no Keras model, or has another input or output.
    """
    path = find_model(name)
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras passes on whatever broke inside the file
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        if "safe_mode" in str(error) or "Could not locate" in str(error):
            reason = "it brings program code of its own, which is not run, since it might do any harm."
        raise ModelError(f"{path} could not be loaded as a Keras model: {reason}") from error
    shapes = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    given = shapes[0] if isinstance(shapes[0], list) else [shapes[0]]
    fits = given[0] == (None, None, None, 1) and all(len(shape) == 2 for shape in given[1:])
    if not fits or len(given) > 2 or not hasattr(model.output, "shape") or shapes[1][-1] != 2:
        raise ModelError(
            f"{path} is no colorization network: expected lightness (None, None, None, 1) in and ab "
            f"(None, height, width, 2) out, received {shapes[0]} and {shapes[1]}."
        )
    return model


def load_recipe(name=DEFAULT_MODEL):
    """Reads the recipe that `train` wrote beside a model.

    Args:
        name: as in `load_model`.

    Returns:
        A dict, empty if there is no recipe.

    Raises:
        ModelError: if there is no such model, or its recipe is damaged.
    """
    path = find_model(name).with_suffix(".json")
    if not path.exists():
        return {}
    with contextlib.suppress(ValueError, AttributeError, TypeError):
        recipe = json.loads(path.read_text(encoding="utf-8"))
        # What decides how a photo is coloured; whatever else there is, is for people.
        numbers = recipe.get("network_size", 1), recipe.get("chroma_gain", 1)
        extractor = recipe.get("extractor") or {"name": "", "weights": ""}
        if all(0 < number <= 2048 for number in numbers) and extractor.keys() >= {"name", "weights"}:
            return recipe
    raise ModelError(f"The recipe {path} is damaged: fetch it again, or take it away.")

"""Models on disk: finding, loading and checking a network and the recipe beside it."""

import json
from pathlib import Path

import keras

from nxap_color import layers  # noqa: F401  files name them, and importing them makes them known to Keras
from nxap_color.errors import ModelError
from nxap_color.media.collections import SHIPPED
from nxap_color.runtime import with_named_inputs

SAVED_MODELS = SHIPPED / "saved_models"
DEFAULT_MODEL = "unet"


def find_model(name: str | Path) -> Path:
    """Find the file of a model.

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


def load_model(name: str | Path = DEFAULT_MODEL) -> keras.Model:
    """Load a colorization network, shipped or one's own, for prediction.

    Files are opened in Keras's safe mode: one that asks for foreign code is refused. Files whose network
    takes a single tensor or a list, as older versions saved them, give a model with inputs by name, too.

    Args:
        name: name of a shipped model ("unet"), or path of a `.keras` file.

    Returns:
        A `keras.Model` that takes a dict: "lightness" (batch, H, W, 1) in [-1, 1] and, for a network that
        fuses them, features (batch, num_features) under the name of their extractor -> ab / AB_SCALE
        (batch, h, w, 2).

    Raises:
        ModelError: if the file is missing, is not a Keras model, or has other inputs or another output.
    """
    path = find_model(name)
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras lets through whatever breaks in the file, of any type
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        if "safe_mode" in str(error) or "Could not locate" in str(error):
            reason = "it brings program code of its own, which is not run, since it might do any harm."
        raise ModelError(f"{path} could not be loaded as a Keras model: {reason}") from error
    require_colorization_network(model, path)
    return with_named_inputs(model)


def require_colorization_network(model: keras.Model, name: str | Path) -> None:
    """Check, by name and shape, that a model takes and answers what a colorization network does.

    Args:
        model: `keras.Model`.
        name: what the error calls it.

    Raises:
        ModelError: if its inputs or its output are others; says which.
    """
    if fault := _find_fault(model):
        raise ModelError(
            f"{name} is no colorization network: expected lightness (None, None, None, 1) in, with it the "
            f"features of at most one extractor, and ab (None, height, width, 2) out; {fault}."
        )


def _find_fault(model):
    """Say what disqualifies a model as a colorization network; None if nothing does."""
    inputs = {tensor.name: tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or []}
    if "lightness" not in inputs:
        names = ", ".join(inputs) or "none"
        return f'received inputs {names}; name one: keras.Input((None, None, 1), name="lightness")'
    if (shape := inputs.pop("lightness")) != (None, None, None, 1):
        return f"received lightness {shape}"
    vectors = [name for name, shape in inputs.items() if len(shape) == 2 and shape[1]]
    if len(vectors) != len(inputs) or len(vectors) > 1:
        return f"received also {', '.join(f'{name} {shape}' for name, shape in inputs.items())}"
    if not hasattr(model.output, "shape"):
        return "received several or named outputs"
    shape = tuple(model.output.shape)
    return None if len(shape) == 4 and shape[-1] == 2 else f"received {shape}"


def load_recipe(name: str | Path = DEFAULT_MODEL) -> dict:
    """Read the recipe that `train` wrote beside a model.

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
    try:
        recipe = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # no JSON, or no UTF-8
        recipe = None
    if not _is_usable(recipe):
        raise ModelError(f"The recipe {path} is damaged: fetch it again, or take it away.")
    return recipe


def _is_usable(recipe):
    """Whether a recipe holds what decides how a photo is coloured; the rest of it is for people."""
    if not isinstance(recipe, dict):
        return False
    numbers = recipe.get("network_size", 1), recipe.get("chroma_gain", 1)
    if not all(isinstance(number, int | float) and 0 < number <= 2048 for number in numbers):
        return False
    extractor = recipe.get("extractor") or {"name": "", "weights": ""}
    return isinstance(extractor, dict) and extractor.keys() >= {"name", "weights"}

"""Models on disk: finding, loading and checking a network and the recipe beside it."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from nxap_color.errors import ModelError
from nxap_color.gaussian_process import HINT_CHANNELS
from nxap_color.paths import SAVED_MODELS
from nxap_color.runtime import Network, from_keras, from_onnx, require_keras, with_named_inputs

if TYPE_CHECKING:
    import keras

DEFAULT_MODEL = "unet"


def find_model(name: str | Path) -> Path:
    """Find the file of a model.

    Args:
        name: name of a shipped model ("unet"), or path of a `.keras` or `.onnx` file.

    Returns:
        `Path` of the file.

    Raises:
        ModelError: if there is none.
    """
    path = SAVED_MODELS / f"{name}.keras" if Path(name).suffix == "" else Path(name)
    if not path.is_file():
        shipped = ", ".join(sorted(file.stem for file in SAVED_MODELS.glob("*.keras")))
        raise ModelError(
            f"There is no model {name}: expected the path of a .keras or .onnx file, or one of the shipped: "
            f"{shipped}."
        )
    return path


def find_exported(name: str | Path) -> Path | None:
    """Find the ONNX file of a model, the one that was made of these very weights.

    Args:
        name: as in `find_model`.

    Returns:
        `Path` of the `.onnx` file: `name` itself, or what lies beside the `.keras` file and holds its
        `digest_of`; None if there is none.

    Raises:
        ModelError: if there is no such model.
    """
    path = find_model(name)
    if path.suffix.lower() == ".onnx":
        return path
    exported = path.with_suffix(".onnx")
    # It stands in the metadata as it is: to look for it takes no package that reads ONNX.
    if exported.is_file() and digest_of(path).encode() in exported.read_bytes():
        return exported
    return None


def digest_of(path: Path) -> str:
    """Compute the SHA-256 of a file, in 64 hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_network(name: str | Path = DEFAULT_MODEL) -> Network:
    """Load a colorization network, shipped or one's own, for prediction.

    It runs in ONNX Runtime where `find_exported` finds it, without Keras, and in Keras elsewhere.

    Args:
        name: as in `find_model`.

    Returns:
        `Network` from "lightness" (batch, H, W, 1) in [-1, 1] and, if it fuses them, features (batch,
        num_features) under the name of their extractor to ab / AB_SCALE (batch, h, w, 2), with HINT_CHANNELS
        more channels if it takes colour hints.

    Raises:
        ModelError: if the file is missing, is no such model, or has other inputs or another output.
        UsageError: if it needs Keras, which is not installed.
    """
    if exported := find_exported(name):
        network = from_onnx(exported)
        require_colorization_network(network, exported)
        return network
    return from_keras(load_model(name))


def load_model(name: str | Path = DEFAULT_MODEL) -> "keras.Model":
    """Load a colorization network, shipped or one's own, in Keras: to train it further, or to look inside.

    Files are opened in Keras's safe mode: one that asks for foreign code is refused. Files whose network
    takes a single tensor or a list, as older versions saved them, give a model with inputs by name, too.

    Args:
        name: name of a shipped model ("unet"), or path of a `.keras` file.

    Returns:
        A `keras.Model` that takes a dict and answers as `load_network` says.

    Raises:
        ModelError: if the file is missing, is not a Keras model, or has other inputs or another output.
        UsageError: if Keras is not installed.
    """
    path = find_model(name)
    require_keras()
    import keras

    # Files name them, and importing makes them known to Keras.
    from nxap_color import attention, layers  # noqa: F401

    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras lets through whatever breaks in the file, of any type
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        if "safe_mode" in str(error) or "Could not locate" in str(error):
            reason = "it brings program code of its own, which is not run, since it might do any harm."
        raise ModelError(f"{path} could not be loaded as a Keras model: {reason}") from error
    require_colorization_network(from_keras(model), path)
    return with_named_inputs(model)


def require_colorization_network(network: Network, name: str | Path) -> None:
    """Check, by name and shape, that a network takes and answers what one for colorization does.

    Args:
        network: `Network`.
        name: what the error calls it.

    Raises:
        ModelError: if its inputs or its output are others; says which.
    """
    if fault := _find_fault(network):
        raise ModelError(
            f"{name} is no colorization network: expected lightness (None, None, None, 1) in, with the "
            "features of at most one extractor, and ab (None, height, width, 2) out, with "
            f"{HINT_CHANNELS} more channels for hints or none; {fault}."
        )


def _find_fault(network):
    """Say what disqualifies a network for colorization; None if nothing does."""
    inputs = dict(network.inputs)
    if "lightness" not in inputs:
        names = ", ".join(inputs) or "none"
        return f'received inputs {names}; name one: keras.Input((None, None, 1), name="lightness")'
    if (shape := inputs.pop("lightness")) != (None, None, None, 1):
        return f"received lightness {shape}"
    vectors = [name for name, shape in inputs.items() if len(shape) == 2 and shape[1]]
    if len(vectors) != len(inputs) or len(vectors) > 1:
        return f"received also {', '.join(f'{name} {shape}' for name, shape in inputs.items())}"
    shape = network.output
    if shape is None:
        return "received several or named outputs"
    return None if len(shape) == 4 and shape[-1] in (2, 2 + HINT_CHANNELS) else f"received {shape}"


def load_recipe(name: str | Path = DEFAULT_MODEL) -> dict:
    """Read the recipe that `train` wrote beside a model.

    Args:
        name: as in `find_model`.

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


def models_with_hints() -> list[str]:
    """List the shipped models that take colour hints, by name."""
    names = sorted(path.stem for path in SAVED_MODELS.glob("*.keras"))
    return [name for name in names if load_recipe(name).get("arguments", {}).get("hints")]


def _is_usable(recipe):
    """Whether a recipe holds what decides how a photo is coloured; the rest of it is for people."""
    if not isinstance(recipe, dict):
        return False
    numbers = recipe.get("network_size", 1), recipe.get("chroma_gain", 1)
    if not all(isinstance(number, int | float) and 0 < number <= 2048 for number in numbers):
        return False
    extractor = recipe.get("extractor") or {"name": "", "weights": ""}
    return isinstance(extractor, dict) and extractor.keys() >= {"name", "weights"}

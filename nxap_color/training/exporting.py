"""Write a network for programs without Keras, and compare its answers with the model's."""

import contextlib
import tempfile
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from nxap_color.cli.console import log_held_back
from nxap_color.errors import ExportError, UsageError
from nxap_color.media.atomic import written_whole
from nxap_color.runtime import from_onnx
from nxap_color.saved import digest_of, find_model, load_model

ENDINGS = {"onnx": ".onnx", "saved_model": "_saved_model"}
TOLERANCE = 1e-4  # of ab / AB_SCALE: a hundredth of an ab unit, which nobody sees
_TRIED = ((1, 192, 256), (2, 256, 192), (1, 96, 320))  # batch, height, width
_FOLDER_PARTS = {"assets", "fingerprint.pb", "saved_model.pb", "variables"}


def choose_output(model: str, kind: str, output: Path | None = None, overwrite: bool = False) -> Path:
    """Decide where a network goes, and check that it can, before any work is done.

    Args:
        model: name of a shipped model or path of a `.keras` file.
        kind: "onnx" or "saved_model".
        output: file or folder to write. None for the `.onnx` beside the `.keras`, where prediction looks for
            it, or for a folder of the model's name in the current one.
        overwrite: whether an exported network that exists is replaced.

    Returns:
        `Path` of the file or folder.

    Raises:
        UsageError: if a package is missing, or something is in the way.
        ModelError: if there is no such model.
    """
    if kind == "onnx" and find_spec("tf2onnx") is None:
        raise UsageError("--to onnx needs a package that is not installed: pip install tf2onnx")
    path = output
    if path is None:
        found = find_model(model)
        path = found.with_suffix(".onnx") if kind == "onnx" else Path(found.stem + ENDINGS[kind])
    if kind == "onnx" and path.suffix.lower() != ".onnx":
        raise UsageError(f"-o must end in .onnx, received {path}.")
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent} to write {path.name} to.")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists: choose another name with -o, or --overwrite to replace it.")
    if path.exists() and not _is_exported(path, kind):
        raise UsageError(f"{path} is not, or not only, an exported network: choose another name with -o.")
    return path


def _is_exported(path, kind):
    """Whether a path may be replaced: a folder goes as a whole, with whatever somebody keeps in it."""
    if kind == "onnx":
        return path.is_file()
    return path.is_dir() and {entry.name for entry in path.iterdir()} <= _FOLDER_PARTS


def export_beside(path: Path) -> None:
    """Write the ONNX file of a model beside it, so that prediction does without Keras.

    Args:
        path: `Path` of a `.keras` file.

    Raises:
        ExportError: if tf2onnx is missing, or as `export_model` does.
        UsageError: if Keras runs on another backend than TensorFlow.
    """
    if find_spec("tf2onnx") is None:
        raise ExportError("tf2onnx is not installed: pip install tf2onnx")
    export_model(path, "onnx", path.with_suffix(".onnx"))


def export_model(name: str | Path, kind: str, path: Path) -> float:
    """Write a network and compare its answers with the model's; whole and right, or not at all.

    Its inputs have the names and shapes of the model's, of any batch, height and width; its output is
    called "ab". The metadata of an ONNX file name the SHA-256 of the `.keras` file that it was made of.

    Args:
        name: name of a shipped model or path of a `.keras` file.
        kind: "onnx" or "saved_model".
        path: `Path` of the file or folder, replaced if it exists.

    Returns:
        Largest difference of the answers, of ab / AB_SCALE.

    Raises:
        UsageError: if Keras runs on another backend than TensorFlow.
        ModelError: if the model is missing or cannot be used.
        ExportError: if the network cannot be converted, or the answers differ by more than `TOLERANCE`.
        OSError: if it cannot be written.
    """
    import keras

    if (backend := keras.backend.backend()) != "tensorflow":
        raise UsageError(f"Networks are exported by Keras on tensorflow, received KERAS_BACKEND={backend}.")
    model = load_model(name)
    with (written_whole if kind == "onnx" else _folder_written_whole)(path) as unfinished:
        with _explained(path):
            _convert(model, kind, unfinished)
            if kind == "onnx":
                _sign(unfinished, digest_of(find_model(name)))
            answer = _open(kind, unfinished)
        difference = _largest_difference(model, answer, path)
        if not difference <= TOLERANCE:  # so that NaN is refused, too
            raise ExportError(
                f"{path} was not written: its answers would differ from the model's by {difference:.1g}, "
                f"expected {TOLERANCE:g} at most."
            )
    return difference


@contextlib.contextmanager
def _explained(path) -> Iterator[None]:
    """Turn what a converter or a runtime raises, of any type, into an ExportError of one line."""
    try:
        yield
    except Exception as error:
        reason = (str(error).strip().splitlines() or ["no reason is given"])[0]
        raise ExportError(f"{path} cannot be made: {type(error).__name__}: {reason}") from error


@contextlib.contextmanager
def _folder_written_whole(path):
    """As `written_whole`, for a folder, which cannot take the place of a full one in a single step."""
    with tempfile.TemporaryDirectory(prefix=".nxap-", dir=path.parent) as hidden:
        yield Path(hidden) / "unfinished"
        if path.exists():
            path.replace(Path(hidden) / "former")
        (Path(hidden) / "unfinished").replace(path)


def _convert(model, kind, path):
    import keras

    specs = {t.name: keras.InputSpec(shape=t.shape, dtype=t.dtype, name=t.name) for t in model.inputs}
    named = keras.Model(model.input, {"ab": model.output})  # a dict gives the output its name
    # What converters say about NumPy and graphics cards is of no use to a user.
    with log_held_back(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        form = "onnx" if kind == "onnx" else "tf_saved_model"
        named.export(str(path), format=form, verbose=False, input_signature=[specs])


def _sign(path, digest):
    """Write into the metadata of an ONNX file which `.keras` file it was made of."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"keras_sha256": digest})
    onnx.save(model, path)


def _open(kind, path) -> Callable[[dict], np.ndarray]:
    """Make a function, from dict of inputs to ab, of what was written."""
    if kind == "onnx":
        return from_onnx(path)
    import tensorflow as tf

    served = tf.saved_model.load(str(path))  # has to live as long as its signatures
    return lambda given: served.signatures["serving_default"](**given)["ab"]


def _largest_difference(model, answer, path):
    """Largest difference between what a model and a function of its inputs answer, at several sizes."""
    random, differences = np.random.default_rng(0), []
    for batch, *size in _TRIED:
        # Pictures have the size; vectors of features have none.
        shapes = {t.name: (batch, *size[: t.ndim - 2], t.shape[-1]) for t in model.inputs}
        given = {name: random.uniform(-1, 1, shape).astype("float32") for name, shape in shapes.items()}
        with _explained(path):
            expected, received = np.asarray(model(given, training=False)), np.asarray(answer(given))
        differences.append(np.abs(received - expected).max())
    return float(np.max(differences))

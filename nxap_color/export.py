"""Writes a network for programs without Keras: `python -m nxap_color.export MODEL --to onnx`."""

import argparse
import contextlib
import signal
import sys
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from nxap_color.cli.console import ends_politely, log_held_back, start_quietly
from nxap_color.errors import ExportError
from nxap_color.media.atomic import written_whole

ENDINGS = {"onnx": ".onnx", "saved_model": "_saved_model"}
TOLERANCE = 1e-4  # of ab / AB_SCALE: a hundredth of an ab unit, which nobody sees
_TRIED = ((1, 192, 256), (2, 256, 192), (1, 96, 320))  # batch, height, width
_FOLDER_PARTS = {"assets", "fingerprint.pb", "saved_model.pb", "variables"}


def make_parser():
    """Builds the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m nxap_color.export",
        description="Write a network in a format that other programs run, and compare the two.",
        epilog="Without -o, unet gives unet.onnx or unet_saved_model in the current folder.",
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="shipped model or .keras file")
    add("--to", choices=ENDINGS, required=True, help="an ONNX file, or a folder as TensorFlow serves it")
    add("-o", "--output", type=Path, help="file or folder to write")
    add("--overwrite", action="store_true", help="replace OUTPUT if it exists")
    return parser


def choose_output(args):
    """Decides where the network goes, and makes sure that it can, before any work is done.

    Args:
        args: the namespace of `make_parser`.

    Returns:
        `Path` of the file or folder.

    Raises:
        ValueError: if a package is missing, or something is in the way.
    """
    if args.to == "onnx" and find_spec("tf2onnx") is None:
        raise ValueError("--to onnx needs packages that are not installed: pip install tf2onnx onnxruntime")
    path = args.output or Path(Path(args.model).stem + ENDINGS[args.to])
    if args.to == "onnx" and path.suffix.lower() != ".onnx":
        raise ValueError(f"-o must end in .onnx, received {path}.")
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder {path.parent} to write {path.name} to.")
    if path.exists() and not args.overwrite:
        raise ValueError(f"{path} exists: choose another name with -o, or --overwrite to replace it.")
    if path.exists() and not _is_exported(path, args.to):
        raise ValueError(f"{path} is not, or not only, an exported network: choose another name with -o.")
    return path


def _is_exported(path, kind):
    """Whether a path may be replaced: a folder goes as a whole, with whatever somebody keeps in it."""
    if kind == "onnx":
        return path.is_file()
    return path.is_dir() and {entry.name for entry in path.iterdir()} <= _FOLDER_PARTS


def load_network(name):
    """Starts Keras and loads a model, as `saved.load_model`; ValueError where its backend cannot export."""
    start_quietly()
    import keras

    from nxap_color.saved import load_model

    if (backend := keras.backend.backend()) != "tensorflow":
        raise ValueError(f"Networks are exported by Keras on tensorflow, received KERAS_BACKEND={backend}.")
    return load_model(name)


def export_model(model, kind, path):
    """Writes a network and compares its answers with the model's; whole and right, or not at all.

    Args:
        model: `keras.Model` as from `saved.load_model`.
        kind: "onnx" or "saved_model".
        path: `Path` of the file or folder, replaced if it exists. Its inputs have the names and shapes
            of the model's, of any batch, height and width; its output is called "ab".

    Returns:
        Largest difference of the answers, of ab / AB_SCALE; None if there is no onnxruntime to find it with.

    Raises:
        ExportError: if the network cannot be converted, or the answers differ by more than `TOLERANCE`.
        OSError: if it cannot be written.
    """
    with (written_whole if kind == "onnx" else _folder_written_whole)(path) as unfinished:
        try:
            _convert(model, kind, unfinished)
            answer = _open(kind, unfinished)
            difference = answer and _largest_difference(model, answer)
        except Exception as error:  # converters pass on whatever breaks in them
            reason = (str(error).strip().splitlines() or ["no reason is given"])[0]
            raise ExportError(f"{path} cannot be made: {type(error).__name__}: {reason}") from error
        if difference is not None and not difference <= TOLERANCE:  # which nan is not either
            raise ExportError(
                f"{path} was not written: its answers would differ from the model's by {difference:.1g}, "
                f"expected {TOLERANCE:g} at most."
            )
    return difference


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

    inputs = model.inputs
    specs = [keras.InputSpec(shape=tensor.shape, dtype=tensor.dtype, name=tensor.name) for tensor in inputs]
    # Several inputs are one argument, a list; a dict gives the output its name.
    given, signature = (inputs, [specs]) if len(inputs) > 1 else (inputs[0], specs)
    named = keras.Model(given, {"ab": model.output})
    # What converters say about NumPy and graphics cards tells a user nothing.
    with log_held_back(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        form = "onnx" if kind == "onnx" else "tf_saved_model"
        named.export(str(path), format=form, verbose=False, input_signature=signature)


def _open(kind, path):
    """Makes a function, from dict of inputs to ab, of what was written; None without onnxruntime."""
    if kind == "saved_model":
        import tensorflow as tf

        served = tf.saved_model.load(str(path))  # has to live as long as its signatures
        return lambda given: served.signatures["serving_default"](**given)["ab"]
    if find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda given: session.run(["ab"], given)[0]


def _largest_difference(model, answer):
    random, differences = np.random.default_rng(0), []
    for batch, *size in _TRIED:
        shapes = [(batch, *size, 1), *((batch, tensor.shape[1]) for tensor in model.inputs[1:])]
        given = [random.uniform(-1, 1, shape).astype("float32") for shape in shapes]
        expected = model(given if len(given) > 1 else given[0], training=False)
        received = answer({tensor.name: array for tensor, array in zip(model.inputs, given, strict=True)})
        differences.append(np.abs(np.asarray(received) - np.asarray(expected)).max())
    return float(np.max(differences))


def main(arguments=None):
    """Runs the command line; returns 0, 1 if it failed, 2 for wrong usage, 128 and more if stopped."""
    args = make_parser().parse_args(arguments)
    try:
        with ends_politely():
            path = choose_output(args)
            difference = export_model(load_network(args.model), args.to, path)
    except (ExportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print("stopped; nothing was written", file=sys.stderr)
        return 128 + (stop.args[0] if stop.args else signal.SIGINT)
    compared = "not compared with the model: pip install onnxruntime"
    if difference is not None:
        compared = f"its answers are the model's to within {difference:.1g}"
    print(f"wrote {path}; {compared}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

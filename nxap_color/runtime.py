"""Networks at prediction, as plain functions: in ONNX Runtime where they are exported, else in Keras."""

import os
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nxap_color.errors import ModelError, UsageError

if TYPE_CHECKING:
    import keras

# Networks take heights and widths that are multiples of this: their deepest features are 1/32 of the input.
SIZE_MULTIPLE = 32

Inputs = dict[str, np.ndarray]  # what a network is given: arrays by input name
Shape = tuple[int | None, ...]  # None where a network takes any size


@dataclass(frozen=True)
class Network:
    """A trained network as a function from inputs by name to its answer, whatever runs it.

    Attributes:
        name: what errors call it.
        inputs: dict from input name to shape, the batch first.
        output: shape of the answer; None if the network has several or named ones.
        digest: function that computes 8 hexadecimal digits which identify the weights; only films ask for
            them.
        answer: function of a dict from input name to float32 array (batch, ...) that returns a float32
            array (batch, ...). It may be called from several threads.
        shape_of: function of a dict from input name to shape that returns the shape of the answer.
    """

    name: str
    inputs: dict[str, Shape]
    output: Shape | None
    digest: Callable[[], str]
    answer: Callable[[Inputs], np.ndarray]
    shape_of: Callable[[dict[str, Shape]], Shape]

    def __call__(self, inputs: Inputs) -> np.ndarray:
        """Return `answer` of a dict of inputs."""
        return self.answer(inputs)


def from_onnx(path: Path) -> Network:
    """Open an ONNX file in ONNX Runtime, on all processors that this process may use, or OMP_NUM_THREADS.

    Args:
        path: `Path` of the file.

    Returns:
        `Network`.

    Raises:
        ModelError: if it is no ONNX file, or one that ONNX Runtime cannot run.
    """
    import onnxruntime  # here, since a network in Keras does without

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; its warnings are of no use to a user
    # A number, or ONNX Runtime would pin threads to processors, also to those that containers withhold.
    options.intra_op_num_threads = _count_threads()
    # Threads that wait busily take processors from what goes on beside them: a tenth of a film's speed.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except OSError:
        raise
    except Exception as error:  # the types that it raises have no base of their own
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"{path} could not be loaded as an ONNX model: {reason}") from error
    outputs = session.get_outputs()

    def answer(inputs):
        return session.run(None, inputs)[0]

    return Network(
        name=path.stem,
        inputs={given.name: _shape(given.shape) for given in session.get_inputs()},
        output=_shape(outputs[0].shape) if len(outputs) == 1 else None,
        digest=lambda: f"{zlib.crc32(path.read_bytes()):08x}",
        answer=answer,
        # It has no other way to tell, and is quick.
        shape_of=lambda shapes: answer({n: np.zeros(s, "float32") for n, s in shapes.items()}).shape,
    )


def _count_threads():
    """Count the processors that this process may use; OMP_NUM_THREADS decides, as it does for NumPy."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted):
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _shape(sides):
    """Make a `Shape` of an ONNX shape, whose open sides have names."""
    return tuple(side if isinstance(side, int) else None for side in sides)


def from_keras(model: "keras.Model") -> Network:
    """Make a function of a Keras model, on whichever backend Keras runs.

    Args:
        model: a functional or sequential `keras.Model`; takes a tensor, a list or a dict.

    Returns:
        `Network`; its output is None if the model has several or named outputs.
    """
    import keras

    tensors = getattr(model, "inputs", None) or []  # a model without a graph has none
    # A sequential model that was never called has no `output`, but one in the list.
    output = model.outputs[0] if isinstance(model, keras.Sequential) else getattr(model, "output", None)
    shape = getattr(output, "shape", None)
    named = with_named_inputs(model) if shape else model
    one_at_a_time = threading.Lock()  # Keras keeps state during a call

    def answer(inputs):
        with one_at_a_time:
            return np.asarray(named.predict_on_batch(inputs))

    def digest():
        # By name, since the order of layers is not part of what a network computes.
        weights = sorted((each.path, zlib.crc32(np.asarray(each).tobytes())) for each in model.weights)
        return f"{zlib.crc32(repr(weights).encode()):08x}"

    return Network(
        name=model.name,
        inputs={tensor.name: tuple(tensor.shape) for tensor in tensors},
        output=shape and tuple(shape),
        digest=digest,
        answer=answer,
        shape_of=named.compute_output_shape,
    )


def with_named_inputs(model: "keras.Model") -> "keras.Model":
    """Return a model that takes a dict of its inputs by name; one that does so already comes back as it is.

    Args:
        model: a functional or sequential `keras.Model` with one output; takes a tensor, a list or a dict.

    Returns:
        A `keras.Model` of the same name, layers and weights.
    """
    import keras

    if isinstance(getattr(model, "input", None), dict):
        return model
    return keras.Model({tensor.name: tensor for tensor in model.inputs}, model.outputs[0], name=model.name)


def require_keras() -> None:
    """Check that what trains networks is installed; prediction with an exported network does without.

    Raises:
        UsageError: if it is not; says how to install it.
    """
    missing = [name for name in ("keras", "tensorflow") if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"This needs packages that are not installed ({' and '.join(missing)}): "
            'pip install "nxap_color[train]", or -r requirements.txt in the project\'s folder.'
        )

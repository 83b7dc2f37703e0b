"""Networks at prediction: compiled once for pictures of all sizes, on whichever backend Keras runs."""

import threading
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from nxap_color.errors import BackendError

Inputs = dict[str, np.ndarray]  # what a network is given: arrays by input name


def with_named_inputs(model: keras.Model) -> keras.Model:
    """Return a model that takes a dict of its inputs by name; one that does so already comes back as it is.

    Args:
        model: a functional or sequential `keras.Model` with one output; takes a tensor, a list or a dict.

    Returns:
        A `keras.Model` of the same name, layers and weights.
    """
    if isinstance(getattr(model, "input", None), dict):
        return model
    return keras.Model({tensor.name: tensor for tensor in model.inputs}, model.outputs[0], name=model.name)


def compile_network(model: keras.Model) -> Callable[[Inputs], np.ndarray]:
    """Compile a network into a fast callable.

    Keras does so itself, except on OpenVINO. There it would compile a network anew for each size of picture,
    and would let processors that are good at it round to bfloat16: up to six 8-bit steps of a photo.

    Args:
        model: as in `with_named_inputs`.

    Returns:
        Function of a dict from input name to float32 array (batch, ...) that returns the output, a float32
        array (batch, ...). It may be called from several threads, which wait for each other.

    Raises:
        BackendError: if OpenVINO lacks an operation of the network.
    """
    model = with_named_inputs(model)
    is_openvino = keras.backend.backend() == "openvino"
    answer = _compile_for_openvino(model) if is_openvino else model.predict_on_batch
    # Keras keeps state during a call, OpenVINO has one request for all; each uses all processors anyway.
    one_at_a_time = threading.Lock()

    def ask(inputs):
        with one_at_a_time:
            return np.asarray(answer(inputs))

    return ask


def _compile_for_openvino(model):
    import openvino as ov

    try:
        parameters = {
            tensor.name: ov.op.Parameter(
                ov.Type.f32, ov.PartialShape([-1 if side is None else side for side in tensor.shape])
            )
            for tensor in model.inputs
        }
        tensor_type = type(ops.convert_to_tensor(0.0))
        output = model({name: tensor_type(given.output(0)) for name, given in parameters.items()})
        graph = ov.Model([output.output], list(parameters.values()))
        compiled = ov.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except Exception as error:  # Keras and OpenVINO raise many types for what is not implemented
        reason = " ".join(str(error).split())[:300]
        raise BackendError(
            f"OpenVINO cannot run {model.name} ({reason}): set KERAS_BACKEND=tensorflow."
        ) from error
    # Copied, since the next call writes to the same memory.
    return lambda inputs: np.array(compiled([inputs[name] for name in parameters])[0])

"""Networks at prediction: made ready once for pictures of all sizes, on whichever backend Keras has."""

import keras
import numpy as np
from keras import ops

from nxap_color.errors import BackendError


def compile_network(network):
    """Makes of a network a function that is quick to call.

    Keras alone does so but on OpenVINO, where it would compile a network anew for each size of picture, and
    let processors that are good at it round to bfloat16: by up to six 8-bit steps of a photo.

    Args:
        network: a functional `keras.Model` with one output.

    Returns:
        Function: float32 array (batch, ...), or list of such for several inputs -> float32 array, the output.

    Raises:
        BackendError: if OpenVINO lacks something that the network is made of.
    """
    if keras.backend.backend() != "openvino":
        return network.predict_on_batch
    import openvino as ov

    try:
        shapes = ([-1 if side is None else side for side in given.shape] for given in network.inputs)
        parameters = [ov.op.Parameter(ov.Type.f32, ov.PartialShape(shape)) for shape in shapes]
        tensor = type(ops.convert_to_tensor(0.0))
        given = [tensor(parameter.output(0)) for parameter in parameters]
        answer = network(given if len(given) > 1 else given[0])
        graph = ov.Model([answer.output], parameters)
        compiled = ov.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except Exception as error:  # of many types, from Keras and from OpenVINO
        reason = " ".join(str(error).split())[:300]
        raise BackendError(
            f"OpenVINO cannot run {network.name} ({reason}): set KERAS_BACKEND=tensorflow."
        ) from error
    return lambda given: np.array(compiled(given)[0])

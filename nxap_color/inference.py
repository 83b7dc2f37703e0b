"""Run a colorization network on photos of any size: padded, in batches of one shape."""

from collections.abc import Sequence

import numpy as np

from nxap_color import errors
from nxap_color.gaussian_process import HINT_CHANNELS
from nxap_color.runtime import SIZE_MULTIPLE, Inputs, Network

BATCH_SIZE = 8


def run_network(network: Network, stride: int, inputs: Sequence[Inputs]) -> list[np.ndarray]:
    """Run a network; photos of one shape go together.

    Args:
        network: `runtime.Network`.
        stride: as from `find_stride`.
        inputs: list of dicts as from `Colorizer.network_input`, sizes may differ.

    Returns:
        List of float32 arrays (h / stride, w / stride, channels): ab / AB_SCALE, and what the network says
        of hints.

    Raises:
        errors.ModelError: if the network answers NaN or infinity.
    """
    padded = [{n: _pad(array) for n, array in given.items()} for given in inputs]
    shapes = [given["lightness"].shape for given in padded]
    results = [None] * len(inputs)
    for shape in sorted(set(shapes)):
        members = [index for index, other in enumerate(shapes) if other == shape]
        for start in range(0, len(members), BATCH_SIZE):
            batch = members[start : start + BATCH_SIZE]
            names = padded[batch[0]]
            answers = network({n: np.stack([padded[index][n] for index in batch]) for n in names})
            if not np.isfinite(answers).all():  # these would come out gray or black
                raise errors.ModelError(
                    f"{network.name} answered NaN or infinity; the model file is damaged."
                )
            for index, answer in zip(batch, answers, strict=True):
                height, width = (side // stride for side in inputs[index]["lightness"].shape[:2])
                results[index] = answer[:height, :width]
    return results


def _pad(array):
    """Mirror the lower and right border of a picture until every network can halve it; vectors stay."""
    if array.ndim != 3:
        return array
    missing = [-side % SIZE_MULTIPLE for side in array.shape[:2]]
    return np.pad(array, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")


def mirror_inputs(inputs: Inputs) -> Inputs:
    """Return the inputs of a photo's mirror image; vectors stay as they are."""
    return {name: array[:, ::-1] if array.ndim == 3 else array for name, array in inputs.items()}


def find_stride(network: Network) -> int:
    """Find how many times smaller than its input a network's answer is.

    Raises:
        errors.ModelError: if the answer's size is no fraction of the input's.
    """
    sides = (1, 64, 64)  # a vector has no height and width
    shapes = {name: (*sides[: len(shape) - 1], shape[-1]) for name, shape in network.inputs.items()}
    answered = network.shape_of(shapes)[1]
    if answered not in (64, 32, 16, 8, 4, 2):
        raise errors.ModelError(
            f"{network.name} answers {answered} pixels where it is given 64; expected a half or so."
        )
    return 64 // answered


def fused_features(network: Network) -> dict[str, int]:
    """Return the length of each vector that a network takes, by name."""
    return {name: shape[1] for name, shape in network.inputs.items() if len(shape) == 2}


def takes_hints(network: Network) -> bool:
    """Return whether a network answers, beside colours, how far colour hints reach."""
    return network.output[-1] == 2 + HINT_CHANNELS

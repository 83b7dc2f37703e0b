"""Functional-API builders of the colorization networks, and loading them from a name or a file.

Every network takes lightness (batch, height, width, 1) in [-1, 1], of any height and width that are
multiples of `SIZE_MULTIPLE`, and answers ab / AB_SCALE (batch, height / k, width / k, 2). One that fuses
in what a frozen network says about the photo takes that vector (batch, num_features), too.
"""

import contextlib
import itertools
import json
from pathlib import Path

import keras
from keras import layers

from nxap_color.color import ab_bins
from nxap_color.efficientnet import lite0_encoder
from nxap_color.files import FileError
from nxap_color.layers import AnnealedMean, FeatureFusion, UpsampleLike

SIZE_MULTIPLE = 32  # the deepest feature map of any builder below is 1/32 of the input
SAVED_MODELS = Path(__file__).resolve().parent.parent / "saved_models"
DEFAULT_MODEL = "unet"


class ModelError(FileError):
    """A model that is missing, is no colorization network, or does not work as one."""


def find_model(name):
    """Finds the file of a model.

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


def load_model(name=DEFAULT_MODEL):
    """Loads a colorization network, shipped or one's own, for prediction.

    Files are opened in Keras's safe mode: one that asks for foreign code is refused.

    Args:
        name: name of a shipped model ("unet"), or path of a `.keras` file.

    Returns:
        A `keras.Model`; lightness (batch, H, W, 1) in [-1, 1], and for a network that fuses them features
        (batch, num_features) -> ab / AB_SCALE (batch, h, w, 2).

    Raises:
        ModelError: if the file is missing, is no Keras model, or has another input or output.
    """
    path = find_model(name)
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras passes on whatever broke inside the file
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        if "safe_mode" in str(error) or "Could not locate" in str(error):
            reason = "it brings program code of its own, which is not run, since it might do any harm."
        raise ModelError(f"{path} could not be loaded as a Keras model: {reason}") from error
    shapes = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    given = shapes[0] if isinstance(shapes[0], list) else [shapes[0]]
    fits = given[0] == (None, None, None, 1) and all(len(shape) == 2 for shape in given[1:])
    if not fits or len(given) > 2 or not hasattr(model.output, "shape") or shapes[1][-1] != 2:
        raise ModelError(
            f"{path} is no colorization network: expected lightness (None, None, None, 1) in and ab "
            f"(None, height, width, 2) out, received {shapes[0]} and {shapes[1]}."
        )
    return model


def load_recipe(name=DEFAULT_MODEL):
    """Reads the recipe that `train` wrote beside a model.

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
    with contextlib.suppress(ValueError, AttributeError, TypeError):
        recipe = json.loads(path.read_text(encoding="utf-8"))
        # What decides how a photo is coloured; whatever else there is, is for people.
        numbers = recipe.get("network_size", 1), recipe.get("chroma_gain", 1)
        extractor = recipe.get("extractor") or {"name": "", "weights": ""}
        if all(0 < number <= 2048 for number in numbers) and extractor.keys() >= {"name", "weights"}:
            return recipe
    raise ModelError(f"The recipe {path} is damaged: fetch it again, or take it away.")


def build_autoencoder(name="autoencoder"):
    """Builds the plain encoder-decoder that this project started from: the baseline.

    3x3 convolutions with ReLU, strides of 2 on the way down and nearest-neighbour upsampling on the way
    up; no skip connections, so that what the bottleneck (1/8 of the input) loses stays lost.

    Args:
        name: the model's name.

    Returns:
        A functional `keras.Model`, 3.9 million parameters; lightness (batch, H, W, 1) in [-1, 1] ->
        ab / AB_SCALE (batch, H, W, 2) in (-1, 1).
    """
    conv = _numbered_convs()
    inputs = keras.Input((None, None, 1), name="lightness")
    x = inputs
    for filters, strides in ((64, 1), (64, 2), (128, 1), (128, 2), (256, 1), (256, 2)):
        x = conv(x, filters, strides)
    for filters in (512, 256, 128):  # bottleneck, (H/8, W/8)
        x = conv(x, filters)
    x = layers.UpSampling2D(2)(x)
    x = conv(x, 64)
    x = layers.UpSampling2D(2)(x)
    x = conv(x, 32)  # (H/2, W/2, 32)
    x = conv(x, 2, activation="tanh")
    # Upsampling after the last convolution makes the colour blocky; kept, since it is the baseline's.
    outputs = layers.UpSampling2D(2, name="ab")(x)
    return keras.Model(inputs, outputs, name=name)


def _numbered_convs():
    """A function that adds 3x3 convolutions named conv0, conv1, ..., as in every build: for fine-tuning."""
    names = (f"conv{index}" for index in itertools.count())

    def conv(x, filters, strides=1, activation="relu"):
        return layers.Conv2D(filters, 3, strides, "same", activation=activation, name=next(names))(x)

    return conv


def build_fusion(extractor=None, filters=64, name="fusion"):
    """Builds an encoder-decoder in whose bottleneck the features of a frozen network are fused.

    The network of Deep Koalarization but for its end: it stopped at half the size and doubled the colours
    by repeating them, which is blocky; here `GuidedUpsampling` does that. The features are brought to mean
    0 and deviation 1 first, so that any extractor's have the same say. The extractor itself is no part of
    the model, and so of no file either: its features are an input (see `extractors.Extractor`).

    Reference:
        Baldassarre, Gonzalez Morin, Rodes-Guirao: Deep Koalarization, arXiv 1712.03400.

    Args:
        extractor: `extractors.Extractor`, or whatever has its `name` and `num_features`; None builds
            the same network without the branch.
        filters: channels of the first convolution, which all others are multiples of.
        name: the model's name.

    Returns:
        A functional `keras.Model`, 6.3 million parameters and 258 more for each feature. Lightness
        (batch, H, W, 1) in [-1, 1] and, with an extractor, features (batch, num_features), an input named
        as the extractor -> ab / AB_SCALE (batch, H/2, W/2, 2), not bounded but close to (-1, 1).
    """
    conv = _numbered_convs()
    lightness = keras.Input((None, None, 1), name="lightness")
    inputs = x = lightness
    for factor, strides in ((1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 1), (4, 1)):
        x = conv(x, factor * filters, strides)  # bottleneck: (H/8, W/8, 4 * filters)
    if extractor is None:
        x = layers.Conv2D(4 * filters, 1, activation="relu", name="no_fusion")(x)
    else:
        features, x = _fuse(x, extractor, 4 * filters)
        inputs = [lightness, features]
    x = conv(x, 2 * filters)
    x = layers.UpSampling2D(2)(x)
    x = conv(conv(x, filters), filters)
    x = layers.UpSampling2D(2)(x)
    x = conv(x, max(1, filters // 2))  # (H/2, W/2)
    outputs = layers.Conv2D(2, 3, padding="same", kernel_initializer="zeros", name="ab")(x)
    return keras.Model(inputs, outputs, name=name)


def _fuse(x, extractor, filters):
    """Adds the input for an extractor's features, and the layers that fuse them into a feature map."""
    features = keras.Input((extractor.num_features,), name=extractor.name)
    # A short memory, so that also a training of a few dozen steps knows their mean and deviation.
    normalize = layers.BatchNormalization(momentum=0.95, center=False, scale=False, name="features_norm")
    return features, FeatureFusion(filters, name="fusion")(x, normalize(features))


def build_unet(decoder_filters=(160, 96, 64), head="ab", extractor=None, name="unet"):
    """Builds the U-Net: an EfficientNet-Lite0 encoder, and a decoder joined to it by skip connections.

    The encoder is laid out so that ImageNet weights fit (`pretrained.load_imagenet_encoder`); its batch
    normalisation is folded into the convolutions, which doubles the speed of training on a CPU. The
    decoder stops at 1/4 of the input: colour varies slowly, and `GuidedUpsampling` brings it to full
    size along the edges of the lightness.

    Reference:
        Ronneberger et al.: U-Net, MICCAI 2015; Tan, Le: EfficientNet, ICML 2019 (Lite0 variant: ReLU6,
        no squeeze-and-excitation).

    Args:
        decoder_filters: three channel counts, at 1/16, 1/8 and 1/4 of the input.
        head: "ab" answers a colour; "bins" scores `color.ab_bins`, in the layer "ab_bins", and answers
            their `AnnealedMean`.
        extractor: as in `build_fusion`; its features are fused in at the end of the encoder.
        name: the model's name.

    Returns:
        A functional `keras.Model`, 3.8 million parameters without an extractor; inputs as those of
        `build_fusion` -> ab / AB_SCALE (batch, H/4, W/4, 2), not bounded but close to (-1, 1).

    Raises:
        ValueError: if `decoder_filters` has not three entries, or `head` is neither.
    """
    if len(decoder_filters) != 3 or head not in ("ab", "bins"):
        raise ValueError(
            'build_unet needs 3 decoder_filters and a head "ab" or "bins", '
            f"received {decoder_filters} and {head!r}."
        )
    inputs = lightness = keras.Input((None, None, 1), name="lightness")
    x, skips = lite0_encoder(lightness)  # x: (H/32, W/32, 320)
    if extractor is not None:
        features, x = _fuse(x, extractor, x.shape[-1])
        inputs = [lightness, features]
    for filters, skip in zip(decoder_filters, reversed(skips), strict=True):
        name_here = f"decoder_{filters}"
        x = UpsampleLike(name=f"{name_here}_up")(x, skip)
        x = layers.Concatenate(name=f"{name_here}_skip")([x, skip])
        x = _decoder_conv(x, filters, name_here)
    x = _decoder_conv(x, decoder_filters[-1], "decoder_head")  # (H/4, W/4)
    # Zeros to start with: the untrained network answers gray, from where every colour is equally far.
    if head == "ab":
        outputs = layers.Conv2D(2, 1, kernel_initializer="zeros", name="ab")(x)
    else:
        x = layers.Conv2D(len(ab_bins()), 1, kernel_initializer="zeros", name="ab_bins")(x)
        outputs = AnnealedMean(name="ab")(x)
    return keras.Model(inputs, outputs, name=name)


def _decoder_conv(x, filters, name):
    return layers.Conv2D(
        filters, 3, padding="same", activation="relu", kernel_initializer="he_normal", name=name
    )(x)


ARCHITECTURES = {"autoencoder": build_autoencoder, "fusion": build_fusion, "unet": build_unet}

"""Functional-API builders of the colorization networks, and their sizes.

Every network takes a dict of inputs by name: "lightness" (batch, height, width, 1) in [-1, 1], of any height
and width that are multiples of `runtime.SIZE_MULTIPLE`, and, if it fuses global features, the vector (batch,
num_features) of a frozen network under that network's name. It answers ab / AB_SCALE (batch, height / k,
width / k, 2) and, if it knows how colour hints spread, `gaussian_process.HINT_CHANNELS` more channels.
"""

import itertools
from typing import Protocol

import keras
from keras import layers

from nxap_color.attention import ask_color_queries
from nxap_color.color import ab_bins
from nxap_color.layers import AnnealedMean, FeatureFusion, HintLikeness, UpsampleLike

# The named networks and their sizes: the arguments of their builders, and those builders' defaults.
CONFIGS = {
    "autoencoder": {},
    "fusion": {"filters": 64},
    "unet": {"decoder_filters": (160, 96, 64)},
}
QUERY_DIM = 64  # length of a colour query

# EfficientNet-Lite0: (expansion, channels, blocks, stride of the first block, kernel) of each stage.
# https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
LITE0_STEM = 32
LITE0_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


def lite0_encoder(x: keras.KerasTensor) -> tuple[keras.KerasTensor, list[keras.KerasTensor]]:
    """Add the layers of EfficientNet-Lite0, named encoder_..., without its classifier.

    Reference:
        Tan, Le: EfficientNet, ICML 2019; the Lite variant has ReLU6 and no squeeze-and-excitation.

    Args:
        x: symbolic tensor (batch, H, W, channels), black and white near -1 and 1.

    Returns:
        Tensor (batch, H/32, W/32, 320), and the list of the last features of each size on the way there:
        (H/4, W/4, 24), (H/8, W/8, 40), (H/16, W/16, 112).
    """
    x = layers.Conv2D(LITE0_STEM, 3, 2, "same", kernel_initializer="he_normal", name="encoder_stem")(x)
    x = layers.ReLU(6.0, name="encoder_stem_relu")(x)
    skips, index = [], 0
    for expansion, filters, blocks, strides, kernel in LITE0_STAGES:
        if strides == 2 and index > 1:  # the last features of a size, before the next halving
            skips.append(x)
        for block in range(blocks):
            x = _inverted_residual(
                x, filters, kernel, strides if block == 0 else 1, expansion, f"encoder_block{index}"
            )
            index += 1
    return x, skips


def _inverted_residual(x, filters, kernel, strides, expansion, name):
    """Expand by 1x1, filter each channel on its own, project by 1x1 without activation (MobileNetV2)."""
    shortcut = x
    if expansion != 1:
        x = _lite0_conv(x, expansion * x.shape[-1], 1, 1, f"{name}_expand")
    x = layers.DepthwiseConv2D(
        kernel, strides, "same", depthwise_initializer="he_normal", name=f"{name}_depthwise"
    )(x)
    x = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(x)
    x = layers.Conv2D(filters, 1, kernel_initializer="he_normal", name=f"{name}_project")(x)
    if strides == 1 and shortcut.shape[-1] == filters:
        x = layers.Add(name=f"{name}_add")([shortcut, x])
    return x


def _lite0_conv(x, filters, kernel, strides, name):
    x = layers.Conv2D(filters, kernel, strides, "same", kernel_initializer="he_normal", name=name)(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x)


class FeatureSource(Protocol):
    """What a builder needs to know of an `extractors.Extractor`: name and length of its vectors."""

    name: str
    num_features: int


def build_autoencoder(name: str = "autoencoder") -> keras.Model:
    """Build the plain encoder-decoder that this project started from: the baseline.

    3x3 convolutions with ReLU, strides of 2 on the way down and nearest-neighbour upsampling on the way
    up. There are no skip connections: what the bottleneck (1/8 of the input) loses stays lost.

    Args:
        name: the model's name.

    Returns:
        A functional `keras.Model`, 3.9 million parameters; {"lightness": (batch, H, W, 1) in [-1, 1]} ->
        ab / AB_SCALE (batch, H, W, 2) in (-1, 1).
    """
    conv = _numbered_convs()
    x = lightness = _lightness_input()
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
    return keras.Model({"lightness": lightness}, outputs, name=name)


def _lightness_input():
    return keras.Input((None, None, 1), name="lightness")


def _numbered_convs():
    """A function that adds 3x3 convolutions named conv0, conv1, ..., as in every build: for fine-tuning."""
    names = (f"conv{index}" for index in itertools.count())

    def conv(x, filters, strides=1, activation="relu"):
        return layers.Conv2D(filters, 3, strides, "same", activation=activation, name=next(names))(x)

    return conv


def build_fusion(
    extractor: FeatureSource | None = None, filters: int = CONFIGS["fusion"]["filters"], name: str = "fusion"
) -> keras.Model:
    """Build an encoder-decoder that fuses global features of a frozen classifier into its bottleneck.

    The network of Deep Koalarization except for its end: it stopped at half the size and doubled the colours
    by repeating them, which is blocky; here guided upsampling does that. The features are normalised to mean
    0 and deviation 1 first, so that those of every extractor are on the same scale. The extractor itself is
    not part of the model, nor of its file: its features are an input (see `extractors.Extractor`).

    Reference:
        Baldassarre, Gonzalez Morin, Rodes-Guirao: Deep Koalarization, arXiv 1712.03400.

    Args:
        extractor: `extractors.Extractor`, or another object with its `name` and `num_features`; None builds
            the same network without the branch.
        filters: channels of the first convolution; all others are multiples of it.
        name: the model's name.

    Returns:
        A functional `keras.Model`, 6.3 million parameters and 258 more for each feature; a dict of
        "lightness" (batch, H, W, 1) in [-1, 1] and, with an extractor, its features (batch, num_features)
        under its name -> ab / AB_SCALE (batch, H/2, W/2, 2), not bounded but close to (-1, 1).
    """
    conv = _numbered_convs()
    x = lightness = _lightness_input()
    inputs = {"lightness": lightness}
    for factor, strides in ((1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 1), (4, 1)):
        x = conv(x, factor * filters, strides)  # bottleneck: (H/8, W/8, 4 * filters)
    if extractor is None:
        x = layers.Conv2D(4 * filters, 1, activation="relu", name="no_fusion")(x)
    else:
        inputs[extractor.name], x = _fuse(x, extractor, 4 * filters)
    x = conv(x, 2 * filters)
    x = layers.UpSampling2D(2)(x)
    x = conv(conv(x, filters), filters)
    x = layers.UpSampling2D(2)(x)
    x = conv(x, max(1, filters // 2))  # (H/2, W/2)
    outputs = layers.Conv2D(2, 3, padding="same", kernel_initializer="zeros", name="ab")(x)
    return keras.Model(inputs, outputs, name=name)


def _fuse(x, extractor, filters):
    """Add the input for an extractor's features, and the layers that fuse them into a feature map."""
    features = keras.Input((extractor.num_features,), name=extractor.name)
    # A short memory, so that even a training of a few dozen steps knows their mean and deviation.
    normalize = layers.BatchNormalization(momentum=0.95, center=False, scale=False, name="features_norm")
    return features, FeatureFusion(filters, name="fusion")(x, normalize(features))


def build_unet(
    decoder_filters: tuple[int, int, int] = CONFIGS["unet"]["decoder_filters"],
    head: str = "ab",
    extractor: FeatureSource | None = None,
    hints: bool = False,
    queries: int = 0,
    name: str = "unet",
) -> keras.Model:
    """Build the U-Net: an EfficientNet-Lite0 encoder, and a decoder joined to it by skip connections.

    The encoder is laid out so that ImageNet weights fit (`imagenet.load_imagenet_encoder`); its batch
    normalisation is folded into the convolutions, which doubles the speed of training on a CPU. The
    decoder stops at 1/4 of the input: colour varies slowly, and guided upsampling brings it to full
    size along the edges of the lightness.

    Reference:
        Ronneberger et al.: U-Net, MICCAI 2015; Tan, Le: EfficientNet, ICML 2019 (Lite0 variant: ReLU6,
        no squeeze-and-excitation).

    Args:
        decoder_filters: three channel counts, at 1/16, 1/8 and 1/4 of the input.
        head: "ab" answers a colour; "bins" scores `color.ab_bins`, in the layer "ab_bins", and answers
            their `AnnealedMean`.
        extractor: as in `build_fusion`; its features are fused in at the end of the encoder.
        hints: whether it also answers how far colour hints reach (`HintLikeness`); its colours are the same.
        queries: how many colour queries look at the decoder's features and help to decide; 0 for none.
            Before any training they change nothing.
        name: the model's name.

    Returns:
        A functional `keras.Model`, 3.8 million parameters without an extractor; inputs as in
        `build_fusion` -> ab / AB_SCALE (batch, H/4, W/4, 2), not bounded but close to (-1, 1); with hints
        behind it what `HintLikeness` says, (batch, H/4, W/4, 2 + HINT_CHANNELS).

    Raises:
        ValueError: if `decoder_filters` does not have three entries, or `head` is neither.
    """
    if len(decoder_filters) != 3 or head not in ("ab", "bins"):
        raise ValueError(
            'build_unet needs 3 decoder_filters and a head "ab" or "bins", '
            f"received {decoder_filters} and {head!r}."
        )
    inputs = {"lightness": _lightness_input()}
    x, skips = lite0_encoder(inputs["lightness"])  # x: (H/32, W/32, 320)
    if extractor is not None:
        inputs[extractor.name], x = _fuse(x, extractor, x.shape[-1])
    features = []
    for filters, skip in zip(decoder_filters, reversed(skips), strict=True):  # 1/16, 1/8, 1/4
        name_here = f"decoder_{filters}"
        x = UpsampleLike(name=f"{name_here}_up")(x, skip)
        x = layers.Concatenate(name=f"{name_here}_skip")([x, skip])
        x = _decoder_conv(x, filters, name_here)
        features.append(x)
    x = _decoder_conv(x, decoder_filters[-1], "decoder_head")  # (H/4, W/4)
    if queries:
        asked = ask_color_queries(features, x, queries, QUERY_DIM)
        # 0 before any training.
        found = layers.Conv2D(
            x.shape[-1], 1, use_bias=False, kernel_initializer="zeros", name="queries_found"
        )(asked)
        x = layers.Add(name="queries_found_add")([x, found])
    # Zero weights to start with: the untrained network answers gray, equally far from every colour.
    if head == "ab":
        outputs = layers.Conv2D(2, 1, kernel_initializer="zeros", name="ab")(x)
    else:
        bins = layers.Conv2D(len(ab_bins()), 1, kernel_initializer="zeros", name="ab_bins")(x)
        outputs = AnnealedMean(name="ab")(bins)
    if hints:
        likeness = HintLikeness(name="hints_likeness")(x, inputs["lightness"])
        outputs = layers.Concatenate(name="ab_and_likeness")([outputs, likeness])
    return keras.Model(inputs, outputs, name=name)


def _decoder_conv(x, filters, name):
    return layers.Conv2D(
        filters, 3, padding="same", activation="relu", kernel_initializer="he_normal", name=name
    )(x)


# One builder for each name of `CONFIGS`.
ARCHITECTURES = {"autoencoder": build_autoencoder, "fusion": build_fusion, "unet": build_unet}

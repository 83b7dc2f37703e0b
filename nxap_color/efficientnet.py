"""EfficientNet-Lite0 without batch normalisation, laid out so that ImageNet weights fit.

Folding the normalisation into the convolutions (`pretrained.load_imagenet_encoder`) doubles the speed of
training on a CPU.
"""

from keras import layers

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


def lite0_encoder(x):
    """Adds the layers of EfficientNet-Lite0, named encoder_..., without its classifier.

    Reference:
        Tan, Le: EfficientNet, ICML 2019; the Lite variant has ReLU6 and no squeeze-and-excitation.

    Args:
        x: symbolic tensor (batch, H, W, channels), black and white near -1 and 1.

    Returns:
        Tensor (batch, H/32, W/32, 320), and the list of the last features of each size on the way there:
        (H/4, W/4, 24), (H/8, W/8, 40), (H/16, W/16, 112).
    """
    x = _lite0_conv(x, LITE0_STEM, 3, 2, "encoder_stem")
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

"""Reusable Keras layers: upsampling, plain and guided by lightness; the annealed mean; feature fusion;
likeness for hints."""

from typing import Any

import keras
from keras import ops

from nxap_color.color import AB_SCALE, LIGHTNESS_SCALE, Tensor, ab_bins
from nxap_color.gaussian_process import HINT_CHANNELS
from nxap_color.upsampling import EPSILON, RADIUS

# What a scaled lightness of 1 more, 50 L units, adds to likeness before any training.
LIKENESS_OF_LIGHTNESS = 5.5


def resample(inputs: Tensor, size: tuple, steps: tuple) -> Tensor:
    """Resize pictures bilinearly, with antialiasing where they shrink, as two matrix products.

    `ops.image.resize` is no quicker, and needs sizes that are known before any picture is.

    Args:
        inputs: tensor (batch, h, w, channels).
        size: (H, W), numbers or symbolic scalars.
        steps: how many pixels of `inputs` one of the result is high and wide: (h / H, w / W) for the whole
            of them.

    Returns:
        Tensor (batch, H, W, channels).
    """
    batch, height, width, channels = ops.shape(inputs)
    x = ops.reshape(inputs, (batch, height, width * channels))
    x = ops.matmul(_weights(size[0], height, steps[0], inputs.dtype), x)
    x = ops.reshape(x, (batch, size[0], width, channels))
    return ops.matmul(_weights(size[1], width, steps[1], inputs.dtype), x)


def _weights(size, length, step, dtype):
    """Weights (size, length) of the pixels of a line in those of another, each as long as `step` of them."""
    step = ops.cast(step, "float32")
    centres = (ops.arange(size, dtype="float32") + 0.5) * step - 0.5
    distances = ops.abs(centres[:, None] - ops.arange(length, dtype="float32"))
    weights = ops.relu(1.0 - distances / ops.maximum(step, 1.0))
    return ops.cast(weights / ops.sum(weights, axis=1, keepdims=True), dtype)


@keras.saving.register_keras_serializable(package="nxap_color")
class UpsampleLike(keras.layers.Layer):
    """Double a feature map bilinearly and trim it to the height and width of another one.

    Used before a skip connection is concatenated. `UpSampling2D` would miss by one row where a strided
    convolution met an odd size, and its bilinear mode needs sizes that are known in advance.

    Args:
        **kwargs: `name`, `dtype` and the other arguments of every layer.

    Input shape:
        Two tensors: `inputs` (batch, h, w, channels) and `like` (batch, H, W, any), H in {2h - 1, 2h}
        and W in {2w - 1, 2w}.

    Output shape:
        (batch, H, W, channels), values in the range of `inputs`.

    Example:
        >>> UpsampleLike()(keras.ops.ones((1, 4, 5, 8)), keras.ops.ones((1, 7, 10, 2))).shape
        (1, 7, 10, 8)
    """

    def call(self, inputs: Tensor, like: Tensor) -> Tensor:
        return resample(inputs, ops.shape(like)[1:3], (0.5, 0.5))

    def compute_output_shape(self, inputs_shape: tuple, like_shape: tuple) -> tuple:
        return (inputs_shape[0], like_shape[1], like_shape[2], inputs_shape[3])


@keras.saving.register_keras_serializable(package="nxap_color")
class GuidedUpsampling(keras.layers.Layer):
    """Bring low-resolution colour to full size with edges where the lightness has them.

    The fast guided filter: in a window around each low-resolution pixel ab is fitted as a linear function
    of lightness; the coefficients are smoothed, resized bilinearly, and applied to the full-size lightness.
    Used inside or after a network that decides colours at a small size; `upsampling.upsample_guided` is the
    same for prediction, without Keras.

    Reference:
        He, Sun, Tang: Guided Image Filtering, ECCV 2010; He, Sun: Fast Guided Filter, arXiv 1505.00996.

    Args:
        radius: whole number of low-resolution pixels, at least 1; the window is 2 * radius + 1 wide.
        epsilon: float > 0, in squared L units. Lightness contrast well below its square root is taken
            for texture that says nothing about colour.
        **kwargs: `name`, `dtype` and the other arguments of every layer.

    Input shape:
        Two tensors: `ab` (batch, h, w, 2) in ab units, and `lightness` (batch, H, W, 1), L in [0, 100],
        of the same scene; H >= h and W >= w.

    Output shape:
        (batch, H, W, 2), ab units.

    Example:
        >>> GuidedUpsampling()(keras.ops.ones((1, 8, 8, 2)), keras.ops.ones((1, 37, 53, 1))).shape
        (1, 37, 53, 2)
    """

    def __init__(self, radius: int = RADIUS, epsilon: float = EPSILON, **kwargs: Any):
        super().__init__(**kwargs)
        if radius < 1 or epsilon <= 0:
            raise ValueError(
                f"GuidedUpsampling needs radius >= 1 and epsilon > 0, received radius={radius} and "
                f"epsilon={epsilon}."
            )
        self.radius = radius
        self.epsilon = epsilon

    def call(self, ab: Tensor, lightness: Tensor) -> Tensor:
        small = ops.image.resize(
            lightness, ops.shape(ab)[1:3], "bilinear", antialias=True, data_format="channels_last"
        )
        # Around mid-gray, the squares of lightness are a quarter as large, and so is what rounding costs.
        middle = LIGHTNESS_SCALE
        size = ops.shape(lightness)[1:3]
        coefficients = self._fit(ab, small - middle)
        coefficients = ops.image.resize(coefficients, size, "bilinear", data_format="channels_last")
        return coefficients[..., :2] * (lightness - middle) + coefficients[..., 2:]

    def _fit(self, ab, lightness):
        """Fit ab (batch, h, w, 2) as a linear function of lightness (batch, h, w, 1) in L units.

        Returns a tensor (batch, h, w, 4): the slopes of a and b, and their offsets.
        """
        mean_lightness, mean_ab = self._window_mean(lightness), self._window_mean(ab)
        variance = self._window_mean(lightness * lightness) - mean_lightness * mean_lightness
        covariance = self._window_mean(lightness * ab) - mean_lightness * mean_ab
        slope = covariance / (ops.maximum(variance, 0.0) + self.epsilon)
        offset = mean_ab - slope * mean_lightness
        return self._window_mean(ops.concatenate([slope, offset], axis=-1))

    def _window_mean(self, x):
        """Mean over the window around each pixel; at the border over the part inside the picture."""
        side = 2 * self.radius + 1
        return ops.average_pool(x, side, strides=1, padding="same", data_format="channels_last")

    def compute_output_shape(self, ab_shape: tuple, lightness_shape: tuple) -> tuple:
        return (ab_shape[0], lightness_shape[1], lightness_shape[2], ab_shape[3])

    def get_config(self) -> dict:
        return {**super().get_config(), "radius": self.radius, "epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package="nxap_color")
class AnnealedMean(keras.layers.Layer):
    """Turn scores of ab bins into one colour per pixel.

    The mean of all bins is as gray as regression; the likeliest bin is vivid but jumps from pixel to pixel.
    Sharpening the distribution before taking its mean lies in between.

    Reference:
        Zhang, Isola, Efros: Colorful Image Colorization, ECCV 2016.

    Args:
        temperature: float > 0; 1 gives the mean, a value near 0 the likeliest bin.
        **kwargs: `name`, `dtype` and the other arguments of every layer.

    Input shape:
        (batch, h, w, bins), logits of `color.ab_bins`.

    Output shape:
        (batch, h, w, 2), ab / AB_SCALE.

    Example:
        >>> AnnealedMean(0.4)(keras.ops.zeros((1, 4, 5, len(ab_bins())))).shape
        (1, 4, 5, 2)
    """

    def __init__(self, temperature: float = 0.5, **kwargs: Any):
        super().__init__(**kwargs)
        if temperature <= 0:
            raise ValueError(f"AnnealedMean needs temperature > 0, received {temperature}.")
        self.temperature = temperature

    def call(self, inputs: Tensor) -> Tensor:
        probabilities = ops.softmax(inputs / self.temperature, axis=-1)
        return ops.matmul(probabilities, ops.cast(ab_bins() / AB_SCALE, probabilities.dtype))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], 2)

    def get_config(self) -> dict:
        return {**super().get_config(), "temperature": self.temperature}


@keras.saving.register_keras_serializable(package="nxap_color")
class FeatureFusion(keras.layers.Layer):
    """Fuse global features of a photo into a feature map.

    The vector is repeated over every position, concatenated to the feature map, and both are mixed by a
    1x1 convolution with ReLU: a network that looks at patches learns that this is a beach. (The vector's
    contribution is the same everywhere and computed once; the result is that of concatenating.)

    Reference:
        Iizuka, Simo-Serra, Ishikawa: Let there be Color!, SIGGRAPH 2016, section 3.2.

    Args:
        filters: channels of the result, at least 1.
        **kwargs: `name`, `dtype` and the other arguments of every layer.

    Input shape:
        Two tensors: `inputs` (batch, h, w, channels), any height and width, and `features`
        (batch, num_features).

    Output shape:
        (batch, h, w, filters), 0 or above.

    Example:
        >>> FeatureFusion(16)(keras.ops.ones((1, 7, 5, 8)), keras.ops.ones((1, 100))).shape
        (1, 7, 5, 16)
    """

    def __init__(self, filters: int, **kwargs: Any):
        super().__init__(**kwargs)
        if filters < 1:
            raise ValueError(f"FeatureFusion needs filters >= 1, received {filters}.")
        self.filters = filters

    def build(self, inputs_shape: tuple, features_shape: tuple) -> None:
        shape = (inputs_shape[-1] + features_shape[-1], self.filters)
        self.kernel = self.add_weight(shape=shape, initializer="he_normal", name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")

    def call(self, inputs: Tensor, features: Tensor) -> Tensor:
        channels = inputs.shape[-1]
        everywhere = ops.matmul(features, self.kernel[channels:]) + self.bias
        return ops.relu(ops.matmul(inputs, self.kernel[:channels]) + everywhere[:, None, None, :])

    def compute_output_shape(self, inputs_shape: tuple, features_shape: tuple) -> tuple:
        return (*inputs_shape[:3], self.filters)

    def get_config(self) -> dict:
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable(package="nxap_color")
class HintLikeness(keras.layers.Layer):
    """Predict an embedding and the logarithm of the residual's deviation for each pixel, to propagate hints.

    A linear map of a network's last features and of the lightness, which learns from hints alone
    (`losses.WithHints`): gradients do not flow into the features, so that the network's colours are what they
    would be without it.

    Args:
        factor: how many times larger the lightness is, a whole number.
        **kwargs: `name`, `dtype` and the other arguments of every layer.

    Input shape:
        Two tensors: `features` (batch, h, w, channels), and `lightness` (batch, h * factor, w * factor, 1).

    Output shape:
        (batch, h, w, HINT_CHANNELS); see `gaussian_process`.

    Example:
        >>> HintLikeness(4)(keras.ops.ones((1, 4, 5, 8)), keras.ops.ones((1, 16, 20, 1))).shape
        (1, 4, 5, 17)
    """

    def __init__(self, factor: int = 4, **kwargs: Any):
        super().__init__(**kwargs)
        if factor < 1:
            raise ValueError(f"HintLikeness needs factor >= 1, received {factor}.")
        self.factor = factor

    def build(self, features_shape: tuple, lightness_shape: tuple) -> None:
        shape = (features_shape[-1], HINT_CHANNELS)
        initializer = keras.initializers.RandomNormal(stddev=0.05)
        self.kernel = self.add_weight(shape=shape, initializer=initializer, name="kernel")
        self.of_lightness = self.add_weight(
            shape=(HINT_CHANNELS,), initializer=_in_first, name="of_lightness"
        )

    def call(self, features: Tensor, lightness: Tensor) -> Tensor:
        small = ops.average_pool(
            lightness, self.factor, self.factor, padding="same", data_format="channels_last"
        )
        return ops.matmul(ops.stop_gradient(features), self.kernel) + small * self.of_lightness

    def compute_output_shape(self, features_shape: tuple, lightness_shape: tuple) -> tuple:
        return (*features_shape[:-1], HINT_CHANNELS)

    def get_config(self) -> dict:
        return {**super().get_config(), "factor": self.factor}


def _in_first(shape, dtype):
    """Before any training, what is of like lightness is alike."""
    return LIKENESS_OF_LIGHTNESS * ops.one_hot(0, shape[0], dtype=dtype)

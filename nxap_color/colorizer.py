"""Photo in, photo out: everything that happens before and after the network."""

import cv2
import numpy as np

from nxap_color import color, errors, extractors, models, saved
from nxap_color.images import enlarge, shrink, strips
from nxap_color.layers import GuidedUpsampling
from nxap_color.runtime import compile_network

# Pictures longer than this many times their width are shrunk further than others, so that a 1 x 4000
# strip does not become a million pixels wide on its way through the network.
MAX_ASPECT = 8.0
DEFAULT_NETWORK_SIZE = 192
MAX_VIVIDNESS = 2.0
BATCH_SIZE = 8


class Colorizer:
    """Colours photos with a network and keeps everything else of them.

    The photo is shrunk to a size at which things look as large as in training; the network decides
    the colours; these are brought to full size along the edges of the photo's own lightness, which stays
    as it is.

    Args:
        model: a `keras.Model` as from `saved.load_model`: lightness (batch, H, W, 1) in [-1, 1], and
            features if it fuses them -> ab / AB_SCALE (batch, h, w, 2).
        network_size: pixels of the shorter side on the way through the network; the aspect is kept.
        vividness: amount of colour: 0 gives gray, 1 the model's own, 2 twice its chroma.
        chroma_gain: what the network's answer is multiplied by at vividness 1. Networks are calmer than
            life; how much they gain from being turned up is found on validation photos.
        extractor: `extractors.Extractor`, the one whose features the model was trained on; for a model
            that fuses such features, and only for that.

    Raises:
        ValueError: if `vividness` is not in [0, 2], or the extractor does not fit the model.
        errors.ModelError: if the model answers at a size that is no fraction of its input's.
        inference.BackendError: if the backend lacks something that the model needs.

    Example:
        >>> colorizer = Colorizer.load()
        >>> colorizer.colorize(np.zeros((37, 53), "uint8")).shape
        (37, 53, 3)
    """

    def __init__(
        self, model, network_size=DEFAULT_NETWORK_SIZE, vividness=1.0, chroma_gain=1.0, extractor=None
    ):
        if not 0.0 <= vividness <= MAX_VIVIDNESS:
            raise ValueError(f"vividness lies in [0, {MAX_VIVIDNESS:g}], received {vividness}.")
        expected = [tensor.shape[1] for tensor in model.inputs[1:]]
        received = [extractor.num_features] if extractor else []
        if expected != received:
            raise ValueError(
                f"{model.name} takes {expected or 'no'} features, the extractor gives {received or 'none'}."
            )
        self.model = model
        self._network = compile_network(model)
        self.extractor = extractor
        self.network_size = network_size
        self.vividness = vividness
        self.chroma_gain = chroma_gain
        self.upsampling = GuidedUpsampling()
        # How much smaller than its input the network's answer is.
        given = [(1, 64, 64, 1), *((1, count) for count in expected)]
        answered = model.compute_output_shape(given if expected else given[0])[1]
        if answered not in (64, 32, 16, 8, 4, 2):
            raise errors.ModelError(
                f"{model.name} answers {answered} pixels where it is given 64; expected a half or so."
            )
        self.stride = 64 // answered

    @classmethod
    def load(cls, name=saved.DEFAULT_MODEL, vividness=1.0, extractor_weights=None, extractor=None):
        """Loads a shipped model by name, or any from a file, at the size and gain that its recipe names.

        To a model that fuses features its extractor is attached.

        Args:
            name: "unet", or the path of a `.keras` file.
            vividness: as in the constructor.
            extractor_weights: as in `extractors.load_extractor`; None takes those that the recipe names.
            extractor: `extractors.Extractor` to attach; None loads the one of `extractors.EXTRACTORS` that
                the model was trained with.

        Returns:
            `Colorizer`.

        Raises:
            errors.ModelError: if the model is missing or cannot be used.
            errors.ExtractorError: if the weights of its extractor are missing, or other than those it
                was trained with.
        """
        model, recipe = saved.load_model(name), saved.load_recipe(name)
        size, gain = recipe.get("network_size", DEFAULT_NETWORK_SIZE), recipe.get("chroma_gain", 1.0)
        if len(model.inputs) > 1:
            trained = recipe.get("extractor", {"weights": "imagenet"})
            if extractor is None:
                weights = extractor_weights or trained["weights"]
                extractor = extractors.load_extractor(model.inputs[1].name, weights)
            extractors.require_same(extractor, trained, name)
        return cls(model, size, vividness, gain, extractor)

    def colorize(self, image):
        """Colours one photo.

        Args:
            image: array (H, W), (H, W, 1) or (H, W, 3) of any size; uint8, uint16, or float in [0, 1];
                sRGB. Of a colour or sepia photo only the lightness is used.

        Returns:
            Array (H, W, 3) of the same dtype, sRGB.

        Raises:
            ValueError: if it is not such an array.
        """
        return self.colorize_batch([image])[0]

    def colorize_batch(self, images):
        """Colours several photos; those of like shape go through the network together.

        Args:
            images: list of arrays as in `colorize`, sizes and dtypes may differ.

        Returns:
            List of arrays as from `colorize`, in the same order.

        Raises:
            ValueError: if one is not such an array.
        """
        photos = [as_pixels(image) for image in images]
        features = self.extractor(photos) if self.extractor else None
        colours = self.predict_ab([self.network_input(photo) for photo in photos], features=features)
        return [self.merge(photo, ab) for photo, ab in zip(photos, colours, strict=True)]

    @property
    def gain(self):
        """What the network's ab is multiplied by, a float from 0."""
        return self.vividness * self.chroma_gain

    def network_input(self, photo):
        """Shrinks a photo to the network's size and takes its lightness, as training does.

        Args:
            photo: array (H, W, 1 or 3) as from `as_pixels`.

        Returns:
            float32 array (h, w, 1), L / LIGHTNESS_SCALE - 1; h and w are multiples of the network's
            stride, in the aspect of the photo.
        """
        size = self.input_size(*photo.shape[:2])
        small = np.broadcast_to(shrink(photo, size), (*size, 3))
        return color.split_lightness_ab(small)[0]

    def input_size(self, height, width):
        """Tells at what size a picture of `height` x `width` pixels is given to the network: (h, w)."""
        scale = self.network_size / max(min(height, width), max(height, width) / MAX_ASPECT)
        return tuple(max(1, round(side * scale / self.stride)) * self.stride for side in (height, width))

    def predict_ab(self, inputs, mirrored=True, features=None):
        """Runs the network on each photo and on its mirror image, and averages the two answers.

        A scene seen in a mirror has the same colours; where the network is in two minds, the mean of two
        looks is the safer one.

        Args:
            inputs: list of float32 arrays (h, w, 1) as from `network_input`, sizes may differ.
            mirrored: whether to look at the mirror images, too, in twice the time.
            features: float32 array (photos, num_features), what the extractor says about the photos; for
                a network that takes it.

        Returns:
            List of float32 arrays (h / stride, w / stride, 2), ab units.
        """
        if not mirrored:
            return [ab * color.AB_SCALE for ab in self._run(inputs, features)]
        # The features are those of the photo as it is, as they are for mirrored crops in training.
        twice = None if features is None else np.concatenate([features, features])
        answers = self._run([*inputs, *(lightness[:, ::-1] for lightness in inputs)], twice)
        pairs = zip(answers[: len(inputs)], answers[len(inputs) :], strict=True)
        return [(ab + mirrored[:, ::-1]) * (color.AB_SCALE / 2.0) for ab, mirrored in pairs]

    def _run(self, inputs, features):
        """Lightness (h, w, 1) -> ab / AB_SCALE (h / stride, w / stride, 2); like shapes go together."""
        padded = [_pad(lightness) for lightness in inputs]
        results = [None] * len(inputs)
        for shape in sorted({lightness.shape for lightness in padded}):
            members = [index for index, lightness in enumerate(padded) if lightness.shape == shape]
            for start in range(0, len(members), BATCH_SIZE):
                batch = members[start : start + BATCH_SIZE]
                given = np.stack([padded[index] for index in batch])
                answers = self._network(given if features is None else [given, features[batch]])
                if not np.isfinite(answers).all():  # which would come out gray or black
                    raise errors.ModelError(f"{self.model.name} answered what are no numbers: it is damaged.")
                for index, answer in zip(batch, answers, strict=True):
                    height, width = (side // self.stride for side in inputs[index].shape[:2])
                    results[index] = np.asarray(answer)[:height, :width]
        return results

    def merge(self, photo, ab):
        """Gives a photo the colours that the network decided, at full size.

        Args:
            photo: array (H, W, 1 or 3) as from `as_pixels`, of which the lightness is kept.
            ab: float32 array (h, w, 2), ab units.

        Returns:
            Array (H, W, 3) of the same dtype, sRGB: the lightness of the photo, colours inside the gamut.
        """
        size = photo.shape[:2]
        lightness = np.empty((*size, 1), "float32")
        for rows in strips(*size):
            lightness[rows] = color.find_lightness(photo[rows])
        # `GuidedUpsampling`, but for its last step, which is done in strips.
        small = shrink(lightness, ab.shape[:2])
        coefficients = self.gain * self.upsampling.coefficients(ab[None], small[None])[0]
        result = np.empty((*size, 3), photo.dtype)
        for rows in strips(*size):
            # Channel by channel, which NumPy does several times as fast.
            slope_a, slope_b, offset_a, offset_b = cv2.split(enlarge(coefficients, size, rows))
            light = lightness[rows, :, 0]
            lab = cv2.merge([light, slope_a * light + offset_a, slope_b * light + offset_b])
            result[rows] = _lab_to_pixels(lab, photo.dtype)
        return result


def _lab_to_pixels(lab, dtype):
    """float32 Lab (H, W, 3) -> sRGB of a type; colours that it cannot show lose chroma, not lightness."""
    # OpenCV is off by a tenth of an 8-bit step at most, in a twentieth of the time.
    rgb = cv2.cvtColor(lab, cv2.COLOR_Lab2RGB) if dtype == np.uint8 else color.lab_to_rgb(lab)
    # What was clipped, a small part of most photos, is searched for the border of the gamut.
    outside = cv2.inRange(rgb, (1e-9,) * 3, (1.0 - 1e-7,) * 3) == 0
    if outside.any():
        # Black and white, of which scans are full, have no colours to search for.
        is_extreme = (lab[..., :1] <= 0.0) | (lab[..., :1] >= 100.0)
        np.copyto(rgb, lab[..., :1] / 100.0, where=is_extreme)
        outside &= ~is_extreme[..., 0]
        rgb[outside] = color.lab_to_rgb(color.clip_to_gamut(lab[outside]))
    if np.issubdtype(dtype, np.floating):
        return rgb.astype(dtype)
    if dtype == np.uint8:
        return cv2.convertScaleAbs(rgb, alpha=255.0)
    return np.rint(rgb * np.iinfo(dtype).max).astype(dtype)


def _pad(lightness):
    """Mirrors the lower and right border until both sides are what every network can halve."""
    missing = [-side % models.SIZE_MULTIPLE for side in lightness.shape[:2]]
    return np.pad(lightness, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")


def as_pixels(image):
    """Makes sure that an image can be coloured.

    Args:
        image: as in `Colorizer.colorize`.

    Returns:
        The same as an array (H, W, 1 or 3); with one channel if the three are one and the same.

    Raises:
        ValueError: if it is no such array.
    """
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
        raise ValueError(f"A photo is an array (height, width, 1 or 3), received shape {image.shape}.")
    if image.strides[2] == 0:  # gray, as `photos.read_photo` gives it
        image = image[..., :1]
    if image.dtype in (np.uint8, np.uint16):
        return image
    if not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f"A photo is uint8, uint16, or float in [0, 1], received {image.dtype}.")
    if not (image.min() >= 0.0 and image.max() <= 1.0):
        raise ValueError(f"Float photos lie in [0, 1], received {image.min():.4g} to {image.max():.4g}.")
    return image

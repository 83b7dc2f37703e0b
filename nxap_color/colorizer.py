"""Photo in, photo out: everything that happens before and after the network."""

import copy
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from nxap_color import color, errors, saved
from nxap_color.corrections import correct_colours
from nxap_color.guidance import Hint, draw_hints
from nxap_color.images import shrink
from nxap_color.inference import find_stride, fused_features, mirror_inputs, run_network, takes_hints
from nxap_color.media.photos import read_photo
from nxap_color.palette import likely_colours
from nxap_color.prepared import Prepared, as_pixels, finish_photo, prepare_pixels
from nxap_color.references import Reference, find_details, refer_to_matches
from nxap_color.runtime import Inputs, Network, from_keras, require_keras

if TYPE_CHECKING:  # which brings Keras
    import keras

    from nxap_color.extractors import Extractor

# Pictures longer than this many times their width are shrunk further than others, so that a 1 x 4000
# strip does not become 768,000 pixels long on its way through the network.
MAX_ASPECT = 8.0
DEFAULT_NETWORK_SIZE = 192
# How many times as large as usual the network sees a photo at its two looks, the second at the mirror image.
# Looks of unlike size miss unlike things; larger ones are better for sharp photos, worse for grainy ones.
LOOKS = (5 / 6, 5 / 4)
MAX_VIVIDNESS = 2.0
GRAY_AB = 3.0  # ab units that no place of a gray photo exceeds


class Colorizer:
    """Colour photos with a network, keeping everything else of them.

    The photo is shrunk to a size at which things look as large as in training. The network decides the
    colours. They are brought to full size along the edges of the photo's own lightness, which is kept.

    Args:
        network: a `runtime.Network` as from `saved.load_network`, or a `keras.Model`: a dict of "lightness"
            (batch, H, W, 1) in [-1, 1] and, if it fuses features, those of its extractor by name -> ab /
            AB_SCALE (batch, h, w, 2), and behind it, if it takes hints, HINT_CHANNELS more channels.
        network_size: pixels of the shorter side on the way through the network; the aspect is kept.
        vividness: amount of colour: 0 gives gray, 1 the model's own, 2 about twice its chroma.
        chroma_gain: by how much the network's answer is amplified at vividness 1. Networks are less colourful
            than life; how much they gain from being turned up is found on validation photos.
        extractor: `extractors.Extractor`, the one whose features the model was trained on; for a model
            that fuses such features, and only for that.

    Raises:
        errors.UserError: if `vividness` is not in [0, 2].
        errors.ExtractorError: if the extractor does not fit the model.
        errors.ModelError: if the model has other inputs or another output, or answers at a size that is no
            fraction of its input's.

    Example:
        >>> colorizer = Colorizer.load()
        >>> colorizer.colorize(np.zeros((37, 53), "uint8")).shape
        (37, 53, 3)
    """

    def __init__(
        self,
        network: "Network | keras.Model",
        network_size: int = DEFAULT_NETWORK_SIZE,
        vividness: float = 1.0,
        chroma_gain: float = 1.0,
        extractor: "Extractor | None" = None,
    ):
        _require_vividness(vividness)
        network = network if isinstance(network, Network) else from_keras(network)
        saved.require_colorization_network(network, network.name)
        _require_features(network, extractor)
        self.network = network
        self.stride = find_stride(network)
        self.extractor = extractor
        self.network_size = network_size
        self.vividness = vividness
        self.chroma_gain = chroma_gain
        self.references: list[Reference] = []

    @classmethod
    def load(
        cls,
        name: str | Path = saved.DEFAULT_MODEL,
        vividness: float = 1.0,
        extractor_weights: str | None = None,
        extractor: "Extractor | None" = None,
    ) -> "Colorizer":
        """Load a shipped model by name, or any from a file, with the size and gain that its recipe names.

        A model that fuses features gets its extractor attached.

        Args:
            name: "unet", or the path of a `.keras` or `.onnx` file.
            vividness: as in the constructor.
            extractor_weights: as in `extractors.load_extractor`; None takes those that the recipe names.
            extractor: `extractors.Extractor` to attach; None loads the one of `extractors.EXTRACTORS` that
                the model was trained with.

        Returns:
            `Colorizer`.

        Raises:
            errors.ModelError: if the model is missing or cannot be used.
            errors.ExtractorError: if the weights of its extractor are missing, or not those it was trained
                with.
            errors.UsageError: if the model needs Keras, which is not installed.
        """
        network, recipe = saved.load_network(name), saved.load_recipe(name)
        size, gain = recipe.get("network_size", DEFAULT_NETWORK_SIZE), recipe.get("chroma_gain", 1.0)
        for fused in fused_features(network):  # one at most
            require_keras()
            from nxap_color import extractors  # which are Keras models

            trained = recipe.get("extractor") or {"weights": "imagenet"}
            if extractor is None:
                extractor = extractors.load_extractor(fused, extractor_weights or trained["weights"])
            extractors.require_same(extractor, trained, name)
        return cls(network, size, vividness, gain, extractor)

    def colorize(self, image: np.ndarray, hints: Sequence[Hint] = ()) -> np.ndarray:
        """Colour one photo.

        Args:
            image: array (H, W), (H, W, 1) or (H, W, 3) of any size; uint8, uint16, or float in [0, 1];
                sRGB. Of a colour or sepia photo only the lightness is used.
            hints: `guidance.Hint`s, places whose colours are known.

        Returns:
            Array (H, W, 3) of the same dtype, sRGB.

        Raises:
            errors.PhotoError: if it is not such an array.
            errors.HintError: if a hint lies outside the photo.
            errors.ModelError: if there are hints, and the network does not take any.
        """
        prepared = self.prepare(image)
        return self.finish(prepared, self.answer(prepared, hints), hints)

    def colorize_batch(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Colour several photos; those of the same shape go through the network together.

        Args:
            images: list of arrays as in `colorize`, sizes and dtypes may differ.

        Returns:
            List of arrays as from `colorize`, in the same order.

        Raises:
            errors.PhotoError: if one is not such an array.
        """
        photos = [self.prepare(image) for image in images]
        return [self.finish(*both) for both in zip(photos, self.answer_batch(photos), strict=True)]

    def prepare(self, image: np.ndarray) -> Prepared:
        """Prepare a photo, so that it can be coloured again and again, at once after each change of hints.

        Args:
            image: as in `colorize`.

        Returns:
            `Prepared`, to be given to `answer`, `finish` and `palette`.

        Raises:
            errors.PhotoError: if it is not such an array.

        Example:
            >>> colorizer = Colorizer.load()
            >>> prepared = colorizer.prepare(np.zeros((37, 53), "uint8"))
            >>> colorizer.finish(prepared, colorizer.answer(prepared)).shape
            (37, 53, 3)
        """
        pixels = as_pixels(image)
        features = self._features(pixels)
        smaller, larger = ({**self._lightness(pixels, times), **features} for times in LOOKS)
        return prepare_pixels(pixels, self._answer_size(pixels), (smaller, mirror_inputs(larger)))

    def answer(self, prepared: Prepared, hints: Sequence[Hint] = ()) -> np.ndarray:
        """Decide the colours of a photo. The network looks at it first, but not again when hints change.

        Args:
            prepared: `Prepared`, from `prepare`.
            hints: as in `colorize`.

        Returns:
            float32 array (h, w, 2), ab units at this vividness, corrected towards the hints.

        Raises:
            errors.HintError: if a hint lies outside the photo.
            errors.ModelError: if there are hints, and the network does not take any; or if it answers NaN or
                infinity.
        """
        (ab,) = self.answer_batch([prepared], [hints])
        return ab

    def answer_batch(
        self, photos: Sequence[Prepared], hints: Sequence[Sequence[Hint]] | None = None
    ) -> list[np.ndarray]:
        """Decide the colours of several photos as `answer` does; those of one shape go together.

        Args:
            photos: list of `Prepared`.
            hints: list of the hints of each; None without any.

        Returns:
            List of arrays as from `answer`.

        Raises:
            errors.HintError, errors.ModelError: as `answer`.
        """
        hints = hints or [()] * len(photos)
        if any(hints):
            self.require_hints()
        self._look_at([prepared for prepared in photos if prepared.looked[0] is not self.network])
        return [self._keep_to(*pair) for pair in zip(photos, hints, strict=True)]

    def _look_at(self, photos):
        """Have the network look at photos twice, as `prepare` gives them.

        A scene that is mirrored or nearer has the same colours; where the network is undecided, the mean of
        two looks is the safer answer.
        """
        answers = iter(self.predict_likeness([inputs for prepared in photos for inputs in prepared.inputs]))
        for prepared in photos:
            both = next(answers), next(answers)[:, ::-1]
            prepared.looks = np.stack([shrink(look, prepared.small.shape) for look in both])
            prepared.looked = self.network, None

    def _keep_to(self, prepared, hints):
        """The answer to a photo that the network has seen, corrected towards hints."""
        mean = prepared.looks.mean(axis=0)
        if prepared.looked[1] is not self.references:
            details = find_details(prepared.lightness) if self.references else None
            matches = [reference.match(details) for reference in self.references]
            prepared.references = [match for match in matches if match]
            if prepared.references:
                (prepared.usual,) = self.predict_likeness([self.network_input(prepared.pixels)])
            prepared.looked = self.network, self.references
        if prepared.references:
            # At one look: what is missed, and whether things are alike, belong together.
            ab = refer_to_matches(prepared.usual, prepared.references, self.gain)
        else:
            ab = self.amplify(mean[..., :2])
        if not hints:
            return ab
        drawn = draw_hints(hints, prepared.size, ab.shape[:2])
        return correct_colours(ab, drawn, mean[..., 2:], prepared.small)

    def finish(self, prepared: Prepared, ab: np.ndarray, hints: Sequence[Hint] = ()) -> np.ndarray:
        """Give a photo its colours at full size; see `prepared.finish_photo`.

        Args:
            prepared: `Prepared`, from `prepare`.
            ab: float32 array (h, w, 2), ab units, from `answer`.
            hints: the hints that `answer` was given.

        Returns:
            Array as from `colorize`.
        """
        return finish_photo(prepared, ab, hints)

    def palette(
        self,
        prepared: Prepared,
        x: float | str,
        y: float | str,
        count: int = 8,
        hints: Sequence[Hint] = (),
    ) -> list[str]:
        """List the colours that are likely at a place, to offer them to a user who is about to hint.

        Args:
            prepared: `Prepared`, from `prepare`.
            x, y: the place, as in `guidance.Hint`.
            count: how many at most; a network that is sure of itself has fewer.
            hints: those given so far, as in `colorize`.

        Returns:
            List of "#rrggbb" at the lightness of the place, all of them different, most likely first: what
            `answer` gives there; what the network answers to each of the two looks at the photo and its
            mirror image; what there is elsewhere in the photo at like lightness; and the first at other
            vividness.

        Raises:
            errors.HintError: if the place or a hint lies outside the photo.
        """
        answer = self.answer(prepared, hints)
        looks = [self.amplify(look[..., :2]) for look in prepared.looks]
        return likely_colours(prepared, Hint(x, y, "gray"), [answer, *looks], count)

    def require_hints(self) -> None:
        """Check that the network takes colour hints.

        Raises:
            errors.ModelError: if it does not; says which shipped model does.
        """
        if not takes_hints(self.network):
            others = " or ".join(saved.models_with_hints())
            remedy = f"use {others}" if others else "train one with --hints"
            raise errors.ModelError(f"The model {self.network.name} takes no colour hints; {remedy}.")

    def with_vividness(self, vividness: float) -> "Colorizer":
        """Return a colorizer with the same network and another amount of colour, 0 to 2.

        Raises:
            errors.UserError: if `vividness` is not in [0, 2].
        """
        _require_vividness(vividness)
        other = copy.copy(self)
        other.vividness = vividness
        return other

    def with_references(self, references: Mapping[str, np.ndarray | str | Path]) -> "Colorizer":
        """Return a colorizer that takes colours from other photos where they show the scene that it colours.

        Args:
            references: dict from a name to a colour photo: its path, or a uint8, uint16 or float array
                (H, W, 3), sRGB; such as another frame of the shot or a later picture of the place, mirrored
                or not. A photo of another scene changes nothing. `colorize_video` takes them for the shots
                that show their scenes, and so does `colorize_animation`; `colorize_frames` does not.

        Raises:
            errors.PhotoError: if one cannot be read, is no such array, or gray.
            errors.ModelError: if the network takes no colour hints.
        """
        self.require_hints()
        other = copy.copy(self)
        other.references = []
        for name, image in references.items():
            pixels = as_pixels(read_photo(image).rgb if isinstance(image, (str, Path)) else image)
            other.references += [self._refer_to(name, pixels), self._refer_to(name, pixels[:, ::-1], True)]
        return other

    def _refer_to(self, name, pixels, is_mirrored=False):
        """Make a `Reference`; of the photo, however large, it keeps what the network sees."""
        size = self._answer_size(pixels)
        (answer,) = self.predict_likeness([self.network_input(pixels)])
        small = np.broadcast_to(shrink(pixels, size), (*size, 3))
        true_ab = color.rgb_to_lab(small)[..., 1:]
        if np.abs(true_ab).max() < GRAY_AB:
            raise errors.PhotoError(f"The reference '{name}' is gray: expected a photo in colour.")
        details = find_details(prepare_pixels(pixels, size).lightness)
        return Reference(name, answer, true_ab, details, is_mirrored)

    @property
    def gain(self) -> float:
        """By how much the network's answer is amplified, 0 or above."""
        return self.vividness * self.chroma_gain

    def amplify(self, ab: np.ndarray) -> np.ndarray:
        """Bring what the network answers to this vividness; see `color.amplify_colours`.

        Args:
            ab: float32 array (h, w, 2), ab units, as from `predict_ab`.

        Returns:
            float32 array (h, w, 2), ab units.
        """
        return color.amplify_colours(ab, self.gain)

    def network_input(self, photo: np.ndarray) -> Inputs:
        """Preprocess a photo for the network, as training does.

        Args:
            photo: array (H, W, 1 or 3) as from `as_pixels`.

        Returns:
            Dict of the network's inputs for one photo, without a batch dimension: "lightness", float32 array
            (h, w, 1), L / LIGHTNESS_SCALE - 1, where h and w are multiples of the network's stride, in the
            aspect of the photo; and, for a network that fuses features, the extractor's vector, float32 array
            (num_features,), under the extractor's name.
        """
        return {**self._lightness(photo, 1.0), **self._features(photo)}

    def _lightness(self, photo, times):
        size = self.input_size(*photo.shape[:2], times)
        return {"lightness": color.scale_lightness(color.find_lightness(shrink(photo, size)))}

    def _answer_size(self, photo):
        """(h, w) of what the network answers to a photo at its usual look; looks are averaged at it."""
        return tuple(side // self.stride for side in self.input_size(*photo.shape[:2]))

    def _features(self, photo):
        return {self.extractor.name: self.extractor([photo])[0]} if self.extractor else {}

    def input_size(self, height: int, width: int, times: float = 1.0) -> tuple[int, int]:
        """Return the size (h, w) at which a picture of `height` x `width` pixels is given to the network.

        Args:
            height, width: pixels of the picture.
            times: how many times as large as usual.
        """
        scale = times * self.network_size / max(min(height, width), max(height, width) / MAX_ASPECT)
        height, width = (max(1, round(side * scale / self.stride)) * self.stride for side in (height, width))
        return height, width

    def predict_ab(self, inputs: Sequence[Inputs]) -> list[np.ndarray]:
        """Run the network once on each picture, and return the colours that it answers.

        Args:
            inputs: list of dicts as from `network_input`, sizes may differ.

        Returns:
            List of float32 arrays (h / stride, w / stride, 2), ab units, not amplified.

        Raises:
            errors.ModelError: if the network answers NaN or infinity.
        """
        return [answer[..., :2] for answer in self.predict_likeness(inputs)]

    def predict_likeness(self, inputs: Sequence[Inputs]) -> list[np.ndarray]:
        """Run the network once on each picture, and return all that it answers.

        Args:
            inputs: list of dicts as from `network_input`.

        Returns:
            List of float32 arrays (h / stride, w / stride, channels): ab units and, if it takes hints,
            likeness.

        Raises:
            errors.ModelError: if the network answers NaN or infinity.
        """
        scale = np.ones(self.network.output[-1], "float32")
        scale[:2] = color.AB_SCALE
        return [answer * scale for answer in run_network(self.network, self.stride, inputs)]


@functools.cache
def _load_once(model):
    return Colorizer.load(model)


def colorize(
    photo: str | Path | np.ndarray | Image.Image,
    model: str | Path = saved.DEFAULT_MODEL,
    vividness: float = 1.0,
    hints: Sequence[Hint] = (),
) -> np.ndarray | Image.Image:
    """Colour one photo, whatever it comes as. The model is loaded once and kept for later calls.

    Args:
        photo: path of a photo, an array as in `Colorizer.colorize`, or a Pillow image.
        model: name of a shipped model, or path of a `.keras` or `.onnx` file.
        vividness: amount of colour: 0 gives gray, 1 the model's own, at most 2.
        hints: `Hint`s, places whose colours are known, in pixels of the upright photo.

    Returns:
        Array (H, W, 3), sRGB, uint8 or of more bits as the photo has them; for a Pillow image a Pillow image
        of mode RGB.

    Raises:
        errors.UserError: if the photo cannot be read, the model is missing or takes no hints where there are
            any, a hint lies outside the photo, or `vividness` is out of range.
    """
    colorizer = _load_once(model).with_vividness(vividness)
    if isinstance(photo, Image.Image):
        return Image.fromarray(colorizer.colorize(np.asarray(photo.convert("RGB")), hints))
    if isinstance(photo, (str, Path)):
        photo = read_photo(photo).rgb
    return colorizer.colorize(photo, hints)


def _require_vividness(vividness):
    if not 0.0 <= vividness <= MAX_VIVIDNESS:
        raise errors.UserError(f"vividness lies in [0, {MAX_VIVIDNESS:g}], received {vividness}.")


def _require_features(network, extractor):
    """Check, by name and length, that an extractor gives what a network takes."""
    expected = fused_features(network)
    received = {extractor.name: extractor.num_features} if extractor else {}
    if expected != received:
        expected, received = (
            ", ".join(f"{name} ({length})" for name, length in features.items())
            for features in (expected, received)
        )
        raise errors.ExtractorError(
            f"{network.name} takes {expected or 'no'} features, the extractor gives {received or 'none'}."
        )

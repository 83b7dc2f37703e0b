"""The training pipeline: from photos of any size to batches of (inputs, ab) for `fit`.

    source -> photos (RGB, any size) -> crops (RGB, one size) -> batches ({"lightness": ...}, ab)

`training.sources.load_photos` makes the first arrow. Broken and gray photos are left out and counted. For a
network that fuses the features of an extractor, the inputs also have these, under the extractor's name.
"""

import functools
import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nxap_color.color import AB_SCALE, ab_bins, split_lightness_ab
from nxap_color.degrade import degrade
from nxap_color.errors import UserError
from nxap_color.guidance import simulate_hints

# A photo counts as gray when the spread of its opponent colours R-G and (R+G)/2-B stays below this, in
# 8-bit steps. The spread ignores a cast, so that sepia prints are found as well. On 5,000 photos 5 separated
# gray and sepia ones from overcast seas and snow. Left in, they teach the network to leave things gray.
GRAY_SPREAD = 5.0


def is_gray(rgb: np.ndarray) -> bool:
    """Return whether a photo has so little colour that it would teach a network to leave things gray.

    Args:
        rgb: uint8 array (H, W, 3), sRGB.

    Returns:
        True for gray and evenly toned (sepia) photos: spread of the opponent colours < `GRAY_SPREAD`.
    """
    # Every fourth pixel is enough, and 16 times as fast.
    red, green, blue = np.moveaxis(rgb[::4, ::4].astype("float32"), -1, 0)
    spread = np.hypot((red - green).std(), ((red + green) / 2.0 - blue).std())
    return bool(spread < GRAY_SPREAD)


def training_batches(
    photos: Any,
    image_size: tuple[int, int],
    batch_size: int,
    num_batches: int,
    seed: int = 0,
    first_epoch: int = 0,
    degraded: float = 0.0,
    min_crop: float = 0.6,
    features: Any = None,
    hints: bool = False,
) -> tf.data.Dataset:
    """Build the endless training pipeline: random crops and flips, in batches of (inputs, ab).

    Every epoch has exactly `num_batches` batches and depends only on the seed and its own number, so
    that a run resumed at an epoch sees what it would have seen without the stop.

    Args:
        photos: `training.sources.PhotoSet`.
        image_size: (height, width) of the crops after resizing, in pixels.
        batch_size: photos in a batch.
        num_batches: batches in an epoch. Where the photos give fewer, the epoch starts over on them.
        seed: whole number; the same one gives the same batches.
        first_epoch: number of the epoch to start with.
        degraded: share of the photos whose lightness is damaged like an old photo's (`degrade.degrade`); the
            colours to learn stay those of the clean one.
        min_crop: the smallest crop, as a share of the largest that fits; objects are seen at sizes from 1
            to 1 / min_crop.
        features: `training.features.PhotoFeatures`, or None. They are those of the clean photo, even where
            the lightness is degraded.
        hints: whether the network takes colour hints, simulated by `guidance.simulate_hints`.

    Returns:
        `tf.data.Dataset` of (inputs, ab). The inputs are a dict: "lightness", float32 (batch, height, width,
        1) in [-1, 1]; "hints", float32 (batch, height, width, 3), if the network takes them; and, with
        `features`, under their name, float32 (batch, num_features). The answer is ab / AB_SCALE, float32
        (batch, height, width, 2).
    """

    def epoch_batches(epoch):
        usable = _keep_usable(photos.train(epoch), photos.skipped).repeat()

        def crop(index, photo):
            name, rgb = photo
            return name, random_crop(rgb, image_size, (index, epoch + seed * 1_000_000), min_crop)

        def degrade_batch(index, batch):
            names, lightness, ab = batch
            return names, _degrade_some(lightness, degraded, (seed, epoch, index)), ab

        crops = usable.enumerate().map(crop, num_parallel_calls=tf.data.AUTOTUNE)
        batches = _to_lightness_ab(crops.batch(batch_size, drop_remainder=True).take(num_batches))
        if degraded:
            batches = batches.enumerate().map(degrade_batch, num_parallel_calls=tf.data.AUTOTUNE)
        return _for_fit(batches, features, functools.partial(_hint, (seed, epoch)) if hints else None)

    epochs = tf.data.Dataset.range(first_epoch, np.iinfo("int64").max)
    return epochs.flat_map(epoch_batches).prefetch(tf.data.AUTOTUNE)


def validation_batches(
    photos: Any,
    image_size: tuple[int, int],
    batch_size: int,
    features: Any = None,
    hints: bool = False,
) -> tf.data.Dataset:
    """Build the validation pipeline: one pass, the middle of each photo, nothing random.

    There is not a single hint in "hints", if the network takes them: so networks with and without compare.

    Args:
        photos: `training.sources.PhotoSet`.
        image_size: (height, width) of the crops after resizing, in pixels.
        batch_size: photos in a batch; the last one may be smaller.
        features, hints: as in `training_batches`.

    Returns:
        `tf.data.Dataset`, as from `training_batches`.
    """
    crops = _keep_usable(photos.validation, photos.skipped).map(
        lambda name, rgb: (name, centre_crop(rgb, image_size)), num_parallel_calls=tf.data.AUTOTUNE
    )
    hint = _hint_nothing if hints else None
    return _for_fit(_to_lightness_ab(crops.batch(batch_size)), features, hint).prefetch(tf.data.AUTOTUNE)


def mean_ab(batches: tf.data.Dataset, num_batches: int = 100) -> np.ndarray:
    """Average the colour of training batches: the answer of a network that learned nothing else.

    Args:
        batches: (inputs, ab), as from `training_batches`.
        num_batches: how many of them to average.

    Returns:
        (a, b) in ab units, float64 array (2,).
    """
    means = [np.mean(ab, axis=(0, 1, 2), dtype="float64") for _, ab in batches.take(num_batches)]
    return AB_SCALE * np.mean(means, axis=0)


def ab_histogram(batches: tf.data.Dataset, num_batches: int = 20) -> np.ndarray:
    """Count how often each of `color.ab_bins` occurs in training batches.

    Args:
        batches: (inputs, ab), as from `training_batches`.
        num_batches: how many of them to count.

    Returns:
        float64 array (bins,), shares that sum to 1.
    """
    bins = ab_bins()
    counts = np.zeros(len(bins))
    for _, ab in batches.take(num_batches):
        pixels = AB_SCALE * np.asarray(ab[:, ::4, ::4]).reshape(-1, 2)
        nearest = np.argmin((bins**2).sum(-1) - 2.0 * pixels @ bins.T, axis=-1)
        counts += np.bincount(nearest, minlength=len(bins))
    return counts / counts.sum()


def require_usable(photos: Any) -> None:
    """Look for the first usable photo of either part, before a training waits for it in vain.

    Args:
        photos: `training.sources.PhotoSet`.

    Raises:
        UserError: if all photos of a part are gray or broken.
    """
    for purpose, part in (("train", photos.train(0)), ("validate", photos.validation)):
        if not any(True for _ in _keep_usable(part, photos.skipped).take(1)):
            counts = ", ".join(f"{len(names)} {reason}" for reason, names in photos.skipped.items())
            raise UserError(f"None of the photos to {purpose} on can be used ({counts}): add colour photos.")


def random_crop(
    rgb: tf.Tensor | np.ndarray,
    image_size: tuple[int, int],
    seed: Sequence[int] | tf.Tensor,
    min_crop: float = 0.6,
) -> tf.Tensor:
    """Cut a random part in the shape of `image_size`, resize it, and mirror every second one.

    Only colours that are really there come out: no rotation or shear, whose filled corners would teach
    false colours, and no squashing.

    Args:
        rgb: uint8 tensor (H, W, 3).
        image_size: (height, width) to resize to, in pixels.
        seed: two whole numbers; the same pair gives the same crop.
        min_crop: its side is drawn from [min_crop, 1] times the largest that fits.

    Returns:
        float32 tensor (height, width, 3), sRGB in [0, 1].
    """
    seed = tf.cast(seed, tf.int64)
    share, top, left, mirror = tf.unstack(tf.random.stateless_uniform([4], seed))
    crop = _crop(rgb, image_size, min_crop + share * (1.0 - min_crop), top, left)
    return tf.cond(mirror < 0.5, lambda: crop, lambda: crop[:, ::-1])


def centre_crop(rgb: tf.Tensor | np.ndarray, image_size: tuple[int, int]) -> tf.Tensor:
    """Cut the largest middle part in the shape of `image_size`; arguments and result as `random_crop`."""
    return _crop(rgb, image_size, 1.0, 0.5, 0.5)


def _crop(rgb, image_size, share, top, left):
    """`share` of the largest crop, placed at the shares `top` and `left` of the room there is."""
    height, width = image_size
    size = tf.cast(tf.shape(rgb)[:2], tf.float32)
    scale = tf.minimum(size[0] / height, size[1] / width) * share
    crop_size = tf.maximum(tf.round(tf.stack([height * scale, width * scale])), 1.0)
    start = tf.cast((size - crop_size + 1.0) * tf.stack([top, left]), tf.int32)
    crop_size = tf.cast(crop_size, tf.int32)
    start = tf.minimum(start, tf.shape(rgb)[:2] - crop_size)
    crop = tf.slice(rgb, tf.concat([start, [0]], 0), tf.concat([crop_size, [3]], 0))
    crop = tf.image.resize(crop, image_size, antialias=True) / 255.0
    return tf.ensure_shape(crop, (height, width, 3))


def _keep_usable(photos, skipped):
    """Leave broken and gray photos out of pairs (name, rgb); their names go into `skipped`."""

    def usable(name, rgb):
        reason = "broken" if rgb.size == 0 else "gray" if is_gray(rgb) else None
        if reason:
            skipped[reason].add(os.fsdecode(name))
        return np.bool_(reason is None)

    def keep(name, rgb):
        return tf.ensure_shape(tf.numpy_function(usable, (name, rgb), tf.bool), ())

    return photos.filter(keep)


def _degrade_some(lightness, share, seed):
    """Degrade about `share` of the pictures of a batch (batch, H, W, 1)."""

    def degrade_some(lightness, *seed):
        chosen = np.random.default_rng(seed).random(len(lightness)) < share
        pairs = enumerate(zip(lightness, chosen, strict=True))
        # From 1, since NumPy takes (seed, 0) for (seed), with which the choice was made.
        return np.stack([degrade(photo, (*seed, index + 1)) if on else photo for index, (photo, on) in pairs])

    degraded = tf.numpy_function(degrade_some, (lightness, *seed), tf.float32)
    return tf.ensure_shape(degraded, lightness.shape)


def _to_lightness_ab(batches):
    """(names, rgb) -> (names, lightness, ab)."""
    if keras.backend.backend() not in ("tensorflow", "jax"):
        raise UserError(
            f"The training pipeline needs Keras on TensorFlow or JAX, received {keras.backend.backend()}. "
            "Set KERAS_BACKEND=tensorflow."
        )

    def split(names, rgb):
        if keras.backend.backend() == "tensorflow":
            return names, *split_lightness_ab(rgb)
        # JAX cannot compute inside a pipeline of TensorFlow's, but NumPy can.
        parts = tf.numpy_function(split_lightness_ab, (rgb,), (tf.float32, tf.float32))
        shapes = [(*rgb.shape[:-1], channels) for channels in (1, 2)]
        return names, *map(tf.ensure_shape, parts, shapes)

    return batches.map(split, num_parallel_calls=tf.data.AUTOTUNE)


def _hint(seed, index, ab):
    """Simulate hints for the batch of a number, from its colours (batch, H, W, 2)."""

    def simulate(ab, *seed):
        return np.stack([simulate_hints(photo, (*seed, number)) for number, photo in enumerate(ab)])

    hints = tf.numpy_function(simulate, (ab, *seed, index), tf.float32)
    return tf.ensure_shape(hints, (*ab.shape[:3], 3))


def _hint_nothing(index, ab):
    return tf.zeros_like(tf.repeat(ab[..., :1], 3, axis=-1))


def _for_fit(batches, features, hint):
    """(names, lightness, ab) -> (inputs by name, ab); `hint` makes hints of a batch's number and its ab."""

    def name_inputs(index, batch):
        names, lightness, ab = batch
        inputs = {"lightness": lightness}
        if hint:
            inputs["hints"] = hint(index, ab)
        if features is not None:
            inputs[features.name] = features.of(names)
        return inputs, ab

    return batches.enumerate().map(name_inputs, num_parallel_calls=tf.data.AUTOTUNE)

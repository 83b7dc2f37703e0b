"""The training pipeline: from photos of any size to batches of (inputs, ab) for `fit`.

    source -> photos (RGB, any size) -> crops (RGB) -> batches of one size each ({"lightness": ...}, ab)

`training.sources.load_photos` makes the first arrow. Broken, gray and pale photos are left out and counted.
Photos smaller than the crops are cut to the size at which they are sharp. For a network that fuses the
features of an extractor, the inputs also have these, under the extractor's name.
"""

import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nxap_color.color import AB_SCALE, ab_bins, split_lightness_ab
from nxap_color.crops import centre_crop, random_crop, sharp_size
from nxap_color.degrade import degrade, draw_emulsion, record
from nxap_color.errors import UserError
from nxap_color.metrics import colorfulness

# A photo counts as gray when the spread of its opponent colours R-G and (R+G)/2-B stays below this, in
# 8-bit steps. The spread ignores a cast, so that sepia prints are found as well. On 5,000 photos 5 separated
# gray and sepia ones from overcast seas and snow. Left in, they teach the network to leave things gray.
GRAY_SPREAD = 5.0

# Sides of the grid of pixels, at least, on which the colorfulness of large photos is measured.
COLORFULNESS_SIDE = 128


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
    emulsions: float = 0.0,
    devices: int = 1,
) -> tf.data.Dataset:
    """Build the endless training pipeline: random crops and flips, in batches of (inputs, ab).

    Every epoch has exactly `num_batches` batches and depends only on the seed and its own number, so
    that a run resumed at an epoch sees what it would have seen without the stop.

    Args:
        photos: `training.sources.PhotoSet`.
        image_size: (height, width) of the crops after resizing, in pixels; see `sharp_size` for small photos.
        batch_size: photos in a batch; of small ones as many more as have the same number of pixels.
        num_batches: batches in an epoch. Where the photos give fewer, the epoch starts over on them.
        seed: whole number; the same one gives the same batches.
        first_epoch: number of the epoch to start with.
        degraded: share of the photos whose lightness is damaged like an old photo's (`degrade.degrade`); the
            colours to learn stay those of the clean one.
        min_crop: the smallest crop, as a share of the largest that fits; objects are seen at sizes from 1
            to 1 / min_crop.
        features: `training.features.PhotoFeatures`, or None. They are those of the clean photo, even where
            the lightness is degraded.
        emulsions: share of the photos whose lightness is that of another emulsion (`degrade.draw_emulsion`),
            before any damage; the colours to learn stay.
        devices: the number of photos in a batch is a multiple of it, if `batch_size` is.

    Returns:
        `tf.data.Dataset` of (inputs, ab). The inputs are a dict: "lightness", float32 (batch, height, width,
        1) in [-1, 1], and, with `features`, under their name, float32 (batch, num_features). The answer is
        ab / AB_SCALE, float32 (batch, height, width, 2).
    """

    def epoch_batches(epoch):
        usable = _keep_usable(photos.train(epoch), photos).repeat()

        def crop(index, photo):
            name, rgb = photo
            size = sharp_size(rgb, image_size)
            return name, random_crop(rgb, size, (index, epoch + seed * 1_000_000), min_crop)

        def record_batch(index, batch):
            names, rgb, lightness, ab = batch
            return names, rgb, _record_some(rgb, lightness, emulsions, (seed, epoch, index)), ab

        def degrade_batch(index, batch):
            names, rgb, lightness, ab = batch
            return names, rgb, _degrade_some(lightness, degraded, (seed, epoch, index)), ab

        crops = usable.enumerate().map(crop, num_parallel_calls=tf.data.AUTOTUNE)
        batches = _to_lightness_ab(_batch_by_size(crops, image_size, batch_size, devices).take(num_batches))
        for share, change in ((emulsions, record_batch), (degraded, degrade_batch)):
            if share:
                batches = batches.enumerate().map(change, num_parallel_calls=tf.data.AUTOTUNE)
        return _for_fit(batches, features)

    epochs = tf.data.Dataset.range(first_epoch, np.iinfo("int64").max)
    return epochs.flat_map(epoch_batches).prefetch(tf.data.AUTOTUNE)


def validation_batches(
    photos: Any,
    image_size: tuple[int, int],
    batch_size: int,
    features: Any = None,
) -> tf.data.Dataset:
    """Build the validation pipeline: one pass, the middle of each photo, nothing random.

    Args:
        photos: `training.sources.PhotoSet`.
        image_size: (height, width) of the crops after resizing, in pixels.
        batch_size: photos in a batch, as in `training_batches`; the last one of each size may have fewer.
        features: as in `training_batches`.

    Returns:
        `tf.data.Dataset`, as from `training_batches`.
    """
    crops = _keep_usable(photos.validation, photos).map(
        lambda name, rgb: (name, centre_crop(rgb, sharp_size(rgb, image_size))),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    batches = _to_lightness_ab(_batch_by_size(crops, image_size, batch_size))
    return _for_fit(batches, features).prefetch(tf.data.AUTOTUNE)


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
        UserError: if all photos of a part are gray, pale or broken.
    """
    for purpose, part in (("train", photos.train(0)), ("validate", photos.validation)):
        if not any(True for _ in _keep_usable(part, photos).take(1)):
            counts = ", ".join(f"{len(names)} {reason}" for reason, names in photos.skipped.items())
            raise UserError(f"None of the photos to {purpose} on can be used ({counts}): add colour photos.")


def _keep_usable(part, photos):
    """Leave broken, gray and pale photos out of the pairs (name, rgb) of a part; note their names."""

    def usable(name, rgb):
        if rgb.size and hash(name) in photos.usable:
            return np.bool_(True)  # measured in an earlier epoch
        if reason := _find_fault(rgb, photos.min_colorfulness):
            photos.skipped[reason].add(os.fsdecode(name))
        else:
            photos.usable.add(hash(name))
        return np.bool_(reason is None)

    def keep(name, rgb):
        return tf.ensure_shape(tf.numpy_function(usable, (name, rgb), tf.bool), ())

    return part.filter(keep)


def _find_fault(rgb, min_colorfulness):
    """Why a photo teaches no colour, or None."""
    if not rgb.size:
        return "broken"
    if is_gray(rgb):
        return "gray"
    step = max(1, min(rgb.shape[:2]) // COLORFULNESS_SIDE)
    return "pale" if colorfulness(rgb[::step, ::step]) < min_colorfulness else None


def _batch_by_size(crops, image_size, batch_size, devices=1):
    """Pairs (name, rgb) -> batches of one size each, in the order in which they are full."""
    base = 2**20  # above any side

    def number_of(size):
        pixels = (size // base) * (size % base)
        count = batch_size * (image_size[0] * image_size[1]) // pixels
        return tf.maximum(count // devices, 1) * devices

    def key(name, rgb):
        height, width = tf.unstack(tf.shape(rgb, tf.int64)[:2])
        return height * base + width

    return crops.group_by_window(
        key, lambda size, window: window.batch(number_of(size)), window_size_func=number_of
    )


def _degrade_some(lightness, share, seed):
    """Degrade about `share` of the pictures of a batch (batch, H, W, 1)."""

    def degrade_some(lightness, *seed):
        chosen = np.random.default_rng(seed).random(len(lightness)) < share
        pairs = enumerate(zip(lightness, chosen, strict=True))
        # From 1, since NumPy takes (seed, 0) for (seed), with which the choice was made.
        return np.stack([degrade(photo, (*seed, index + 1)) if on else photo for index, (photo, on) in pairs])

    degraded = tf.numpy_function(degrade_some, (lightness, *seed), tf.float32)
    return tf.ensure_shape(degraded, lightness.shape)


def _record_some(rgb, lightness, share, seed):
    """Replace about `share` of the lightness (batch, H, W, 1) by what other emulsions record of the rgb."""

    def record_some(rgb, lightness, *seed):
        # The seeds of `_degrade_some` have no 0 in this place: emulsion and damage are independent.
        chosen = np.random.default_rng((*seed, 0, 1)).random(len(rgb)) < share
        lightness = lightness.copy()  # TensorFlow's own memory
        for index in np.flatnonzero(chosen):
            lightness[index] = record(rgb[index], draw_emulsion((*seed, 0, index + 2)))
        return lightness

    recorded = tf.numpy_function(record_some, (rgb, lightness, *seed), tf.float32)
    return tf.ensure_shape(recorded, lightness.shape)


def _to_lightness_ab(batches):
    """(names, rgb) -> (names, rgb, lightness, ab)."""
    if keras.backend.backend() not in ("tensorflow", "jax"):
        raise UserError(
            f"The training pipeline needs Keras on TensorFlow or JAX, received {keras.backend.backend()}. "
            "Set KERAS_BACKEND=tensorflow."
        )

    def split(names, rgb):
        if keras.backend.backend() == "tensorflow":
            return names, rgb, *split_lightness_ab(rgb)
        # JAX cannot compute inside a pipeline of TensorFlow's, but NumPy can.
        parts = tf.numpy_function(split_lightness_ab, (rgb,), (tf.float32, tf.float32))
        shapes = [(*rgb.shape[:-1], channels) for channels in (1, 2)]
        return names, rgb, *map(tf.ensure_shape, parts, shapes)

    return batches.map(split, num_parallel_calls=tf.data.AUTOTUNE)


def _for_fit(batches, features):
    """(names, rgb, lightness, ab) -> (inputs by name, ab)."""

    def name_inputs(names, rgb, lightness, ab):
        inputs = {"lightness": lightness}
        if features is not None:
            inputs[features.name] = features.of(names)
        return inputs, ab

    return batches.map(name_inputs, num_parallel_calls=tf.data.AUTOTUNE)

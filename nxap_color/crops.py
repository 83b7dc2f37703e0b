"""Crops of photos for training: random or in the middle, at the size at which they are sharp."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from nxap_color.runtime import SIZE_MULTIPLE


def sharp_size(rgb: tf.Tensor | np.ndarray, image_size: tuple[int, int]) -> tf.Tensor:
    """Find the largest size up to `image_size` to which a photo can be cut without being enlarged.

    Args:
        rgb: uint8 tensor (H, W, 3).
        image_size: (height, width) of crops, in pixels.

    Returns:
        int32 tensor (2,), (height, width): `image_size`; for a smaller photo what fits of it, in multiples
        of `SIZE_MULTIPLE` and at least that.
    """
    fits = tf.reduce_min(tf.shape(rgb)[:2] / tf.constant(image_size))
    multiples = tf.cast(fits * np.float64(image_size) / SIZE_MULTIPLE + 1e-6, tf.int32)
    return tf.where(fits < 1.0, tf.maximum(multiples, 1) * SIZE_MULTIPLE, image_size)


def random_crop(
    rgb: tf.Tensor | np.ndarray,
    image_size: tuple[int, int] | tf.Tensor,
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


def centre_crop(rgb: tf.Tensor | np.ndarray, image_size: tuple[int, int] | tf.Tensor) -> tf.Tensor:
    """Cut the largest middle part in the shape of `image_size`; arguments and result as `random_crop`."""
    return _crop(rgb, image_size, 1.0, 0.5, 0.5)


def _crop(rgb, image_size, share, top, left):
    """`share` of the largest crop, placed at the shares `top` and `left` of the room there is."""
    size, shape = (tf.cast(some, tf.float32) for some in (tf.shape(rgb)[:2], image_size))
    crop_size = tf.maximum(tf.round(shape * tf.reduce_min(size / shape) * share), 1.0)
    start = tf.cast((size - crop_size + 1.0) * tf.stack([top, left]), tf.int32)
    crop_size = tf.cast(crop_size, tf.int32)
    start = tf.minimum(start, tf.shape(rgb)[:2] - crop_size)
    crop = tf.slice(rgb, tf.concat([start, [0]], 0), tf.concat([crop_size, [3]], 0))
    crop = tf.image.resize(crop, image_size, antialias=True) / 255.0
    return tf.ensure_shape(crop, (None, None, 3))

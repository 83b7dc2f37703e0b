"""Takes the colour from photos, lets models put it back, and measures the difference."""

import time
import zlib

import numpy as np

from nxap_color import color, metrics
from nxap_color.degrade import degrade_photo
from nxap_color.high_depth import to_uint8
from nxap_color.image_io import PhotoError
from nxap_color.photo_files import own_name, read_listed


def measure_photos(names, colorizers, mean_ab, report_error=lambda name, reason: None, degraded=False):
    """Measures methods on photos, the two baselines always among them.

    Args:
        names: iterable of photos, as from `photo_files.list_photos`.
        colorizers: dict from a label to a `Colorizer`.
        mean_ab: (a, b) in ab units, the answer of the second baseline.
        report_error: function (name, reason), called for each photo that cannot be measured.
        degraded: whether the photos are given an old photo's damage first, always the same to a photo
            of the same name. The truth then is the damaged photo in its own colours.

    Yields:
        For each photo its name, and two dicts from method ("gray", "mean ab", then the labels): the
        figures of `metrics.compare_photos` with "seconds" added; and the pictures, uint8 (H, W, 3), with
        "truth".
    """
    compared = methods(colorizers, mean_ab)
    for name in names:
        try:
            truth = to_uint8(read_listed(name).rgb)
            if not np.ptp(truth, axis=-1).any():
                raise PhotoError("This photo is gray: there is no true colour to compare with.")
            if degraded:
                truth = degrade_photo(truth, zlib.crc32(own_name(name).encode(errors="surrogateescape")))
            results, pictures = {}, {"truth": truth}
            for label, method in compared.items():
                start = time.perf_counter()
                pictures[label] = method(truth)
                seconds = time.perf_counter() - start
                results[label] = {**metrics.compare_photos(pictures[label], truth), "seconds": seconds}
        except (PhotoError, ValueError) as error:
            report_error(name, error)
            continue
        yield name, results, pictures


def methods(colorizers, mean_ab):
    """Names what is compared: a dict from label to a function uint8 (H, W, 3) -> uint8 (H, W, 3)."""

    def constant(ab):
        def colour(rgb):
            lightness, _ = color.split_lightness_ab(rgb.astype("float32") / 255.0)
            everywhere = np.broadcast_to(np.float32(ab) / color.AB_SCALE, (*rgb.shape[:2], 2))
            return np.uint8(np.rint(color.join_lightness_ab(lightness, everywhere) * 255.0))

        return colour

    baselines = {"gray": constant((0.0, 0.0)), "mean ab": constant(mean_ab)}
    return baselines | {label: colorizer.colorize for label, colorizer in colorizers.items()}

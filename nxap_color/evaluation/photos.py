"""From the figures of single photos to tables: means, bootstrap intervals, groups."""

import csv
import re
import time
import zlib

import numpy as np

from nxap_color import color, metrics
from nxap_color.degrade import degrade_photo
from nxap_color.errors import PhotoError
from nxap_color.images import to_uint8
from nxap_color.media.collections import own_name, read_listed

COLUMNS = ("PSNR dB", "95 %", "SSIM", "dE00", "95 %", "ab error", "ratio", "95 %", "s/photo")
CSV_COLUMNS = (
    "psnr", "psnr_low", "psnr_high", "ssim", "delta_e", "delta_e_low", "delta_e_high", "ab_error",
    "colorfulness_ratio", "colorfulness_ratio_low", "colorfulness_ratio_high", "seconds",
)  # fmt: skip
RESAMPLES = 2000


def summarize(photos):
    """Averages the figures of photos, and tells how far the choice of photos may have moved the means.

    Args:
        photos: list of dicts from method to figures, as `measure_photos` yields.

    Returns:
        Dict from method to a dict: the means of `metrics.compare_photos`, the "colorfulness_ratio" of the
        means of results and truths, the median "seconds", and the 95 % intervals "psnr_interval",
        "delta_e_interval" and "colorfulness_ratio_interval", each [low, high] (percentile bootstrap over
        photos; Efron, Tibshirani 1993).
    """
    drawn = _resamples(len(photos))

    def ratio(results, truths):
        return results / np.maximum(truths, 1e-9)

    summary = {}
    for label in photos[0]:
        figures = {key: np.array([photo[label][key] for photo in photos]) for key in photos[0][label]}
        means = {key: float(values.mean()) for key, values in figures.items()}
        result, truth = (figures[key][drawn].mean(axis=1) for key in ("colorfulness", "true_colorfulness"))
        means["colorfulness_ratio"] = float(ratio(means["colorfulness"], means["true_colorfulness"]))
        means["colorfulness_ratio_interval"] = _interval(ratio(result, truth))
        for key in ("psnr", "delta_e"):
            means[f"{key}_interval"] = _interval(figures[key][drawn].mean(axis=1))
        means["seconds"] = float(np.median(figures["seconds"]))
        summary[label] = means
    return summary


def psnr_gains(photos, label):
    """Compares the PSNR of one method with that of the others photo by photo.

    Photos differ far more from each other than methods do on one photo, so that this tells better than the
    intervals of two means whether the methods differ.

    Args:
        photos: list of dicts, as in `summarize`.
        label: the method to compare with all others.

    Returns:
        Dict from every other method to [gain, low, high] in dB: the mean gain of `label` over it, and its
        95 % interval by bootstrap over photos.
    """
    drawn = _resamples(len(photos))
    gains = {}
    for other in photos[0]:
        gain = np.array([photo[label]["psnr"] - photo[other]["psnr"] for photo in photos])
        gains[other] = [float(gain.mean()), *_interval(gain[drawn].mean(axis=1))]
    del gains[label]
    return gains


def without_seed(label):
    """Takes the number off the end of a model's name: "runs/wide-2.keras x0.8" -> "runs/wide x0.8"."""
    return re.sub(r"[-_]\d+(\.keras)?(?= x[\d.]+$|$)", "", label)


def pool_seeds(photos):
    """Takes models whose names differ in the number at their end for one, trained from several seeds.

    Intervals of the result are still those of the choice of photos; how far seeds move a mean is told by the
    second answer.

    Args:
        photos: list of dicts, as in `summarize`.

    Returns:
        Such a list with `without_seed` of the names, and the mean figures of the models of that name. And a
        dict from these names to the mean PSNR of each of the models, where there are several.
    """
    members = {}
    for label in photos[0]:
        members.setdefault(without_seed(label), []).append(label)

    def mean(photo, labels):
        return {key: float(np.mean([photo[label][key] for label in labels])) for key in photo[labels[0]]}

    pooled = [{name: mean(photo, labels) for name, labels in members.items()} for photo in photos]
    single = {
        name: [float(np.mean([photo[label]["psnr"] for photo in photos])) for label in labels]
        for name, labels in members.items()
        if len(labels) > 1
    }
    return pooled, single


def summarize_groups(photos, groups):
    """Summarizes each group of photos on its own.

    Args:
        photos: list of dicts, as in `summarize`.
        groups: list of texts, the group of each photo.

    Returns:
        Dict from group to {"photos": how many, "results": what `summarize` returns}; empty if there is
        one group only.
    """
    if len(set(groups)) < 2:
        return {}
    members = {group: [p for p, g in zip(photos, groups, strict=True) if g == group] for group in groups}
    return {
        group: {"photos": len(members[group]), "results": summarize(members[group])}
        for group in sorted(members)
    }


def _resamples(count):
    """Indices of photos drawn with replacement, the same ones every time."""
    return np.random.default_rng(0).integers(count, size=(RESAMPLES, count))


def _interval(values):
    return [float(value) for value in np.percentile(values, (2.5, 97.5))]


def write_csv(path, summary):
    """Writes the result of `summarize`, a line for each method, with the ends of intervals in columns."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["method", *CSV_COLUMNS])
        for label, row in summary.items():
            figures = dict(row)
            for key in ("psnr", "delta_e", "colorfulness_ratio"):
                figures[f"{key}_low"], figures[f"{key}_high"] = row[f"{key}_interval"]
            writer.writerow([label, *(f"{figures[column]:.4g}" for column in CSV_COLUMNS)])


def read_csv(path):
    """Reads a table of figures, such as `write_csv` or a training writes.

    Args:
        path: `Path` of a CSV file with a head.

    Returns:
        Dict from what stands in the first column to a dict from the other columns to floats, where there
        are any.
    """
    with path.open(newline="", encoding="utf-8") as file:
        head, *lines = csv.reader(file)
    return {
        label: {column: float(cell) for column, cell in zip(head[1:], cells, strict=True) if cell}
        for label, *cells in lines
    }


def table(summary):
    """Formats the result of `summarize` as lines of text for a terminal."""
    width = max(len(label) for label in summary) + 2
    lines = [" " * width + "".join(f"{column:>13}" for column in COLUMNS)]
    for label, row in summary.items():
        cells = (
            f"{row['psnr']:.2f}", "{:.2f}-{:.2f}".format(*row["psnr_interval"]), f"{row['ssim']:.3f}",
            f"{row['delta_e']:.2f}", "{:.2f}-{:.2f}".format(*row["delta_e_interval"]),
            f"{row['ab_error']:.2f}", f"{row['colorfulness_ratio']:.2f}",
            "{:.2f}-{:.2f}".format(*row["colorfulness_ratio_interval"]), f"{row['seconds']:.3f}",
        )  # fmt: skip
        lines.append(f"{label:<{width}}" + "".join(f"{cell:>13}" for cell in cells))
    return "\n".join(lines)


def measure_photos(names, colorizers, mean_ab, report_error=lambda name, reason: None, degraded=False):
    """Measures methods on photos, the two baselines always among them.

    Args:
        names: iterable of photos, as from `collections.list_photos`.
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

"""Measure methods on photos, and summarize: means, bootstrap intervals, groups, seeds, tables."""

import csv
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nxap_color import color, metrics
from nxap_color.degrade import EMULSIONS, degrade_photo, record_photo
from nxap_color.errors import PhotoError, UserError
from nxap_color.evaluation.vividness import BASELINES
from nxap_color.images import to_uint8
from nxap_color.media.collections import own_name, read_listed

if TYPE_CHECKING:
    from nxap_color.colorizer import Colorizer

CSV_COLUMNS = (
    "psnr", "psnr_low", "psnr_high", "gain", "gain_low", "gain_high", "ssim", "delta_e", "delta_e_low",
    "delta_e_high", "ab_error", "colorfulness_ratio", "colorfulness_ratio_low", "colorfulness_ratio_high",
    "colorfulness_ratio_absolute", "recovered_red", "recovered_blue", "fd_lite0", "seconds",
)  # fmt: skip
RESAMPLES = 2000
# What is kept of the sums over the strong reds and blues of each photo.
SHARES = {"recovered_red": ("red", "true_red"), "recovered_blue": ("blue", "true_blue")}

Method = Callable[[np.ndarray], np.ndarray]  # uint8 (H, W, 3) -> uint8 (H, W, 3)
Figures = dict[str, dict[str, float]]  # of one photo: from method to what `metrics.compare_photos` measures


def measure_photos(
    names: Iterable[str],
    colorizers: dict[str, "Colorizer"],
    mean_ab: tuple[float, float],
    report_error: Callable[[str, UserError], None] = lambda name, reason: None,
    degraded: bool = False,
    emulsion: str | None = None,
) -> Iterator[tuple[str, Figures, dict[str, np.ndarray]]]:
    """Measure methods on photos, the two baselines always among them.

    Args:
        names: photos, as from `collections.list_photos`.
        colorizers: dict from a label to a `Colorizer`.
        mean_ab: (a, b) in ab units, the answer of the second baseline.
        report_error: function (name, reason), called for each photo that cannot be measured.
        degraded: whether the photos are given an old photo's damage first, always the same for a photo of
            the same name. The truth then is the damaged photo in its own colours.
        emulsion: name in `degrade.EMULSIONS` of what records the photos, before any damage. The truth then
            has the lightness that it recorded, and the photo's own colours.

    Yields:
        For each photo its name, and two dicts from method ("gray", "mean ab", then the labels): the
        figures of `metrics.compare_photos` with "seconds" added; and the pictures, uint8 (H, W, 3), with
        "truth".
    """
    compared = methods(colorizers, mean_ab)
    for name in names:
        try:
            truth = _read_truth(name, degraded, emulsion)
            results, pictures = {}, {"truth": truth}
            for label, method in compared.items():
                start = time.perf_counter()
                pictures[label] = method(truth)
                seconds = time.perf_counter() - start
                results[label] = {**metrics.compare_photos(pictures[label], truth), "seconds": seconds}
        except UserError as error:
            report_error(name, error)
            continue
        yield name, results, pictures


def _read_truth(name, degraded, emulsion):
    """Read a photo to measure on, uint8 (H, W, 3); PhotoError if it is gray or too small."""
    truth = to_uint8(read_listed(name).rgb)
    if min(truth.shape[:2]) < metrics.MIN_SIDE:
        raise PhotoError(
            f"This photo is too small to be measured: at least {metrics.MIN_SIDE} pixels on a side."
        )
    if not np.ptp(truth, axis=-1).any():
        raise PhotoError("This photo is gray: there is no true colour to compare with.")
    if emulsion:
        truth = record_photo(truth, EMULSIONS[emulsion])
    if degraded:
        truth = degrade_photo(truth, zlib.crc32(own_name(name).encode(errors="surrogateescape")))
    return truth


def methods(colorizers: dict[str, "Colorizer"], mean_ab: tuple[float, float]) -> dict[str, Method]:
    """Return what is compared, the two baselines first: a dict from label to a function of a photo.

    Args:
        colorizers: dict from a label to a `Colorizer`.
        mean_ab: (a, b) in ab units, the answer of the second baseline.
    """

    def constant(ab):
        def colour(rgb):
            lightness, _ = color.split_lightness_ab(rgb.astype("float32") / 255.0)
            everywhere = np.broadcast_to(np.float32(ab) / color.AB_SCALE, (*rgb.shape[:2], 2))
            return np.uint8(np.rint(color.join_lightness_ab(lightness, everywhere) * 255.0))

        return colour

    baselines = dict(zip(BASELINES, (constant((0.0, 0.0)), constant(mean_ab)), strict=True))
    return baselines | {label: colorizer.colorize for label, colorizer in colorizers.items()}


def summarize(photos: list[Figures]) -> dict[str, dict[str, Any]]:
    """Average the figures of photos, and find how far the choice of photos may have moved the means.

    Args:
        photos: dicts from method to figures, as `measure_photos` yields.

    Returns:
        Dict from method to a dict: the means of `metrics.compare_photos`; "gain", the PSNR over that of
        gray photo by photo, where gray is among the methods; "colorfulness_ratio" and
        "colorfulness_ratio_absolute" of the means of results and truths; "recovered_red" and
        "recovered_blue", the share of strong reds and blues that comes out, over all photos together, None
        where no photo has any; the median "seconds"; and the 95 % intervals "psnr_interval",
        "gain_interval", "delta_e_interval" and "colorfulness_ratio_interval", each [low, high] (percentile
        bootstrap over photos; Efron, Tibshirani 1993).
    """
    summary = {}
    for label in photos[0]:
        figures = {key: np.array([photo[label][key] for photo in photos]) for key in photos[0][label]}
        if BASELINES[0] in photos[0]:
            figures["gain"] = figures["psnr"] - [photo[BASELINES[0]]["psnr"] for photo in photos]
        sums = {key: figures.pop(key).sum() for pair in SHARES.values() for key in pair}
        means = {key: float(values.mean()) for key, values in figures.items()}
        for suffix in ("", "_absolute"):
            pair = figures[f"colorfulness{suffix}"], figures[f"true_colorfulness{suffix}"]
            means[f"colorfulness_ratio{suffix}"] = float(_ratio_of_means(*pair))
        pair = figures["colorfulness"], figures["true_colorfulness"]
        means["colorfulness_ratio_interval"] = _interval(_ratio_of_means, *pair)
        for key in {"psnr", "gain", "delta_e"} & set(figures):
            means[f"{key}_interval"] = _interval(np.mean, figures[key])
        for name, (result, truth) in SHARES.items():
            means[name] = float(sums[result] / sums[truth]) if sums[truth] else None
        means["seconds"] = float(np.median(figures["seconds"]))
        summary[label] = means
    return summary


def _ratio_of_means(results, truths, axis=-1):
    return results.mean(axis) / np.maximum(truths.mean(axis), 1e-9)


def _interval(statistic, *figures):
    """Compute the 95 % interval [low, high] of a statistic of arrays (photos,), drawn together."""
    from scipy.stats import bootstrap  # here, since importing it takes half a second

    if len(figures[0]) < 2:  # SciPy refuses to draw from one photo
        return [float(statistic(*figures, axis=-1))] * 2
    with np.errstate(invalid="ignore"):  # the infinite PSNR of equal pictures
        found = bootstrap(
            figures, statistic, n_resamples=RESAMPLES, method="percentile", paired=True, vectorized=True,
            rng=np.random.default_rng(0),  # the same photos are drawn every time
        )  # fmt: skip
    return [float(end) for end in found.confidence_interval]


def psnr_gains(photos: list[Figures], label: str) -> dict[str, list[float]]:
    """Compare the PSNR of one method with that of the others photo by photo.

    Photos differ far more from each other than methods do on one photo, so this shows whether methods differ
    more clearly than the intervals of two means.

    Args:
        photos: as in `summarize`.
        label: the method to compare with all others.

    Returns:
        Dict from every other method to [gain, low, high] in dB: the mean gain of `label` over it, and its
        95 % interval by bootstrap over photos.
    """
    gains = {}
    for other in photos[0]:
        gain = np.array([photo[label]["psnr"] - photo[other]["psnr"] for photo in photos])
        gains[other] = [float(gain.mean()), *_interval(np.mean, gain)]
    del gains[label]
    return gains


def without_seed(label: str) -> str:
    """Remove the number at the end of a model's name: "runs/wide-2.keras x0.8" -> "runs/wide x0.8"."""
    return re.sub(r"[-_]\d+(\.keras)?(?= x[\d.]+$|$)", "", label)


def pool_seeds(photos: list[Figures]) -> tuple[list[Figures], dict[str, list[float]]]:
    """Treat models whose names differ in the number at their end as one, trained from several seeds.

    Intervals of the result still reflect the choice of photos; the second result shows how far seeds move a
    mean.

    Args:
        photos: as in `summarize`.

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


def pool_distances(distances: dict[str, float]) -> dict[str, float]:
    """Average figures of whole sets, a dict from method to float, as `pool_seeds` does those of photos."""
    members = {}
    for label, distance in distances.items():
        members.setdefault(without_seed(label), []).append(distance)
    return {name: float(np.mean(found)) for name, found in members.items()}


def summarize_groups(photos: list[Figures], groups: list[str]) -> dict[str, dict[str, Any]]:
    """Summarize each group of photos on its own.

    Args:
        photos: as in `summarize`.
        groups: the group of each photo.

    Returns:
        Dict from group to {"photos": how many, "results": what `summarize` returns}; empty if there is
        only one group.
    """
    if len(set(groups)) < 2:
        return {}
    members = {group: [p for p, g in zip(photos, groups, strict=True) if g == group] for group in groups}
    return {
        group: {"photos": len(members[group]), "results": summarize(members[group])}
        for group in sorted(members)
    }


def write_csv(path: Path, summary: dict[str, dict[str, Any]]) -> None:
    """Write the result of `summarize`, a line for each method, with the ends of intervals in columns.

    Cells of what was not measured are empty.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["method", *CSV_COLUMNS])
        for label, row in summary.items():
            figures = dict(row)
            for key in ("psnr", "gain", "delta_e", "colorfulness_ratio"):
                figures[f"{key}_low"], figures[f"{key}_high"] = row.get(f"{key}_interval", (None, None))
            cells = (figures.get(column) for column in CSV_COLUMNS)
            writer.writerow([label, *("" if cell is None else f"{cell:.4g}" for cell in cells)])


def read_csv(path: Path) -> dict[str, dict[str, float]]:
    """Read a table of figures, such as `write_csv` or a training writes.

    Args:
        path: a CSV file with a head.

    Returns:
        Dict from the first column to a dict from the other columns to floats; empty cells are left out.
    """
    with path.open(newline="", encoding="utf-8") as file:
        head, *lines = csv.reader(file)
    return {
        label: {column: float(cell) for column, cell in zip(head[1:], cells, strict=True) if cell}
        for label, *cells in lines
    }

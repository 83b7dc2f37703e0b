"""From the figures of single photos to tables: means, bootstrap intervals, groups."""

import csv
import re

import numpy as np

COLUMNS = ("PSNR dB", "95 %", "SSIM", "dE00", "95 %", "ab error", "ratio", "95 %", "s/photo")
CSV_COLUMNS = (
    "psnr", "psnr_low", "psnr_high", "ssim", "delta_e", "delta_e_low", "delta_e_high", "ab_error",
    "colorfulness_ratio", "colorfulness_ratio_low", "colorfulness_ratio_high", "seconds",
)  # fmt: skip
RESAMPLES = 2000


def summarize(photos):
    """Averages the figures of photos, and tells how far the choice of photos may have moved the means.

    Args:
        photos: list of dicts from method to figures, as `photo_scores.measure_photos` yields.

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

"""From models and photos to one report: measured photo by photo, as tables, JSON and a contact sheet."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from nxap_color.errors import ExtractorError, UsageError
from nxap_color.evaluation.vividness import (
    BASELINES,
    COMPARED_RATIO,
    gains_at_ratio,
    label_vividness,
    models_of,
)
from nxap_color.images import contact_sheet
from nxap_color.media.collections import group_in, list_photos, own_name
from nxap_color.media.kinds import PHOTO_SUFFIXES
from nxap_color.media.photos import Photo, write_photo

if TYPE_CHECKING:  # Keras, which takes seconds to start, is imported once it is clear what to do
    from nxap_color.colorizer import Colorizer

# Used where a model has no recipe that names the mean colour of its training photos.
FALLBACK_MEAN_AB = (2.6, 9.3)
SHEET_HEIGHT = 128
PLOT_SUFFIXES = (".png", ".svg", ".pdf")
# Of the table on a terminal: heading, key, format. It is at most 120 characters wide; CSV and JSON have more.
COLUMNS = (
    ("PSNR", "psnr", "{:.2f}"),
    ("gain", "gain", "{:+.2f}"),
    ("95 %", "gain_interval", "{:+.2f} to {:+.2f}"),
    ("SSIM", "ssim", "{:.3f}"),
    ("dE00", "delta_e", "{:.2f}"),
    ("ab error", "ab_error", "{:.2f}"),
    ("ratio", "colorfulness_ratio", "{:.2f}"),
    ("95 %", "colorfulness_ratio_interval", "{:.2f}-{:.2f}"),
    ("|ratio|", "colorfulness_ratio_absolute", "{:.2f}"),
    ("red", "recovered_red", "{:.0%}"),
    ("blue", "recovered_blue", "{:.0%}"),
    ("FD", "fd_lite0", "{:.2f}"),
    ("s/photo", "seconds", "{:.3f}"),
)


def check_outputs(
    json: Path | None = None, csv: Path | None = None, plot: Path | None = None, sheet: Path | None = None
) -> None:
    """Check, before any work is done, that what is asked for can be written.

    Args:
        json, csv, plot, sheet: the files to write, each None if it is not wanted.

    Raises:
        UsageError: if a name has the wrong suffix, is a model's, is given twice, or has no folder.
    """
    if sheet and sheet.suffix.lower() not in PHOTO_SUFFIXES:
        raise UsageError(f"--sheet must end in one of {', '.join(sorted(PHOTO_SUFFIXES))}, not {sheet}.")
    for path in filter(None, (json, csv)):
        if path.with_suffix(".keras").exists():
            raise UsageError(f"{path} is the place of a model's recipe or log: choose another name.")
    if plot and plot.suffix.lower() not in PLOT_SUFFIXES:
        raise UsageError(f"--plot must end in one of {', '.join(PLOT_SUFFIXES)}, not {plot}.")
    outputs = [path for path in (json, csv, plot, sheet) if path]
    if len(set(outputs)) < len(outputs):
        raise UsageError("--json, --csv, --plot and --sheet need a file each, received one name twice.")
    for path in outputs:
        if not path.parent.is_dir():
            raise UsageError(f"There is no folder {path.parent} to write {path.name} to.")


def find_photos(source: str | Path) -> list[str]:
    """Return the names of the photos of a source, as `collections.list_photos`.

    Raises:
        UserError: if there is nothing to measure on.
    """
    names = list_photos(source)
    if not names:
        raise UsageError(f"{source} has no photos to measure on.")
    return names


def load_methods(
    models: list[str], vividness: list[float], extractor_weights: str | None = None
) -> tuple[dict[str, "Colorizer"], tuple[float, float]]:
    """Load models, each at several amounts of colour.

    Args:
        models: names of shipped models, or paths of `.keras` files.
        vividness: amounts of colour in [0, 2], as in `Colorizer`.
        extractor_weights: as in `Colorizer.load`.

    Returns:
        Dict from label to `Colorizer`, and the mean (a, b) of the first model's training photos, ab units.

    Raises:
        UserError: if a model is missing or cannot be used.
    """
    from nxap_color import saved
    from nxap_color.colorizer import Colorizer

    colorizers = {}
    for name in models:
        shipped = Colorizer.load(name, extractor_weights=extractor_weights)
        for amount in vividness:
            colorizers[label_vividness(name, amount)] = shipped.with_vividness(amount)
    recipe = saved.load_recipe(models[0])
    return colorizers, tuple(recipe.get("data", {}).get("mean_ab", FALLBACK_MEAN_AB))


def measure_models(
    source: str | Path,
    names: list[str],
    colorizers: dict[str, "Colorizer"],
    mean_ab: tuple[float, float],
    degraded: bool = False,
    pooled: bool = False,
    sheet_photos: int = 0,
    quiet: bool = True,
    frechet: bool = False,
    emulsions: Sequence[str] = (),
) -> tuple[dict, list[list[np.ndarray]]]:
    """Measure models on photos; name on stderr what cannot be measured.

    Args:
        source: where the photos are, as in `find_photos`: its folders are the groups.
        names: the photos, as from `find_photos`.
        colorizers, mean_ab: as from `load_methods`.
        degraded: whether to give the photos an old photo's damage first.
        pooled: whether models whose names differ in the number at their end count as one.
        sheet_photos: how many photos to keep for a contact sheet, spread evenly over `names`.
        quiet: whether to leave out the progress bar.
        frechet: whether to measure FD-Lite0 too. Where its weights are not installed, a line on stderr says
            so, and the rest is measured.
        emulsions: names for `emulsions.measure_emulsions`.

    Returns:
        Dict of what is worth keeping, for JSON; empty if no photo could be measured. And the rows of the
        sheet, lists of uint8 arrays (H, W, 3): gray, each model, truth.
    """
    from nxap_color.evaluation import photos

    sets = _load_feature_sets() if frechet else None
    failed, measured, groups, rows = [], [], [], []
    step = max(1.0, len(names) / max(1, sheet_photos))
    on_sheet = {names[int(row * step)] for row in range(min(sheet_photos, len(names)))}

    def report_error(name: str, reason: Exception) -> None:
        failed.append(own_name(name))
        tqdm.write(f"error: {name}: {reason}", file=sys.stderr)

    bar = tqdm(names, unit="photo", disable=True if quiet else None)  # None: only on a terminal
    for name, figures, pictures in photos.measure_photos(bar, colorizers, mean_ab, report_error, degraded):
        measured.append(figures)
        groups.append(group_in(source, name))
        if sets:
            sets.add(pictures)
        if name in on_sheet:
            rows.append([pictures[label] for label in ("gray", *colorizers, "truth")])
    if not measured:
        return {}, []
    by_emulsion = {}
    if emulsions:
        from nxap_color.evaluation.emulsions import measure_emulsions

        by_emulsion = measure_emulsions(emulsions, names, colorizers, mean_ab, measured, degraded, quiet)
    report = {
        "source": Path(source).name,
        "degraded": degraded,
        "photos": len(measured),
        "mean_ab": list(mean_ab),
        "failed": failed,
        "emulsions": by_emulsion,
        **_summarize_all(measured, groups, next(iter(colorizers)), pooled, sets.distances() if sets else {}),
    }
    return report, rows


def _summarize_all(measured, groups, first, pooled, distances):
    """Return the part of a report that is computed from the figures of all photos."""
    from nxap_color.evaluation import photos

    seeds = {}
    if pooled:
        first = photos.without_seed(first)
        measured, seeds = photos.pool_seeds(measured)
        distances = photos.pool_distances(distances)
    results = photos.summarize(measured)
    for label, distance in distances.items():
        results[label]["fd_lite0"] = distance
    return {
        "results": results,
        "gain_at_ratio": {"ratio": COMPARED_RATIO, "of": gains_at_ratio(results)},
        "psnr_of_seeds": seeds,
        "psnr_gains": {"of": first, "over": photos.psnr_gains(measured, first)},
        "groups": photos.summarize_groups(measured, groups),
    }


def _load_feature_sets():
    """Return empty `frechet.FeatureSets`; None, and a line on stderr, where the weights are not installed."""
    from nxap_color.evaluation.frechet import FeatureSets

    try:
        return FeatureSets()
    except ExtractorError as error:
        print(f"FD-Lite0 is left out: {error}", file=sys.stderr)
        return None


def format_report(report: dict) -> str:
    """Return the tables of a report, as from `measure_models`, as lines for a terminal."""
    degraded = ", degraded" if report["degraded"] else ""
    lines = [f"{report['photos']} photos of {report['source']}{degraded}", format_table(report["results"])]
    lines += _format_gains(report["gain_at_ratio"], report["results"])
    for label, psnr in report["psnr_of_seeds"].items():
        single = ", ".join(f"{value:.2f}" for value in psnr)
        lines.append(f"PSNR of {label} from single seeds: {single} dB")
    first = report["psnr_gains"]["of"]
    for other, (gain, low, high) in report["psnr_gains"]["over"].items():
        if other == BASELINES[0]:  # in the table
            continue
        interval = f"{gain:+.2f} dB ({low:+.2f} to {high:+.2f})"
        lines.append(f"PSNR of {first} over {other}, photo by photo: {interval}")
    if report["emulsions"]:
        from nxap_color.evaluation.emulsions import format_emulsions

        lines += ["", format_emulsions(report["emulsions"])]
    for group, part in report["groups"].items():
        lines += ["", f"{part['photos']} photos of {group}", format_table(part["results"])]
    return "\n".join(lines)


def _format_gains(gain_at_ratio, results):
    """Return a line for each model: its gain at equal colorfulness, or why there is none."""
    ratio, lines = gain_at_ratio["ratio"], []
    models = models_of(results)
    for model, gain in gain_at_ratio["of"].items():
        if gain is None:
            measured = ", ".join(f"{row['colorfulness_ratio']:.2f}" for row in models[model])
            found = f"not measured, needs amounts of --vividness on both sides of it (ratio: {measured})"
        else:
            found = f"{gain:+.2f} dB over gray, interpolated"
        lines.append(f"G at ratio {ratio} of {model}: {found}")
    return lines


def format_table(summary: dict[str, dict[str, Any]]) -> str:
    """Format the result of `photos.summarize` as lines of text for a terminal.

    Columns of what was not measured are left out; a method without a figure that others have gets "-".
    """
    rows = [["", *(heading for heading, *_ in COLUMNS)]]
    for label, row in summary.items():
        values = [(row.get(key), style) for _, key, style in COLUMNS]
        rows.append([label, *("-" if value is None else _cell(value, style) for value, style in values)])
    columns = [column for column in zip(*rows, strict=True) if set(column[1:]) != {"-"}]
    widths = [max(map(len, column)) for column in columns]
    lines = zip(*columns, strict=True)
    return "\n".join(
        "  ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])]) for cells in lines
    )


def _cell(value, style):
    text = style.format(*value) if isinstance(value, list) else style.format(value)
    return "0%" if text == "-0%" else text


def write_json(path: Path, report: dict) -> None:
    """Write a report as indented JSON."""
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def write_sheet(path: Path, rows: list[list[np.ndarray]]) -> None:
    """Write a contact sheet of rows as from `measure_models`, two of them side by side: they fit a page."""
    pairs = [first + second for first, second in zip(rows[::2], [*rows[1::2], []], strict=False)]
    write_photo(path, Photo(contact_sheet(pairs, SHEET_HEIGHT)), quality=85)


def write_outputs(
    report: dict,
    rows: list[list[np.ndarray]],
    json: Path | None = None,
    csv: Path | None = None,
    sheet: Path | None = None,
) -> list[Path]:
    """Write what `measure_models` returns into those files that are named; return these."""
    if json:
        write_json(json, report)
    if csv:
        from nxap_color.evaluation.photos import write_csv

        write_csv(csv, report["results"])
    if rows:
        write_sheet(sheet, rows)
    return [path for path in (json, csv, sheet if rows else None) if path]

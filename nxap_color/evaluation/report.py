"""From models and photos to one report: measured photo by photo, as tables, JSON and a contact sheet."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from nxap_color.errors import UsageError
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
            label = name if amount == 1.0 else f"{name} x{amount:g}"
            colorizers[label] = shipped.with_vividness(amount)
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
        emulsions: names for `emulsions.measure_emulsions`.

    Returns:
        Dict of what is worth keeping, for JSON; empty if no photo could be measured. And the rows of the
        sheet, lists of uint8 arrays (H, W, 3): gray, each model, truth.
    """
    from nxap_color.evaluation import photos

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
        if name in on_sheet:
            rows.append([pictures[label] for label in ("gray", *colorizers, "truth")])
    if not measured:
        return {}, []
    by_emulsion = {}
    if emulsions:
        from nxap_color.evaluation.emulsions import measure_emulsions

        by_emulsion = measure_emulsions(emulsions, names, colorizers, mean_ab, measured, degraded, quiet)
    first, seeds = next(iter(colorizers)), {}
    if pooled:
        first = photos.without_seed(first)
        measured, seeds = photos.pool_seeds(measured)
    report = {
        "source": Path(source).name,
        "degraded": degraded,
        "photos": len(measured),
        "mean_ab": list(mean_ab),
        "failed": failed,
        "emulsions": by_emulsion,
        "results": photos.summarize(measured),
        "psnr_of_seeds": seeds,
        "psnr_gains": {"of": first, "over": photos.psnr_gains(measured, first)},
        "groups": photos.summarize_groups(measured, groups),
    }
    return report, rows


def format_report(report: dict) -> str:
    """Return the tables of a report, as from `measure_models`, as lines for a terminal."""
    from nxap_color.evaluation.photos import format_table

    degraded = ", degraded" if report["degraded"] else ""
    lines = [f"{report['photos']} photos of {report['source']}{degraded}", format_table(report["results"])]
    for label, psnr in report["psnr_of_seeds"].items():
        single = ", ".join(f"{value:.2f}" for value in psnr)
        lines.append(f"PSNR of {label} from single seeds: {single} dB")
    first = report["psnr_gains"]["of"]
    for other, (gain, low, high) in report["psnr_gains"]["over"].items():
        interval = f"{gain:+.2f} dB ({low:+.2f} to {high:+.2f})"
        lines.append(f"PSNR of {first} over {other}, photo by photo: {interval}")
    if report["emulsions"]:
        from nxap_color.evaluation.emulsions import format_emulsions

        lines += ["", format_emulsions(report["emulsions"])]
    for group, part in report["groups"].items():
        lines += ["", f"{part['photos']} photos of {group}", format_table(part["results"])]
    return "\n".join(lines)


def write_json(path: Path, report: dict) -> None:
    """Write a report as indented JSON."""
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def write_sheet(path: Path, rows: list[list[np.ndarray]]) -> None:
    """Write a contact sheet of rows as from `measure_models`, two of them side by side: they fit a page."""
    pairs = [first + second for first, second in zip(rows[::2], [*rows[1::2], []], strict=False)]
    write_photo(path, Photo(contact_sheet(pairs, SHEET_HEIGHT)), quality=85)

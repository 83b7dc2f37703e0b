"""Measures models on colour photos: `python -m nxap_color.evaluate FOLDER`."""

import argparse
import json
import sys
import time
from pathlib import Path

from tqdm import tqdm

from nxap_color.image_io import PHOTO_SUFFIXES, Photo, PhotoError, to_uint8, write_photo
from nxap_color.photo_files import list_photos, own_name, read_listed
from nxap_color.plotting import contact_sheet
from nxap_color.terminal import start_quietly

# Used where a model has no recipe that names the mean colour of its training photos.
FALLBACK_MEAN_AB = (2.6, 9.3)
SHEET_PHOTOS = 24
SHEET_HEIGHT = 128
COLUMNS = ("PSNR dB", "SSIM", "dE00", "ab error", "colorfulness", "ratio", "s/photo")


def make_parser():
    """Builds the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m nxap_color.evaluate",
        description="Take the colour from colour photos, let models put it back, and measure the difference.",
    )
    parser.add_argument("folder", metavar="FOLDER", help="folder or zip of colour photos")
    parser.add_argument(
        "--model", nargs="+", default=["unet"], metavar="NAME|FILE", help="one or more models (default: unet)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="write a picture: gray, models, truth")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def evaluate(names, colorizers, mean_ab, report_error=lambda name, reason: None):
    """Measures methods on photos, the two baselines always among them.

    Args:
        names: iterable of photos, as from `photo_files.list_photos`.
        colorizers: dict from a label to a `Colorizer`.
        mean_ab: (a, b) in ab units, the answer of the second baseline.
        report_error: function (name, reason), called for each photo that cannot be measured.

    Yields:
        For each photo two dicts from method ("gray", "mean ab", then the labels): the figures of
        `metrics.compare_photos` with "seconds" added; and the pictures, uint8 (H, W, 3), with "truth".
    """
    import numpy as np

    from nxap_color import metrics

    compared = methods(colorizers, mean_ab)
    for name in names:
        try:
            truth = to_uint8(read_listed(name).rgb)
            if not np.ptp(truth, axis=-1).any():
                raise PhotoError("This photo is gray: there is no true colour to compare with.")
            results, pictures = {}, {"truth": truth}
            for label, method in compared.items():
                start = time.perf_counter()
                pictures[label] = method(truth)
                seconds = time.perf_counter() - start
                results[label] = {**metrics.compare_photos(pictures[label], truth), "seconds": seconds}
        except (PhotoError, ValueError) as error:
            report_error(name, error)
            continue
        yield results, pictures


def methods(colorizers, mean_ab):
    """Names what is compared: a dict from label to a function uint8 (H, W, 3) -> uint8 (H, W, 3)."""
    import numpy as np

    from nxap_color import color

    def constant(ab):
        def colour(rgb):
            lightness, _ = color.split_lightness_ab(rgb.astype("float32") / 255.0)
            everywhere = np.broadcast_to(np.float32(ab) / color.AB_SCALE, (*rgb.shape[:2], 2))
            coloured = np.asarray(color.join_lightness_ab(lightness, everywhere))
            return np.uint8(np.rint(coloured * 255.0))

        return colour

    baselines = {"gray": constant((0.0, 0.0)), "mean ab": constant(mean_ab)}
    return baselines | {label: colorizer.colorize for label, colorizer in colorizers.items()}


def summarize(photos):
    """Averages the figures of photos.

    Args:
        photos: list of dicts, the figures that `evaluate` yields.

    Returns:
        Dict from method to a dict of floats: the means of `metrics.compare_photos`, the
        "colorfulness_ratio" of the means of results and truths, and the median "seconds".
    """
    import numpy as np

    summary = {}
    for label in photos[0]:
        rows = [photo[label] for photo in photos]
        means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        means["colorfulness_ratio"] = means["colorfulness"] / max(means["true_colorfulness"], 1e-9)
        means["seconds"] = float(np.median([row["seconds"] for row in rows]))
        summary[label] = means
    return summary


def table(summary):
    """Formats the result of `summarize` as lines of text for a terminal."""
    width = max(len(label) for label in summary) + 2
    lines = [" " * width + "".join(f"{column:>14}" for column in COLUMNS)]
    for label, row in summary.items():
        cells = (
            f"{row['psnr']:.2f}", f"{row['ssim']:.3f}", f"{row['delta_e']:.2f}", f"{row['ab_error']:.2f}",
            f"{row['colorfulness']:.1f}", f"{row['colorfulness_ratio']:.2f}", f"{row['seconds']:.3f}",
        )  # fmt: skip
        lines.append(f"{label:<{width}}" + "".join(f"{cell:>14}" for cell in cells))
    return "\n".join(lines)


def pair_up(rows):
    """Puts every two rows side by side, so that a long sheet fits a page."""
    return [first + second for first, second in zip(rows[::2], [*rows[1::2], []], strict=False)]


def load(args):
    """Lists the photos and loads the models that a command line names.

    Args:
        args: the namespace of `make_parser`.

    Returns:
        The names of the photos, a dict from label to `Colorizer`, and the mean ab of the training photos
        of the first model.

    Raises:
        ValueError, OSError: if there is nothing to measure on, or a model is missing or cannot be used.
    """
    names = list_photos(args.folder)
    if not names:
        raise ValueError(f"{args.folder} has no photos to measure on.")
    if args.sheet and args.sheet.suffix.lower() not in PHOTO_SUFFIXES:
        raise ValueError(f"--sheet must end in one of {', '.join(sorted(PHOTO_SUFFIXES))}, not {args.sheet}.")
    if args.json and args.json.with_suffix(".keras").exists():
        raise ValueError(f"--json {args.json} is the place of a model's recipe: choose another name.")
    for path in (args.json, args.sheet):
        if path and not path.parent.is_dir():
            raise ValueError(f"There is no folder {path.parent} to write {path.name} to.")
    start_quietly()
    from nxap_color import models
    from nxap_color.colorizer import Colorizer

    colorizers = {name: Colorizer.load(name) for name in args.model}
    recipe = models.load_recipe(args.model[0])
    return names, colorizers, recipe.get("data", {}).get("mean_ab", FALLBACK_MEAN_AB)


def main(arguments=None):
    """Runs the command line; returns 0, 1 if some photos could not be measured, or 2 for wrong usage."""
    args = make_parser().parse_args(arguments)
    try:
        names, colorizers, mean_ab = load(args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    failed, photos, rows = [], [], []

    def report_error(name, reason):
        failed.append(own_name(name))
        tqdm.write(f"error: {name}: {reason}", file=sys.stderr)

    bar = tqdm(names, unit="photo", disable=True if args.quiet else None)  # None: only on a terminal
    for figures, pictures in evaluate(bar, colorizers, mean_ab, report_error):
        photos.append(figures)
        if args.sheet and len(rows) < SHEET_PHOTOS:
            rows.append([pictures[label] for label in ("gray", *colorizers, "truth")])
    if not photos:
        return 1
    summary = summarize(photos)
    print(f"{len(photos)} photos of {args.folder}")
    print(table(summary))
    if args.json:
        report = {"source": Path(args.folder).name, "photos": len(photos), "mean_ab": list(mean_ab)}
        text = json.dumps({**report, "failed": failed, "results": summary}, indent=2)
        args.json.write_text(text + "\n", encoding="utf-8")
        print(f"wrote {args.json}")
    if args.sheet:
        write_photo(args.sheet, Photo(contact_sheet(pair_up(rows), SHEET_HEIGHT)), quality=85)
        print(f"wrote {args.sheet}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Measures models on colour photos: `python -m nxap_color.evaluate FOLDER`."""

import argparse
import json
import sys
import time
from pathlib import Path

from tqdm import tqdm

from nxap_color.image_io import PhotoError, read_photo
from nxap_color.photo_files import list_photos, open_photo, own_name
from nxap_color.terminal import quiet_start

# Used where a model has no recipe that names the mean colour of its training photos.
FALLBACK_MEAN_AB = (2.6, 9.3)
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
        For each photo a dict from method ("gray", "mean ab", then the labels) to the dict of
        `metrics.compare_photos` with "seconds" added.
    """
    import numpy as np

    from nxap_color import metrics

    for name in names:
        try:
            truth = read_photo(open_photo(name)).rgb
            truth = truth if truth.dtype == np.uint8 else np.uint8(truth // 257)
            results = {}
            for label, method in methods(colorizers, mean_ab).items():
                start = time.perf_counter()
                coloured = method(truth)
                seconds = time.perf_counter() - start
                results[label] = {**metrics.compare_photos(coloured, truth), "seconds": seconds}
        except (PhotoError, ValueError) as error:
            report_error(name, error)
            continue
        yield results


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
        photos: list of dicts as from `evaluate`.

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


def main(arguments=None):
    """Runs the command line; returns 0, 1 if some photos could not be measured, or 2 for wrong usage."""
    args = make_parser().parse_args(arguments)
    try:
        names = list_photos(args.folder)
        if not names:
            raise ValueError(f"{args.folder} has no photos to measure on.")
        with quiet_start():
            from nxap_color import models
            from nxap_color.colorizer import Colorizer
        colorizers = {str(name): Colorizer.load(name) for name in args.model}
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    recipe = models.load_recipe(args.model[0])
    mean_ab = recipe.get("data", {}).get("mean_ab", FALLBACK_MEAN_AB)
    failed = []

    def report_error(name, reason):
        failed.append(own_name(name))
        tqdm.write(f"error: {name}: {reason}", file=sys.stderr)

    bar = tqdm(names, unit="photo", disable=True if args.quiet else None)  # None: only on a terminal
    photos = list(evaluate(bar, colorizers, mean_ab, report_error))
    if not photos:
        return 1
    summary = summarize(photos)
    print(f"{len(photos)} photos of {args.folder}")
    print(table(summary))
    if args.json:
        report = {"source": Path(args.folder).name, "photos": len(photos), "mean_ab": list(mean_ab),
                  "failed": failed, "results": summary}  # fmt: skip
        args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        print(f"wrote {args.json}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

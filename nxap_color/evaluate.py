"""Measures models on colour photos and films: `python -m nxap_color.evaluate FOLDER`."""

import argparse
import copy
import json
import sys
from pathlib import Path

from tqdm import tqdm

from nxap_color.cli.console import EXTRACTOR_WEIGHTS_HELP, number_between, positive, start_quietly
from nxap_color.evaluation import photos
from nxap_color.images import contact_sheet
from nxap_color.media.collections import group_in, list_photos, own_name
from nxap_color.media.films import is_film
from nxap_color.media.photos import PHOTO_SUFFIXES, Photo, write_photo
from nxap_color.teaching.plotting import plot_tradeoff

# Used where a model has no recipe that names the mean colour of its training photos.
FALLBACK_MEAN_AB = (2.6, 9.3)
SHEET_HEIGHT = 128
PLOT_SUFFIXES = (".png", ".svg", ".pdf")


def make_parser():
    """Builds the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m nxap_color.evaluate",
        description="Take the colour from colour photos, let models put it back, and measure the difference.",
    )
    add = parser.add_argument
    add("folder", metavar="FOLDER", help="folder or zip of colour photos, or a colour film")
    add(
        "--model", nargs="+", default=["unet"], metavar="NAME|FILE", help="one or more models (default: unet)"
    )
    add("--extractor-weights", metavar="FILE", help=EXTRACTOR_WEIGHTS_HELP)
    add(
        "--pool-seeds",
        action="store_true",
        help="take models whose names differ in their last number (net-0.keras, net-1.keras) for one",
    )
    add("--degrade", action="store_true", help="give the photos an old photo's damage first")
    add(
        "--vividness",
        nargs="+",
        type=number_between(0, 2),
        default=[1.0],
        metavar="V",
        help="measure each model at these amounts of colour (default: 1, as it is)",
    )
    add("--json", type=Path, metavar="FILE", help="write the figures there, by groups of photos too")
    add("--csv", type=Path, metavar="FILE", help="write the table there")
    add("--plot", type=Path, metavar="FILE", help="draw PSNR against colorfulness: .png, .svg or .pdf")
    add("--sheet", type=Path, metavar="FILE", help="write a picture: gray, models, truth")
    add("--sheet-photos", type=positive, default=24, metavar="N", help="how many photos of it (default: 24)")
    add("--quiet", action="store_true", help="no progress bar")
    return parser


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
    check_outputs(args)
    start_quietly()
    from nxap_color import saved
    from nxap_color.colorizer import Colorizer

    colorizers = {}
    for name in args.model:
        shipped = Colorizer.load(name, extractor_weights=args.extractor_weights)
        for vividness in args.vividness:
            label = name if vividness == 1.0 else f"{name} x{vividness:g}"
            colorizers[label] = copy.copy(shipped)
            colorizers[label].vividness = vividness
    recipe = saved.load_recipe(args.model[0])
    return names, colorizers, recipe.get("data", {}).get("mean_ab", FALLBACK_MEAN_AB)


def check_outputs(args):
    """Makes sure, before any work is done, that what a command line asks for can be written.

    Args:
        args: the namespace of `make_parser`.

    Raises:
        ValueError: if a name has the wrong suffix, is a model's, is given twice, or has no folder.
    """
    if args.sheet and args.sheet.suffix.lower() not in PHOTO_SUFFIXES:
        raise ValueError(f"--sheet must end in one of {', '.join(sorted(PHOTO_SUFFIXES))}, not {args.sheet}.")
    for path in filter(None, (args.json, args.csv)):
        if path.with_suffix(".keras").exists():
            raise ValueError(f"{path} is the place of a model's recipe or log: choose another name.")
    if args.plot and args.plot.suffix.lower() not in PLOT_SUFFIXES:
        raise ValueError(f"--plot must end in one of {', '.join(PLOT_SUFFIXES)}, not {args.plot}.")
    outputs = [path for path in (args.json, args.csv, args.plot, args.sheet) if path]
    if len(set(outputs)) < len(outputs):
        raise ValueError("--json, --csv, --plot and --sheet need a file each, received one name twice.")
    for path in outputs:
        if not path.parent.is_dir():
            raise ValueError(f"There is no folder {path.parent} to write {path.name} to.")


def measure(args, names, colorizers, mean_ab):
    """Evaluates with a progress bar, naming on stderr what cannot be measured.

    Args:
        args: the namespace of `make_parser`.
        names, colorizers, mean_ab: as from `load`.

    Returns:
        A dict of what is worth keeping, as `--json` writes it; empty if no photo could be measured. And
        the rows of the contact sheet, of photos spread evenly over `names`.
    """
    from nxap_color.evaluation.photos import measure_photos

    failed, photos, groups, rows = [], [], [], []
    step = max(1.0, len(names) / args.sheet_photos)
    on_sheet = {names[int(row * step)] for row in range(min(args.sheet_photos, len(names)))}

    def report_error(name, reason):
        failed.append(own_name(name))
        tqdm.write(f"error: {name}: {reason}", file=sys.stderr)

    bar = tqdm(names, unit="photo", disable=True if args.quiet else None)  # None: only on a terminal
    for name, figures, pictures in measure_photos(bar, colorizers, mean_ab, report_error, args.degrade):
        photos.append(figures)
        groups.append(group_in(args.folder, name))
        if args.sheet and name in on_sheet:
            rows.append([pictures[label] for label in ("gray", *colorizers, "truth")])
    if not photos:
        return {}, []
    first, seeds = next(iter(colorizers)), {}
    if args.pool_seeds:
        first = photos.without_seed(first)
        photos, seeds = photos.pool_seeds(photos)
    report = {
        "source": Path(args.folder).name,
        "degraded": args.degrade,
        "photos": len(photos),
        "mean_ab": list(mean_ab),
        "failed": failed,
        "results": photos.summarize(photos),
        "psnr_of_seeds": seeds,
        "psnr_gains": {"of": first, "over": photos.psnr_gains(photos, first)},
        "groups": photos.summarize_groups(photos, groups),
    }
    return report, rows


def print_report(report):
    """Prints the tables of a report, as from `measure`, for a terminal."""
    print(f"{report['photos']} photos of {report['source']}{', degraded' if report['degraded'] else ''}")
    print(photos.format_table(report["results"]))
    for label, psnr in report["psnr_of_seeds"].items():
        print(f"PSNR of {label} from single seeds: {', '.join(f'{value:.2f}' for value in psnr)} dB")
    first = report["psnr_gains"]["of"]
    for other, (gain, low, high) in report["psnr_gains"]["over"].items():
        print(f"PSNR of {first} over {other}, photo by photo: {gain:+.2f} dB ({low:+.2f} to {high:+.2f})")
    for group, part in report["groups"].items():
        print(f"\n{part['photos']} photos of {group}\n{photos.format_table(part['results'])}")


def evaluate_film(args):
    """Measures the first model of a command line on a film; returns the exit status."""
    start_quietly()
    from nxap_color.colorizer import Colorizer
    from nxap_color.evaluation.films import format_film_table, measure_film

    def progress(frames):
        return tqdm(frames, unit="frame", disable=args.quiet or None)

    try:
        check_outputs(args)
        colorizer = Colorizer.load(args.model[0], args.vividness[0], args.extractor_weights)
        results, cuts = measure_film(args.folder, colorizer, progress)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{args.folder}: shots begin at frames {', '.join(map(str, cuts))}")
    print(format_film_table(results))
    if args.json:
        report = {"source": Path(args.folder).name, "shots": cuts, "results": results}
        args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        print(f"wrote {args.json}")
    return 0


def main(arguments=None):
    """Runs the command line; returns 0, 1 if some photos could not be measured, or 2 for wrong usage."""
    args = make_parser().parse_args(arguments)
    if is_film(args.folder):
        return evaluate_film(args)
    try:
        names, colorizers, mean_ab = load(args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    report, rows = measure(args, names, colorizers, mean_ab)
    if not report:
        return 1
    print_report(report)
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if args.csv:
        photos.write_csv(args.csv, report["results"])
    if args.plot:
        plot_tradeoff(report["results"]).savefig(args.plot, dpi=110)
    if rows:
        write_photo(args.sheet, Photo(contact_sheet(pair_up(rows), SHEET_HEIGHT)), quality=85)
    for path in filter(None, (args.json, args.csv, args.plot, args.sheet if rows else None)):
        print(f"wrote {path}")
    return 1 if report["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())

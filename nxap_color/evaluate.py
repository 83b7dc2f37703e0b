"""Measure models on colour photos and films: `python -m nxap_color.evaluate FOLDER`."""

import argparse
import sys
from pathlib import Path

from nxap_color.cli.console import (
    EXTRACTOR_WEIGHTS_HELP,
    number_between,
    positive,
    run,
    start_quietly,
    whole_between,
)
from nxap_color.degrade import EMULSIONS


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m nxap_color.evaluate",
        description="Take the colour from colour photos, let models put it back, and measure the difference.",
    )
    add = parser.add_argument
    add("folder", metavar="FOLDER", help="folder or zip of colour photos, or a colour film")
    models = "one or more models (default: unet)"
    add("--model", nargs="+", default=["unet"], metavar="NAME|FILE", help=models)
    add("--extractor-weights", metavar="FILE", help=EXTRACTOR_WEIGHTS_HELP)
    add(
        "--pool-seeds", action="store_true",
        help="take models whose names differ in their last number (net-0.keras, net-1.keras) for one",
    )  # fmt: skip
    add("--degrade", action="store_true", help="give the photos an old photo's damage first")
    seen = f"measure the gain over gray also as these emulsions saw it: {', '.join(EMULSIONS)}; or all"
    add("--emulsion", nargs="+", default=[], choices=(*EMULSIONS, "all"), metavar="NAME", help=seen)
    told = "measure the first model with so many colour hints in a photo instead, such as 0 1 10 100"
    add("--hints", nargs="+", type=whole_between(0, 1000), metavar="N", help=told)
    add(
        "--vividness", nargs="+", type=number_between(0, 2), default=[1.0], metavar="V",
        help="measure each model at these amounts of colour (default: 1, as it is)",
    )  # fmt: skip
    add("--fd", action="store_true", help="also measure FD-Lite0, between results and truths as sets")
    add("--json", type=Path, metavar="FILE", help="write the figures there, by groups of photos too")
    add("--csv", type=Path, metavar="FILE", help="write the table there")
    add("--plot", type=Path, metavar="FILE", help="draw PSNR against colorfulness: .png, .svg or .pdf")
    add("--sheet", type=Path, metavar="FILE", help="write a picture: gray, models, truth")
    add("--sheet-photos", type=positive, default=24, metavar="N", help="how many photos of it (default: 24)")
    add("--quiet", action="store_true", help="no progress bar")
    return parser


def evaluate_first(args: argparse.Namespace) -> int:
    """Measure the first model of a command line on a film, or on photos with hints; return the status."""
    start_quietly()
    from nxap_color.colorizer import Colorizer
    from nxap_color.evaluation import films, hints, report

    colorizer = Colorizer.load(args.model[0], args.vividness[0], args.extractor_weights)
    if args.hints:
        measured = hints.report_hints(args.folder, colorizer, args.hints, args.quiet)
        print(hints.format_hints(measured))
    else:
        measured = films.report_film(args.folder, colorizer, args.quiet)
        print(films.format_film(measured))
    if args.json:
        report.write_json(args.json, measured)
        print(f"wrote {args.json}")
    return 0


def evaluate_photos(args: argparse.Namespace) -> int:
    """Measure the models of a command line on photos; return the exit status, 1 if some photos failed."""
    from nxap_color.evaluation import report

    names = report.find_photos(args.folder)
    start_quietly()
    colorizers, mean_ab = report.load_methods(args.model, args.vividness, args.extractor_weights)
    options = {"degraded": args.degrade, "pooled": args.pool_seeds, "quiet": args.quiet, "frechet": args.fd}
    options |= {"sheet_photos": args.sheet_photos if args.sheet else 0, "emulsions": args.emulsion}
    measured, rows = report.measure_models(args.folder, names, colorizers, mean_ab, **options)
    if not measured:
        return 1
    print(report.format_report(measured))
    written = report.write_outputs(measured, rows, args.json, args.csv, args.sheet)
    if args.plot:
        from nxap_color.teaching.plotting import plot_tradeoff

        plot_tradeoff(measured["results"]).savefig(args.plot, dpi=110)
    for path in [*written, *filter(None, [args.plot])]:
        print(f"wrote {path}")
    return 1 if measured["failed"] else 0


def evaluate(args: argparse.Namespace) -> int:
    """Check what the command line asks for, and measure; return the exit status."""
    from nxap_color.evaluation.report import check_outputs
    from nxap_color.media.kinds import is_film

    check_outputs(args.json, args.csv, args.plot, args.sheet)
    return evaluate_first(args) if args.hints or is_film(args.folder) else evaluate_photos(args)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 0, 1 if some photos could not be measured, or 2 for wrong usage."""
    return run(evaluate, make_parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())

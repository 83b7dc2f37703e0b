"""Colour photos, films and GIFs: `python -m nxap_color.predict [INPUT ...]`."""

import argparse
import sys
from pathlib import Path

from nxap_color.cli.console import (
    EXTRACTOR_WEIGHTS_HELP,
    number_between,
    program_name,
    run,
    start_quietly,
    whole_between,
)
from nxap_color.cli.options import add_colour_options
from nxap_color.media.ffmpeg import DEFAULT_CRF
from nxap_color.paths import SAMPLE


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=program_name("predict"),
        description="Colour black-and-white photos, films and GIFs.",
        epilog="old.jpg gives old_color.jpg beside it, a folder gives FOLDER_color with the same tree.",
    )
    add = parser.add_argument
    add(
        "inputs", nargs="*", type=Path, metavar="INPUT",
        help="photos, films, GIFs and folders of these (default: a sample photo)",
    )  # fmt: skip
    add("-o", "--output", type=Path, help="file for one input, or folder")
    add("--model", default="unet", metavar="NAME|FILE", help="shipped model or .keras file (default: unet)")
    add("--extractor-weights", metavar="FILE", help=EXTRACTOR_WEIGHTS_HELP)
    add(
        "--vividness", type=number_between(0, 2), default=1.0, metavar="V",
        help="amount of colour: 0 is gray, 1 what the model gives, at most 2 (default: 1)",
    )  # fmt: skip
    add(
        "--crf", type=whole_between(0, 51), default=DEFAULT_CRF, metavar="N",
        help=f"quality of films: 0 is the best, 51 small and poor (default: {DEFAULT_CRF})",
    )  # fmt: skip
    add_colour_options(parser)
    add("--compare", action="store_true", help="also write before and after side by side")
    add("--overwrite", action="store_true", help="replace outputs that exist")
    add("--quiet", action="store_true", help="no progress bar, and no word on what was skipped")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 0 if all is done, 1 if some inputs failed, 2 for wrong usage."""
    reports = []  # of what was done so far, once there is something to do

    def work(args: argparse.Namespace) -> int:
        from nxap_color.cli.jobs import Report, plan  # here, for a quick --help

        told = None

        def load_colorizer() -> object:
            from nxap_color import saved
            from nxap_color.colorizer import Colorizer

            is_exported = saved.find_exported(args.model) is not None
            if not is_exported or saved.load_recipe(args.model).get("extractor"):  # a model in Keras itself
                start_quietly()
            if not (is_exported or args.quiet):
                print(
                    f"note: {args.model} runs in Keras, which takes seconds to start. For a quick start: "
                    f"python -m nxap_color.export {args.model} --to onnx --overwrite"
                )
            colorizer = Colorizer.load(args.model, args.vividness, args.extractor_weights)
            return told.apply_to(colorizer) if told else colorizer

        if args.shots:
            from nxap_color.cli.shots import write_shots

            return write_shots(args, load_colorizer)
        inputs = args.inputs or [SAMPLE]
        if args.hint or args.hints or args.reference:
            from nxap_color.cli.told import read_told

            told = read_told(args.hint, args.hints, args.reference, inputs)
        jobs, refused = plan(inputs, args.output, args.compare)
        report = Report(total=len(jobs) + len(refused))
        reports.append(report)
        for source, reason in refused:
            print(f"error: {source}: {reason}", file=sys.stderr)

        if jobs:
            from nxap_color.cli.batch import run_jobs  # here, for a quick word on wrong usage

            run_jobs(jobs, load_colorizer, report, args.overwrite, args.crf, args.quiet, args.debug, told)
        print(report.summary())
        return 1 if report.failed or refused else 0

    def stopped() -> str:
        done = "".join(f"{report.summary()}; " for report in reports)
        return f"stopped; {done}the same command, without --overwrite, goes on there"

    return run(work, make_parser(), arguments, stopped)


if __name__ == "__main__":
    sys.exit(main())

"""Colours photos, films and GIFs: `python -m nxap_color.predict [INPUT ...]`."""

import argparse
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from nxap_color.cli.console import (
    EXTRACTOR_WEIGHTS_HELP,
    ends_politely,
    number_between,
    start_quietly,
    whole_between,
)
from nxap_color.errors import UserError
from nxap_color.media.collections import SHIPPED
from nxap_color.media.films import DEFAULT_CRF

SAMPLE = SHIPPED / "data" / "sample.jpg"


def make_parser():
    """Builds the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m nxap_color.predict",
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
    add("--compare", action="store_true", help="also write before and after side by side")
    add("--overwrite", action="store_true", help="replace outputs that exist")
    add("--quiet", action="store_true", help="no progress bar, and no word on what was skipped")
    return parser


@dataclass
class Report:
    """What has become of the jobs: the `Path`s of results that were written, and of inputs that failed."""

    written: list = field(default_factory=list)
    failed: list = field(default_factory=list)

    def summary(self, total):
        """Says in a line what was written of `total` inputs."""
        if total == len(self.written) == 1:
            return f"wrote {self.written[0]}"
        where = f", the last one {self.written[-1]}" if self.written else ""
        return f"wrote {len(self.written)} of {total} files{where}"


def run(jobs, colorizer, report, overwrite=False, crf=DEFAULT_CRF, quiet=False):
    """Does the jobs; one that fails is named on stderr and does not stop the rest.

    Args:
        jobs: list of `Job`s.
        colorizer: `Colorizer`.
        report: `Report` to add to.
        overwrite: whether outputs that exist are replaced; else they are kept and named.
        crf: quality of films, as in `films.video_codec`.
        quiet: whether to leave out progress bars, what was kept, and notes.
    """
    from nxap_color.cli.batch import colorize_files

    def left_to_do():
        for job in jobs:
            if overwrite or not all(path.exists() for path in job.outputs):
                yield job
                continue
            bar.update()
            if not quiet:
                bar.write(f"kept {job.target}, which exists (--overwrite replaces it)")

    # disable=None shows the bar only on a terminal.
    with tqdm(total=len(jobs), unit="file", disable=True if quiet or len(jobs) < 2 else None) as bar:
        for job, outcome in colorize_files(colorizer, left_to_do(), overwrite, crf, quiet):
            bar.update()
            if isinstance(outcome, Exception):
                report.failed.append(job.source)
                reason = outcome if isinstance(outcome, UserError) else _first_line(outcome)
                bar.write(f"error: {job.source}: {reason}", file=sys.stderr)
                continue
            report.written.append(job.target)
            for note in [] if quiet else outcome:
                bar.write(f"note: {job.source}: {note}")


def _first_line(error):
    if isinstance(error, MemoryError):
        return "There is not enough memory for a picture of this size."
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def main(arguments=None):
    """Runs the command line; returns 0 if all is done, 1 if some inputs failed, 2 for wrong usage."""
    args = make_parser().parse_args(arguments)
    from nxap_color.cli.batch import plan  # here, for the sake of a quick --help

    for stream in (sys.stdout, sys.stderr):  # names of files in an old archive are not always UTF-8
        stream.reconfigure(errors="backslashreplace")
    jobs, refused, report = [], [], Report()
    try:
        with ends_politely():
            jobs, refused = plan(args.inputs or [SAMPLE], args.output, args.compare)
            for source, reason in refused:
                print(f"error: {source}: {reason}", file=sys.stderr)
            start_quietly(for_prediction=True)
            from nxap_color.colorizer import Colorizer

            colorizer = Colorizer.load(args.model, args.vividness, args.extractor_weights)
            run(jobs, colorizer, report, args.overwrite, args.crf, args.quiet)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        done = report.summary(len(jobs) + len(refused))
        print(f"stopped; {done}; the same command, without --overwrite, goes on there", file=sys.stderr)
        return 128 + (stop.args[0] if stop.args else signal.SIGINT)
    print(report.summary(len(jobs) + len(refused)))
    return 1 if report.failed or refused else 0


if __name__ == "__main__":
    sys.exit(main())

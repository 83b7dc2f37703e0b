"""Colours photos, films and GIFs: `python -m nxap_color.predict [INPUT ...]`."""

import argparse
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from nxap_color.files import FileError, make_folder
from nxap_color.film_output import DEFAULT_CRF
from nxap_color.image_io import Photo, count_pictures, read_pages, read_photo
from nxap_color.image_output import write_pages, write_photo
from nxap_color.jobs import plan
from nxap_color.plotting import before_after
from nxap_color.terminal import (
    EXTRACTOR_WEIGHTS_HELP,
    ends_politely,
    number_between,
    start_quietly,
    whole_between,
)

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample.jpg"


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


def colorize_file(colorizer, job, overwrite=False, crf=DEFAULT_CRF, quiet=True):
    """Colours one photo, film or GIF, with all that belongs to it.

    Args:
        colorizer: `Colorizer`.
        job: `Job`; the folder of its target is made if need be.
        overwrite: whether outputs that exist are replaced; else only missing ones are written.
        crf: quality of films, as in `film_output.video_codec`.
        quiet: whether to leave out the progress bar of films and GIFs.

    Returns:
        List of texts on what could not be kept as it was.

    Raises:
        FileError: if the input cannot be read or the result cannot be written.
    """
    wanted = {path for path in job.outputs if overwrite or not path.exists()}
    if job.kind == "photo":
        return _colorize_photo(colorizer, job, wanted, quiet)
    from nxap_color import animations, film_output, video  # here, for the sake of a quick --help

    notes, is_gif = [], job.kind == "GIF"
    if job.target in wanted and is_gif:
        animations.colorize_animation(colorizer, job.source, job.target, quiet=quiet)
    elif job.target in wanted:
        notes = video.colorize_video(colorizer, job.source, job.target, crf, quiet=quiet)
    if job.compare in wanted and is_gif:
        animations.compare_gifs(job.source, job.target, job.compare)
    elif job.compare in wanted:
        film_output.join_side_by_side(job.source, job.target, job.compare, crf)
    return notes


def _colorize_photo(colorizer, job, wanted, quiet):
    """Colours what is in a photo's file, writes what of its outputs is in the set `wanted`; returns notes."""
    notes, contents = [], count_pictures(job.source)
    if job.target in wanted and contents.is_animation:
        from nxap_color.animations import colorize_animation  # here, for the sake of a quick --help

        colorize_animation(colorizer, job.source, job.target, quiet=quiet)
    elif job.target in wanted and contents.count > 1:
        pages = (_colorize_page(colorizer, page) for page in read_pages(job.source))
        make_folder(job.target.parent)
        write_pages(job.target, pages, contents.pixels)
    elif job.target in wanted:
        coloured = _colorize_page(colorizer, read_photo(job.source))
        make_folder(job.target.parent)
        notes = write_photo(job.target, coloured)
    if job.compare in wanted:
        write_photo(job.compare, Photo(before_after(read_photo(job.source).rgb, read_photo(job.target).rgb)))
    return notes


def _colorize_page(colorizer, photo):
    return Photo(colorizer.colorize(photo.rgb), photo.alpha, photo.metadata)


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
    """Does the jobs one after the other; one that fails is named on stderr and does not stop the rest.

    Args:
        jobs: list of `Job`s.
        colorizer: `Colorizer`.
        report: `Report` to add to.
        overwrite: whether outputs that exist are replaced; else they are kept and named.
        crf: quality of films, as in `film_output.video_codec`.
        quiet: whether to leave out progress bars, what was kept, and notes.
    """
    # disable=None shows the bar only on a terminal.
    for job in tqdm(jobs, unit="file", disable=True if quiet or len(jobs) < 2 else None):
        if all(path.exists() for path in job.outputs) and not overwrite:
            if not quiet:
                tqdm.write(f"kept {job.target}, which exists (--overwrite replaces it)")
            continue
        try:
            for note in colorize_file(colorizer, job, overwrite, crf, quiet):
                if not quiet:
                    tqdm.write(f"note: {job.source}: {note}")
            report.written.append(job.target)
        # Whatever one file does to a decoder or to the memory, the others are still to be done.
        except Exception as error:
            report.failed.append(job.source)
            reason = error if isinstance(error, FileError) else _first_line(error)
            tqdm.write(f"error: {job.source}: {reason}", file=sys.stderr)


def _first_line(error):
    if isinstance(error, MemoryError):
        return "There is not enough memory for a picture of this size."
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def main(arguments=None):
    """Runs the command line; returns 0 if all is done, 1 if some inputs failed, 2 for wrong usage."""
    args = make_parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):  # names of files in an old archive are not always UTF-8
        stream.reconfigure(errors="backslashreplace")
    jobs, refused, report = [], [], Report()
    try:
        with ends_politely():
            jobs, refused = plan(args.inputs or [SAMPLE], args.output, args.compare)
            for source, reason in refused:
                print(f"error: {source}: {reason}", file=sys.stderr)
            start_quietly()
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

"""Colours photos, films and GIFs: `python -m nxap_color.predict [INPUT ...]`."""

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from nxap_color.ffmpeg import FilmError
from nxap_color.film_output import DEFAULT_CRF
from nxap_color.image_io import Photo, PhotoError, read_photo, write_photo
from nxap_color.jobs import plan
from nxap_color.plotting import before_after
from nxap_color.terminal import EXTRACTOR_WEIGHTS_HELP, number_between, start_quietly, whole_between

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
        PhotoError, FilmError: if the input cannot be read or the result cannot be written.
    """
    wanted = {path for path in job.outputs if overwrite or not path.exists()}
    if job.kind == "photo":
        _colorize_photo(colorizer, job, wanted)
        return []
    from nxap_color import film_output, gifs, video  # here, for the sake of a quick --help

    notes, is_gif = [], job.kind == "GIF"
    if job.target in wanted and is_gif:
        gifs.colorize_gif(colorizer, job.source, job.target, quiet=quiet)
    elif job.target in wanted:
        notes = video.colorize_video(colorizer, job.source, job.target, crf, quiet=quiet)
    if job.compare in wanted and is_gif:
        gifs.compare_gifs(job.source, job.target, job.compare)
    elif job.compare in wanted:
        film_output.join_side_by_side(job.source, job.target, job.compare, crf)
    return notes


def _colorize_photo(colorizer, job, wanted):
    """Reads a photo, colours it, and writes what of its outputs is in the set `wanted`."""
    photo = read_photo(job.source)
    coloured = Photo(colorizer.colorize(photo.rgb), photo.alpha, photo.metadata)
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PhotoError(f"The folder {job.target.parent} cannot be made: {error.strerror}.") from error
    if job.target in wanted:
        write_photo(job.target, coloured)
    if job.compare in wanted:
        write_photo(job.compare, Photo(before_after(photo.rgb, coloured.rgb)))


def run(jobs, colorizer, overwrite=False, crf=DEFAULT_CRF, quiet=False):
    """Does the jobs one after the other; one that fails is named on stderr and does not stop the rest.

    Args:
        jobs: list of `Job`s.
        colorizer: `Colorizer`.
        overwrite: whether outputs that exist are replaced; else they are kept and named.
        crf: quality of films, as in `film_output.video_codec`.
        quiet: whether to leave out progress bars, what was kept, and notes.

    Returns:
        Lists of the `Path`s that were written, and of those that failed.
    """
    written, failed = [], []
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
            written.append(job.target)
        # Whatever one file does to a decoder or to the memory, the others are still to be done.
        except Exception as error:
            failed.append(job.source)
            reason = error if isinstance(error, (PhotoError, FilmError)) else _first_line(error)
            tqdm.write(f"error: {job.source}: {reason}", file=sys.stderr)
    return written, failed


def _first_line(error):
    if isinstance(error, MemoryError):
        return "There is not enough memory for a picture of this size."
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def main(arguments=None):
    """Runs the command line; returns 0 if all is done, 1 if some inputs failed, 2 for wrong usage."""
    args = make_parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):  # names of files in an old archive are not always UTF-8
        stream.reconfigure(errors="backslashreplace")
    try:
        jobs, refused = plan(args.inputs or [SAMPLE], args.output, args.compare)
        for source, reason in refused:
            print(f"error: {source}: {reason}", file=sys.stderr)
        start_quietly()
        from nxap_color.colorizer import Colorizer

        colorizer = Colorizer.load(args.model, args.vividness, args.extractor_weights)
        written, failed = run(jobs, colorizer, args.overwrite, args.crf, args.quiet)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command, without --overwrite, goes on where it was", file=sys.stderr)
        return 130
    if len(written) == 1:
        print(f"wrote {written[0]}")
    else:
        where = f", the last one {written[-1]}" if written else ""
        print(f"wrote {len(written)} of {len(jobs) + len(refused)} files{where}")
    return 1 if failed or refused else 0


if __name__ == "__main__":
    sys.exit(main())

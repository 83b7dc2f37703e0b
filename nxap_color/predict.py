"""Colours photos: `python -m nxap_color.predict [INPUT ...]`."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from nxap_color.image_io import PHOTO_SUFFIXES, Photo, PhotoError, is_photo, read_photo, write_photo
from nxap_color.terminal import quiet_start

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample.jpg"
FILM_SUFFIXES = frozenset({".gif", ".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v"})


class UsageError(ValueError):
    """A command line that makes no sense; its text is meant for the user."""


@dataclass(frozen=True)
class Job:
    """One file to colour.

    Attributes:
        source: the photo to read.
        target: the file to write.
        compare: the before/after picture to write as well, or None.
    """

    source: Path
    target: Path
    compare: Path | None = None


def make_parser():
    """Builds the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m nxap_color.predict",
        description="Colour black-and-white photos.",
        epilog="old.jpg gives old_color.jpg beside it, a folder gives FOLDER_color with the same tree.",
    )
    add = parser.add_argument
    add("inputs", nargs="*", type=Path, metavar="INPUT", help="photos and folders (default: a sample photo)")
    add("-o", "--output", type=Path, help="file for one photo, or folder")
    add("--model", default="unet", metavar="NAME|FILE", help="shipped model or .keras file (default: unet)")
    add("--compare", action="store_true", help="also write a picture of before and after")
    add("--overwrite", action="store_true", help="replace outputs that exist")
    add("--quiet", action="store_true", help="no progress bar, and no word on what was skipped")
    return parser


def plan(inputs, output=None, compare=False):
    """Decides what is read and where the result goes, before any work is done.

    Args:
        inputs: list of `Path`s of photos and folders.
        output: `Path` of a file (for a single photo) or folder, or None for beside the input.
        compare: whether before/after pictures are wanted.

    Returns:
        List of `Job`s, and a list of (path, reason) of what cannot be done.

    Raises:
        UsageError: if several results were to go into one file.
    """
    as_file = output is not None and output.suffix.lower() in PHOTO_SUFFIXES and not output.is_dir()
    if as_file and (len(inputs) > 1 or any(path.is_dir() for path in inputs)):
        raise UsageError(f"-o {output} is one file, but the input is several: name a folder instead.")
    jobs, failed, taken = [], [], {}
    for path in inputs:
        if path.is_dir():
            pairs = _folder_pairs(path, output or path.with_name(f"{path.resolve().name}_color"))
        else:
            folder = path.parent if output is None else output
            pairs = [(path, output if as_file else folder / f"{path.stem}_color{path.suffix}")]
        for source, target in pairs:
            reason = _refusal(source, target, taken)
            if reason:
                failed.append((source, reason))
                continue
            taken[target.resolve()] = source
            jobs.append(Job(source, target, _compare_path(target) if compare else None))
    return jobs, failed


def _folder_pairs(folder, target):
    """(source, target) of every photo and film below a folder; other files are none of our business."""
    for source in sorted(folder.rglob("*")):
        is_film = source.suffix.lower() in FILM_SUFFIXES
        if (is_photo(source) or is_film) and source.is_file():
            yield source, target / source.relative_to(folder)


def _refusal(source, target, taken):
    """Says in a sentence why a photo cannot be coloured into `target`; None if nothing is in the way."""
    if source.suffix.lower() in FILM_SUFFIXES:
        return "Films and GIFs cannot be coloured yet; photos can."
    if not source.exists():
        return "There is no such file."
    if not is_photo(source):
        return f"This is no photo: expected one of {', '.join(sorted(PHOTO_SUFFIXES))}."
    if target.exists() and target.samefile(source):
        return "The result would replace the input; name another output."
    if target.resolve() in taken:
        return f"Its result would be the same file as that of {taken[target.resolve()]}."
    return None


def _compare_path(target):
    return target.with_name(f"{target.stem}_compare.jpg")


def colorize_file(colorizer, job):
    """Reads a photo, colours it and writes it with its own alpha and metadata.

    Args:
        colorizer: `Colorizer`.
        job: `Job`; the folder of its target is made if need be.

    Raises:
        PhotoError: if the photo cannot be read or the result cannot be written.
    """
    photo = read_photo(job.source)
    coloured = Photo(colorizer.colorize(photo.rgb), photo.alpha, photo.metadata)
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PhotoError(f"The folder {job.target.parent} cannot be made: {error.strerror}.") from error
    write_photo(job.target, coloured)
    if job.compare:
        from nxap_color.plotting import before_after

        write_photo(job.compare, Photo(before_after(photo.rgb, coloured.rgb)))


def run(jobs, colorizer, overwrite=False, quiet=False):
    """Does the jobs one after the other; one that fails is named on stderr and does not stop the rest.

    Args:
        jobs: list of `Job`s.
        colorizer: `Colorizer`.
        overwrite: whether a target that exists is replaced; else it is kept and named.
        quiet: whether to leave out the progress bar and what was kept.

    Returns:
        Lists of the `Path`s that were written, and of those that failed.
    """
    written, failed = [], []
    # disable=None shows the bar only on a terminal.
    for job in tqdm(jobs, unit="photo", disable=True if quiet or len(jobs) < 2 else None):
        if job.target.exists() and not overwrite:
            if not quiet:
                tqdm.write(f"kept {job.target}, which exists (--overwrite replaces it)")
            continue
        try:
            colorize_file(colorizer, job)
            written.append(job.target)
        except PhotoError as error:
            failed.append(job.source)
            tqdm.write(f"error: {job.source}: {error}", file=sys.stderr)
        except MemoryError:
            failed.append(job.source)
            tqdm.write(f"error: {job.source}: There is not enough memory for it.", file=sys.stderr)
    return written, failed


def main(arguments=None):
    """Runs the command line; returns 0 if all is done, 1 if some inputs failed, 2 for wrong usage."""
    args = make_parser().parse_args(arguments)
    try:
        jobs, refused = plan(args.inputs or [SAMPLE], args.output, args.compare)
        for source, reason in refused:
            print(f"error: {source}: {reason}", file=sys.stderr)
        with quiet_start():
            from nxap_color.colorizer import Colorizer

            colorizer = Colorizer.load(args.model)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        written, failed = run(jobs, colorizer, args.overwrite, args.quiet)
    except KeyboardInterrupt:
        print("stopped; the same command goes on where it was", file=sys.stderr)
        return 130
    if len(written) == 1:
        print(f"wrote {written[0]}")
    else:
        where = f", the last one {written[-1]}" if written else ""
        print(f"wrote {len(written)} of {len(jobs) + len(refused)} photos{where}")
    return 1 if failed or refused else 0


if __name__ == "__main__":
    sys.exit(main())

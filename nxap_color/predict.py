"""Colours photos: `python -m nxap_color.predict [INPUT ...]`."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from nxap_color.image_io import PHOTO_SUFFIXES, Photo, PhotoError, is_photo, read_photo, write_photo
from nxap_color.plotting import before_after
from nxap_color.terminal import number_between, start_quietly

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

    @property
    def outputs(self):
        """The files that the job writes, a list of `Path`s."""
        return [self.target] + ([self.compare] if self.compare else [])


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
    add(
        "--vividness", type=number_between(0, 2), default=1.0, metavar="V",
        help="amount of colour: 0 is gray, 1 what the model gives, at most 2 (default: 1)",
    )  # fmt: skip
    add("--compare", action="store_true", help="also write a picture of before and after")
    add("--overwrite", action="store_true", help="replace outputs that exist")
    add("--quiet", action="store_true", help="no progress bar, and no word on what was skipped")
    return parser


def plan(inputs, output=None, compare=False):
    """Decides what is read and where the results go, before any work is done.

    Args:
        inputs: list of `Path`s of photos and folders.
        output: `Path` of a file (for a single photo) or folder, or None for beside the input.
        compare: whether before/after pictures are wanted.

    Returns:
        List of `Job`s, and a list of (path, reason) of what cannot be done.

    Raises:
        UsageError: if several results were to go into one file, or the output is a film.
    """
    suffix = output.suffix.lower() if output else ""
    as_file = suffix in PHOTO_SUFFIXES and not output.is_dir()
    if as_file and (len(inputs) > 1 or inputs[0].is_dir()):
        raise UsageError(f"-o {output} is one file, but the input is several: name a folder instead.")
    if suffix in FILM_SUFFIXES:
        raise UsageError(f"-o {output}: films and GIFs cannot be written yet, photos can.")
    pairs, failed = [], []
    for path in inputs:
        if path.is_dir():
            found = list(_folder_pairs(path, output))
            failed += [] if found else [(path, "There are no photos in this folder.")]
            pairs += found
        else:
            folder = output or path.parent
            pairs.append((path, output if as_file else folder / f"{path.stem}_color{path.suffix}"))
    jobs, taken = [], {source.resolve(): f"the input {source}" for source, _ in pairs}
    for source, target in pairs:
        job = Job(source, target, target.with_name(f"{target.stem}_compare.jpg") if compare else None)
        try:
            reason = _refusal(job, taken)
        except OSError as error:  # a name that is too long, a folder that may not be looked into
            reason = f"{error.strerror}."
        if reason:
            failed.append((source, reason))
        else:
            jobs.append(job)
            taken.update({path.resolve(): f"the result of {source}" for path in job.outputs})
    return jobs, failed


def _folder_pairs(folder, output):
    """(source, target) of every photo and film below a folder; other files are none of our business."""
    whole = folder.resolve()  # "." and ".." have names, too
    target = output or whole.with_name(f"{whole.name}_color")
    for source in sorted(folder.rglob("*")):
        inside = source.relative_to(folder)
        is_hidden = any(part.startswith(".") for part in inside.parts)
        is_result = target.resolve() in source.resolve().parents and target.resolve() != whole
        if is_hidden or is_result or not source.is_file():
            continue
        if is_photo(source) or source.suffix.lower() in FILM_SUFFIXES:
            yield source, target / inside


def _refusal(job, taken):
    """Says in a sentence why a job cannot be done; None if nothing is in the way.

    Args:
        job: `Job`.
        taken: dict from a resolved path that must not be written to what it is.
    """
    if job.source.suffix.lower() in FILM_SUFFIXES:
        return "Films and GIFs cannot be coloured yet; photos can."
    if not job.source.exists():
        return "There is no such file."
    if not is_photo(job.source):
        return f"This is no photo: expected one of {', '.join(sorted(PHOTO_SUFFIXES))}."
    for path in job.outputs:
        path.exists()  # raises OSError for a name that the system cannot hold
        if path.resolve() in taken:
            return f"Its result would replace {taken[path.resolve()]}; name another output with -o."
    return None


def colorize_file(colorizer, job, overwrite=False):
    """Reads a photo, colours it and writes it with its own alpha and metadata.

    Args:
        colorizer: `Colorizer`.
        job: `Job`; the folder of its target is made if need be.
        overwrite: whether outputs that exist are replaced; else only missing ones are written.

    Raises:
        PhotoError: if the photo cannot be read or the result cannot be written.
    """
    photo = read_photo(job.source)
    coloured = Photo(colorizer.colorize(photo.rgb), photo.alpha, photo.metadata)
    results = {job.target: coloured}
    if job.compare:
        results[job.compare] = Photo(before_after(photo.rgb, coloured.rgb))
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PhotoError(f"The folder {job.target.parent} cannot be made: {error.strerror}.") from error
    for path, result in results.items():
        if overwrite or not path.exists():
            write_photo(path, result)


def run(jobs, colorizer, overwrite=False, quiet=False):
    """Does the jobs one after the other; one that fails is named on stderr and does not stop the rest.

    Args:
        jobs: list of `Job`s.
        colorizer: `Colorizer`.
        overwrite: whether outputs that exist are replaced; else they are kept and named.
        quiet: whether to leave out the progress bar and what was kept.

    Returns:
        Lists of the `Path`s that were written, and of those that failed.
    """
    written, failed = [], []
    # disable=None shows the bar only on a terminal.
    for job in tqdm(jobs, unit="photo", disable=True if quiet or len(jobs) < 2 else None):
        if all(path.exists() for path in job.outputs) and not overwrite:
            if not quiet:
                tqdm.write(f"kept {job.target}, which exists (--overwrite replaces it)")
            continue
        try:
            colorize_file(colorizer, job, overwrite)
            written.append(job.target)
        # Whatever one photo does to a decoder or to the memory, the others are still to be done.
        except Exception as error:
            failed.append(job.source)
            reason = error if isinstance(error, PhotoError) else _first_line(error)
            tqdm.write(f"error: {job.source}: {reason}", file=sys.stderr)
    return written, failed


def _first_line(error):
    if isinstance(error, MemoryError):
        return "There is not enough memory for a photo of this size."
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

        colorizer = Colorizer.load(args.model, args.vividness)
        written, failed = run(jobs, colorizer, args.overwrite, args.quiet)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
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

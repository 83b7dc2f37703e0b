"""`predict FILM --shots FOLDER`: a frame of each shot, to be coloured by hand."""

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from nxap_color.cli.console import describe_error
from nxap_color.cli.jobs import kind_of
from nxap_color.errors import UsageError, UserError
from nxap_color.media.kinds import FILM_SUFFIXES

if TYPE_CHECKING:
    from nxap_color.colorizer import Colorizer


def write_shots(args: argparse.Namespace, load_colorizer: "Callable[[], Colorizer]") -> int:
    """Write the key frames of films; one that fails is named on stderr and does not stop the others.

    Args:
        args: what `predict` was given, with a folder in `shots`.
        load_colorizer: function that returns a `Colorizer`, called if there is something to do.

    Returns:
        0 if all is done, 1 if some films failed.

    Raises:
        errors.UsageError: if an input is no film, if there is none, if two have the same name, or if there
            are options that belong to colouring.
        errors.ModelError: if the model cannot be used.
    """
    given = {"--hint": args.hint, "--hints": args.hints, "--reference": args.reference, "-o": args.output}
    given["--compare"] = args.compare
    if others := [name for name, value in given.items() if value]:
        raise UsageError(f"--shots only writes frames; leave out {' and '.join(others)}.")
    if not args.inputs:
        raise UsageError("--shots needs a film.")
    for path in args.inputs:
        if kind_of(path) != "film":
            known = ", ".join(sorted(FILM_SUFFIXES))
            raise UsageError(f"--shots is for films, but the input is {path}: expected one of {known}.")
    stems = [path.stem for path in args.inputs]
    if twice := [stem for stem in stems if stems.count(stem) > 1]:
        raise UsageError(
            f"The frames of two films called {twice[0]} would have one name; give them one by one."
        )

    from nxap_color.key_frames import write_key_frames  # here, for a quick word on wrong usage

    colorizer, written, status = load_colorizer(), 0, 0
    for path in args.inputs:
        try:
            some, kept = write_key_frames(colorizer, path, args.shots, args.overwrite, args.quiet)
        except (UserError, OSError) as error:
            print(f"error: {path}: {describe_error(error)}", file=sys.stderr)
            status = 1
            continue
        written += len(some)
        if kept and not args.quiet:
            print(f"kept {_frames(len(kept))} in {args.shots}, existing ones (--overwrite replaces them)")
    print(f"wrote {_frames(written)} to {args.shots}")
    return status


def _frames(count):
    return "1 frame" if count == 1 else f"{count} frames"

"""`predict FILM --shots FOLDER`: a frame of each shot, to be coloured by hand."""

import argparse
import sys

from nxap_color.cli.console import describe_error
from nxap_color.cli.jobs import kind_of
from nxap_color.errors import UsageError, UserError


def write_shots(args: argparse.Namespace) -> int:
    """Write the key frames of films; one that fails is named on stderr and does not stop the others.

    Args:
        args: what `predict` was given, with a folder in `shots`.

    Returns:
        0 if all is done, 1 if some films failed.

    Raises:
        errors.UsageError: if an input is no film, or there is none, or options that belong to colouring one.
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
            raise UsageError(f"--shots is for films, but the input {path} is no film.")

    from nxap_color.colorizer import Colorizer  # here, for a quick word on wrong usage
    from nxap_color.key_frames import write_key_frames

    colorizer = Colorizer.load(args.model, args.vividness, args.extractor_weights)
    written, status = [], 0
    for path in args.inputs:
        try:
            some, kept = write_key_frames(colorizer, path, args.shots, args.overwrite, args.quiet)
        except (UserError, OSError) as error:
            print(f"error: {path}: {describe_error(error)}", file=sys.stderr)
            status = 1
            continue
        written += some
        if kept and not args.quiet:
            print(f"kept {len(kept)} frames in {args.shots}, which exist (--overwrite replaces them)")
    print(f"wrote {len(written)} frames to {args.shots}")
    return status

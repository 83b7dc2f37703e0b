"""Pack the project into an archive to hand in: `python -m nxap_color.handin`."""

import argparse
import sys
from pathlib import Path

from nxap_color.cli.console import run
from nxap_color.teaching.documents import PROJECT, write_archive


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m nxap_color.handin",
        description="Pack code, notebooks, models, sample photos and the report into one archive.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=PROJECT / "handin.zip", help="replaced if it exists"
    )
    return parser


def pack(args: argparse.Namespace) -> None:
    """Write the archive that the command line names."""
    names = write_archive(args.output)
    print(f"wrote {args.output}: {len(names)} files, {args.output.stat().st_size / 1e6:.0f} MB")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 0, or 1 if it failed."""
    return run(pack, make_parser(), arguments, "stopped; nothing was written")


if __name__ == "__main__":
    sys.exit(main())

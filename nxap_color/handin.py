"""Packs the project into an archive to hand in: `python -m nxap_color.handin`."""

import argparse
import sys
import zipfile
from pathlib import Path

from nxap_color.errors import UserError
from nxap_color.media.atomic import written_whole
from nxap_color.report import PROJECT, REPORT

# What belongs to the project; trainings (runs/), photos of one's own and environments do not.
_PARTS = (
    "README.md",
    "requirements.txt",
    "pyproject.toml",
    "nxap_color",
    "notebooks",
    "data",
    "saved_models",
    "tests",
)
_JUNK = ("__pycache__", "*.egg-info", "*_color.*", "*_color_compare.*", ".*", "*.pyc")
_LARGE = 200_000_000  # bytes, more than most places take


def list_files(project=PROJECT):
    """Lists what belongs into the archive: paths of files, relative to the project, sorted."""
    found = []
    for part in _PARTS:
        path = project / part
        found += [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    relative = (path.relative_to(project) for path in found)
    return sorted(path for path in relative if not _is_junk(path))


def _is_junk(path):
    return any(Path(name).match(pattern) for name in path.parts for pattern in _JUNK)


def write_archive(target, report=REPORT, project=PROJECT):
    """Writes the archive: the same files give the same bits, on every machine.

    Args:
        target: path object of the .zip; replaced if it exists.
        report: path of the HTML report, beside which a PDF may lie.
        project: path of the project.

    Returns:
        List of the names in the archive.

    Raises:
        UserError: if there is no report, or the files are too large to hand in.
        OSError: if it cannot be written.
    """
    if not report.is_file():
        raise UserError(f"There is no report {report.name} yet: python -m nxap_color.report makes it.")
    entries = {path.as_posix(): project / path for path in list_files(project)}
    entries |= {file.name: file for file in (report, report.with_suffix(".pdf")) if file.is_file()}
    size = sum(path.stat().st_size for path in entries.values())
    if size > _LARGE:
        largest = max(entries, key=lambda name: entries[name].stat().st_size)
        raise UserError(
            f"All files have {size // 10**6} MB, the largest is {largest}: take out what is yours."
        )
    with written_whole(target) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(entries):
            # With no time of its own, and stored: how it is compressed would depend on the machine.
            entry = zipfile.ZipInfo(f"nxap_color/{name}", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, entries[name].read_bytes())
    return sorted(entries)


def main(arguments=None):
    """Runs the command line; returns 0, or 1 if it failed."""
    parser = argparse.ArgumentParser(
        prog="python -m nxap_color.handin",
        description="Pack code, notebooks, models, sample photos and the report into one archive.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=PROJECT / "handin.zip", help="replaced if it exists"
    )
    args = parser.parse_args(arguments)
    try:
        names = write_archive(args.output)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {args.output}: {len(names)} files, {args.output.stat().st_size / 1e6:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""From the inputs of a command line to jobs: which files are read, where results go, what became of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nxap_color.errors import UsageError
from nxap_color.media.kinds import (
    FILM_SUFFIXES,
    OTHER_PICTURES,
    PHOTO_SUFFIXES,
    is_film,
    is_gif,
    is_photo,
)

KINDS = {"photo": is_photo, "film": is_film, "GIF": is_gif}


def kind_of(path: Path) -> str | None:
    """Return what a file is by its name: "photo", "film", "GIF", or None; hidden files are None."""
    return next((kind for kind, is_kind in KINDS.items() if is_kind(path)), None)


@dataclass(frozen=True)
class Job:
    """One file to colour.

    Attributes:
        source: the photo, film or GIF to read.
        target: the file to write.
        compare: the before/after picture or film to write as well, or None.
    """

    source: Path
    target: Path
    compare: Path | None = None

    @property
    def kind(self) -> str | None:
        """As from `kind_of`."""
        return kind_of(self.source)

    @property
    def outputs(self) -> list[Path]:
        """The files that the job writes."""
        return [self.target] + ([self.compare] if self.compare else [])


@dataclass
class Report:
    """What has become of `total` inputs: the results that were written, and the inputs that failed."""

    total: int
    written: list[Path] = field(default_factory=list)
    failed: list[Path] = field(default_factory=list)

    def summary(self) -> str:
        """Return a line on what was written."""
        if self.total == len(self.written) == 1:
            return f"wrote {self.written[0]}"
        where = f", the last one {self.written[-1]}" if self.written else ""
        return f"wrote {len(self.written)} of {self.total} files{where}"


def plan(
    inputs: list[Path], output: Path | None = None, compare: bool = False
) -> tuple[list[Job], list[tuple[Path, str]]]:
    """Decide what is read and where the results go, before any work is done.

    Args:
        inputs: photos, films, GIFs and folders.
        output: a file (for a single input) or folder, or None for beside the input.
        compare: whether before/after pictures are wanted.

    Returns:
        List of `Job`s, and a list of (path, reason) of what cannot be done.

    Raises:
        UsageError: if several results were to go into one file, or a photo into a film and the like.
    """
    kind = kind_of(output) if output and not output.is_dir() else None
    if kind and (len(inputs) > 1 or inputs[0].is_dir()):
        raise UsageError(f"-o {output} is one file, but the input is several: name a folder instead.")
    if kind and kind_of(inputs[0]) not in (kind, None):
        raise UsageError(f"-o {output} is a {kind}, but {inputs[0]} is a {kind_of(inputs[0])}.")
    pairs, refused = [], []
    for path in inputs:
        if path.is_dir():
            found = list(_folder_pairs(path, output))
            refused += [] if found else [(path, "There are no photos or films in this folder.")]
            pairs += found
        else:
            folder = output or path.parent
            pairs.append((path, output if kind else folder / f"{path.stem}_color{path.suffix}"))
    jobs, others = _jobs_of(pairs, compare)
    return jobs, refused + others


def _folder_pairs(folder: Path, output: Path | None) -> Iterator[tuple[Path, Path]]:
    """Yield (source, target) of every picture and film below a folder; other files are left alone."""
    # "." and ".." have names, too; but a link is coloured beside itself, not beside what it leads to.
    whole = folder if folder.name not in ("", "..") else folder.resolve()
    target = output or whole.with_name(f"{whole.name}_color")
    for source in sorted(folder.rglob("*")):
        inside = source.relative_to(folder)
        is_hidden = any(part.startswith(".") for part in inside.parts)
        is_result = target.resolve() in source.resolve().parents and target.resolve() != whole.resolve()
        if is_hidden or is_result or source.is_dir():
            continue
        # Pictures that cannot be read are refused by name, not passed over.
        if kind_of(source) or source.suffix.lower() in OTHER_PICTURES:
            yield source, target / inside


def _jobs_of(pairs: list[tuple[Path, Path]], compare: bool) -> tuple[list[Job], list[tuple[Path, str]]]:
    """Make jobs of pairs (source, target); refuse those that would write over an input or another result."""
    jobs, refused, taken = [], [], {}
    for source, _ in pairs:
        taken.update(dict.fromkeys(_identities(source), f"the input {source}"))
    for source, target in pairs:
        suffix = ".jpg" if kind_of(source) == "photo" else target.suffix
        job = Job(source, target, target.with_name(f"{target.stem}_compare{suffix}") if compare else None)
        try:
            reason = _refusal(job, taken)
        except OSError as error:  # a name that is too long, a folder that may not be looked into
            reason = f"{error.strerror}."
        if reason:
            refused.append((source, reason))
            continue
        jobs.append(job)
        for path in job.outputs:
            taken.update(dict.fromkeys(_identities(path), f"the result of {source}"))
    return jobs, refused


def _identities(path: Path) -> list:
    """Return what a file is known by: its path without links and, if it exists, what hard links share."""
    try:
        status = path.stat()
    except OSError:
        return [path.resolve()]
    return [path.resolve(), (status.st_dev, status.st_ino)]


def _refusal(job: Job, taken: dict) -> str | None:
    """Return the sentence that says why a job cannot be done; None if nothing is in the way.

    Args:
        job: `Job`.
        taken: dict from the `_identities` of files that must not be written to what these are.
    """
    if not job.source.exists():
        return "There is no such file."
    if not job.source.is_file():
        return "This is no file with a picture, but a device, a pipe or the like."
    if job.source.suffix.lower() in OTHER_PICTURES:
        return f"{job.source.suffix} cannot be read; save it as TIFF, PNG or JPEG first."
    if not job.kind:
        known = ", ".join(sorted(PHOTO_SUFFIXES | FILM_SUFFIXES | {".gif"}))
        return f"This is no photo, film or GIF: expected one of {known}."
    for path in job.outputs:
        path.exists()  # raises OSError for a name that the system cannot hold
        if known := [taken[identity] for identity in _identities(path) if identity in taken]:
            return f"Its result would replace {known[0]}; name another output with -o."
    return None

"""From what a command line names to what is to be done: which files are read, and where results go."""

import itertools
import operator
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nxap_color import video
from nxap_color.colorizer import as_pixels
from nxap_color.errors import UsageError
from nxap_color.images import before_after
from nxap_color.media import animations, films
from nxap_color.media.animations import is_gif
from nxap_color.media.atomic import make_folder
from nxap_color.media.films import FILM_SUFFIXES, is_film
from nxap_color.media.photos import (
    OTHER_PICTURES,
    PHOTO_SUFFIXES,
    Contents,
    Photo,
    count_pictures,
    is_photo,
    read_pages,
    read_photo,
    write_pages,
    write_photo,
)

KINDS = {"photo": is_photo, "film": is_film, "GIF": is_gif}


def kind_of(path):
    """Tells by the name of a `Path` what it is: "photo", "film", "GIF", or None; hidden files are None."""
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
    def kind(self):
        """As from `kind_of`."""
        return kind_of(self.source)

    @property
    def outputs(self):
        """The files that the job writes, a list of `Path`s."""
        return [self.target] + ([self.compare] if self.compare else [])


def plan(inputs, output=None, compare=False):
    """Decides what is read and where the results go, before any work is done.

    Args:
        inputs: list of `Path`s of photos, films, GIFs and folders.
        output: `Path` of a file (for a single input) or folder, or None for beside the input.
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
    pairs, failed = [], []
    for path in inputs:
        if path.is_dir():
            found = list(_folder_pairs(path, output))
            failed += [] if found else [(path, "There are no photos or films in this folder.")]
            pairs += found
        else:
            folder = output or path.parent
            pairs.append((path, output if kind else folder / f"{path.stem}_color{path.suffix}"))
    jobs, taken = [], {}
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
            failed.append((source, reason))
        else:
            jobs.append(job)
            for path in job.outputs:
                taken.update(dict.fromkeys(_identities(path), f"the result of {source}"))
    return jobs, failed


def _folder_pairs(folder, output):
    """(source, target) of every picture and film below a folder; other files are none of our business."""
    # "." and ".." have names, too; but what a link leads to is none of our business.
    whole = folder if folder.name not in ("", "..") else folder.resolve()
    target = output or whole.with_name(f"{whole.name}_color")
    for source in sorted(folder.rglob("*")):
        inside = source.relative_to(folder)
        is_hidden = any(part.startswith(".") for part in inside.parts)
        is_result = target.resolve() in source.resolve().parents and target.resolve() != whole.resolve()
        if is_hidden or is_result or source.is_dir():
            continue
        # Of pictures that cannot be read it is said so.
        if kind_of(source) or source.suffix.lower() in OTHER_PICTURES:
            yield source, target / inside


def _identities(path):
    """What a file is known by: its path without links and, if it exists, what hard links to it share."""
    try:
        status = path.stat()
    except OSError:
        return [path.resolve()]
    return [path.resolve(), (status.st_dev, status.st_ino)]


def _refusal(job, taken):
    """Says in a sentence why a job cannot be done; None if nothing is in the way.

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


# So many photos are read, go through the network and are written together, unless they have more pixels.
BATCH_PHOTOS = 8
BATCH_PIXELS = 8_000_000
# A photo larger than this has the memory for itself.
LARGE_PIXELS = 16_000_000


@dataclass
class Task:
    """A file on its way from reading to writing.

    Attributes:
        job: `Job`.
        wanted: set of those of its outputs that are to be written.
        contents: `Contents` of its source if that is a photo, else None.
        photo: `Photo`, once it is read.
        given: what the network is given of it, as from `Colorizer.network_input`.
        ab: what the network answers, as from `Colorizer.predict_ab`.
        outcome: None until it is done; then a list of notes, or the exception that ended it.
    """

    job: Job
    wanted: set[Path]
    contents: Contents | None
    photo: Photo | None = None
    given: dict | None = None
    ab: np.ndarray | None = None
    outcome: list | Exception | None = None

    @property
    def is_single_photo(self):
        """Whether it is one photo that needs colour, as most are."""
        return self.contents is not None and self.contents.count == 1 and self.job.target in self.wanted


def colorize_files(colorizer, jobs, overwrite=False, crf=films.DEFAULT_CRF, quiet=True):
    """Colours photos, films and GIFs, with all that belongs to them.

    Args:
        colorizer: `Colorizer`.
        jobs: iterable of `Job`s, taken a few ahead; the folders of their targets are made if need be.
        overwrite: whether outputs that exist are replaced; else only missing ones are written.
        crf: quality of films, as in `films.video_codec`.
        quiet: whether to leave out the progress bars of films and GIFs.

    Yields:
        For each job, in order, the job and a list of texts on what could not be kept as it was; or the job
        and the exception that ended it: a `UserError` if its input cannot be read or its result cannot be
        written. What one file does to a decoder or to the memory does not stop the others.
    """
    tasks = (_look_at(job, overwrite) for job in jobs)
    for is_single, group in itertools.groupby(tasks, operator.attrgetter("is_single_photo")):
        if is_single:
            yield from _colorize_photos(colorizer, group)
            continue
        for task in group:
            _try(_colorize_alone, task, colorizer, crf, quiet)
            yield task.job, task.outcome


def _look_at(job, overwrite):
    """Finds out what kind of `Task` a `Job` is."""
    wanted = {path for path in job.outputs if overwrite or not path.exists()}
    if job.kind != "photo":
        return Task(job, wanted, None)
    contents = Contents(1, False, 0)  # of what cannot be read, which says why when it is tried in earnest
    with suppress(Exception):
        contents = count_pictures(job.source)
    return Task(job, wanted, contents)


def _try(step, task, *arguments):
    """Takes a task a step further, unless it has ended before; with an exception it ends."""
    if task.outcome is None:
        try:
            step(task, *arguments)
        except Exception as error:
            task.outcome = error


def _colorize_alone(task, colorizer, crf, quiet):
    """Colours a film, an animation or the pages of a photo, and compares what is to be compared."""
    job, notes = task.job, []
    is_animation = job.kind == "GIF" or task.contents is not None and task.contents.is_animation
    if job.target in task.wanted and is_animation:
        video.colorize_animation(colorizer, job.source, job.target, quiet=quiet)
    elif job.target in task.wanted and job.kind == "film":
        notes = video.colorize_video(colorizer, job.source, job.target, crf, quiet=quiet)
    elif job.target in task.wanted:
        pages = (Photo(colorizer.colorize(p.rgb), p.alpha, p.metadata) for p in read_pages(job.source))
        make_folder(job.target.parent)
        write_pages(job.target, pages, task.contents.pixels)
    if job.compare in task.wanted and job.kind == "GIF":
        animations.compare_gifs(job.source, job.target, job.compare)
    elif job.compare in task.wanted and job.kind == "film":
        films.join_side_by_side(job.source, job.target, job.compare, crf)
    elif job.compare in task.wanted:
        _write_comparison(job, read_photo(job.source), read_photo(job.target))
    task.outcome = notes


def _colorize_photos(colorizer, tasks):
    """Colours single photos; while a batch goes through the network, others are read and written.

    Args:
        colorizer: `Colorizer`.
        tasks: iterable of `Task`s.

    Yields:
        Pairs as `colorize_files` does.
    """
    reading, writing = deque(), deque()  # batches, each with what it waits for

    def finished(batch):
        return ((task.job, task.outcome) for task in batch if task.outcome is not None)

    def settle(most):
        """Lets no more than `most` batches be read and be written at the same time; yields what is done."""
        while len(reading) > most:
            batch, futures = reading.popleft()
            _wait(futures)
            _ask_network(colorizer, batch)
            writing.append((batch, [pool.submit(_try, _write, task, colorizer) for task in batch]))
        while len(writing) > most:
            _wait(writing[0][1])
            yield from finished(writing.popleft()[0])

    pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1))
    try:
        for batch in _in_batches(tasks):
            beside = 0 if batch[0].contents.pixels > LARGE_PIXELS else 1
            yield from settle(beside)
            reading.append((batch, [pool.submit(_try, _read, task, colorizer) for task in batch]))
            yield from settle(beside)
        yield from settle(0)
    except KeyboardInterrupt:
        # What is being written is finished and told, and no more is begun.
        pool.shutdown(cancel_futures=True)
        yield from itertools.chain.from_iterable(finished(batch) for batch, _ in writing)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _wait(futures):
    for future in futures:
        future.result()  # raises what `_try` lets through, such as KeyboardInterrupt


def _in_batches(tasks):
    """Yields lists of tasks that go together: up to BATCH_PHOTOS, of up to BATCH_PIXELS in all."""
    batch, pixels = [], 0
    for task in tasks:
        if batch and (len(batch) == BATCH_PHOTOS or pixels + task.contents.pixels > BATCH_PIXELS):
            yield batch
            batch, pixels = [], 0
        batch.append(task)
        pixels += task.contents.pixels
    if batch:
        yield batch


def _read(task, colorizer):
    task.photo = read_photo(task.job.source)
    task.given = colorizer.network_input(as_pixels(task.photo.rgb))


def _ask_network(colorizer, batch):
    """Lets the network colour those tasks of a batch that have been read."""
    ready = [task for task in batch if task.outcome is None]
    try:
        answers = colorizer.predict_ab([task.given for task in ready])
        for task, ab in zip(ready, answers, strict=True):
            task.ab = ab
    except Exception as error:
        if len(ready) == 1:
            ready[0].outcome = error
        else:  # one of them is to blame
            for task in ready:
                _ask_network(colorizer, [task])


def _write(task, colorizer):
    photo, task.photo = task.photo, None  # whose memory goes to the encoder, if nothing else needs it
    coloured = Photo(colorizer.merge(as_pixels(photo.rgb), task.ab), photo.alpha, photo.metadata)
    is_compared = task.job.compare in task.wanted
    photo = photo if is_compared else None
    make_folder(task.job.target.parent)
    notes = write_photo(task.job.target, coloured)
    if is_compared:
        _write_comparison(task.job, photo, coloured)
    task.outcome = notes


def _write_comparison(job, before, after):
    write_photo(job.compare, Photo(before_after(before.rgb, after.rgb)))

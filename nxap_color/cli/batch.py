"""From jobs to results: the photos, films and GIFs of a command line are coloured and accounted for."""

import contextlib
import itertools
import operator
import os
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nxap_color.cli.console import describe_error
from nxap_color.cli.jobs import Job, Report
from nxap_color.cli.told import Told, hint_notes, reference_notes
from nxap_color.colorizer import Colorizer
from nxap_color.guidance import Hint
from nxap_color.images import before_after
from nxap_color.media import animations, ffmpeg, films
from nxap_color.media.atomic import make_folder
from nxap_color.media.photos import (
    Contents,
    Photo,
    count_pictures,
    read_pages,
    read_photo,
    write_pages,
    write_photo,
)
from nxap_color.prepared import Prepared

# Photos per batch, limited by `BATCH_PIXELS`.
BATCH_PHOTOS = 8
BATCH_PIXELS = 8_000_000
# A photo larger than this has the memory for itself.
LARGE_PIXELS = 16_000_000
# Seconds after which a terminal shows what is going on, and between two looks at it.
SIGN_OF_LIFE = 0.5
NO_MEMORY = "There is not enough memory for a picture of this size."


def run_jobs(
    jobs: list[Job],
    load_colorizer: Callable[[], Colorizer],
    report: Report,
    overwrite: bool = False,
    crf: int = ffmpeg.DEFAULT_CRF,
    quiet: bool = False,
    debug: bool = False,
    told: Told | None = None,
) -> None:
    """Do jobs; one that fails is named on stderr and does not stop the rest.

    Args:
        jobs: what to do.
        load_colorizer: function that returns a `Colorizer`, called only if there is something to do.
        report: `Report` to add to.
        overwrite: whether outputs that exist are replaced; else they are kept and named.
        crf: quality of films, as in `films.video_codec`.
        quiet: whether to leave out progress bars, what was kept, and notes.
        debug: whether to print the traceback of what fails.
        told: what the user said of colours, if anything.
    """

    def left_to_do() -> Iterator[Job]:
        for job in jobs:
            if overwrite or not all(path.exists() for path in job.outputs):
                yield job
                continue
            bar.update()
            if not quiet:
                bar.write(f"kept {job.target}, which exists (--overwrite replaces it)")

    with _progress(jobs, quiet) as bar, _ticking(bar):
        left = left_to_do()
        if (first := next(left, None)) is None:
            return
        left = itertools.chain([first], left)
        for job, outcome in colorize_files(load_colorizer(), left, overwrite, crf, quiet, told):
            bar.update()
            if isinstance(outcome, Exception):
                report.failed.append(job.source)
                if debug:
                    bar.write("".join(traceback.format_exception(outcome)), file=sys.stderr, end="")
                reason = NO_MEMORY if isinstance(outcome, MemoryError) else describe_error(outcome)
                bar.write(f"error: {job.source}: {reason}", file=sys.stderr)
                continue
            report.written.append(job.target)
            for note in [] if quiet else outcome:
                bar.write(f"note: {job.source}: {note}")


def _progress(jobs: list[Job], quiet: bool) -> tqdm:
    """Make the bar of some jobs; of a single one it shows the name and the time, and goes at the end."""
    # disable=None shows the bar only on a terminal; what is done within half a second needs none.
    options = {"total": len(jobs), "unit": "file", "disable": quiet or None, "delay": SIGN_OF_LIFE}
    if len(jobs) == 1:
        options |= {"desc": jobs[0].source.name, "bar_format": "{desc} ... {elapsed}", "leave": False}
    return tqdm(**options)


@contextlib.contextmanager
def _ticking(bar: tqdm) -> Iterator[None]:
    """Keep the time of a bar moving, also while nothing is finished."""
    done = threading.Event()

    def tick() -> None:
        while not done.wait(SIGN_OF_LIFE):
            bar.refresh()

    thread = threading.Thread(target=tick, daemon=True)
    if not bar.disable:
        thread.start()
    try:
        yield
    finally:
        done.set()
        if thread.is_alive():
            thread.join()


@dataclass
class Task:
    """A file on its way from reading to writing.

    Attributes:
        job: `Job`.
        wanted: those of its outputs that are to be written.
        contents: `Contents` of its source if that is a photo, else None.
        photo: `Photo`, once it is read.
        prepared: its pixels on their way, as from `Colorizer.prepare`.
        hints: what the user said of its colours.
        ab: its colours, as from `Colorizer.answer`.
        outcome: None until it is done; then a list of notes, or the exception that ended it.
    """

    job: Job
    wanted: set[Path]
    contents: Contents | None = None
    photo: Photo | None = None
    prepared: Prepared | None = None
    hints: Sequence[Hint] = ()
    ab: np.ndarray | None = None
    outcome: list | Exception | None = None

    @property
    def is_single_photo(self) -> bool:
        """Whether it is one photo that needs colour, as most are."""
        return self.contents is not None and self.contents.count == 1 and self.job.target in self.wanted


def colorize_files(
    colorizer: Colorizer,
    jobs: Iterable[Job],
    overwrite: bool = False,
    crf: int = ffmpeg.DEFAULT_CRF,
    quiet: bool = True,
    told: Told | None = None,
) -> Iterator[tuple[Job, list[str] | Exception]]:
    """Colour photos, films and GIFs, with all that belongs to them.

    Args:
        colorizer: `Colorizer`.
        jobs: `Job`s, taken a few ahead; the folders of their targets are made if need be.
        overwrite: whether outputs that exist are replaced; else only missing ones are written.
        crf: quality of films, as in `films.video_codec`.
        quiet: whether to leave out the progress bars of films and GIFs.
        told: what the user said of colours, if anything.

    Yields:
        For each job, in order, the job and a list of texts on what could not be kept as it was; or the job
        and the exception that ended it: a `UserError`, OSError or MemoryError if its input cannot be read
        or its result cannot be written; any other is a bug. Neither stops the other files.
    """
    tasks = (_look_at(job, overwrite) for job in jobs)
    for is_single, group in itertools.groupby(tasks, operator.attrgetter("is_single_photo")):
        if is_single:
            yield from _colorize_photos(colorizer, group, told)
            continue
        for task in group:
            _try(_colorize_alone, task, colorizer, crf, quiet, told)
            yield task.job, task.outcome


def _look_at(job: Job, overwrite: bool) -> Task:
    """Find out what kind of `Task` a `Job` is; one that cannot be counted has ended."""
    task = Task(job, {path for path in job.outputs if overwrite or not path.exists()})
    if job.kind == "photo":
        _try(_count, task)
        task.contents = task.contents or Contents(1, False, 0)
    return task


def _count(task: Task) -> None:
    task.contents = count_pictures(task.job.source)


def _try(step: Callable, task: Task, *arguments: object) -> None:
    """Take a task a step further, unless it has ended before; with an exception it ends."""
    if task.outcome is None:
        try:
            step(task, *arguments)
        except Exception as error:  # even a bug must not cost the user the other files; it is told as one
            task.outcome = error


def _colorize_alone(task: Task, colorizer: Colorizer, crf: int, quiet: bool, told: Told | None) -> None:
    """Colour a film, an animation or the pages of a photo, and compare what is to be compared."""
    from nxap_color import film_files  # here, since a photo needs none of it

    job, notes = task.job, []
    hints = told.for_input() if told else ()
    is_animation = job.kind == "GIF" or task.contents is not None and task.contents.is_animation
    if job.target in task.wanted and is_animation:
        notes += film_files.colorize_animation(colorizer, job.source, job.target, quiet=quiet, hints=hints)
    elif job.target in task.wanted and job.kind == "film":
        notes += film_files.colorize_video(colorizer, job.source, job.target, crf, quiet=quiet, hints=hints)
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


def _colorize_photos(colorizer: Colorizer, tasks: Iterable[Task], told: Told | None) -> Iterator[tuple]:
    """Colour single photos; while a batch goes through the network, others are read and written.

    Yields:
        Pairs as `colorize_files` does.
    """
    reading, writing = deque(), deque()  # batches, each with what it waits for

    def finished(batch: list[Task]) -> Iterator[tuple]:
        return ((task.job, task.outcome) for task in batch if task.outcome is not None)

    def settle(most: int) -> Iterator[tuple]:
        """Let no more than `most` batches be read and be written at the same time; yield what is done."""
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
            reading.append((batch, [pool.submit(_try, _read, task, colorizer, told) for task in batch]))
            yield from settle(beside)
        yield from settle(0)
    except KeyboardInterrupt:
        # Finish and report what is being written; begin nothing more.
        pool.shutdown(cancel_futures=True)
        yield from itertools.chain.from_iterable(finished(batch) for batch, _ in writing)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _wait(futures: list[Future]) -> None:
    for future in futures:
        future.result()  # raises what `_try` lets through, such as KeyboardInterrupt


def _in_batches(tasks: Iterable[Task]) -> Iterator[list[Task]]:
    """Yield lists of tasks that go together: up to BATCH_PHOTOS, of up to BATCH_PIXELS in all."""
    batch, pixels = [], 0
    for task in tasks:
        if batch and (len(batch) == BATCH_PHOTOS or pixels + task.contents.pixels > BATCH_PIXELS):
            yield batch
            batch, pixels = [], 0
        batch.append(task)
        pixels += task.contents.pixels
    if batch:
        yield batch


def _read(task: Task, colorizer: Colorizer, told: Told | None) -> None:
    task.photo = read_photo(task.job.source)
    task.hints = told.for_input(task.photo.rgb.shape[:2]) if told else ()
    task.prepared = colorizer.prepare(task.photo.rgb)


def _ask_network(colorizer: Colorizer, batch: list[Task]) -> None:
    """Let the network colour those tasks of a batch that have been read."""
    ready = [task for task in batch if task.outcome is None]
    try:
        answers = colorizer.answer_batch([task.prepared for task in ready], [task.hints for task in ready])
        for task, ab in zip(ready, answers, strict=True):
            task.ab = ab
    except Exception as error:  # as in `_try`
        if len(ready) == 1:
            ready[0].outcome = error
        else:  # one of them is to blame
            for task in ready:
                _ask_network(colorizer, [task])


def _write(task: Task, colorizer: Colorizer) -> None:
    # Their memory goes to the encoder, if nothing else needs it.
    photo, task.photo, prepared, task.prepared = task.photo, None, task.prepared, None
    coloured = Photo(colorizer.finish(prepared, task.ab, task.hints), photo.alpha, photo.metadata)
    notes = hint_notes(task.hints, prepared.lightness) + reference_notes(colorizer, prepared)
    is_compared = task.job.compare in task.wanted
    photo, prepared = photo if is_compared else None, None
    make_folder(task.job.target.parent)
    notes += write_photo(task.job.target, coloured)
    if is_compared:
        _write_comparison(task.job, photo, coloured)
    task.outcome = notes


def _write_comparison(job: Job, before: Photo, after: Photo) -> None:
    write_photo(job.compare, Photo(before_after(before.rgb, after.rgb)))

"""Measure how fast whole processes are, of this version and of others in turns, on the same machine."""

import contextlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from nxap_color.errors import UserError
from nxap_color.evaluation import machine, speed, training_speed
from nxap_color.media import films

HERE = Path(__file__).resolve().parents[2]  # the folder in which this version's package lies
MEGAPIXEL = 1_000_000
# What a version is asked for its film's figures; null where it does not know them.
FILM_CODE = """
import json, pathlib, sys
from nxap_color.evaluation import speed
known = hasattr(speed, "time_film")
print(json.dumps(speed.time_film(pathlib.Path(sys.argv[1])) if known else None))
"""


@dataclass(frozen=True)
class Effort:
    """How thoroughly all is measured.

    Args:
        repeats: runs of each process that colours one photo or none, and of each step.
        folder_repeats: runs of each process that colours a folder, or measures the steps.
        folders: photos in each folder: memory must not grow with them.
        warm_up: of these the first, which are slower than all others and not counted.
        training_repeats: runs of each part of a training.
    """

    repeats: int = 5
    folder_repeats: int = 3
    folders: Sequence[int] = (50, 100)
    warm_up: int = 20
    training_repeats: int = training_speed.REPEATS


QUICK = Effort(repeats=1, folder_repeats=1, folders=(3,), warm_up=1, training_repeats=1)


class Ended(NamedTuple):
    """A process that has ended.

    Attributes:
        seconds: from its start to its end.
        peak: the most memory that it, or one process that it started, had; MB. NaN where the system does
            not report it.
        output: what it printed.
    """

    seconds: float
    peak: float
    output: str


def run_python(folder: Path, *arguments: Any, status: int = 0) -> Ended:
    """Run Python in a process of its own, with the version of this project that lies in a folder.

    Args:
        folder: the one that holds nxap_color.
        *arguments: of Python's command line.
        status: the exit status that is expected.

    Returns:
        `Ended`.

    Raises:
        UserError: if it ends with another exit status.
    """
    # `python -m` and `-c` look into the current folder first, PYTHONPATH is for processes that these start.
    # Both come before what is installed, in whichever way.
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command, peak = [sys.executable, *map(str, arguments)], float("nan")
    # Files and not pipes, which would have to be read while the process runs.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=errors)
        try:
            if hasattr(os, "wait4"):  # which Windows has not
                _, ended, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(ended)
                peak = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
            process.wait()
        finally:
            process.kill()  # does nothing unless this one was stopped
        seconds = time.perf_counter() - start
        output.seek(0), errors.seek(0)
        if process.returncode != status:
            reason = (errors.read().decode(errors="replace").strip().splitlines() or ["without a word"])[-1]
            raise UserError(
                f"{' '.join(command[1:3])} of {folder} ended with exit status {process.returncode}: {reason}"
            )
        return Ended(seconds, peak, output.read().decode(errors="replace"))


def run_predict(folder: Path, *arguments: Any, status: int = 0) -> Ended:
    """Run `python -m nxap_color.predict` in a process of its own: arguments and errors as in `run_python`."""
    return run_python(folder, "-m", "nxap_color.predict", "--quiet", *arguments, status=status)


def take_turns(
    folders: Sequence[Path], repeats: int, measure: Callable, *arguments: Any, **options: Any
) -> list[list]:
    """Measure several versions in turns, A B A B, so that they meet the same machine.

    Args:
        folders: one for each version.
        repeats: number of rounds.
        measure: function of a folder, `arguments` and `options`.

    Returns:
        For each folder the list of what `measure` returned.
    """
    rounds = [[measure(folder, *arguments, **options) for folder in folders] for _ in range(repeats)]
    return [list(results) for results in zip(*rounds, strict=True)]


def require_version(folder: Path) -> None:
    """Check that a folder holds a version of this project.

    Raises:
        UserError: if not.
    """
    if not (folder / "nxap_color" / "predict.py").is_file():
        raise UserError(f"{folder} is no checkout of this project: there is no nxap_color/predict.py in it.")


def measure_folder(folder: Path, photos: Sequence[Path], warm_up: int) -> tuple[float, float]:
    """Measure colouring many photos, once it is under way.

    Args:
        folder: as in `run_python`.
        photos: paths of more than `warm_up` photos, all in one folder.
        warm_up: number of the first ones, which are not counted.

    Returns:
        Photos per second, by the dates of the results, and peak memory in MB.
    """
    results = photos[0].parent / "results"
    peak = run_predict(folder, *photos, "-o", results, "--overwrite").peak
    times = sorted(path.stat().st_mtime for path in results.iterdir())
    return (len(photos) - warm_up) / (times[-1] - times[warm_up - 1]), peak


def steps_of(folder: Path, repeats: int) -> dict[str, dict[str, float]]:
    """Measure the steps of colouring a photo in a process of its own.

    Args:
        folder: as in `run_python`.
        repeats: runs of each step; versions before this argument have their own number.

    Returns:
        Dict from each of `speed.SIZES` to a dict from step to seconds; empty for a version that does not
        measure this.
    """
    found = {}
    if _knows_speed(folder):
        output = run_python(folder, "-m", "nxap_color.evaluation.speed", repeats).output
        with contextlib.suppress(ValueError, IndexError):  # it prints nothing, or something else
            found = json.loads(output.splitlines()[-1])
    return found


def film_figures(folder: Path, path: Path) -> list | None:
    """Return what `speed.time_film` of a version says of a film, None if the version has no such function."""
    if not _knows_speed(folder):
        return None
    return json.loads(run_python(folder, "-c", FILM_CODE, path).output.splitlines()[-1])


def _knows_speed(folder):
    return (folder / "nxap_color" / "evaluation" / "speed.py").is_file()


def photo_speeds(folders: Sequence[Path], effort: Effort) -> Iterator[list[str]]:
    """Measure how photos are coloured.

    Args:
        folders: this version's and those of others, as in `run_python`.
        effort: how thoroughly.

    Yields:
        Rows of text: what was measured, and a figure for each version, or one for all of them.
    """
    yield _header("", folders)
    yield from _process_rows(folders, effort)
    for count in effort.folders:
        with tempfile.TemporaryDirectory() as temporary:
            photos = speed.make_photos(Path(temporary), count, MEGAPIXEL)
            runs = take_turns(folders, effort.folder_repeats, measure_folder, photos, effort.warm_up)
        yield [
            f"{count} of 1 megapixel, photos/s",
            *medians([[rate for rate, _ in each] for each in runs], 1),
        ]
        yield _peaks([[peak for _, peak in each] for each in runs])
    measured = take_turns(folders, effort.folder_repeats, steps_of, effort.repeats)
    for size in speed.SIZES:
        yield from _step_rows(size, [[run[size] for run in runs if size in run] for runs in measured])
    size = machine.own_megabytes() + machine.installed_megabytes(machine.required_packages("nxap_color"))
    yield ["installed, MB", f"{size:.0f}"]


def _process_rows(folders, effort):
    """Yield the rows of processes that colour no photo, or one."""
    with tempfile.TemporaryDirectory() as temporary:
        (photo,) = speed.make_photos(Path(temporary), 1, MEGAPIXEL)
        take_turns(folders, 1, run_predict, photo, "--overwrite")  # from now on the files are in memory
        runs = take_turns(folders, effort.repeats, run_predict, "--help")
        yield ["--help, s", *medians(_seconds(runs), 2)]
        runs = take_turns(folders, effort.repeats, run_predict, "--crf", "99", status=2)
        yield ["wrong usage, s", *medians(_seconds(runs), 2)]
        if importlib.util.find_spec("tensorflow"):
            runs = take_turns([HERE], effort.repeats, run_python, "-c", "import tensorflow")
            yield ['python -c "import tensorflow", s', *medians(_seconds(runs), 2)]
        runs = take_turns(folders, effort.repeats, run_predict, photo, "--overwrite")
        yield ["1 megapixel, whole process, s", *medians(_seconds(runs), 2)]
        yield _peaks([[run.peak for run in column] for column in runs])


def _step_rows(size, columns):
    """Yield the rows of the steps of a photo: for each version a list of dicts from step to seconds."""
    files = {"decoding", "encoding"}
    inner = [[sum(steps[name] for name in steps.keys() - files) for steps in runs] for runs in columns]
    yield [f"{size}, but for its file, ms", *medians(inner, 1, scale=1000)]
    for step in _steps_in(columns):
        runs = [[steps[step] for steps in runs if step in steps] for runs in columns]
        yield [f"    {step}", *medians(runs, 1, scale=1000)]


def film_speeds(path: Path, folders: Sequence[Path], repeats: int) -> Iterator[list[str]]:
    """Measure how a film is coloured.

    Args:
        path: the film.
        folders: as in `photo_speeds`.
        repeats: runs of each process.

    Yields:
        Rows of text, as `photo_speeds` does.

    Raises:
        FilmError: if it cannot be read.
    """
    films.probe(path)  # to say so here, and not in another process
    path = path.resolve()
    yield _header(path.name, folders)
    figures = take_turns(folders, repeats, film_figures, path)
    known = [[run for run in runs if run] for runs in figures]
    yield ["frames", *medians([[count for count, *_ in runs] for runs in known], 0)]
    yield ["all but loading the model, frames/s", *medians([[run[1] for run in runs] for runs in known], 1)]
    yield ["ffmpeg alone, frames/s", *medians([[run[2] for run in runs] for runs in known], 1)]
    yield ["Each step alone (they overlap), ms a frame"]
    steps = [[run[3] for run in runs] for runs in known]
    for step in _steps_in(steps):
        yield [f"    {step}", *medians([[each[step] for each in runs if step in each] for runs in steps], 1)]
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary) / f"coloured{path.suffix}"
        runs = take_turns(folders, repeats, run_predict, path, "-o", target, "--overwrite")
    yield ["whole process, s", *medians(_seconds(runs), 1)]
    yield _peaks([[run.peak for run in column] for column in runs])


def _header(title, folders):
    return [title, *("here" if folder == HERE else folder.name for folder in folders)]


def _seconds(columns):
    return [[run.seconds for run in runs] for runs in columns]


def _peaks(columns):
    return ["    peak memory, MB", *(f"{max(runs):.0f}" for runs in columns)]


def _steps_in(columns: Iterable[Iterable[dict[str, Any]]]) -> list[str]:
    """List the steps that any run of any version has, in their order."""
    return list(dict.fromkeys(step for runs in columns for steps in runs for step in steps))


def medians(columns: Iterable[Sequence[float]], digits: int, scale: float = 1.0) -> list[str]:
    """Write the median of each column, with its lowest and highest figure unless they look the same.

    Args:
        columns: the figures of each version.
        digits: after the point.
        scale: what figures are multiplied by.

    Returns:
        For each column a text as "1.02 (0.98-1.10)", or "-" if it has no figures.
    """
    cells = []
    for figures in columns:
        shown = [f"{scale * figure:.{digits}f}" for figure in sorted(figures)]
        middle = f"{scale * statistics.median(figures):.{digits}f}" if figures else "-"
        cells.append(middle if len(set(shown)) < 2 else f"{middle} ({shown[0]}-{shown[-1]})")
    return cells

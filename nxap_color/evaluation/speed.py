"""Measure how fast photos and films are coloured: whole processes, folders, and each step alone."""

import importlib.metadata
import importlib.util
import itertools
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from nxap_color.errors import UserError
from nxap_color.paths import SAMPLE_PHOTOS

BACKENDS = ("tensorflow", "openvino")
REPEATS, FOLDER_REPEATS = 5, 3
SIZES = {"256 px": 256 * 341, "12 megapixels": 12_000_000}  # of a photo of 4:3
MEGAPIXEL = 1_000_000
FOLDERS = (50, 100)  # photos in each: memory must not grow with them
# The first photos of a folder are slower than all others.
WARM_UP = 20
FRAMES = 96  # of a film, for each step alone


def installed_backends() -> list[str]:
    """List those of BACKENDS that are installed."""
    return [name for name in BACKENDS if importlib.util.find_spec(name)]


def describe_machine() -> str:
    """Describe in a line what figures are measured on."""
    processor, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"model name\s*: (.*)", info.read_text())):
        processor = found[1]
    packages = ("keras", *installed_backends())
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    system = f"{platform.system()}, Python {platform.python_version()}"
    return f"{processor}, {os.cpu_count()} cores, {system}, {versions}"


def make_photos(folder: Path, count: int, pixels: int) -> list[Path]:
    """Write gray JPEGs, made of the sample photos, which repeat if need be.

    Args:
        folder: an empty folder.
        count: number of photos.
        pixels: of each, in the aspect of its sample.

    Returns:
        The paths of the photos.

    Raises:
        UserError: if the sample photos are missing, as in an installed package.
    """
    samples = sorted(SAMPLE_PHOTOS.rglob("*.jpg"))
    if not samples:
        raise UserError(
            f"There are no sample photos in {SAMPLE_PHOTOS}: run the benchmark in the project's folder."
        )
    paths = [folder / f"{index:03d}.jpg" for index in range(count)]
    for index, path in enumerate(paths):
        with Image.open(samples[index % len(samples)]) as sample:
            scale = (pixels / (sample.width * sample.height)) ** 0.5
            size = round(sample.width * scale), round(sample.height * scale)
            sample.convert("L").resize(size, Image.Resampling.LANCZOS).save(path, quality=90)
    return paths


def run_predict(backend: str, *arguments: Any) -> tuple[float, float]:
    """Run `python -m nxap_color.predict` in a process of its own.

    Args:
        backend: what KERAS_BACKEND is set to.
        *arguments: of the command line.

    Returns:
        Seconds until its end, and its peak memory in MB; NaN where the system does not report it.

    Raises:
        RuntimeError: if it fails.
    """
    command = [sys.executable, "-m", "nxap_color.predict", "--quiet", *map(str, arguments)]
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env={**os.environ, "KERAS_BACKEND": backend}, stdout=subprocess.DEVNULL
    )
    peak = float("nan")
    if hasattr(os, "wait4"):  # which Windows has not
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        peak = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    if process.wait():
        raise RuntimeError(f"predict on {backend} ended with exit status {process.returncode}.")
    return time.perf_counter() - start, peak


def measure_process(backend: str) -> tuple[float, float]:
    """Measure colouring one photo of a megapixel, everything included from the start of Python.

    Returns:
        Median seconds of `REPEATS` runs, and their highest peak memory in MB.
    """
    with tempfile.TemporaryDirectory() as folder:
        (photo,) = make_photos(Path(folder), 1, MEGAPIXEL)
        runs = [run_predict(backend, photo, "--overwrite") for _ in range(REPEATS)]
    return statistics.median(seconds for seconds, _ in runs), max(peak for _, peak in runs)


def measure_help(backend: str) -> float:
    """Measure how long `--help` takes: median seconds of `REPEATS` runs."""
    return statistics.median(run_predict(backend, "--help")[0] for _ in range(REPEATS))


def measure_folder(backend: str, count: int) -> tuple[float, float]:
    """Measure colouring a folder of photos of a megapixel, once it is under way.

    Args:
        backend: as in `run_predict`.
        count: number of photos, above WARM_UP.

    Returns:
        Photos per second, by the dates of the results, the median of `FOLDER_REPEATS` runs; and their
        highest peak memory in MB.
    """
    rates, peaks = [], []
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        photos = make_photos(Path(folder), count, MEGAPIXEL)
        for _ in range(FOLDER_REPEATS):
            peaks.append(run_predict(backend, *photos, "-o", results, "--overwrite")[1])
            times = sorted(path.stat().st_mtime for path in results.iterdir())
            rates.append((count - WARM_UP) / (times[-1] - times[WARM_UP - 1]))
    return statistics.median(rates), max(peaks)


def measure_steps(pixels: int) -> dict[str, float]:
    """Measure each step of colouring a photo, in this process, once everything is loaded.

    Args:
        pixels: of the photo.

    Returns:
        Dict from step to median seconds of `REPEATS` runs.
    """
    from nxap_color.colorizer import Colorizer, as_pixels
    from nxap_color.media.photos import Photo, read_photo, write_photo

    colorizer, seconds = Colorizer.load(), {}

    def timed(step, function):
        runs = []
        for _ in range(REPEATS + 1):  # the first one, which warms up, is left out
            start = time.perf_counter()
            result = function()
            runs.append(time.perf_counter() - start)
        seconds[step] = statistics.median(runs[1:])
        return result

    with tempfile.TemporaryDirectory() as folder:
        (path,) = make_photos(Path(folder), 1, pixels)
        photo = timed("decoding", lambda: as_pixels(read_photo(path).rgb))
        given = timed("shrinking", lambda: colorizer.network_input(photo))
        (ab,) = timed("network", lambda: colorizer.predict_ab([given]))
        rgb = timed("full-size colour", lambda: colorizer.merge(photo, ab))
        timed("encoding", lambda: write_photo(path.with_name("coloured.jpg"), Photo(rgb)))
    return seconds


def steps_of(backend: str) -> dict[str, dict[str, float]]:
    """Measure the steps at all `SIZES` in a process of its own: a dict from size to `measure_steps`'s."""
    done = subprocess.run(
        [sys.executable, "-m", "nxap_color.evaluation.speed"],
        env={**os.environ, "KERAS_BACKEND": backend}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def photo_speeds() -> Iterator[list[str]]:
    """Measure how photos are coloured, on each backend that is installed.

    Yields:
        Rows of text: what was measured, and a figure for each backend.
    """
    backends = installed_backends()
    yield ["", *backends]
    yield ["--help, s", *(f"{measure_help(backend):.2f}" for backend in backends)]
    processes = [measure_process(backend) for backend in backends]
    yield ["1 megapixel, whole process, s", *(f"{seconds:.1f}" for seconds, _ in processes)]
    yield ["    peak memory, MB", *(f"{peak:.0f}" for _, peak in processes)]
    for count in FOLDERS:
        folders = [measure_folder(backend, count) for backend in backends]
        yield [f"{count} of 1 megapixel, photos/s", *(f"{rate:.1f}" for rate, _ in folders)]
        yield ["    peak memory, MB", *(f"{peak:.0f}" for _, peak in folders)]
    measured = [steps_of(backend) for backend in backends]
    for size in SIZES:
        columns = [steps[size] for steps in measured]
        inner = [sum(steps.values()) - steps["decoding"] - steps["encoding"] for steps in columns]
        yield [f"{size}, but for its file, ms", *(f"{1000 * total:.0f}" for total in inner)]
        for step in columns[0]:
            yield [f"    {step}", *(f"{1000 * steps[step]:.0f}" for steps in columns)]


class _Stopwatch:
    """Call functions and note how long each took: `milliseconds` by the step's name."""

    def __init__(self):
        self.milliseconds: dict[str, float] = {}

    def __call__(self, step: str, function: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = function()
        self.milliseconds[step] = 1000.0 * (time.perf_counter() - start)
        return result


def time_film(path: Path) -> tuple[int, float, float, dict[str, float]]:
    """Measure how fast a film is coloured, and each step of it alone.

    Args:
        path: the film.

    Returns:
        Number of frames; frames per second of colouring it with the shipped model, everything included but
        loading the model, and of ffmpeg encoding it again; and a dict from step to milliseconds per frame,
        each step alone: together they take longer than the whole, where they overlap.

    Raises:
        FilmError: if it cannot be read.
    """
    from nxap_color import video
    from nxap_color.colorizer import Colorizer
    from nxap_color.media import ffmpeg, films

    film, colorizer, timed = films.probe(path), Colorizer.load(), _Stopwatch()
    codec = films.video_codec(path.suffix.lower(), ffmpeg.DEFAULT_CRF)
    with tempfile.TemporaryDirectory() as folder:
        steps = _time_film_steps(film, codec, colorizer, Path(folder))
        timed("all", lambda: video.colorize_video(colorizer, path, Path(folder) / f"all{path.suffix}"))
        plain = Path(folder) / f"plain{path.suffix}"
        timed("plain", lambda: ffmpeg.run_ffmpeg("-i", path, *codec, "-c:a", "copy", plain))
    count = len(film.times) or sum(1 for _ in films.read_film(film))
    coloured, plain = (1000 * count / timed.milliseconds[name] for name in ("all", "plain"))
    return count, coloured, plain, steps


def _time_film_steps(film: Any, codec: list[str], colorizer: Any, folder: Path) -> dict[str, float]:
    """Measure each step of colouring the first `FRAMES` of a film: a dict to milliseconds per frame."""
    from nxap_color import steady, video
    from nxap_color.media import films

    def encode():
        with films.FilmWriter(folder / "encoded.nut", film, codec) as writer:
            for frame, chroma in zip(frames, chromas, strict=True):
                writer.write(frame, chroma)

    timed = _Stopwatch()
    frames = timed("decoding", lambda: list(itertools.islice(films.read_film(film), FRAMES)))
    batches = list(video.in_batches(frames))
    video.ask_network(colorizer, batches[0], film.turns)  # to warm up
    answers = timed("network", lambda: [video.ask_network(colorizer, b, film.turns) for b in batches])
    seen = [pair for _, grays, colours in answers for pair in zip(grays, colours, strict=True)]
    tracker = steady.SteadyColour(float(film.fps))
    colours = timed("following motion", lambda: [tracker.follow(*pair)[0] for pair in seen])
    chromas = timed("full-size colour", lambda: [
        video.find_chroma(colorizer, frame.gray(film.chroma_size), ab, film.matrix)
        for frame, ab in zip(frames, colours, strict=True)
    ])  # fmt: skip
    timed("encoding", encode)
    return {step: spent / len(frames) for step, spent in timed.milliseconds.items()}


if __name__ == "__main__":
    print(json.dumps({name: measure_steps(pixels) for name, pixels in SIZES.items()}))

"""Measures how fast photos are coloured: whole processes, folders, and each step of one photo."""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from nxap_color.media.collections import SHIPPED

SAMPLES = SHIPPED / "data" / "photos"
BACKENDS = ("tensorflow", "openvino")
REPEATS, FOLDER_REPEATS = 5, 3
SIZES = {"256 px": 256 * 341, "12 megapixels": 12_000_000}  # of a photo of 4:3
MEGAPIXEL = 1_000_000
# The first photos of a folder are slower than all others.
WARM_UP = 20


def installed_backends():
    """Lists those of BACKENDS that are installed."""
    return [name for name in BACKENDS if importlib.util.find_spec(name)]


def make_photos(folder, count, pixels):
    """Writes gray JPEGs, made of the sample photos, which repeat if need be.

    Args:
        folder: `Path` of an empty folder.
        count: number of photos.
        pixels: of each, in the aspect of its sample.

    Returns:
        List of their `Path`s.
    """
    samples = sorted(SAMPLES.rglob("*.jpg"))
    paths = [folder / f"{index:03d}.jpg" for index in range(count)]
    for index, path in enumerate(paths):
        with Image.open(samples[index % len(samples)]) as sample:
            scale = (pixels / (sample.width * sample.height)) ** 0.5
            size = round(sample.width * scale), round(sample.height * scale)
            sample.convert("L").resize(size, Image.Resampling.LANCZOS).save(path, quality=90)
    return paths


def run_predict(backend, *arguments):
    """Runs `python -m nxap_color.predict` in a process of its own.

    Args:
        backend: what KERAS_BACKEND is set to.
        *arguments: of the command line.

    Returns:
        Seconds until its end; and its peak memory in MB, NaN where the system does not tell.

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


def measure_process(backend):
    """Measures colouring one photo of a megapixel, everything included from the start of Python.

    Returns:
        Median seconds of `REPEATS` runs, and their highest peak memory in MB.
    """
    with tempfile.TemporaryDirectory() as folder:
        (photo,) = make_photos(Path(folder), 1, MEGAPIXEL)
        runs = [run_predict(backend, photo, "--overwrite") for _ in range(REPEATS)]
    return statistics.median(seconds for seconds, _ in runs), max(peak for _, peak in runs)


def measure_help(backend):
    """Measures how long `--help` takes: median seconds of `REPEATS` runs."""
    return statistics.median(run_predict(backend, "--help")[0] for _ in range(REPEATS))


def measure_folder(backend, count):
    """Measures colouring a folder of photos of a megapixel, once it is under way.

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


def measure_steps(pixels):
    """Measures each step of colouring a photo, in this process, once everything is loaded.

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


def steps_of(backend):
    """Measures the steps at all `SIZES` in a process of its own: a dict from size to `measure_steps`'s."""
    done = subprocess.run(
        [sys.executable, "-m", "nxap_color.photo_speed"],
        env={**os.environ, "KERAS_BACKEND": backend}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    print(json.dumps({name: measure_steps(pixels) for name, pixels in SIZES.items()}))

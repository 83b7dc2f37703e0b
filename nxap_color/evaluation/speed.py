"""Measure, in this process, how fast each step of colouring photos and films is."""

import dataclasses
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from nxap_color.errors import UserError
from nxap_color.paths import SAMPLE_PHOTOS

REPEATS = 5
SIZES = {"256 px": 256 * 341, "12 megapixels": 12_000_000}  # of a photo of 4:3
FRAMES = 96  # of a film, for each step alone


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


def measure_steps(pixels: int, repeats: int = REPEATS) -> dict[str, float]:
    """Measure each step of colouring a photo, once everything is loaded.

    Args:
        pixels: of the photo.
        repeats: runs of each step.

    Returns:
        Dict from step to median seconds.
    """
    from nxap_color.colorizer import Colorizer
    from nxap_color.media.photos import Photo, read_photo, write_photo

    colorizer, seconds = Colorizer.load(), {}

    def timed(step, function):
        runs = []
        for _ in range(repeats + 1):  # the first one, which warms up, is left out
            start = time.perf_counter()
            result = function()
            runs.append(time.perf_counter() - start)
        seconds[step] = statistics.median(runs[1:])
        return result

    with tempfile.TemporaryDirectory() as folder:
        (path,) = make_photos(Path(folder), 1, pixels)
        photo = timed("decoding", lambda: read_photo(path).rgb)
        prepared = timed("shrinking", lambda: colorizer.prepare(photo))
        # Without what it was seen as in the round before.
        ab = timed("network", lambda: colorizer.answer(dataclasses.replace(prepared, looks=None)))
        rgb = timed("full-size colour", lambda: colorizer.finish(prepared, ab))
        timed("encoding", lambda: write_photo(path.with_name("coloured.jpg"), Photo(rgb)))
    return seconds


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
    from nxap_color import film_files
    from nxap_color.colorizer import Colorizer
    from nxap_color.media import ffmpeg, films

    film, colorizer, timed = films.probe(path), Colorizer.load(), _Stopwatch()
    codec = films.video_codec(path.suffix.lower(), ffmpeg.DEFAULT_CRF)
    with tempfile.TemporaryDirectory() as folder:
        steps = _time_film_steps(film, codec, colorizer, Path(folder))
        timed("all", lambda: film_files.colorize_video(colorizer, path, Path(folder) / f"all{path.suffix}"))
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
    colours = timed("following motion", lambda: [
        tracker.follow(gray, colorizer.amplify(answer))[0] for gray, answer in seen
    ])  # fmt: skip
    chromas = timed("full-size colour", lambda: [
        video.find_chroma(frame.gray(film.chroma_size), ab, film.matrix)
        for frame, ab in zip(frames, colours, strict=True)
    ])  # fmt: skip
    timed("encoding", encode)
    return {step: spent / len(frames) for step, spent in timed.milliseconds.items()}


if __name__ == "__main__":
    count = int(sys.argv[1]) if sys.argv[1:] else REPEATS
    print(json.dumps({name: measure_steps(pixels, count) for name, pixels in SIZES.items()}))

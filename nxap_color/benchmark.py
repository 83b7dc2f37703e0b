"""Measures how fast it all is on this machine: `python -m nxap_color.benchmark [SOURCE]`."""

import itertools
import math
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from tqdm import tqdm

from nxap_color.cli.console import start_quietly
from nxap_color.evaluation import speed
from nxap_color.media.films import is_film
from nxap_color.train import make_parser

REPEATS = 3
BATCHES = 20
FOLDERS = (50, 100)  # photos in each: memory must not grow with them
FRAMES = 96  # of a film, for each step alone


def images_per_second(step, batch_size):
    """Times a function that handles one batch.

    Args:
        step: function without arguments.
        batch_size: photos that each call handles.

    Returns:
        Photos per second, the median of `REPEATS` runs of `BATCHES` calls, after two calls to warm up.
    """
    step(), step()
    rates = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        for _ in range(BATCHES):
            step()
        rates.append(BATCHES * batch_size / (time.perf_counter() - start))
    return statistics.median(rates)


def measure(args):
    """Measures each part of a training alone, and the network at prediction.

    Args:
        args: the namespace of `train.make_parser`: the settings of the training in question.

    Returns:
        Dict to photos per second: of the "pipeline"; of the "step"; of the "prediction", the network alone
        at its size of prediction, one photo of 3:4 and its mirror image at a time; and of the "extractor",
        if the network fuses features.

    Raises:
        ValueError, OSError: for arguments or photos that cannot be used.
    """
    import numpy as np

    from nxap_color import data, extractors, models
    from nxap_color.training.run import NETWORK_SCALE
    from nxap_color.training.sources import load_photos
    from nxap_color.training.trainer import build_model, compile_trainer, load_extractor

    extractor = load_extractor(args)
    photos = load_photos(args.source, args.validation, args.seed)
    data.require_usable(photos)
    size = (args.image_size, args.image_size)
    batches = data.training_batches(
        photos, size, args.batch_size, 10**6, args.seed, degraded=args.degraded, min_crop=args.min_crop
    )
    fetch = iter(batches).__next__
    pipeline = images_per_second(fetch, args.batch_size)
    lightness, ab = (tensor.numpy() for tensor in fetch())  # which every backend takes
    del fetch  # and with it the threads that would go on fetching ahead
    model = build_model(args, extractor)
    trainer = compile_trainer(model, args, steps=1000, batches=batches)
    side = args.image_size * NETWORK_SCALE
    height, width = (math.ceil(s / models.SIZE_MULTIPLE) * models.SIZE_MULTIPLE for s in (side, side * 4 / 3))
    photo = np.zeros((2, height, width, 1), "float32")  # with its mirror image, as Colorizer does

    def inputs(pictures):
        return [pictures, np.zeros((len(pictures), extractor.num_features))] if extractor else pictures

    rates = {
        "pipeline": pipeline,
        "step": images_per_second(lambda: trainer.train_on_batch(inputs(lightness), ab), args.batch_size),
        "prediction": images_per_second(lambda: model.predict_on_batch(inputs(photo)), 1),
    }
    if extractor:
        some = [np.random.default_rng(0).random((*size, 3)).astype("float32")] * extractors.BATCH_SIZE
        rates["extractor"] = images_per_second(lambda: extractor(some), len(some))
    return rates


def measure_film(path):
    """Measures how fast a film is coloured, and each step of it alone.

    Args:
        path: `Path` of a film.

    Returns:
        Number of frames; frames per second of colouring it with the shipped model, everything included but
        loading the model, and of ffmpeg writing it again; and a dict from step to milliseconds per frame,
        each step alone: together they take longer than the whole, where they overlap.

    Raises:
        FilmError: if it cannot be read.
    """
    from nxap_color import steady, video
    from nxap_color.colorizer import Colorizer
    from nxap_color.media import ffmpeg, films

    film, colorizer = films.probe(path), Colorizer.load()
    codec = films.video_codec(path.suffix.lower(), films.DEFAULT_CRF)
    milliseconds = {}

    def timed(step, function):
        start = time.perf_counter()
        result = function()
        milliseconds[step] = 1000.0 * (time.perf_counter() - start)
        return result

    def encode(folder):
        with films.FilmWriter(folder / "encoded.nut", film, codec) as writer:
            for frame, chroma in zip(frames, chromas, strict=True):
                writer.write(frame, chroma)

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
    with tempfile.TemporaryDirectory() as folder:
        timed("encoding", lambda: encode(Path(folder)))
        steps = {step: spent / len(frames) for step, spent in milliseconds.items()}
        timed("all", lambda: video.colorize_video(colorizer, path, Path(folder) / f"all{path.suffix}"))
        plain = Path(folder) / f"plain{path.suffix}"
        timed("plain", lambda: ffmpeg.run("-i", path, *codec, "-c:a", "copy", plain))
    count = len(film.times) or len(frames)
    return count, 1000 * count / milliseconds["all"], 1000 * count / milliseconds["plain"], steps


def describe_machine():
    """Says in a line what figures are measured on."""
    processor, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"model name\s*: (.*)", info.read_text())):
        processor = found[1]
    versions = ", ".join(f"{name} {version(name)}" for name in ("keras", *speed.installed_backends()))
    system = f"{platform.system()}, Python {platform.python_version()}"
    return f"{processor}, {os.cpu_count()} cores, {system}, {versions}"


def measure_photos():
    """Measures how photos are coloured, on each backend that is installed.

    Yields:
        Rows of text: what was measured, and a figure for each backend.
    """
    backends = speed.installed_backends()
    yield ["", *backends]
    yield ["--help, s", *(f"{speed.measure_help(backend):.2f}" for backend in backends)]
    processes = [speed.measure_process(backend) for backend in backends]
    yield ["1 megapixel, whole process, s", *(f"{seconds:.1f}" for seconds, _ in processes)]
    yield ["    peak memory, MB", *(f"{peak:.0f}" for _, peak in processes)]
    for count in FOLDERS:
        folders = [speed.measure_folder(backend, count) for backend in backends]
        yield [f"{count} of 1 megapixel, photos/s", *(f"{rate:.1f}" for rate, _ in folders)]
        yield ["    peak memory, MB", *(f"{peak:.0f}" for _, peak in folders)]
    measured = [speed.steps_of(backend) for backend in backends]
    for size in speed.SIZES:
        columns = [steps[size] for steps in measured]
        inner = [sum(steps.values()) - steps["decoding"] - steps["encoding"] for steps in columns]
        yield [f"{size}, but for its file, ms", *(f"{1000 * total:.0f}" for total in inner)]
        for step in columns[0]:
            yield [f"    {step}", *(f"{1000 * steps[step]:.0f}" for steps in columns)]


def print_photos():
    """Prints what `measure_photos` finds out."""
    # disable=None shows the bar only on a terminal.
    with tqdm(measure_photos(), unit="row", leave=False, disable=None) as rows:
        for label, *figures in rows:
            rows.write(f"{label:43}" + "".join(f"{figure:>12}" for figure in figures))
    print(flush=True)


def print_film(path):
    """Prints what `measure_film` finds out; returns the exit status."""
    count, speed, plain, steps = measure_film(path)
    print(f"{path.name}, {count} frames:")
    print(f"  coloured          {speed:8.1f} frames/s, everything included")
    print(f"  ffmpeg alone      {plain:8.1f} frames/s, decoding and encoding the same film")
    print("Each step alone, milliseconds per frame (they overlap):")
    for step, spent in steps.items():
        print(f"  {step:17} {spent:8.1f}")
    return 0


def print_training(args):
    """Prints what `measure` finds out; returns the exit status."""
    rates = measure(args)
    print(f"Training {args.arch} at {args.image_size} px, photos/s:")
    pipeline, step, forward = rates["pipeline"], rates["step"], rates["prediction"]
    print(f"  pipeline alone {pipeline:8.0f}")
    print(f"  training step  {step:8.0f}")
    print(f"  ratio          {pipeline / step:8.1f}")
    print(f"  prediction     {forward:8.1f} ({1000 / forward:.0f} ms; network alone, photo and mirror image)")
    if extractor := rates.get("extractor"):
        print(f"  features       {extractor:8.1f}")
        gain = 1 + step / extractor
        print(f"Found once and not in every epoch they make a training {gain:.1f} times as fast.")
    return 0


def main(arguments=None):
    """Runs the command line, which takes the options of `train`; returns 0, or 2 for wrong usage."""
    parser = make_parser(num_sources="*")
    parser.prog = "python -m nxap_color.benchmark"
    parser.description = (
        "Measure how fast photos are coloured and networks are trained here, in some minutes. With a SOURCE "
        "only the speed of a training on it, with these settings; or, if SOURCE is a film, of colouring it."
    )
    args = parser.parse_args(arguments)
    try:
        print(describe_machine(), flush=True)
        if not args.source:
            args.source, args.validation = [str(speed.SAMPLES / "train")], 0.2
            # Before Keras is here: to the memory of a process that of the one which started it is added.
            print_photos()
        start_quietly()
        if is_film(args.source[0]):
            return print_film(Path(args.source[0]))
        return print_training(args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

"""Measure how fast it all is on this machine: `python -m nxap_color.benchmark [SOURCE]`."""

import argparse
import dataclasses
import sys
from pathlib import Path

from tqdm import tqdm

from nxap_color.cli.console import run, start_quietly
from nxap_color.cli.options import add_options
from nxap_color.evaluation import speed, training_speed
from nxap_color.media.kinds import is_film
from nxap_color.paths import SAMPLE_PHOTOS
from nxap_color.training.config import TrainConfig

# The settings of a training that its speed depends on.
SETTINGS = ("arch", "extractor", "extractor_weights", "filters", "imagenet", "init", "freeze", "loss")
SETTINGS += ("image_size", "batch_size", "precision", "degraded", "min_crop", "validation")


def make_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m nxap_color.benchmark",
        description="Measure how fast photos are coloured and networks are trained here, in some minutes. "
        "With a SOURCE, only the speed of a training on it, with these settings; or, if SOURCE is a film, "
        "that of colouring it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "source",
        nargs="*",
        metavar="SOURCE",
        help="folder or zip of photos (several mix), tfds:NAME, or a film",
    )
    add_options(parser, [field for field in dataclasses.fields(TrainConfig) if field.name in SETTINGS])
    return parser


def print_photos() -> None:
    """Print how fast photos are coloured."""
    # disable=None shows the bar only on a terminal.
    with tqdm(speed.photo_speeds(), unit="row", leave=False, disable=None) as rows:
        for label, *figures in rows:
            rows.write(f"{label:43}" + "".join(f"{figure:>12}" for figure in figures))
    print(flush=True)


def print_film(path: Path) -> None:
    """Print how fast a film is coloured."""
    count, coloured, plain, steps = speed.time_film(path)
    print(f"{path.name}, {count} frames:")
    print(f"  coloured          {coloured:8.1f} frames/s, everything included")
    print(f"  ffmpeg alone      {plain:8.1f} frames/s, decoding and encoding the same film")
    print("Each step alone, milliseconds per frame (they overlap):")
    for step, spent in steps.items():
        print(f"  {step:17} {spent:8.1f}")


def print_training(config: TrainConfig) -> None:
    """Print how fast a training with these settings is."""
    rates = training_speed.measure_training(config)
    print(f"Training {config.arch} at {config.image_size} px, photos/s:")
    pipeline, step, forward = rates["pipeline"], rates["step"], rates["prediction"]
    print(f"  pipeline alone {pipeline:8.0f}")
    print(f"  training step  {step:8.0f}")
    print(f"  ratio          {pipeline / step:8.1f}")
    print(f"  prediction     {forward:8.1f} ({1000 / forward:.0f} ms; network alone, photo and mirror image)")
    if extractor := rates.get("extractor"):
        print(f"  features       {extractor:8.1f}")
        gain = 1 + step / extractor
        print(f"Found once and not in every epoch they make a training {gain:.1f} times as fast.")


def measure(args: argparse.Namespace) -> None:
    """Measure what `args`, the namespace of `make_parser`, ask for."""
    settings = {name: getattr(args, name) for name in SETTINGS}
    if not args.source:
        settings["validation"] = 0.2  # of so few photos
    config = TrainConfig(args.source or SAMPLE_PHOTOS / "train", **settings)
    print(speed.describe_machine(), flush=True)
    if not args.source:
        # Before Keras is loaded: a process's peak memory includes that of the one which started it.
        print_photos()
    start_quietly()
    if args.source and is_film(args.source[0]):
        print_film(Path(args.source[0]))
    else:
        print_training(config)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status, 2 for wrong usage."""
    return run(measure, make_parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())

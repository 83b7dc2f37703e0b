"""Measure how fast it all is on this machine: `python -m nxap_color.benchmark [SOURCE]`."""

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from nxap_color.cli.console import run, start_quietly
from nxap_color.cli.options import add_options
from nxap_color.errors import UsageError
from nxap_color.evaluation import comparison, machine, training_speed
from nxap_color.media.kinds import is_film
from nxap_color.paths import SAMPLE_PHOTOS
from nxap_color.training.config import TrainConfig

# The settings of a training that its speed depends on.
SETTINGS = ("arch", "extractor", "extractor_weights", "filters", "imagenet", "init", "freeze", "loss")
SETTINGS += ("image_size", "batch_size", "precision", "degraded", "min_crop", "emulsions", "validation")


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
    parser.add_argument(
        "--against",
        type=Path,
        metavar="FOLDER",
        help="another checkout of the project: measure photos, or the film, with that version, too",
    )
    parser.add_argument("--quick", action="store_true", help="one run of each, and fewer photos")
    add_options(parser, [field for field in dataclasses.fields(TrainConfig) if field.name in SETTINGS])
    return parser


def print_rows(rows: Iterator[list[str]]) -> None:
    """Print rows of text, each as soon as it is measured: a label and figures."""
    # disable=None shows the bar only on a terminal.
    with tqdm(rows, unit="row", leave=False, disable=None) as shown:
        for label, *figures in shown:
            shown.write(f"{label:43}" + "".join(f"{figure:>24}" for figure in figures))
            sys.stdout.flush()
    print(flush=True)


def print_training(config: TrainConfig, repeats: int) -> None:
    """Print how fast a training with these settings is."""
    rates = training_speed.measure_training(config, repeats)
    print(f"Training {config.arch} at {config.image_size} px, photos/s:")
    pipeline, step, forward = rates["pipeline"], rates["step"], rates["prediction"]
    print(f"  pipeline alone {pipeline:8.0f}")
    print(f"  training step  {step:8.0f}")
    print(f"  ratio          {pipeline / step:8.1f}")
    print(f"  prediction     {forward:8.1f} ({1000 / forward:.0f} ms; network alone, two looks)")
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
    film = Path(args.source[0]) if args.source and is_film(args.source[0]) else None
    effort, folders = comparison.QUICK if args.quick else comparison.Effort(), [comparison.HERE]
    if args.against:
        if args.source and not film:
            raise UsageError("--against compares photos or a film: leave it out to measure a training.")
        comparison.require_version(args.against)
        folders.append(args.against.resolve())
    print(machine.describe_machine(), flush=True)
    # Before Keras is loaded: a process's peak memory includes that of the one which started it.
    if film:
        # One run tells how long a film takes; it takes several to tell two versions apart.
        print_rows(comparison.film_speeds(film, folders, effort.folder_repeats if args.against else 1))
        return
    if not args.source:
        print_rows(comparison.photo_speeds(folders, effort))
    start_quietly()
    print_training(config, effort.training_repeats)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status, 2 for wrong usage."""
    return run(measure, make_parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())

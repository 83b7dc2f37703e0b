"""Train a colorization network: `python -m nxap_color.train SOURCE`."""

import argparse
import dataclasses
import functools
import sys

from nxap_color.cli.console import run, start_quietly
from nxap_color.cli.options import add_options
from nxap_color.training import distribute
from nxap_color.training.config import TrainConfig


def make_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line from the fields of `TrainConfig`."""
    parser = argparse.ArgumentParser(
        prog="python -m nxap_color.train",
        description="Train a network that colours gray photos, on colour photos.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_options(parser, dataclasses.fields(TrainConfig))
    return parser


def train(arguments: list[str] | None, args: argparse.Namespace) -> int:
    """Train, and print where the model is and how good it is.

    Args:
        arguments: the texts that `args` were parsed from, or None for those of the process.
        args: the namespace of `make_parser`.

    Returns:
        The exit status.
    """
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    config = TrainConfig(**{name: getattr(args, name) for name in names})
    distribute.require_jax()
    if config.distribute and (status := distribute.supervise(arguments)) is not None:
        return status
    with distribute.failing_at_once():
        start_quietly(prepare=functools.partial(_prepare, config))
        recipe = config.run()
    if recipe:
        best = recipe["best_epoch"]
        print(
            f"wrote {config.output} after {recipe['minutes']} minutes; on the validation photos: "
            f"ab error {best['val_ab_error']:.2f}, chroma ratio {best['val_chroma_ratio']:.2f}"
        )
    return 0


def _prepare(config: TrainConfig) -> None:
    """Find the other processes before Keras computes anything; load what is noisy when it starts."""
    if config.distribute:
        distribute.join()
    from nxap_color.training import trainer  # noqa: F401 - it loads TensorFlow, whatever Keras runs on


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0; 1 if the loss exploded or another process failed, 2 for wrong usage, 130 if it was stopped.
    """
    return run(
        functools.partial(train, arguments),
        make_parser(),
        arguments,
        stopped="stopped; the same command with --resume continues after the last complete epoch",
    )


if __name__ == "__main__":
    sys.exit(main())

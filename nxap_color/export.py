"""Write a network for programs without Keras: `python -m nxap_color.export MODEL --to onnx`."""

import argparse
import sys
from pathlib import Path

from nxap_color.cli.console import run, start_quietly
from nxap_color.training.exporting import ENDINGS, choose_output, export_model


def make_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m nxap_color.export",
        description="Write a network in a format that runs without Keras, and compare the two.",
        epilog="Without -o, mine.keras gives mine.onnx beside it, where prediction finds it, or "
        "mine_saved_model in the current folder.",
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="shipped model or .keras file")
    add("--to", choices=ENDINGS, required=True, help="an ONNX file, or a folder as TensorFlow serves it")
    add("-o", "--output", type=Path, help="file or folder to write")
    add("--overwrite", action="store_true", help="replace OUTPUT if it exists")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns 0, 1 if it failed, 2 for wrong usage, 128 and more if stopped."""
    return run(_work, make_parser(), arguments, stopped="stopped; nothing was written")


def _work(args):
    path = choose_output(args.model, args.to, args.output, args.overwrite)
    start_quietly()
    difference = export_model(args.model, args.to, path)
    print(f"wrote {path}; its answers are the model's to within {difference:.1g}")


if __name__ == "__main__":
    sys.exit(main())

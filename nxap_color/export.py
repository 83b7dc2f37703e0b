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
        description="Write a network in a format that other programs run, and compare the two.",
        epilog="Without -o, unet gives unet.onnx or unet_saved_model in the current folder.",
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
    compared = "not compared with the model: pip install onnxruntime"
    if difference is not None:
        compared = f"its answers are the model's to within {difference:.1g}"
    print(f"wrote {path}; {compared}")


if __name__ == "__main__":
    sys.exit(main())

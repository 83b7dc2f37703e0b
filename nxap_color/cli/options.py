"""Options of a command line that are made from the fields of a dataclass."""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nxap_color.errors import UserError


def add_options(parser: argparse.ArgumentParser, fields: list[dataclasses.Field]) -> None:
    """Add an option for each field; its destination is the field's name.

    Args:
        parser: the parser to add to.
        fields: fields whose metadata are arguments of `ArgumentParser.add_argument`; instead of "type" stands
            "kind", something with a `read` that converts and checks a text. A field without a default is
            positional, and one whose default is False a switch.
    """
    for field in fields:
        arguments = dict(field.metadata)
        if kind := arguments.pop("kind", None):
            arguments["type"] = _as_type(kind.read)
        if field.default is False:
            arguments["action"] = "store_true"
        elif field.default_factory is not dataclasses.MISSING:
            arguments["default"] = field.default_factory()
        elif field.default is not dataclasses.MISSING:
            arguments["default"] = field.default
        else:
            parser.add_argument(field.name, **arguments)
            continue
        parser.add_argument(f"--{field.name.replace('_', '-')}", **arguments)


def _as_type(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Wrap a reader of texts as an `argparse` type, which shows no error's text but that of its own."""

    def read_text(text: str) -> Any:
        try:
            return read(text)
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read_text


def add_colour_options(parser: argparse.ArgumentParser) -> None:
    """Add what a user can say of the colours of photos and films to the parser of `predict`."""
    add = parser.add_argument
    told = "a colour that you know: 120,88,#8c2f2b or 40%%,55%%,green; in films with its second, ...@2.5"
    add("--hint", action="append", default=[], metavar="X,Y,COLOUR", help=told)
    told = "colours that you know: JSON, or strokes on a transparent picture of the photo's size"
    add("--hints", type=Path, metavar="FILE", help=told)
    told = "colour photo of the same scene to take colours from, or a folder of these; may be repeated"
    add("--reference", action="append", default=[], type=Path, metavar="PHOTO", help=told)
    add(
        "--shots", type=Path, metavar="FOLDER",
        help="only write a frame of each shot of a film there, in colour: put some right by hand, delete the "
        "others, and give them back with --reference FOLDER",
    )  # fmt: skip

"""Options of a command line that are made from the fields of a dataclass."""

import argparse
import dataclasses
from collections.abc import Callable
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

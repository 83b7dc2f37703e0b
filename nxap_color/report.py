"""Turn the notebooks into one report to hand in: `python -m nxap_color.report`."""

import argparse
import datetime
import sys
import time
from pathlib import Path

from nxap_color.cli.console import run
from nxap_color.teaching import documents


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; `--help` shows the meaning and the defaults."""
    parser = argparse.ArgumentParser(
        prog="python -m nxap_color.report",
        description="Make one HTML file of all notebooks, with a title page; and a PDF, where there is a "
        "Chromium, Chrome or Edge to print it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("-o", "--output", type=Path, default=documents.REPORT, help="the HTML file; replaced if it exists")
    add("--title", default="Colouring black-and-white photos and films", help="on the title page")
    add("--author", default="", help="your name, or several")
    add("--course", default="Neural networks and deep learning", help="below the author")
    add("--date", default=datetime.date.today().isoformat(), help="below the course")
    add("--run", action="store_true", help="run the notebooks first, and store what comes out in them")
    add("--no-pdf", action="store_true", help="HTML alone")
    return parser


def write_report(args: argparse.Namespace) -> None:
    """Run the notebooks if asked to, and write the files that the command line names."""
    documents.require_jupyter()
    paths = documents.find_notebooks()
    for path in paths if args.run else ():
        start = time.perf_counter()
        documents.store_notebook(documents.run_notebook(path), path)
        print(f"ran {path.name} in {time.perf_counter() - start:.0f} s", flush=True)
    report = documents.join_notebooks(paths, args.title, [args.author, args.course, args.date])
    documents.write_html(report, args.output)
    print(f"wrote {args.output}", flush=True)
    if args.no_pdf:
        return
    pdf = args.output.with_suffix(".pdf")
    if documents.print_pdf(args.output, pdf):
        print(f"wrote {pdf}")
    else:
        print("no PDF: for that, open the HTML file in a browser and print it to a file")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 0, or 1 if the notebooks could not be run or written."""
    return run(write_report, make_parser(), arguments, "stopped; files are written whole or not at all")


if __name__ == "__main__":
    sys.exit(main())

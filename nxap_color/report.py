"""Turns the notebooks into one report to hand in: `python -m nxap_color.report`."""

import argparse
import datetime
import hashlib
import html
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from nxap_color.errors import UserError
from nxap_color.media.atomic import written_whole

PROJECT = Path(__file__).resolve().parent.parent
NOTEBOOKS = PROJECT / "notebooks"
REPORT = PROJECT / "report.html"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "microsoft-edge", "msedge")
_SECONDS_FOR_A_CELL = 600
_STYLE = """<style>
.title-page {padding: 30vh 0; break-after: page}
.jp-RenderedHTMLCommon .title-page > * {text-align: center}
@page {size: A4; margin: 15mm}
@media print {
  .jp-Cell, img, video {break-inside: avoid}
  .jp-Cell pre {white-space: pre-wrap !important; overflow-wrap: anywhere; font-size: 75% !important}
}
</style>"""


def make_parser():
    """Builds the parser of the command line; `--help` shows the meaning and the defaults."""
    parser = argparse.ArgumentParser(
        prog="python -m nxap_color.report",
        description="Make one HTML file of all notebooks, with a title page; and a PDF, where there is a "
        "Chromium, Chrome or Edge to print it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("-o", "--output", type=Path, default=REPORT, help="the HTML file; replaced if it exists")
    add("--title", default="Colouring black-and-white photos and films", help="on the title page")
    add("--author", default="", help="your name, or several")
    add("--course", default="Neural networks and deep learning", help="below the author")
    add("--date", default=datetime.date.today().isoformat(), help="below the course")
    add("--run", action="store_true", help="run the notebooks first, and store what comes out in them")
    add("--no-pdf", action="store_true", help="HTML alone")
    return parser


def find_notebooks(folder=NOTEBOOKS):
    """Lists the paths of the notebooks of a folder in the order in which they are read."""
    return sorted(path for path in Path(folder).glob("*.ipynb") if not path.name.startswith("."))


def fingerprint(notebook):
    """Stands for the code of a notebook, an `nbformat` one: 16 letters. Kept with the outputs it produced."""
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def run_notebook(path):
    """Runs a notebook from top to bottom in a fresh kernel.

    Args:
        path: path object; its folder is the working directory.

    Returns:
        The notebook with its outputs, as from `nbformat.read`. It is not written.

    Raises:
        UserError: if a cell fails.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=_SECONDS_FOR_A_CELL,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],  # nothing about how the kernel is reached
    )
    try:
        client.execute()
    except CellExecutionError as error:
        reason = f"{error.ename}: {error.evalue}"
        raise UserError(
            f"{path.name} stopped in a cell ({reason}); run it in Jupyter to see where."
        ) from error
    notebook.metadata["language_info"] = {"name": "python"}  # whatever its version is
    notebook.metadata["nxap_color"] = {"code": fingerprint(notebook)}
    return notebook


def store(notebook, path):
    """Writes a notebook, so that the file is either complete or left as it was."""
    import nbformat

    with written_whole(path) as partial:
        nbformat.write(notebook, partial)


def join_notebooks(paths, title, lines):
    """Joins notebooks to one, behind a title page.

    Args:
        paths: list of paths of notebooks.
        title: text.
        lines: list of texts below the title; empty ones are left out.

    Returns:
        An `nbformat` notebook.

    Raises:
        UserError: if a notebook has not been run since its code was changed.
    """
    import nbformat

    notebooks = [nbformat.read(path, as_version=4) for path in paths]
    for path, notebook in zip(paths, notebooks, strict=True):
        if notebook.metadata.get("nxap_color", {}).get("code") != fingerprint(notebook):
            raise UserError(f"{path.name} was changed since it was run: add --run, which takes some minutes.")
    below = "".join(f"<p>{html.escape(line)}</p>" for line in lines if line)
    page = f'<div class="title-page"><h1>{html.escape(title)}</h1>{below}</div>'
    cells = [nbformat.v4.new_markdown_cell(f"{_STYLE}\n{page}")]
    for cell in (cell for notebook in notebooks for cell in notebook.cells):
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../", "](")  # the report lies one folder higher
        cells.append(cell)
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    return nbformat.v4.new_notebook(cells=cells, metadata={**notebooks[0].metadata, "title": title})


def write_html(notebook, path):
    """Writes a notebook as one HTML file that needs no other: pictures and films are in it."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="", widget_renderer_url="")
    exporter.log.setLevel("ERROR")  # captions stand in the pictures
    text, _ = exporter.from_notebook_node(notebook)
    text = re.sub(r'<script src="">\s*</script>', "", text)  # where scripts of other places would have been
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def print_pdf(page, path):
    """Prints an HTML file with a browser.

    Args:
        page, path: path objects of the HTML file and of the PDF, which is replaced if it exists.

    Returns:
        Whether there is a browser that could do it.
    """
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        return False
    options = ["--headless", "--disable-gpu", "--no-pdf-header-footer"]
    if getattr(os, "geteuid", lambda: 1)() == 0:
        options.append("--no-sandbox")  # without which browsers refuse to be run by root
    with written_whole(path) as partial:
        command = [browser, *options, f"--print-to-pdf={partial}", page.resolve().as_uri()]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return True


def main(arguments=None):
    """Runs the command line; returns 0, or 1 if the notebooks could not be run or written."""
    args = make_parser().parse_args(arguments)
    paths = find_notebooks()
    try:
        for path in paths if args.run else ():
            start = time.perf_counter()
            store(run_notebook(path), path)
            print(f"ran {path.name} in {time.perf_counter() - start:.0f} s", flush=True)
        report = join_notebooks(paths, args.title, [args.author, args.course, args.date])
        write_html(report, args.output)
        print(f"wrote {args.output}")
        pdf = args.output.with_suffix(".pdf")
        if not args.no_pdf and print_pdf(args.output, pdf):
            print(f"wrote {pdf}")
        elif not args.no_pdf:
            print("no PDF: for that, open the HTML file in a browser and print it to a file")
    except ImportError as error:
        print(f"error: {error}; pip install jupyterlab brings what is missing", file=sys.stderr)
        return 1
    except (UserError, OSError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

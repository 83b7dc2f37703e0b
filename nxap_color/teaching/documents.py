"""What is handed in: the notebooks, run and joined to one report, and an archive of the project."""

import asyncio
import hashlib
import html
import os
import re
import shutil
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from nxap_color.cli.console import log_held_back
from nxap_color.errors import DocumentError
from nxap_color.media.atomic import written_whole

if TYPE_CHECKING:  # Jupyter, which not everybody has
    from nbclient import NotebookClient
    from nbformat import NotebookNode

PROJECT = Path(__file__).resolve().parents[2]
NOTEBOOKS = PROJECT / "notebooks"
REPORT = PROJECT / "report.html"
# What belongs to the project; trainings (runs/), photos of one's own and environments do not.
PROJECT_PARTS = (
    "README.md",
    "requirements.txt",
    "pyproject.toml",
    "LICENSE",
    "docs",
    "nxap_color",
    "notebooks",
    "data",
    "saved_models",
    "tests",
)
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "microsoft-edge", "msedge")
_SECONDS_FOR_A_CELL = 600
_JUNK = ("__pycache__", "*.egg-info", "*_color.*", "*_color_compare.*", ".*", "*.pyc")
_LARGE = 200_000_000  # bytes, more than most places take
_STYLE = """<style>
.title-page {padding: 30vh 0; break-after: page}
.jp-RenderedHTMLCommon .title-page > * {text-align: center}
@page {size: A4; margin: 15mm}
@media print {
  .jp-Cell, img, video {break-inside: avoid}
  .jp-Cell pre {white-space: pre-wrap !important; overflow-wrap: anywhere; font-size: 75% !important}
}
</style>"""


def require_jupyter() -> None:
    """Check that the packages that run and convert notebooks are installed; DocumentError if not."""
    if missing := [name for name in ("nbformat", "nbclient", "nbconvert") if find_spec(name) is None]:
        raise DocumentError(f"No module named '{missing[0]}'; pip install jupyterlab brings what is missing")


def find_notebooks(folder: str | Path = NOTEBOOKS) -> list[Path]:
    """Return the paths of the notebooks of a folder in reading order; DocumentError if there are none."""
    paths = sorted(path for path in Path(folder).glob("*.ipynb") if not path.name.startswith("."))
    if not paths:
        raise DocumentError(f"There are no notebooks in {folder}: a report is made in a copy of the project.")
    return paths


def fingerprint(notebook: "NotebookNode") -> str:
    """Return 16 letters that stand for the code of a notebook, kept with the outputs that it produced."""
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def run_notebook(path: Path) -> "NotebookNode":
    """Run a notebook from top to bottom in a fresh kernel.

    Args:
        path: its path; the folder is the working directory.

    Returns:
        The notebook with its outputs, as from `nbformat.read`. It is not written.

    Raises:
        DocumentError: if a cell fails.
        KeyboardInterrupt: if the user stops it; its kernel has ended then.
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
        with log_held_back():  # a kernel that is stopped may complain about it
            _execute(client)
    except CellExecutionError as error:
        reason = f"{error.ename}: {error.evalue}"
        raise DocumentError(
            f"{path.name} stopped in a cell ({reason}); run it in Jupyter to see where."
        ) from error
    notebook.metadata["language_info"] = {"name": "python"}  # whatever its version is
    notebook.metadata["nxap_color"] = {"code": fingerprint(notebook)}
    return notebook


def _execute(client: "NotebookClient") -> None:
    """Run a client in a thread: in the main thread it would take Ctrl-C and SIGTERM for its own."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(client.async_execute())

    def execute() -> None:
        try:
            loop.run_until_complete(task)
        finally:
            if left := asyncio.all_tasks(loop):  # those that look whether the kernel is alive
                for each in left:
                    each.cancel()
                loop.run_until_complete(asyncio.wait(left))
            loop.close()

    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(execute)
        try:
            done.result()
        except KeyboardInterrupt:
            client.shutdown_kernel = "immediate"  # do not wait for the cell
            loop.call_soon_threadsafe(task.cancel)
            raise


def store_notebook(notebook: "NotebookNode", path: Path) -> None:
    """Write a notebook atomically."""
    import nbformat

    with written_whole(path) as partial:
        nbformat.write(notebook, partial)


def join_notebooks(paths: list[Path], title: str, lines: list[str]) -> "NotebookNode":
    """Join notebooks to one, behind a title page.

    Args:
        paths: paths of notebooks.
        title: text.
        lines: texts below the title; empty ones are left out.

    Returns:
        An `nbformat` notebook.

    Raises:
        DocumentError: if a notebook has not been run since its code was changed.
    """
    import nbformat

    notebooks = [nbformat.read(path, as_version=4) for path in paths]
    for path, notebook in zip(paths, notebooks, strict=True):
        if notebook.metadata.get("nxap_color", {}).get("code") != fingerprint(notebook):
            raise DocumentError(
                f"{path.name} was changed since it was run: add --run, which takes some minutes."
            )
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


def write_html(notebook: "NotebookNode", path: Path) -> None:
    """Write a notebook as one HTML file that needs no other: pictures and films are in it."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="", widget_renderer_url="")
    exporter.log.setLevel("ERROR")  # captions stand in the pictures
    text, _ = exporter.from_notebook_node(notebook)
    text = re.sub(r'<script src="">\s*</script>', "", text)  # where scripts of other places would have been
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def print_pdf(page: Path, path: Path) -> bool:
    """Print an HTML file with a browser.

    Args:
        page: the HTML file.
        path: the PDF, replaced if it exists.

    Returns:
        Whether there is a browser that could do it.

    Raises:
        DocumentError: if the browser fails.
    """
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        return False
    options = ["--headless", "--disable-gpu", "--no-pdf-header-footer"]
    if getattr(os, "geteuid", lambda: 1)() == 0:
        options.append("--no-sandbox")  # browsers refuse to be run by root without it
    with written_whole(path) as partial:
        command = [browser, *options, f"--print-to-pdf={partial}", page.resolve().as_uri()]
        try:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except subprocess.CalledProcessError as error:
            raise DocumentError(f"{path} could not be printed: {error}; --no-pdf leaves it out.") from error
    return True


def list_files(project: Path = PROJECT) -> list[Path]:
    """Return what belongs into the archive: paths of files, relative to the project, sorted."""
    found = []
    for part in PROJECT_PARTS:
        path = project / part
        found += [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    relative = (path.relative_to(project) for path in found)
    return sorted(path for path in relative if not _is_junk(path))


def _is_junk(path: Path) -> bool:
    return any(Path(name).match(pattern) for name in path.parts for pattern in _JUNK)


def write_archive(target: Path, report: Path = REPORT, project: Path = PROJECT) -> list[str]:
    """Write the archive: the same files give the same bits, on every machine.

    Args:
        target: path of the .zip; replaced if it exists.
        report: path of the HTML report, beside which a PDF may lie.
        project: path of the project.

    Returns:
        List of the names in the archive.

    Raises:
        DocumentError: if there is no report, or the files are too large to hand in.
        OSError: if it cannot be written.
    """
    if not report.is_file():
        raise DocumentError(f"There is no report {report.name} yet: python -m nxap_color.report makes it.")
    entries = {path.as_posix(): project / path for path in list_files(project)}
    entries |= {file.name: file for file in (report, report.with_suffix(".pdf")) if file.is_file()}
    size = sum(path.stat().st_size for path in entries.values())
    if size > _LARGE:
        largest = max(entries, key=lambda name: entries[name].stat().st_size)
        raise DocumentError(
            f"All files have {size // 10**6} MB, the largest is {largest}: take out what is yours."
        )
    with written_whole(target) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(entries):
            # With no time of its own, and stored: how it is compressed would depend on the machine.
            entry = zipfile.ZipInfo(f"nxap_color/{name}", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, entries[name].read_bytes())
    return sorted(entries)

"""The notebooks, the report made of them, and the archive to hand in."""

import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from commands import start, stop_when

from nxap_color import report
from nxap_color.errors import DocumentError
from nxap_color.teaching import documents

NOTEBOOKS = documents.find_notebooks()
NAMES = [path.name for path in NOTEBOOKS]
ABSOLUTE_PATH = re.compile(r"(?<![\w.])/(?:home|root|Users|tmp|usr|opt|mnt|work)/|[A-Z]:\\")
MAX_SIZE = 3_000_000


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell):
    """What a cell's outputs are, whatever is in them."""
    return [(output.output_type, sorted(output.get("data", ()))) for output in cell.outputs]


def texts(notebook):
    """All that can be read in a notebook but the code of pictures and films."""
    for cell in notebook.cells:
        yield cell.source
        for output in cell.get("outputs", ()):
            yield str(output.get("text", ""))
            yield str(output.get("data", {}).get("text/markdown", ""))


@pytest.fixture(params=NAMES)
def stored(request, project):
    return nbformat.read(project / "notebooks" / request.param, as_version=4)


@pytest.fixture(scope="module")
def clean_copy(project, tmp_path_factory):
    """A folder with what the notebooks need, and nothing that earlier ones left."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("notebooks", "data", "saved_models"):
        shutil.copytree(project / name, folder / name)
    return folder


def test_there_are_six():
    assert [name[:2] for name in NAMES] == ["01", "02", "03", "04", "05", "06"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_as_its_stored_outputs_say(name, project, clean_copy):
    before = sorted(clean_copy.rglob("*"))
    fresh = documents.run_notebook(clean_copy / "notebooks" / name)  # raises where a cell fails
    stored = nbformat.read(project / "notebooks" / name, as_version=4)
    for cell, old in zip(code_cells(fresh), code_cells(stored), strict=True):
        assert cell.execution_count == old.execution_count
        assert not any(output.get("name") == "stderr" for output in cell.outputs), cell.outputs
        if "explore_vividness(" not in cell.source:  # which has a slider where ipywidgets is installed
            assert kinds(cell) == kinds(old), cell.source
    assert sorted(clean_copy.rglob("*")) == before


def test_outputs_are_stored_in_order_and_belong_to_the_code(stored):
    assert stored.metadata["nxap_color"]["code"] == documents.fingerprint(stored)
    cells = code_cells(stored)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert len(outputs) >= 8
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)


def test_the_code_after_a_change_is_not_that_of_the_outputs(stored):
    code_cells(stored)[0].source += "\n# changed"
    assert stored.metadata["nxap_color"]["code"] != documents.fingerprint(stored)


def test_prose_stands_around_short_cells(stored):
    assert stored.cells[0].source.startswith("# ") and stored.cells[-1].cell_type == "markdown"
    assert max(len(cell.source.splitlines()) for cell in code_cells(stored)) <= 25
    assert len(code_cells(stored)) < 2 * (len(stored.cells) - len(code_cells(stored)))


def test_no_path_is_of_one_machine_only(stored):
    for text in texts(stored):
        assert not ABSOLUTE_PATH.search(text), ABSOLUTE_PATH.search(text)


def test_links_lead_somewhere(stored, project):
    for cell in stored.cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#]+)", cell.source):
                assert target.startswith("https://") or (project / "notebooks" / target).exists(), target


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_notebooks_are_small(path):
    assert path.stat().st_size < MAX_SIZE


def test_every_sample_photo_has_a_source_and_a_licence(project):
    table = re.findall(
        r"^\| `((?:photos|gray)/\S+)` \| .+ \| .+ \| .+ \| .+ \|$",
        (project / "data" / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    photos = [path.relative_to(project / "data").as_posix() for path in (project / "data").glob("*/**/*.jpg")]
    assert sorted(table) == sorted(photos)
    assert 40 <= len(photos) <= 80
    assert sum((project / "data" / name).stat().st_size for name in photos) < 4_000_000


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert report.main(["-o", str(path), "--author", "A. <Student>", "--date", "2026-01-31", "--no-pdf"]) == 0
    return path


def test_the_report_is_one_file_with_a_title_page(html):
    text = html.read_text(encoding="utf-8")
    assert "A. &lt;Student&gt;" in text and "2026-01-31" in text
    for path in NOTEBOOKS:
        title = nbformat.read(path, as_version=4).cells[0].source.splitlines()[0].removeprefix("# ")
        assert title in text
    assert not re.findall(
        r"""<(?:script|link|img|video|iframe)[^>]+(?:src|href)=["'](?!data:)[^"'>]*""", text
    )
    assert "data:image/jpeg;base64" in text and "data:video/mp4;base64" in text


def test_links_of_the_report_are_those_of_its_folder(html, project):
    local = re.findall(r'href="((?!https?:|#|data:)[^"#]+)', html.read_text(encoding="utf-8"))
    assert local and all((project / target).exists() for target in local), local


@pytest.mark.slow
def test_a_pdf_where_there_is_a_browser(html, tmp_path):
    pdf = tmp_path / "report.pdf"
    if not documents.print_pdf(html, pdf):
        pytest.skip("no browser to print it with")
    data = pdf.read_bytes()
    assert data.startswith(b"%PDF") and len(data) > 500_000


def test_a_notebook_that_was_changed_is_not_reported(project, tmp_path):
    notebook = nbformat.read(NOTEBOOKS[0], as_version=4)
    code_cells(notebook)[-1].source += "\n1 + 1"
    documents.store_notebook(notebook, tmp_path / "changed.ipynb")
    with pytest.raises(DocumentError, match="changed.ipynb was changed since it was run: add --run"):
        documents.join_notebooks([tmp_path / "changed.ipynb"], "title", [])


@pytest.fixture
def project_with(project, tmp_path):
    """A function that copies the package to a folder with notebooks of its own, lists of cells by name."""

    def copy_with(**notebooks):
        folder = tmp_path / "project"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(project / "nxap_color", folder / "nxap_color", ignore=ignored)
        (folder / "notebooks").mkdir()
        for name, sources in notebooks.items():
            cells = [nbformat.v4.new_code_cell(source) for source in sources]
            nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "notebooks" / f"{name}.ipynb")
        return folder

    return copy_with


def contents(folder):
    return {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_cell_that_fails_is_named_in_one_line(project_with):
    folder = project_with(broken=["x = 0", "1 / x"])
    before = contents(folder / "notebooks")
    process = start("nxap_color.report", "--run", "--no-pdf", folder=folder)
    output, errors = process.communicate(timeout=120)
    error = "error: broken.ipynb stopped in a cell (ZeroDivisionError: division by zero); run it in Jupyter"
    assert (process.returncode, output, errors) == (1, "", f"{error} to see where.\n")
    assert contents(folder / "notebooks") == before and not contents(folder)


def test_a_run_that_is_stopped_leaves_nothing_half_written(project_with):
    slow = ["import os, time, pathlib", "pathlib.Path('pid').write_text(str(os.getpid()))", "time.sleep(99)"]
    folder = project_with(a_quick=["x = 1"], b_slow=slow)
    before = contents(folder / "notebooks")
    pid = folder / "notebooks" / "pid"
    process = start("nxap_color.report", "--run", "--no-pdf", folder=folder)
    status, output, errors = stop_when(lambda: pid.exists() and pid.read_text(), process, signal.SIGINT)
    assert (status, errors) == (130, "stopped; files are written whole or not at all\n")
    assert output.startswith("ran a_quick.ipynb in ") and len(output.splitlines()) == 1
    after = contents(folder / "notebooks")
    assert not Path(f"/proc/{after.pop(pid).decode()}").exists(), "the kernel lives on"
    changed = {path.name for path in after if after[path] != before[path]}
    assert changed == {"a_quick.ipynb"} and len(after) == 2 and not contents(folder)


def test_without_notebooks_there_is_no_report(project_with):
    process = start("nxap_color.report", folder=project_with())
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (1, "") and errors.startswith("error: There are no notebooks in ")


@pytest.fixture(scope="module")
def archive(html, tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "handin.zip"
    documents.write_archive(path, html)
    return path


def test_the_archive_is_the_same_bit_for_bit(archive, html, tmp_path):
    documents.write_archive(tmp_path / "again.zip", html)
    assert archive.read_bytes() == (tmp_path / "again.zip").read_bytes()


def test_junk_stays_out_of_the_archive(project, html, tmp_path):
    copy = tmp_path / "project"
    for name in documents.PROJECT_PARTS:
        source = project / name
        if source.is_file():
            copy.mkdir(exist_ok=True)
            shutil.copy(source, copy / name)
        else:
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    clean = documents.write_archive(tmp_path / "clean.zip", html, copy)
    junk = [
        "runs/a.keras",
        "nxap_color/__pycache__/a.pyc",
        "notebooks/.ipynb_checkpoints/a.ipynb",
        ".git/config",
    ]
    for name in [*junk, "data/sample_color.jpg", "data/.hidden", "photos/mine.jpg"]:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(b"junk")
    assert documents.write_archive(tmp_path / "junk.zip", html, copy) == clean
    assert (tmp_path / "clean.zip").read_bytes() == (tmp_path / "junk.zip").read_bytes()


@pytest.mark.slow
def test_what_was_handed_in_works(archive, tmp_path):
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(tmp_path)
    folder = tmp_path / "nxap_color"
    tops = {
        "README.md",
        "requirements.txt",
        "pyproject.toml",
        "LICENSE",
        "docs",
        "nxap_color",
        "notebooks",
        "data",
        "saved_models",
    }
    assert {path.name for path in folder.iterdir()} == {*tops, "tests", "report.html"}
    subprocess.run([sys.executable, "-m", "nxap_color.predict", "--quiet"], cwd=folder, check=True)
    assert Path(folder / "data" / "sample_color.jpg").exists()


def test_without_a_report_there_is_nothing_to_hand_in(tmp_path):
    with pytest.raises(DocumentError, match=r"python -m nxap_color.report makes it"):
        documents.write_archive(tmp_path / "handin.zip", tmp_path / "report.html")
    assert not (tmp_path / "handin.zip").exists()

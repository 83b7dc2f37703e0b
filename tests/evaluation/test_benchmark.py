"""The benchmark's command line; its figures are for people, not for a test."""

import math
import os
import re
import shutil
import sys
import time
from pathlib import Path

import pytest
import tqdm
from films import ffmpeg, pattern
from PIL import Image

from nxap_color.benchmark import main
from nxap_color.errors import UserError
from nxap_color.evaluation import comparison, machine, speed
from nxap_color.evaluation.training_speed import images_per_second

LABEL = 43  # characters of a row before its figures


@pytest.fixture(scope="module")
def other_version(project, tmp_path_factory):
    """A checkout of this project as from before steps and films were measured."""
    folder = tmp_path_factory.mktemp("versions") / "older"
    shutil.copytree(project / "nxap_color", folder / "nxap_color")
    (folder / "nxap_color" / "evaluation" / "speed.py").unlink()
    for name in ("saved_models", "data"):
        (folder / name).symlink_to(project / name)
    return folder


def read_rows(lines):
    """The cells of printed rows by their labels, of which the first of a name counts."""
    rows = {}
    for line in lines:
        rows.setdefault(line[:LABEL].strip(), re.split(r"\s{2,}", line[LABEL:].strip()))
    return rows


def test_a_step_of_known_length_is_timed_right():
    rate = images_per_second(lambda: time.sleep(0.005), batch_size=10)
    assert 200 < rate <= 2000  # a busy machine sleeps longer, never shorter


def test_of_an_extractor_the_gain_of_asking_it_once_is_printed(photo_folder, capsys):
    branch = ["--arch", "fusion", "--extractor", "efficientnet_lite0", "--extractor-weights", "random"]
    arguments = ["--filters", "4", "--image-size", "32", "--batch-size", "2", "--validation", "0.3"]
    assert main([str(photo_folder), "--quick", *branch, *arguments]) == 0
    out = capsys.readouterr().out
    step, features = (
        float(re.search(rf"{word} +([\d.]+)", out)[1]) for word in ("training step", "features")
    )
    gain = float(re.search(r"a training ([\d.]+) times as fast", out)[1])
    assert gain == pytest.approx(1.0 + step / features, rel=0.1)


@pytest.mark.slow
def test_without_a_source_photos_and_a_training_are_measured(capsys):
    settings = ["--arch", "autoencoder", "--image-size", "32", "--batch-size", "2"]
    assert main(["--quick", *settings]) == 0
    described, header, *lines = capsys.readouterr().out.splitlines()
    assert f"{os.cpu_count()} cores" in described and "numpy" in described
    assert header.split() == ["here"]
    rows = {label: float(cells[0]) for label, cells in read_rows(lines[: lines.index("")]).items()}
    seconds, peak = rows["1 megapixel, whole process, s"], rows["peak memory, MB"]
    assert 0.01 < rows["--help, s"] < seconds < 200 and 50 < peak < 3000
    assert 0.01 < rows["wrong usage, s"] < seconds
    assert rows['python -c "import tensorflow", s'] > 0.1
    assert 0 < rows["3 of 1 megapixel, photos/s"] < 1000
    small, large = (rows[f"{size}, but for its file, ms"] for size in speed.SIZES)
    assert 1 < small < large
    assert rows["installed, MB"] > 100
    pipeline, step, ratio, prediction = (float(line[16:].split()[0]) for line in lines[-4:])
    assert pipeline > 0 and step > 0 and prediction > 0
    assert ratio == pytest.approx(pipeline / step, rel=0.1)


@pytest.mark.slow
def test_against_another_version_each_has_its_column(other_version):
    effort = comparison.Effort(repeats=1, folder_repeats=1, folders=(), warm_up=1)
    header, *rows = comparison.photo_speeds([comparison.HERE, other_version], effort)
    assert header == ["", "here", "older"]
    cells = {label: figures for label, *figures in rows}
    for label in ("--help, s", "wrong usage, s", "1 megapixel, whole process, s", "    peak memory, MB"):
        here, older = map(float, cells[label])
        assert here == pytest.approx(older, rel=2.0), label
    # What that version does not measure is left open.
    assert float(cells["    network"][0]) > 0 and cells["    network"][1] == "-"


def test_versions_are_measured_in_turns():
    calls = []

    def measure(folder, *arguments, **options):
        calls.append((folder.name, arguments, options))
        return len(calls)

    assert comparison.take_turns([Path("a"), Path("b")], 2, measure, 3, status=4) == [[1, 3], [2, 4]]
    assert [name for name, *_ in calls] == ["a", "b", "a", "b"]
    assert all(call[1:] == ((3,), {"status": 4}) for call in calls)


def test_of_several_runs_the_median_and_the_spread_are_shown():
    assert comparison.medians([[0.011, 0.03, 0.02], [0.02], [0.02, 0.02], []], 1, scale=1000) == [
        "20.0 (11.0-30.0)", "20.0", "20.0", "-"
    ]  # fmt: skip


def test_a_process_runs_the_version_in_its_folder(other_version):
    code = "import nxap_color; print(nxap_color.__file__)"
    for folder in (comparison.HERE, other_version):
        assert Path(comparison.run_python(folder, "-c", code).output.strip()).is_relative_to(folder)


def test_a_process_is_measured_with_what_it_prints(tmp_path):
    code = "import time; block = bytearray(600 * 2**20); time.sleep(0.2); print('done')"
    run = comparison.run_python(tmp_path, "-c", code)
    assert 0.2 < run.seconds < 60 and run.output == "done\n"
    assert math.isnan(run.peak) if sys.platform == "win32" else run.peak > 600


def test_photos_and_films_are_measured_from_a_process_without_keras():
    code = "import sys, nxap_color.benchmark; print({'keras', 'tensorflow'} & set(sys.modules))"
    assert comparison.run_python(comparison.HERE, "-c", code).output == "set()\n"


def test_photos_to_measure_have_the_size_asked_for(tmp_path):
    for path in speed.make_photos(tmp_path, 3, 50_000):
        with Image.open(path) as photo:
            assert photo.mode == "L" and photo.width * photo.height == pytest.approx(50_000, rel=0.02)


def test_a_predict_that_fails_is_not_timed(tmp_path):
    with pytest.raises(UserError, match="nxap_color.predict of .* ended with exit status 1: .*no-such.jpg"):
        comparison.run_predict(comparison.HERE, tmp_path / "no-such.jpg")
    with pytest.raises(UserError, match="exit status 0"):
        comparison.run_predict(comparison.HERE, "--help", status=2)


def test_a_missing_source_is_named(capsys):
    assert main(["no-such-folder"]) == 2
    assert "There is no no-such-folder" in capsys.readouterr().err


def test_a_folder_to_measure_against_that_cannot_be_is_named(photo_folder, capsys):
    assert main(["--against", str(photo_folder)]) == 2
    assert f"{photo_folder} is no checkout of this project" in capsys.readouterr().err
    assert main([str(photo_folder), "--against", str(comparison.HERE)]) == 2
    assert "leave it out to measure a training" in capsys.readouterr().err


@pytest.mark.slow
def test_a_film_is_measured_whole_and_step_by_step(tmp_path, other_version, capsys):
    film = tmp_path / "film.mp4"
    ffmpeg(*pattern(), "-c:v", "libx264", "-pix_fmt", "yuv420p", film)
    assert main([str(film), "--against", str(other_version), "--quick"]) == 0
    _, header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["film.mp4", "here", "older"]
    rows = read_rows(lines)
    assert rows["frames"] == ["25", "-"]
    for step in ("decoding", "network", "following motion", "full-size colour", "encoding"):
        assert float(rows[step][0]) > 0.0
    coloured, plain = (
        float(rows[label][0]) for label in ("all but loading the model, frames/s", "ffmpeg alone, frames/s")
    )
    assert 0 < coloured < plain
    for here_or_older in range(2):
        assert 25 / coloured < float(rows["whole process, s"][here_or_older]) < 200
        assert 50 < float(rows["peak memory, MB"][here_or_older]) < 3000


def test_a_film_that_cannot_be_read_is_named(tmp_path, capsys):
    film = tmp_path / "film.mp4"
    film.write_bytes(b"no film")
    assert main([str(film)]) == 2
    assert "This is no film that can be read" in capsys.readouterr().err


def test_what_is_installed_is_found_and_added_up():
    needed = machine.required_packages("keras")
    assert {"numpy", "rich", "markdown-it-py"} <= needed  # the last by way of rich
    assert "sympy" not in machine.required_packages("onnxruntime")  # of an extra
    assert machine.required_packages("no-such-package") == set()
    package = Path(tqdm.__file__).parent
    (metadata,) = package.parent.glob("tqdm-*.dist-info")
    files = [path for folder in (package, metadata) for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 2**20
    assert machine.installed_megabytes({"tqdm", "no-such-package"}) == pytest.approx(size, rel=0.1)
    assert machine.installed_megabytes([]) == 0


def test_the_package_itself_is_its_modules_and_models(project):
    models = sum(path.stat().st_size for path in (project / "saved_models").glob("*.keras")) / 2**20
    assert models < machine.own_megabytes() < models + 30

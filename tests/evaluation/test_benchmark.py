"""The benchmark's command line; its figures are for people, not for a test."""

import os
import re
import time

import pytest
from films import ffmpeg, pattern
from PIL import Image

from nxap_color.benchmark import main
from nxap_color.evaluation import speed
from nxap_color.evaluation.training_speed import images_per_second


def test_a_step_of_known_length_is_timed_right():
    rate = images_per_second(lambda: time.sleep(0.005), batch_size=10)
    assert 200 < rate <= 2000  # a busy machine sleeps longer, never shorter


def test_of_an_extractor_the_gain_of_asking_it_once_is_printed(photo_folder, capsys):
    branch = ["--arch", "fusion", "--extractor", "efficientnet_lite0", "--extractor-weights", "random"]
    arguments = ["--filters", "4", "--image-size", "32", "--batch-size", "2", "--validation", "0.3"]
    assert main([str(photo_folder), *branch, *arguments]) == 0
    out = capsys.readouterr().out
    step, features = (
        float(re.search(rf"{word} +([\d.]+)", out)[1]) for word in ("training step", "features")
    )
    gain = float(re.search(r"a training ([\d.]+) times as fast", out)[1])
    assert gain == pytest.approx(1.0 + step / features, rel=0.1)


@pytest.mark.slow
def test_without_a_source_photos_are_measured_on_each_backend(capsys, monkeypatch):
    backends = speed.installed_backends()
    assert "tensorflow" in backends
    # With the real counts it measures for minutes.
    for name, value in {"REPEATS": 1, "FOLDER_REPEATS": 1, "WARM_UP": 1, "FOLDERS": (3,)}.items():
        monkeypatch.setattr(speed, name, value)
    settings = ["--arch", "autoencoder", "--image-size", "32", "--batch-size", "2"]
    assert main(settings) == 0
    machine, header, *lines = capsys.readouterr().out.splitlines()
    assert f"{os.cpu_count()} cores" in machine and "tensorflow" in machine
    assert header.split() == backends
    rows = {line[:43].strip(): [float(figure) for figure in line[43:].split()] for line in lines[:17]}
    assert all(len(row) == len(backends) for row in rows.values())
    assert 0.01 < rows["--help, s"][0] < rows["1 megapixel, whole process, s"][0]
    seconds, peak = rows["1 megapixel, whole process, s"][0], rows["peak memory, MB"][0]
    assert 1 < seconds < 200 and 300 < peak < 3000
    assert 0 < rows["3 of 1 megapixel, photos/s"][0] < 1000
    small, large = (rows[f"{size}, but for its file, ms"][0] for size in speed.SIZES)
    assert 1 < small < large
    pipeline, step, ratio, prediction = (float(line[16:].split()[0]) for line in lines[-4:])
    assert pipeline > 0 and step > 0 and prediction > 0
    assert ratio == pytest.approx(pipeline / step, rel=0.1)


def test_photos_to_measure_have_the_size_asked_for(tmp_path):
    for path in speed.make_photos(tmp_path, 3, 50_000):
        with Image.open(path) as photo:
            assert photo.mode == "L" and photo.width * photo.height == pytest.approx(50_000, rel=0.02)


def test_a_predict_that_fails_is_not_timed(tmp_path):
    with pytest.raises(RuntimeError, match="predict on tensorflow ended with exit status 1"):
        speed.run_predict("tensorflow", tmp_path / "no-such.jpg")


def test_a_missing_source_is_named(capsys):
    assert main(["no-such-folder"]) == 2
    assert "There is no no-such-folder" in capsys.readouterr().err


@pytest.mark.slow
def test_a_film_is_measured_whole_and_step_by_step(tmp_path, capsys):
    film = tmp_path / "film.mp4"
    ffmpeg(*pattern(), "-c:v", "libx264", "-pix_fmt", "yuv420p", film)
    assert main([str(film)]) == 0
    out = capsys.readouterr().out
    for step in ("decoding", "network", "following motion", "full-size colour", "encoding"):
        assert float(re.search(rf"{step} +([\d.]+)", out)[1]) > 0.0
    coloured, plain = (
        float(re.search(rf"{word} +([\d.]+) frames/s", out)[1]) for word in ("coloured", "alone")
    )
    assert 0 < coloured < plain

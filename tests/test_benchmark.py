"""The benchmark's command line; its figures are for people, not for a test."""

import re
import time

import pytest
from films import ffmpeg, pattern

from nxap_color.benchmark import images_per_second, main


def test_a_step_of_known_length_is_timed_right():
    rate = images_per_second(lambda: time.sleep(0.005), batch_size=10)
    assert 200 < rate <= 2000  # a busy machine sleeps longer, never shorter


def test_all_figures_are_printed(photo_folder, capsys):
    arguments = ["--arch", "autoencoder", "--image-size", "32", "--batch-size", "2", "--validation", "0.3"]
    assert main([str(photo_folder), *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    pipeline, step, ratio, prediction = (float(line[16:].split()[0]) for line in lines[2:])
    assert pipeline > 0 and step > 0 and prediction > 0
    assert ratio == pytest.approx(pipeline / step, rel=0.1)


def test_of_an_extractor_the_gain_of_asking_it_once_is_printed(photo_folder, capsys, monkeypatch):
    monkeypatch.setattr("nxap_color.benchmark.BATCHES", 2)
    branch = ["--arch", "fusion", "--extractor", "efficientnet_lite0", "--extractor-weights", "random"]
    arguments = ["--filters", "4", "--image-size", "32", "--batch-size", "2", "--validation", "0.3"]
    assert main([str(photo_folder), *branch, *arguments]) == 0
    out = capsys.readouterr().out
    step, features = (
        float(re.search(rf"{word} +([\d.]+)", out)[1]) for word in ("training step", "features")
    )
    gain = float(re.search(r"a training ([\d.]+) times as fast", out)[1])
    assert gain == pytest.approx(1.0 + step / features, rel=0.1)


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

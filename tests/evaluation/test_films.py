"""What is measured of films, against closed forms."""

import json
import math

import numpy as np
import pytest
from films import ffmpeg

from nxap_color import evaluate
from nxap_color.evaluation import films


def test_consistency_of_still_and_of_changing_films():
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (20, 30, 3), dtype="uint8")
    still = [films.histograms(frame)] * 6
    assert films.consistency(still) == pytest.approx(0.0, abs=1e-12)
    assert films.consistency(still[:1]) == 0.0
    dark, light = np.zeros((4, 4, 3), "uint8"), np.full((4, 4, 3), 255, "uint8")
    blinking = [films.histograms(picture) for picture in (dark, light) * 4]
    assert films.consistency(blinking) == pytest.approx(math.log(2) / 3), "only odd steps differ"


def divergence(p, q):
    """Jensen-Shannon divergence by its formula, in nats: mean relative entropy to the mean of the two."""
    middle = (p + q) / 2
    terms = [x[x > 0] * np.log(x[x > 0] / middle[x > 0]) for x in (p, q)]
    return (terms[0].sum() + terms[1].sum()) / 2


def test_consistency_is_the_mean_jensen_shannon_divergence():
    rng = np.random.default_rng(0)
    rows = [films.histograms(rng.integers(0, 40 + 20 * n, (20, 30, 3), dtype="uint8")) for n in range(6)]
    expected = [
        np.mean([divergence(rows[n][c], rows[n + step][c]) for n in range(6 - step) for c in range(3)])
        for step in (1, 2, 4)
    ]
    assert films.consistency(rows) == pytest.approx(np.mean(expected))


def test_one_pixel_of_a_million_makes_a_small_number_and_not_none():
    frame = np.full((1000, 1000, 3), 90, "uint8")
    other = frame.copy()
    other[0, 0] = 91
    assert 0 < films.consistency([films.histograms(frame), films.histograms(other)]) < 1e-5


def test_the_table_of_films_has_a_line_for_each_way():
    row = {"colorfulness": 20.0, "cdc": 0.001, "warp_error": 0.5}
    results = {"truth": row, "frame by frame": {**row, "psnr": 24.0, "warp_error": 1.0}}
    head, truth, single = films.format_film_table(results).splitlines()
    assert head.split()[:2] == ["PSNR", "dB"] and truth.split() == [
        "truth",
        "1.00",
        "0.00100",
        "0.500",
        "0.50",
    ]
    assert single.split()[-5:] == ["24.00", "1.00", "0.00100", "1.000", "1.00"]


def test_evaluate_measures_a_film(tmp_path, project, tiny_model_file, capsys):
    photo = project / "data" / "photos" / "test" / "cat.jpg"
    film = tmp_path / "film.mp4"
    ffmpeg("-loop", "1", "-t", "1", "-i", photo, "-vf", "scale=192:128,crop=160:112:n:n/2", "-r", "12",
           "-c:v", "libx264", "-pix_fmt", "yuv420p", film)  # fmt: skip
    options = [str(film), "--model", str(tiny_model_file), "--quiet", "--json", str(tmp_path / "film.json")]
    assert evaluate.main(options) == 0
    assert "shots begin at frames 0\n" in capsys.readouterr().out
    results = json.loads((tmp_path / "film.json").read_text())["results"]
    assert list(results) == ["truth", "frame by frame", "averaged", "steady"]
    assert "psnr" not in results["truth"]
    for row in results.values():
        assert 0 <= row["cdc"] < 0.2 and row["warp_error"] >= 0 and row["colorfulness"] > 0
    assert results["steady"]["warp_error"] <= results["frame by frame"]["warp_error"]


def test_evaluate_names_a_film_that_is_none(tmp_path, tiny_model_file, capsys):
    (tmp_path / "bad.mp4").write_bytes(b"no film")
    assert evaluate.main([str(tmp_path / "bad.mp4"), "--model", str(tiny_model_file), "--quiet"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and len(err.splitlines()) == 1

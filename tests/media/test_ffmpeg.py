"""Which ffmpeg is taken, and that all but films do without one: real command lines."""

import os
import subprocess
import sys

import pytest
from commands import environment
from films import FFMPEG, ffmpeg, pattern
from PIL import Image

WITHOUT_IMAGEIO_FFMPEG = """
import sys
sys.modules["imageio_ffmpeg"] = None  # as if it were not installed
from nxap_color.predict import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "film.mp4"
    ffmpeg(*pattern(seconds=0.4, size="64x48"), "-c:v", "libx264", "-pix_fmt", "yuv420p", path)
    return path


@pytest.fixture
def predict(tmp_path):
    """The command line where imageio-ffmpeg is not installed: its exit status, output and errors.

    `programs` is all of PATH; other variables are given by name.
    """
    programs = tmp_path / "programs"
    programs.mkdir()
    others = {name: text for name, text in environment().items() if name != "IMAGEIO_FFMPEG_EXE"}

    def run(*arguments, **variables):
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_IMAGEIO_FFMPEG, *map(str, arguments)],
            env={**others, "PATH": str(programs), **variables}, capture_output=True, text=True,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.mark.skipif(os.name == "nt", reason="programs have other names there")
def test_the_ffmpeg_of_the_system_will_do(film, predict, tmp_path):
    (tmp_path / "programs" / "ffmpeg").symlink_to(FFMPEG)
    assert predict(film) == (0, f"wrote {tmp_path / 'film_color.mp4'}\n", "")
    assert ffmpeg("-i", tmp_path / "film_color.mp4", "-f", "framemd5", "-").count(b"\n0, ") == 10


def test_the_ffmpeg_that_a_variable_names_will_do(film, predict, tmp_path):
    assert predict(film, IMAGEIO_FFMPEG_EXE=FFMPEG)[0] == 0
    assert (tmp_path / "film_color.mp4").is_file()


def test_without_any_ffmpeg_a_film_is_named_with_what_to_install(film, predict, tmp_path, sample_rgb):
    """What is coloured beside it needs none."""
    photo, gif = tmp_path / "photo.jpg", tmp_path / "moving.gif"
    image = Image.fromarray(sample_rgb).convert("L").resize((96, 64))
    image.save(photo)
    image.save(gif, save_all=True, append_images=[image.rotate(9)])
    results = tmp_path / "results"
    status, output, failures = predict(photo, gif, film, "-o", results)
    assert (status, output) == (1, f"wrote 2 of 3 files, the last one {results / 'moving_color.gif'}\n")
    (line,) = failures.splitlines()
    assert line.startswith(f"error: {film}: ")
    assert 'pip install "nxap_color[films]"' in line and "your system's" in line

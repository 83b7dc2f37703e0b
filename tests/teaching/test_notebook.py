"""What notebooks show: films, and tables."""

import base64
import io
import re

import imageio.v3 as iio
import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter

from nxap_color.teaching.notebook import play, table

FRAMES = [np.full((32, 48, 3), level, "uint8") for level in (20, 120, 220)]


def html_of(shown):
    """What a notebook stores of it, and the report shows."""
    return DisplayFormatter().format(shown)[0]["text/html"]


def film_in(html, kind):
    return base64.b64decode(re.search(f'src="data:{kind};base64,([^"]+)"', html)[1])


def test_frames_become_a_film_inside_the_notebook():
    html = html_of(play(FRAMES, fps=10))
    for attribute in ("controls", "loop", "muted", "autoplay", "playsinline"):
        assert attribute in html.split(">")[0]
    shown = iio.imread(film_in(html, "video/mp4"), plugin="FFMPEG", extension=".mp4")
    assert shown.shape == (3, 32, 48, 3)
    # H.264 at its usual quality, and luma in 220 steps.
    np.testing.assert_allclose(shown.mean(axis=(1, 2, 3)), [20, 120, 220], atol=3)


@pytest.mark.parametrize("as_type", [str, lambda path: path])
def test_a_film_is_shown_as_it_is(tmp_path, as_type):
    (tmp_path / "a.mp4").write_bytes(b"a film")
    assert film_in(html_of(play(as_type(tmp_path / "a.mp4"))), "video/mp4") == b"a film"


def test_a_gif_is_shown_as_a_picture_that_moves(tmp_path):
    iio.imwrite(tmp_path / "a.GIF", np.stack(FRAMES), extension=".gif", duration=100, loop=0)
    html = html_of(play(tmp_path / "a.GIF"))
    assert html.startswith("<img ")
    assert iio.imread(io.BytesIO(film_in(html, "image/gif")), index=None).shape[0] == 3


def test_numbers_of_a_table_have_their_formats():
    rows = {"unet": {"psnr": 24.456, "photos": 12}, "gray": {"psnr": 22.0}}
    lines = table(rows, {"psnr": "PSNR, dB", "photos": "photos"}, {"psnr": "{:.1f}"}).data.splitlines()
    assert lines[0] == "|  | PSNR, dB | photos |"
    assert lines[2:] == ["| unet | 24.5 | 12 |", "| gray | 22.0 |  |"]

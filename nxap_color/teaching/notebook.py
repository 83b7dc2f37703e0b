"""Start notebooks quietly, and show tables, films and a slider in them."""

import base64
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
from IPython import get_ipython
from IPython.display import Image, Markdown, Video, display

from nxap_color.cli.console import start_quietly
from nxap_color.teaching import plotting

if TYPE_CHECKING:
    from ipywidgets import interactive
    from matplotlib.figure import Figure

    from nxap_color.colorizer import Colorizer

SEED = 0
_SLIDER_STEPS = (0.0, 0.5, 1.0, 1.5, 2.0)
_VIDEO_ATTRIBUTES = 'controls loop muted autoplay playsinline style="max-width: 100%"'


def start_notebook(seed: int = SEED) -> None:
    """Start Keras without log lines, set all seeds, and show figures as JPEG, to keep notebooks small.

    Args:
        seed: of weights, crops and everything else that is random.
    """
    start_quietly()
    import keras
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # no advice on tracing
    for message in ("Your input ran out of data", "__array__ implementation doesn't accept a copy"):
        warnings.filterwarnings("ignore", message=message)  # from Keras, about its own code
    keras.utils.set_random_seed(seed)
    if shell := get_ipython():
        shell.run_line_magic("matplotlib", "inline")
        shell.run_line_magic("config", "InlineBackend.figure_formats = ['jpeg']")
        shell.run_line_magic("config", "InlineBackend.print_figure_kwargs = {'dpi': 100}")


def table(
    rows: dict[str, dict[str, Any]], columns: dict[str, str], formats: str | dict[str, str] = "{:.2f}"
) -> Markdown:
    """Make a table in Markdown.

    Args:
        rows: dict from the label of a row to a dict from column to a value.
        columns: dict from column to its heading.
        formats: format of floats, or a dict from column to such a format.

    Returns:
        What a notebook shows as a table.
    """

    def cell(row, column):
        value = row.get(column, "")
        if not isinstance(value, float):
            return str(value)
        form = formats if isinstance(formats, str) else formats.get(column, "{:.2f}")
        return form.format(value)

    lines = [["", *columns.values()], ["---", *["---:"] * len(columns)]]
    lines += [[label, *(cell(row, column) for column in columns)] for label, row in rows.items()]
    return Markdown("\n".join("| " + " | ".join(line) + " |" for line in lines))


def play(film: Sequence[np.ndarray] | str | Path, fps: float = 25.0) -> Video | Image:
    """Show a film inside the notebook, embedded, so that it plays wherever the notebook is read.

    Args:
        film: uint8 arrays (H, W, 3) of even height and width, or the path of an MP4 or a GIF.
        fps: frames per second of such arrays.

    Returns:
        What a notebook shows as a player, or as a moving picture.
    """
    if isinstance(film, (str, Path)):
        data = Path(film).read_bytes()
        if Path(film).suffix.lower() == ".gif":
            # As HTML: nbconvert, which makes the report, leaves out pictures of the type image/gif.
            return Image(url=f"data:image/gif;base64,{base64.b64encode(data).decode()}")
    else:
        data = _encode(film, fps)
    return Video(data, embed=True, mimetype="video/mp4", html_attributes=_VIDEO_ATTRIBUTES)


def _encode(frames, fps):
    """Encode frames as MP4; return its bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        options = {"fps": fps, "macro_block_size": 1, "ffmpeg_log_level": "error"}
        iio.imwrite(path, np.stack(frames), plugin="FFMPEG", **options)
        return path.read_bytes()


def explore_vividness(colorizer: "Colorizer", photo: np.ndarray) -> "interactive | Figure":
    """Set the amount of colour with a slider; without the package ipywidgets show five amounts.

    Args:
        colorizer: it is not changed.
        photo: uint8 array (H, W, 3), sRGB.

    Returns:
        A widget, or a `matplotlib.figure.Figure`.
    """
    from nxap_color.colorizer import MAX_VIVIDNESS  # here, since it imports Keras

    def colour(vividness):
        return colorizer.with_vividness(vividness).colorize(photo)

    try:
        from ipywidgets import FloatSlider, interactive
    except ImportError:
        print("For a slider: pip install ipywidgets, and run this cell again.")
        return plotting.show_pictures(
            [colour(step) for step in _SLIDER_STEPS],
            [f"vividness {step:g}" for step in _SLIDER_STEPS],
            columns=5,
        )
    slider = FloatSlider(value=1.0, min=0.0, max=MAX_VIVIDNESS, step=0.1, continuous_update=False)
    return interactive(
        lambda vividness: display(plotting.show_pictures([colour(vividness)])), vividness=slider
    )

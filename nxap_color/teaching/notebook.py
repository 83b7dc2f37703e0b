"""What the notebooks need of Jupyter: a quiet start, tables, films that play, and a slider."""

import base64
import copy
import tempfile
import warnings
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from IPython import get_ipython
from IPython.display import HTML, Markdown, display

from nxap_color.cli.console import start_quietly
from nxap_color.teaching import plotting

SEED = 0
_SLIDER_STEPS = (0.0, 0.5, 1.0, 1.5, 2.0)


def start_notebook(seed=SEED):
    """Starts Keras without log lines, sets all seeds, and has figures shown as JPEG, which stay small.

    Args:
        seed: whole number, from which weights, crops and whatever else is drawn come.
    """
    start_quietly()
    import keras
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # which in a notebook begins with advice on tracing
    for message in ("Your input ran out of data", "__array__ implementation doesn't accept a copy"):
        warnings.filterwarnings("ignore", message=message)  # of Keras, about its own ways
    keras.utils.set_random_seed(seed)
    if shell := get_ipython():
        shell.run_line_magic("matplotlib", "inline")
        shell.run_line_magic("config", "InlineBackend.figure_formats = ['jpeg']")
        shell.run_line_magic("config", "InlineBackend.print_figure_kwargs = {'dpi': 100}")


def table(rows, columns, formats="{:.2f}"):
    """Makes a table that notebooks show as one.

    Args:
        rows: dict from the label of a row to a dict from column to a value.
        columns: dict from column to what stands above it.
        formats: format of numbers that are no whole ones, or a dict from column to such a format.

    Returns:
        `IPython.display.Markdown`.
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


def play(film, fps=25.0):
    """Shows a film inside the notebook, so that it plays wherever the notebook is read.

    Args:
        film: list of uint8 arrays (H, W, 3) of even height and width, or the path of an MP4 or a GIF.
        fps: frames per second of such a list.

    Returns:
        `IPython.display.HTML`, with the film in it.
    """
    if isinstance(film, (str, Path)):
        path, data = Path(film), Path(film).read_bytes()
        if path.suffix.lower() == ".gif":
            return HTML(f'<img src="data:image/gif;base64,{base64.b64encode(data).decode()}">')
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "film.mp4"
            iio.imwrite(
                path, np.stack(film), plugin="FFMPEG", fps=fps, macro_block_size=1, ffmpeg_log_level="error"
            )
            data = path.read_bytes()
    source = f"data:video/mp4;base64,{base64.b64encode(data).decode()}"
    return HTML(
        f'<video src="{source}" controls loop muted autoplay playsinline style="max-width: 100%"></video>'
    )


def explore_vividness(colorizer, photo):
    """Lets the amount of colour be moved by a slider; without the package ipywidgets shows five of them.

    Args:
        colorizer: `Colorizer`; it is left as it is.
        photo: uint8 array (H, W, 3).

    Returns:
        A widget, or a `matplotlib.figure.Figure`.
    """

    from nxap_color.colorizer import MAX_VIVIDNESS  # here, since it brings Keras

    other = copy.copy(colorizer)

    def colour(vividness):
        other.vividness = vividness
        return other.colorize(photo)

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

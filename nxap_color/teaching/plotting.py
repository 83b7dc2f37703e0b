"""Draw figures for notebooks, reports and command lines."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nxap_color.evaluation.vividness import BASELINES, COMPARED_RATIO, without_vividness
from nxap_color.images import as_uint8

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure


def plot_tradeoff(summary: dict[str, dict[str, Any]]) -> "Figure":
    """Draw PSNR against colorfulness ratio: up is closer to the truth, right is more colourful.

    Methods that differ only in vividness ("unet x0.8", "unet", "unet x1.2") are joined by a line. Where that
    crosses the dotted one, `vividness.COMPARED_RATIO`, models are compared; with gray among the methods the
    axis on the right shows the gain over it.

    Args:
        summary: dict from method to figures, as from `photos.summarize`.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    figure = _figure(8.0, 5.5)
    axes = figure.add_subplot(xlabel="colorfulness ratio (1 = as the true photos)", ylabel="PSNR, dB")
    families = {}
    for label, row in summary.items():
        point = (row["colorfulness_ratio"], row["psnr"], label)
        families.setdefault(without_vividness(label), []).append(point)
    for family, points in families.items():
        ratios, psnr, labels = zip(*sorted(points), strict=True)
        axes.plot(ratios, psnr, "o-", label=family)
        for point in zip(ratios, psnr, labels, strict=True):
            axes.annotate(
                point[2].removeprefix(family).strip(), point[:2], (4, 4), textcoords="offset points"
            )
    axes.axvline(COMPARED_RATIO, color="gray", linestyle=":")
    if BASELINES[0] in summary:
        gray = summary[BASELINES[0]]["psnr"]
        over = axes.secondary_yaxis("right", functions=(lambda psnr: psnr - gray, lambda gain: gain + gray))
        over.set_ylabel("gain over gray, dB")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def show_pictures(
    pictures: Sequence[np.ndarray],
    captions: Sequence[str] | None = None,
    columns: int = 4,
    side: float = 2.4,
) -> "Figure":
    """Draw pictures in rows, each with a line of text above it.

    Args:
        pictures: uint8 (H, W, 3), or float (H, W, 3) in [0, 1], sRGB.
        captions: as many texts, or None.
        columns: pictures in a row.
        side: width of each in inches.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    aspect = max(np.shape(picture)[0] / np.shape(picture)[1] for picture in pictures)
    figure = _figure(columns * side, rows * (side * aspect + 0.3 * bool(captions)))
    for axes, picture in zip(figure.subplots(rows, columns, squeeze=False).flat, pictures, strict=False):
        axes.imshow(as_uint8(picture))
    for axes, caption in zip(figure.axes, captions or (), strict=False):
        axes.set_title(caption, fontsize=9)
    for axes in figure.axes:
        axes.set_axis_off()
    return figure


def plot_curves(
    curves: dict[str, Sequence[float] | tuple[Sequence[float], Sequence[float]]],
    xlabel: str,
    ylabel: str,
    colours: dict[str, Any] | None = None,
) -> "Figure":
    """Draw lines that share their axes, such as learning curves.

    Args:
        curves: dict from the label of a line to its values, one for each step from 1 on, or to a pair
            (x, values). Labels that end in "validation" get a dashed line.
        xlabel, ylabel: texts beside the axes, with the unit.
        colours: dict from a label to a matplotlib colour; matplotlib chooses those of other labels.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    figure = _figure(8.5, 3.6)
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
    for label, values in curves.items():
        x, y = values if isinstance(values, tuple) else (np.arange(1, len(values) + 1), values)
        style = "--" if label.endswith("validation") else "-"
        axes.plot(x, y, style, label=label, color=(colours or {}).get(label))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))  # beside the lines, not on them
    return figure


def plot_bars(values: dict[str, float], xlabel: str) -> "Figure":
    """Draw a bar for each entry of a dict from a label to a number."""
    figure = _figure(7.0, 0.5 + 0.35 * len(values))
    axes = figure.add_subplot(xlabel=xlabel)
    bars = axes.barh(list(values), list(values.values()))
    axes.bar_label(bars, fmt="%.3g", padding=3, fontsize=9)
    axes.margins(x=0.2)
    axes.invert_yaxis()
    return figure


def plot_ab_plane(
    lightness: float = 65.0,
    points: dict[str, np.ndarray] | np.ndarray | tuple = (),
    sizes: Sequence[float] = (),
    title: str = "",
) -> "Figure":
    """Draw the colours of one lightness over their axes a and b, and points among them.

    Args:
        lightness: L in [0, 100]; what sRGB cannot show at it is white.
        points: dict from a label to an array (n, 2) in ab units, or one such array.
        sizes: areas of the points of one such array, in square points; all equal by default.
        title: text above.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    from nxap_color import color  # here, so that command lines do not wait for it

    axis = np.linspace(-110.0, 110.0, 221, dtype="float32")
    lab = np.stack([np.full((221, 221), np.float32(lightness)), *np.meshgrid(axis, axis)], axis=-1)
    shown = np.where(np.asarray(color.is_in_gamut(lab))[..., None], color.lab_to_rgb(lab), 1.0)
    figure = _figure(4.4, 4.2)
    axes = figure.add_subplot(xlabel="a: green to red", ylabel="b: blue to yellow", title=title)
    axes.imshow(shown, origin="lower", extent=(-110, 110, -110, 110))
    named = points if isinstance(points, dict) else {"": points}
    for label, ab in named.items():
        ab = np.reshape(ab, (-1, 2))
        size = sizes if len(sizes) else 40 if label else 4
        axes.scatter(
            *ab.T, size, label=label, edgecolors="black", linewidths=0.5 if label else 0.0, alpha=0.8
        )
    if isinstance(points, dict):
        axes.legend(fontsize=8, loc="lower right")
    return figure


def draw_flow(flow: np.ndarray) -> np.ndarray:
    """Draw motion in colours: the hue is its direction, the saturation its speed.

    Args:
        flow: float array (H, W, 2), (x, y) in pixels.

    Returns:
        uint8 array (H, W, 3); white where nothing moves.
    """
    from matplotlib.colors import hsv_to_rgb

    direction = (np.arctan2(flow[..., 1], flow[..., 0]) / (2.0 * np.pi)) % 1.0
    speed = np.linalg.norm(flow, axis=-1)
    hsv = np.stack([direction, speed / max(speed.max(), 1.0), np.ones_like(speed)], axis=-1)
    return as_uint8(hsv_to_rgb(hsv))


def draw_network(
    model: "keras.Model", names: Sequence[str], links: Sequence[tuple[str, str]] = (), side: int = 64
) -> "Figure":
    """Draw a network as a row of boxes, as high as its feature maps and wider the more channels they have.

    Args:
        model: takes lightness (batch, H, W, 1), and features if it fuses them.
        names: the layers to draw, in their order.
        links: pairs of such names, the skip connections.
        side: height and width of the photo that it is given, in pixels.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    import keras  # here, so that command lines do not wait for it

    inputs = {tensor.name: tensor for tensor in model.inputs}
    layers = keras.Model(inputs, {name: model.get_layer(name).output for name in names})
    shapes = {name: [size or side for size in tensor.shape[1:]] for name, tensor in inputs.items()}
    maps = layers.predict_on_batch({name: np.zeros((1, *shape), "float32") for name, shape in shapes.items()})
    figure = _figure(9.0, 3.0)
    axes = figure.add_subplot(title=f"{model.name}: {model.count_params():,} weights")
    tops, left = {}, 0.0
    for name in names:
        _, height, _, channels = maps[name].shape
        width = 2.0 + np.sqrt(channels)
        middle = left + width / 2.0
        axes.bar(middle, height, width, -height / 2.0, color="tab:blue", alpha=0.6, edgecolor="black")
        label = f"{name.removeprefix('encoder_')}\n{height}x{height}\nx{channels}"
        axes.text(middle, -height / 2.0 - 4.0, label, ha="center", va="top", fontsize=7)
        tops[name], left = (middle, height / 2.0), left + width + 9.0
    for start, end in links:
        arrow = {"arrowstyle": "->", "connectionstyle": "arc3,rad=-0.25", "color": "tab:red"}
        axes.annotate("", tops[end], tops[start], arrowprops=arrow)
    tallest = max(feature_map.shape[1] for feature_map in maps.values())
    axes.set(xlim=(-4.0, left), ylim=(-0.5 * tallest - 20.0, (1.1 if links else 0.55) * tallest))
    axes.set_axis_off()
    return figure


def _figure(width, height):
    # The object interface alone: pyplot would look for a screen.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")

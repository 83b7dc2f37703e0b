"""Measure models on photos as other emulsions would have recorded them: old plates, filters."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from tqdm import tqdm

from nxap_color.degrade import EMULSIONS
from nxap_color.evaluation.photos import Figures, measure_photos, psnr_gains
from nxap_color.evaluation.vividness import BASELINES

if TYPE_CHECKING:
    from nxap_color.colorizer import Colorizer

ALL_EMULSIONS = "all"
# Photos as they are: their gray is that of luminance.
NO_EMULSION = "luma"


def measure_emulsions(
    emulsions: Sequence[str],
    names: Sequence[str],
    colorizers: dict[str, "Colorizer"],
    mean_ab: tuple[float, float],
    as_they_are: list[Figures],
    degraded: bool = False,
    quiet: bool = True,
) -> dict[str, dict[str, list[float]]]:
    """Measure the gain over gray of methods by emulsion.

    Args:
        emulsions: names in `degrade.EMULSIONS`, or "all".
        names, colorizers, mean_ab, degraded: as in `photos.measure_photos`.
        as_they_are: the figures that it gave for these photos without an emulsion.
        quiet: whether to leave out the progress bars.

    Returns:
        Dict from emulsion, "luma" first, to a dict from method to [gain, low, high]: PSNR over that of gray
        in dB, and its 95 % interval by bootstrap over photos.
    """
    chosen = EMULSIONS if ALL_EMULSIONS in emulsions else dict.fromkeys(emulsions)
    bar = partial(tqdm, unit="photo", disable=True if quiet else None)  # None: only on a terminal
    figures = {NO_EMULSION: as_they_are}
    for emulsion in chosen:
        shown = bar(names, desc=emulsion)
        found = measure_photos(shown, colorizers, mean_ab, degraded=degraded, emulsion=emulsion)
        figures[emulsion] = [of_photo for _, of_photo, _ in found]
    labels = [label for label in as_they_are[0] if label != BASELINES[0]]
    return {
        emulsion: {label: psnr_gains(measured, label)[BASELINES[0]] for label in labels}
        for emulsion, measured in figures.items()
    }


def format_emulsions(gains: dict[str, dict[str, list[float]]]) -> str:
    """Format what `measure_emulsions` returns as lines of text for a terminal."""
    labels = list(gains[NO_EMULSION])
    heading = "gain over gray, dB"
    width = max(map(len, (heading, *labels)))
    lines = [f"{heading:<{width}}" + "".join(f"{emulsion:>16}" for emulsion in gains)]
    for label in labels:
        cells = "".join(f"{gains[emulsion][label][0]:>+16.2f}" for emulsion in gains)
        lines.append(f"{label:<{width}}" + cells)
    return "\n".join(lines)

"""Measure how close the colours of a film are to the true ones, and how steady."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import imageio.v3 as iio
import numpy as np
from scipy.spatial.distance import jensenshannon
from skimage.color import rgb2lab
from skimage.metrics import peak_signal_noise_ratio
from skimage.registration import optical_flow_ilk
from tqdm import tqdm

from nxap_color import color
from nxap_color.media.films import Frame, probe
from nxap_color.metrics import colorfulness
from nxap_color.steady import SteadyColour, round_trip_error, warp
from nxap_color.video import ask_network, in_batches, paint

if TYPE_CHECKING:
    from nxap_color.colorizer import Colorizer

FILM_COLUMNS = ("PSNR dB", "ratio", "CDC", "warp error", "of it")
CDC_STEPS = (1, 2, 4)  # frames apart
# Motion is judged at this many pixels on the shorter side: colours have no finer detail.
_FLOW_SIDE = 96


def measure_film(
    path: str | Path,
    colorizer: "Colorizer",
    progress: Callable[[Iterable[Any]], Iterable[Any]] = lambda frames: frames,
) -> tuple[dict[str, dict[str, float]], list[int]]:
    """Remove the colour of a film, let a model put it back in three ways, and measure each.

    Args:
        path: a film in colour.
        colorizer: the model to measure.
        progress: function that wraps the iterable of frames, such as `tqdm`.

    Returns:
        Dict from "truth", "frame by frame", "averaged" (over time, without following motion) and "steady"
        to a dict of floats: "psnr" in dB, mean over frames (not for the truth); "colorfulness", mean over
        frames; "cdc", see `consistency`; and "warp_error": how much colours change along the motion of
        things, mean distance in ab units where forward and backward flow agree to a pixel. The flow is that
        of the true film's gray (Le Besnerais, Champagnat 2005, by scikit-image), not the one that
        `SteadyColour` follows.
        And the numbers of the frames at which shots begin.

    Raises:
        FilmError: if it is no film.
    """
    fps = float(probe(Path(path)).fps)
    ways = {
        "frame by frame": SteadyColour(fps, memory=0),
        "averaged": SteadyColour(fps, follows_motion=False),
        "steady": SteadyColour(fps),
    }
    scores = {label: _Scores() for label in ("truth", *ways)}
    last, cuts, number = None, [], 0
    for batch in in_batches(progress(iio.imiter(path, plugin="FFMPEG"))):
        frames = [Frame(color.rgb_to_luma(truth, "bt601")) for truth in batch]
        for truth, frame, gray, answer in zip(batch, *ask_network(colorizer, frames), strict=True):
            small = _shrink(frame.gray()) / np.float32(255.0)
            flow = None if last is None else _motion(last, small)
            scores["truth"].add(truth, truth, flow)
            for label, steady in ways.items():
                ab, is_cut = steady.follow(gray, colorizer.amplify(answer))
                scores[label].add(paint(frame, ab), truth, flow)
            cuts += [number] if is_cut else []
            last, number = small, number + 1
    return {label: score.summarize() for label, score in scores.items()}, cuts


def _shrink(picture):
    scale = _FLOW_SIDE / min(picture.shape[:2])
    size = tuple(max(8, round(side * scale)) for side in picture.shape[1::-1])
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _motion(last, gray):
    """Find the flow (H, W, 2) from this frame to the last in pixels, and where it is reliable (H, W)."""
    backward, forward = (
        np.stack(optical_flow_ilk(*pair, radius=5, num_warp=3, prefilter=True)[::-1], axis=-1)
        for pair in ((gray, last), (last, gray))
    )
    return backward, round_trip_error(backward, forward) < 1.0


class _Scores:
    """What must be kept of the frames of one film to measure it."""

    def __init__(self):
        self.psnr, self.colorfulness, self.histograms, self.warp_errors = [], [], [], []
        self.last_ab = None

    def add(self, frame, truth, flow):
        """Add a frame and its truth, uint8 (H, W, 3), and (flow, mask) from the one before, or None."""
        if frame is not truth:
            self.psnr.append(peak_signal_noise_ratio(truth, frame, data_range=255))
        self.colorfulness.append(colorfulness(frame))
        self.histograms.append(histograms(frame))
        ab = np.float32(rgb2lab(_shrink(frame))[..., 1:])
        if flow is not None:
            distance = np.linalg.norm(warp(self.last_ab, flow[0]) - ab, axis=-1)
            self.warp_errors.append(distance[flow[1]].mean() if flow[1].any() else 0.0)
        self.last_ab = ab

    def summarize(self):
        return {
            **({"psnr": float(np.mean(self.psnr))} if self.psnr else {}),
            "colorfulness": float(np.mean(self.colorfulness)),
            "cdc": consistency(self.histograms),
            "warp_error": float(np.mean(self.warp_errors)) if self.warp_errors else 0.0,
        }


def histograms(frame: np.ndarray) -> np.ndarray:
    """Count how often a frame, uint8 (H, W, 3), has each value: float array (3, 256), each row sums to 1."""
    return np.stack(
        [np.bincount(channel.ravel(), minlength=256) for channel in np.moveaxis(frame, -1, 0)]
    ) / (frame.shape[0] * frame.shape[1])


def consistency(rows: list[np.ndarray]) -> float:
    """Compute the color distribution consistency, CDC (Liu et al. 2021): 0 where colours never change.

    Args:
        rows: arrays (3, 256), as from `histograms`, one for each frame.

    Returns:
        The mean Jensen-Shannon divergence (natural logarithm) of frames 1, 2 and 4 apart; 0 for films of one
        frame.
    """
    rows = np.array(rows)
    # SciPy's distance is the square root of the divergence.
    steps = [
        np.square(jensenshannon(rows[:-step], rows[step:], axis=-1)).mean()
        for step in CDC_STEPS
        if len(rows) > step
    ]
    return float(np.mean(steps)) if steps else 0.0


def report_film(path: str | Path, colorizer: "Colorizer", quiet: bool = True) -> dict[str, Any]:
    """Measure a film as `measure_film` does.

    Args:
        path, colorizer: as there.
        quiet: whether to leave out the progress bar.

    Returns:
        Dict of what is worth keeping, for JSON: "source", "shots" (frames at which they begin), "results".
    """
    results, cuts = measure_film(path, colorizer, partial(tqdm, unit="frame", disable=quiet or None))
    return {"source": Path(path).name, "shots": cuts, "results": results}


def format_film(report: dict[str, Any]) -> str:
    """Format the result of `report_film` as lines of text for a terminal."""
    shots = ", ".join(map(str, report["shots"]))
    return f"{report['source']}: shots begin at frames {shots}\n{format_film_table(report['results'])}"


def format_film_table(results: dict[str, dict[str, float]]) -> str:
    """Format the result of `measure_film` as lines of text for a terminal."""
    truth, single = results["truth"], results["frame by frame"]
    lines = [" " * 16 + "".join(f"{column:>12}" for column in FILM_COLUMNS)]
    for label, row in results.items():
        cells = (
            f"{row['psnr']:.2f}" if "psnr" in row else "",
            f"{row['colorfulness'] / max(truth['colorfulness'], 1e-9):.2f}",
            f"{row['cdc']:.5f}", f"{row['warp_error']:.3f}",
            f"{row['warp_error'] / max(single['warp_error'], 1e-9):.2f}",
        )  # fmt: skip
        lines.append(f"{label:16}" + "".join(f"{cell:>12}" for cell in cells))
    return "\n".join(lines)

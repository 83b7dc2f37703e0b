"""Write one frame of each shot of a film, to be coloured by hand and given back as references."""

import contextlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nxap_color.colorizer import Colorizer
from nxap_color.media import films
from nxap_color.media.atomic import make_folder
from nxap_color.media.photos import Photo, write_photo
from nxap_color.shots import find_shots
from nxap_color.steady import SteadyColour
from nxap_color.video import upright_gray, whole_grays

# 8-bit steps between the channels of a frame, below which it is black, a fade perhaps, and shows nothing.
LEAST_COLOUR = 10


def write_key_frames(
    colorizer: Colorizer, source: str | Path, folder: str | Path, overwrite: bool = False, quiet: bool = True
) -> tuple[list[Path], list[Path]]:
    """Write the middle frame of each shot of a film, coloured as a photo is; black ones are left out.

    Args:
        colorizer: `Colorizer`.
        source: path of a film.
        folder: where they go; it is made if need be. `old.mp4` gives `old_00000.480s.png` and so on, by the
            second of the frame.
        overwrite: whether files that exist, which may have been coloured by hand, are replaced.
        quiet: whether to leave out the progress bar.

    Returns:
        List of the files that were written, and list of those that were kept.

    Raises:
        FilmError: if the film cannot be read.
        UserError: if the folder cannot be made.
        PhotoError, OSError: if a frame cannot be written.

    Example:
        >>> write_key_frames(Colorizer.load(), "old.mp4", "keys")  # doctest: +SKIP
    """
    source, folder = Path(source), Path(folder)
    film = films.probe(source)
    written, kept = [], []
    make_folder(folder)
    with contextlib.closing(_middles(colorizer, film, quiet)) as middles:
        for seconds, gray in middles:
            path = folder / f"{source.stem}_{seconds:09.3f}s.png"
            if path.exists() and not overwrite:
                kept.append(path)
                continue
            rgb = colorizer.colorize(gray)
            if np.ptp(rgb, axis=-1).max() >= LEAST_COLOUR:
                write_photo(path, Photo(rgb))
                written.append(path)
    return written, kept


def _middles(colorizer, film, quiet):
    """Yield the second and the upright gray, uint8 (H, W), of the middle frame of each shot."""
    bar = {"total": len(film.times) or None, "unit": "frame", "leave": False, "disable": quiet or None}
    with contextlib.closing(films.read_film(film)) as frames:
        size = colorizer.input_size(film.height, film.width)
        grays = whole_grays(tqdm(frames, desc="looking for cuts", **bar), size, film.turns)
        shots = find_shots((gray for _, gray in grays), SteadyColour(float(film.fps)))
        middles = {(shot.start + shot.end) // 2 for shot in shots}
    first, is_due = None, False
    with contextlib.closing(films.read_film(film)) as frames:
        for number, frame in enumerate(tqdm(frames, desc="colouring", **bar)):
            first = frame.time if first is None else first
            is_due |= number in middles
            if is_due and not frame.is_broken:
                is_due = False
                yield float((frame.time - first) * film.time_base), upright_gray(frame, None, film.turns)

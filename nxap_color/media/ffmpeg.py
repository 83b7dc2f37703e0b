"""Run ffmpeg: the one that imageio-ffmpeg brings, or the system's."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from nxap_color.errors import FilmError

DEFAULT_CRF = 18  # quality of films: the constant rate factor of H.264


def start_ffmpeg(*options: Any, level: str = "error", **streams: Any) -> subprocess.Popen:
    """Start ffmpeg; its log, no finer than `level`, comes through a pipe unless `stderr` says otherwise.

    Args:
        *options: its options, texts or numbers, and `Path`s of files.
        level: one of its log levels.
        **streams: `stdin`, `stdout`, `stderr` and `cwd`, as `subprocess.Popen` takes them.

    Returns:
        `subprocess.Popen`.

    Raises:
        FilmError: if there is no ffmpeg on this machine.
    """
    # Without the prefix, names with a colon would be taken for addresses, and some for options.
    options = [f"file:{option.absolute()}" if isinstance(option, Path) else str(option) for option in options]
    command = [_find_ffmpeg(), "-hide_banner", "-nostats", "-y", "-loglevel", level]
    streams = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE, **streams}
    return subprocess.Popen([*command, *options], **streams)


def _find_ffmpeg():
    try:
        import imageio_ffmpeg  # here, since whoever colours only photos need not have it

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):  # it is not installed, or has no program for this system
        program = os.environ.get("IMAGEIO_FFMPEG_EXE") or shutil.which("ffmpeg")
    if not program:
        raise FilmError(
            'Films need ffmpeg, which is not on this machine: pip install "nxap_color[films]", or install '
            "your system's."
        )
    return program


def run_ffmpeg(*options: Any, level: str = "error", check: bool = True, cwd: Path | None = None) -> str:
    """Run ffmpeg to its end.

    Args:
        *options, level: as in `start_ffmpeg`.
        check: whether failing is an error.
        cwd: the folder to run in, or None for the current one.

    Returns:
        Its log.

    Raises:
        FilmError: if it fails and `check` is set, or there is no ffmpeg on this machine.
    """
    process = start_ffmpeg(*options, level=level, stdout=subprocess.DEVNULL, cwd=cwd)
    log = process.communicate()[1].decode(errors="replace")
    if check and process.returncode:
        raise FilmError(f"It cannot be written ({last_words(log)}).")
    return log


def last_words(log: str) -> str:
    """Return the last line of a log, without the name of the part of ffmpeg that wrote it."""
    lines = [re.sub(r"^(\[[^]]*\] *)+", "", line).strip() for line in log.splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "ffmpeg gave no reason"

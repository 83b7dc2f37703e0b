"""Run the ffmpeg that imageio-ffmpeg brings."""

import re
import subprocess
from pathlib import Path
from typing import Any

import imageio_ffmpeg

from nxap_color.errors import FilmError


def start_ffmpeg(*options: Any, level: str = "error", **streams: Any) -> subprocess.Popen:
    """Start ffmpeg; its log, no finer than `level`, comes through a pipe unless `stderr` says otherwise.

    Args:
        *options: its options, texts or numbers, and `Path`s of files.
        level: one of its log levels.
        **streams: `stdin`, `stdout`, `stderr` and `cwd`, as `subprocess.Popen` takes them.

    Returns:
        `subprocess.Popen`.
    """
    # Without the prefix, names with a colon would be taken for addresses, and some for options.
    options = [f"file:{option.absolute()}" if isinstance(option, Path) else str(option) for option in options]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostats", "-y", "-loglevel", level]
    streams = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE, **streams}
    return subprocess.Popen([*command, *options], **streams)


def run_ffmpeg(*options: Any, level: str = "error", check: bool = True, cwd: Path | None = None) -> str:
    """Run ffmpeg to its end.

    Args:
        *options, level: as in `start_ffmpeg`.
        check: whether failing is an error.
        cwd: the folder to run in, or None for the current one.

    Returns:
        Its log.

    Raises:
        FilmError: if it fails and `check` is set.
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

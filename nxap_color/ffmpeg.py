"""Runs the ffmpeg that imageio-ffmpeg brings."""

import re
import subprocess
from pathlib import Path

import imageio_ffmpeg


class FilmError(ValueError):
    """A film that cannot be read or written; its text is meant for the user."""


def start(*options, level="error", **streams):
    """Starts ffmpeg; its log, no finer than `level`, comes through the pipe `stderr`.

    Args:
        *options: its options, texts or numbers, and `Path`s of files.
        level: one of its log levels.
        **streams: `stdin` and `stdout`, as `subprocess.Popen` takes them.

    Returns:
        `subprocess.Popen`.
    """
    # Without the prefix, names with a colon would be taken for addresses, and some for options.
    options = [f"file:{option}" if isinstance(option, Path) else str(option) for option in options]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostats", "-y", "-loglevel", level]
    if "stdin" not in streams:
        streams["stdin"] = subprocess.DEVNULL
    return subprocess.Popen([*command, *options], stderr=subprocess.PIPE, **streams)


def run(*options, level="error", check=True, output=False):
    """Runs ffmpeg to its end.

    Args:
        *options, level: as in `start`.
        check: whether failing is an error.
        output: whether to return what it wrote to standard output, instead of its log.

    Returns:
        A text.

    Raises:
        FilmError: if it fails and `check` is set.
    """
    process = start(*options, level=level, stdout=subprocess.PIPE)
    out, log = (stream.decode(errors="replace") for stream in process.communicate())
    if check and process.returncode:
        raise FilmError(f"It cannot be written ({last_words(log)}).")
    return out if output else log


def last_words(log):
    """The last line of a log, without the name of the part of ffmpeg that said it."""
    lines = [re.sub(r"^(\[[^]]*\] *)+", "", line).strip() for line in log.splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "ffmpeg gave no reason"

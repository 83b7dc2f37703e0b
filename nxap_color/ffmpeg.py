"""Runs the ffmpeg that imageio-ffmpeg brings."""

import re
import subprocess

import imageio_ffmpeg


class FilmError(ValueError):
    """A film that cannot be read or written; its text is meant for the user."""


def start(*options, level="error", **streams):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostats", "-y", "-loglevel", level]
    if "stdin" not in streams:
        streams["stdin"] = subprocess.DEVNULL
    return subprocess.Popen([*command, *map(str, options)], stderr=subprocess.PIPE, **streams)


def run(*options, level="error", check=True, output=False):
    """Runs ffmpeg to its end; returns its log, or its standard output. Raises FilmError if it fails."""
    process = start(*options, level=level, stdout=subprocess.PIPE)
    out, log = (stream.decode(errors="replace") for stream in process.communicate())
    if check and process.returncode:
        raise FilmError(f"It cannot be written ({last_words(log)}).")
    return out if output else log


def last_words(log):
    """The last line of a log, without the name of the part of ffmpeg that said it."""
    lines = [re.sub(r"^(\[[^]]*\] *)+", "", line).strip() for line in log.splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "ffmpeg gave no reason"

"""Small films for the tests, and what ffmpeg says of films."""

import re
import subprocess
from pathlib import Path
from typing import Any

import imageio_ffmpeg

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


def ffmpeg(*options: Any) -> bytes:
    """Run ffmpeg and return its standard output."""
    command = [FFMPEG, "-v", "error", "-y", *map(str, options)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL).stdout


def pattern(seconds: float = 1, size: str = "160x90", rate: str = "25") -> tuple[str, ...]:
    """Return options for an input in which something moves in front of something that does not."""
    return ("-f", "lavfi", "-i", f"testsrc=size={size}:rate={rate}:duration={seconds}")


def sound(seconds: float = 1, pitch: float = 440) -> tuple[str, ...]:
    """Return options for an input with a tone."""
    return ("-f", "lavfi", "-i", f"sine=frequency={pitch}:duration={seconds}")


def report(path: Path) -> dict[str, Any]:
    """Return what ffmpeg says of a film: duration, its streams without bit rates and codecs, rotation."""
    done = subprocess.run([FFMPEG, "-hide_banner", "-i", path], capture_output=True, text=True)
    text = done.stderr
    picture = re.search(r"Video: .*", text)[0]
    return {
        "duration": re.search(r"Duration: ([\d:.]+)", text)[1],
        "start": re.search(r"start: ([\d.]+)", text)[1],
        "size": re.search(r" (\d+x\d+)[, ]", picture)[1],
        "aspect": re.findall(r"DAR (\d+:\d+)", picture),
        "rate": re.search(r"([\d.]+) fps", picture)[1],
        "rotation": re.findall(r"rotation of (\S+) degrees", text),
        "sounds": re.findall(r"Stream #\S+?(?:\[\w+\])?(\(\w+\))?: (Audio: \w+.*?), [^,]*kb/s", text),
        "subtitles": len(re.findall(r"Subtitle: ", text)),
        "title": re.findall(r"title +: (.*)", text)[:1],
    }


def times(path: Path) -> list[float]:
    """Return when the frames of a film are due, in seconds, as decoded."""
    rows = ffmpeg("-i", path, "-map", "0:V:0", "-fps_mode", "passthrough", "-f", "framecrc", "-").decode()
    base = re.search(r"#tb 0: (\d+)/(\d+)", rows)
    ticks = [int(row.split(",")[2]) for row in rows.splitlines() if not row.startswith("#")]
    return [round(tick * int(base[1]) / int(base[2]), 4) for tick in ticks]


def luma(path: Path) -> bytes:
    """Return the first plane of every frame: what must not change, except by the encoder."""
    options = ("-map", "0:V:0", "-vf", "extractplanes=y", "-f", "rawvideo", "-")
    return ffmpeg("-noautorotate", "-i", path, *options)


def sound_packets(path: Path) -> bytes:
    """Return a fingerprint of all sound as it is stored."""
    return ffmpeg("-i", path, "-map", "0:a", "-c", "copy", "-f", "streamhash", "-")

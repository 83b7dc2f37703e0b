"""Reads films: what they are, and their gray frames with the times of these."""

import queue
import re
import subprocess
import tempfile
import threading
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from nxap_color import ffmpeg

FILM_SUFFIXES = frozenset((".mp4", ".m4v", ".mov", ".mkv", ".avi", ".webm"))
# In films luma runs from 16, black, to 235, white (ITU-R BT.601).
_BLACK, _WHITE = 16, 235
_NO_TIME = -(2**63)  # of a packet, in ffmpeg's words AV_NOPTS_VALUE
_TOO_DAMAGED = 69  # how ffmpeg ends after many frames that it could not decode
# What ffmpeg says of MP4, of Matroska and WebM, and of AVI, if the last packet is not whole.
_CUT_OFF = re.compile(rb"partial file|ended prematurely|corrupt input packet")
_HD_HEIGHT = 720  # from here on players take films that do not say for BT.709


@dataclass(frozen=True)
class Film:
    """What is known of a film before it is decoded.

    Attributes:
        path: where it lies.
        width, height: pixels as stored, before any rotation.
        turns: quarter turns counterclockwise after which the frames are upright.
        matrix: "bt601" or "bt709", how its colours are to be stored.
        pixel_aspect: `Fraction`, width over height of a pixel.
        time_base: `Fraction`, seconds of one tick.
        fps: `Fraction`, frames per second, the mean for variable rates.
        times: sorted list of ticks, when frames are due; empty if the file does not tell.
        last_duration: ticks for which the last frame is shown; 0 if the file does not tell.
        losses: list of texts on what of its picture cannot be kept.
        is_cut_off: whether the end of the file is missing.
    """

    path: Path
    width: int
    height: int
    turns: int
    matrix: str
    pixel_aspect: Fraction
    time_base: Fraction
    fps: Fraction
    times: list
    last_duration: int
    losses: list
    is_cut_off: bool = False

    @property
    def is_variable(self):
        """Whether its frames come at a variable rate, beyond what rounding to ticks explains."""
        return _is_variable(self.times)

    @property
    def chroma_size(self):
        """(height, width) of its colours."""
        return (self.height, self.width) if self.has_full_chroma else (self.height // 2, self.width // 2)

    @property
    def has_full_chroma(self):
        """Whether colours are stored at full size: what halves a side needs it to be even."""
        return bool(self.width % 2 or self.height % 2)


def _is_variable(times):
    steps = np.diff(times)
    return bool(len(steps) and np.ptp(steps) > 2)


@dataclass
class Frame:
    """The gray of one frame.

    Attributes:
        luma: array (H, W), uint8 or float32.
        black, white: values of `luma` for these.
        time: ticks of the film's time base.
        is_broken: whether the decoder found it damaged, or had to repeat the one before.
    """

    luma: np.ndarray
    black: int = 0
    white: int = 255
    time: int = 0
    is_broken: bool = False

    def gray(self, size=None):
        """Its gray, uint8 0..255 (H, W), or shrunk to `size`, (height, width)."""
        luma = self.luma
        if size is not None and size != luma.shape:
            shrinks = size[0] <= luma.shape[0] and size[1] <= luma.shape[1]
            kind = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            luma = cv2.resize(luma, size[::-1], interpolation=kind)
        # Rounds and keeps inside 0..255.
        scale = 255.0 / (self.white - self.black)
        return cv2.convertScaleAbs(np.maximum(luma, self.black), None, scale, -self.black * scale)


def is_film(path):
    """Tells by its name whether a path is that of a film; hidden files are none."""
    path = Path(path)
    return path.suffix.lower() in FILM_SUFFIXES and not path.name.startswith(".")


def probe(path):
    """Looks at a film without decoding more than a frame.

    Args:
        path: path object.

    Returns:
        `Film`.

    Raises:
        ffmpeg.FilmError: if there is no such file or no picture in it.
    """
    if not path.is_file():
        raise ffmpeg.FilmError("There is no such file.")
    report = ffmpeg.run(
        "-noautorotate", "-i", path, "-map", "0:V:0", "-frames:v", "1", "-vf", "showinfo=checksum=0",
        "-f", "null", "-", level="info", check=False,
    )  # fmt: skip
    found = re.search(r"n: *0 pts:.* fmt:(\S+) .*sar:(\d+)/(\d+) s:(\d+)x(\d+) i:(\w)", report)
    config = re.search(r"config in time_base: (\d+)/(\d+), frame_rate: (\d+)/(\d+)", report)
    if not found or not config:
        raise ffmpeg.FilmError(f"This is no film that can be read ({ffmpeg.last_words(report)}).")
    pixels, *numbers, field = found.groups()
    sar_width, sar_height, width, height = map(int, numbers)
    losses = ["the picture was written with 8 bits"] if re.search(r"\d(le|be)$", pixels) else []
    if field in "TB":
        losses.append("the film is interlaced, the result is not marked so: deinterlace it first")
    time_base = Fraction(int(config[1]), int(config[2]))
    times, last_duration, is_cut_off = _packet_times(path)
    rate = Fraction(int(config[3]), int(config[4]) or 1)
    if _is_variable(times):  # for which the rate above is a guess
        rate = (len(times) - 1) / ((times[-1] - times[0]) * time_base)
    rotation = re.search(r"rotation of (-?[\d.]+) degrees", report)
    # Of the several lines that name a colour space the filter's own is the stored frame's.
    is_hd = re.search(r"color_space:bt709", report) or (
        height >= _HD_HEIGHT and not re.search(r"color_space:(smpte170m|bt470bg)", report)
    )
    return Film(
        path, width, height, round(float(rotation[1]) / 90) % 4 if rotation else 0,
        "bt709" if is_hd else "bt601", Fraction(sar_width or 1, sar_height or 1),
        time_base, rate or Fraction(25), times, last_duration, losses, is_cut_off,
    )  # fmt: skip


def _packet_times(path):
    """Looks at packets alone, which is faster than decoding.

    Returns:
        When frames are due, how long the last one is shown, and whether the end of the file is missing.
    """
    times, latest, last_duration = [], _NO_TIME, 0
    options = ("-map", "0:V:0", "-c", "copy", "-f", "framecrc", "-")
    with tempfile.TemporaryFile() as log:
        streams = {"level": "warning", "stdout": subprocess.PIPE, "stderr": log}
        with ffmpeg.start("-i", path, *options, **streams) as process:
            for row in process.stdout:
                if not row[:1].isdigit():
                    continue
                _, _, time, duration = map(int, row.split(b",")[:4])
                if time > latest:
                    latest, last_duration = time, duration
                times.append(time)
        log.seek(0)
        is_cut_off = bool(_CUT_OFF.search(log.read()))
    if _NO_TIME in times:  # AVI, for one, does not store them
        return [], 0, is_cut_off
    return sorted(set(times)), last_duration, is_cut_off


def read_film(film):
    """Decodes a film frame by frame, as stored: not rotated, without its colours.

    A frame that the decoder loses is replaced by the one before it, so that none is missing; the first ones,
    which have none before, are the exception.

    Args:
        film: `Film`.

    Yields:
        `Frame` with uint8 luma (H, W), black at 16 and white at 235.

    Raises:
        ffmpeg.FilmError: if it breaks off before the first frame.
    """
    with _Decoder(film) as decoder:
        due, last = deque(film.times), None
        for luma, time, is_damaged in decoder.frames():
            while due and due[0] < time:
                missed = due.popleft()
                if last is not None and decoder.has_failed:
                    yield Frame(last, _BLACK, _WHITE, missed, True)
            if due and due[0] == time:
                due.popleft()
            yield Frame(luma, _BLACK, _WHITE, time, is_damaged)
            last = luma
        if last is None:
            raise ffmpeg.FilmError(
                f"It has no frame that can be decoded ({ffmpeg.last_words(decoder.words)})."
            )
        for missed in due if decoder.has_failed else ():
            yield Frame(last, _BLACK, _WHITE, missed, True)


class _Decoder:
    """An ffmpeg that writes raw frames to a pipe, and their times to its log."""

    def __init__(self, film):
        self.film = film
        self.shape = (film.height, film.width)
        layout = "yuv444p" if film.has_full_chroma else "yuv420p"
        self.bytes = film.width * film.height * 3
        if not film.has_full_chroma:
            self.bytes //= 2
        filters = (
            f"showinfo=checksum=0,scale={film.width}:{film.height}:in_color_matrix={film.matrix}"
            f":out_color_matrix={film.matrix}:out_range=tv,format={layout}"
        )
        self.process = ffmpeg.start(
            "-debug_ts", "-noautorotate", "-i", film.path, "-map", "0:V:0", "-vf", filters,
            "-fps_mode", "passthrough", "-f", "rawvideo", "pipe:1",
            level="level+info", stdout=subprocess.PIPE,
        )  # fmt: skip
        self.times, self.words, self.has_failed = queue.Queue(), "", False
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def _listen(self):
        """Sorts the log: times of frames, and complaints about them."""
        is_damaged, damaged, count = False, set(), 0
        for line in self.process.stderr:
            line = line.decode(errors="replace")
            shown = re.search(r"\bn: *\d+ pts: *(\S+) ", line)
            # The decoder runs ahead of what is shown, and says which frame its complaint was about.
            decoded = re.search(r"decoder -> .*?pts:(\S+) ", line)
            if shown:
                is_known = shown[1] != "NOPTS"
                time = int(shown[1]) if is_known else round(count / (self.film.fps * self.film.time_base))
                self.times.put((time, shown[1] in damaged))
                count += 1
            elif decoded and is_damaged:
                damaged.add(decoded[1])
                is_damaged = False
            elif "corrupt decoded frame" in line:
                is_damaged = True
            elif "[error]" in line or "[fatal]" in line:
                self.words, self.has_failed = self.words + line, True
        self.times.put(None)

    def frames(self):
        """Yields luma, uint8 (H, W), its time in ticks, and whether it is damaged."""
        pixels = self.film.width * self.film.height
        while True:
            data = self.process.stdout.read(self.bytes)
            if len(data) < self.bytes:
                self.listener.join()
                if data or self.process.wait() not in (0, _TOO_DAMAGED):
                    raise ffmpeg.FilmError(f"The decoder broke off ({ffmpeg.last_words(self.words)}).")
                return
            yield np.frombuffer(data, "uint8", pixels).reshape(self.shape), *self.times.get()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.stdout.close()
        self.process.wait()
        self.listener.join()
        self.process.stderr.close()

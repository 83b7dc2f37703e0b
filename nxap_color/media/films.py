"""Read and write films: what they are, their gray frames with times, and coloured ones with the sound."""

import contextlib
import queue
import re
import struct
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from nxap_color.errors import FilmError
from nxap_color.media import ffmpeg
from nxap_color.media.atomic import written_whole

# In films luma runs from 16, black, to 235, white (ITU-R BT.601).
_BLACK, _WHITE = 16, 235
_HD_HEIGHT = 720  # from here on players assume BT.709 where a film does not say
_NO_TIME = -(2**63)  # of a packet: ffmpeg's AV_NOPTS_VALUE
_TOO_DAMAGED = 69  # ffmpeg's exit status after many frames that it could not decode
# What ffmpeg says of MP4, of Matroska and WebM, and of AVI, if the last packet is not whole.
_CUT_OFF = re.compile(rb"partial file|ended prematurely|corrupt input packet")

_CHROMA_ZERO, _CHROMA_RANGE = 128, 224  # in 8 bits (ITU-R BT.601)
_PRIMARIES = {"bt601": "smpte170m", "bt709": "bt709"}
# Encoders of sound and subtitles by container, where copying does not work, and ffmpeg's names of containers.
_SOUND = {".webm": "libopus", ".avi": "libmp3lame", ".mkv": "flac"}
_SUBTITLES = {".webm": "webvtt", ".mkv": "srt", ".mp4": "mov_text", ".m4v": "mov_text", ".mov": "mov_text"}
_FORMATS = {".m4v": "mp4", ".mkv": "matroska"}


@dataclass(frozen=True)
class Film:
    """What is known of a film before it is decoded.

    Attributes:
        path: where it lies.
        width, height: pixels as stored, before any rotation.
        turns: quarter turns counterclockwise after which the frames are upright.
        matrix: "bt601" or "bt709", how its colours are to be stored.
        pixel_aspect: width over height of a pixel.
        time_base: seconds of one tick.
        fps: frames per second, the mean for variable rates.
        times: when frames are due, in ticks, sorted; empty if the file does not say.
        last_duration: ticks for which the last frame is shown; 0 if the file does not say.
        losses: texts on what of its picture cannot be kept.
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
    times: list[int]
    last_duration: int
    losses: list[str]
    is_cut_off: bool = False

    @property
    def is_variable(self) -> bool:
        """Whether its frames come at a variable rate, beyond what rounding to ticks explains."""
        return _is_variable(self.times)

    @property
    def chroma_size(self) -> tuple[int, int]:
        """Height and width of its colours."""
        return (self.height, self.width) if self.has_full_chroma else (self.height // 2, self.width // 2)

    @property
    def has_full_chroma(self) -> bool:
        """Whether colours are stored at full size, since only even sides can be halved."""
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
        time: when it is due, in ticks of the film's time base.
        is_broken: whether the decoder found it damaged, or had to repeat the one before.
    """

    luma: np.ndarray
    black: int = 0
    white: int = 255
    time: int = 0
    is_broken: bool = False

    def gray(self, size: tuple[int, int] | None = None) -> np.ndarray:
        """Return its gray, uint8 (H, W) in 0..255, or resized to `size`, (height, width)."""
        luma = self.luma
        if size is not None and size != luma.shape:
            shrinks = size[0] <= luma.shape[0] and size[1] <= luma.shape[1]
            kind = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            luma = cv2.resize(luma, size[::-1], interpolation=kind)
        # Rounds, and clips to 0..255.
        scale = 255.0 / (self.white - self.black)
        return cv2.convertScaleAbs(np.maximum(luma, self.black), None, scale, -self.black * scale)


def probe(path: Path) -> Film:
    """Look at a film without decoding more than a frame.

    Args:
        path: where it lies.

    Returns:
        `Film`.

    Raises:
        FilmError: if there is no such file or no picture in it.
    """
    if not path.is_file():
        raise FilmError("There is no such file.")
    report = ffmpeg.run_ffmpeg(
        "-noautorotate", "-i", path, "-map", "0:V:0", "-frames:v", "1", "-vf", "showinfo=checksum=0",
        "-f", "null", "-", level="info", check=False,
    )  # fmt: skip
    found = re.search(r"n: *0 pts:.* fmt:(\S+) .*sar:(\d+)/(\d+) s:(\d+)x(\d+) i:(\w)", report)
    config = re.search(r"config in time_base: (\d+)/(\d+), frame_rate: (\d+)/(\d+)", report)
    if not found or not config:
        raise FilmError(f"This is no film that can be read ({ffmpeg.last_words(report)}).")
    pixels, *numbers, field = found.groups()
    sar_width, sar_height, width, height = map(int, numbers)
    time_base = Fraction(int(config[1]), int(config[2]))
    times, last_duration, is_cut_off = _packet_times(path)
    rate = Fraction(int(config[3]), int(config[4]) or 1)
    if _is_variable(times):  # then the rate above is a guess
        rate = (len(times) - 1) / ((times[-1] - times[0]) * time_base)
    rotation = re.search(r"rotation of (-?[\d.]+) degrees", report)
    return Film(
        path, width, height, round(float(rotation[1]) / 90) % 4 if rotation else 0,
        _colour_matrix(report, height), Fraction(sar_width or 1, sar_height or 1),
        time_base, rate or Fraction(25), times, last_duration, _losses(pixels, field), is_cut_off,
    )  # fmt: skip


def _losses(pixels, field):
    """Say what cannot be kept of a film, by its pixel format and whether it is interlaced (T or B)."""
    losses = ["the picture was written with 8 bits"] if re.search(r"\d(le|be)$", pixels) else []
    if field in "TB":
        losses.append("the film is interlaced, the result is not marked so: deinterlace it first")
    return losses


def _colour_matrix(report, height):
    """Find out how colours are stored, from what ffmpeg reports: "bt601" or "bt709"."""
    # Of the several lines that name a colour space the filter's own is the stored frame's.
    if re.search(r"color_space:bt709", report):
        return "bt709"
    is_sd = height < _HD_HEIGHT or re.search(r"color_space:(smpte170m|bt470bg)", report)
    return "bt601" if is_sd else "bt709"


def _packet_times(path):
    """Look at packets alone, which is faster than decoding.

    Returns:
        When frames are due and how long the last one is shown, in ticks, and whether the end of the file is
        missing.
    """
    times, latest, last_duration = [], _NO_TIME, 0
    options = ("-map", "0:V:0", "-c", "copy", "-f", "framecrc", "-")
    with tempfile.TemporaryFile() as log:
        streams = {"level": "warning", "stdout": subprocess.PIPE, "stderr": log}
        with ffmpeg.start_ffmpeg("-i", path, *options, **streams) as process:
            for row in process.stdout:
                if not row[:1].isdigit():
                    continue
                _, _, time, duration = map(int, row.split(b",")[:4])
                if time > latest:
                    latest, last_duration = time, duration
                times.append(time)
        log.seek(0)
        is_cut_off = bool(_CUT_OFF.search(log.read()))
    if _NO_TIME in times:  # AVI, for example, does not store them
        return [], 0, is_cut_off
    return sorted(set(times)), last_duration, is_cut_off


def read_film(film: Film) -> Iterator[Frame]:
    """Decode a film frame by frame, as stored: not rotated, without its colours.

    A frame that the decoder loses is replaced by the one before it, so that none is missing, except at the
    beginning, where there is none before.

    Args:
        film: as from `probe`.

    Yields:
        `Frame` with uint8 luma (H, W), black at 16 and white at 235.

    Raises:
        FilmError: if it breaks off before the first frame.
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
            raise FilmError(f"It has no frame that can be decoded ({ffmpeg.last_words(decoder.words)}).")
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
        self.process = ffmpeg.start_ffmpeg(
            "-debug_ts", "-noautorotate", "-i", film.path, "-map", "0:V:0", "-vf", filters,
            "-fps_mode", "passthrough", "-f", "rawvideo", "pipe:1",
            level="level+info", stdout=subprocess.PIPE,
        )  # fmt: skip
        self.times, self.words, self.has_failed = queue.Queue(), "", False
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def _listen(self):
        """Sort the log into times of frames and complaints about them."""
        is_damaged, damaged, count = False, set(), 0
        for line in self.process.stderr:
            line = line.decode(errors="replace")
            shown = re.search(r"\bn: *\d+ pts: *(\S+) ", line)
            # The decoder runs ahead of what is shown, and names the frame of its complaint afterwards.
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
        """Yield luma, uint8 (H, W), its time in ticks, and whether it is damaged."""
        pixels = self.film.width * self.film.height
        while True:
            data = self.process.stdout.read(self.bytes)
            if len(data) < self.bytes:
                self.listener.join()
                if data or self.process.wait() not in (0, _TOO_DAMAGED):
                    raise FilmError(f"The decoder broke off ({ffmpeg.last_words(self.words)}).")
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


def video_codec(suffix: str, crf: int, in_order: bool = False) -> list[str]:
    """Choose the encoder for a container, as a list of ffmpeg options.

    Args:
        suffix: one of `kinds.FILM_SUFFIXES`.
        crf: constant rate factor of H.264, 0 (lossless) to 51; 18 can hardly be told from the source.
        in_order: whether frames may refer to earlier ones only. At a variable rate, MP4 needs this to know
            the length of the last one; players of AVI expect nothing else.
    """
    if suffix == ".webm":  # its scale of qualities ends at 63
        speed = ["-deadline", "realtime", "-cpu-used", "6", "-row-mt", "1"]
        return ["-c:v", "libvpx-vp9", "-b:v", "0", "-crf", str(crf + 12), *speed]
    order = ["-bf", "0"] if in_order or suffix == ".avi" else []
    return ["-c:v", "libx264", "-preset", "veryfast", "-crf", str(crf), *order]


def plan_streams(film: Film, suffix: str, folder: Path) -> tuple[list[str], str]:
    """Find out how sound and subtitles can be kept, by trying on the first second of the film.

    Args:
        film: as from `probe`.
        suffix: of the film to be written.
        folder: where to try.

    Returns:
        ffmpeg options, and a note on what could not be copied unchanged, or "".

    Raises:
        FilmError: if not even picture and converted sound can be written there.
    """
    sound = ["-map", "1:a?", "-c:a", _SOUND.get(suffix, "aac")]
    text = ["-map", "1:s?", "-c:s", _SUBTITLES.get(suffix, "copy")]
    plans = {
        "": ["-map", "1:a?", "-map", "1:s?", "-map", "1:t?", "-c", "copy"],
        "attached files were left out": ["-map", "1:a?", "-map", "1:s?", "-c", "copy"],
        "subtitles were converted": ["-map", "1:a?", "-c:a", "copy", *text],
        "subtitles were left out, which this container cannot hold": ["-map", "1:a?", "-c:a", "copy"],
        "sound was converted": [*sound, "-map", "1:s?", "-c:s", "copy"],
        "sound and subtitles were converted": [*sound, *text],
        "sound was converted, subtitles were left out, which this container cannot hold": sound,
    }
    trial = folder / f"trial{suffix}"
    for note, options in plans.items():
        try:
            ffmpeg.run_ffmpeg(
                "-f", "lavfi", "-i", "color=size=64x64:duration=1", "-i", film.path, "-map", "0:v", *options,
                "-c:v", video_codec(suffix, 30)[1], "-t", "1", "-f", _FORMATS.get(suffix, suffix[1:]), trial,
            )  # fmt: skip
            return options, note
        except FilmError as error:
            reason = error
        finally:
            trial.unlink(missing_ok=True)
    raise reason


def join_segments(film: Film, segments: list[tuple[Path, int]], target: Path, streams: list[str]) -> None:
    """Join segments of a film, with the sound, subtitles, chapters and texts of the source.

    Args:
        film: what they come from.
        segments: path and first tick of each, in order.
        target: where to write, atomically; its suffix decides the container.
        streams: ffmpeg options, as from `plan_streams`.

    Raises:
        FilmError: if it cannot be written.
    """
    suffix = target.suffix.lower()
    # Rounding the starts, not the lengths, of segments keeps the error below a microsecond throughout.
    starts = [round(time * film.time_base * 1_000_000) for _, time in segments]
    listing = _list_segments([path for path, _ in segments], starts)
    given = ["-display_rotation:v:0", str(90 * film.turns)] if film.turns else []
    if suffix == ".avi":  # it has one rate for all frames
        given += ["-r", str(film.fps)]
    with _complete(target) as unfinished:
        ffmpeg.run_ffmpeg(
            "-itsoffset", f"{starts[0]}us", *given, "-f", "concat", "-safe", "0", "-i", listing.name,
            "-i", film.path, "-map", "0:v", *streams, "-c:v", "copy",
            "-map_metadata", "1", "-map_chapters", "1",
            *_timing(film, suffix), "-f", _FORMATS.get(suffix, suffix[1:]), unfinished,
            cwd=listing.parent,  # the path of a segment may have characters that ffmpeg's addresses may not
        )  # fmt: skip


def _list_segments(paths, starts):
    """Write the list of segments that ffmpeg reads, with their starts in microseconds; return its path."""
    lines = []
    for index, path in enumerate(paths):
        lines.append(f"file '{path.name}'")
        if index + 1 < len(starts):
            lines.append(f"duration {starts[index + 1] - starts[index]}us")
    listing = paths[0].with_name("segments.txt")
    listing.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return listing


def _timing(film, suffix):
    """Choose the ffmpeg options that keep the times of a film, in a container."""
    options = []
    if film.last_duration:  # frames sent one by one do not carry it
        last, seconds = (
            float(ticks * film.time_base) for ticks in (film.times[-1] - 0.5, film.last_duration)
        )
        duration = f"if(gt(PTS*TB\\,{last})\\,{seconds}/TB\\,DURATION)"
        options += ["-bsf:v", f"setts=pts=PTS:dts=DTS:duration={duration}"]
    if suffix in (".mp4", ".m4v", ".mov"):
        options += ["-movflags", "+faststart"]
        if film.time_base.numerator == 1:
            options += ["-video_track_timescale", str(film.time_base.denominator)]
    return options


def join_side_by_side(left: Path, right: Path, target: Path, crf: int) -> None:
    """Write a film with the gray of one film on the left, another one on the right, and its sound.

    Args:
        left, right: films of one size.
        target: where to write, atomically.
        crf: quality, as in `video_codec`.

    Raises:
        FilmError: if it cannot be written.
    """
    suffix = target.suffix.lower()
    filters = "[0:V:0]hue=s=0[gray];[gray][1:V:0]hstack,crop=iw:trunc(ih/2)*2,format=yuv420p"
    with _complete(target) as unfinished:
        ffmpeg.run_ffmpeg(
            "-i", left, "-i", right, "-filter_complex", filters,
            "-fps_mode", "passthrough", "-map", "1:a?", "-c:a", "copy", *video_codec(suffix, crf),
            "-f", _FORMATS.get(suffix, suffix[1:]), unfinished,
        )  # fmt: skip


@contextlib.contextmanager
def _complete(target):
    """Do as `written_whole`, with a FilmError if the file cannot be written."""
    try:
        with written_whole(target) as unfinished:
            yield unfinished
    except OSError as error:
        raise FilmError(f"{target} cannot be written: {error.strerror}.") from error


class FilmWriter:
    """Encode frames with their times to a file without sound; a context manager.

    Frames go to ffmpeg as IVF, the simplest container in which raw pictures have times, so that films of
    variable rate keep theirs.

    Args:
        path: where to write, in the NUT container.
        film: the `Film` whose size, times and colours to take over.
        codec: ffmpeg options that choose the encoder, as from `video_codec`.
    """

    def __init__(self, path: Path, film: Film, codec: list[str]):
        # A pipe that nobody reads could fill up and block ffmpeg. Closed by `__exit__`.
        self.log = tempfile.TemporaryFile()  # noqa: SIM115
        # YV24 has the colour planes in the order Cr, Cb.
        self.tag, self.order = (b"YV24", (1, 0)) if film.has_full_chroma else (b"I420", (0, 1))
        space = _PRIMARIES[film.matrix]
        tags = f"setparams=range=tv:color_primaries={space}:color_trc={space}:colorspace={space}"
        aspect = f"setsar={film.pixel_aspect.numerator}/{film.pixel_aspect.denominator}"
        self.process = ffmpeg.start_ffmpeg(
            "-f", "ivf", "-i", "pipe:0", "-vf", f"{tags},{aspect}", "-fps_mode", "passthrough",
            "-enc_time_base", film.time_base, *codec, "-f", "nut", path,
            stdin=subprocess.PIPE, stderr=self.log,
        )  # fmt: skip
        ticks = film.time_base
        self._send(
            struct.pack(
                "<4sHH4sHHIIII", b"DKIF", 0, 32, self.tag, film.width, film.height,
                ticks.denominator, ticks.numerator, 0, 0,
            )
        )  # fmt: skip

    def write(self, frame: Frame, chroma: np.ndarray) -> None:
        """Add a frame.

        Args:
            frame: as from `read_film`.
            chroma: float32 array (h, w, 2) of the film's `chroma_size`, (Cb, Cr) in [-0.5, 0.5].

        Raises:
            FilmError: if the encoder has stopped, such as on a full disk.
        """
        planes = np.uint8(np.rint(chroma * _CHROMA_RANGE + _CHROMA_ZERO))
        data = b"".join([frame.luma.tobytes(), *(planes[..., index].tobytes() for index in self.order)])
        self._send(struct.pack("<Iq", len(data), frame.time) + data)

    def _send(self, data):
        try:
            self.process.stdin.write(data)
        except OSError as error:
            raise FilmError(f"It cannot be encoded ({self._words()}).") from error

    def _words(self):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.wait()
        self.log.seek(0)
        return ffmpeg.last_words(self.log.read().decode(errors="replace"))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            self.process.kill()
        words = self._words()
        self.log.close()
        if self.process.returncode and kind is None:
            raise FilmError(f"It cannot be encoded ({words}).")

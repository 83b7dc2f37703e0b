"""Writes films: frames with their times, then the sound and all else of the source."""

import contextlib
import struct
import subprocess
import tempfile

import numpy as np

from nxap_color import ffmpeg
from nxap_color.files import written_whole

DEFAULT_CRF = 18
_CHROMA_ZERO, _CHROMA_RANGE = 128, 224  # in 8 bits (ITU-R BT.601)
_PRIMARIES = {"bt601": "smpte170m", "bt709": "bt709"}
# What goes with which container, as options of ffmpeg: sound and subtitles where copying does not work.
_SOUND = {".webm": "libopus", ".avi": "libmp3lame", ".mkv": "flac"}
_SUBTITLES = {".webm": "webvtt", ".mkv": "srt", ".mp4": "mov_text", ".m4v": "mov_text", ".mov": "mov_text"}
_FORMATS = {".m4v": "mp4", ".mkv": "matroska"}


def video_codec(suffix, crf, in_order=False):
    """Chooses the encoder for a container, as a list of ffmpeg options.

    Args:
        suffix: one of FILM_SUFFIXES.
        crf: constant rate factor of H.264, 0 (lossless) to 51; 18 can hardly be told from the source.
        in_order: whether frames may refer to earlier ones only. Where steps vary, MP4 knows the length of
            the last one only so; players of AVI expect nothing else.
    """
    if suffix == ".webm":  # whose scale of qualities ends at 63
        speed = ["-deadline", "realtime", "-cpu-used", "6", "-row-mt", "1"]
        return ["-c:v", "libvpx-vp9", "-b:v", "0", "-crf", str(crf + 12), *speed]
    order = ["-bf", "0"] if in_order or suffix == ".avi" else []
    return ["-c:v", "libx264", "-preset", "veryfast", "-crf", str(crf), *order]


def plan_streams(film, suffix, folder):
    """Finds out how sound and subtitles can go along, by trying on the first second of the film.

    Args:
        film: `Film`.
        suffix: of the film to be written.
        folder: `Path` where to try.

    Returns:
        List of ffmpeg options, and a note on what could not be copied as it is, or "".

    Raises:
        ffmpeg.FilmError: if not even the picture alone can be written there.
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
            ffmpeg.run(
                "-f", "lavfi", "-i", "color=size=64x64:duration=1", "-i", film.path, "-map", "0:v", *options,
                "-c:v", video_codec(suffix, 30)[1], "-t", "1", "-f", _FORMATS.get(suffix, suffix[1:]), trial,
            )  # fmt: skip
            return options, note
        except ffmpeg.FilmError as error:
            reason = error
        finally:
            trial.unlink(missing_ok=True)
    raise reason


def join_segments(film, segments, target, streams):
    """Puts segments of a film together, with the sound, subtitles, chapters and texts of the source.

    Args:
        film: the `Film` that they come from.
        segments: list of (path, first tick), in order.
        target: `Path` to write, complete or not at all; its suffix chooses the container.
        streams: list of options, as from `plan_streams`.

    Raises:
        ffmpeg.FilmError: if it cannot be written.
    """
    suffix = target.suffix.lower()
    # Rounding the starts, not the lengths, of segments keeps the error below a microsecond throughout.
    starts = [round(time * film.time_base * 1_000_000) for _, time in segments]
    lines = []
    for index, (path, _) in enumerate(segments):
        lines.append(f"file '{path.name}'")
        if index + 1 < len(starts):
            lines.append(f"duration {starts[index + 1] - starts[index]}us")
    listing = segments[0][0].with_name("segments.txt")
    listing.write_text("\n".join(lines) + "\n", encoding="utf-8")
    given = ["-display_rotation:v:0", str(90 * film.turns)] if film.turns else []
    if suffix == ".avi":  # which has one rate for all frames
        given += ["-r", str(film.fps)]
    options = []
    if film.last_duration:  # which frames sent one by one cannot say
        last, seconds = (
            float(ticks * film.time_base) for ticks in (film.times[-1] - 0.5, film.last_duration)
        )
        options += [
            "-bsf:v",
            f"setts=pts=PTS:dts=DTS:duration=if(gt(PTS*TB\\,{last})\\,{seconds}/TB\\,DURATION)",
        ]
    if suffix in (".mp4", ".m4v", ".mov"):
        options += ["-movflags", "+faststart"]
        if film.time_base.numerator == 1:
            options += ["-video_track_timescale", str(film.time_base.denominator)]
    with _complete(target) as unfinished:
        ffmpeg.run(
            "-itsoffset", f"{starts[0]}us", *given, "-f", "concat", "-safe", "0", "-i", listing.name,
            "-i", film.path, "-map", "0:v", *streams, "-c:v", "copy",
            "-map_metadata", "1", "-map_chapters", "1",
            *options, "-f", _FORMATS.get(suffix, suffix[1:]), unfinished,
            cwd=listing.parent,  # the way to a segment may have signs that addresses may not
        )  # fmt: skip


def join_side_by_side(left, right, target, crf):
    """Writes a film with the gray of one film on the left, another one on the right, and its sound.

    Args:
        left, right: paths of films of one size.
        target: `Path` to write, complete or not at all.
        crf: quality, as in `video_codec`.

    Raises:
        ffmpeg.FilmError: if it cannot be written.
    """
    suffix = target.suffix.lower()
    filters = "[0:V:0]hue=s=0[gray];[gray][1:V:0]hstack,crop=iw:trunc(ih/2)*2,format=yuv420p"
    with _complete(target) as unfinished:
        ffmpeg.run(
            "-i", left, "-i", right, "-filter_complex", filters,
            "-fps_mode", "passthrough", "-map", "1:a?", "-c:a", "copy", *video_codec(suffix, crf),
            "-f", _FORMATS.get(suffix, suffix[1:]), unfinished,
        )  # fmt: skip


@contextlib.contextmanager
def _complete(target):
    """As `written_whole`, with a FilmError if there is no place for the file."""
    try:
        with written_whole(target) as unfinished:
            yield unfinished
    except OSError as error:
        raise ffmpeg.FilmError(f"{target} cannot be written: {error.strerror}.") from error


class FilmWriter:
    """Encodes frames with their times to a file without sound; a context manager.

    Frames go to ffmpeg as IVF, the simplest container that gives raw pictures times of their own, so that
    films of variable rate keep theirs.

    Args:
        path: where to write, in the NUT container.
        film: the `Film` whose size, times and colours to take over.
        codec: list of ffmpeg options that choose the encoder.
    """

    def __init__(self, path, film, codec):
        # A pipe that nobody reads could fill up, and stop everything. Closed by `__exit__`.
        self.log = tempfile.TemporaryFile()  # noqa: SIM115
        # YV24 has the colour planes in the order Cr, Cb.
        self.tag, self.order = (b"YV24", (1, 0)) if film.has_full_chroma else (b"I420", (0, 1))
        space = _PRIMARIES[film.matrix]
        tags = f"setparams=range=tv:color_primaries={space}:color_trc={space}:colorspace={space}"
        aspect = f"setsar={film.pixel_aspect.numerator}/{film.pixel_aspect.denominator}"
        self.process = ffmpeg.start(
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

    def write(self, frame, chroma):
        """Adds a frame.

        Args:
            frame: `Frame` as from `read_film`.
            chroma: float32 array (h, w, 2) of the film's `chroma_size`, (Cb, Cr) in [-0.5, 0.5].

        Raises:
            ffmpeg.FilmError: if the encoder has stopped, such as for want of space.
        """
        planes = np.uint8(np.rint(chroma * _CHROMA_RANGE + _CHROMA_ZERO))
        data = b"".join([frame.luma.tobytes(), *(planes[..., index].tobytes() for index in self.order)])
        self._send(struct.pack("<Iq", len(data), frame.time) + data)

    def _send(self, data):
        try:
            self.process.stdin.write(data)
        except OSError as error:
            raise ffmpeg.FilmError(f"It cannot be encoded ({self._words()}).") from error

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
            raise ffmpeg.FilmError(f"It cannot be encoded ({words}).")

"""Keep the finished segments of a long job beside the film to be written, so that it can resume."""

import contextlib
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from nxap_color.errors import CodecError, FilmError
from nxap_color.media.atomic import lock
from nxap_color.media.guard import codec_errors

# Ten seconds or so: what an interruption costs at most. A multiple of the network's batches, so that a job
# that resumes sees the same batches as one that was not interrupted, and gives the same frames.
SEGMENT_FRAMES = 240


class SegmentStore:
    """The finished segments of one film, in a hidden folder beside it.

    Args:
        target: the film to be written.
        settings: everything that affects the output, fit for JSON. Segments made with other settings are
            deleted.

    Raises:
        FilmError: if the folder cannot be made, or another run is using it.

    Attributes:
        folder: where the segments lie.
        segments: for each finished segment its "path", the number of its "frames", the "time" of the first,
            and the numbers of "broken" ones.
        memory: what `SteadyColour.previous` was after the last of them, or None.
    """

    folder: Path
    segments: list[dict[str, Any]]
    memory: tuple[np.ndarray, np.ndarray] | None

    def __init__(self, target: Path, settings: dict[str, Any]):
        # Not the name itself, which may be as long as the system allows.
        digest = hashlib.sha256(target.name.encode(errors="surrogateescape")).hexdigest()[:16]
        self.folder = target.with_name(f".nxap-{digest}")
        self.segments, self.memory = [], None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.lock = lock(self.folder / "lock")
            self._keep_only(settings)
        except BlockingIOError as error:
            raise FilmError(f"Another run is just making {target}: wait for it.") from error
        except OSError as error:
            raise FilmError(f"Nothing can be written to {target.parent}: {error.strerror}.") from error
        while record := _read(self.next_path):
            self._append(record)

    def _keep_only(self, settings):
        """Delete the segments unless they were made with these settings."""
        path = self.folder / "settings.json"
        text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            for old in self.folder.iterdir():
                if old.name != "lock":
                    old.unlink()
            path.write_text(text, encoding="utf-8")

    @property
    def next_path(self) -> Path:
        """Where to write the next segment."""
        return self.folder / f"{len(self.segments):05d}.nut"

    @property
    def frames(self) -> int:
        """Number of frames that are finished."""
        return sum(int(segment["frames"]) for segment in self.segments)

    def finish(self, **record: Any) -> None:
        """Record that the segment at `next_path` is complete.

        Args:
            **record: what `segments` says of it, except its path; and the "lightness" and "ab" of `memory`.

        Raises:
            FilmError: if there is no space left.
        """
        path = self.next_path
        unfinished = path.with_suffix(".part")
        try:
            # The segment reaches the disk before its record does, even in a power cut.
            with path.open("rb+") as file:
                os.fsync(file.fileno())
            with unfinished.open("wb") as file:
                np.savez(file, size=path.stat().st_size, **record)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path.with_suffix(".npz"))
        except OSError as error:
            raise FilmError(f"Nothing can be written to {self.folder.parent}: {error.strerror}.") from error
        self._append({"path": path, **record})

    def close(self) -> None:
        """Let other runs use the folder."""
        self.lock.close()

    def _append(self, record):
        self.memory = record.pop("lightness"), record.pop("ab")
        self.segments.append(record)

    def remove(self) -> None:
        """Delete the folder with all segments."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _read(path):
    """Read the record of a segment; None if it is missing or incomplete, or the segment itself is."""
    record = {}
    # NumPy raises almost anything on damaged files.
    with contextlib.suppress(CodecError), codec_errors(), np.load(path.with_suffix(".npz")) as kept:
        record = {key: kept[key] for key in kept}
    is_whole = "size" in record and path.is_file() and record["size"] == path.stat().st_size
    return {"path": path, **record} if is_whole else None

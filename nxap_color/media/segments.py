"""What is finished of a long job, kept beside the film to be written until all is done."""

import hashlib
import json
import os
import shutil

import numpy as np

from nxap_color.errors import FilmError
from nxap_color.media.atomic import lock

# Ten seconds or so: what a stop costs at most. A multiple of the network's batches, so that a job that
# was stopped sees the same batches as one that was not, and gives the same frames.
SEGMENT_FRAMES = 240


class SegmentStore:
    """The finished segments of one film, in a hidden folder beside it.

    Args:
        target: `Path` of the film to be written.
        settings: dict of what decides the result, fit for JSON. Segments made with other settings are
            thrown away.

    Raises:
        FilmError: if the folder cannot be made, or another run is using it.

    Attributes:
        folder: where the segments lie.
        segments: list of dicts, for each finished segment its "path", the number of its "frames", the
            "time" of the first, and the numbers of "broken" ones.
        memory: what `SteadyColour.previous` was after the last of them, or None.
    """

    def __init__(self, target, settings):
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
        """Throws segments away unless they were made with these settings."""
        path = self.folder / "settings.json"
        text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            for old in self.folder.iterdir():
                if old.name != "lock":
                    old.unlink()
            path.write_text(text, encoding="utf-8")

    @property
    def next_path(self):
        """Where the next segment belongs."""
        return self.folder / f"{len(self.segments):05d}.nut"

    @property
    def frames(self):
        """How many frames are finished."""
        return sum(int(segment["frames"]) for segment in self.segments)

    def finish(self, **record):
        """Notes that the segment at `next_path` is complete.

        Args:
            **record: what `segments` says of it, but for its path; and the "lightness" and "ab" of `memory`.
        """
        path = self.next_path
        unfinished = path.with_suffix(".part")
        try:
            # The segment reaches the disk before the word that it is complete, even in a power cut.
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

    def close(self):
        """Lets others use the folder."""
        self.lock.close()

    def _append(self, record):
        self.memory = record.pop("lightness"), record.pop("ab")
        self.segments.append(record)

    def remove(self):
        """Throws everything away."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _read(path):
    """The record of a segment, a dict; None if it is missing, or was not written to its end."""
    try:
        with np.load(path.with_suffix(".npz")) as kept:
            record = {"path": path, **{key: kept[key] for key in kept}}
        return record if record["size"] == path.stat().st_size else None
    except Exception:  # NumPy raises almost anything on damaged files
        return None

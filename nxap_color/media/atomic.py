"""Write files atomically, make folders, and lock files against a second run."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from nxap_color.errors import UserError


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Write a file atomically: what is written to another name replaces `path` at the end, or is removed.

    Args:
        path: may exist, in a folder that does.

    Yields:
        `Path` of a hidden file beside it, with the same suffix.

    Raises:
        OSError: if the file cannot take its place.
    """
    # A short name of its own, since that of the file may be as long as the system allows.
    unfinished = path.with_name(f".nxap-{uuid.uuid4().hex}{path.suffix}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        # Runs on KeyboardInterrupt too; after a success there is nothing left to remove.
        with contextlib.suppress(OSError):
            unfinished.unlink()


def make_folder(folder: Path) -> None:
    """Make a folder, and those it lies in, where they are missing; UserError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"The folder {folder} cannot be made: {error.strerror}.") from error


def lock(path: Path) -> BinaryIO:
    """Lock a file for as long as it stays open, or the process lives.

    Args:
        path: an empty file, made if need be.

    Returns:
        The open file.

    Raises:
        BlockingIOError: if it is locked already.
        OSError: if it cannot be made.
    """
    file = path.open("ab")
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:  # the latter on Windows
        file.close()
        raise BlockingIOError from error
    except OSError:  # some network file systems know no locks
        pass
    return file

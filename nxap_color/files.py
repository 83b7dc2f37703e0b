"""Files that are written whole or not at all."""

import contextlib
import uuid


@contextlib.contextmanager
def written_whole(path):
    """Gives a name to write to, which takes the place of `path` if all goes well, and is gone if not.

    Args:
        path: `Path` that may exist, in a folder that does.

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

"""Guard calls of other packages' decoders and encoders: what they raise, and what they print.

Only such calls belong inside `codec_errors`. Errors of our own code around them are bugs and must surface.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator

import cv2
from PIL import Image, UnidentifiedImageError

from nxap_color.errors import CodecError

_OPENCV_LOG = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging  # OpenCV 5 moved it
_TIFFFILE_LOG = logging.getLogger("tifffile")
_SILENT = 0  # OpenCV's level

_lock = threading.Lock()
_callers = 0  # threads inside `quiet_codecs`
_levels = (0, False)  # what was set before the first of them


@contextlib.contextmanager
def codec_errors() -> Iterator[None]:
    """Turn whatever a decoder or encoder raises into `CodecError`.

    On damaged data Pillow, tifffile and OpenCV raise almost any type, `TypeError` and `IndexError` included.

    Raises:
        CodecError: for any error but the following, with its text in one line.
        MemoryError, PIL.UnidentifiedImageError, PIL.Image.DecompressionBombError: as they are.
    """
    try:
        yield
    except (MemoryError, CodecError, UnidentifiedImageError, Image.DecompressionBombError):
        raise
    except Exception as error:
        raise CodecError(one_line(error)) from error


@contextlib.contextmanager
def quiet_codecs() -> Iterator[None]:
    """Silence the logs of OpenCV and tifffile while any thread is inside, and restore them afterwards.

    What is wrong with a file is in the error, or does not matter.
    """
    global _callers, _levels
    with _lock:
        if not _callers:
            _levels = _OPENCV_LOG.getLogLevel(), _TIFFFILE_LOG.disabled
            _OPENCV_LOG.setLogLevel(_SILENT)
            _TIFFFILE_LOG.disabled = True
        _callers += 1
    try:
        yield
    finally:
        with _lock:
            _callers -= 1
            if not _callers:
                _OPENCV_LOG.setLogLevel(_levels[0])
                _TIFFFILE_LOG.disabled = _levels[1]


def one_line(error: BaseException) -> str:
    """Return the text of an error as one line without a full stop, at most 200 characters long."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:200].rstrip(".")

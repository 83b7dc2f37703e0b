"""Other packages' decoders: one kind of error, nothing printed, and the logs of the host stay as set."""

import io
import logging
import re
import subprocess
import sys
import threading

import pytest
from PIL import Image, UnidentifiedImageError

from nxap_color.errors import CodecError
from nxap_color.media.guard import codec_errors, quiet_codecs

# Reads damaged TIFFs of 16 bits, of which tifffile and OpenCV complain to their logs.
READ_DAMAGED = """
import io, logging
import cv2
import numpy as np
log = cv2 if hasattr(cv2, "getLogLevel") else cv2.utils.logging
before = log.getLogLevel(), logging.getLogger("tifffile").level, logging.getLogger("tifffile").disabled
from nxap_color.errors import PhotoError
from nxap_color.media.photos import read_photo

def levels():
    return log.getLogLevel(), logging.getLogger("tifffile").level, logging.getLogger("tifffile").disabled

assert levels() == before
pixels = np.random.default_rng(7).integers(0, 65536, (64, 64, 3), dtype=np.uint16)
whole = cv2.imencode(".tiff", pixels, (cv2.IMWRITE_TIFF_COMPRESSION, 5))[1].tobytes()
assert read_photo(io.BytesIO(whole)).rgb.dtype == np.uint16
for damaged in (whole[:8] + bytes(200) + whole[208:], whole[:-40], whole[: len(whole) // 2]):
    try:
        read_photo(io.BytesIO(damaged))
    except PhotoError as error:
        assert "\\n" not in str(error)
    else:
        raise AssertionError("it was read")
assert levels() == before
"""


def test_damaged_photos_print_nothing_and_leave_the_logs_of_the_host_as_they_were(project):
    command = [sys.executable, "-W", "ignore", "-c", READ_DAMAGED]  # Pillow warns as Python does
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    # All but what Pillow's libtiff writes past Python.
    lines = [line for line in done.stderr.splitlines() if not line.startswith("tempfile.tif: ")]
    assert not lines and not done.stdout


def test_what_a_decoder_raises_is_one_line_without_a_full_stop():
    with pytest.raises(CodecError, match=r"^one line and another$"), codec_errors():
        raise TypeError("one line\nand another.")
    with pytest.raises(CodecError, match=r"^No space left on device$"), codec_errors():
        raise OSError(28, "No space left on device")
    with pytest.raises(CodecError, match=r"^EOFError$"), codec_errors():
        raise EOFError


@pytest.mark.parametrize(
    "kind", [MemoryError, KeyboardInterrupt, UnidentifiedImageError, Image.DecompressionBombError]
)
def test_what_is_no_damage_goes_on_as_it_is(kind):
    with pytest.raises(kind), codec_errors():
        raise kind


def test_silence_lasts_until_the_last_thread_is_done(capfd):
    logger = logging.getLogger("tifffile")
    inside, leave = threading.Event(), threading.Event()

    def decode():
        with quiet_codecs():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=decode)
    thread.start()
    assert inside.wait(10)
    with quiet_codecs():
        pass
    logger.error("not to be seen")
    leave.set()
    thread.join()
    logger.error("to be seen")
    err = capfd.readouterr().err
    assert not re.search("not to be seen", err) and not logger.disabled


def test_a_stream_that_runs_out_of_memory_is_not_blamed_on_the_photo():
    from nxap_color.media.photos import read_photo

    class Stream(io.BytesIO):
        def read(self, size=-1):
            raise MemoryError

    with pytest.raises(MemoryError):
        read_photo(Stream(b"\x89PNG\r\n\x1a\n"))

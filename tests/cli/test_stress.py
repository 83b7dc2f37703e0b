"""Two thousand photos in one run of the command line: all accounted for, and its memory stays flat."""

import io
import itertools
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

PHOTOS = 2000
BROKEN = 100
EVERY = PHOTOS // BROKEN
MAX_GROWTH = 30  # MB


def encoded(image, format, **options):
    stream = io.BytesIO()
    # A copy, since a JPEG leaves traces in its image that harm the next file.
    image.copy().save(stream, format, **options)
    return stream.getvalue()


def tiff16(gray):
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.dstack([np.uint16(gray) * 257] * 3), photometric="rgb")
    return stream.getvalue()


def _to_middle(value):
    """Takes away black and white, whose colours are out of gamut and take most of the time to change."""
    return 96 + value // 4


def some_photos(project):
    """A few dozen valid files of several formats and sizes, a list of (suffix, size, bytes)."""
    photos = []
    for index, path in enumerate(sorted((project / "data" / "photos").rglob("*.jpg"))[:6]):
        size = (48 + 2 * index, 36 + index)
        with Image.open(path) as photo:
            gray = photo.convert("L").resize(size).point(_to_middle)
        faded = gray.copy()
        faded.putalpha(gray)
        files = {
            ".jpg": encoded(gray, "JPEG"),
            ".jpeg": encoded(gray.convert("RGB"), "JPEG", progressive=True, dpi=(300, 300)),
            ".png": encoded(gray, "PNG"),
            ".PNG": encoded(faded, "PNG"),
            ".tif": tiff16(gray),
            ".tiff": encoded(gray, "TIFF", compression="tiff_lzw"),
            ".webp": encoded(gray, "WEBP"),
            ".bmp": encoded(gray, "BMP"),
        }
        photos += [(suffix, size, data) for suffix, data in files.items()]
    return photos


def broken(data, way):
    """Breaks the bytes of a photo in one of four ways."""
    noise = np.random.default_rng(way).bytes(len(data))
    return (data[: len(data) // 2], b"", b"This is no photo, but the list of them.\n" * 20, noise)[way % 4]


@pytest.fixture
def archive(tmp_path, project):
    """A folder of nested folders with photos, the sizes of the valid ones by path, and the broken paths."""
    folder, sizes, failing = tmp_path / "archive", {}, []
    photos = itertools.cycle(some_photos(project))
    for number, (suffix, size, data) in zip(range(PHOTOS), photos, strict=False):
        path = folder / f"box {number % 9}" / f"album {number % 5}" / f"{number:04}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        group, member = divmod(number, EVERY)
        if member == group % EVERY:  # not always the same one, which would be of one format
            data = broken(data, group // 8)
            failing.append(path)
        else:
            sizes[path] = size
        path.write_bytes(data)
    return folder, sizes, failing


def resident_memory(process):
    """MB of memory that a running process has, None if it has just ended."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return None
    kilobytes = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(kilobytes[1]) / 1024 if kilobytes else None


def files_below(folder):
    return {path for path in folder.rglob("*") if path.is_file()}


def follow(process, results):
    """Looks at a process until it ends: a list of (number of results, MB of resident memory)."""
    seen = []
    while process.poll() is None:
        count, memory = sum(1 for _ in results.rglob("*.*")), resident_memory(process)
        if memory is not None:
            seen.append((count, memory))
        time.sleep(0.2)
    return seen


def colour(folder, model_file, project):
    """Runs the command line: its exit status, standard output and error, and memory as from `follow`."""
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-m", "nxap_color.predict", folder, "--model", model_file]
    paths = folder.with_name("stdout.txt"), folder.with_name("stderr.txt")
    with paths[0].open("w") as out, paths[1].open("w") as err:
        process = subprocess.Popen(command, cwd=project, env=environment, stdout=out, stderr=err)
        try:
            seen = follow(process, folder.with_name(f"{folder.name}_color"))
        finally:
            process.kill()
            process.wait()
    return process.returncode, *(path.read_text() for path in paths), seen


def check_results(folder, sizes):
    """The same tree, no other file in it, and all of the right size."""
    results = folder.with_name(f"{folder.name}_color")
    expected = {results / path.relative_to(folder): size for path, size in sizes.items()}
    assert files_below(results) == set(expected)
    for path, size in expected.items():
        with Image.open(path) as picture:
            assert picture.size == size, path


def check_errors(lines, failing):
    """One line for each broken file, with a reason, and none besides."""
    named = [re.fullmatch(r"error: (.+?\.\w+): (\S.+)", line) for line in lines]
    assert all(named), [line for line, match in zip(lines, named, strict=True) if not match]
    assert sorted(match[1] for match in named) == sorted(map(str, failing))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_two_thousand_photos_some_of_them_broken(archive, quick_model_file, project):
    folder, sizes, failing = archive
    assert len(failing) == BROKEN
    status, out, err, seen = colour(folder, quick_model_file, project)
    assert "Traceback" not in out + err
    assert status == 1, err
    check_errors(err.splitlines(), failing)
    assert out.splitlines()[-1].startswith(f"wrote {PHOTOS - BROKEN} of {PHOTOS} files, ")
    check_results(folder, sizes)
    early = max(memory for count, memory in seen if 150 <= count <= 300)
    late = max(memory for count, memory in seen if count >= PHOTOS - BROKEN - 150)
    print(f"resident memory after 150 to 300 photos {early:.0f} MB, at the end {late:.0f} MB")
    assert late - early < MAX_GROWTH

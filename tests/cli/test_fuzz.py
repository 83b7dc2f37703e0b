"""Thousands of damaged photos, animations and films: each gives a picture or a clean error, no crash or hang.

Mutant number n of a seed is always the same; `pytest tests/cli/test_fuzz.py --mutants 30000 --fuzz-seed 1`
tries more of them, and others.
"""

import collections
import faulthandler
import functools
import io
import itertools
import multiprocessing
import os
import random
import re
import tempfile
import traceback
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import tifffile
from films import ffmpeg, pattern
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from nxap_color.cli.batch import colorize_files
from nxap_color.cli.jobs import plan
from nxap_color.errors import UserError
from nxap_color.media import photos
from nxap_color.media.films import probe
from nxap_color.media.kinds import is_film

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "photos" / "test" / "cat.jpg"
STATUS = Path("/proc/self/status")
WORKERS = 2
SECONDS_TO_START, SECONDS_FOR_ONE = 180, 20
MAX_GROWTH = 400  # MB
MAX_RESTARTS = 4  # of one worker; what breaks more often need not be broken further
# Of every kind of file, at least this share of the mutants is a picture, and as much an error.
MIN_SHARE = 0.15
NEAR = 32  # bytes at the beginning of a part that are damaged more often than the rest
EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
# Where the parts of a file begin, for `parts`.
PARTS = {
    "jpeg": rb"(?=\xff[\xc0-\xc4\xd8-\xef\xfe])",
    "png": rb"(?s)(?=.{4}(?:IHDR|PLTE|tRNS|iCCP|pHYs|eXIf|tEXt|zTXt|iTXt|acTL|fcTL|IDAT|fdAT|IEND))",
    "webp": rb"(?=VP8[ LX]|ALPH|ANIM|ANMF|EXIF|ICCP|XMP )",
    "gif": rb"(?=\x21[\xf9\xfe\xff]|\x2c)",
}
PARTS["apng"] = PARTS["png"]
PARTS["film"] = (
    rb"(?s)(?=.{4}(?:ftyp|moov|mvhd|trak|tkhd|mdhd|hdlr|stsd|avcC|stts|stsc|stsz|stco|mdat)"  # MP4
    rb"|\x1a\x45\xdf\xa3|\x18\x53\x80\x67|\x16\x54\xae\x6b|\x1f\x43\xb6\x75"  # Matroska, WebM
    rb"|RIFF|LIST|avih|strh|strf|00dc|idx1)"  # AVI
)
FILMS = {
    "film-h264.mp4": ("-c:v", "libx264", "-pix_fmt", "yuv420p"),
    "film-h264.mkv": ("-c:v", "libx264", "-pix_fmt", "yuv420p"),
    "film-vp9.webm": ("-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p"),
    "film-mpeg4.avi": ("-c:v", "mpeg4", "-g", "4"),
}
FILM_EVERY = 50  # mutants: a film takes as long as a hundred photos


def saved(image, format, **options):
    stream = io.BytesIO()
    # A copy, since a JPEG leaves traces in its image that harm the next file.
    image.copy().save(stream, format, **options)
    return stream.getvalue()


def tiff_of(pixels, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, metadata=None, software=False, **options)
    return stream.getvalue()


def exif_of(orientation):
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "a cat", orientation
    return exif.tobytes()


def profile():
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return icc[:24] + bytes(12) + icc[36:]  # without the time at which it was made


@functools.cache
def samples():
    """Valid files, dict from a name to bytes; names begin with the kind of file."""
    with Image.open(SAMPLE) as photo:
        rgb = photo.convert("RGB").resize((40, 30))
    gray, alpha = rgb.convert("L"), Image.linear_gradient("L").resize(rgb.size)
    rgba = rgb.copy()
    rgba.putalpha(alpha)
    belongings = {"exif": exif_of(6), "icc_profile": profile(), "dpi": (300, 300)}
    return {
        **jpegs(rgb, gray, belongings),
        **pngs(rgba, gray, belongings),
        **tiffs(rgb, gray),
        **webps(rgba),
        **apngs(rgba, gray, belongings),
        "bmp-rgb.bmp": saved(rgb, "BMP"),
        "bmp-gray.bmp": saved(gray, "BMP"),
        "bmp-bits.bmp": saved(gray.convert("1"), "BMP"),
        **gifs(rgba),
    }


@functools.cache
def film_samples():
    """The same of short films."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, options in FILMS.items():
            path = Path(folder) / name
            ffmpeg(*pattern(0.4, "48x32"), *options, "-threads", "1", "-bitexact", path)
            found[name] = path.read_bytes()
    return found


def samples_of(kind):
    """Those that a mutant of this kind may be spliced from."""
    return film_samples() if kind == "film" else samples()


def name_of(number):
    """The sample that a mutant comes from."""
    if number % FILM_EVERY == FILM_EVERY - 1:
        return list(FILMS)[number // FILM_EVERY % len(FILMS)]
    return list(samples())[number % len(samples())]


def jpegs(rgb, gray, belongings):
    return {
        "jpeg-gray.jpg": saved(gray, "JPEG"),
        "jpeg-rgb.jpg": saved(rgb, "JPEG"),
        "jpeg-progressive.jpg": saved(rgb, "JPEG", progressive=True),
        "jpeg-cmyk.jpg": saved(rgb.convert("CMYK"), "JPEG"),
        "jpeg-turned.jpg": saved(rgb, "JPEG", exif=exif_of(6), comment="a cat"),
        "jpeg-belongings.jpg": saved(rgb, "JPEG", **belongings),
    }


def texts():
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Title", "a cat")
    chunks.add_text("Comment", "a cat " * 20, zip=True)
    chunks.add_itxt("Author", "nobody")
    return chunks


def pngs(rgba, gray, belongings):
    rgb, alpha = rgba.convert("RGB"), rgba.getchannel("A")
    holes = {"transparency": bytes(range(0, 256, 16)), "dpi": (300, 300)}
    return {
        "png-bits.png": saved(gray.convert("1"), "PNG", dpi=(300, 300)),
        "png-gray.png": saved(gray, "PNG", pnginfo=texts()),
        "png-palette.png": saved(rgb.quantize(16), "PNG", **holes),
        "png-gray-alpha.png": saved(Image.merge("LA", (gray, alpha)), "PNG", pnginfo=texts()),
        "png-rgb.png": saved(rgb, "PNG", exif=exif_of(6)),
        "png-rgba.png": saved(rgba, "PNG", pnginfo=texts()),
        "png-gray16.png": saved(Image.fromarray(deep(gray)), "PNG", pnginfo=texts()),
        "png-rgb16.png": cv2.imencode(".png", deep(rgb)[..., ::-1])[1].tobytes(),
        "png-belongings.png": saved(gray, "PNG", pnginfo=texts(), **belongings),
    }


def deep(image):
    """uint16 array of a Pillow image."""
    return np.asarray(image).astype("uint16") * 257


def tiffs(rgb, gray):
    pages = {"save_all": True, "append_images": [gray, rgb.quantize(16)]}
    return {
        "tiff-rgb.tif": saved(rgb, "TIFF"),
        "tiff-rgb16.tif": tiff_of(deep(rgb), photometric="rgb"),
        "tiff-float.tif": tiff_of(deep(gray).astype("float32") / 65535),
        "tiff-gray16.tif": saved(Image.fromarray(deep(gray)), "TIFF"),
        "tiff-lzw.tif": saved(rgb, "TIFF", compression="tiff_lzw"),
        "tiff-deflate.tif": saved(rgb, "TIFF", compression="tiff_adobe_deflate", exif=exif_of(6)),
        "tiff-pages.tif": saved(rgb, "TIFF", **pages),
    }


def animated(frames, format, **options):
    return saved(frames[0], format, save_all=True, append_images=frames[1:], duration=80, **options)


def turning(image):
    """Two frames, smaller than the image."""
    small = image.resize((24, 18))
    return [small, small.rotate(40)]


def webps(rgba):
    rgb = rgba.convert("RGB")
    return {
        "webp-lossy.webp": saved(rgb, "WEBP"),
        "webp-lossless.webp": saved(rgb, "WEBP", lossless=True, exif=exif_of(6)),
        "webp-alpha.webp": saved(rgba, "WEBP"),
        "webp-animated.webp": animated(turning(rgb), "WEBP", exif=exif_of(1)),
    }


def apngs(rgba, gray, belongings):
    return {
        "apng-rgb.png": animated(turning(rgba.convert("RGB")), "PNG", pnginfo=texts()),
        "apng-gray.png": animated([gray, gray.rotate(90)], "PNG", **belongings),
    }


def gifs(rgba):
    return {
        "gif-animated.gif": animated(turning(rgba.convert("RGB")), "GIF", loop=0),
        "gif-holes.gif": animated(turning(rgba), "GIF", disposal=2),
    }


def kind_of(name):
    return name.split("-")[0]


def mutant(seed, number):
    """Makes a damaged file: the name of the sample that it comes from, and its bytes, at least one."""
    chance = random.Random(f"{seed} {number}")
    name = name_of(number)
    kind = kind_of(name)
    data = whole = samples_of(kind)[name]
    while data == whole:
        for _ in range(chance.choice((1, 1, 1, 2))):
            data = chance.choice(MUTATIONS)(chance, kind, data) or data
        if chance.random() < 0.7:
            data = mend(kind, data)
    return name, data


def parts(kind, data):
    """Cuts the bytes of a file, damaged or not, into the parts of which it consists: a list, none empty."""
    if kind in PARTS:
        return [part for part in re.split(PARTS[kind], data) if part]
    cuts = (14, 18, 22, 26, 30, 54)  # of a BMP
    if kind == "tiff":
        first, count = int.from_bytes(data[4:8], "little"), 12
        cuts = (8, *(first + 2 + 12 * entry for entry in range(count + 1)))
    cuts = [0, *(cut for cut in cuts if cut < len(data)), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(cuts)]


def part_start(chance, kind, data):
    """Where a part of the file begins; the small ones are as likely as the one with all the pixels."""
    sizes = [len(part) for part in parts(kind, data)]
    return sum(sizes[: chance.randrange(len(sizes))])


def place(chance, kind, data):
    """A position to damage, mostly near the beginning of a part: there it says what and how long it is."""
    if chance.random() < 0.3:
        return chance.randrange(len(data))
    start = part_start(chance, kind, data)
    return min(start + chance.randrange(NEAR), len(data) - 1)


def flip_bits(chance, kind, data):
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        damaged[place(chance, kind, data)] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def overwrite_bytes(chance, kind, data):
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        damaged[place(chance, kind, data)] = chance.choice((0, 0x7F, 0x80, 0xFF))
    return bytes(damaged)


def overwrite_word(chance, kind, data):
    """As if a size, a length or an offset were extreme."""
    size, start = chance.choice((2, 4)), place(chance, kind, data)
    word = (chance.choice(EXTREMES) % 256**size).to_bytes(size, chance.choice(("little", "big")))
    return data[:start] + word + data[start + size :]


def truncate(chance, kind, data):
    return data[: chance.randrange(len(data))]


def delete_part(chance, kind, data):
    pieces = parts(kind, data)
    del pieces[chance.randrange(len(pieces))]
    return b"".join(pieces)


def repeat_part(chance, kind, data):
    pieces = parts(kind, data)
    piece = chance.choice(pieces)
    pieces.insert(chance.randrange(len(pieces) + 1), piece)
    return b"".join(pieces)


def splice(chance, kind, data):
    """The beginning of the file, then the end of another one, half the time of the same kind."""
    others = samples_of(kind)
    of_its_kind = [name for name in others if kind_of(name) == kind]
    other = others[chance.choice(of_its_kind if chance.random() < 0.5 else list(others))]
    return data[: chance.randrange(len(data))] + other[chance.randrange(len(other)) :]


TO_BYTES = (flip_bits, overwrite_bytes, overwrite_word)
MUTATIONS = (*TO_BYTES, *TO_BYTES, truncate, delete_part, repeat_part, splice)


def mend(kind, data):
    """Sets checksums and lengths right, so that the damage gets past the first check of a reader."""
    if kind in ("png", "apng"):
        pieces = parts(kind, data)
        return b"".join(_chunk(piece) if len(piece) >= 12 else piece for piece in pieces)
    if kind == "webp":
        return data[:4] + max(0, len(data) - 8).to_bytes(4, "little") + data[8:]
    return data


def _chunk(piece):
    content = piece[4:-4]
    return (len(content) - 4).to_bytes(4, "big") + content + zlib.crc32(content).to_bytes(4, "big")


class Outcome(NamedTuple):
    """What became of a mutant.

    Attributes:
        number: int.
        result: "picture", "error" (a clean one) or "fault".
        detail: text of the error, or what is wrong.
        growth: MB that the worker's memory has grown by at most since before its first mutant.
        checksum: of the mutant.
    """

    number: int
    result: str
    detail: str = ""
    growth: float = 0.0
    checksum: int = 0


def work(connection, folder, model_file, seed, numbers):
    """What a process of its own does: it colours mutants one after the other and sends an `Outcome` for each.

    What its libraries print goes to log.txt in the folder; where it crashed or hung, to trace.txt.
    """
    (folder / "mutants").mkdir(parents=True)
    with (folder / "log.txt").open("w") as log:
        os.dup2(log.fileno(), 2)
    os.environ["OMP_NUM_THREADS"] = "1"  # the workers share the cores, the pictures are small
    from nxap_color.colorizer import Colorizer

    # What is out of gamut takes most of the time, and other tests look at it: without colour nothing is.
    colorizer = Colorizer.load(model_file, vividness=0.0)
    colorizer.network_size = 32
    # Large pictures take long, which is no fault: here the limit is far lower than usual.
    photos.MAX_PIXELS = Image.MAX_IMAGE_PIXELS = 2**18
    before = peak_memory()
    connection.send("started")
    with (folder / "trace.txt").open("w") as trace:
        faulthandler.enable(trace)
        for number in numbers:
            faulthandler.dump_traceback_later(0.8 * SECONDS_FOR_ONE, file=trace)
            name, data = mutant(seed, number)
            path = folder / "mutants" / f"{number}-{name}"
            result, detail = colour_one(colorizer, path, data)
            connection.send(Outcome(number, result, detail, peak_memory() - before, zlib.crc32(data)))
        faulthandler.cancel_dump_traceback_later()
        faulthandler.disable()


def peak_memory():
    """MB of resident memory that this process has had at most."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())[1]) / 1024


def colour_one(colorizer, path, data):
    """Colours a file as the command line does.

    Args:
        colorizer: `Colorizer`.
        path: `Path` to write the file to, in a folder with nothing else; nothing is left there.
        data: its bytes.

    Returns:
        As in `Outcome`: the result and its detail.
    """
    path.write_bytes(data)
    (job,), _ = plan([path])
    ((_, outcome),) = colorize_files(colorizer, [job])
    if not isinstance(outcome, Exception):
        result, detail, fault = "picture", "", wrong_result(job)
    elif isinstance(outcome, UserError):
        result, detail, fault = "error", str(outcome), wrong_error(job, outcome)
    else:
        fault = "".join(traceback.format_exception(outcome))
    found = {entry.name for entry in path.parent.iterdir()}
    if not fault and (stray := found - {job.source.name, job.target.name}):
        fault = f"there are other files: {stray}"
    for name in found:
        path.with_name(name).unlink()
    return ("fault", fault) if fault else (result, detail)


def wrong_error(job, error):
    """Says what is wrong after a clean error, "" if nothing is."""
    if job.target.exists() and f"{job.target} holds what there is" not in str(error):
        return f"there is a result, in spite of the error: {error}"
    return "" if len(str(error).splitlines()) == 1 else f"the error is not one line: {str(error)!r}"


def wrong_result(job):
    """Says what is wrong with the picture that a `Job` made, "" if nothing is."""
    if not job.target.exists():
        return "there is no result, and no error"
    if is_film(job.target):
        sizes = [(film.width, film.height) for film in (probe(job.source), probe(job.target))]
        return "" if sizes[0] == sizes[1] else f"the result has the size {sizes[1]}, the film {sizes[0]}"
    try:
        with Image.open(job.target) as picture:
            picture.load()
            size = picture.size
    except Exception as error:
        return f"the result cannot be opened: {error}"
    expected = upright_size(job.source)
    return "" if size == expected else f"the result has the size {size}, the file {expected}"


def upright_size(path):
    """The size that a file declares, turned as its EXIF says; None if nobody knows it."""
    with suppress(Exception), Image.open(path) as picture:
        with suppress(Exception):  # some of the damage concerns the pixels only
            ImageOps.exif_transpose(picture, in_place=True)
        return picture.size
    with suppress(Exception), tifffile.TiffFile(path) as tiff:  # which knows some that Pillow does not
        page = tiff.pages[0]
        size, orientation = (page.imagewidth, page.imagelength), page.tags.valueof("Orientation")
        return size[::-1] if orientation in (5, 6, 7, 8) else size
    return None


def watch(folder, model_file, seed, numbers):
    """Has mutants coloured in another process, in a new one if it dies, hangs, or takes too much memory.

    Args:
        folder: `Path` of a folder, for this alone; it need not exist.
        model_file: `Path` of a model.
        seed: int, of the mutants.
        numbers: range, which ones.

    Returns:
        List of `Outcome`s, fewer than `numbers` if there were too many restarts.
    """
    outcomes = []
    for start in range(1 + MAX_RESTARTS):
        outcomes += _watch_one_process(folder / f"start{start}", model_file, seed, numbers[len(outcomes) :])
        if len(outcomes) == len(numbers):
            break
    return outcomes


def _watch_one_process(folder, model_file, seed, numbers):
    context = multiprocessing.get_context("spawn")
    connection, for_worker = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(for_worker, folder, model_file, seed, numbers))
    process.start()
    for_worker.close()  # so that the death of the worker, who has the other one, is the end of the pipe
    outcomes = []
    try:
        assert connection.poll(SECONDS_TO_START) and connection.recv(), f"no start, see {folder}"
        for number in numbers:
            outcomes.append(_next_outcome(connection, process, number))
            if outcomes[-1].growth > MAX_GROWTH:
                break
    except _WorkerIsGone as gone:
        number, reason = gone.args
        place = (folder / "trace.txt").read_text(errors="replace")[:4000]
        outcomes.append(Outcome(number, "fault", f"{reason}\n{place}"))
    finally:
        process.kill()
        process.join()
        connection.close()
    return outcomes


class _WorkerIsGone(Exception):
    """The worker died or hangs; the arguments are the number of its last mutant, and what happened."""


def _next_outcome(connection, process, number):
    if not connection.poll(SECONDS_FOR_ONE):
        raise _WorkerIsGone(number, f"no answer within {SECONDS_FOR_ONE} s")
    try:
        outcome = connection.recv()
    except EOFError:
        process.join()
        raise _WorkerIsGone(number, f"the worker died, exit status {process.exitcode}") from None
    if outcome.growth > MAX_GROWTH:
        detail = f"memory grew by {outcome.growth:.0f} MB; {outcome.result} {outcome.detail}"
        return outcome._replace(result="fault", detail=detail)
    return outcome


def watch_all(folder, model_file, seed, count):
    """Has the first `count` mutants coloured by several workers: their `Outcome`s, sorted."""
    with ThreadPoolExecutor(WORKERS) as pool:
        watched = [
            pool.submit(watch, folder / f"worker{first}", model_file, seed, range(first, count, WORKERS))
            for first in range(WORKERS)
        ]
    return sorted(itertools.chain.from_iterable(one.result() for one in watched))


def counts_by_kind(outcomes):
    """dict from a kind of file to a `Counter` of the results."""
    counts = {}
    for outcome in outcomes:
        kind = kind_of(name_of(outcome.number))
        counts.setdefault(kind, collections.Counter())[outcome.result] += 1
    return counts


def print_counts(counts):
    for kind, results in [*sorted(counts.items()), ("all", sum(counts.values(), collections.Counter()))]:
        print(
            f"{kind:5} {results.total():6} tried: {results['picture']:6} pictures, "
            f"{results['error']:6} clean errors, {results['fault']} faults"
        )


def keep_faults(folder, seed, outcomes):
    """Writes the mutants behind faults to files, for a look at them; returns a text for each."""
    texts = []
    for outcome in outcomes:
        if outcome.result == "fault":
            name, data = mutant(seed, outcome.number)
            path = folder / f"seed{seed}-{outcome.number}-{name}"
            path.write_bytes(data)
            texts.append(f"{path} (number {outcome.number}): {outcome.detail}")
    return texts


@pytest.fixture(scope="module")
def tiny_colorizer(tiny_model):
    from nxap_color.colorizer import Colorizer

    return Colorizer(tiny_model, network_size=32)


@pytest.mark.parametrize("name", [*samples(), *FILMS])
def test_the_samples_themselves_are_coloured(tiny_colorizer, tmp_path, name):
    assert colour_one(tiny_colorizer, tmp_path / name, samples_of(kind_of(name))[name]) == ("picture", "")


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.exists(), reason="the memory of a process is read from /proc")
def test_every_damaged_file_gives_a_picture_or_a_clean_error(tiny_model_file, tmp_path, pytestconfig):
    count, seed = pytestconfig.getoption("mutants"), pytestconfig.getoption("fuzz_seed")
    outcomes = watch_all(tmp_path, tiny_model_file, seed, count)
    counts = counts_by_kind(outcomes)
    print_counts(counts)
    print(f"memory grew by {max(outcome.growth for outcome in outcomes):.0f} MB at most")
    if faults := keep_faults(tmp_path, seed, outcomes):
        pytest.fail("\n".join([f"{len(faults)} faults of seed {seed}", *faults[:20]]))
    assert [outcome.number for outcome in outcomes] == list(range(count))
    for outcome in outcomes:  # what the workers had is what anyone gets by seed and number
        assert outcome.checksum == zlib.crc32(mutant(seed, outcome.number)[1])
    for kind, results in counts.items():
        for result in ("picture", "error"):
            share = results[result] / results.total()
            assert share >= MIN_SHARE or count < 1000, f"{share:.0%} of {kind}: {result}"

"""Read and write photos: upright sRGB pixels, their alpha and their metadata, page by page."""

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from nxap_color import images
from nxap_color.errors import CodecError, PhotoError
from nxap_color.media import photo_depth, photo_metadata
from nxap_color.media.atomic import written_whole
from nxap_color.media.guard import codec_errors, one_line
from nxap_color.media.kinds import PHOTO_SUFFIXES
from nxap_color.media.photo_integrity import check_rows

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")

# Enough for 3 GB of memory, with some room; a photo of 150 megapixels has 15,000 x 10,000.
MAX_PIXELS = 150_000_000

_LONGEST_SIDES = {"JPEG": 65_500, "WEBP": 16_383}
_DEEP_FORMATS, _ALPHA_FORMATS = ("PNG", "TIFF"), ("PNG", "TIFF", "WEBP")

Source = str | os.PathLike | BinaryIO


@dataclass
class Photo:
    """One photo: its pixels and what belongs to them.

    Attributes:
        rgb: uint8 array (H, W, 3) in 0..255, or uint16 in 0..65535 for a source of more than 8 bits; sRGB,
            upright. From `read_photo` it may be read-only.
        alpha: array (H, W) of the same type from 0, transparent, to its maximum, opaque; None without
            transparency.
        metadata: what `write_photo` writes back: see `photo_metadata.read_metadata`.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Contents:
    """How many pictures a file holds.

    Attributes:
        count: number of its pages or frames, 1 for most.
        is_animation: whether these are frames, shown one after the other.
        pixels: number of pixels of all of them together.
    """

    count: int
    is_animation: bool
    pixels: int


def read_photo(source: Source) -> Photo:
    """Read a photo upright and in sRGB; of several pages or frames the first.

    Gray of more than 8 bits becomes uint16, and so does RGB of TIFF and PNG without a profile or with an
    sRGB one. Floats and 32 bits are scaled as `photo_depth.scale_to_uint16` does. The rest becomes uint8.

    Args:
        source: path of a JPEG, PNG, TIFF, WebP, BMP or GIF, or a binary file object with one. Its contents,
            not its name, decide how it is read.

    Returns:
        `Photo`.

    Raises:
        PhotoError: if there is no such file, it is not a complete photo of these formats, or it has more
            than MAX_PIXELS.
    """
    with contextlib.closing(read_pages(source)) as pages:
        return next(pages)


def read_pages(source: Source) -> Iterator[Photo]:
    """Read the pages of a TIFF one after the other, of other photos the first picture.

    Args:
        source: as in `read_photo`.

    Yields:
        `Photo`s as from `read_photo`.

    Raises:
        PhotoError: as `read_photo`, after the pages before the damage.
    """
    with _named_errors(source), _open_stream(source) as stream:
        yield from _decode_pages(stream)


def count_pictures(source: Source) -> Contents:
    """Count the pages or frames of a photo without reading their pixels.

    Args:
        source: as in `read_photo`.

    Returns:
        `Contents`.

    Raises:
        PhotoError: as `read_photo`; also if the frames of an animation have more than MAX_PIXELS together.
    """
    with _named_errors(source), _open_stream(source) as stream:
        image, tiff = _open_image(stream)
        if image is None:
            pixels = photo_depth.page_pixels(tiff)
            return Contents(len(pixels), False, sum(pixels))
        if image.format == "TIFF":
            pixels = [image.width * image.height for _ in _seek_pages(image)]
            return Contents(len(pixels), False, sum(pixels))
        # A JPEG may come with previews, and a thumbnail is no frame.
        count = 1
        if image.format in ("GIF", "PNG", "WEBP"):
            with codec_errors():
                count = getattr(image, "n_frames", 1)
        _check_size(image.height * count, image.width)
        return Contents(count, count > 1, count * image.width * image.height)


@contextlib.contextmanager
def _named_errors(source):
    """Turn what may be wrong with a photo into `PhotoError`; any other exception is a bug and goes on."""
    try:
        yield
    except (OSError, CodecError, Image.DecompressionBombError) as error:
        raise PhotoError(_read_failure(source, error)) from error


def _open_stream(source):
    """Return a context manager with a path's file, or with a file object that stays open."""
    is_path = isinstance(source, (str, os.PathLike))
    return Path(source).open("rb") if is_path else contextlib.nullcontext(source)


def _read_failure(source, error):
    """Say in one line why a photo could not be read and what to do about it."""
    is_path = isinstance(source, (str, os.PathLike))
    name = f"The photo '{source}'" if is_path else "The photo"
    if isinstance(error, FileNotFoundError):
        return f"{name} does not exist; check the path."
    if isinstance(error, IsADirectoryError) or (is_path and Path(source).is_dir()):
        return f"{name} is a folder; give the path of a file in it."
    if isinstance(error, PermissionError):
        return f"{name} may not be opened; check its access rights."
    if isinstance(error, Image.DecompressionBombError):
        return f"{name} has more than {MAX_PIXELS // 10**6} megapixels; scale it down first."
    if isinstance(error, UnidentifiedImageError):
        return f"{name} is empty or no {', '.join(FORMATS)}; fetch it again or convert it to one of these."
    return f"{name} is damaged, incomplete or of an unknown kind ({one_line(error)}); fetch it again."


def _check_size(height, width):
    if not height * width:
        raise CodecError("it has no pixels")
    if height * width > MAX_PIXELS:
        raise Image.DecompressionBombError(f"{width} x {height} pixels")


def _open_image(stream):
    """Open a photo with Pillow and, if it is a TIFF, with tifffile; None for which does not know it."""
    tiff = photo_depth.open_tiff(stream)
    stream.seek(0)
    try:
        with codec_errors():
            image = Image.open(stream, formats=FORMATS)
    except UnidentifiedImageError:
        if tiff is None:
            raise
        return None, tiff
    _check_size(image.height, image.width)
    return image, tiff


def _seek_pages(image):
    """Go to one page of a Pillow image after the other; yield their numbers."""
    for index in itertools.count():
        with codec_errors():
            try:
                image.seek(index)
            except EOFError:
                if index == 0:
                    raise
                return
        _check_size(image.height, image.width)
        yield index


def _decode_pages(stream):
    """Decode the `Photo`s of an open file."""
    image, tiff = _open_image(stream)
    if image is None:
        for index in range(len(tiff.pages)):
            deep = photo_depth.read_tiff_page(stream, tiff, index, _check_size)
            if deep is None:
                raise UnidentifiedImageError
            yield _join_deep(*deep, photo_metadata.Profile(), {})
        return
    for index in _seek_pages(image) if tiff else [0]:
        deep = photo_depth.read_tiff_page(stream, tiff, index, _check_size) if tiff else None
        yield _decode(image, stream, deep)


def _decode(image, stream, deep):
    """Decode the page at which a Pillow image is, or take over what `read_tiff_page` has of it."""
    if deep is None:
        with codec_errors():
            image.load()
    check_rows(image, stream)
    profile, metadata = photo_metadata.find_profile(image), photo_metadata.read_metadata(image)
    orientation = photo_metadata.find_orientation(image)
    if deep is None and image.format == "PNG" and (found := photo_depth.read_png(stream)):
        deep = *found, orientation
    elif deep is None and image.mode[0] in "IF":  # the modes of more than 8 bits, all of them gray
        gray = np.asarray(image)[..., None]
        alpha = _find_key(gray, image.info.get("transparency"))
        deep = photo_depth.scale_to_uint16(gray), alpha, orientation
    if deep is not None and (deep[0].shape[2] == 1 or profile.transform is None):
        return _join_deep(*deep, profile, metadata)
    image, alpha = _split_alpha(image)
    if image.mode in ("1", "L") and profile.transform is None:
        rgb = _repeat(np.asarray(image.convert("L")))
    else:
        rgb = np.asarray(photo_metadata.convert_to_srgb(image, profile))
    return _upright(Photo(rgb, alpha, metadata), orientation)


def _join_deep(pixels, alpha, orientation, profile, metadata):
    """Join uint16 pixels (H, W, 1 or 3) and what belongs to them to a `Photo`."""
    if pixels.shape[2] == 1:
        pixels = _repeat(photo_metadata.convert_gray16_to_srgb(pixels[..., 0], profile))
    return _upright(Photo(pixels, alpha, metadata), orientation)


def _upright(photo, orientation):
    photo.rgb = images.turn_upright(photo.rgb, orientation)
    if photo.alpha is not None:
        photo.alpha = images.turn_upright(photo.alpha, orientation)
    return photo


def _repeat(gray):
    """Repeat gray (H, W) as (H, W, 3), without taking up more memory."""
    return np.broadcast_to(gray[..., None], (*gray.shape, 3))


def _find_key(gray, key):
    """Find the alpha (H, W) of uint16 gray (H, W, 1): transparent where it has a PNG's key; None without."""
    return None if key is None else np.where(gray[..., 0] == key, 0, 65535).astype(np.uint16)


def _split_alpha(image):
    """Split an image into one without transparency and its alpha, uint8 (H, W) or None."""
    with codec_errors():
        if not image.has_transparency_data:
            return image, None
        image = image.convert("RGBA")
        return image.convert("RGB"), np.asarray(image.getchannel("A"))


def write_photo(path: str | Path, photo: Photo, quality: int = 95) -> list[str]:
    """Write a photo atomically: the file at path is either complete or left as it was.

    Transparency and metadata that the format cannot hold are left out. 16-bit pixels stay so in PNG and in
    TIFF (where only the texts of EXIF are kept then) and are rounded to 8 bits elsewhere.

    Args:
        path: target path; its suffix, one of PHOTO_SUFFIXES, decides the format.
        photo: `Photo`.
        quality: 1..100 for JPEG and WebP; PNG, TIFF and BMP are lossless.

    Returns:
        Texts on what of the pixels the format cannot hold.

    Raises:
        PhotoError: if the suffix, the arrays, the format's limits or the folder do not allow it.
    """
    format = format_of(path)
    _check_arrays(photo)
    longest = max(photo.rgb.shape[:2])
    if longest > _LONGEST_SIDES.get(format, longest):
        raise PhotoError(
            f"The photo '{path}' cannot be written: {format} holds at most {_LONGEST_SIDES[format]} pixels "
            f"on a side, and it has {longest}; name a .png or .tif file."
        )
    with written_photo(path) as stream:
        _encode(stream, photo, format, quality)
    notes = []
    if photo.rgb.dtype == np.uint16 and format not in _DEEP_FORMATS:
        notes.append(f"{format} holds 8 of its 16 bits; name a .png or .tif file for all.")
    if photo.alpha is not None and format not in _ALPHA_FORMATS:
        notes.append(f"{format} cannot hold its transparency; name a .png, .tif or .webp file.")
    return notes


def write_pages(path: str | Path, photos: Iterable[Photo], num_pixels: int) -> None:
    """Write a TIFF of several pages atomically: the file at path is either complete or left as it was.

    Args:
        path: target path.
        photos: `Photo`s, taken one by one.
        num_pixels: as in `Contents`.

    Raises:
        PhotoError: if it is no TIFF by its suffix, or the folder does not allow it.
    """
    if format_of(path) != "TIFF":
        raise PhotoError(f"'{path}' cannot hold several pages; name a .tif file.")
    pages = ((_pixels(photo), photo_metadata.save_options(photo.metadata, "TIFF")) for photo in photos)
    with written_photo(path) as stream:
        # At most four channels of 16 bits.
        photo_depth.write_tiff(stream, pages, 8 * num_pixels)


def format_of(path: str | Path) -> str:
    """Return in which of FORMATS a photo is written to a path; PhotoError if its suffix stands for none."""
    suffix = Path(path).suffix.lower()
    if suffix not in PHOTO_SUFFIXES:
        suffixes = ", ".join(sorted(PHOTO_SUFFIXES))
        raise PhotoError(f"The photo '{path}' cannot be written: its suffix must be one of {suffixes}.")
    return Image.registered_extensions()[suffix]


@contextlib.contextmanager
def written_photo(path: str | Path) -> Iterator[BinaryIO]:
    """Open a stream whose contents replace the file at path at the end; PhotoError if that fails."""
    try:
        with written_whole(Path(path)) as unfinished, unfinished.open("wb") as stream:
            yield stream
    except (OSError, CodecError) as error:
        is_system = isinstance(error.__cause__ or error, OSError)
        hint = " Check the folder and its free space." if is_system else ""
        raise PhotoError(f"The photo '{path}' cannot be written: {one_line(error)}.{hint}") from error


def _check_arrays(photo):
    """Raise PhotoError unless the arrays are as `Photo` describes them."""
    rgb, alpha = photo.rgb, photo.alpha
    if rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size or rgb.dtype not in (np.uint8, np.uint16):
        raise PhotoError(
            f"Pixels must be (height, width, 3) of uint8 or uint16, not {rgb.shape} of {rgb.dtype}."
        )
    if alpha is not None and (alpha.shape != rgb.shape[:2] or alpha.dtype != rgb.dtype):
        raise PhotoError(f"Alpha must be {rgb.shape[:2]} of {rgb.dtype}, not {alpha.shape} of {alpha.dtype}.")


def _pixels(photo):
    """Return the pixels of a `Photo` with its alpha, if it has any, as the last channel."""
    return photo.rgb if photo.alpha is None else np.dstack((photo.rgb, photo.alpha))


def _encode(stream, photo, format, quality):
    """Write a photo to an open binary file."""
    options = photo_metadata.save_options(photo.metadata, format)
    pixels = _pixels(photo) if format in _ALPHA_FORMATS else photo.rgb
    if pixels.dtype == np.uint16 and format == "PNG":
        photo_depth.write_png(stream, pixels, options)
        return
    if pixels.dtype == np.uint16 and format == "TIFF":
        photo_depth.write_tiff(stream, [(pixels, options)], pixels.nbytes)
        return
    if format == "JPEG":
        # Chroma is what a colorization adds: it is kept in full.
        options.update(quality=quality, subsampling=0)
    elif format == "WEBP":
        options.update(quality=quality, exact=True)  # keep the colours below transparent pixels
    # TIFF stays uncompressed: Pillow's way through libtiff fails on EXIF and GPS directories.
    pixels = np.ascontiguousarray(images.to_uint8(pixels))
    save_image(Image.fromarray(pixels), stream, format, options)


def save_image(image: Image.Image, stream: BinaryIO, format: str, options: dict[str, Any]) -> None:
    """Let Pillow write an image to an open binary file, with the options of `Image.save`.

    Raises:
        CodecError: if Pillow fails, or the file cannot be written.
    """
    # Without a file descriptor: writing to one, Pillow would not notice that the disk is full half-way.
    plain = SimpleNamespace(write=stream.write, seek=stream.seek, tell=stream.tell, flush=stream.flush)
    with codec_errors():
        image.save(plain, format=format, **options)

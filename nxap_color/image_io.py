"""Reads photos: upright sRGB pixels, their alpha and their metadata, page by page."""

import contextlib
import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from nxap_color import high_depth, image_metadata
from nxap_color.files import FileError
from nxap_color.jpeg_scans import has_all_blocks
from nxap_color.png_chunks import has_all_pixels

PHOTO_SUFFIXES = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp"))
# Pictures by their names, which Pillow reads not at all, or not on every machine.
OTHER_PICTURES = frozenset(
    (".avif", ".heic", ".heif", ".jp2", ".jxl", ".pbm", ".pgm", ".ppm", ".psd", ".svg", ".tga")
    + (".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2")
)
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")

# What 3 GB of memory are enough for, with some room; a photo of 150 megapixels has 15,000 x 10,000.
MAX_PIXELS = 150_000_000


class PhotoError(FileError):
    """A photo that cannot be read or written."""


@dataclass
class Photo:
    """One photo: its pixels and what belongs to them.

    Attributes:
        rgb: uint8 array (H, W, 3) in 0..255, or uint16 in 0..65535 for a source of more than 8 bits; sRGB,
            upright. From `read_photo` it may be read-only.
        alpha: array (H, W) of the same type from 0, transparent, to its maximum, opaque; None without
            transparency.
        metadata: dict, what `image_output.write_photo` writes back: see `image_metadata.read_metadata`.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None = None
    metadata: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Contents:
    """How many pictures a file holds.

    Attributes:
        count: number of its pages or frames, 1 for most.
        is_animation: whether these are frames, shown one after the other.
        pixels: number of pixels of all of them.
    """

    count: int
    is_animation: bool
    pixels: int


def is_photo(path):
    """Tells by its name whether a path is that of a photo.

    Args:
        path: str or path object; nothing need exist there.

    Returns:
        True if the suffix, in upper or lower case, is one of PHOTO_SUFFIXES. Names that begin with a dot
        are hidden files, such as unfinished ones and macOS's `._x.jpg`, and no photos.
    """
    path = Path(path)
    return path.suffix.lower() in PHOTO_SUFFIXES and not path.name.startswith(".")


def read_photo(source):
    """Reads a photo upright and in sRGB; of several pages or frames the first.

    Gray of more than 8 bits becomes uint16, and so do RGB of TIFF and PNG without a profile or with sRGB's.
    Floats and 32 bits are scaled as `high_depth.scale_to_uint16` does. All the rest becomes uint8.

    Args:
        source: path of a JPEG, PNG, TIFF, WebP, BMP or GIF, or a binary file object with one; what the name
            says does not matter.

    Returns:
        `Photo`.

    Raises:
        PhotoError: if there is no such file, it is not a complete photo of these formats, or has more than
            MAX_PIXELS.
    """
    with contextlib.closing(read_pages(source)) as pages:
        return next(pages)


def read_pages(source):
    """Reads the pages of a TIFF one after the other, of other photos the first picture.

    Args:
        source: as in `read_photo`.

    Yields:
        `Photo`s as from `read_photo`.

    Raises:
        PhotoError: as `read_photo`; pages before the damage have been given.
    """
    with _named_errors(source), _open_stream(source) as stream:
        yield from _decode_pages(stream)


def count_pictures(source):
    """Tells how many pages or frames a photo has, without reading their pixels.

    Args:
        source: as in `read_photo`.

    Returns:
        `Contents`.

    Raises:
        PhotoError: as `read_photo`; also if the frames of an animation have more than MAX_PIXELS together.
    """
    with _named_errors(source), _open_stream(source) as stream:
        image = _open_image(stream)
        if image is None:
            pixels = [page.imagelength * page.imagewidth for page in high_depth.open_tiff(stream).pages]
            return Contents(len(pixels), False, sum(pixels))
        if image.format == "TIFF":
            pixels = [image.width * image.height for _ in _seek_pages(image)]
            return Contents(len(pixels), False, sum(pixels))
        # A JPEG may come with previews, and a thumbnail is no frame.
        count = getattr(image, "n_frames", 1) if image.format in ("GIF", "PNG", "WEBP") else 1
        _check_size(image.height * count, image.width)
        return Contents(count, count > 1, count * image.width * image.height)


def check_rows(image, stream):
    """Checks that no rows of a picture are missing, where Pillow does not.

    Args:
        image: Pillow's, loaded.
        stream: the binary file object that it comes from.

    Raises:
        ValueError: if it is a JPEG, or a PNG with all its frames, and has fewer rows than its head says.
    """
    stream.seek(0)
    is_whole = True
    if image.format == "PNG":
        is_whole = has_all_pixels(stream.read())
    elif image.format in ("JPEG", "MPO"):
        is_whole = has_all_blocks(stream.read(), image)
    if not is_whole:
        raise ValueError("it has fewer rows of pixels than its head says")


def one_line(error):
    """Shortens the text of an error to one line without a full stop."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:200].rstrip(".")


@contextlib.contextmanager
def _named_errors(source):
    """Turns what goes wrong on reading into `PhotoError`."""
    try:
        yield
    except (MemoryError, PhotoError):
        raise
    except Exception as error:  # Pillow's decoders raise almost any type on damaged data
        raise PhotoError(_read_failure(source, error)) from error


def _open_stream(source):
    """A context manager with a path's file, or a file object that stays open."""
    is_path = isinstance(source, (str, os.PathLike))
    return Path(source).open("rb") if is_path else contextlib.nullcontext(source)


def _read_failure(source, error):
    """Puts into one line why a photo could not be read and what to do about it."""
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
        raise ValueError("it has no pixels")
    if height * width > MAX_PIXELS:
        raise Image.DecompressionBombError(f"{width} x {height} pixels")


def _open_image(stream):
    """Opens a photo with Pillow; None if it is a TIFF, but not of a kind that Pillow knows."""
    try:
        stream.seek(0)
        image = Image.open(stream, formats=FORMATS)
    except UnidentifiedImageError:
        if high_depth.open_tiff(stream) is None:
            raise
        return None
    _check_size(image.height, image.width)
    return image


def _seek_pages(image):
    """Goes to one page of a Pillow image after the other; yields their numbers."""
    for index in itertools.count():
        try:
            image.seek(index)
        except EOFError:
            if index == 0:
                raise
            return
        _check_size(image.height, image.width)
        yield index


def _decode_pages(stream):
    """Turns an open file into `Photo`s."""
    image, tiff = _open_image(stream), high_depth.open_tiff(stream)
    if image is None:
        for index in range(len(tiff.pages)):
            deep = high_depth.read_tiff_page(stream, tiff, index, _check_size)
            if deep is None:
                raise UnidentifiedImageError
            yield _join_deep(*deep, image_metadata.Profile(), {})
        return
    for index in _seek_pages(image) if tiff else [0]:
        deep = high_depth.read_tiff_page(stream, tiff, index, _check_size) if tiff else None
        yield _decode(image, stream, deep)


def _decode(image, stream, deep):
    """Turns a Pillow image at one of its pages into a `Photo`, using what `read_tiff_page` has of it."""
    if deep is None:
        image.load()
    check_rows(image, stream)
    profile, metadata = image_metadata.find_profile(image), image_metadata.read_metadata(image)
    orientation = image_metadata.find_orientation(image)
    if deep is None and image.format == "PNG" and (found := high_depth.read_png(stream)):
        deep = *found, orientation
    elif deep is None and image.mode[0] in "IF":  # the modes of more than 8 bits, all of them gray
        gray = np.asarray(image)[..., None]
        alpha = _find_key(gray, image.info.get("transparency"))
        deep = high_depth.scale_to_uint16(gray), alpha, orientation
    if deep is not None and (deep[0].shape[2] == 1 or profile.transform is None):
        return _join_deep(*deep, profile, metadata)
    image, alpha = _split_alpha(image)
    if image.mode in ("1", "L") and profile.transform is None:
        rgb = _repeat(np.asarray(image.convert("L")))
    else:
        rgb = np.asarray(image_metadata.convert_to_srgb(image, profile))
    return _upright(Photo(rgb, alpha, metadata), orientation)


def _join_deep(pixels, alpha, orientation, profile, metadata):
    """uint16 pixels (H, W, 1 or 3) and what belongs to them -> `Photo`."""
    if pixels.shape[2] == 1:
        pixels = _repeat(image_metadata.convert_gray16_to_srgb(pixels[..., 0], profile))
    return _upright(Photo(pixels, alpha, metadata), orientation)


def _upright(photo, orientation):
    photo.rgb = high_depth.turn_upright(photo.rgb, orientation)
    if photo.alpha is not None:
        photo.alpha = high_depth.turn_upright(photo.alpha, orientation)
    return photo


def _repeat(gray):
    """Gray (H, W) -> (H, W, 3), without taking up more memory."""
    return np.broadcast_to(gray[..., None], (*gray.shape, 3))


def _find_key(gray, key):
    """uint16 gray (H, W, 1) -> alpha (H, W), transparent where it has the value of a PNG's key; or None."""
    return None if key is None else np.where(gray[..., 0] == key, 0, 65535).astype(np.uint16)


def _split_alpha(image):
    """Splits an image into one without transparency and its alpha, uint8 (H, W) or None."""
    if not image.has_transparency_data:
        return image, None
    image = image.convert("RGBA")
    return image.convert("RGB"), np.asarray(image.getchannel("A"))

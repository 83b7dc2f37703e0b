"""Reads photos: upright sRGB pixels, their alpha and their metadata, page by page."""

import contextlib
import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image, UnidentifiedImageError

from nxap_color import images
from nxap_color.errors import PhotoError
from nxap_color.media import photo_depth, photo_metadata
from nxap_color.media.atomic import written_whole
from nxap_color.media.photo_integrity import has_all_blocks, has_all_pixels

PHOTO_SUFFIXES = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp"))
# Pictures by their names, which Pillow reads not at all, or not on every machine.
OTHER_PICTURES = frozenset(
    (".avif", ".heic", ".heif", ".jp2", ".jxl", ".pbm", ".pgm", ".ppm", ".psd", ".svg", ".tga")
    + (".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2")
)
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")

# What 3 GB of memory are enough for, with some room; a photo of 150 megapixels has 15,000 x 10,000.
MAX_PIXELS = 150_000_000


@dataclass
class Photo:
    """One photo: its pixels and what belongs to them.

    Attributes:
        rgb: uint8 array (H, W, 3) in 0..255, or uint16 in 0..65535 for a source of more than 8 bits; sRGB,
            upright. From `read_photo` it may be read-only.
        alpha: array (H, W) of the same type from 0, transparent, to its maximum, opaque; None without
            transparency.
        metadata: dict, what `write_photo` writes back: see `photo_metadata.read_metadata`.
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
    Floats and 32 bits are scaled as `photo_depth.scale_to_uint16` does. All the rest becomes uint8.

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
            pixels = [page.imagelength * page.imagewidth for page in photo_depth.open_tiff(stream).pages]
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
        if photo_depth.open_tiff(stream) is None:
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
    image, tiff = _open_image(stream), photo_depth.open_tiff(stream)
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
    """Turns a Pillow image at one of its pages into a `Photo`, using what `read_tiff_page` has of it."""
    if deep is None:
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
    """uint16 pixels (H, W, 1 or 3) and what belongs to them -> `Photo`."""
    if pixels.shape[2] == 1:
        pixels = _repeat(photo_metadata.convert_gray16_to_srgb(pixels[..., 0], profile))
    return _upright(Photo(pixels, alpha, metadata), orientation)


def _upright(photo, orientation):
    photo.rgb = images.turn_upright(photo.rgb, orientation)
    if photo.alpha is not None:
        photo.alpha = images.turn_upright(photo.alpha, orientation)
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


_LONGEST_SIDES = {"JPEG": 65_500, "WEBP": 16_383}
_DEEP_FORMATS, _ALPHA_FORMATS = ("PNG", "TIFF"), ("PNG", "TIFF", "WEBP")


def write_photo(path, photo, quality=95):
    """Writes a photo so that the file at path is either complete or left as it was.

    Transparency and metadata that the format cannot hold are left out. 16-bit pixels stay so in PNG and in
    TIFF (whose EXIF is then limited to texts) and are rounded to 8 bits elsewhere.

    Args:
        path: target path; its suffix, one of PHOTO_SUFFIXES, chooses the format.
        photo: `Photo`.
        quality: 1..100 for JPEG and WebP; PNG, TIFF and BMP are lossless.

    Returns:
        List of texts on what of the pixels the format cannot hold.

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


def write_pages(path, photos, num_pixels):
    """Writes a TIFF of several pages, so that the file at path is either complete or left as it was.

    Args:
        path: target path.
        photos: iterable of `Photo`s, taken one by one.
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


def format_of(path):
    """Tells in which of FORMATS a photo is written to a path; PhotoError if its suffix stands for none."""
    suffix = Path(path).suffix.lower()
    if suffix not in PHOTO_SUFFIXES:
        suffixes = ", ".join(sorted(PHOTO_SUFFIXES))
        raise PhotoError(f"The photo '{path}' cannot be written: its suffix must be one of {suffixes}.")
    return Image.registered_extensions()[suffix]


@contextlib.contextmanager
def written_photo(path):
    """Gives a stream, what is written to which takes the place of path; PhotoError if that fails."""
    try:
        with written_whole(Path(path)) as unfinished, unfinished.open("wb") as stream:
            yield stream
    except PhotoError:
        raise
    except Exception as error:
        hint = " Check the folder and its free space." if isinstance(error, OSError) else ""
        raise PhotoError(f"The photo '{path}' cannot be written: {one_line(error)}.{hint}") from error


def _check_arrays(photo):
    """Raises PhotoError unless the arrays are as `Photo` describes them."""
    rgb, alpha = photo.rgb, photo.alpha
    if rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size or rgb.dtype not in (np.uint8, np.uint16):
        raise PhotoError(
            f"Pixels must be (height, width, 3) of uint8 or uint16, not {rgb.shape} of {rgb.dtype}."
        )
    if alpha is not None and (alpha.shape != rgb.shape[:2] or alpha.dtype != rgb.dtype):
        raise PhotoError(f"Alpha must be {rgb.shape[:2]} of {rgb.dtype}, not {alpha.shape} of {alpha.dtype}.")


def _pixels(photo):
    """The pixels of a `Photo` with its alpha, if it has any, as last of the channels."""
    return photo.rgb if photo.alpha is None else np.dstack((photo.rgb, photo.alpha))


def _encode(stream, photo, format, quality):
    """Writes a photo to an open binary file."""
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
        options.update(quality=quality, exact=True)  # which keeps the colours below transparent pixels
    # TIFF stays uncompressed: Pillow's way through libtiff fails on EXIF and GPS directories.
    pixels = np.ascontiguousarray(images.to_uint8(pixels))
    save_image(Image.fromarray(pixels), stream, format, options)


def save_image(image, stream, format, options):
    """Lets Pillow write an image to an open binary file, with the options of `Image.save`."""
    # Without a file descriptor, past which it would not notice that only half of its bytes found a place.
    plain = SimpleNamespace(write=stream.write, seek=stream.seek, tell=stream.tell, flush=stream.flush)
    image.save(plain, format=format, **options)

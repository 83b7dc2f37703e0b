"""Writes photos whole or not at all, with what belongs to them."""

import contextlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

from nxap_color import high_depth, image_metadata
from nxap_color.files import written_whole
from nxap_color.image_io import PHOTO_SUFFIXES, PhotoError, one_line

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
    pages = ((_pixels(photo), image_metadata.save_options(photo.metadata, "TIFF")) for photo in photos)
    with written_photo(path) as stream:
        # At most four channels of 16 bits.
        high_depth.write_tiff(stream, pages, 8 * num_pixels)


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
    options = image_metadata.save_options(photo.metadata, format)
    pixels = _pixels(photo) if format in _ALPHA_FORMATS else photo.rgb
    if pixels.dtype == np.uint16 and format == "PNG":
        high_depth.write_png(stream, pixels, options)
        return
    if pixels.dtype == np.uint16 and format == "TIFF":
        high_depth.write_tiff(stream, [(pixels, options)], pixels.nbytes)
        return
    if format == "JPEG":
        # Chroma is what a colorization adds: it is kept in full.
        options.update(quality=quality, subsampling=0)
    elif format == "WEBP":
        options.update(quality=quality, exact=True)  # which keeps the colours below transparent pixels
    # TIFF stays uncompressed: Pillow's way through libtiff fails on EXIF and GPS directories.
    pixels = np.ascontiguousarray(high_depth.to_uint8(pixels))
    save_image(Image.fromarray(pixels), stream, format, options)


def save_image(image, stream, format, options):
    """Lets Pillow write an image to an open binary file, with the options of `Image.save`."""
    # Without a file descriptor, past which it would not notice that only half of its bytes found a place.
    plain = SimpleNamespace(write=stream.write, seek=stream.seek, tell=stream.tell, flush=stream.flush)
    image.save(plain, format=format, **options)

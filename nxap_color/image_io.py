"""Reads and writes still photos: upright sRGB pixels, their alpha and their metadata."""

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tifffile
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from nxap_color import image_metadata
from nxap_color.files import written_whole

PHOTO_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp"))
_FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")


class PhotoError(ValueError):
    """A photo that cannot be read or written; its text is one line meant for the user."""


@dataclass
class Photo:
    """One photo: its pixels and what belongs to them.

    Attributes:
        rgb: uint8 array (H, W, 3) in 0..255, or uint16 in 0..65535 for a 16-bit source; sRGB, upright.
            From `read_photo` it may be read-only.
        alpha: uint8 array (H, W) from 0, transparent, to 255, opaque; None without transparency.
        metadata: dict, what `write_photo` writes back: see `image_metadata.read_metadata`.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None = None
    metadata: dict = field(default_factory=dict)


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
    """Reads a photo upright and in sRGB; of several frames the first.

    Gray of 16 bits becomes uint16, and so does an interleaved, upright, opaque RGB TIFF of 16 bits in sRGB
    if tifffile can decode it. Gray of 32 bits or floats becomes uint16 as well: scaled from 0..1, 0..255 or
    0..65535, the smallest that holds all values, else stretched from its minimum to its maximum. All the
    rest becomes uint8.

    Args:
        source: path of a JPEG, PNG, TIFF, WebP or BMP, or a binary file object with one.

    Returns:
        `Photo`.

    Raises:
        PhotoError: if there is no such file or it is not a complete photo of these formats.
    """
    try:
        with Image.open(source, formats=_FORMATS) as image:
            return _decode(image)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise almost any type on damaged data
        raise PhotoError(_read_failure(source, error)) from error


def write_photo(path, photo, quality=95):
    """Writes a photo so that the file at path is either complete or left as it was.

    Transparency and metadata that the format cannot hold are left out. 16-bit pixels stay so in a TIFF
    without transparency (whose EXIF is then limited to texts) and are rounded to 8 bits elsewhere.

    Args:
        path: target path; its suffix, one of PHOTO_SUFFIXES, chooses the format.
        photo: `Photo`.
        quality: 1..100 for JPEG and WebP; PNG, TIFF and BMP are lossless.

    Raises:
        PhotoError: if the suffix, the arrays, the format's limits or the folder do not allow it.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in PHOTO_SUFFIXES:
        suffixes = ", ".join(sorted(PHOTO_SUFFIXES))
        raise PhotoError(f"The photo '{path}' cannot be written: its suffix must be one of {suffixes}.")
    _check_arrays(photo)
    try:
        with written_whole(path) as unfinished, unfinished.open("wb") as stream:
            _encode(stream, photo, Image.registered_extensions()[suffix], quality)
    except Exception as error:
        hint = " Check the folder and its free space." if isinstance(error, OSError) else ""
        raise PhotoError(f"The photo '{path}' cannot be written: {_reason(error)}.{hint}") from error


def _reason(error):
    """Shortens the text of an error to one line without a full stop."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:200].rstrip(".")


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
        return f"{name} has too many pixels to be opened safely; scale it down first."
    if isinstance(error, UnidentifiedImageError):
        return f"{name} is empty or no {', '.join(_FORMATS)}; fetch it again or convert it to one of these."
    return f"{name} is damaged, incomplete or of an unknown kind ({_reason(error)}); fetch it again."


def _decode(image):
    """Turns an open Pillow image into a `Photo`."""
    rgb16 = _read_rgb16(image)  # first, since Pillow closes the file once it has loaded the pixels
    image.load()
    with contextlib.suppress(Exception):  # broken EXIF is no reason to refuse the pixels
        ImageOps.exif_transpose(image, in_place=True)  # the other variant copies even upright photos
    profile, metadata = image_metadata.find_profile(image), image_metadata.read_metadata(image)
    if image.mode[0] in "IF":  # the modes of more than 8 bits, all of them gray
        gray = image_metadata.convert_gray16_to_srgb(_scale_to_uint16(np.asarray(image)), profile)
        return Photo(np.repeat(gray[..., None], 3, axis=2), None, metadata)
    if rgb16 is not None and profile.transform is None:
        return Photo(rgb16, None, metadata)
    image, alpha = _split_alpha(image)
    return Photo(np.asarray(image_metadata.convert_to_srgb(image, profile)), alpha, metadata)


def _read_rgb16(image):
    """Reads a TIFF (H, W, 3) as uint16, which Pillow cuts to 8 bits; None for all other photos."""
    tags = image.tag_v2 if image.format == "TIFF" else {}
    if tags.get(ExifTags.Base.BitsPerSample) != (16, 16, 16):
        return None
    if tags.get(ExifTags.Base.PlanarConfiguration) == 2:  # Pillow would make noise of it
        raise ValueError("TIFFs of 16 bits with separate colour planes are not supported")
    is_rgb = tags.get(ExifTags.Base.PhotometricInterpretation) == 2
    if is_rgb and tags.get(ExifTags.Base.Orientation, 1) == 1:
        with contextlib.suppress(Exception):  # Pillow knows more compressions
            image.fp.seek(0)
            with tifffile.TiffFile(image.fp) as tiff:
                pixels = tiff.pages[0].asarray(maxworkers=1)
            return pixels if pixels.dtype == np.uint16 else None
    return None


def _scale_to_uint16(gray):
    """Brings gray values (H, W) of any type and range to uint16 in 0..65535; uint16 keeps its values."""
    if gray.dtype.kind == "u":
        return gray.astype(np.uint16)  # also from the byte order of other machines
    gray = np.where(np.isfinite(gray), gray, 0).astype(np.float64)
    low, high = gray.min(), gray.max()
    ranges = [top for top in (1, 255, 65535) if low >= 0 and high <= top]
    if ranges:
        low, high = 0, ranges[0]
    return np.rint((gray - low) * (65535 / ((high - low) or 1))).astype(np.uint16)


def to_uint8(pixels):
    """Rounds uint16 pixels, 0..65535, to uint8; uint8 pixels come back as they are. Any shape."""
    return pixels if pixels.dtype == np.uint8 else ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _split_alpha(image):
    """Splits an image into one without transparency and its alpha, uint8 (H, W) or None."""
    if not image.has_transparency_data:
        return image, None
    image = image.convert("RGBA")
    return image.convert("RGB"), np.asarray(image.getchannel("A"))


def _check_arrays(photo):
    """Raises PhotoError unless the arrays are as `Photo` describes them."""
    rgb, alpha = photo.rgb, photo.alpha
    if rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size or rgb.dtype not in (np.uint8, np.uint16):
        raise PhotoError(
            f"Pixels must be (height, width, 3) of uint8 or uint16, not {rgb.shape} of {rgb.dtype}."
        )
    if alpha is not None and (alpha.shape != rgb.shape[:2] or alpha.dtype != np.uint8):
        raise PhotoError(f"Alpha must be {rgb.shape[:2]} of uint8, not {alpha.shape} of {alpha.dtype}.")


def _encode(stream, photo, format, quality):
    """Writes a photo to an open binary file."""
    pixels, options = photo.rgb, image_metadata.save_options(photo.metadata, format)
    if pixels.dtype == np.uint16:
        if format == "TIFF" and photo.alpha is None:
            _write_rgb16(stream, pixels, options)
            return
        pixels = to_uint8(pixels)
    if photo.alpha is not None and format in ("PNG", "TIFF", "WEBP"):
        pixels = np.dstack((pixels, photo.alpha))
    if format == "JPEG":
        # Chroma is what a colorization adds: it is kept in full.
        options.update(quality=quality, subsampling=0)
    elif format == "WEBP":
        options.update(quality=quality, exact=True)  # which keeps the colours below transparent pixels
    # TIFF stays uncompressed: Pillow's way through libtiff fails on EXIF and GPS directories.
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, format=format, **options)


def _write_rgb16(stream, rgb, options):
    """Writes uint16 pixels as a TIFF, with those of its `save_options` that tifffile can write."""
    tags = options["exif"].items()
    extra = [(tag, "s", 0, value.encode(), True) for tag, value in tags if isinstance(value, str)]
    extra += [(tag, "B", len(value), value, True) for tag, value in tags if isinstance(value, bytes)]
    layout = {"photometric": "rgb", "metadata": None, "software": False}
    if "dpi" in options:
        layout.update(resolution=options["dpi"], resolutionunit="INCH")
    tifffile.imwrite(stream, rgb, iccprofile=options.get("icc_profile"), extratags=extra, **layout)

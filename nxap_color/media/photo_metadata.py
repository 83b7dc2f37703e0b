"""Read and write what belongs to a photo besides its pixels: ICC profile, EXIF, XMP, texts and resolution.

Profiles are applied, so that all pixels are sRGB. The rest is copied from file to file unchanged, except for
the orientation, since pixels are upright. Broken metadata are left out: they are no reason to refuse a photo.
"""

import contextlib
import io
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from nxap_color.errors import CodecError
from nxap_color.media.guard import codec_errors

# All other tags describe the layout of the file they come from. Orientation is left out on purpose.
_EXIF_TAGS = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.HostComputer,
    ExifTags.Base.Rating,
    ExifTags.Base.RatingPercent,
    ExifTags.Base.Copyright,
    *range(ExifTags.Base.XPTitle, ExifTags.Base.XPSubject + 1),
)
_EXIF_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_XMP_TAG = 700  # of a TIFF
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation="\d"|<tiff:Orientation>\d</tiff:Orientation>')
_MAX_SEGMENT = 65500  # bytes that one JPEG segment holds, less its header

_PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # colour space of a profile -> Pillow mode
_GRAY_MODES = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L")
_FITTING_PROFILES = {"CMYK": ("CMYK",), **dict.fromkeys(_GRAY_MODES, ("L", "RGB"))}  # only RGB elsewhere


@dataclass(frozen=True)
class Profile:
    """What an ICC profile says: which pixels it describes and how they become sRGB.

    The default is that of a photo without a profile: its pixels are taken for sRGB.

    Attributes:
        mode: Pillow mode of the pixels that it describes: "RGB", "L", "CMYK" or "LAB".
        transform: `ImageCms` transform from that mode to sRGB, None where the pixels are sRGB already.
        srgb_icc: bytes of the profile that describes the pixels as sRGB, None for no profile.
    """

    mode: str = "RGB"
    transform: ImageCms.ImageCmsTransform | None = None
    srgb_icc: bytes | None = None


def find_profile(image: Image.Image) -> Profile:
    """Find the colour profile of an image; a broken one, or one for other pixels, counts as none.

    Args:
        image: Pillow image of any mode.

    Returns:
        `Profile`.
    """
    if image.mode == "LAB":
        return Profile("LAB", _lab_to_srgb(), _srgb_icc())
    icc = image.info.get("icc_profile")
    if not icc:
        return Profile()
    try:
        profile = _parse_profile(icc)
    except CodecError:  # viewers ignore a broken one as well
        return Profile()
    return profile if profile.mode in _FITTING_PROFILES.get(image.mode, ("RGB",)) else Profile()


def convert_to_srgb(image: Image.Image, profile: Profile) -> Image.Image:
    """Convert an image of 8 bits per channel to sRGB.

    Args:
        image: Pillow image without transparency.
        profile: its `Profile`.

    Returns:
        Pillow image of mode RGB.

    Raises:
        CodecError: if Pillow cannot convert it.
    """
    with codec_errors():
        if image.mode != profile.mode:
            image = image.convert(profile.mode)
        if profile.transform is None:
            return image
        image = profile.transform.apply(image)
    # Rounding may have left the three channels of a gray one level apart.
    return image.getchannel("G").convert("RGB") if profile.mode == "L" else image


def convert_gray16_to_srgb(gray: np.ndarray, profile: Profile) -> np.ndarray:
    """Convert 16-bit gray to sRGB, interpolated between the 256 levels that Pillow can convert.

    Args:
        gray: uint16 array (H, W) in 0..65535.
        profile: `Profile` of its mode, "L" or "RGB".

    Returns:
        uint16 array (H, W) in 0..65535.
    """
    if profile.transform is None:
        return gray
    levels = np.arange(256, dtype=np.uint8)
    converted = np.asarray(convert_to_srgb(Image.fromarray(levels[None]), profile))[0, :, 1]
    table = np.interp(np.arange(65536), levels * 257.0, converted * 257.0)
    return np.rint(table).astype(np.uint16)[gray]


def find_orientation(image: Image.Image) -> int:
    """Return how an image is to be turned: EXIF's number from 1, not at all, to 8."""
    with contextlib.suppress(CodecError), codec_errors():
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    return 1


def read_metadata(image: Image.Image) -> dict[str, Any]:
    """Read the metadata of an image, to be written with its pixels once they are sRGB and upright.

    Args:
        image: Pillow image, loaded, as it was read from a file.

    Returns:
        Dict with those of these keys that the image has: "icc_profile", "exif", "xmp" and "comment"
        (of a JPEG), all bytes; "dpi", two floats; "text" (of a PNG), dict of str.
    """
    info, metadata = image.info, {"icc_profile": find_profile(image).srgb_icc}
    with contextlib.suppress(CodecError):
        metadata["exif"] = _read_exif(image)
    if isinstance(info.get("xmp"), bytes):
        # With its orientation, programs would turn the photo once more.
        metadata["xmp"] = _XMP_ORIENTATION.sub(b"", info["xmp"])
    if isinstance(info.get("comment"), bytes):
        metadata["comment"] = info["comment"]
    with contextlib.suppress(KeyError, TypeError, ValueError):
        dpi = tuple(float(value) for value in info["dpi"])
        # Pillow reports 1 for a TIFF without a resolution; a JPEG holds no more than 65535.
        metadata["dpi"] = dpi if all(1 < value <= 65535 for value in dpi) else None
    if image.format == "PNG":
        metadata["text"] = {key: value for key, value in info.items() if _is_text(key, value)}
    return {key: value for key, value in metadata.items() if value}


def save_options(metadata: dict[str, Any], format: str) -> dict[str, Any]:
    """Choose the arguments of Pillow's `Image.save` that write the metadata a format can hold.

    Args:
        metadata: dict as from `read_metadata`.
        format: "JPEG", "PNG", "TIFF", "WEBP" or "BMP"; Pillow ignores arguments it has no use for.

    Returns:
        Dict of keyword arguments.

    Raises:
        CodecError: if Pillow cannot parse the EXIF.
    """
    kept = ("icc_profile", "exif", "xmp", "comment", "dpi")
    options = {key: metadata[key] for key in kept if metadata.get(key)}
    if format == "JPEG":
        for key in ("exif", "xmp", "comment"):
            if len(options.get(key, b"")) > _MAX_SEGMENT:
                del options[key]
    elif format == "PNG":
        options["pnginfo"] = _png_text(metadata)
    elif format == "TIFF":
        options["exif"] = _tiff_tags(metadata)
    return options


@lru_cache(maxsize=16)
def _parse_profile(icc):
    """Turn the bytes of an ICC profile into a `Profile`; CodecError if it is broken."""
    srgb = ImageCms.ImageCmsProfile(io.BytesIO(_srgb_icc()))
    with codec_errors():
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        space = profile.profile.xcolor_space.strip()
    if space not in _PROFILE_MODES:
        raise CodecError(f"there is no Pillow mode for the colour space {space}")
    mode = _PROFILE_MODES[space]
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    with codec_errors():
        transform = ImageCms.buildTransform(profile, srgb, mode, "RGB", intent, flags)
    if mode == "RGB" and _changes_nothing(transform):
        return Profile(mode, None, icc)
    return Profile(mode, transform, _srgb_icc())


@lru_cache(maxsize=1)
def _lab_to_srgb():
    """Make the transform of photos stored as CIE Lab."""
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)


@lru_cache(maxsize=1)
def _srgb_icc():
    """Make the bytes of an sRGB profile."""
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # A fixed creation time, 2000-01-01 00:00:00, so that equal photos become equal files.
    return icc[:24] + bytes((7, 208, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0)) + icc[36:]


def _changes_nothing(transform):
    """Tell whether a profile is sRGB by what it does to colours; descriptions differ, and may lie."""
    axis = np.arange(0, 256, 51, dtype=np.uint8)
    colours = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(6, 36, 3)
    with codec_errors():
        converted = np.asarray(transform.apply(Image.fromarray(colours)))
    return np.abs(converted.astype(int) - colours).max() <= 2


def _read_exif(image):
    """Return the EXIF of an image as bytes, reduced to what describes the photo, b"" for none."""
    with codec_errors():  # nothing but Pillow's parser and writer, which fail late where values are broken
        source, kept = image.getexif(), Image.Exif()
        for tag in _EXIF_TAGS:
            if tag in source:
                kept[tag] = source[tag]
        for tag in _EXIF_DIRECTORIES:
            directory = dict(source.get_ifd(tag))
            directory.pop(ExifTags.IFD.Interop, None)  # a mere position in the old file
            if directory:
                kept[tag] = directory
        return kept.tobytes() if len(kept) else b""


def _tiff_tags(metadata):
    """Join EXIF and XMP, which a TIFF keeps among its own tags."""
    tags = Image.Exif()
    with codec_errors():
        tags.load(metadata.get("exif", b""))
    if "xmp" in metadata:
        tags[_XMP_TAG] = metadata["xmp"]
    return tags


def _is_text(key, value):
    """Tell a text of a PNG from its other properties, and from EXIF in an older form."""
    return isinstance(value, str) and key != "XML:com.adobe.xmp" and not key.startswith("Raw profile type")


def _png_text(metadata):
    """Collect the text chunks of a PNG, XMP among them."""
    chunks = PngImagePlugin.PngInfo()
    for key, value in metadata.get("text", {}).items():
        chunks.add_text(key, value)
    if "xmp" in metadata:
        chunks.add_itxt("XML:com.adobe.xmp", metadata["xmp"].decode("utf-8", "replace"))
    return chunks

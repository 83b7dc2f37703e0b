"""Read and write pixels of more than 8 bits, which Pillow rounds, swaps or refuses.

Read by tifffile and OpenCV, handed on and written as 16 bits.
"""

import contextlib
import io
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, NamedTuple

import cv2
import numpy as np
import tifffile
from PIL import Image

from nxap_color.errors import CodecError
from nxap_color.media.guard import codec_errors, quiet_codecs
from nxap_color.media.photo_integrity import copy_metadata

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2  # TIFF's PhotometricInterpretation
_SEPARATE = 2  # TIFF's PlanarConfiguration
_PREMULTIPLIED = 1  # TIFF's ExtraSamples
_BIT_DEPTH_AT = 24  # of a PNG
# A TIFF counts its bytes in 32 bits; above this, with room for its tags, it has to be a BigTIFF.
_LARGEST_TIFF = 2**32 - 2**25

# Pixels (H, W, 1 or 3), alpha (H, W) or None, and the orientation, 1 to 8.
DeepPixels = tuple[np.ndarray, np.ndarray | None, int]


def open_tiff(stream: BinaryIO) -> tifffile.TiffFile | None:
    """Open a TIFF with tifffile.

    Args:
        stream: binary file object.

    Returns:
        `tifffile.TiffFile`; None if it is no TIFF, or one so damaged that no page of it can be found.
    """
    stream.seek(0)
    if stream.read(4) not in _TIFF_STARTS:
        return None
    stream.seek(0)
    with contextlib.suppress(CodecError), codec_errors(), quiet_codecs():
        tiff = tifffile.TiffFile(stream)
        return tiff if len(tiff.pages) else None
    return None


def page_pixels(tiff: tifffile.TiffFile) -> list[int]:
    """Return how many pixels each page of a TIFF has; CodecError if it is damaged."""
    with codec_errors(), quiet_codecs():
        return [int(page.imagelength) * int(page.imagewidth) for page in tiff.pages]


def read_tiff_page(
    stream: BinaryIO, tiff: tifffile.TiffFile, index: int, check_size: Callable[[int, int], None]
) -> DeepPixels | None:
    """Read the pixels of a page if it holds gray or RGB of more than 8 bits.

    Args:
        stream: the binary file object.
        tiff: as from `open_tiff` of the stream.
        index: number of the page, from 0.
        check_size: function of height and width that raises an error for pictures that are too large.

    Returns:
        uint16 pixels (H, W, 1 or 3) in 0..65535, alpha (H, W), None without, and the orientation, 1 to 8.
        Or None if there is no such page, 8 bits do for it, or only Pillow may be able to read it.

    Raises:
        CodecError: if the page is damaged.
    """
    page = _find_deep_page(tiff, index)
    if page is None:
        return None
    check_size(page.height, page.width)
    pixels = _decode_page(stream, index, page)
    if pixels is None:
        return None
    if page.is_separate:
        pixels = np.moveaxis(pixels, 0, -1)
    pixels = pixels.reshape(page.height, page.width, page.samples)
    pixels, alpha = scale_to_uint16(pixels[..., : page.channels]), pixels[..., page.channels :]
    if page.is_white_zero:
        pixels = 65535 - pixels
    if not alpha.size:
        return pixels, None, page.orientation
    alpha = scale_to_uint16(alpha)
    if page.is_premultiplied:
        pixels = np.uint16(np.minimum(pixels * np.float32(65535) / np.maximum(alpha, 1), 65535))
    return pixels, alpha[..., 0], page.orientation


class _DeepPage(NamedTuple):
    """A page of gray or RGB of more than 8 bits: tifffile's, and what is needed of its tags."""

    tiff: tifffile.TiffPage
    height: int
    width: int
    samples: int
    channels: int
    orientation: int
    is_white_zero: bool
    is_separate: bool
    is_premultiplied: bool


def _find_deep_page(tiff, index):
    """Find a page of gray or RGB of more than 8 bits; None if there is none of this number."""
    # Where tifffile fails, Pillow may know better. In a damaged file any tag may have any type.
    with contextlib.suppress(CodecError), codec_errors(), quiet_codecs():
        page = tiff.pages[index]
        channels = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3}.get(page.photometric)
        if channels and page.dtype.itemsize > 1 and page.samplesperpixel in (channels, channels + 1):
            return _DeepPage(
                page,
                int(page.imagelength),
                int(page.imagewidth),
                int(page.samplesperpixel),
                channels,
                page.tags.valueof("Orientation", 1),
                is_white_zero=page.photometric == _WHITE_IS_ZERO,
                is_separate=page.planarconfig == _SEPARATE and page.samplesperpixel > 1,
                is_premultiplied=page.extrasamples[:1] == (_PREMULTIPLIED,),
            )
    return None


def _decode_page(stream, index, page):
    """Decode the values of a `_DeepPage` with tifffile or OpenCV; None if neither knows its compression."""
    num_values = page.height * page.width * page.samples
    try:
        with codec_errors(), quiet_codecs():
            pixels = page.tiff.asarray(maxworkers=1)
    except CodecError as error:
        if "imagecodecs" not in str(error):  # a package that knows more ways of compression
            raise
    else:
        if pixels.size != num_values:
            raise CodecError(f"it has {pixels.size} values for {page.height} x {page.width} pixels")
        return pixels
    if page.is_separate:  # both Pillow and OpenCV would make noise of it
        raise CodecError("16 bits in separate colour planes can only be read uncompressed or deflated")
    stream.seek(0)
    data = np.frombuffer(stream.read(), "uint8")
    with codec_errors(), quiet_codecs():
        _, pages = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED, range=(index, index + 1))
    if len(pages) != 1 or pages[0].dtype != page.tiff.dtype or pages[0].size != num_values:
        return None
    return _swap_red_and_blue(pages[0])


def read_png(stream: BinaryIO) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Read the pixels of a PNG of 16 bits in colour or with alpha.

    Args:
        stream: binary file object with a PNG that Pillow could read, so that it is known to be whole.

    Returns:
        uint16 pixels (H, W, 3) in 0..65535, and alpha (H, W), None without. Or None if it is a PNG of
        8 bits, or of gray without alpha.

    Raises:
        CodecError: if OpenCV fails.
    """
    stream.seek(_BIT_DEPTH_AT)
    depth, kind = stream.read(2)
    if depth != 16 or kind == 0:
        return None
    stream.seek(0)
    data = np.frombuffer(stream.read(), "uint8")
    with codec_errors(), quiet_codecs():
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3:
        return None
    pixels = _swap_red_and_blue(pixels)
    return pixels[..., :3], pixels[..., 3] if pixels.shape[2] == 4 else None


def scale_to_uint16(pixels: np.ndarray) -> np.ndarray:
    """Scale pixels of any type, shape and range to uint16 in 0..65535; uint16 keeps its values.

    Others are scaled from 0..1, 0..255 or 0..65535, the smallest that holds them all, else stretched from
    their minimum to their maximum. NaN and infinity count as 0.
    """
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize == 2:
        return pixels.astype(np.uint16)  # also from the byte order of other machines
    pixels = np.where(np.isfinite(pixels), pixels, 0).astype(np.float64)
    low, high = pixels.min(), pixels.max()
    ranges = [top for top in (1, 255, 65535) if low >= 0 and high <= top]
    if ranges:
        low, high = 0, ranges[0]
    return np.rint((pixels - low) * (65535 / ((high - low) or 1))).astype(np.uint16)


def write_png(stream: BinaryIO, pixels: np.ndarray, options: dict[str, Any]) -> None:
    """Write a PNG of 16 bits.

    Args:
        stream: binary file object.
        pixels: uint16 array (H, W, 3 or 4) in 0..65535.
        options: dict, as from `photo_metadata.save_options`.

    Raises:
        CodecError: if OpenCV or Pillow fail.
    """
    swapped = _swap_red_and_blue(pixels)
    # OpenCV knows nothing of metadata: Pillow writes them into a tiny PNG.
    tiny = io.BytesIO()
    with codec_errors(), quiet_codecs():
        done, encoded = cv2.imencode(".png", swapped)
        Image.new("RGB", (1, 1)).save(tiny, "PNG", **options)
    if not done:
        raise CodecError(f"OpenCV cannot write a PNG of {pixels.shape}")
    stream.writelines(copy_metadata(tiny.getbuffer(), encoded.data))


def write_tiff(stream: BinaryIO, pages: Iterable[tuple[np.ndarray, dict[str, Any]]], num_bytes: int) -> None:
    """Write a TIFF, one page after the other, uncompressed.

    Args:
        stream: binary file object.
        pages: iterable of pixels, uint8 or uint16 arrays (H, W, 3 or 4), each with its dict as from
            `photo_metadata.save_options`; of its EXIF the texts are written.
        num_bytes: at least as many as all pixels need.

    Raises:
        CodecError: if tifffile fails.
    """
    with tifffile.TiffWriter(stream, bigtiff=num_bytes > _LARGEST_TIFF) as tiff:
        for pixels, options in pages:
            tags = _extra_tags(options["exif"])
            layout = {"photometric": "rgb", "metadata": None, "software": False, "contiguous": False}
            if pixels.shape[2] == 4:
                layout["extrasamples"] = ["unassalpha"]
            if "dpi" in options:
                layout.update(resolution=options["dpi"], resolutionunit="INCH")
            with codec_errors():
                tiff.write(pixels, iccprofile=options.get("icc_profile"), extratags=tags, **layout)


def _extra_tags(exif):
    """Those tags of an `Image.Exif` that are texts and bytes, as tifffile writes them."""
    with codec_errors():  # Pillow parses values only now
        tags = list(exif.items())
    texts = [(tag, "s", 0, value.encode(), True) for tag, value in tags if isinstance(value, str)]
    return texts + [(tag, "B", len(value), value, True) for tag, value in tags if isinstance(value, bytes)]


def _swap_red_and_blue(pixels):
    """Turn RGB(A) into OpenCV's BGR(A) and back, (H, W, channels); gray stays as it is."""
    if pixels.ndim == 2 or pixels.shape[2] < 3:
        return pixels
    code = cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    return cv2.cvtColor(np.ascontiguousarray(pixels), code)

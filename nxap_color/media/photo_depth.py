"""Pixels of more than 8 bits, which Pillow rounds, swaps or refuses: read by tifffile and OpenCV, written as
16 bits."""

import contextlib
import io
import logging

import cv2
import numpy as np
import tifffile
from PIL import Image

from nxap_color.media.photo_integrity import copy_metadata

# What is wrong with a file is said in the error, or does not matter.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)
# OpenCV 5 has moved it.
(cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel)(0)

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2  # TIFF's PhotometricInterpretation
_PREMULTIPLIED = 1  # TIFF's ExtraSamples
_BIT_DEPTH_AT = 24  # of a PNG
# A TIFF counts its bytes in 32 bits; above this, with room for its tags, it has to be a BigTIFF.
_LARGEST_TIFF = 2**32 - 2**25


def open_tiff(stream):
    """Opens a TIFF with tifffile.

    Args:
        stream: binary file object.

    Returns:
        `tifffile.TiffFile`; None if it is no TIFF, or one so damaged that no page of it can be found.
    """
    stream.seek(0)
    if stream.read(4) not in _TIFF_STARTS:
        return None
    stream.seek(0)
    with contextlib.suppress(Exception):  # tifffile raises almost any type on damaged data
        tiff = tifffile.TiffFile(stream)
        return tiff if len(tiff.pages) else None
    return None


def read_tiff_page(stream, tiff, index, check_size):
    """Reads the pixels of a page, as far as it holds gray or RGB of more than 8 bits.

    Args:
        stream: the binary file object.
        tiff: as `open_tiff` made it from the stream.
        index: number of the page, from 0.
        check_size: function of height and width, which raises an error for pictures that are too large.

    Returns:
        uint16 arrays (H, W, 1 or 3), alpha (H, W), which is None without, and the orientation, 1 to 8. Or
        None, if there is no such page, 8 bits do for it, or only Pillow may be able to read it.

    Raises:
        Various errors if the page is damaged.
    """
    try:
        page = tiff.pages[index]
        is_gray = page.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO)
        channels = 1 if is_gray else 3
        is_deep = page.dtype.itemsize > 1 and (is_gray or page.photometric == _RGB)
        if not is_deep or page.samplesperpixel not in (channels, channels + 1):
            return None
        height, width, orientation = page.imagelength, page.imagewidth, page.tags.valueof("Orientation", 1)
    except Exception:  # Pillow may know better
        return None
    check_size(height, width)
    try:
        pixels = page.asarray(maxworkers=1)
    except ValueError as error:
        if "imagecodecs" not in str(error):  # a package that knows more ways of compression
            raise
        pixels = _read_page_with_opencv(stream, index, page)
    if pixels is None:
        return None
    if page.planarconfig == 2 and page.samplesperpixel > 1:
        pixels = np.moveaxis(pixels, 0, -1)
    pixels = pixels.reshape(height, width, page.samplesperpixel)
    pixels, alpha = pixels[..., :channels], pixels[..., channels:]
    pixels = scale_to_uint16(pixels)
    if page.photometric == _WHITE_IS_ZERO:
        pixels = 65535 - pixels
    if not alpha.size:
        return pixels, None, orientation
    alpha = scale_to_uint16(alpha)
    if page.extrasamples[:1] == (_PREMULTIPLIED,):
        pixels = np.uint16(np.minimum(pixels * np.float32(65535) / np.maximum(alpha, 1), 65535))
    return pixels, alpha[..., 0], orientation


def _read_page_with_opencv(stream, index, page):
    """Pixels of a page whose compression tifffile cannot undo, None if OpenCV cannot either."""
    if page.planarconfig == 2 and page.samplesperpixel > 1:  # both Pillow and OpenCV would make noise of it
        raise ValueError("16 bits in separate colour planes can only be read uncompressed or deflated")
    stream.seek(0)
    data = np.frombuffer(stream.read(), "uint8")
    _, pages = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED, range=(index, index + 1))
    if len(pages) != 1 or pages[0].dtype != page.dtype or pages[0].size != np.prod(page.shape):
        return None
    return _swap_red_and_blue(pages[0])


def read_png(stream):
    """Reads the pixels of a PNG of 16 bits in colour or with alpha.

    Args:
        stream: binary file object with a PNG that Pillow could read, so that it is known to be whole.

    Returns:
        uint16 arrays (H, W, 3) and alpha (H, W), which is None without; or None if it is a PNG of 8 bits, or
        of gray without alpha.
    """
    stream.seek(_BIT_DEPTH_AT)
    depth, kind = stream.read(2)
    if depth != 16 or kind == 0:
        return None
    stream.seek(0)
    pixels = cv2.imdecode(np.frombuffer(stream.read(), "uint8"), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3:
        return None
    pixels = _swap_red_and_blue(pixels)
    return pixels[..., :3], pixels[..., 3] if pixels.shape[2] == 4 else None


def scale_to_uint16(pixels):
    """Brings pixels of any type, shape and range to uint16 in 0..65535; uint16 keeps its values.

    Others are scaled from 0..1, 0..255 or 0..65535, the smallest that holds them all, else stretched from
    their minimum to their maximum. What is not finite counts as 0.
    """
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize == 2:
        return pixels.astype(np.uint16)  # also from the byte order of other machines
    pixels = np.where(np.isfinite(pixels), pixels, 0).astype(np.float64)
    low, high = pixels.min(), pixels.max()
    ranges = [top for top in (1, 255, 65535) if low >= 0 and high <= top]
    if ranges:
        low, high = 0, ranges[0]
    return np.rint((pixels - low) * (65535 / ((high - low) or 1))).astype(np.uint16)


def write_png(stream, pixels, options):
    """Writes a PNG of 16 bits.

    Args:
        stream: binary file object.
        pixels: uint16 array (H, W, 3 or 4).
        options: dict, as from `photo_metadata.save_options`.
    """
    done, encoded = cv2.imencode(".png", _swap_red_and_blue(pixels))
    if not done:
        raise ValueError(f"OpenCV cannot write a PNG of {pixels.shape}")
    # OpenCV knows nothing of metadata: Pillow writes them into a tiny PNG.
    tiny = io.BytesIO()
    Image.new("RGB", (1, 1)).save(tiny, "PNG", **options)
    stream.writelines(copy_metadata(tiny.getbuffer(), encoded.data))


def write_tiff(stream, pages, num_bytes):
    """Writes a TIFF, one page after the other, uncompressed.

    Args:
        stream: binary file object.
        pages: iterable of pixels, uint8 or uint16 arrays (H, W, 3 or 4), each with its dict as from
            `photo_metadata.save_options`, of whose EXIF the texts are written.
        num_bytes: at least as many as all pixels need.
    """
    with tifffile.TiffWriter(stream, bigtiff=num_bytes > _LARGEST_TIFF) as tiff:
        for pixels, options in pages:
            tags = options["exif"].items()
            extra = [(tag, "s", 0, value.encode(), True) for tag, value in tags if isinstance(value, str)]
            extra += [(tag, "B", len(value), value, True) for tag, value in tags if isinstance(value, bytes)]
            layout = {"photometric": "rgb", "metadata": None, "software": False, "contiguous": False}
            if pixels.shape[2] == 4:
                layout["extrasamples"] = ["unassalpha"]
            if "dpi" in options:
                layout.update(resolution=options["dpi"], resolutionunit="INCH")
            tiff.write(pixels, iccprofile=options.get("icc_profile"), extratags=extra, **layout)


def _swap_red_and_blue(pixels):
    """RGB(A) <-> OpenCV's BGR(A), (H, W, channels); gray stays as it is."""
    if pixels.ndim == 2:
        return pixels
    code = cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    return cv2.cvtColor(np.ascontiguousarray(pixels), code)

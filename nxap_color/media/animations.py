"""Read and write animations: GIF, animated PNG and animated WebP."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import GifImagePlugin, Image, ImageSequence, UnidentifiedImageError

from nxap_color import color
from nxap_color.errors import CodecError, FilmError, PhotoError
from nxap_color.images import turn_upright
from nxap_color.media import photo_metadata
from nxap_color.media.atomic import written_whole
from nxap_color.media.guard import codec_errors, one_line
from nxap_color.media.photo_integrity import check_rows
from nxap_color.media.photos import format_of, save_image, written_photo

_FORMATS = ("GIF", "PNG", "WEBP", "JPEG", "BMP")  # whatever the name says
_MAX_FRAME_PIXELS = 40_000_000
# Six bits a channel: finer than the steps between 255 colours.
_LEVELS = 64
# Ordered dithering (Bayer 1973): its pattern stands still, where error diffusion would crawl over a film.
_BAYER = np.array([[0, 2], [3, 1]])
_DITHER = 14.0  # peak to peak, in 8-bit steps
_DISPOSE_KEEP, _DISPOSE_CLEAR = 1, 2


@dataclass
class AnimationFrame:
    """One whole picture of an animation.

    Attributes:
        rgb: uint8 array (H, W, 3), sRGB.
        alpha: uint8 array (H, W), 0 where it is transparent and 255 where it is opaque.
        duration: milliseconds.
    """

    rgb: np.ndarray
    alpha: np.ndarray
    duration: float


@dataclass(frozen=True)
class Properties:
    """What belongs to an animation as a whole.

    Attributes:
        loop: how often it is repeated: 0 for ever, None if it is played once and the file does not say so.
        has_still: whether its first picture is not a frame, but for programs that show no animations (PNG).
        metadata: as `photo_metadata.read_metadata` finds it.
    """

    loop: int | None
    has_still: bool
    metadata: dict[str, Any]


def read_frames(path: Path) -> Iterator[AnimationFrame]:
    """Read the frames of a GIF, PNG or WebP one after the other, with what earlier ones left on the canvas.

    Args:
        path: where it lies; its contents, not its name, decide how it is read.

    Yields:
        `AnimationFrame`.

    Raises:
        FilmError: if it is missing, of another format, damaged, or of more than 40 megapixels; raised after
            the frames before the damage.
    """
    count = 0
    try:
        for frame in _decode_frames(path):
            yield frame
            count += 1
    except UnidentifiedImageError as error:
        raise FilmError(f"This is empty or no {', '.join(_FORMATS)}; fetch it again.") from error
    except (OSError, CodecError, Image.DecompressionBombError) as error:
        raise FilmError(f"Frame {count} of this animation cannot be read ({one_line(error)}).") from error


def _decode_frames(path):
    """Yield `AnimationFrame`s; CodecError, OSError and Pillow's own errors where that is not possible."""
    with path.open("rb") as stream, _open_animation(stream) as animation:
        if animation.width * animation.height > _MAX_FRAME_PIXELS:
            raise CodecError(f"it has more than {_MAX_FRAME_PIXELS // 10**6} megapixels")
        with codec_errors():
            animation.load()
        check_rows(animation, stream)
        profile = photo_metadata.find_profile(animation)
        orientation = photo_metadata.find_orientation(animation)
        pictures = ImageSequence.Iterator(animation)
        while decoded := _next_picture(pictures):
            rgb, alpha, duration = decoded
            if profile.mode == "RGB":
                rgb = photo_metadata.convert_to_srgb(rgb, profile)
            rgb, alpha = (turn_upright(np.asarray(part), orientation) for part in (rgb, alpha))
            yield AnimationFrame(rgb, alpha, duration)


def _open_animation(source):
    """Open an animation with Pillow, a path or a binary file object."""
    with codec_errors():
        return Image.open(source, formats=_FORMATS)


def _next_picture(pictures):
    """Decode the next picture of Pillow's iterator: RGB, alpha and duration; None after the last."""
    with codec_errors():
        picture = next(pictures, None)
        if picture is None:
            return None
        rgba = picture.convert("RGBA")
        return rgba.convert("RGB"), rgba.getchannel("A"), picture.info.get("duration", 0)


def read_properties(path: Path) -> Properties:
    """Read what belongs to an animation as a whole; FilmError if it cannot be opened."""
    try:
        with _open_animation(path) as animation:
            info = animation.info
            metadata = photo_metadata.read_metadata(animation)
            return Properties(info.get("loop"), info.get("default_image", False), metadata)
    except (OSError, CodecError, Image.DecompressionBombError) as error:
        raise FilmError(f"{path} cannot be read ({one_line(error)}).") from error


def write_animation(path: Path, frames: Iterable[AnimationFrame], properties: Properties) -> None:
    """Write a PNG or WebP of several frames atomically: the file is either complete or left as it was.

    Args:
        path: where to write; the suffix decides the format.
        frames: the frames, all of which are kept in memory.
        properties: `Properties`.

    Raises:
        PhotoError: if it cannot be written, or the suffix stands for another format.
    """
    format = format_of(path)
    if format not in ("PNG", "WEBP"):
        raise PhotoError(f"'{path}' cannot hold an animation; name a .png or .webp file.")
    pictures, durations = [], []
    for frame in frames:
        has_holes = (frame.alpha < 255).any()
        pixels = np.dstack([frame.rgb, frame.alpha]) if has_holes else frame.rgb
        pictures.append(Image.fromarray(np.ascontiguousarray(pixels)))
        durations.append(round(frame.duration))
    options = {"save_all": True, "append_images": pictures[1:], "duration": durations[properties.has_still :]}
    if format == "WEBP":
        options.update(quality=95, exact=True)
    else:
        options["default_image"] = properties.has_still
    if properties.loop is not None:
        options["loop"] = properties.loop
    with written_photo(path) as stream:
        options.update(photo_metadata.save_options(properties.metadata, format))
        save_image(pictures[0], stream, format, options)


def choose_palette(pictures: list[np.ndarray], colours: int = 255) -> np.ndarray:
    """Choose one palette for all frames of an animation, so that their colours do not jump.

    Args:
        pictures: uint8 arrays (H, W, 3), some of its frames.
        colours: how many, at most 256.

    Returns:
        uint8 array (colours, 3), sRGB.
    """
    pixels = np.concatenate([picture.reshape(-1, 3) for picture in pictures])
    pixels = pixels[:: max(1, len(pixels) // 2**20)]
    quantized = Image.fromarray(pixels[None]).quantize(colours, Image.Quantize.MEDIANCUT)
    palette = np.array(quantized.getpalette(), "uint8").reshape(-1, 3)[:colours]
    return np.pad(palette, ((0, colours - len(palette)), (0, 0)), mode="edge")


class GifWriter:
    """Write a GIF atomically, frame by frame; a context manager.

    Pillow's own writer would merge equal frames into one and choose a palette for each.

    Args:
        path: where to write; the file is either complete or left as it was.
        palette: uint8 array (255, 3), as from `choose_palette`.
        loop: as in `Properties`.
        has_holes: whether any frame is transparent anywhere.
    """

    def __init__(self, path: Path, palette: np.ndarray, loop: int | None, has_holes: bool):
        self.path, self.loop = path, loop
        self.options = {"disposal": _DISPOSE_KEEP}
        if has_holes:
            # The canvas is cleared after a frame, for the holes of the next one, and becomes transparent
            # only if the frame, even an opaque one, names an index for that.
            self.options = {"disposal": _DISPOSE_CLEAR, "transparency": len(palette)}
        # The last index stands for transparency.
        self.palette = np.concatenate([palette, np.zeros((256 - len(palette), 3), "uint8")])
        self.transparent = len(palette)
        self.nearest = _nearest(palette)
        self.resources = contextlib.ExitStack()
        self.stream = None

    def write(self, frame: AnimationFrame) -> None:
        """Add a frame; FilmError if there is no space for it."""
        height, width = frame.rgb.shape[:2]
        rows, columns = np.indices((height, width)) % 8
        dithered = frame.rgb + _dither_pattern()[rows, columns, None]
        red, green, blue = np.moveaxis(np.clip(dithered, 0, 255).astype("uint8") // (256 // _LEVELS), -1, 0)
        indices = self.nearest[red, green, blue]
        indices = np.where(frame.alpha > 127, indices, np.uint8(self.transparent))
        picture = Image.fromarray(indices, "P")
        picture.putpalette(self.palette.tobytes())
        try:
            if self.stream is None:
                unfinished = self.resources.enter_context(written_whole(self.path))
                self.stream = self.resources.enter_context(unfinished.open("wb"))
                self.resources.callback(self.stream.write, b";")  # the end of a GIF
                info = {} if self.loop is None else {"loop": self.loop}
                self.stream.writelines(GifImagePlugin.getheader(picture.copy(), None, info)[0])
            self.stream.writelines(
                GifImagePlugin.getdata(picture, duration=round(frame.duration), **self.options)
            )
        except OSError as error:
            raise FilmError(f"{self.path} cannot be written: {error.strerror}.") from error

    def __enter__(self):
        return self

    def __exit__(self, *error):
        try:
            return self.resources.__exit__(*error)
        except OSError as failure:  # on writing what was still buffered
            raise FilmError(f"{self.path} cannot be written: {failure.strerror}.") from failure


@functools.cache
def _dither_pattern():
    """Make the float array (8, 8) to add to pixels, within _DITHER / 2 of 0."""
    pattern = _BAYER
    while len(pattern) < 8:
        pattern = np.block([[4 * pattern + step for step in row] for row in _BAYER.tolist()])
    return ((pattern + 0.5) / pattern.size - 0.5) * _DITHER


def _nearest(palette):
    """Find the index of the palette colour nearest to each RGB, uint8 (levels, levels, levels)."""
    levels = (np.arange(_LEVELS, dtype="float32") + 0.5) * (256 / _LEVELS)
    # Squared distances in each channel, (levels, colours); whole numbers, and so exact.
    red, green, blue = ((levels[:, None] - channel) ** 2 for channel in palette.T.astype("float32"))
    beside_red = green[:, None] + blue
    # Plane by plane, since all distances at once would take 270 MB.
    return np.stack([np.argmin(plane + beside_red, axis=-1) for plane in red]).astype("uint8")


def compare_gifs(before: str | Path, after: str | Path, target: str | Path) -> None:
    """Put the gray of a GIF and its coloured version side by side.

    Args:
        before: the source.
        after: the coloured one, with as many frames of the same size.
        target: the GIF to write; replaced if it exists.

    Raises:
        FilmError: if one cannot be read or the result cannot be written.
    """
    before, after, target = Path(before), Path(after), Path(target)
    first = _beside(next(read_frames(before)), next(read_frames(after)))
    frames = zip(read_frames(before), read_frames(after), strict=True)
    palette, loop = choose_palette([first.rgb]), read_properties(before).loop
    with GifWriter(target, palette, loop, has_holes=True) as writer:
        for pair in frames:
            writer.write(_beside(*pair))


def _beside(before, after):
    """Join two `AnimationFrame`s to one, the gray of the first on the left."""
    gray = np.uint8(np.rint(color.rgb_to_luma(before.rgb, "bt601")))
    rgb = np.concatenate([np.repeat(gray[..., None], 3, axis=2), after.rgb], axis=1)
    return dataclasses.replace(after, rgb=rgb, alpha=np.hstack([before.alpha, after.alpha]))

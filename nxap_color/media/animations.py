"""GIFs, and PNGs and WebPs that move, in colour that holds: `colorize_animation`."""

import contextlib
import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import GifImagePlugin, Image, ImageSequence, UnidentifiedImageError

from nxap_color import color
from nxap_color.errors import FilmError, PhotoError
from nxap_color.images import turn_upright
from nxap_color.media import photo_metadata
from nxap_color.media.atomic import written_whole
from nxap_color.media.photos import check_rows, format_of, one_line, save_image, written_photo

# Six bits a channel: finer than the steps between 255 colours.
_LEVELS = 64
# Ordered dithering (Bayer 1973): its pattern stands still, where error diffusion would crawl over a film.
_BAYER = np.array([[0, 2], [3, 1]])
_DITHER = 14.0  # peak to peak, in 8-bit steps
_DISPOSE_KEEP, _DISPOSE_CLEAR = 1, 2


_FORMATS = ("GIF", "PNG", "WEBP", "JPEG", "BMP")  # whatever the name says
_MAX_FRAME_PIXELS = 40_000_000


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
        loop: how often it is repeated: 0 for ever, None if it is played once and says nothing.
        has_still: whether its first picture is no frame, but for programs that show none (PNG).
        metadata: as `photo_metadata.read_metadata` finds it.
    """

    loop: int | None
    has_still: bool
    metadata: dict


def is_gif(path):
    """Tells by its name whether a `Path` is that of a GIF; hidden files are none."""
    return path.suffix.lower() == ".gif" and not path.name.startswith(".")


def read_frames(path):
    """Reads the frames of a GIF, PNG or WebP one after the other, with what earlier ones left on the canvas.

    Args:
        path: path object.

    Yields:
        `AnimationFrame`.

    Raises:
        FilmError: if it is missing, of another format, damaged, or of more than 40 megapixels; frames before
            the damage have been given.
    """
    count = 0
    try:
        with path.open("rb") as stream, Image.open(stream, formats=_FORMATS) as animation:
            if animation.width * animation.height > _MAX_FRAME_PIXELS:
                raise ValueError(f"it has more than {_MAX_FRAME_PIXELS // 10**6} megapixels")
            animation.load()
            check_rows(animation, stream)
            profile = photo_metadata.find_profile(animation)
            orientation = photo_metadata.find_orientation(animation)
            for picture in ImageSequence.Iterator(animation):
                rgba = picture.convert("RGBA")
                rgb, alpha = rgba.convert("RGB"), rgba.getchannel("A")
                if profile.mode == "RGB":
                    rgb = photo_metadata.convert_to_srgb(rgb, profile)
                rgb, alpha = (turn_upright(np.asarray(part), orientation) for part in (rgb, alpha))
                yield AnimationFrame(rgb, alpha, picture.info.get("duration", 0))
                count += 1
    except UnidentifiedImageError as error:
        raise FilmError(f"This is empty or no {', '.join(_FORMATS)}; fetch it again.") from error
    except Exception as error:  # Pillow's decoders raise almost any type on damaged data
        raise FilmError(f"Frame {count} of this animation cannot be read ({one_line(error)}).") from error


def read_properties(path):
    """Reads the `Properties` of an animation, a path object."""
    with Image.open(path, formats=_FORMATS) as animation:
        info = animation.info
        metadata = photo_metadata.read_metadata(animation)
        return Properties(info.get("loop"), info.get("default_image", False), metadata)


def write_animation(path, frames, properties):
    """Writes a PNG or WebP of several frames, so that the file is either complete or left as it was.

    Args:
        path: path object.
        frames: iterable of `AnimationFrame`s, all of which are kept in memory.
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
    options = photo_metadata.save_options(properties.metadata, format)
    options.update(save_all=True, append_images=pictures[1:], duration=durations[properties.has_still :])
    if format == "WEBP":
        options.update(quality=95, exact=True)
    else:
        options["default_image"] = properties.has_still
    if properties.loop is not None:
        options["loop"] = properties.loop
    with written_photo(path) as stream:
        save_image(pictures[0], stream, format, options)


def choose_palette(pictures, colours=255):
    """Chooses the colours of an animation, one palette for all, so that they do not jump.

    Args:
        pictures: list of uint8 arrays (H, W, 3), some of its frames.
        colours: how many, at most 256.

    Returns:
        uint8 array (colours, 3).
    """
    pixels = np.concatenate([picture.reshape(-1, 3) for picture in pictures])
    pixels = pixels[:: max(1, len(pixels) // 2**20)]
    quantized = Image.fromarray(pixels[None]).quantize(colours, Image.Quantize.MEDIANCUT)
    palette = np.array(quantized.getpalette(), "uint8").reshape(-1, 3)[:colours]
    return np.pad(palette, ((0, colours - len(palette)), (0, 0)), mode="edge")


class GifWriter:
    """Writes a GIF so that the file at path is either complete or left as it was; a context manager.

    Pillow's own way would melt equal frames into one and choose a palette for each.

    Args:
        path: path object.
        palette: uint8 array (255, 3), as from `choose_palette`.
        loop: as in `Properties`.
        has_holes: whether any frame is transparent anywhere.
    """

    def __init__(self, path, palette, loop, has_holes):
        self.path, self.loop = path, loop
        self.options = {"disposal": _DISPOSE_KEEP}
        if has_holes:
            # It is after a frame that the canvas is cleared, for the holes of the next one; to nothing
            # only if the frame, although opaque itself, names an index for that.
            self.options = {"disposal": _DISPOSE_CLEAR, "transparency": len(palette)}
        # The last index stands for transparency.
        self.palette = np.concatenate([palette, np.zeros((256 - len(palette), 3), "uint8")])
        self.transparent = len(palette)
        self.nearest = _nearest(palette)
        self.resources = contextlib.ExitStack()
        self.stream = None

    def write(self, frame):
        """Adds an `AnimationFrame`. Raises FilmError if there is no place for it."""
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
        except OSError as failure:  # what was still to be written
            raise FilmError(f"{self.path} cannot be written: {failure.strerror}.") from failure


@functools.cache
def _dither_pattern():
    """float array (8, 8), within _DITHER / 2 of 0."""
    pattern = _BAYER
    while len(pattern) < 8:
        pattern = np.block([[4 * pattern + step for step in row] for row in _BAYER.tolist()])
    return ((pattern + 0.5) / pattern.size - 0.5) * _DITHER


def _nearest(palette):
    """Index of the nearest palette colour, uint8 (levels, levels, levels), for red, green and blue."""
    from scipy.spatial import cKDTree  # here, since it takes a quarter of a second

    levels = (np.arange(_LEVELS) + 0.5) * (256 / _LEVELS)
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1)
    return cKDTree(palette.astype(float)).query(cube)[1].astype("uint8")


def compare_gifs(before, after, target):
    """Puts a GIF and its coloured version side by side.

    Args:
        before: path of the source, of which the gray is shown.
        after: path of the coloured one, with as many frames of the same size.
        target: path to write; replaced if it exists.

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
    """Two `AnimationFrame`s -> one, the gray of the first on the left."""
    gray = np.uint8(np.rint(color.rgb_to_luma(before.rgb, "bt601")))
    rgb = np.concatenate([np.repeat(gray[..., None], 3, axis=2), after.rgb], axis=1)
    return dataclasses.replace(after, rgb=rgb, alpha=np.hstack([before.alpha, after.alpha]))

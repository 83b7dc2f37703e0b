"""Tell photos, films and GIFs by their names, without opening them or importing what can."""

from pathlib import Path

PHOTO_SUFFIXES = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp"))
FILM_SUFFIXES = frozenset((".mp4", ".m4v", ".mov", ".mkv", ".avi", ".webm"))
# Pictures that Pillow cannot read, or not on every machine.
OTHER_PICTURES = frozenset(
    (".avif", ".heic", ".heif", ".jp2", ".jxl", ".pbm", ".pgm", ".ppm", ".psd", ".svg", ".tga")
    + (".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2")
)


def is_photo(path: str | Path) -> bool:
    """Tell by its name whether a path is that of a photo.

    Args:
        path: nothing need exist there.

    Returns:
        True if the suffix, in upper or lower case, is one of PHOTO_SUFFIXES. Names that begin with a dot
        are hidden files, such as unfinished ones and macOS's `._x.jpg`, and no photos.
    """
    return _ends_in(path, PHOTO_SUFFIXES)


def is_film(path: str | Path) -> bool:
    """Tell by its name whether a path is that of a film, as `is_photo` does."""
    return _ends_in(path, FILM_SUFFIXES)


def is_gif(path: str | Path) -> bool:
    """Tell by its name whether a path is that of a GIF, as `is_photo` does."""
    return _ends_in(path, (".gif",))


def _ends_in(path, suffixes):
    path = Path(path)
    return path.suffix.lower() in suffixes and not path.name.startswith(".")

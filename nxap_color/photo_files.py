"""Collections of photos: a folder, a zip or a single file, listed and opened by name."""

import functools
import zipfile
from pathlib import Path

from nxap_color.image_io import is_photo

_MEMBER = "::"  # "photos.zip::cats/1.jpg" names a file inside a zip


def list_photos(source):
    """Lists the photos of a source.

    Args:
        source: a folder (searched recursively), a zip, or a photo.

    Returns:
        Sorted list of names for `open_photo`: a path, or "ZIP::MEMBER" for a file inside a zip.

    Raises:
        FileNotFoundError: if the source is missing.
        ValueError: if it is a file, but neither a photo nor a zip.
    """
    path = Path(source)
    if path.is_dir():
        return sorted(str(file) for file in path.rglob("*") if is_photo(file) and file.is_file())
    if not path.exists():
        raise FileNotFoundError(f"There is no {source}: expected a folder of photos, a zip or a photo.")
    if zipfile.is_zipfile(path):
        return sorted(f"{path}{_MEMBER}{name}" for name in _open_zip(str(path)).namelist() if is_photo(name))
    if is_photo(path):
        return [str(path)]
    raise ValueError(f"{source} is neither a folder, nor a zip, nor a photo.")


def open_photo(name):
    """Opens a photo for `image_io.read_photo`.

    Args:
        name: as from `list_photos`.

    Returns:
        The path itself, or an open binary stream of a file inside a zip.
    """
    container, separator, member = name.partition(_MEMBER)
    return _open_zip(container).open(member) if separator else name


def photo_size(name):
    """Tells the size in bytes of the file that `name`, as from `list_photos`, stands for."""
    container, separator, member = name.partition(_MEMBER)
    return _open_zip(container).getinfo(member).file_size if separator else Path(name).stat().st_size


def own_name(name):
    """Strips where a photo lies: the member's name inside a zip, or the last part of a path."""
    return name.partition(_MEMBER)[2] or Path(name).name


@functools.lru_cache(maxsize=64)
def _open_zip(path):
    return zipfile.ZipFile(path)  # several threads may read: every stream has a place of its own

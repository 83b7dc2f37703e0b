"""List and read collections of photos: a folder, a zip or a single file."""

import functools
import io
import zipfile
import zlib
from pathlib import Path

from nxap_color.errors import PhotoError, UserError
from nxap_color.media.kinds import is_photo
from nxap_color.media.photos import Photo, read_photo

_MEMBER = "::"  # "photos.zip::cats/1.jpg" names a file inside a zip


def list_photos(source: str | Path) -> list[str]:
    """List the photos of a source.

    Args:
        source: a folder (searched recursively), a zip, or a photo.

    Returns:
        Sorted names for `read_listed`: a path, or "ZIP::MEMBER" for a file inside a zip.

    Raises:
        UserError: if the source is missing, or is a file but neither a photo nor a readable zip.
    """
    path = Path(source)
    if path.is_dir():
        return sorted(str(file) for file in path.rglob("*") if is_photo(file) and file.is_file())
    if not path.exists():
        raise UserError(f"There is no {source}: expected a folder of photos, a zip or a photo.")
    if zipfile.is_zipfile(path):
        try:
            members = _open_zip(str(path)).namelist()
        except zipfile.BadZipFile as error:
            raise UserError(f"The zip {source} is damaged ({error}): fetch or pack it again.") from error
        return sorted(f"{path}{_MEMBER}{name}" for name in members if is_photo(name))
    if is_photo(path):
        return [str(path)]
    raise UserError(f"{source} is neither a folder, nor a zip, nor a photo.")


def read_listed(name: str) -> Photo:
    """Read a photo of a list.

    Args:
        name: as from `list_photos`.

    Returns:
        `photos.Photo`.

    Raises:
        PhotoError: if it cannot be read.
    """
    container, member = _split(name)
    if not member:
        return read_photo(name)
    try:
        data = _open_zip(container).read(member)
    # Encrypted members, unknown compression, a zip that is gone or damaged.
    except (RuntimeError, KeyError, OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise PhotoError(f"The photo '{name}' cannot be unpacked: {error}.") from error
    return read_photo(io.BytesIO(data))


def photo_size(name: str) -> int:
    """Return the size in bytes of the file that `name`, as from `list_photos`, stands for."""
    container, member = _split(name)
    return _open_zip(container).getinfo(member).file_size if member else Path(name).stat().st_size


def own_name(name: str) -> str:
    """Return the name of a photo without its place: the member inside a zip, or the last part of a path."""
    return _split(name)[1] or Path(name).name


def group_in(source: str | Path, name: str) -> str:
    """Return the group of a photo: the first folder on its way from `source`, or "." without one.

    Args:
        source: folder, zip or photo, as in `list_photos`.
        name: one of the names that `list_photos` gave.
    """
    container, member = _split(name)
    inside = Path(member) if member else Path(container).relative_to(source)
    return inside.parts[0] if len(inside.parts) > 1 else "."


def folder_of(source: str | Path, name: str) -> str:
    """Return the folder that a photo lies in, as seen from `source`: "cats/tabby"; `source` itself if none.

    Args:
        source: folder, zip or photo, as in `list_photos`.
        name: one of the names that `list_photos` gave.
    """
    container, member = _split(name)
    if not member and Path(container) == Path(source):  # a single photo
        return str(Path(source).parent)
    inside = Path(member) if member else Path(container).relative_to(source)
    return inside.parent.as_posix() if len(inside.parts) > 1 else str(source)


def _split(name):
    """Split "ZIP::MEMBER" into (ZIP, MEMBER), a path into (path, ""); folders may have :: in their names."""
    container, _, member = name.partition(_MEMBER)
    return (container, member) if member and Path(container).is_file() else (name, "")


@functools.lru_cache(maxsize=64)
def _open_zip(path):
    return zipfile.ZipFile(path)  # threads may share it: every stream has its own position

"""Features of the photos of a training: a frozen network is asked once, instead of in every epoch."""

import itertools
import time
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from nxap_color.extractors import BATCH_SIZE, Extractor
from nxap_color.media.atomic import written_whole
from nxap_color.training.drawing import split_shares
from nxap_color.training.sources import PhotoSet

FILE_PHOTOS = 512  # photos whose features go into one file


class PhotoFeatures:
    """The features of all photos of a training; each describes the whole photo, not a crop.

    They are kept in a folder. A later run on the same photos reads them there, and a run that was stopped
    continues there.

    Args:
        extractor: the frozen network to ask.
        photos: the photos.
        folder: where to keep them; its name should stand for extractor and photos, as `cache_name` does.

    Attributes:
        name: the extractor's, which is also that of the network's input.
        num_found: photos that the extractor had to be asked about; the others were in the folder.
        seconds: how long that took.
    """

    def __init__(self, extractor: Extractor, photos: PhotoSet, folder: str | Path):
        self.name = extractor.name
        folder, start = Path(folder), time.perf_counter()
        folder.mkdir(parents=True, exist_ok=True)
        parts = [part for path in folder.glob("[!.]*.npz") if (part := _read(path))]
        known = {name for names, _ in parts for name in names}
        before, total = len(known), photos.num_train + photos.num_validation
        everything = photos.everything if before < total else ()
        bar = tqdm(everything, total=total, desc=f"features of {extractor.name}", unit="photo", disable=None)
        new = ((name.numpy(), rgb.numpy()) for name, rgb in bar if name.numpy() not in known)
        while some := list(_find(extractor, new)):
            names, features = map(np.concatenate, zip(*some, strict=True))
            # Under a name of its own, so that two runs at once do not replace each other's files.
            with written_whole(folder / f"{uuid.uuid4().hex}.npz") as partial:
                np.savez(partial, names=names, features=features)
            parts.append((names.tolist(), features))
        self._features = np.concatenate([features for _, features in parts])
        names = itertools.chain.from_iterable(names for names, _ in parts)
        self._rows = {name: row for row, name in enumerate(names)}
        self.num_found, self.seconds = len(self._rows) - before, time.perf_counter() - start

    def of(self, names: tf.Tensor) -> tf.Tensor:
        """Look features up, in a `tf.data` pipeline.

        Args:
            names: string tensor (batch,), as a `PhotoSet` yields.

        Returns:
            float32 tensor (batch, num_features).
        """

        def look_up(names):
            return self._features[[self._rows[name] for name in names]].astype("float32")

        features = tf.numpy_function(look_up, (names,), tf.float32)
        return tf.ensure_shape(features, (None, self._features.shape[1]))


def _read(path: Path) -> tuple[list[bytes], np.ndarray] | None:
    """Read a file of the folder: names and features, or None if it is damaged and has to be made again."""
    try:
        with np.load(path) as part:
            return part["names"].tolist(), part["features"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _find(
    extractor: Extractor, photos: Iterator[tuple[bytes, np.ndarray]]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield names and features of the next `FILE_PHOTOS` pairs (name, rgb), in batches."""
    for _ in range(FILE_PHOTOS // BATCH_SIZE):
        if not (batch := list(itertools.islice(photos, BATCH_SIZE))):
            return
        # Broken photos, which are left out later, have a place, too, so that all are known to be there.
        readable = [rgb if rgb.size else np.zeros((1, 1, 3), "uint8") for _, rgb in batch]
        features = extractor(readable)
        # Half precision: 0.1 % matters to no network, and those of a million photos should fit into memory.
        yield np.array([name for name, _ in batch]), features.astype("float16")


def cache_name(extractor: Extractor, photos: PhotoSet, sources: list[str]) -> str:
    """Return a name for the folder of features that stands for the exact extractor and photos.

    Args:
        extractor: the frozen network.
        photos: the photos.
        sources: what the photos were loaded from.

    Returns:
        A name such as "features-inception_v3-1b7e33d0".
    """
    paths, _ = split_shares(sources)  # shares change how often photos are drawn, not what they show
    exactly = f"{extractor.digest} {photos.digest} {sorted(paths)}"
    return f"features-{extractor.name}-{zlib.crc32(exactly.encode(errors='surrogateescape')):08x}"

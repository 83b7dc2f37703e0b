"""What a frozen network says about the photos of a training, found out once instead of in every epoch."""

import itertools
import time
import uuid
import zipfile
import zlib
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from nxap_color.extractors import BATCH_SIZE
from nxap_color.media.atomic import written_whole

FILE_PHOTOS = 512  # photos whose features go into one file


class PhotoFeatures:
    """The features of all photos of a training, of each photo as a whole whatever crop is learned from.

    They are kept in a folder, from which a later run on the same photos takes them, and in which a run
    that is stopped goes on.

    Args:
        extractor: `extractors.Extractor`.
        photos: `sources.Photos`.
        folder: where to keep them; its name should stand for extractor and photos, as `cache_name` does.

    Attributes:
        num_found: photos that the extractor had to be asked for; the others were in the folder.
        seconds: how long that took.
    """

    def __init__(self, extractor, photos, folder):
        folder, start = Path(folder), time.perf_counter()
        folder.mkdir(parents=True, exist_ok=True)
        parts = [part for path in folder.glob("[!.]*.npz") if (part := _read(path))]
        known = {name for names, _ in parts for name in names}
        before, total = len(known), photos.num_train + photos.num_validation
        everything = photos.train(0).concatenate(photos.validation) if before < total else ()
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

    def of(self, names):
        """Looks features up, in a `tf.data` pipeline.

        Args:
            names: string tensor (batch,), as `sources.Photos` yields.

        Returns:
            float32 tensor (batch, num_features).
        """

        def look_up(names):
            return self._features[[self._rows[name] for name in names]].astype("float32")

        features = tf.numpy_function(look_up, (names,), tf.float32)
        return tf.ensure_shape(features, (None, self._features.shape[1]))


def _read(path):
    """A file of the folder -> (list of names, features), or None if it is damaged and to be done again."""
    try:
        with np.load(path) as part:
            return part["names"].tolist(), part["features"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _find(extractor, photos):
    """Iterator of (name, rgb) -> names and features of the next FILE_PHOTOS, in batches of arrays."""
    for _ in range(FILE_PHOTOS // BATCH_SIZE):
        if not (batch := list(itertools.islice(photos, BATCH_SIZE))):
            return
        # Broken photos, which are left out later, have a place, too, so that all are known to be there.
        readable = [rgb if rgb.size else np.zeros((1, 1, 3), "uint8") for _, rgb in batch]
        features = extractor(readable)
        # Half precision: 0.1 % matters to no network, and those of a million photos should fit into memory.
        yield np.array([name for name, _ in batch]), features.astype("float16")


def cache_name(extractor, photos, sources):
    """A name for the folder of features that stands for the exact extractor and photos.

    Args:
        extractor: `extractors.Extractor`.
        photos: `sources.Photos`.
        sources: list of texts, what the photos were loaded from.

    Returns:
        A text such as "features-inception_v3-1b7e33d0".
    """
    exactly = f"{extractor.digest} {photos.digest} {sorted(map(str, sources))}"
    return f"features-{extractor.name}-{zlib.crc32(exactly.encode(errors='surrogateescape')):08x}"

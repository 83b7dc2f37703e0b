"""What a frozen network says about the photos of a training, found out once instead of in every epoch."""

import itertools
import time
import zlib
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from nxap_color import color
from nxap_color.extractors import BATCH_SIZE
from nxap_color.files import written_whole

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
        self._rows, parts = {}, []

        def add(part):
            start = len(self._rows)
            self._rows |= {bytes(name): start + row for row, name in enumerate(part["names"])}
            parts.append(part["features"])

        folder, start = Path(folder), time.perf_counter()
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.glob("[0-9]*.npz")):
            add(np.load(path))
        before, total = len(self._rows), photos.num_train + photos.num_validation
        everything = photos.train(0).concatenate(photos.validation) if before < total else ()
        bar = tqdm(everything, total=total, desc=f"features of {extractor.name}", unit="photo", disable=None)
        new = ((name.numpy(), rgb.numpy()) for name, rgb in bar if name.numpy() not in self._rows)
        while some := list(itertools.islice(new, FILE_PHOTOS)):
            part = _find(extractor, some)
            path = folder / f"{len(parts):05d}.npz"
            with written_whole(path) as partial:
                np.savez(partial, **part)
            add(part)
        self.num_found, self.seconds = len(self._rows) - before, time.perf_counter() - start
        self._features = np.concatenate(parts)

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


def _find(extractor, photos):
    """List of (name, rgb) -> the arrays "names" and "features" that go into a file."""
    names, features = [], []
    for start in range(0, len(photos), BATCH_SIZE):
        batch = photos[start : start + BATCH_SIZE]
        names += [name for name, _ in batch]
        # Broken photos, which are left out later, have a place, too, so that all are known to be there.
        readable = [rgb if rgb.size else np.zeros((1, 1, 3), "uint8") for _, rgb in batch]
        pairs = [color.split_lightness_ab(np.float32(rgb) / np.float32(255.0)) for rgb in readable]
        features.append(extractor([np.asarray(lightness) for lightness, _ in pairs]))
    # Half precision: 0.1 % matters to no network, and those of a million photos should fit into memory.
    return {"names": np.array(names), "features": np.concatenate(features).astype("float16")}


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

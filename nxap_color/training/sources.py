"""Where training photos come from: folders, zips, or tensorflow-datasets; and their split in two."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from nxap_color.downloads import has_internet
from nxap_color.errors import PhotoError
from nxap_color.images import to_uint8
from nxap_color.media.collections import list_photos, own_name, photo_size, read_listed

TFDS_PREFIX = "tfds:"
TFDS_SHUFFLE = 2048  # photos, still compressed, that are mixed at a time


@dataclass
class Photos:
    """Photos to train and to validate on, none in both.

    Attributes:
        train: function epoch -> `tf.data.Dataset` of one pass, in an order that depends on the epoch.
        validation: `tf.data.Dataset` of one pass, always in the same order. Both yield (name, rgb),
            rgb uint8 (H, W, 3) of any size, or (0, 0, 3) for a file that could not be read.
        num_train: number of training photos, broken and gray ones included.
        num_validation: the same for validation.
        digest: stands for the exact set of files; runs with the same digest saw the same data.
        skipped: names of what was left out so far, under "broken" and "gray".
    """

    train: Callable
    validation: tf.data.Dataset
    num_train: int
    num_validation: int
    digest: str
    skipped: dict = field(default_factory=lambda: {"broken": set(), "gray": set()})

    def __post_init__(self):
        if not self.num_train or not self.num_validation:
            raise ValueError(
                f"{self.num_train + self.num_validation} photos give {self.num_train} to train and "
                f"{self.num_validation} to validate on; both need at least one. Add photos or raise "
                "the share for validation (--validation)."
            )


def load_photos(sources, validation_fraction=0.02, seed=0):
    """Opens colour photos and splits them into training and validation.

    Args:
        sources: list of folders (searched recursively), zips and single photos, which are mixed; or of
            one "tfds:NAME", a name of tensorflow-datasets, downloaded on first use.
        validation_fraction: in (0, 1), the share kept for validation. A photo's side is decided by a
            hash of its own name (for tensorflow-datasets its number) and the seed, so that photos added
            later move no other.
        seed: whole number; decides the split and the order.

    Returns:
        `Photos`.

    Raises:
        ValueError: if there are too few photos to split, or a source is none of the above.
        FileNotFoundError: if a source is missing.
        ConnectionError: if tensorflow-datasets would have to download without internet.
    """
    if len(sources) == 1 and str(sources[0]).startswith(TFDS_PREFIX):
        builder = find_tfds(str(sources[0]).removeprefix(TFDS_PREFIX))
        return photos_of_builder(builder, validation_fraction, seed)
    names = sorted({name for source in sources for name in list_photos(source)})
    hashes = {name: _hash(own_name(name), seed) for name in names}
    train = [name for name in names if hashes[name] >= validation_fraction]
    # In the order of the hash, since neighbours in a folder are alike and sample pictures show the first.
    validation = sorted(set(names) - set(train), key=hashes.get)

    # As bytes: names in an old archive are not always UTF-8.
    encoded = [os.fsencode(name) for name in train]

    def shuffled(epoch):
        order = tf.random.experimental.stateless_shuffle(encoded, seed=(seed, epoch))
        return tf.data.Dataset.from_tensor_slices(order).map(_read, num_parallel_calls=tf.data.AUTOTUNE)

    ordered = tf.data.Dataset.from_tensor_slices(
        tf.constant([os.fsencode(name) for name in validation], tf.string)
    )
    return Photos(
        train=shuffled,
        validation=ordered.map(_read, num_parallel_calls=tf.data.AUTOTUNE),
        num_train=len(train),
        num_validation=len(validation),
        digest=_digest(f"{own_name(name)} {photo_size(name)}" for name in names),
    )


def find_tfds(name):
    """Finds a data set of tensorflow-datasets and downloads it if need be.

    Args:
        name: such as "tf_flowers" or "imagenette/320px-v2".

    Returns:
        A builder that is ready to be read.

    Raises:
        ValueError: if there is no data set of this name, or it cannot be prepared.
        ConnectionError: if it has to be downloaded and there is no internet; within seconds, where
            tensorflow-datasets itself would try for minutes.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name)
    except tfds.core.DatasetNotFoundError:
        raise ValueError(f"tensorflow-datasets has no data set {name}; data/README.md names some.") from None
    if not builder.is_prepared() and not has_internet():
        raise ConnectionError(
            f"The data set {name} is not on this machine, and there is no internet to download it from. "
            "Connect and try again, or train on a folder of your own photos: "
            "python -m nxap_color.train FOLDER"
        )
    try:
        builder.download_and_prepare()
    except Exception as error:  # dead links, a full disk, sets to be fetched by hand: it says which
        raise ValueError(f"tensorflow-datasets could not prepare {name}: {error}") from error
    return builder


def photos_of_builder(builder, validation_fraction=0.02, seed=0):
    """Splits the photos of a tensorflow-datasets builder in two: its "train" ones, if it has such.

    Args:
        builder: a prepared builder with a colour image among its features, for example of
            `tfds.folder_dataset.ImageFolder`.
        validation_fraction, seed: as in `load_photos`.

    Returns:
        `Photos`.

    Raises:
        ValueError: if the data set has no colour photos, or too few.
    """
    import tensorflow_datasets as tfds

    features = builder.info.features or {}
    colour = [key for key, feature in features.items() if getattr(feature, "shape", ())[-1:] == (3,)]
    if not colour:
        raise ValueError(f"{builder.name} has no colour photos among its features {list(features)}.")
    key = colour[0]
    splits = list(builder.info.splits)
    split = "train" if "train" in splits or not splits else splits[0]
    # Decoding waits until it is known which photos are wanted.
    encoded = builder.as_dataset(split=split, decoders={key: tfds.decode.SkipDecoding()})
    count = int(encoded.cardinality())
    sides = np.array([_hash(str(number), seed) < validation_fraction for number in range(count)])

    def part(validation):
        kept = encoded.enumerate().filter(lambda number, _: tf.constant(sides)[number] == validation)
        return kept.map(lambda number, example: (tf.strings.as_string(number), example[key]))

    def decode(name, image):
        return name, tf.ensure_shape(features[key].decode_example(image), (None, None, 3))

    def shuffled(epoch):
        def mix(*columns):
            order = tf.random.experimental.stateless_shuffle(tf.range(tf.size(columns[0])), (seed, epoch))
            return tuple(tf.gather(column, order) for column in columns)

        mixed = part(False).batch(TFDS_SHUFFLE).map(mix).unbatch()
        return mixed.map(decode, num_parallel_calls=tf.data.AUTOTUNE)

    return Photos(
        train=shuffled,
        validation=part(True).map(decode, num_parallel_calls=tf.data.AUTOTUNE),
        num_train=int((~sides).sum()),
        num_validation=int(sides.sum()),
        digest=_digest([f"{builder.info.full_name} {count}"]),
    )


def _read(name):
    """Name -> (name, rgb uint8 (H, W, 3)); (0, 0, 3) if the file cannot be read."""

    def read(name):
        try:
            return to_uint8(read_listed(os.fsdecode(name)).rgb)
        except PhotoError:
            return np.zeros((0, 0, 3), "uint8")

    rgb = tf.numpy_function(read, (name,), tf.uint8)
    return name, tf.ensure_shape(rgb, (None, None, 3))


def _hash(name, seed):
    """A number in [0, 1) that depends on nothing but a name and the seed."""
    digest = hashlib.sha256(os.fsencode(f"{seed}:{name}")).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64


def _digest(lines):
    return hashlib.sha256(os.fsencode("\n".join(sorted(lines)))).hexdigest()[:16]

"""Photos to train and to validate on, from folders, zips or tensorflow-datasets."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nxap_color.downloads import has_internet
from nxap_color.errors import PhotoError, UserError
from nxap_color.images import to_uint8
from nxap_color.media.collections import folder_of, list_photos, own_name, photo_size, read_listed
from nxap_color.training.config import MIN_COLORFULNESS
from nxap_color.training.drawing import draw, split_shares, weigh

TFDS_PREFIX = "tfds:"
TFDS_SHUFFLE = 2048  # photos, still compressed, that are mixed at a time


@dataclass
class PhotoSet:
    """A data set: photos to train and photos to validate on, none in both.

    Attributes:
        train: function epoch -> `tf.data.Dataset` of one epoch, in an order that depends on the epoch. With
            shares or balance it has some photos several times, and others not.
        validation: `tf.data.Dataset` of one pass, always in the same order.
        everything: `tf.data.Dataset` of one pass over all photos of both parts. All three yield (name, rgb),
            rgb uint8 (H, W, 3) of any size, or (0, 0, 3) for a file that could not be read.
        num_train: number of training photos, including broken and gray ones.
        num_validation: the same for validation.
        digest: stands for the exact set of files; runs with the same digest saw the same data.
        min_colorfulness: photos below it (`metrics.colorfulness`) are left out.
        skipped: names of what was left out so far, under "broken", "gray" and "pale".
        usable: hashes of the names of photos that were found to have enough colour.

    Raises:
        UserError: if one of the two parts is empty.
    """

    train: Callable[[int], tf.data.Dataset]
    validation: tf.data.Dataset
    everything: tf.data.Dataset
    num_train: int
    num_validation: int
    digest: str
    min_colorfulness: float = MIN_COLORFULNESS
    skipped: dict[str, set[str]] = field(
        default_factory=lambda: {reason: set() for reason in ("broken", "gray", "pale")}
    )
    usable: set[int] = field(default_factory=set)

    def __post_init__(self):
        if not self.num_train or not self.num_validation:
            raise UserError(
                f"{self.num_train + self.num_validation} photos give {self.num_train} to train and "
                f"{self.num_validation} to validate on; both need at least one. Add photos or raise "
                "the share for validation (--validation)."
            )


def load_photos(
    sources: Sequence[str | Path],
    validation_fraction: float = 0.02,
    seed: int = 0,
    balance: float = 0.0,
    min_colorfulness: float = MIN_COLORFULNESS,
) -> PhotoSet:
    """Open colour photos and split them into training and validation.

    Args:
        sources: folders (searched recursively), zips and single photos, which are mixed; or one "tfds:NAME",
            a name of tensorflow-datasets, downloaded on first use. Each but the latter may end in ":SHARE":
            photos of "a.zip:3" and "b:1" are drawn 3 to 1, however many there are.
        validation_fraction: in (0, 1), the share kept for validation. A hash of a photo's own name (with
            tensorflow-datasets, of its number) and the seed decides its side, so that adding photos moves
            no other.
        seed: whole number; decides the split and the order.
        balance: in [0, 1], how much the folders that photos lie in are evened out: one of n training photos
            counts as n ** (1 - balance). Shares and balance leave the validation as it is.
        min_colorfulness: photos with less colour (`metrics.colorfulness`) are left out.

    Raises:
        UserError: if there are too few photos to split, a source is missing or none of the above, only some
            have a share, or tensorflow-datasets would have to download without internet.
    """
    _leave_gpus_to_keras()
    if len(sources) == 1 and str(sources[0]).startswith(TFDS_PREFIX):
        if balance:
            raise UserError("--balance evens out folders, which the data sets of tensorflow-datasets lack.")
        builder = find_tfds(str(sources[0]).removeprefix(TFDS_PREFIX))
        return photos_of_builder(builder, validation_fraction, seed, min_colorfulness)
    paths, shares = split_shares(sources)
    origins = {}
    for number, path in enumerate(paths):
        for name in list_photos(path):
            origins.setdefault(name, (number, folder_of(path, name)))
    names = sorted(origins)
    hashes = {name: _hash(own_name(name), seed) for name in names}
    train = [name for name in names if hashes[name] >= validation_fraction]
    # In the order of the hash, since neighbours in a folder are alike and sample pictures show the first.
    validation = sorted(set(names) - set(train), key=hashes.get)
    weights = weigh([origins[name] for name in train], shares, balance)
    encoded = _encode(train)

    def drawn(epoch):
        order = tf.numpy_function(lambda epoch: draw(weights, seed, int(epoch)), (epoch,), tf.int64)
        return _open(tf.gather(encoded, tf.ensure_shape(order, (None,))))

    return PhotoSet(
        train=drawn,
        validation=_open(_encode(validation)),
        everything=_open(_encode(train + validation)),
        num_train=len(train),
        num_validation=len(validation),
        digest=_digest(f"{own_name(name)} {photo_size(name)}" for name in names),
        min_colorfulness=min_colorfulness,
    )


def _encode(names):
    """Names -> string tensor; as bytes, since names in an old archive are not always UTF-8."""
    return tf.constant([os.fsencode(name) for name in names], tf.string)


def _open(names):
    """String tensor -> data set of (name, rgb)."""
    return tf.data.Dataset.from_tensor_slices(names).map(_read, num_parallel_calls=tf.data.AUTOTUNE)


def _leave_gpus_to_keras() -> None:
    """Let TensorFlow read photos on the processor where another library computes.

    It would take the memory of the graphics cards from that library.
    """
    if keras.backend.backend() != "tensorflow":
        with contextlib.suppress(RuntimeError):  # it has started already
            tf.config.set_visible_devices([], "GPU")


def find_tfds(name: str) -> Any:
    """Find a data set of tensorflow-datasets and download it if need be.

    Args:
        name: such as "tf_flowers" or "imagenette/320px-v2".

    Returns:
        A builder that is ready to be read.

    Raises:
        UserError: if there is no data set of this name, it cannot be prepared, or it has to be downloaded and
            there is no internet; the latter within seconds, where tensorflow-datasets would try for minutes.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name)
    except tfds.core.DatasetNotFoundError:
        raise UserError(f"tensorflow-datasets has no data set {name}; data/README.md names some.") from None
    if not builder.is_prepared() and not has_internet():
        raise UserError(
            f"The data set {name} is not on this machine, and there is no internet to download it from. "
            "Connect and try again, or train on a folder of your own photos: "
            "python -m nxap_color.train FOLDER"
        )
    try:
        builder.download_and_prepare()
    except Exception as error:  # not ours: dead links, a full disk, sets to be fetched by hand
        raise UserError(f"tensorflow-datasets could not prepare {name}: {error}") from error
    return builder


def photos_of_builder(
    builder: Any,
    validation_fraction: float = 0.02,
    seed: int = 0,
    min_colorfulness: float = MIN_COLORFULNESS,
) -> PhotoSet:
    """Split the photos of a tensorflow-datasets builder in two: those of its "train" split, if it has one.

    Args:
        builder: a prepared builder with a colour image among its features, for example of
            `tfds.folder_dataset.ImageFolder`.
        validation_fraction, seed, min_colorfulness: as in `load_photos`.

    Raises:
        UserError: if the data set has no colour photos, or too few.
    """
    import tensorflow_datasets as tfds

    _leave_gpus_to_keras()

    features = builder.info.features or {}
    colour = [key for key, feature in features.items() if getattr(feature, "shape", ())[-1:] == (3,)]
    if not colour:
        raise UserError(f"{builder.name} has no colour photos among its features {list(features)}.")
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

    return PhotoSet(
        train=shuffled,
        validation=part(True).map(decode, num_parallel_calls=tf.data.AUTOTUNE),
        everything=part(False).concatenate(part(True)).map(decode, num_parallel_calls=tf.data.AUTOTUNE),
        num_train=int((~sides).sum()),
        num_validation=int(sides.sum()),
        digest=_digest([f"{builder.info.full_name} {count}"]),
        min_colorfulness=min_colorfulness,
    )


def _read(name: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Name -> (name, rgb uint8 (H, W, 3)); (0, 0, 3) if the file cannot be read."""

    def read(name):
        try:
            return to_uint8(read_listed(os.fsdecode(name)).rgb)
        except PhotoError:
            return np.zeros((0, 0, 3), "uint8")

    rgb = tf.numpy_function(read, (name,), tf.uint8)
    return name, tf.ensure_shape(rgb, (None, None, 3))


def _hash(name: str, seed: int) -> float:
    """Return a number in [0, 1) that depends on nothing but a name and the seed."""
    digest = hashlib.sha256(os.fsencode(f"{seed}:{name}")).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256(os.fsencode("\n".join(sorted(lines)))).hexdigest()[:16]

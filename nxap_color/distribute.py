"""Training on all devices of one machine or of several, with what Keras and its backends have for it.

TensorFlow mirrors the weights on the devices of one machine (`tf.distribute.MirroredStrategy`). With JAX
Keras does so on any number of machines (`keras.distribution`), each of which runs the same command: the
processes find each other by environment variables, and take each step together.
"""

import collections
import contextlib
import json
import zlib
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from nxap_color.processes import find_place


@dataclass(frozen=True)
class World:
    """The devices that share the work of a training, and the processes that they belong to.

    Attributes:
        devices: their number, in all processes together; every process has equally many.
        processes: number of processes.
        index: which of them this is, from 0.
        strategy: what holds them together, of TensorFlow or of Keras; None for a single device.
    """

    devices: int = 1
    processes: int = 1
    index: int = 0
    strategy: Any = None

    @property
    def is_first(self):
        """Whether this is the process that writes files and talks."""
        return self.index == 0

    def scope(self):
        """A context in which models are built, compiled and fitted for all devices."""
        return self.strategy.scope() if self.strategy else contextlib.nullcontext()

    def say(self, text):
        """Prints a line, once for all processes."""
        if self.is_first:
            print(text, flush=True)

    def describe(self):
        """Says what computes, in a line."""
        if not self.strategy:
            return "There is one device here: with --distribute the training is as it is without."
        machines = f" in {self.processes} processes" if self.processes > 1 else ""
        return f"Every batch is shared by {self.devices} devices{machines} ({keras.backend.backend()})."

    def record(self):
        """What belongs into a recipe, a dict; empty for a single device."""
        counts = {"processes": self.processes, "devices": self.devices}
        return {"distributed": {"backend": keras.backend.backend(), **counts}} if self.strategy else {}

    def require_even(self, batch_size):
        """Makes sure that every device gets equally many photos of a batch.

        Args:
            batch_size: photos in a batch of all devices together.

        Raises:
            ValueError: if it is no multiple of the number of devices.
        """
        if batch_size % self.devices:
            raise ValueError(
                f"--batch-size {batch_size} cannot be shared evenly by {self.devices} devices: choose a "
                f"multiple of {self.devices}, such as {-(-batch_size // self.devices) * self.devices}."
            )

    def share(self, batches):
        """Takes of every batch what this process works on.

        A batch, the last one of the validation, that does not fill up all devices is filled up with its first
        photos anew. All processes take the same steps, and each device gets what it would get in one process.

        Args:
            batches: `tf.data.Dataset` of tensors with one leading dimension, as from `data`.

        Returns:
            `tf.data.Dataset` of the same structure.
        """
        if not self.strategy:
            return batches

        def part(tensor):
            count = tf.shape(tensor)[0]
            each = -(-count // self.devices) * self.devices // self.processes
            return tf.gather(tensor, (self.index * each + tf.range(each)) % count)

        return batches.map(lambda *batch: tf.nest.map_structure(part, batch)).prefetch(tf.data.AUTOTUNE)

    def wait(self):
        """Waits until all processes have come to the same place."""
        if self.processes > 1:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices("nxap_color")

    @contextlib.contextmanager
    def first_goes_ahead(self):
        """A context that the others enter when the first process has left it: they find what it wrote."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def alone(self, callbacks):
        """Lets callbacks of this process work at the end of an epoch without the others, who have none.

        Args:
            callbacks: list of Keras callbacks. What they save and show are copies of the shared weights, but
                Keras makes variables on the way, and all processes make a shared one together.

        Returns:
            List of Keras callbacks.
        """
        if self.processes == 1:
            return callbacks

        def switch(strategy):
            return keras.callbacks.LambdaCallback(
                on_epoch_end=lambda *_: keras.distribution.set_distribution(strategy)
            )

        return [switch(None), *callbacks, switch(self.strategy)]

    def require_same(self, **values):
        """Makes sure that all processes are about to do the same.

        Args:
            **values: plain JSON values, by the name that the error calls them.

        Raises:
            ValueError: if one is not the same in all processes.
        """
        if self.processes == 1:
            return
        from jax.experimental import multihost_utils

        digests = [zlib.crc32(json.dumps(value, sort_keys=True).encode()) for value in values.values()]
        gathered = multihost_utils.process_allgather(keras.ops.convert_to_numpy(digests).astype("uint32"))
        differing = [
            name for name, column in zip(values, gathered.T, strict=True) if len(set(column.tolist())) > 1
        ]
        if differing:
            raise ValueError(
                f"The processes differ in {' and '.join(differing)}: all need the same command, the same "
                "photos, and an OUTPUT in a folder that they share."
            )


def join():
    """Joins the other processes of the training, if there are any; before Keras computes anything.

    Raises:
        ValueError: if the backend cannot work with others.
    """
    if find_place()[1] == 1:
        return
    if keras.backend.backend() != "jax":
        raise ValueError(
            f"Several processes train together on JAX, received {keras.backend.backend()}: "
            "set KERAS_BACKEND=jax for each of them."
        )
    keras.distribution.initialize()


def find_world():
    """Finds the devices of this machine and, after `join`, of the others.

    Returns:
        `World`.

    Raises:
        ValueError: if the backend cannot share work, or processes have different numbers of devices.
    """
    if keras.backend.backend() == "tensorflow":
        strategy = tf.distribute.MirroredStrategy()
        devices = strategy.num_replicas_in_sync
        return World(devices, strategy=strategy) if devices > 1 else World()
    if keras.backend.backend() != "jax":
        raise ValueError(
            f"--distribute needs Keras on TensorFlow or JAX, received {keras.backend.backend()}: "
            "set KERAS_BACKEND=tensorflow or KERAS_BACKEND=jax."
        )
    import jax

    counts = collections.Counter(device.process_index for device in jax.devices())
    if len(set(counts.values())) > 1:
        raise ValueError(
            f"Every process needs equally many devices, received {[counts[i] for i in sorted(counts)]}: "
            "CUDA_VISIBLE_DEVICES limits those of a process."
        )
    if jax.device_count() == 1:
        return World()
    # `World.share` has cut the batches already: Keras, which cuts them otherwise, does not fill up the last.
    strategy = keras.distribution.DataParallel(auto_shard_dataset=False)
    return World(jax.device_count(), jax.process_count(), jax.process_index(), strategy)

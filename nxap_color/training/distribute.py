"""Training on all devices of one machine or of several, with what Keras and its backends have for it.

TensorFlow mirrors the weights on the devices of one machine (`tf.distribute.MirroredStrategy`). With JAX
Keras does so on any number of machines (`keras.distribution`), each of which runs the same command: the
processes find each other by environment variables, and take each step together.
"""

import collections
import contextlib
import importlib.util
import json
import os
import re
import signal
import sys
import threading
import traceback
import zlib
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

# What `keras.distribution.initialize` looks for; all or none of them have to be set.
_VARIABLES = tuple(f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID"))
_BROKE_OFF = 70  # exit status of a process whose work with the others failed


def require_jax():
    """Makes sure that JAX is there if it is asked for.

    Raises:
        ValueError: if it is not; says how to install it.
    """
    if os.environ.get("KERAS_BACKEND") == "jax" and importlib.util.find_spec("jax") is None:
        raise ValueError(
            "KERAS_BACKEND=jax needs JAX, which is not installed: pip install jax, "
            "or for NVIDIA graphics cards pip install 'jax[cuda12]'"
        )


def find_place():
    """Finds out which of how many processes this is.

    Returns:
        (index from 0, number of processes); (0, 1) if nothing says that there are several.

    Raises:
        ValueError: if environment variables are missing or contradict each other.
    """
    missing = [name for name in _VARIABLES if name not in os.environ]
    names = _VARIABLES[:0:-1]
    if missing == list(_VARIABLES):
        # Slurm's, where `srun` started it; the rest JAX asks Slurm for.
        names = ("SLURM_PROCID", "SLURM_NTASKS")
        if "SLURM_STEP_NODELIST" not in os.environ or any(name not in os.environ for name in names):
            return 0, 1
    elif missing:
        raise ValueError(f"Of {', '.join(_VARIABLES)} all or none have to be set; {missing[0]} is not.")
    index, count = (os.environ[name] for name in names)
    if not (index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise ValueError(
            f"{names[0]} has to be a number from 0 to one below {names[1]}, received {index} and {count}."
        )
    return int(index), int(count)


def watched(work, index, count):
    """Does the work of one of several processes in a child, so that one is left to speak when it breaks off.

    When a process dies, JAX ends the others on the spot, with lines about itself only.

    Args:
        work: function that returns an exit status.
        index: which of the processes this is.
        count: how many there are.

    Returns:
        The exit status: that of `work`; 1 if it broke off, 130 if the user stopped it.
    """
    if not hasattr(os, "fork"):  # Windows
        return work()
    if index == 0:
        print(f"Waiting for {count} processes, of which this is the first.", flush=True)
    lifeline, ours = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        # It would take SIGTERM for a notice to save before an end that others bring about, and go on.
        os.environ["JAX_ENABLE_PREEMPTION_SERVICE"] = "false"
        # Ends it at once: Keras swallows a KeyboardInterrupt where it waits for the results of a step.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()
        return _work_as_child(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os.kill(child, number))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if 0 <= status != _BROKE_OFF:
        return status
    if status == -signal.SIGINT:
        print("stopped; the same commands with --resume go on after the last epoch", file=sys.stderr)
        return 130
    print(
        f"error: process {index} of {count} broke off. Where no reason stands above, another one did so "
        "first: all of them end then. The same commands with --resume go on after the last whole epoch.",
        file=sys.stderr,
    )
    return 1


def is_of_jax(error):
    """Tells whether an exception, of whatever class, comes from JAX's runtime: it names a status first."""
    return bool(re.match("[A-Z_]{5,}: ", str(error)))


def _work_as_child(work):
    """Does the work, and leaves at once if it fails: an orderly end would wait for the other processes."""
    try:
        status = work()
    except Exception as error:
        if is_of_jax(error):  # mostly of a connection that broke, wherever this process was at that moment
            print(f"JAX: {str(error).splitlines()[0]}", file=sys.stderr)
        else:
            traceback.print_exc()
        status = _BROKE_OFF
    if status:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def _end_with_parent(lifeline):
    os.read(lifeline, 1)  # nothing is ever written: it returns when the parent has gone
    os._exit(_BROKE_OFF)


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

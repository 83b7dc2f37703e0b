"""Training on all devices of one machine or of several.

TensorFlow mirrors the weights on the devices of one machine (`tf.distribute.MirroredStrategy`). With JAX,
Keras does so on any number of machines (`keras.distribution`). Each machine runs the same command; the
processes find each other through environment variables and take every step together.
"""

import atexit
import contextlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nxap_color.errors import ProcessError, UserError

if TYPE_CHECKING:  # at run time only where they are needed: `train --help` needs neither
    import keras
    import tensorflow as tf

# What `keras.distribution.initialize` reads; either all of them are set or none.
_VARIABLES = tuple(f"KERAS_DISTRIBUTION_{name}" for name in ("PROCESS_ID", "NUM_PROCESSES", "JOB_ADDRESSES"))
_SUPERVISED = "NXAP_COLOR_SUPERVISED"  # marks the child in which one of several processes does its work
_FAILED = (
    70  # exit status of a child that failed through a bug or another process; any other error has its own
)


def require_jax() -> None:
    """Raise a `UserError` that says how to install JAX, if KERAS_BACKEND asks for it and it is missing."""
    if os.environ.get("KERAS_BACKEND") == "jax" and importlib.util.find_spec("jax") is None:
        raise UserError(
            "KERAS_BACKEND=jax needs JAX, which is not installed: pip install jax, "
            "or for NVIDIA graphics cards pip install 'jax[cuda12]'"
        )


def find_place() -> tuple[int, int]:
    """Find out which of how many processes this is.

    Returns:
        (index from 0, number of processes); (0, 1) if no environment variable names several.

    Raises:
        UserError: if environment variables are missing or contradict each other.
    """
    missing = [name for name in _VARIABLES if name not in os.environ]
    names = _VARIABLES[:2]
    if len(missing) == len(_VARIABLES):
        # Set by Slurm if `srun` started this process; JAX asks Slurm for the rest.
        names = ("SLURM_PROCID", "SLURM_NTASKS")
        if any(name not in os.environ for name in ("SLURM_STEP_NODELIST", *names)):
            return 0, 1
    elif missing:
        raise UserError(f"Set either all of {', '.join(_VARIABLES)} or none; {missing[0]} is not set.")
    index, count = (os.environ[name] for name in names)
    if not (index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise UserError(
            f"{names[0]} must be a number from 0 to one below {names[1]}, received {index} and {count}."
        )
    return int(index), int(count)


def supervise(arguments: list[str] | None = None) -> int | None:
    """Run the training as a child if this is one of several processes, and report how it ended.

    When one process dies, JAX ends the others on the spot from native code, where no Python handler runs;
    the parent remains to say what to do. A parent that is stopped stops its child. One that is killed cannot:
    the launcher has to kill its process group or step, as `srun` does.

    Args:
        arguments: those of `python -m nxap_color.train`, or None for those of this process.

    Returns:
        The exit status of the child; None if this process has to do the work itself.

    Raises:
        ProcessError: if the child, or another process before it, failed.
        KeyboardInterrupt: with the number of the signal, if the child was asked to end.
    """
    index, count = find_place()
    if count == 1:
        return None
    if _SUPERVISED in os.environ:
        for number in (signal.SIGINT, signal.SIGTERM):  # Keras swallows a KeyboardInterrupt within a step
            signal.signal(number, signal.SIG_DFL)
        if index == 0:
            print(f"Waiting for {count} processes, of which this is the first.", flush=True)
        return None
    command = [sys.executable, "-m", "nxap_color.train", *(sys.argv[1:] if arguments is None else arguments)]
    marked = {_SUPERVISED: "1", "JAX_ENABLE_PREEMPTION_SERVICE": "false"}  # which would ignore a SIGTERM
    status = subprocess.call(command, env=os.environ | marked)
    if 0 <= status <= 2:
        return status
    if -status in (signal.SIGINT, signal.SIGTERM):
        raise KeyboardInterrupt(-status)
    raise ProcessError(
        f"process {index} of {count} failed. If no reason is shown above, another process failed first and "
        "stopped them all. The same commands with --resume continue after the last complete epoch."
    )


@contextlib.contextmanager
def failing_at_once() -> Iterator[None]:
    """Let one of several processes that fails inside this context exit without waiting for the others.

    JAX holds an exiting process until all others exit, and those wait for this one's next step. Measured,
    that ends after 301 s with native stack traces of all. `jax.distributed.shutdown` waits in the same way,
    so the exit has to leave out JAX's exit handler. An error of JAX's runtime, most often of a connection to
    a process that died, becomes a `ProcessError`.
    """
    try:
        yield
    except Exception as error:
        if _SUPERVISED in os.environ:
            # Handlers run in reverse order, so before JAX's, and after the error was printed.
            atexit.register(os._exit, getattr(error, "exit_status", _FAILED))
            atexit.register(sys.stdout.flush)
        if is_of_jax(error):
            raise ProcessError(f"JAX: {str(error).splitlines()[0]}") from error
        raise


def is_of_jax(error: BaseException) -> bool:
    """Tell whether an exception, of whatever class, comes from JAX's runtime: it starts with a status."""
    return bool(re.match("[A-Z_]{5,}: ", str(error)))


@dataclass(frozen=True)
class World:
    """The devices that share the work of a training, and the processes that they belong to.

    Attributes:
        devices: their number in all processes together; every process has equally many.
        processes: number of processes.
        index: which of them this is, from 0.
        strategy: the distribution strategy of TensorFlow or Keras; None for a single device.
    """

    devices: int = 1
    processes: int = 1
    index: int = 0
    strategy: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.index == 0

    def scope(self) -> contextlib.AbstractContextManager:
        """Return a context in which models are built, compiled and fitted for all devices."""
        return self.strategy.scope() if self.strategy else contextlib.nullcontext()

    def say(self, text: str) -> None:
        """Print a line, once for all processes."""
        if self.is_first:
            print(text, flush=True)

    def describe(self) -> str:
        """Describe in a line what computes."""
        if not self.strategy:
            return "There is one device here: with --distribute the training is as it is without."
        import keras

        machines = f" in {self.processes} processes" if self.processes > 1 else ""
        return f"Every batch is shared by {self.devices} devices{machines} ({keras.backend.backend()})."

    def record(self) -> dict[str, dict[str, str | int]]:
        """Return the entry of the recipe; empty for a single device."""
        if not self.strategy:
            return {}
        import keras

        backend = keras.backend.backend()
        return {"distributed": {"backend": backend, "processes": self.processes, "devices": self.devices}}

    def require_even(self, batch_size: int) -> None:
        """Raise a `UserError` unless every device gets equally many photos of a batch."""
        if batch_size % self.devices:
            raise UserError(
                f"--batch-size {batch_size} cannot be shared evenly by {self.devices} devices: choose a "
                f"multiple of {self.devices}, such as {-(-batch_size // self.devices) * self.devices}."
            )

    def share(self, batches: "tf.data.Dataset") -> "tf.data.Dataset":
        """Select this process's part of every batch.

        The last batch of the validation may not fill all devices: it is filled up with its first photos
        again. Each device gets what it would get in one process. Tensors are (batch, ...), nested or not.
        """
        if not self.strategy:
            return batches
        import tensorflow as tf

        def part(tensor):
            count = tf.shape(tensor)[0]
            each = -(-count // self.devices) * self.devices // self.processes
            return tf.gather(tensor, (self.index * each + tf.range(each)) % count)

        return batches.map(lambda *batch: tf.nest.map_structure(part, batch)).prefetch(tf.data.AUTOTUNE)

    def wait(self) -> None:
        """Wait until all processes have reached the same place."""
        if self.processes > 1:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices("nxap_color")

    @contextlib.contextmanager
    def first_goes_ahead(self) -> Iterator[None]:
        """Let the others enter this context when the first process has left it: they find what it wrote."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def alone(self, callbacks: "list[keras.callbacks.Callback]") -> "list[keras.callbacks.Callback]":
        """Surround callbacks of this process alone by two that switch sharing off and on again.

        They save and show copies of the shared weights, but Keras makes variables on the way, and a shared
        variable has to be made by all processes together.
        """
        if self.processes == 1:
            return callbacks
        import keras

        def switch(strategy: Any) -> keras.callbacks.Callback:
            share = keras.distribution.set_distribution
            return keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: share(strategy))

        return [switch(None), *callbacks, switch(self.strategy)]

    def require_same(self, **values: Any) -> None:
        """Raise a `UserError` that names the plain JSON values that differ between processes."""
        if self.processes == 1:
            return
        from jax.experimental import multihost_utils

        digests = [zlib.crc32(json.dumps(value, sort_keys=True).encode()) for value in values.values()]
        same = np.ptp(multihost_utils.process_allgather(np.uint32(digests)), axis=0) == 0
        if differing := [name for name, equal in zip(values, same, strict=True) if not equal]:
            raise UserError(
                f"The processes differ in {' and '.join(differing)}: all need the same command, the same "
                "photos, and an OUTPUT in a folder that they share."
            )


def join() -> None:
    """Join the other processes, if there are any, before Keras computes anything; needs JAX."""
    if find_place()[1] == 1:
        return
    import keras

    if keras.backend.backend() != "jax":
        raise UserError(
            f"Several processes train together on JAX, received {keras.backend.backend()}: "
            "set KERAS_BACKEND=jax for each of them."
        )
    keras.distribution.initialize()


def find_world() -> World:
    """Find the devices of this machine and, after `join`, of the others; equally many in each process."""
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        strategy = tf.distribute.MirroredStrategy()
        devices = strategy.num_replicas_in_sync
        return World(devices, strategy=strategy) if devices > 1 else World()
    if backend != "jax":
        raise UserError(
            f"--distribute needs Keras on TensorFlow or JAX, received {backend}: "
            "set KERAS_BACKEND=tensorflow or KERAS_BACKEND=jax."
        )
    import jax

    counts = np.bincount([device.process_index for device in jax.devices()]).tolist()
    if len(set(counts)) > 1:
        raise UserError(
            f"Every process needs equally many devices, received {counts}: "
            "CUDA_VISIBLE_DEVICES limits those of a process."
        )
    if jax.device_count() == 1:
        return World()
    # `World.share` splits the batches itself: Keras's own splitting would not fill up the last one.
    strategy = keras.distribution.DataParallel(auto_shard_dataset=False)
    return World(jax.device_count(), jax.process_count(), jax.process_index(), strategy)

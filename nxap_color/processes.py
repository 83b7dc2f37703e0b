"""The processes of a training on several machines: which one this is, and what is said when one breaks off.

Each is started by hand or by Slurm, and told its place by environment variables. Keras stays unknown here.
"""

import importlib.util
import os
import re
import signal
import sys
import threading
import traceback

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

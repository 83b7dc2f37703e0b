"""Command lines as a user runs them: in a process of their own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def environment(folder=PROJECT):
    """The environment of a process that finds the package in a folder."""
    return {**os.environ, "PYTHONPATH": str(folder)}


def hear_ctrl_c():
    """Makes a new process listen to it: a shell without job control has its background jobs ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start(module, *arguments, folder=PROJECT, stderr=subprocess.PIPE, **options):
    """Starts `python -m module` in a folder that holds the package; keeps its output for `communicate`."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=stderr, text=True,
        preexec_fn=hear_ctrl_c, **options,
    )  # fmt: skip


def stop_when(condition, process, number):
    """Sends a signal as soon as a condition holds; gives a shell's exit status, output and errors."""
    while not condition() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    output, errors = process.communicate(timeout=120)
    # Python ends by SIGINT itself where that came while a library ran code it had made, as dataclasses do.
    status = process.returncode
    return (status if status >= 0 else 128 - status), output, errors

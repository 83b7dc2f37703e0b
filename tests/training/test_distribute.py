"""Training on several devices and in several processes, on this machine alone."""

import contextlib
import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec

import numpy as np
import pytest
import tensorflow as tf
from commands import hear_ctrl_c

from nxap_color.errors import UserError
from nxap_color.train import main
from nxap_color.training.distribute import World, find_place, join

TINY = ["--arch", "fusion", "--extractor", "none", "--filters", "8", "--image-size", "32"]
TINY += ["--batch-size", "4", "--validation", "0.3", "--keras-only"]
NEEDS_JAX = pytest.mark.skipif(
    find_spec("jax") is None or os.name == "nt", reason="needs JAX (pip install jax) and process groups"
)
FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_multi_thread_eigen=false"  # of what is compiled
METRICS = ("loss", "ab_error", "chroma_ratio", "val_loss", "val_ab_error", "val_chroma_ratio")


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No test is told that it is one of several processes, unless it says so itself."""
    for name in list(os.environ):
        if name.startswith(("KERAS_DISTRIBUTION_", "SLURM_")):
            monkeypatch.delenv(name)


def log_of(path):
    """The log of a run: float64 array (epochs, metrics)."""
    with path.with_suffix(".csv").open(newline="") as file:
        return np.float64([[row[name] for name in METRICS] for row in csv.DictReader(file)])


def free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return str(listener.getsockname()[1])


@pytest.fixture
def start(tmp_path):
    """A function that starts the real command line on JAX in a process of its own, with variables set."""
    # What is compiled is small: to compile it fast, and once, saves half of the time.
    shared = {
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": FLAGS,
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    started = []

    def start(arguments, **variables):
        command = [sys.executable, "-m", "nxap_color.train", *map(str, arguments)]
        environment = {**os.environ, **shared, **variables}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        options = {"start_new_session": True, "preexec_fn": hear_ctrl_c}
        started.append(subprocess.Popen(command, env=environment, **options, **pipes))
        return started[-1]

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def as_by_hand(index, port):
    """What the first or second of two processes is told in the README."""
    told = {"JOB_ADDRESSES": f"localhost:{port}", "NUM_PROCESSES": "2", "PROCESS_ID": str(index)}
    return {f"KERAS_DISTRIBUTION_{name}": value for name, value in told.items()}


def as_by_slurm(index, port):
    """What `srun` would tell it, and the port, which would otherwise come from the number of the job."""
    told = {"JOB_ID": "1", "STEP_NODELIST": "localhost", "NTASKS": "2"}
    told |= {"PROCID": str(index), "LOCALID": str(index)}
    return {f"SLURM_{name}": value for name, value in told.items()} | {"JAX_COORDINATOR_PORT": port}


def child_of(process):
    """The number of the process that does the work for another one."""
    return int(subprocess.check_output(["pgrep", "-P", str(process.pid)], text=True))


@NEEDS_JAX
@pytest.mark.slow
def test_two_processes_train_as_two_devices_do_also_when_one_was_killed(start, photo_folder, tmp_path):
    arguments = [photo_folder, *TINY, "--epochs", "4", "--steps", "6", "--distribute", "--output"]
    whole = tmp_path / "whole.keras"
    devices = f"{FLAGS} --xla_force_host_platform_device_count=2"
    one = start([*arguments, whole], XLA_FLAGS=devices)

    output = tmp_path / "killed" / "model.keras"
    kept = output.with_suffix(".resume") / "state" / "training_metadata.json"
    port = free_port()
    first, second = (start([*arguments, output], **as_by_hand(index, port)) for index in (0, 1))
    deadline = time.monotonic() + 240
    while not (kept.exists() and '"epoch": ' in kept.read_text()):
        assert first.poll() is None and time.monotonic() < deadline, first.communicate()
        time.sleep(0.02)
    os.kill(child_of(second), signal.SIGKILL)
    for index, process in enumerate((first, second)):
        _, err = process.communicate(timeout=120)
        assert process.returncode == 1
        assert f"error: process {index} of 2 failed." in err and "with --resume continue" in err
    out, err = one.communicate(timeout=240)
    assert one.returncode == 0, err
    assert "Every batch is shared by 2 devices (jax)." in out

    port = free_port()
    again = [*arguments, output, "--resume"]
    first, second = (start(again, **as_by_slurm(index, port)) for index in (0, 1))
    (out, err), (silence, _) = first.communicate(timeout=240), second.communicate(timeout=120)
    assert (first.returncode, second.returncode) == (0, 0), err
    assert "Every batch is shared by 2 devices in 2 processes (jax)." in out
    assert silence == ""
    np.testing.assert_allclose(log_of(output), log_of(whole), rtol=1e-5)
    recipe = json.loads(output.with_suffix(".json").read_text())
    assert recipe["distributed"] == {"backend": "jax", "processes": 2, "devices": 2}
    assert recipe["data"]["validation"] % 2  # so that the last batch had to be filled up
    assert {path.name for path in output.parent.iterdir()} == {
        "model.keras", "model.csv", "model.json", "model.samples"
    }  # fmt: skip


@NEEDS_JAX
@pytest.mark.slow
def test_a_process_that_fails_ends_the_others(start, photo_folder, tmp_path):
    port = free_port()
    common = [*TINY, "--distribute", "--output", tmp_path / "model.keras"]
    first = start([photo_folder, *common], **as_by_hand(0, port))
    second = start([tmp_path / "nowhere", *common], **as_by_hand(1, port))
    _, err = second.communicate(timeout=120)
    assert second.returncode == 2
    assert re.fullmatch("error: .*nowhere.*\n", err)
    _, err = first.communicate(timeout=120)  # JAX alone takes five minutes
    assert first.returncode == 1
    assert "error: process 0 of 2 failed. If no reason is shown above, another process failed first" in err
    assert "bug" not in err


@NEEDS_JAX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_is_stopped_takes_its_child_along(number, start, photo_folder, tmp_path):
    arguments = [photo_folder, *TINY, "--distribute", "--output", tmp_path / "model.keras"]
    first = start(arguments, **as_by_hand(0, free_port()))
    assert first.stdout.readline() == "Waiting for 2 processes, of which this is the first.\n"
    first.send_signal(number)
    out, err = first.communicate(timeout=30)  # the end of what both may write to
    assert (first.returncode, out) == (128 + number, "")
    assert "stopped; " in err and "with --resume continue" in err


def test_one_of_several_processes_reports_wrong_usage_as_a_single_one_does(photo_folder, capfd, monkeypatch):
    tell(monkeypatch, "localhost:8476", "2", "1")
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    assert main([str(photo_folder), "--distribute"]) == 2
    assert "set KERAS_BACKEND=jax for each of them" in capfd.readouterr().err


ON_TWO_DEVICES = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from nxap_color.errors import UserError
from nxap_color.train import main
for output in ("one", "two"):
    distribute = ["--distribute"] * (output == "two")
    assert main([*sys.argv[2:], *distribute, "--output", f"{sys.argv[1]}/{output}.keras"]) == 0
"""


@pytest.mark.slow
def test_mirrored_devices_train_as_one_does(photo_folder, tmp_path):
    arguments = [tmp_path, photo_folder, *TINY, "--epochs", "2", "--steps", "3", "--validation", "0.4"]
    done = subprocess.run(
        [sys.executable, "-c", ON_TWO_DEVICES, *map(str, arguments)],
        env={**os.environ, "KERAS_BACKEND": "tensorflow"}, capture_output=True, text=True,
    )  # fmt: skip
    assert "Every batch is shared by 2 devices (tensorflow)." in done.stdout, done.stderr
    recipe = json.loads((tmp_path / "two.json").read_text())
    assert recipe["distributed"] == {"backend": "tensorflow", "processes": 1, "devices": 2}
    assert recipe["data"]["validation"] % 2 == 0
    np.testing.assert_allclose(log_of(tmp_path / "two.keras"), log_of(tmp_path / "one.keras"), rtol=1e-5)


def test_one_device_is_trained_on_as_without(photo_folder, tmp_path, capsys):
    output = tmp_path / "model.keras"
    options = ["--epochs", "1", "--steps", "1", "--output", str(output), "--distribute"]
    assert main([str(photo_folder), *TINY, *options]) == 0
    assert "There is one device here" in capsys.readouterr().out
    assert "distributed" not in json.loads(output.with_suffix(".json").read_text())


def test_each_process_takes_its_part_and_the_last_batch_is_filled_up():
    numbers = tf.data.Dataset.range(10).batch(8).map(lambda batch: (batch, (batch, 10 * batch)))
    parts = [World(4, 2, index, strategy="any").share(numbers) for index in (0, 1)]
    first, last = zip(*parts, strict=True)
    assert [batch[0].numpy().tolist() for batch in first] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [batch[0].numpy().tolist() for batch in last] == [[8, 9], [8, 9]]
    assert [batch[1][1].numpy().tolist() for batch in last] == [[80, 90], [80, 90]]


def test_a_batch_that_cannot_be_shared_evenly_is_refused():
    with pytest.raises(UserError, match="--batch-size 32 cannot be shared evenly by 3 .* such as 33"):
        World(devices=3).require_even(32)


def tell(monkeypatch, addresses=None, count=None, index=None):
    for name, value in (("JOB_ADDRESSES", addresses), ("NUM_PROCESSES", count), ("PROCESS_ID", index)):
        if value is not None:
            monkeypatch.setenv(f"KERAS_DISTRIBUTION_{name}", value)


def test_the_place_is_found_in_variables_of_keras_and_of_slurm(monkeypatch):
    assert find_place() == (0, 1)
    for name, value in (("SLURM_PROCID", "3"), ("SLURM_NTASKS", "8")):
        monkeypatch.setenv(name, value)
    assert find_place() == (0, 1)  # of the script of a job, in which no step has begun
    monkeypatch.setenv("SLURM_STEP_NODELIST", "node[1-2]")
    assert find_place() == (3, 8)
    tell(monkeypatch, "10.0.0.1:8476", "2", "1")
    assert find_place() == (1, 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("10.0.0.1:8476", "2", None), "KERAS_DISTRIBUTION_PROCESS_ID is not set"),
        (("10.0.0.1:8476", "2", "2"), "a number from 0 to one below .*, received 2 and 2"),
        (("10.0.0.1:8476", "two", "0"), "received 0 and two"),
    ],
)
def test_wrong_variables_are_named(values, message, monkeypatch):
    tell(monkeypatch, *values)
    with pytest.raises(UserError, match=message):
        find_place()


def test_several_processes_need_jax(monkeypatch, capsys):
    tell(monkeypatch, "10.0.0.1:8476", "2", "0")
    with pytest.raises(UserError, match="on JAX, received tensorflow: set KERAS_BACKEND=jax"):
        join()
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["photos", "--distribute"]) == 2
    assert "not installed: pip install jax" in capsys.readouterr().err

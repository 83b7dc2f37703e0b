"""How every command line ends: exit statuses, signals, closed pipes, --version and --debug."""

import argparse
import signal
import subprocess
import sys
import time

import pytest
from commands import PROJECT, environment, start, stop_when
from PIL import Image

from nxap_color import __version__, errors
from nxap_color.cli.console import ends_politely, log_held_back, run

DOORS = ("predict", "train", "evaluate", "benchmark", "export", "report", "handin")


def run_with(work, *arguments, **options):
    return run(work, argparse.ArgumentParser(prog="prog"), list(arguments), **options)


def fails_with(error):
    def work(_):
        raise error

    return work


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (1, 1), (3, 3)])
def test_the_status_is_that_of_the_work(returned, status, capsys):
    assert run_with(lambda args: returned) == status
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (errors.UserError("name another file."), 2, "name another file."),
        (errors.ModelError("There is no model x."), 2, "There is no model x."),
        (errors.ExportError("It cannot be converted."), 1, "It cannot be converted."),
        (PermissionError(13, "Permission denied", "there.jpg"), 1, "there.jpg: Permission denied"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (MemoryError(), 1, "There is not enough memory."),
        (TypeError("one\ntwo"), 1, "TypeError: one (a bug in nxap_color: --debug shows where)"),
        (ValueError(), 1, "ValueError:  (a bug in nxap_color: --debug shows where)"),
    ],
)
def test_an_error_is_one_line_and_with_debug_a_traceback(error, status, line, capsys):
    assert run_with(fails_with(error)) == status
    assert capsys.readouterr() == ("", f"error: {line}\n")
    assert run_with(fails_with(error), "--debug") == status
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback") and "in work" in shown and shown.endswith(f"error: {line}\n")


@pytest.mark.parametrize("stopped", ["stopped; 3 done", lambda: "stopped; 3 done"])
@pytest.mark.parametrize(("stop", "status"), [(KeyboardInterrupt(), 130), (KeyboardInterrupt(15), 143)])
def test_what_is_done_is_said_when_it_is_stopped(stop, status, stopped, capsys):
    assert run_with(fails_with(stop), stopped=stopped) == status
    assert capsys.readouterr() == ("", "stopped; 3 done\n")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("is_fault", [True, False])
def test_a_stop_that_a_library_swallows_or_takes_for_a_fault_is_a_stop(is_fault, number, status, capfd):
    """As TensorFlow's tracing does, whose clean-up may fail on what the interrupt left half done."""

    def work(_):
        with log_held_back():
            subprocess.run([sys.executable, "-c", "print('from native code')"], check=True)
            try:
                signal.raise_signal(number)
            except KeyboardInterrupt:
                if is_fault:
                    raise AttributeError("'SymbolicTensor' object has no attribute") from None

    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    assert run_with(work, stopped="stopped; 3 done") == status
    assert capfd.readouterr() == ("", "stopped; 3 done\n")
    assert signal.signal(signal.SIGINT, former) is signal.default_int_handler
    assert run_with(fails_with(ValueError())) == 1  # the stop before is none of its business


def test_wrong_usage_exits_with_2(capsys):
    with pytest.raises(SystemExit) as stop:
        run_with(lambda args: 0, "--colour")
    assert stop.value.code == 2 and "unrecognized arguments: --colour" in capsys.readouterr().err


@pytest.mark.parametrize("door", DOORS)
def test_every_door_tells_its_version_and_its_options(door):
    module = f"nxap_color.{door}"
    output, failures = start(module, "--version").communicate(timeout=60)
    assert (output, failures) == (f"nxap_color {__version__}\n", "")
    output, failures = start(module, "--help").communicate(timeout=60)
    assert output.startswith(f"usage: python -m {module} ") and "--debug" in output and not failures


def test_signals_are_handled_as_before_once_the_work_is_done():
    before = signal.getsignal(signal.SIGTERM)
    with ends_politely():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_log_is_shown_only_if_something_failed(capfd):
    with log_held_back():
        subprocess.run([sys.executable, "-c", "print('from native code')"], check=True)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(RuntimeError), log_held_back():
        subprocess.run([sys.executable, "-c", "print('from native code')"], check=True)
        raise RuntimeError
    assert capfd.readouterr().err == "from native code\n"
    with pytest.raises(KeyboardInterrupt), log_held_back():
        subprocess.run([sys.executable, "-c", "print('from native code')"], check=True)
        raise KeyboardInterrupt
    assert capfd.readouterr() == ("", "")


# Real signals and real pipes.


@pytest.fixture
def measured(tmp_path, sample_rgb, tiny_model_file):
    """Arguments for `evaluate`: so many photos that it can be stopped, the first one broken."""
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "000.jpg").write_bytes(b"no photo")
    Image.fromarray(sample_rgb).save(folder / "001.jpg")
    for number in range(2, 200):
        (folder / f"{number:03}.jpg").hardlink_to(folder / "001.jpg")
    return folder, "--model", tiny_model_file


@pytest.mark.slow
def test_evaluate_is_stopped_without_a_traceback(measured, tmp_path):
    """As soon as the broken photo is named; what SIGTERM and SIGHUP do is tested with `predict`."""
    errors_file = tmp_path / "errors"
    with errors_file.open("w") as log:
        process = start("nxap_color.evaluate", *measured, stderr=log)
        status, output, _ = stop_when(lambda: errors_file.stat().st_size, process, signal.SIGINT)
    first, last = errors_file.read_text().splitlines()
    assert first.startswith(f"error: {measured[0] / '000.jpg'}: ")
    assert (status, output, last) == (130, "", "stopped")


def test_what_is_stopped_while_it_starts_says_nothing_else(measured):
    began = time.monotonic()
    process = start("nxap_color.evaluate", *measured)
    # The network library takes seconds to start, and writes log lines while it does.
    stopped = stop_when(lambda: time.monotonic() - began > 2.0, process, signal.SIGINT)
    assert stopped == (130, "", "stopped\n")


def in_a_pipe(command, reader):
    """Runs `command | reader` in a shell; gives the command's exit status, the reader's output, errors."""
    line = " ".join(f"'{part}'" for part in command)
    done = subprocess.run(
        ["bash", "-c", f"{line} | {reader}; exit ${{PIPESTATUS[0]}}"],
        env=environment(), cwd=PROJECT, capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_a_reader_that_leaves_is_no_error():
    script = (
        "import argparse, sys; from nxap_color.cli.console import run\n"
        "sys.exit(run(lambda args: [print(n) for n in range(10**6)] and 0, argparse.ArgumentParser()))"
    )
    assert in_a_pipe([sys.executable, "-c", script], "head -1") == (141, "0\n", "")
    assert in_a_pipe([sys.executable, "-c", script.replace("10**6", "1")], "true") == (141, "", "")


@pytest.mark.slow
def test_evaluate_can_be_cut_short_by_head(measured):
    folder, *options = measured
    for path in sorted(folder.iterdir())[3:]:
        path.unlink()
    command = [sys.executable, "-m", "nxap_color.evaluate", folder, *options, "--quiet"]
    status, output, failures = in_a_pipe(command, "head -1")
    assert status in (1, 141) and output == "2 photos of photos\n"  # head may have read all before it left
    (line,) = failures.splitlines()
    assert line.startswith(f"error: {folder / '000.jpg'}: ")

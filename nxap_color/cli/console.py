"""What the command lines share: one way to run, a quiet start, and checked values of arguments."""

import argparse
import contextlib
import logging
import os
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from nxap_color import __version__
from nxap_color.errors import UserError

EXTRACTOR_WEIGHTS_HELP = "file of weights for the frozen network whose features the model fuses, if it does"

# The signals that asked this process to end, first to last.
_stops: list[int] = []


def run(
    work: Callable[[argparse.Namespace], int | None],
    parser: argparse.ArgumentParser,
    arguments: list[str] | None = None,
    stopped: str | Callable[[], str] = "stopped",
) -> int:
    """Run a command line: parse, work, and turn whatever happens into an exit status and one line.

    A `UserError` is printed as one line; any other exception is a bug, whose traceback `--debug` shows.
    SIGTERM and SIGHUP act like Ctrl-C, and a reader that closes the pipe (`| head`) ends the work quietly.

    Args:
        work: function of the parsed `argparse.Namespace` that returns the exit status; None means 0.
        parser: parser without `--version` and `--debug`, which are added.
        arguments: list of texts, or None for those of the process.
        stopped: what to say when the user stops the work, a text or a function that returns one.

    Returns:
        0 for success, 128 + signal number when stopped, a `UserError`'s `exit_status`, 1 for a bug, or what
        `work` returned.

    Raises:
        SystemExit: with 2 for wrong usage, with 0 after `--help` and `--version`, as argparse does.
    """
    parser.add_argument("--version", action="version", version=f"nxap_color {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):  # file names from an old archive are not always UTF-8
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    warnings.filterwarnings("ignore", module="PIL")  # what matters about a photo is an error of ours
    try:
        with ends_politely():
            status = work(args) or 0
            sys.stdout.flush()
            return status
    except BrokenPipeError:
        # What is still buffered has no reader either; Python would complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + getattr(signal, "SIGPIPE", 13)
    except KeyboardInterrupt as stop:
        print(stopped if isinstance(stopped, str) else stopped(), file=sys.stderr)
        return 128 + (stop.args[0] if stop.args else signal.SIGINT)
    except Exception as error:
        if args.debug:
            traceback.print_exc()
        print(f"error: {describe_error(error)}", file=sys.stderr)
        return getattr(error, "exit_status", 1)


def program_name(module: str) -> str:
    """Return what the user typed to run a module of the package that is also the command `nxap-color`."""
    program = Path(sys.argv[0])
    if program.stem == "nxap-color":
        return program.stem
    is_package = program.parts[-2:] == ("nxap_color", "__main__.py")
    return "python -m nxap_color" if is_package else f"python -m nxap_color.{module}"


def describe_error(error: Exception) -> str:
    """Return the one line that a user is shown for an exception: theirs, the system's, or a bug."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError):
        return "There is not enough memory."
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    text = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {text} (a bug in nxap_color: --debug shows where)"


def start_quietly(prepare: Callable[[], object] | None = None) -> None:
    """Start Keras and its backend with their log lines kept off the terminal.

    Native code writes them to file descriptors 1 and 2 before any Python setting applies; they tell a user
    who colours a photo nothing. If the start fails, they are printed after all.

    Args:
        prepare: function to call once Keras is imported, before its backend computes anything.

    Raises:
        UsageError: if Keras is not installed; says how to install it.
    """
    from nxap_color.runtime import require_keras  # here, for a quick --help

    require_keras()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow leaves it off on processors without AVX-512, where a training step of the U-Net takes a
    # quarter less time with it.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # no advice on tracing, when models are many
    with doing("starting Keras"), log_held_back():
        import keras

        if prepare:
            prepare()
        keras.ops.zeros(1)  # the first operation starts the backend


@contextlib.contextmanager
def doing(what: str) -> Iterator[None]:
    """Show on a terminal, on stderr, what is going on; it is gone when that is done."""
    is_seen = sys.stderr.isatty()
    if is_seen:
        print(f"{what} ...", end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if is_seen:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


@contextlib.contextmanager
def log_held_back() -> Iterator[None]:
    """Keep what is written to file descriptors 1 and 2 off the terminal; print it after all on failure."""
    sys.stdout.flush()  # what was printed before is none of it
    kept = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    with tempfile.TemporaryFile() as held_back:
        for descriptor in kept:
            os.dup2(held_back.fileno(), descriptor)
        try:
            yield
            if _stops:  # a stop that a library swallowed
                raise KeyboardInterrupt(_stops[0])
        except Exception:
            if _stops:  # what libraries say of a stop in their midst
                raise
            held_back.seek(0)
            os.write(kept[2], held_back.read())
            raise
        finally:
            for descriptor, former in kept.items():
                os.dup2(former, descriptor)
                os.close(former)


@contextlib.contextmanager
def ends_politely() -> Iterator[None]:
    """Let a request to end (SIGTERM; SIGHUP of a terminal that closes) act like Ctrl-C: all is tidied up.

    After any of them, whatever a library makes of the interrupt in its midst is a KeyboardInterrupt, too.

    Raises:
        KeyboardInterrupt: with the number of the signal, if it came.
    """

    def stop(number: int, _: object) -> None:
        _stops.append(number)
        raise KeyboardInterrupt(number)

    numbers = {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}  # Windows has no SIGHUP
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # unless it is to be ignored
        numbers.add(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread():
        numbers = set()  # only a main thread may set handlers
    _stops.clear()
    former = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    except Exception as error:
        if _stops:
            raise KeyboardInterrupt(_stops[0]) from error
        raise
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def positive(text: str) -> int:
    """Parse a whole number above 0, as an `argparse` type."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, received {text}")
    return int(text)


def number_between(lowest: float, highest: float) -> Callable[[str], float]:
    """Return an `argparse` type: a number from `lowest` to `highest`, both included."""

    def number(text: str) -> float:
        with contextlib.suppress(ValueError):
            if lowest <= float(text) <= highest:
                return float(text)
        raise argparse.ArgumentTypeError(f"expected a number from {lowest} to {highest}, received {text}")

    return number


def whole_between(lowest: int, highest: int) -> Callable[[str], int]:
    """Return an `argparse` type: a whole number from `lowest` to `highest`, both included."""

    def number(text: str) -> int:
        if text.isdigit() and lowest <= int(text) <= highest:
            return int(text)
        raise argparse.ArgumentTypeError(
            f"expected a whole number from {lowest} to {highest}, received {text}"
        )

    return number

"""Describe what figures are measured on: the machine, its packages, and the room they take."""

import importlib.metadata
import importlib.util
import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

import nxap_color
from nxap_color.paths import SAMPLE, SAVED_MODELS, SHIPPED

# What decides how fast things are.
PACKAGES = ("onnxruntime", "numpy", "opencv-python-headless", "tensorflow", "keras")


def describe_machine() -> str:
    """Describe in a line what figures are measured on."""
    processor, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"model name\s*: (.*)", info.read_text())):
        processor = found[1]
    versions = [f"{name} {found.version}" for name in PACKAGES if (found := _find(name))]
    system = f"{platform.system()}, Python {platform.python_version()}"
    return ", ".join([processor, f"{os.cpu_count()} cores", system, *versions])


def _find(package):
    """Return the `importlib.metadata.Distribution` of a package, None if it is not installed."""
    try:
        return importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def required_packages(package: str) -> set[str]:
    """Follow what a package requires, and what that requires, without extras that nothing asks for.

    Args:
        package: its name on PyPI.

    Returns:
        Set of names in lower case with "-", `package` not among them; empty if it is not installed.
    """
    from packaging.requirements import Requirement  # here: it came with another package, as pip's own parser
    from packaging.utils import canonicalize_name

    first = (canonicalize_name(package), "")
    seen, waiting = set(), [first]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        found = _find(name)
        for needed in map(Requirement, found and found.requires or []):
            if not needed.marker or needed.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(needed.name), other) for other in ("", *needed.extras)]
    return {name for name, _ in seen} - {first[0]}


def installed_megabytes(packages: Iterable[str]) -> float:
    """Add up the size of the files that pip has installed for some packages, by their own lists of them.

    Args:
        packages: their names on PyPI; those that are not installed count as nothing.

    Returns:
        Size in MB (2**20 bytes).
    """
    found = [distribution for distribution in map(_find, set(packages)) if distribution]
    paths = {Path(file.locate()) for distribution in found for file in distribution.files or []}
    return sum(path.stat().st_size for path in paths if path.is_file()) / 2**20


def own_megabytes() -> float:
    """Return the size in MB of the package as pip installs it: its modules, models and sample photo."""
    package = Path(nxap_color.__file__).parent
    paths = {path for path in package.rglob("*") if "__pycache__" not in path.parts}
    if package not in SHIPPED.parents:  # in a checkout the rest lies beside it
        models = SAVED_MODELS.glob("*.*")
        paths |= {path for path in models if path.suffix in (".keras", ".onnx", ".json")}
        paths.add(SAMPLE)
    return sum(path.stat().st_size for path in paths if path.is_file()) / 2**20

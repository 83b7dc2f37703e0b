"""The front door, and what `pip install` brings."""

import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import numpy as np
import pytest
from commands import environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

import nxap_color

if sys.version_info >= (3, 11):
    import tomllib


def in_fresh_python(code):
    """Run code in an interpreter of its own; return what it prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_the_package_costs_next_to_nothing():
    code = "import sys; before = set(sys.modules); import nxap_color; print(*(set(sys.modules) - before))"
    loaded = in_fresh_python(code).split()
    assert not {"keras", "tensorflow", "cv2", "numpy", "PIL", "matplotlib"} & set(loaded)


def test_every_public_name_is_there_and_documented():
    for name in nxap_color.__all__:
        value = getattr(nxap_color, name)
        assert name == "__version__" or value.__doc__
    assert set(nxap_color.__all__) <= set(dir(nxap_color))
    with pytest.raises(AttributeError, match="no attribute 'colourise'"):
        _ = nxap_color.colourise


def test_importing_all_of_it_leaves_the_host_as_it_is():
    code = """
import logging, os, signal, sys, warnings
import cv2
def state():
    level = cv2.getLogLevel() if hasattr(cv2, "getLogLevel") else cv2.utils.logging.getLogLevel()
    loggers = {name: logging.getLogger(name).level for name in ("tifffile", "tensorflow", "PIL", "")}
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    return level, loggers, handlers, warnings.filters[:], os.getcwd(), cv2.getNumThreads()
import keras, PIL.Image, scipy.special, skimage, tifffile, tensorflow, tqdm  # these may change what they like
before, variables = state(), dict(os.environ)
import nxap_color
for name in nxap_color.__all__:
    getattr(nxap_color, name)
assert state() == before, (before, state())
assert dict(os.environ) == variables
"""
    in_fresh_python(code)


def test_a_photo_is_coloured_from_a_path_an_array_or_a_pillow_image(sample_rgb, tmp_path):
    Image.fromarray(sample_rgb).save(tmp_path / "photo.png")
    from_array = nxap_color.colorize(sample_rgb)
    assert from_array.shape == sample_rgb.shape and from_array.dtype == np.uint8
    for source in (tmp_path / "photo.png", str(tmp_path / "photo.png"), Image.fromarray(sample_rgb)):
        np.testing.assert_array_equal(np.asarray(nxap_color.colorize(source)), from_array)
    assert isinstance(nxap_color.colorize(Image.fromarray(sample_rgb)), Image.Image)
    gray = nxap_color.colorize(sample_rgb, vividness=0.0)
    assert np.ptp(gray.astype(int), axis=2).max() <= 1


@pytest.fixture
def metadata(project):
    if sys.version_info < (3, 11):
        pytest.skip("tomllib needs Python 3.11")
    return tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))


def test_requirements_are_the_dependencies_and_extras_together(project, metadata):
    lines = (project / "requirements.txt").read_text(encoding="utf-8").splitlines()
    listed = {line.split("#")[0].strip() for line in lines} - {"", "-e ."}
    parts = [metadata["project"]["dependencies"], *metadata["project"]["optional-dependencies"].values()]
    declared = {entry for part in parts for entry in part if not entry.startswith("nxap_color")}
    assert listed == declared


def with_what_they_need(entries):
    """The canonical names of the distributions that `pip install` of some requirements brings here."""
    all_of_them = map(Requirement, entries)
    wanted = (each for each in all_of_them if not each.marker or each.marker.evaluate({"extra": ""}))
    names = {canonicalize_name(each.name) for each in wanted}
    return names.union(*(with_what_they_need(requires(name) or []) for name in names))


def test_photos_and_gifs_need_the_dependencies_alone(metadata, sample_rgb, tmp_path):
    there = with_what_they_need(metadata["project"]["dependencies"]) | {"nxap-color"}
    others = sorted(
        module
        for module, names in packages_distributions().items()
        if not {canonicalize_name(name) for name in names} & there
    )
    assert {"keras", "tensorflow", "scipy", "imageio_ffmpeg", "tf2onnx"} <= set(others)
    photo = Image.fromarray(sample_rgb).convert("L")
    photo.save(tmp_path / "photo.jpg")
    photo.save(tmp_path / "moving.gif", save_all=True, append_images=[photo.rotate(9)])
    code = f"import sys; sys.modules.update(dict.fromkeys({others}))\n"
    code += "from nxap_color.predict import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, tmp_path / "photo.jpg", tmp_path / "moving.gif", "--compare"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert done.stdout.splitlines()[-1].startswith("wrote 2 of 2 files")


def test_the_wheel_has_all_folders_of_the_package_and_what_ships(project, metadata):
    packages = metadata["tool"]["setuptools"]["packages"]
    folders = {path.parent for path in (project / "nxap_color").rglob("*.py")}
    assert {".".join(folder.relative_to(project).parts) for folder in folders} <= set(packages)
    shipped = metadata["tool"]["setuptools"]["package-data"]
    assert (project / "data" / shipped["nxap_color.shipped.data"][0]).is_file()
    names = [Path(name) for name in shipped["nxap_color.shipped.saved_models"]]
    assert all(any((project / "saved_models").glob(str(name))) for name in names)


def test_every_page_names_the_same_python_versions(project, metadata):
    oldest, newest = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", metadata["project"]["requires-python"]).groups()
    expected = f"Python 3.{oldest} to 3.{int(newest) - 1}"
    for page in ("README.md", "requirements.txt"):
        assert expected in (project / page).read_text(encoding="utf-8")

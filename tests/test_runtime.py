"""Networks at prediction: inputs by name, and OpenVINO, where it is installed."""

import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import keras
import numpy as np
import pytest
from PIL import Image

from nxap_color import saved
from nxap_color.cli import console
from nxap_color.runtime import compile_network

needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")

SIZES = [(1, 32, 64), (2, 64, 32), (8, 192, 256), (3, 192, 288), (1, 32, 64)]

ALL_SIZES = """
import sys
import numpy as np, openvino
from nxap_color import runtime
from nxap_color import saved

compile_model, calls = openvino.compile_model, []
openvino.compile_model = lambda *arguments: calls.append(arguments) or compile_model(*arguments)
answer = runtime.compile_network(saved.load_model("unet"))
given = np.load(sys.argv[1])
np.savez(sys.argv[2], **{name: answer({"lightness": given[name]}) for name in given})
print(len(calls))
"""

LACKING = """
import keras
from nxap_color.errors import BackendError
from nxap_color.runtime import compile_network

given = keras.Input((None, None, 1))
try:
    compile_network(keras.Model(given, keras.ops.image.sobel_edges(given), name="edges"))
except BackendError as error:
    print(error)
"""


@pytest.mark.parametrize("kind", ["tensor", "list", "dict"])
def test_networks_are_asked_by_name_however_they_were_built(kind):
    """Also where the order of the names is not that of the inputs."""
    pair = {"lightness": keras.Input((None, None, 1), name="lightness")}
    if kind != "tensor":
        pair["a_vector"] = keras.Input((2,), name="a_vector")
    ab = keras.layers.Conv2D(2, 3, padding="same", name="ab")(pair["lightness"])
    outputs = ab + pair["a_vector"][:, None, None] if kind != "tensor" else ab
    given = {"dict": pair, "list": list(pair.values()), "tensor": pair["lightness"]}[kind]
    rng = np.random.default_rng(0)
    values = {name: rng.random((2, *[8] * (len(t.shape) - 2), t.shape[-1])) for name, t in pair.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # Keras's, on inputs in another structure
        answer = compile_network(keras.Model(given, outputs))(values)
    expected = keras.Model(pair["lightness"], ab)(values["lightness"]) + (
        values["a_vector"][:, None, None] if kind != "tensor" else 0.0
    )
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_a_network_may_be_asked_from_several_threads(tiny_model):
    answer, rng = compile_network(tiny_model), np.random.default_rng(0)
    given = [rng.random((1, 16, 8 * step, 1), "float32") for step in range(1, 9)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda lightness: answer({"lightness": lightness}), given))
    for lightness, found in zip(given, answers, strict=True):
        np.testing.assert_allclose(found, tiny_model({"lightness": lightness}), atol=1e-5)


def run(*command, backend):
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    environment |= {"KERAS_BACKEND": backend} if backend else {}
    command = [sys.executable, *map(str, command)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


@pytest.mark.slow
@needs_openvino
def test_a_network_is_compiled_once_for_all_sizes(tmp_path):
    rng = np.random.default_rng(0)
    given = {str(index): rng.uniform(-1, 1, (*size, 1)) for index, size in enumerate(SIZES)}
    given = {name: lightness.astype("float32") for name, lightness in given.items()}
    np.savez(tmp_path / "given.npz", **given)
    done = run("-c", ALL_SIZES, tmp_path / "given.npz", tmp_path / "answers.npz", backend="openvino")
    assert done.stdout.split() == ["1"]
    model, answers = saved.load_model("unet"), np.load(tmp_path / "answers.npz")
    for name, lightness in given.items():
        expected = model.predict_on_batch({"lightness": lightness})
        np.testing.assert_allclose(answers[name], expected, atol=1e-5)


@pytest.mark.slow
@needs_openvino
def test_what_openvino_lacks_is_named_with_a_way_out():
    line = run("-c", LACKING, backend="openvino").stdout
    assert line.startswith("OpenVINO cannot run edges (") and "`sobel_edges` is not supported" in line
    assert line.endswith("set KERAS_BACKEND=tensorflow.\n")


@pytest.mark.slow
@needs_openvino
def test_a_keras_that_lacks_layers_on_it_is_not_given_it(monkeypatch):
    for version, expected in (("3.12.4", False), ("3.15.0", True), ("4.0.0", True)):
        monkeypatch.setattr("importlib.metadata.version", lambda _, version=version: version)
        assert console._has_openvino() == expected


@pytest.mark.slow
@needs_openvino
def test_predict_takes_it_unless_told_otherwise_with_the_same_result(tmp_path, sample_rgb):
    photo = tmp_path / "old.png"
    Image.fromarray(sample_rgb).convert("L").save(photo)
    results = {}
    for backend in (None, "tensorflow"):
        script = (
            "import sys\nfrom nxap_color.predict import main\n"
            f"assert main([{str(photo)!r}, '--overwrite']) == 0\n"
            "print(sys.modules['keras'].backend.backend(), 'tensorflow' in sys.modules)"
        )
        done = run("-c", script, backend=backend)
        assert done.stderr == ""
        taken, has_tensorflow = done.stdout.splitlines()[-1].split()
        results[taken] = np.asarray(Image.open(photo.with_name("old_color.png"))).astype(int)
        assert has_tensorflow == str(taken == "tensorflow")
    assert sorted(results) == ["openvino", "tensorflow"]
    assert np.abs(results["openvino"] - results["tensorflow"]).max() <= 1

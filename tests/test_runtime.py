"""Networks at prediction: in ONNX Runtime and in Keras, by name, and without Keras where it is not needed."""

import shutil
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
from commands import environment
from films import ffmpeg, pattern
from PIL import Image

from nxap_color import runtime, saved
from nxap_color.colorizer import Colorizer
from nxap_color.errors import ModelError

EXPORTED = ["unet"]  # those of the shipped models that are there for both


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
        network = runtime.from_keras(keras.Model(given, outputs))
        answer = network(values)
    expected = keras.Model(pair["lightness"], ab)(values["lightness"]) + (
        values["a_vector"][:, None, None] if kind != "tensor" else 0.0
    )
    np.testing.assert_allclose(answer, expected, atol=1e-5)
    assert network.inputs == {name: tuple(tensor.shape) for name, tensor in pair.items()}


@pytest.mark.parametrize("engine", ["keras", "onnx"])
def test_a_network_may_be_asked_from_several_threads(engine, tiny_model, tiny_model_file):
    onnx = tiny_model_file.with_suffix(".onnx")
    network = runtime.from_keras(tiny_model) if engine == "keras" else runtime.from_onnx(onnx)
    rng = np.random.default_rng(0)
    given = [rng.random((1, 16, 8 * step, 1), "float32") for step in range(1, 9)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda lightness: network({"lightness": lightness}), given))
    for lightness, found in zip(given, answers, strict=True):
        np.testing.assert_allclose(found, tiny_model({"lightness": lightness}), atol=1e-5)


@pytest.mark.parametrize("name", EXPORTED)
def test_the_shipped_files_of_a_model_answer_the_same(name):
    model, network = saved.load_model(name), saved.load_network(name)
    rng = np.random.default_rng(0)
    for size in [(1, 192, 256), (2, 256, 192), (8, 64, 96)]:
        given = {"lightness": rng.uniform(-1, 1, (*size, 1)).astype("float32")}
        expected = model(given, training=False)
        assert np.abs(expected).max() > 0.05
        np.testing.assert_allclose(network(given), expected, atol=1e-4)


@pytest.mark.parametrize("name", EXPORTED)
def test_the_shipped_files_of_a_model_belong_together(name):
    """Fails where one `.keras` replaces another, and its `.onnx` stays: export it again."""
    path = saved.find_model(name)
    assert saved.find_exported(name) == path.with_suffix(".onnx")
    assert path.stat().st_size + path.with_suffix(".onnx").stat().st_size < 30e6


def test_an_exported_file_of_other_weights_is_not_used(tiny_model, tiny_model_file, tmp_path):
    own = tmp_path / "own.keras"
    shutil.copy(tiny_model_file.with_suffix(".onnx"), own.with_suffix(".onnx"))
    shutil.copy(tiny_model_file, own)
    assert saved.find_exported(own) == own.with_suffix(".onnx")
    other = keras.models.clone_model(tiny_model)
    other.set_weights([2 * weight for weight in tiny_model.get_weights()])
    other.save(own)
    assert saved.find_exported(own) is None
    given = {"lightness": np.full((1, 32, 32, 1), 0.5, "float32")}
    np.testing.assert_allclose(saved.load_network(own)(given), other(given), atol=1e-5)


def test_a_network_has_the_digest_of_its_weights(tiny_model, tiny_model_file):
    onnx = tiny_model_file.with_suffix(".onnx")
    other = keras.models.clone_model(tiny_model)
    other.set_weights([2 * weight for weight in tiny_model.get_weights()])
    digests = [runtime.from_keras(model).digest() for model in (tiny_model, tiny_model, other)]
    assert digests[0] == digests[1] != digests[2]
    assert runtime.from_onnx(onnx).digest() == runtime.from_onnx(onnx).digest()


def test_an_onnx_file_alone_will_do(tiny_model_file, tmp_path, sample_rgb):
    shutil.copy(tiny_model_file.with_suffix(".onnx"), tmp_path / "friends.onnx")
    expected = Colorizer.load(tiny_model_file).colorize(sample_rgb)
    assert np.ptp(expected, axis=-1).any()
    np.testing.assert_array_equal(Colorizer.load(tmp_path / "friends.onnx").colorize(sample_rgb), expected)


def test_an_onnx_file_that_is_none_is_named(tmp_path):
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(ModelError, match=r"text.onnx could not be loaded as an ONNX model: \S"):
        saved.load_network(tmp_path / "text.onnx")


def test_both_engines_give_the_same_photo(sample_rgb):
    fast, recipe = Colorizer.load("unet"), saved.load_recipe("unet")
    slow = Colorizer(saved.load_model("unet"), recipe["network_size"], 1.0, recipe["chroma_gain"])
    photos = [colorizer.colorize(sample_rgb).astype(int) for colorizer in (fast, slow)]
    assert np.abs(photos[0] - photos[1]).max() <= 1
    assert fast.stride == slow.stride == 4


WITHOUT_KERAS = """
import sys
for name in {hidden}:
    sys.modules[name] = None  # what Python takes for not installed
from nxap_color.{door} import main
try:
    status = main(sys.argv[1:])
except SystemExit as error:
    status = error.code
print(status, sorted({{"keras", "tensorflow", "jax"}} & {{name for name, it in sys.modules.items() if it}}))
"""


def run_hidden(door, *arguments, hidden=("keras", "tensorflow")):
    """A command line in a fresh process that has no Keras; its status line, the rest, and errors."""
    script = WITHOUT_KERAS.format(door=door, hidden=list(hidden))
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *lines, status = done.stdout.splitlines()
    return status, lines, done.stderr


def test_photos_films_and_gifs_need_no_keras(tmp_path, sample_rgb):
    album = tmp_path / "album"
    album.mkdir()
    gray = Image.fromarray(sample_rgb).convert("L")
    gray.save(album / "a.jpg")
    gray.resize((120, 90)).save(album / "b.png")
    frames = [gray.rotate(angle).resize((64, 48)) for angle in (0, 20)]
    frames[0].save(album / "c.gif", save_all=True, append_images=frames[1:], duration=100)
    ffmpeg(*pattern(0.2, "64x48"), album / "d.mp4")
    for hidden in ([], ["keras", "tensorflow"]):
        arguments = [album, "--compare", "--overwrite", "--quiet"]
        status, lines, errors = run_hidden("predict", *arguments, hidden=hidden)
        assert (status, errors) == ("0 []", "")
    results = [path.name for path in (tmp_path / "album_color").iterdir()]
    assert len(results) == 8 and lines[-1].startswith("wrote 4 of 4 files")


def test_the_colorizer_needs_no_keras(sample_rgb, tmp_path):
    script = (
        "import sys, numpy as np, nxap_color\n"
        "gray = np.zeros((40, 60), 'uint8')\n"
        "rgb = nxap_color.Colorizer.load().colorize(gray)\n"
        "frames = list(nxap_color.colorize_frames(nxap_color.Colorizer.load(), [rgb] * 2))\n"
        "assert rgb.shape == frames[0].shape == nxap_color.colorize(gray).shape == (40, 60, 3)\n"
        "assert not {'keras', 'tensorflow'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("door", "arguments"),
    [
        ("train", ["FOLDER", "--output", "own.keras"]),
        ("evaluate", ["FOLDER"]),
        ("export", ["unet", "--to", "saved_model"]),
        ("predict", ["FOLDER", "--model", "fusion"]),
        ("benchmark", ["FOLDER"]),
    ],
)
def test_what_needs_keras_says_how_to_install_it(door, arguments, photo_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [str(photo_folder) if argument == "FOLDER" else argument for argument in arguments]
    status, _, errors = run_hidden(door, *arguments)
    assert status == "2 []"
    assert errors.startswith("error: This needs packages that are not installed (keras and tensorflow): pip ")
    assert 'pip install "nxap_color[train]"' in errors and errors.count("\n") == 1

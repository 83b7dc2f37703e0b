"""Networks written for other programs, through the command line."""

import re
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import onnxruntime
import pytest
from commands import hear_ctrl_c
from PIL import Image
from skimage.color import rgb2lab

from nxap_color import saved
from nxap_color.colorizer import Colorizer
from nxap_color.export import main
from nxap_color.training import exporting
from nxap_color.training.exporting import ENDINGS

both_kinds = pytest.mark.parametrize("kind", ["saved_model", "onnx"])
COMPARED = r"its answers are the model's to within \d(e-\d+)?"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every test writes to a folder of its own."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def fusion_file(tiny_fusion, tmp_path):
    tiny_fusion.save(tmp_path / "own.keras")
    return tmp_path / "own.keras"


@pytest.fixture(scope="module")
def unet():
    return saved.load_model("unet")


@pytest.fixture(scope="module")
def unet_onnx(tmp_path_factory):
    """The shipped model, written by a process of its own, which shows one line."""
    folder = tmp_path_factory.mktemp("shipped")
    command = [sys.executable, "-m", "nxap_color.export", "unet", "--to", "onnx", "-o", "unet.onnx"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert re.fullmatch(f"wrote unet.onnx; {COMPARED}\n", done.stdout) and not done.stderr, done
    return folder / "unet.onnx"


def here(kind):
    """Options to write a network of some kind into the current folder."""
    return ["--to", kind, "-o", f"tiny{ENDINGS[kind]}"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def opened(path):
    """An exported network as programs without Keras have it: a function from dict of arrays to ab."""
    if path.is_file():
        session = onnxruntime.InferenceSession(str(path))
        return lambda given: session.run(["ab"], given)[0]
    import tensorflow as tf

    served = tf.saved_model.load(str(path))
    return lambda given: served.signatures["serving_default"](**given)["ab"].numpy()


def require_same_answers(path, model):
    """Asks an exported network and its model at the sizes that the command line tries, and at an odd one."""
    random, answer = np.random.default_rng(1), opened(path)
    for batch, *size in ((1, 192, 256), (2, 256, 192), (1, 96, 320), (3, 75, 101)):
        shapes = {t.name: (batch, *size[: t.ndim - 2], t.shape[-1]) for t in model.inputs}
        given = {name: random.uniform(-1, 1, shape).astype("float32") for name, shape in shapes.items()}
        expected = np.asarray(model(given))
        assert np.abs(expected).max() > 0.01
        np.testing.assert_allclose(answer(given), expected, atol=1e-4)


@both_kinds
def test_a_network_answers_the_same_at_any_size(kind, tiny_model, tiny_model_file, folder, capfd):
    assert main([str(tiny_model_file), *here(kind)]) == 0
    require_same_answers(folder / f"tiny{ENDINGS[kind]}", tiny_model)
    out, err = capfd.readouterr()
    assert re.fullmatch(rf"wrote tiny{ENDINGS[kind]}; {COMPARED}\n", out) and not err


def test_an_onnx_file_goes_beside_its_model_and_is_run_from_then_on(fusion_file, folder, capsys):
    assert saved.find_exported(fusion_file) is None
    assert main([str(fusion_file), "--to", "onnx"]) == 0
    assert saved.find_exported(fusion_file) == fusion_file.with_suffix(".onnx")
    assert capsys.readouterr().out.startswith(f"wrote {fusion_file.with_suffix('.onnx')}; its answers are ")
    assert names(folder) == []


@both_kinds
def test_features_are_an_input_named_as_their_extractor(kind, tiny_fusion, fusion_file, folder):
    assert main([str(fusion_file), *here(kind)]) == 0
    path = folder / f"tiny{ENDINGS[kind]}"
    require_same_answers(path, tiny_fusion)
    features = np.float32([[-1, 0, 0, 0], [1, 0, 0, 0]])
    ab = opened(path)({"lightness": np.zeros((2, 32, 32, 1), "float32"), "tiny_features": features})
    assert np.abs(ab[0] - ab[1]).max() > 0.01


def test_the_shipped_unet_is_served_by_tensorflow(unet, folder):
    assert main(["unet", "--to", "saved_model"]) == 0
    require_same_answers(folder / "unet_saved_model", unet)


def test_the_shipped_unet_is_run_by_onnxruntime(unet, unet_onnx):
    require_same_answers(unet_onnx, unet)


def test_the_readme_example_colours_a_photo_without_this_project(unet_onnx, project, folder, sample_rgb):
    readme = (project / "README.md").read_text(encoding="utf-8")
    (example,) = (code for code in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "onnx" in code)
    gray = Image.fromarray(sample_rgb).convert("L")
    gray.save(folder / "old.jpg", quality=95)
    (folder / "saved_models").mkdir()
    shutil.copy(unet_onnx, folder / "saved_models")
    example += "import sys\nassert not {'tensorflow', 'keras', 'nxap_color'} & set(sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    received = rgb2lab(np.asarray(Image.open(folder / "old_color.png")))
    expected = rgb2lab(Colorizer.load("unet").colorize(np.asarray(gray)))
    # Without the mirror image and the guided upsampling its colours are a little different, and softer.
    assert np.abs(received[..., 0] - expected[..., 0]).mean() < 1.0
    assert np.abs(received[..., 1:] - expected[..., 1:]).mean() < 2.5
    assert np.corrcoef(received[..., 1:].ravel(), expected[..., 1:].ravel())[0, 1] > 0.9


@both_kinds
def test_what_exists_is_replaced_only_on_request(kind, tiny_model_file, fusion_file, folder, capsys):
    output = ["--to", kind, "-o", "network.onnx"]
    assert main([str(tiny_model_file), *output]) == 0
    (path,) = folder.iterdir()
    assert main([str(fusion_file), *output]) == 2
    assert "network.onnx exists: choose another name with -o, or --overwrite" in capsys.readouterr().err
    given = {"lightness": np.zeros((1, 32, 32, 1), "float32")}
    assert opened(path)(given).shape == (1, 16, 16, 2)
    assert main([str(fusion_file), *output, "--overwrite"]) == 0
    assert opened(path)({**given, "tiny_features": np.ones((1, 4), "float32")}).any()
    assert names(folder) == ["network.onnx"]


def test_a_folder_with_other_things_is_never_replaced(tiny_model_file, folder, capsys):
    arguments = [str(tiny_model_file), "--to", "saved_model", "--overwrite"]
    assert main(arguments) == 0
    (folder / "tiny_saved_model" / "notes.txt").write_text("mine")
    assert main(arguments) == 2
    assert "tiny_saved_model is not, or not only, an exported network" in capsys.readouterr().err
    assert (folder / "tiny_saved_model" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["unet"], "--to"),
        (["unet", "--to", "keras"], "invalid choice: 'keras'"),
        (["no-such-model", "--to", "saved_model"], "There is no model no-such-model"),
        ([__file__, "--to", "saved_model"], "could not be loaded as a Keras model"),
        (["unet", "--to", "saved_model", "-o", "no/where"], "There is no folder no to write where to."),
        (["unet", "--to", "saved_model", "-o", __file__, "--overwrite"], "is not, or not only, an exported"),
        (["unet", "--to", "onnx"], "unet.onnx exists: choose another name with -o, or --overwrite"),
        (["unet", "--to", "onnx", "-o", "a.keras"], "-o must end in .onnx, received a"),
        (["unet", "--to", "onnx", "-o", "full.onnx", "--overwrite"], "is not, or not"),
    ],
)
def test_wrong_usage_exits_with_2(arguments, message, folder, capsys):
    (folder / "full.onnx").mkdir()
    try:
        status = main(arguments)
    except SystemExit as error:  # argparse's way
        status = error.code
    assert status == 2
    assert message in capsys.readouterr().err
    assert names(folder) == ["full.onnx"]


def test_a_missing_converter_is_named_with_the_way_to_install_it(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)  # what Python takes for not installed
    assert main(["unet", "--to", "onnx"]) == 2
    expected = "error: --to onnx needs a package that is not installed: pip install tf2onnx\n"
    assert capsys.readouterr().err == expected
    assert names(folder) == []


def test_another_backend_is_refused(tiny_model_file, folder, capsys, monkeypatch):
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")  # which needs packages of its own
    assert main([str(tiny_model_file), "--to", "saved_model"]) == 2
    expected = "error: Networks are exported by Keras on tensorflow, received KERAS_BACKEND=jax.\n"
    assert capsys.readouterr().err == expected
    assert names(folder) == []


@both_kinds
def test_other_answers_than_the_models_are_an_error(kind, tiny_model_file, folder, capsys, monkeypatch):
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)  # no converter is known to be wrong
    assert main([str(tiny_model_file), *here(kind)]) == 1
    error = capsys.readouterr().err
    assert re.search(r"was not written: its answers would differ .* by \d\S*, expected -1 at most", error)
    assert names(folder) == []


def test_a_damaged_model_leaves_what_was_there(tiny_model, tiny_model_file, folder, tmp_path, capsys):
    output = ["--to", "saved_model", "-o", "network", "--overwrite"]
    assert main([str(tiny_model_file), *output]) == 0
    damaged = keras.models.clone_model(tiny_model)
    damaged.set_weights([np.full_like(weight, np.nan) for weight in tiny_model.get_weights()])
    damaged.save(tmp_path / "damaged.keras")
    assert main([str(tmp_path / "damaged.keras"), *output]) == 1
    assert "answers would differ from the model's by nan" in capsys.readouterr().err
    assert names(folder) == ["network"]
    require_same_answers(folder / "network", tiny_model)


def test_a_model_that_takes_some_sizes_only_is_named_in_one_line(folder, tmp_path, capsys):
    inputs = keras.Input((None, None, 1), name="lightness")
    coarse = keras.layers.UpSampling2D(64)(keras.layers.AveragePooling2D(64)(inputs))  # not of 96 pixels
    outputs = keras.layers.Conv2D(2, 1)(keras.layers.Concatenate()([inputs, coarse]))
    keras.Model({"lightness": inputs}, outputs).save(tmp_path / "picky.keras")
    assert main([str(tmp_path / "picky.keras"), "--to", "saved_model"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: picky_saved_model cannot be made: ") and error.count("\n") == 1
    assert names(folder) == []


def test_one_that_is_stopped_leaves_nothing(tiny_model_file, folder):
    """Stopped when it has begun to write."""
    command = [sys.executable, "-m", "nxap_color.export", str(tiny_model_file), "--to", "saved_model"]
    # Who runs the tests in the background may ignore Ctrl-C, which children take over.
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=hear_ctrl_c)
    while not names(folder):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1].endswith("stopped; nothing was written\n")
    assert process.returncode == 130
    assert names(folder) == []


def test_help_does_not_wait_for_the_network_library():
    script = "import sys; sys.modules['keras'] = sys.modules['tensorflow'] = None\n"
    script += "from nxap_color.export import main; main(['--help'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and "MODEL" in done.stdout, done.stderr

"""The networks."""

import ast
import inspect
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec

import keras
import numpy as np
import pytest

from nxap_color import color, models, saved
from nxap_color.colorizer import Colorizer
from nxap_color.losses import AbMeanSquaredError
from nxap_color.train import main as train


@pytest.mark.parametrize(
    ("build", "stride", "millions"),
    [(models.build_autoencoder, 1, 3.9), (models.build_fusion, 2, 6.3), (models.build_unet, 4, 3.8)],
)
def test_networks_take_any_size_and_answer_at_their_stride(build, stride, millions):
    model = build()
    for height, width in ((32, 64), (96, 32)):
        answer = model({"lightness": np.zeros((2, height, width, 1), "float32")})
        assert answer.shape == (2, height // stride, width // stride, 2)
    assert model.count_params() / 1e6 == pytest.approx(millions, abs=0.05)


def test_autoencoder_answers_both_signs_within_the_scale():
    answer = np.asarray(models.build_autoencoder()({"lightness": np.random.uniform(-1, 1, (1, 32, 32, 1))}))
    assert -1.0 < answer.min() < 0.0 < answer.max() < 1.0


@pytest.mark.parametrize("build", [models.build_fusion, models.build_unet])
def test_untrained_networks_answer_gray(build):
    answer = np.asarray(build()({"lightness": np.random.uniform(-1, 1, (1, 32, 32, 1))}))
    np.testing.assert_array_equal(answer, np.zeros_like(answer))


def test_unet_needs_three_decoder_widths():
    with pytest.raises(ValueError, match="3 decoder_filters and a head"):
        models.build_unet(decoder_filters=(8, 8))


@pytest.mark.slow
@pytest.mark.parametrize("build", models.ARCHITECTURES.values())
def test_networks_learn_one_photo(build, sample_rgb):
    """A network that cannot overfit one photo has a fault that more data would only hide."""
    rgb = keras.ops.image.resize(sample_rgb[None] / np.float32(255.0), (32, 32), antialias=True)
    lightness, ab = (np.asarray(part) for part in color.split_lightness_ab(rgb))
    keras.utils.set_random_seed(0)
    model = build()
    model.compile(keras.optimizers.Adam(1e-3), AbMeanSquaredError())
    model.optimizer.build(model.trainable_variables)  # which halves the time to the first step
    inputs = {"lightness": lightness}
    before = model.evaluate(inputs, ab, verbose=0)
    # Forty steps in one epoch, whose beginning takes longer than a step.
    model.fit({"lightness": lightness.repeat(40, axis=0)}, ab.repeat(40, axis=0), batch_size=1, verbose=0)
    assert model.evaluate(inputs, ab, verbose=0) < 0.25 * before


def test_fused_features_decide_the_colour_of_the_same_gray(tiny_extractor):
    """Two photos that differ in their features only have different colours: the network tells them apart."""
    keras.utils.set_random_seed(0)
    model = models.build_fusion(tiny_extractor, filters=8)
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    model.optimizer.build(model.trainable_variables)
    lightness = np.zeros((2, 32, 32, 1), "float32")
    features = np.float32([[100, 0, 0, 1], [90, 0, 0, 1]])  # far from mean 0 and deviation 1
    ab = np.float32([[0.4, 0.1], [-0.2, -0.3]])[:, None, None].repeat(16, axis=1).repeat(16, axis=2)
    inputs = {"lightness": lightness, "tiny_features": features}
    many = {name: np.tile(array, (150,) + (1,) * (array.ndim - 1)) for name, array in inputs.items()}
    model.fit(many, np.tile(ab, (150, 1, 1, 1)), batch_size=2, shuffle=False, verbose=0)
    answer = model.predict_on_batch(inputs)
    np.testing.assert_allclose(answer[:, 8, 8], ab[:, 8, 8], atol=0.1)


def test_fusion_takes_features_under_the_name_of_their_extractor(tiny_extractor, tmp_path):
    models.build_fusion(tiny_extractor, filters=4).save(tmp_path / "fusion.keras")
    model = saved.load_model(tmp_path / "fusion.keras")
    shapes = {name: tuple(tensor.shape[1:]) for name, tensor in model.input.items()}
    assert shapes == {"lightness": (None, None, 1), "tiny_features": (4,)}
    kernels = [layer.kernel.shape for layer in model.layers if hasattr(layer, "kernel")]
    assert (3, 3, 3, 4) not in kernels  # the extractor's own


def test_prediction_retraces_for_new_sizes():
    """Keras relaxes sizes to unknown ones after the second; layers must stand that."""
    model = models.build_unet()
    for size in ((32, 32), (32, 64), (64, 32), (96, 64)):
        answer = model.predict_on_batch({"lightness": np.zeros((1, *size, 1), "float32")})
        assert answer.shape == (1, size[0] // 4, size[1] // 4, 2)


def test_the_shipped_fusion_network_is_given_its_extractor(sample_rgb):
    colorizer = Colorizer.load("fusion")
    rgb = np.float32(sample_rgb) / 255.0
    given, name = colorizer.network_input(rgb), colorizer.extractor.name
    (ab,) = colorizer.predict_ab([given])
    assert np.hypot(*np.moveaxis(ab, -1, 0)).mean() > 3.0
    (without,) = colorizer.predict_ab([{**given, name: 0.0 * given[name]}])
    assert np.hypot(*np.moveaxis(ab - without, -1, 0)).mean() > 1.0


@pytest.mark.parametrize(
    "module", ["color", "layers", "upsampling", "models", "extractors", "losses", "metrics", "colorizer"]
)
def test_networks_name_no_backend(module, project):
    tree = ast.parse((project / "nxap_color" / f"{module}.py").read_text(encoding="utf-8"))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert not imported & {"tensorflow", "jax", "torch"}


ON_ANOTHER_BACKEND = """
import sys
import numpy as np
import keras
from nxap_color.colorizer import Colorizer

given = np.load(sys.argv[1])
colorizer = Colorizer.load(sys.argv[3])
inputs = {name: given[name] for name in given if name != "gray"}
ab = np.stack(colorizer.predict_ab([inputs]))
np.savez(sys.argv[2], ab=ab, photo=colorizer.colorize(given["gray"]))
print(keras.backend.backend())
"""


@pytest.fixture(params=["unet", "fusion"])
def model_to_move(request, photo_folder, tmp_path):
    """The shipped model, and a core that has its extractor attached when it is loaded."""
    path = tmp_path / "own" / f"{request.param}.keras"  # without the .onnx beside it, which would run instead
    path.parent.mkdir()
    if request.param == "unet":
        for suffix in (".keras", ".json"):
            shutil.copy(saved.find_model("unet").with_suffix(suffix), path.with_suffix(suffix))
        return str(path)
    branch = ["--arch", "fusion", "--extractor", "efficientnet_lite0", "--extractor-weights", "random"]
    size = ["--filters", "8", "--image-size", "32", "--batch-size", "4", "--steps", "20", "--epochs", "1"]
    train([str(photo_folder), *branch, *size, "--validation", "0.3", "--output", str(path)])
    path.with_suffix(".onnx").unlink(missing_ok=True)
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax"])
def test_a_model_gives_the_same_colours_on_another_backend(backend, model_to_move, tmp_path, sample_rgb):
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    given, answers = tmp_path / "given.npz", tmp_path / "answers.npz"
    colorizer = Colorizer.load(model_to_move)
    inputs = colorizer.network_input(np.float32(sample_rgb) / 255.0)
    np.savez(given, gray=sample_rgb[..., 1], **inputs)
    done = subprocess.run(
        [sys.executable, "-c", ON_ANOTHER_BACKEND, str(given), str(answers), model_to_move],
        env={**os.environ, "KERAS_BACKEND": backend}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip().endswith(backend), done.stderr
    found = np.load(answers)
    expected = np.stack(colorizer.predict_ab([inputs]))
    assert np.abs(expected).max() > 1.0
    np.testing.assert_allclose(found["ab"] / color.AB_SCALE, expected / color.AB_SCALE, atol=1e-5)
    difference = found["photo"].astype(int) - colorizer.colorize(sample_rgb[..., 1])
    assert np.abs(difference).max() <= 1


def test_the_autoencoder_is_fine_tuned_too():
    """Its layers have the same names in every build."""
    names = [[layer.name for layer in models.build_autoencoder().layers if layer.weights] for _ in range(2)]
    assert names[0] == names[1]


def test_each_configuration_is_what_its_builder_builds_by_default():
    assert models.CONFIGS.keys() == models.ARCHITECTURES.keys()
    for name, build in models.ARCHITECTURES.items():
        defaults = {key: given.default for key, given in inspect.signature(build).parameters.items()}
        assert defaults["name"] == name
        assert {key: defaults[key] for key in models.CONFIGS[name]} == models.CONFIGS[name]

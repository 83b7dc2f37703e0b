"""The networks, and loading them."""

import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from importlib.util import find_spec

import keras
import numpy as np
import pytest

from nxap_color import color, models, saved
from nxap_color.colorizer import Colorizer
from nxap_color.errors import ModelError
from nxap_color.losses import AbMeanSquaredError
from nxap_color.train import main as train


@pytest.mark.parametrize(
    ("build", "stride", "millions"),
    [(models.build_autoencoder, 1, 3.9), (models.build_fusion, 2, 6.3), (models.build_unet, 4, 3.8)],
)
def test_networks_take_any_size_and_answer_at_their_stride(build, stride, millions):
    model = build()
    for height, width in ((32, 64), (96, 32)):
        answer = model(np.zeros((2, height, width, 1), "float32"))
        assert answer.shape == (2, height // stride, width // stride, 2)
    assert model.count_params() / 1e6 == pytest.approx(millions, abs=0.05)


def test_autoencoder_answers_both_signs_within_the_scale():
    answer = np.asarray(models.build_autoencoder()(np.random.uniform(-1, 1, (1, 32, 32, 1))))
    assert -1.0 < answer.min() < 0.0 < answer.max() < 1.0


@pytest.mark.parametrize("build", [models.build_fusion, models.build_unet])
def test_untrained_networks_answer_gray(build):
    answer = np.asarray(build()(np.random.uniform(-1, 1, (1, 32, 32, 1))))
    np.testing.assert_array_equal(answer, np.zeros_like(answer))


def test_unet_needs_three_decoder_widths():
    with pytest.raises(ValueError, match="3 decoder_filters and a head"):
        models.build_unet(decoder_filters=(8, 8))


@pytest.mark.slow
@pytest.mark.parametrize("build", models.ARCHITECTURES.values())
def test_networks_learn_one_photo(build, sample_rgb):
    """A network that cannot overfit one photo has a fault that more data would only hide."""
    rgb = keras.ops.image.resize(sample_rgb[None] / np.float32(255.0), (64, 64), antialias=True)
    lightness, ab = color.split_lightness_ab(rgb)
    keras.utils.set_random_seed(0)
    model = build()
    model.compile(keras.optimizers.Adam(1e-3), AbMeanSquaredError())
    before = model.evaluate(lightness, ab, verbose=0)
    model.fit(lightness, ab, epochs=40, verbose=0)
    assert model.evaluate(lightness, ab, verbose=0) < 0.25 * before


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_networks_survive_saving_in_safe_mode(architecture, tmp_path):
    model = models.ARCHITECTURES[architecture]()
    path = tmp_path / "model.keras"
    model.save(path)
    lightness = np.random.default_rng(0).uniform(-1, 1, (1, 64, 32, 1)).astype("float32")
    np.testing.assert_allclose(saved.load_model(path)(lightness), model(lightness), atol=1e-6)


def test_fused_features_decide_the_colour_of_the_same_gray(tiny_extractor):
    """Two photos that differ in their features only have different colours: the network tells them apart."""
    keras.utils.set_random_seed(0)
    model = models.build_fusion(tiny_extractor, filters=8)
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    lightness = np.zeros((2, 32, 32, 1), "float32")
    features = np.float32([[100, 0, 0, 1], [90, 0, 0, 1]])  # far from mean 0 and deviation 1
    ab = np.float32([[0.4, 0.1], [-0.2, -0.3]])[:, None, None].repeat(16, axis=1).repeat(16, axis=2)
    model.fit([lightness, features], ab, epochs=150, verbose=0)
    answer = model.predict_on_batch([lightness, features])
    np.testing.assert_allclose(answer[:, 8, 8], ab[:, 8, 8], atol=0.1)


def test_fusion_takes_features_under_the_name_of_their_extractor(tiny_extractor, tmp_path):
    models.build_fusion(tiny_extractor, filters=4).save(tmp_path / "fusion.keras")
    model = saved.load_model(tmp_path / "fusion.keras")
    assert [tuple(tensor.shape[1:]) for tensor in model.inputs] == [(None, None, 1), (4,)]
    assert model.inputs[1].name == "tiny_features"
    kernels = [layer.kernel.shape for layer in model.layers if hasattr(layer, "kernel")]
    assert (3, 3, 3, 4) not in kernels  # the extractor's own


def test_prediction_retraces_for_new_sizes():
    """Keras relaxes sizes to unknown ones after the second; layers must stand that."""
    model = models.build_unet()
    for size in ((32, 32), (32, 64), (64, 32), (96, 64)):
        answer = model.predict_on_batch(np.zeros((1, *size, 1), "float32"))
        assert answer.shape == (1, size[0] // 4, size[1] // 4, 2)


def test_shipped_model_is_loaded_by_name_with_its_recipe():
    assert saved.load_model("unet").output_shape[-1] == 2
    assert saved.load_recipe("unet")["arguments"]["arch"] == "unet"


def test_the_shipped_fusion_network_is_given_its_extractor(sample_rgb):
    colorizer = Colorizer.load("fusion")
    rgb = np.float32(sample_rgb) / 255.0
    inputs, features = [colorizer.network_input(rgb)], colorizer.extractor([rgb])
    (ab,) = colorizer.predict_ab(inputs, features=features)
    assert np.hypot(*np.moveaxis(ab, -1, 0)).mean() > 3.0
    (without,) = colorizer.predict_ab(inputs, features=0.0 * features)
    assert np.hypot(*np.moveaxis(ab - without, -1, 0)).mean() > 1.0


def test_shipped_models_are_small():
    for path in saved.SAVED_MODELS.glob("*.keras"):
        assert path.stat().st_size <= 25e6


def test_shipped_models_were_saved_by_the_oldest_keras(project):
    """Older versions of Keras cannot read what newer ones save."""
    (requirement,) = re.findall(r"^keras>=(.+)$", (project / "requirements.txt").read_text(), re.MULTILINE)
    for path in saved.SAVED_MODELS.glob("*.keras"):
        with zipfile.ZipFile(path) as file:
            assert json.loads(file.read("metadata.json"))["keras_version"].startswith(requirement)


@pytest.mark.parametrize("name", ["no-such-model", "missing.keras"])
def test_missing_model_is_named_beside_those_there_are(name):
    with pytest.raises(ModelError, match=f"There is no model {name}.*unet"):
        saved.load_model(name)


def test_file_that_is_no_model_is_refused(tmp_path):
    path = tmp_path / "text.keras"
    path.write_text("not a model")
    with pytest.raises(ModelError, match="could not be loaded"):
        saved.load_model(path)


def test_truncated_model_is_refused(tmp_path):
    shipped = saved.find_model("unet").read_bytes()
    path = tmp_path / "half.keras"
    path.write_bytes(shipped[: len(shipped) // 2])
    with pytest.raises(ModelError, match="could not be loaded"):
        saved.load_model(path)


def test_foreign_code_is_refused(tmp_path):
    inputs = keras.Input((None, None, 1))
    outputs = keras.layers.Lambda(lambda x: keras.ops.concatenate([x, x], axis=-1))(inputs)
    path = tmp_path / "lambda.keras"
    keras.Model(inputs, outputs).save(path)
    with pytest.raises(ModelError, match="program code of its own, which is not run"):
        saved.load_model(path)


@pytest.mark.parametrize(
    "text", ["no JSON", "[]", '{"network_size": "large"}', '{"chroma_gain": -1}', '{"extractor": [1]}']
)
def test_a_damaged_recipe_is_named(text, tiny_model, tmp_path):
    tiny_model.save(tmp_path / "tiny.keras")
    (tmp_path / "tiny.json").write_text(text)
    with pytest.raises(ModelError, match="recipe .*tiny.json is damaged"):
        Colorizer.load(tmp_path / "tiny.keras")


def test_modules_of_strangers_are_not_imported(tmp_path, monkeypatch, capsys):
    (tmp_path / "stranger.py").write_text("print('this must not be printed')")
    monkeypatch.syspath_prepend(tmp_path)
    layer = type("Own", (keras.layers.Conv2D,), {"__module__": "stranger"})(2, 1)
    inputs = keras.Input((None, None, 1))
    keras.Model(inputs, layer(inputs)).save(tmp_path / "own.keras")
    with pytest.raises(ModelError, match="program code of its own, which is not run") as caught:
        saved.load_model(tmp_path / "own.keras")
    assert "stranger" not in sys.modules and not capsys.readouterr().out
    assert len(str(caught.value).splitlines()) == 1


def odd_model(kind):
    """A network that is none for colours, by its input, or by the number or kind of its outputs."""
    inputs = keras.Input((None, None, 3 if kind == "colour in" else 1))
    outputs = keras.layers.Conv2D(3 if kind == "colour out" else 2, 1)(inputs)
    if kind == "three inputs":
        features = [keras.Input((4,)) for _ in range(2)]
        scale = keras.layers.Dense(2)(keras.layers.Concatenate()(features))
        inputs, outputs = [inputs, *features], outputs * scale[:, None, None]
    answers = {"two outputs": [outputs, outputs], "list of one": [outputs], "named output": {"ab": outputs}}
    return keras.Model(inputs, answers.get(kind, outputs))


@pytest.mark.parametrize(
    "kind", ["colour in", "colour out", "three inputs", "two outputs", "list of one", "named output"]
)
def test_model_of_another_kind_is_refused(tmp_path, kind):
    odd_model(kind).save(tmp_path / "odd.keras")
    with pytest.raises(ModelError, match="is no colorization network: expected lightness"):
        saved.load_model(tmp_path / "odd.keras")


def test_model_with_another_output_is_refused(tmp_path):
    inputs = keras.Input((None, None, 1))
    path = tmp_path / "classifier.keras"
    keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs)).save(path)
    with pytest.raises(ModelError, match="is no colorization network"):
        saved.load_model(path)


@pytest.mark.parametrize(
    "module", ["color", "layers", "efficientnet", "models", "extractors", "losses", "metrics", "colorizer"]
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
    assert not imported & {"tensorflow", "jax", "torch", "openvino"}


ON_ANOTHER_BACKEND = """
import sys
import numpy as np
import keras
from nxap_color.colorizer import Colorizer

given = np.load(sys.argv[1])
colorizer = Colorizer.load(sys.argv[3])
features = given["features"] if "features" in given else None
ab = np.stack(colorizer.predict_ab(list(given["lightness"]), features=features))
np.savez(sys.argv[2], ab=ab, photo=colorizer.colorize(given["gray"]))
print(keras.backend.backend())
"""


@pytest.fixture(params=["unet", "fusion"])
def model_to_move(request, photo_folder, tmp_path):
    """The shipped model, and a core that has its extractor attached when it is loaded."""
    if request.param == "unet":
        return "unet"
    path = tmp_path / "fusion.keras"
    branch = ["--arch", "fusion", "--extractor", "efficientnet_lite0", "--extractor-weights", "random"]
    size = ["--filters", "8", "--image-size", "32", "--batch-size", "4", "--steps", "20", "--epochs", "1"]
    train([str(photo_folder), *branch, *size, "--validation", "0.3", "--output", str(path)])
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "openvino"])
def test_a_model_gives_the_same_colours_on_another_backend(backend, model_to_move, tmp_path, sample_rgb):
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    given, answers = tmp_path / "given.npz", tmp_path / "answers.npz"
    lightness = np.random.default_rng(0).uniform(-1, 1, (1, 96, 128, 1)).astype("float32")
    colorizer = Colorizer.load(model_to_move)
    photo = [np.float32(sample_rgb) / 255.0]
    features = {"features": colorizer.extractor(photo)} if colorizer.extractor else {}
    np.savez(given, lightness=lightness, gray=sample_rgb[..., 1], **features)
    done = subprocess.run(
        [sys.executable, "-c", ON_ANOTHER_BACKEND, str(given), str(answers), model_to_move],
        env={**os.environ, "KERAS_BACKEND": backend}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip().endswith(backend), done.stderr
    found = np.load(answers)
    expected = np.stack(colorizer.predict_ab(list(lightness), **features))
    assert np.abs(expected).max() > 1.0
    np.testing.assert_allclose(found["ab"] / color.AB_SCALE, expected / color.AB_SCALE, atol=1e-5)
    difference = found["photo"].astype(int) - colorizer.colorize(sample_rgb[..., 1])
    assert np.abs(difference).max() <= 1


def test_saved_files_hold_no_optimizer():
    with zipfile.ZipFile(saved.find_model("unet")) as file:
        assert b'"compile_config": {"optimizer"' not in file.read("config.json")


def test_a_classifying_network_predicts_where_no_bins_were_listed_before(tmp_path):
    models.build_unet(head="bins").save(tmp_path / "bins.keras")
    color.ab_bins.cache_clear()
    answer = saved.load_model(tmp_path / "bins.keras").predict_on_batch(np.zeros((1, 32, 32, 1), "float32"))
    assert answer.shape == (1, 8, 8, 2)


def test_the_autoencoder_is_fine_tuned_too():
    """Its layers have the same names in every build."""
    names = [[layer.name for layer in models.build_autoencoder().layers if layer.weights] for _ in range(2)]
    assert names[0] == names[1]

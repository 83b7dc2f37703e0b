"""Models on disk: what is loaded, and what is refused."""

import json
import re
import subprocess
import sys
import warnings
import zipfile

import keras
import numpy as np
import pytest

from nxap_color import color, models, paths, saved
from nxap_color.colorizer import Colorizer
from nxap_color.errors import ModelError
from nxap_color.gaussian_process import HINT_CHANNELS


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_networks_survive_saving_in_safe_mode(architecture, tmp_path):
    model = models.ARCHITECTURES[architecture]()
    path = tmp_path / "model.keras"
    model.save(path)
    given = {"lightness": np.random.default_rng(0).uniform(-1, 1, (1, 64, 32, 1)).astype("float32")}
    np.testing.assert_allclose(saved.load_model(path)(given), model(given), atol=1e-6)


def test_shipped_model_is_loaded_by_name_with_its_recipe():
    assert saved.load_model("unet").output_shape[-1] == 2 + HINT_CHANNELS
    assert saved.load_recipe("unet")["arguments"]["arch"] == "unet"


def test_shipped_models_are_small():
    for path in paths.SAVED_MODELS.glob("*.keras"):
        assert path.stat().st_size <= 25e6


def test_shipped_models_were_saved_by_the_oldest_keras(project):
    """Older versions of Keras cannot read what newer ones save."""
    (requirement,) = re.findall(r"^keras>=(.+)$", (project / "requirements.txt").read_text(), re.MULTILINE)
    for path in paths.SAVED_MODELS.glob("*.keras"):
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
    name = None if kind == "no name" else "lightness"
    inputs = keras.Input((None, None, 3 if kind == "colour in" else 1), name=name)
    outputs = keras.layers.Conv2D(3 if kind == "colour out" else 2, 1)(inputs)
    if kind == "picture in":
        inputs = [inputs, keras.Input((None, None, 1), name="mask")]
        outputs = keras.layers.Concatenate()([outputs[..., :1], inputs[1]])
    if kind == "three inputs":
        features = [keras.Input((4,)) for _ in range(2)]
        scale = keras.layers.Dense(2)(keras.layers.Concatenate()(features))
        inputs, outputs = [inputs, *features], outputs * scale[:, None, None]
    answers = {"two outputs": [outputs, outputs], "list of one": [outputs], "named output": {"ab": outputs}}
    return keras.Model(inputs, answers.get(kind, outputs))


@pytest.mark.parametrize(
    "kind",
    [
        "colour in",
        "colour out",
        "three inputs",
        "two outputs",
        "list of one",
        "named output",
        "no name",
        "picture in",
    ],
)
def test_model_of_another_kind_is_refused(tmp_path, kind):
    odd_model(kind).save(tmp_path / "odd.keras")
    with pytest.raises(ModelError, match="is no colorization network: expected lightness"):
        saved.load_model(tmp_path / "odd.keras")


def test_model_with_another_output_is_refused(tmp_path):
    inputs = keras.Input((None, None, 1), name="lightness")
    path = tmp_path / "classifier.keras"
    keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs)).save(path)
    with pytest.raises(ModelError, match="is no colorization network"):
        saved.load_model(path)


def test_saved_files_hold_no_optimizer():
    with zipfile.ZipFile(saved.find_model("unet")) as file:
        assert b'"compile_config": {"optimizer"' not in file.read("config.json")


def test_a_classifying_network_predicts_where_no_bins_were_listed_before(tmp_path):
    models.build_unet(head="bins").save(tmp_path / "bins.keras")
    color.ab_bins.cache_clear()
    given = {"lightness": np.zeros((1, 32, 32, 1), "float32")}
    answer = saved.load_model(tmp_path / "bins.keras").predict_on_batch(given)
    assert answer.shape == (1, 8, 8, 2)


def test_a_shipped_file_which_takes_a_list_is_given_inputs_by_name():
    stored = keras.saving.load_model(saved.find_model("fusion"), compile=False)
    assert not isinstance(stored.input, dict)
    require_the_same_answers(saved.load_model("fusion"), stored)


def test_a_file_that_takes_a_single_tensor_is_given_inputs_by_name(tmp_path):
    lightness = keras.Input((None, None, 1), name="lightness")
    stored = keras.Model(lightness, keras.layers.Conv2D(2, 3, padding="same")(lightness), name="old")
    stored.save(tmp_path / "old.keras")
    require_the_same_answers(saved.load_model(tmp_path / "old.keras"), stored)


def require_the_same_answers(loaded, stored):
    """Compares a loaded network with the one in the file, which is asked as it was built, by position."""
    assert loaded.name == stored.name
    rng = np.random.default_rng(0)
    shapes = [[2, *(size or 32 for size in tensor.shape[1:])] for tensor in stored.inputs]
    given = [rng.uniform(-1, 1, shape).astype("float32") for shape in shapes]
    named = {tensor.name: array for tensor, array in zip(stored.inputs, given, strict=True)}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # Keras's, on inputs in another structure
        answer = loaded.predict_on_batch(named)
    np.testing.assert_allclose(answer, stored.predict_on_batch(given if given[1:] else given[0]), atol=1e-6)


def test_a_model_is_loaded_where_nothing_else_is_imported():
    """Its file names layers of this package, which Keras has to be told of."""
    script = "from nxap_color.saved import load_model; print(load_model('unet').name)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "unet\n", done.stderr


def test_shipped_models_that_take_hints_are_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(saved, "SAVED_MODELS", tmp_path)
    for name, recipe in {"b": {"hints": True}, "a": {"hints": True}, "c": {"hints": False}, "d": {}}.items():
        (tmp_path / f"{name}.keras").touch()
        (tmp_path / f"{name}.json").write_text(json.dumps({"arguments": recipe}))
    (tmp_path / "e.keras").touch()  # without a recipe
    assert saved.models_with_hints() == ["a", "b"]

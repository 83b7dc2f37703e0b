"""Settings of a training: checks, defaults, recipes, and the command line made from them."""

import dataclasses
import json
import subprocess
import sys

import pytest

from nxap_color import models, saved
from nxap_color.errors import TrainingError, UserError
from nxap_color.train import main, make_parser
from nxap_color.training.config import ARCHITECTURES, TrainConfig

# A network that is compiled in a moment, on tiny crops.
SMALL = {"arch": "fusion", "extractor": "none", "filters": 8, "image_size": 32, "batch_size": 2}
SMALL |= {"steps": 2, "epochs": 1, "validation": 0.3}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 100}, "image_size: expected a multiple of 32, received 100"),
        ({"image_size": 0}, "image_size: expected a multiple of 32, received 0"),
        ({"epochs": 0}, "epochs: expected a whole number above 0, received 0"),
        ({"epochs": 2.5}, "epochs: expected a whole number above 0, received 2.5"),
        ({"epochs": None}, "epochs: expected a whole number above 0, received None"),
        ({"freeze": -1}, "freeze: expected a whole number, 0 or above, received -1"),
        ({"seed": "one"}, "seed: expected a whole number, received one"),
        ({"learning_rate": -1}, "learning_rate: expected a number above 0, received -1"),
        ({"learning_rate": float("nan")}, "learning_rate: expected a number above 0, received nan"),
        ({"encoder_rate": float("inf")}, "encoder_rate: expected a number above 0, received inf"),
        ({"degraded": 2}, "degraded: expected a number from 0 to 1, received 2"),
        ({"min_crop": 0.05}, "min_crop: expected a number from 0.1 to 1, received 0.05"),
        ({"emulsions": 1.5}, "emulsions: expected a number from 0 to 1, received 1.5"),
        ({"balance": -0.1}, "balance: expected a number from 0 to 1, received -0.1"),
        ({"min_colorfulness": -1}, "min_colorfulness: expected a number, 0 or above, received -1"),
        ({"output": "model.h5"}, "ends in .keras, received model.h5"),
        ({"arch": "transformer"}, "arch: expected one of autoencoder, fusion, unet; received 'transformer'"),
        ({"extractor": "vgg"}, "extractor: expected one of inception_v3, .*, none; received 'vgg'"),
        ({"loss": "l1"}, "loss: expected one of huber, mse, moments, bins; received 'l1'"),
        ({"precision": "float16"}, "precision: expected one of float32, .*; received 'float16'"),
        ({"imagenet": True, "init": "unet"}, "--init is not allowed with argument --imagenet"),
        ({"imagenet": True, "arch": "fusion"}, "fusion has no encoder that ImageNet weights fit"),
        ({"freeze": 3}, "--freeze .* needs some to keep: --imagenet or --init"),
        ({"loss": "bins", "arch": "fusion"}, "--loss bins needs --arch unet"),
        ({"extractor": "inception_v3", "arch": "autoencoder"}, "--extractor needs --arch fusion or unet"),
        ({"extractor_weights": "random"}, "--extractor-weights needs an --extractor"),
        ({"filters": 8}, "--filters needs --arch fusion, not unet"),
    ],
)
def test_settings_that_make_no_sense_are_named(settings, message):
    with pytest.raises(UserError, match=message):
        TrainConfig("photos", **settings)


def test_a_training_needs_a_source():
    with pytest.raises(UserError, match="expected at least one folder or zip"):
        TrainConfig([])


def test_a_source_may_be_one_or_several_paths_or_texts(tmp_path):
    assert TrainConfig(tmp_path).sources == [str(tmp_path)]
    assert TrainConfig(["a", tmp_path]).sources == ["a", str(tmp_path)]


def test_settings_cannot_be_changed_unchecked():
    config = TrainConfig("photos")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.epochs = 0
    with pytest.raises(UserError, match="whole number above 0"):
        dataclasses.replace(config, epochs=0)
    assert dataclasses.replace(config, epochs=3).epochs == 3


@pytest.mark.parametrize(
    ("arch", "extractor", "expected"),
    [
        ("unet", None, None),
        ("fusion", None, "inception_v3"),
        ("fusion", "none", None),
        ("unet", "efficientnet_lite0", "efficientnet_lite0"),
    ],
)
def test_fusion_has_an_extractor_unless_told_otherwise(arch, extractor, expected):
    assert TrainConfig("photos", arch=arch, extractor=extractor).extractor_name == expected


def test_the_command_line_has_an_option_for_each_setting_with_its_default():
    config, parsed = TrainConfig("photos"), vars(make_parser().parse_args(["photos"]))
    assert parsed == {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    assert parsed == {
        "sources": ["photos"], "arch": "unet", "extractor": None, "extractor_weights": None,
        "filters": None, "hints": False, "hints_only": False, "queries": 0,
        "imagenet": False, "init": None, "freeze": 0,
        "average": [], "loss": "huber", "ema": 0.0,
        "image_size": 128, "batch_size": 32, "epochs": 10, "steps": None, "precision": "float32",
        "learning_rate": 8e-4, "encoder_rate": None, "degraded": 0.5, "min_crop": 0.6, "emulsions": 0.0,
        "balance": 0.0, "min_colorfulness": 15.0, "validation": 0.02,
        "seed": 0, "distribute": False, "sample_every": 5, "output": config.output, "keras_only": False,
        "resume": False, "overwrite": False,
    }  # fmt: skip
    assert str(config.output).replace("\\", "/") == "runs/model.keras"


def test_options_given_are_the_settings_of_the_same_names():
    texts = ["--init", "unet", "--freeze", "3", "--epochs", "2", "--degraded", "1", "--average", "a", "b"]
    parsed = vars(make_parser().parse_args(["x.zip", "y", *texts]))
    config = TrainConfig(["x.zip", "y"], init="unet", freeze=3, epochs=2, degraded=1, average=["a", "b"])
    assert TrainConfig(**parsed) == config


def test_architectures_are_those_of_the_models():
    assert set(ARCHITECTURES) == set(models.ARCHITECTURES)


def test_help_and_wrong_settings_need_no_keras():
    code = "import sys; from nxap_color.train import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert main(['photos', '--freeze', '3']) == 2; assert 'keras' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage: python -m nxap_color.train" in done.stdout and "--freeze keeps" in done.stderr


def test_a_recipe_has_plain_values_and_reads_as_the_settings_it_came_from(tmp_path):
    config = TrainConfig([tmp_path], init=tmp_path / "a.keras", output=tmp_path / "b.keras", freeze=2)
    plain = json.loads(json.dumps(config.to_dict()))
    assert plain == config.to_dict() and plain["source"] == [str(tmp_path)]
    assert not plain.keys() & {"resume", "overwrite", "sample_every", "distribute"}
    assert TrainConfig.from_dict(plain) == config


@pytest.mark.parametrize("name", ["unet", "fusion"])
def test_recipes_of_older_versions_read(name):
    arguments = saved.load_recipe(name)["arguments"]
    config = TrainConfig.from_dict(arguments)
    assert config.to_dict().items() >= arguments.items()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": ["a"], "colour": 1}, "settings that are not known: colour"),
        ({"epochs": 3}, "does not name its source"),
        ({"source": ["a"], "epochs": 0}, "epochs: expected a whole number above 0"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_named(arguments, message):
    with pytest.raises(UserError, match=message):
        TrainConfig.from_dict(arguments)


def test_running_trains_as_the_command_line_does(photo_folder, tmp_path):
    recipe = TrainConfig(photo_folder, **SMALL, output=tmp_path / "api.keras").run()
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    assert main([str(photo_folder), *options, f"--output={tmp_path / 'line.keras'}", "--keras-only"]) == 0
    api, line = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("api", "line"))
    assert api == recipe
    assert (tmp_path / "api.onnx").exists() and not (tmp_path / "line.onnx").exists()
    losses = [run["best_epoch"]["val_loss"] for run in (api, line)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    for key in ("parameters", "data", "steps", "network_size"):
        assert api[key] == line[key]
    assert api["arguments"] == line["arguments"] | {"output": str(tmp_path / "api.keras")}
    again = TrainConfig.from_dict(recipe["arguments"])
    with pytest.raises(UserError, match="--overwrite to replace it"):
        again.run()


def test_a_loss_that_explodes_is_an_error_of_its_own(photo_folder, tmp_path):
    config = TrainConfig(
        photo_folder, **SMALL | {"steps": 10}, learning_rate=1e30, output=tmp_path / "a.keras"
    )
    with pytest.raises(TrainingError, match="try a lower --learning-rate than 1e\\+30"):
        config.run()


def test_an_output_that_the_training_starts_from_is_refused(photo_folder, tmp_path):
    path = tmp_path / "mine.keras"
    models.build_autoencoder().save(path)
    with pytest.raises(UserError, match="would replace what --init starts from"):
        TrainConfig(photo_folder, arch="autoencoder", init=path, output=path, overwrite=True).run()

"""Training through its command line and `TrainConfig`, on tiny photos."""

import csv
import dataclasses
import json
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from nxap_color import color, layers, models, saved
from nxap_color.colorizer import Colorizer
from nxap_color.errors import ExtractorError
from nxap_color.gaussian_process import HINT_CHANNELS
from nxap_color.guidance import Hint
from nxap_color.train import main
from nxap_color.training.callbacks import SaveBest, UseAverage
from nxap_color.training.config import TrainConfig
from nxap_color.training.run import Run
from nxap_color.training.trainer import EncoderAdam, build_model

TINY = ["--image-size", "32", "--batch-size", "2", "--steps", "2"]
TINY += ["--validation", "0.3", "--sample-every", "1", "--keras-only"]

# A network that is compiled in a moment.
SMALL = [*TINY, "--arch", "fusion", "--extractor", "none", "--filters", "8"]
SETTINGS = {"arch": "fusion", "extractor": "none", "filters": 8, "epochs": 1}
SETTINGS |= {"image_size": 32, "batch_size": 2, "steps": 2, "validation": 0.3, "keras_only": True}


def log_of(path):
    with path.with_suffix(".csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_model_recipe_log_and_samples(photo_folder, tmp_path, capsys):
    output = tmp_path / "runs" / "model.keras"
    options = [option for option in SMALL if option != "--keras-only"]
    assert main([str(photo_folder), *options, "--epochs", "2", "--output", str(output)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"wrote {output} after")
    assert saved.find_exported(output) == output.with_suffix(".onnx")

    assert saved.load_model(output).count_params() == models.build_fusion(None, filters=8).count_params()
    recipe = json.loads(output.with_suffix(".json").read_text())
    assert recipe["arguments"]["source"] == [str(photo_folder)] and recipe["arguments"]["seed"] == 0
    assert recipe["data"]["train"] + recipe["data"]["validation"] == 12
    assert recipe["data"]["left_out"] == {"broken": 0, "gray": 0, "pale": 0}
    assert recipe["network_size"] == 48 and recipe["steps"] == 4
    assert recipe["versions"]["keras"] == keras.__version__
    log = log_of(output)
    best = min(log, key=lambda row: float(row["val_loss"]))
    assert [row["epoch"] for row in log] == ["0", "1"]
    assert recipe["best_epoch"]["val_loss"] == float(best["val_loss"])
    with Image.open(tmp_path / "runs" / "model.samples" / "epoch_002.jpg") as sheet:
        assert sheet.width > 3 * 150
    assert not output.with_suffix(".resume").exists()


def test_a_missing_converter_costs_the_onnx_file_only(photo_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)  # what Python takes for not installed
    output = tmp_path / "model.keras"
    config = TrainConfig(photo_folder, **SETTINGS | {"keras_only": False}, output=output)
    assert config.run()["steps"] == 2
    note = "note: prediction with it will need Keras: tf2onnx is not installed: pip install tf2onnx"
    assert note in capsys.readouterr().out
    assert saved.load_model(output).output_shape[-1] == 2 and saved.find_exported(output) is None


def test_learning_reduces_the_loss(photo_folder, tmp_path):
    output = tmp_path / "model.keras"
    arguments = [*SMALL, "--epochs", "5", "--steps", "12", "--learning-rate", "5e-3", "--output", str(output)]
    assert main([str(photo_folder), *arguments]) == 0
    losses = [float(row["loss"]) for row in log_of(output)]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_it_had_not_been_killed(photo_folder, tmp_path):
    arguments = [str(photo_folder), *SMALL, "--epochs", "4", "--steps", "6", "--output"]
    assert main([*arguments, str(tmp_path / "whole.keras")]) == 0

    killed = tmp_path / "killed.keras"
    kept = tmp_path / "killed.resume" / "state" / "training_metadata.json"
    process = subprocess.Popen([sys.executable, "-m", "nxap_color.train", *arguments, str(killed)])
    try:
        deadline = time.monotonic() + 120
        while not (kept.exists() and kept.read_text()[:11] in ('{"epoch": 1', '{"epoch": 2', '{"epoch": 3')):
            assert process.poll() is None and time.monotonic() < deadline, "it ended before it was killed"
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not killed.with_suffix(".json").exists()

    assert main([*arguments, str(killed), "--resume"]) == 0
    whole, resumed = log_of(tmp_path / "whole.keras"), log_of(killed)
    assert [row["epoch"] for row in resumed] == ["0", "1", "2", "3"]
    for key in ("loss", "val_loss"):
        np.testing.assert_allclose(
            [float(row[key]) for row in resumed], [float(row[key]) for row in whole], rtol=1e-3
        )


def test_a_run_killed_while_its_first_state_was_written_starts_anew(photo_folder, tmp_path):
    config = TrainConfig(photo_folder, **SETTINGS, output=tmp_path / "a.keras")
    run = Run(config)
    run.start()
    (run.state / "state").mkdir()
    (run.state / "state" / "latest.weights.h5").write_bytes(b"\x89HDF\r\n")
    dataclasses.replace(config, resume=True).run()
    assert [row["epoch"] for row in log_of(run.output)] == ["0"]


def test_resuming_with_other_arguments_is_refused(photo_folder, tmp_path, capsys):
    run = Run(TrainConfig(photo_folder, epochs=9, output=tmp_path / "model.keras"))
    run.start()
    assert main([str(photo_folder), "--epochs", "3", "--resume", "--output", str(run.output)]) == 2
    assert "epochs (was 9, now 3)" in capsys.readouterr().err


def test_resuming_nothing_is_refused(photo_folder, tmp_path, capsys):
    assert main([str(photo_folder), "--resume", "--output", str(tmp_path / "model.keras")]) == 2
    assert "There is no stopped run" in capsys.readouterr().err


def test_starting_over_a_stopped_run_is_refused(photo_folder, tmp_path, capsys):
    run = Run(TrainConfig(photo_folder, epochs=9, output=tmp_path / "model.keras"))
    run.start()
    assert main([str(photo_folder), *TINY, "--output", str(run.output)]) == 2
    assert "--resume goes on with it" in capsys.readouterr().err


def test_a_missing_source_leaves_an_old_run_alone(tmp_path, capsys):
    output = tmp_path / "model.keras"
    output.with_suffix(".csv").write_text("the log of hours")
    assert main(["no-such-folder", "--overwrite", "--output", str(output)]) == 2
    assert output.with_suffix(".csv").read_text() == "the log of hours"


def test_a_model_that_stands_is_not_replaced_unasked(photo_folder, tmp_path, capsys):
    output = tmp_path / "precious.keras"
    output.write_text("hours of work")
    assert main([str(photo_folder), *TINY, "--output", str(output)]) == 2
    assert "--overwrite to replace it" in capsys.readouterr().err
    assert output.read_text() == "hours of work"


def test_a_loss_that_explodes_ends_the_run(photo_folder, tmp_path, capsys):
    output = tmp_path / "model.keras"
    arguments = [*SMALL, "--epochs", "3", "--steps", "10", "--learning-rate", "1e30", "--output", str(output)]
    assert main([str(photo_folder), *arguments]) == 1
    assert "try a lower --learning-rate" in capsys.readouterr().err
    assert not output.with_suffix(".json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image-size", "100"], "expected a multiple of 32, received 100"),
        (["--epochs", "0"], "expected a whole number above 0, received 0"),
        (["--learning-rate", "-1"], "expected a number above 0, received -1"),
        (["--output", "model.h5"], "ends in .keras, received model.h5"),
        (["--arch", "transformer"], "invalid choice: 'transformer'"),
        (["--arch", "autoencoder", "--init", "unet"], "unet do not fit autoencoder"),
        (["--arch", "autoencoder", "--loss", "bins"], "--loss bins needs --arch unet"),
        (["--freeze", "3"], "needs some to keep: --imagenet or --init"),
        (["--freeze", "-1"], "expected a whole number, 0 or above, received -1"),
        (["--loss", "bins", "--average", "unet"], "unet do not fit unet"),
        (["--average", "no-such-model"], "There is no model no-such-model"),
        (["--arch", "autoencoder", "--average", "unet"], "unet do not fit autoencoder"),
        (["--imagenet", "--init", "unet"], "not allowed with argument --imagenet"),
        (["--init", "no-such-model"], "There is no model no-such-model"),
        (["--init", "unet", "--freeze", "17"], "has no 17 encoder blocks to freeze"),
        (["--degraded", "2"], "expected a number from 0 to 1, received 2"),
    ],
)
def test_wrong_usage_is_named(arguments, message, photo_folder, capsys):
    try:
        status = main([str(photo_folder), *arguments])
    except SystemExit as error:  # argparse's way
        status = error.code
    assert status == 2
    assert message in capsys.readouterr().err


def test_a_source_without_photos_is_named(tmp_path, capsys):
    assert main([str(tmp_path), "--output", str(tmp_path / "model.keras")]) == 2
    assert "0 photos give 0 to train" in capsys.readouterr().err


def test_the_encoder_learns_at_its_own_rate():
    inputs = keras.Input((1,))
    x = keras.layers.Dense(1, use_bias=False, name="encoder_dense")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False, name="decoder_dense")(x))
    model.set_weights([np.float32([[1.0]]), np.float32([[1.0]])])
    model.compile(EncoderAdam(0.1, encoder_rate=0.25), "mse")
    model.train_on_batch(np.float32([[1.0]]), np.float32([[0.0]]))
    # Adam's first step has the size of the learning rate, whatever the gradient.
    encoder, decoder = (float(weight.squeeze()) for weight in model.get_weights())
    assert 1.0 - encoder == pytest.approx(0.025, rel=1e-3)
    assert 1.0 - decoder == pytest.approx(0.1, rel=1e-3)


def test_the_shipped_model_is_fine_tuned_on_ones_own_photos(photo_folder, tmp_path):
    """Frozen blocks stay what they were, the rest moves, and the recipe tells where it came from."""
    output = tmp_path / "mine.keras"
    arguments = ["--init", "unet", "--freeze", "3", "--epochs", "1", "--output", str(output)]
    assert main([str(photo_folder), *TINY, *arguments]) == 0
    shipped, mine = saved.load_model("unet"), saved.load_model(output)
    moved = {
        layer.name: not np.array_equal(layer.get_weights()[0], mine.get_layer(layer.name).get_weights()[0])
        for layer in shipped.layers
        if layer.weights
    }
    assert not moved["encoder_stem"] and not moved["encoder_block2_project"]
    assert moved["encoder_block3_project"] and moved["decoder_160"] and moved["ab"]
    recipe = json.loads(output.with_suffix(".json").read_text())
    assert recipe["init"] == saved.load_recipe("unet")
    # Who fine-tunes a model that takes hints gets one that takes hints.
    assert mine.output.shape[-1] == 2 + HINT_CHANNELS and moved["hints_likeness"]
    assert recipe["arguments"]["hints"]


def test_the_average_of_the_weights_is_saved_and_training_goes_on_with_the_weights(tmp_path):
    """One weight that grows by 1 at each step; its average has a momentum of one half."""
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, "linear", False, "zeros")])
    network.compile(keras.optimizers.SGD(1.0, use_ema=True, ema_momentum=0.5), "mae")
    weights = []
    remember = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: weights.append(float(network.get_weights()[0].squeeze()))
    )
    given, wanted = np.ones((1, 1), "float32"), np.full((1, 1), 100.0, "float32")
    pairs = tf.data.Dataset.from_tensors((given, wanted)).repeat()
    saving = [SaveBest(network, tmp_path / "mean.keras"), UseAverage(), remember]
    network.fit(
        pairs,
        epochs=2,
        steps_per_epoch=3,
        validation_data=(given, wanted),
        callbacks=saving,
        shuffle=False,
        verbose=0,
    )
    assert weights == pytest.approx([1, 2, 3, 4, 5, 6], abs=1e-4)
    average = 1.0  # after the first step it is the weight
    for weight in weights[1:]:
        average = 0.5 * average + 0.5 * weight
    saved_weight = keras.saving.load_model(tmp_path / "mean.keras").get_weights()[0].squeeze()
    assert saved_weight == pytest.approx(average, abs=1e-4)


def test_a_network_that_takes_hints_is_trained_and_used(photo_folder, tmp_path, sample_rgb):
    output = tmp_path / "guided.keras"
    options = ["--hints", "--ema", "0.5", "--epochs", "1", "--output", str(output)]
    assert main([str(photo_folder), *TINY, *options]) == 0
    colorizer = Colorizer.load(output)
    hint = Hint.from_ab(40, 30, (0.0, 25.0), radius=20)
    without, told = colorizer.colorize(sample_rgb), colorizer.colorize(sample_rgb, [hint])
    _, ab = color.split_lightness_ab(told[25:36, 35:46] / np.float32(255.0))
    np.testing.assert_allclose(128.0 * ab.mean(axis=(0, 1)), hint.ab, atol=3.0)
    assert np.abs(told.astype(int) - without).max() > 10


def test_hints_are_taught_alone_and_beside_colours_without_changing_these(photo_folder, tmp_path):
    """Bit for bit: nothing that hints teach reaches the colours."""
    start, lone = tmp_path / "start.keras", tmp_path / "lone.keras"
    both, without = tmp_path / "both.keras", tmp_path / "without.keras"
    train = [str(photo_folder), *TINY, "--epochs", "1", "--keras-only"]
    models.build_unet().save(start)
    train += ["--init", str(start)]
    assert main([*train, "--hints", "--hints-only", "--output", str(lone)]) == 0
    assert main([*train, "--hints", "--output", str(both)]) == 0
    assert main([*train, "--output", str(without)]) == 0
    weights = {
        path: {layer.name: layer.get_weights() for layer in saved.load_model(path).layers if layer.weights}
        for path in (start, lone, both, without)
    }
    for one, other in ((lone, start), (both, without)):
        for name, expected in weights[other].items():
            for found, array in zip(weights[one][name], expected, strict=True):
                np.testing.assert_array_equal(found, array)
    kernel, of_lightness = weights[lone]["hints_likeness"]
    assert of_lightness[0] != layers.LIKENESS_OF_LIGHTNESS and of_lightness[1:].any() and kernel.any()


def test_another_loss_trains_a_network_that_predicts_ab(photo_folder, tmp_path):
    output = tmp_path / "model.keras"
    options = ["--loss", "moments", "--epochs", "1", "--output", str(output)]
    assert main([str(photo_folder), *SMALL, *options]) == 0
    assert float(log_of(output)[0]["val_ab_error"]) > 0.0
    answer = np.asarray(saved.load_model(output)({"lightness": np.zeros((1, 32, 32, 1), "float32")}))
    assert answer.shape == (1, 16, 16, 2) and np.abs(answer).max() < 1.0


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_what_is_trained_in_mixed_precision_is_saved_in_float32(precision, photo_folder, tmp_path):
    output = tmp_path / "model.keras"
    config = TrainConfig(photo_folder, **SETTINGS, output=output, precision=precision)
    network = build_model(config)
    assert network.get_layer("conv0").compute_dtype == precision.removeprefix("mixed_")
    assert network.get_layer("ab").compute_dtype == "float32"
    config.run()
    network = saved.load_model(output)
    assert {layer.dtype_policy.name for layer in network.layers} == {"float32"}
    assert {str(weight.dtype) for weight in network.weights} == {"float32"}
    assert np.isfinite(float(log_of(output)[0]["val_loss"]))


def test_the_result_can_be_averaged_with_other_models(photo_folder, tmp_path):
    """A run that learns nothing, averaged with a network of twice the weights, has 1.5 times the weights."""
    network = models.build_autoencoder()
    weights = network.get_weights()
    network.save(tmp_path / "once.keras")
    network.set_weights([2 * weight for weight in weights])
    network.save(tmp_path / "twice.keras")
    output = tmp_path / "mean.keras"
    options = ["--arch", "autoencoder", "--init", tmp_path / "once.keras"]
    options += ["--average", tmp_path / "twice.keras"]
    options += ["--learning-rate", "1e-12", "--epochs", "1", "--output", output]
    assert main([str(photo_folder), *TINY, *map(str, options)]) == 0
    for mean, weight in zip(saved.load_model(str(output)).get_weights(), weights, strict=True):
        np.testing.assert_allclose(mean, 1.5 * weight, rtol=1e-4, atol=1e-6)
    assert json.loads(output.with_suffix(".json").read_text())["averaged_with"] == [{}]


FUSION = ["--arch", "fusion", "--extractor", "efficientnet_lite0", "--extractor-weights", "random"]


def test_a_fusion_network_is_trained_and_used(photo_folder, tmp_path, capsys, sample_rgb):
    output = tmp_path / "runs" / "fusion.keras"
    options = [*TINY, *FUSION, "--filters", "8", "--epochs", "1", "--output", str(output)]
    assert main([str(photo_folder), *options]) == 0
    assert "Features of 12 photos found in" in capsys.readouterr().out
    extractor = json.loads(output.with_suffix(".json").read_text())["extractor"]
    assert (extractor["name"], extractor["weights"]) == ("efficientnet_lite0", "random")

    colorizer = Colorizer.load(str(output))
    assert colorizer.extractor.digest == extractor["digest"]
    expected = colorizer.colorize(sample_rgb)
    assert np.ptp(expected, axis=-1).max() > 0

    more = [*options[:-1], str(output.with_name("more.keras")), "--init", str(output)]
    assert main([str(photo_folder), *more]) == 0
    assert "Features of 0 photos found in" in capsys.readouterr().out
    recipe = json.loads(output.with_suffix(".json").read_text())
    recipe["extractor"]["digest"] = "00000000"
    output.with_suffix(".json").write_text(json.dumps(recipe))
    with pytest.raises(ExtractorError, match="with other weights \\(random, 00000000\\)"):
        Colorizer.load(str(output))


def test_the_extractor_stays_bit_for_bit_as_it_was(photo_folder, tmp_path, monkeypatch, tiny_extractor):
    before = [weight.copy() for weight in tiny_extractor.network.get_weights()]
    # To hold on to the extractor that the training uses, with batch normalisation in it.
    monkeypatch.setattr("nxap_color.extractors.load_extractor", lambda name, weights: tiny_extractor)
    options = [*TINY, *FUSION, "--filters", "8", "--epochs", "1", "--output", str(tmp_path / "fusion.keras")]
    assert main([str(photo_folder), *options]) == 0
    assert len(before) == 6  # kernel, bias, and the four of batch normalisation
    for weight, kept in zip(tiny_extractor.network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, kept)


def test_the_unet_answers_bins_and_takes_features_too(photo_folder, tmp_path, sample_rgb):
    output = tmp_path / "unet.keras"
    options = ["--extractor", "efficientnet_lite0", "--extractor-weights", "random", "--loss", "bins"]
    options += ["--epochs", "1", "--output", str(output)]
    assert main([str(photo_folder), *TINY, *options]) == 0
    assert float(log_of(output)[0]["val_ab_error"]) > 0.0
    colorizer = Colorizer.load(str(output))
    assert colorizer.extractor.name == "efficientnet_lite0" and colorizer.stride == 4
    (ab,) = colorizer.predict_ab([colorizer.network_input(sample_rgb)])
    assert np.abs(ab).max() < 128.0
    assert saved.load_model(output).get_layer("fusion").filters == 320


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--extractor-weights", "random"], "--extractor-weights needs an --extractor"),
        (["--filters", "8"], "--filters needs --arch fusion, not unet"),
        (["--arch", "autoencoder", "--extractor", "inception_v3"], "--extractor needs --arch fusion or unet"),
        ([*FUSION[:-1], "no-such.h5"], "There is no file no-such.h5"),
        ([*FUSION, "--imagenet"], "has no encoder that ImageNet weights fit"),
    ],
)
def test_wrong_use_of_extractors_is_named(photo_folder, tmp_path, capsys, options, message):
    arguments = [str(photo_folder), *TINY, *options, "--output", str(tmp_path / "model.keras")]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_whole_of_inception_is_trained_with_saved_without_and_attached(photo_folder, tmp_path, capsys):
    output = tmp_path / "fusion.keras"
    branch = ["--arch", "fusion", "--extractor", "inception_v3", "--extractor-weights", "random"]
    assert main([str(photo_folder), *TINY, *branch, "--epochs", "1", "--output", str(output)]) == 0
    assert output.stat().st_size < 30e6
    colorizer = Colorizer.load(str(output))
    assert colorizer.extractor.network.count_params() > 21e6
    model = saved.load_model(output)
    assert model.count_params() == pytest.approx(6.84e6, rel=0.01)
    rgb = np.random.default_rng(1).random((64, 96, 3)).astype("float32")
    given = colorizer.network_input(rgb)
    assert set(given) == {"lightness", "inception_v3"}
    before = colorizer.predict_ab([given])[0] / 128.0
    model.save(tmp_path / "again.keras")
    output.with_suffix(".json").rename(tmp_path / "again.json")
    again = Colorizer.load(str(tmp_path / "again.keras"))
    after = again.predict_ab([again.network_input(rgb)])[0] / 128.0
    assert np.abs(before).max() > 1e-3
    np.testing.assert_allclose(after, before, atol=1e-5)

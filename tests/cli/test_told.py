"""Colour hints and references on the command line."""

import json

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab

from nxap_color.media.photos import read_photo
from nxap_color.predict import main


@pytest.fixture
def photo(tmp_path):
    """A gray of one lightness, 64 x 48, as a PNG."""
    path = tmp_path / "old.png"
    Image.new("L", (64, 48), 120).save(path)
    return path


@pytest.fixture
def run(guided_model_file, tmp_path, monkeypatch):
    """The command line with a small model that takes hints, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: main([*map(str, arguments), "--model", str(guided_model_file)])


def ab_at(path, x, y):
    return rgb2lab(read_photo(path).rgb)[y, x, 1:]


def ab_of(rgb):
    return rgb2lab(np.array(rgb) / 255.0)[1:]


def test_hints_give_places_their_colours(run, photo, tmp_path, capsys):
    (tmp_path / "hints.json").write_text(json.dumps({"hints": [{"x": 50, "y": 40, "ab": [-20, 10]}]}))
    assert run(photo, "--hint", "10,12,#8c5f5b", "--hint", "50%,0%,steelblue", "--hints", "hints.json") == 0
    result = tmp_path / "old_color.png"
    np.testing.assert_allclose(ab_at(result, 10, 12), ab_of((0x8C, 0x5F, 0x5B)), atol=3.0)
    np.testing.assert_allclose(ab_at(result, 32, 0), ab_of((70, 130, 180)), atol=3.0)
    np.testing.assert_allclose(ab_at(result, 50, 40), (-20, 10), atol=3.0)
    assert capsys.readouterr().out == f"wrote {result}\n"


def test_scribbles_give_places_their_colours(run, photo, tmp_path):
    layer = np.zeros((48, 64, 4), "uint8")
    layer[20:23, 5:30] = (150, 100, 100, 255)
    Image.fromarray(layer).save(tmp_path / "strokes.png")
    assert run(photo, "--hints", "strokes.png") == 0
    np.testing.assert_allclose(ab_at(tmp_path / "old_color.png", 15, 21), ab_of((150, 100, 100)), atol=3.0)


def test_a_colour_too_vivid_for_the_lightness_is_noted(run, photo, capsys):
    assert run(photo, "--hint", "10,12,#0000ff", "--hint", "30,12,gray") == 0
    note = "the hint 10,12 is more vivid than sRGB can show at the lightness there; the nearest is shown"
    assert capsys.readouterr().out.splitlines()[0] == f"note: {photo}: {note}"
    assert run(photo, "--overwrite", *(part for x in range(5) for part in ("--hint", f"{9 * x},9,blue"))) == 0
    assert f"note: {photo}: 5 of 5 hints are more vivid" in capsys.readouterr().out
    assert run(photo, "--overwrite", "--quiet", "--hint", "10,12,blue") == 0
    assert "note" not in capsys.readouterr().out


def test_a_place_outside_is_an_error_of_the_photo(run, photo, tmp_path, capsys):
    assert run(photo, "--hint", "900,10,red") == 1
    expected = f"error: {photo}: The hint 900,10 lies outside the photo of 64 x 48 pixels."
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "old_color.png").exists()


def test_scribbles_of_another_aspect_are_an_error_of_the_photo(run, photo, tmp_path, capsys):
    layer = np.zeros((64, 64, 4), "uint8")
    layer[9, 9] = 255
    Image.fromarray(layer).save(tmp_path / "strokes.png")
    assert run(photo, "--hints", "strokes.png") == 1
    expected = "'strokes.png' have 64 x 64 pixels, another aspect than the photo of 64 x 48."
    assert expected in capsys.readouterr().err


def fails(*_, **__):
    raise AssertionError("a network was loaded")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hint", "120,88"], "A hint is X,Y,COLOUR, such as"),
        (["--hint", "1,2,rad"], "There is no colour 'rad'"),
        (["--hints", "none.json"], "The hints 'none.json' cannot be read: No such file or directory."),
        (["--hints", "old.png"], "The scribbles 'old.png' have no transparency: use a transparent layer"),
    ],
)
def test_hints_that_make_no_sense_are_wrong_usage_before_any_work(
    run, photo, monkeypatch, capsys, options, message
):
    monkeypatch.setattr("nxap_color.colorizer.Colorizer.load", fails)
    assert run(photo, *options) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


def make_inputs(folder):
    """Inputs that are not one photo: name -> what they are called."""
    still = Image.new("L", (64, 48), 120)
    moved = Image.new("L", (64, 48), 90)
    still.save(folder / "pages.tif", save_all=True, append_images=[moved])
    still.save(folder / "moving.png", save_all=True, append_images=[moved, still])
    still.save(folder / "moving.gif", save_all=True, append_images=[moved])
    (folder / "album").mkdir()
    (folder / "film.mp4").write_bytes(b"")


@pytest.mark.parametrize(
    ("inputs", "what"),
    [
        (["old.png", "old.png"], "2 files"), (["album"], "a folder"),
        (["pages.tif"], "2 pages"),
    ],
)  # fmt: skip
def test_hints_belong_to_one_photo_or_film(run, photo, tmp_path, monkeypatch, capsys, inputs, what):
    make_inputs(tmp_path)
    monkeypatch.setattr("nxap_color.colorizer.Colorizer.load", fails)
    assert run(*inputs, "--hint", "1,2,red") == 2
    assert capsys.readouterr().err == f"error: Hints belong to one photo or film, but the input is {what}.\n"


def test_a_photo_that_cannot_be_read_is_named_as_without_hints(run, tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    for name in ("broken.png", "none.png"):
        assert run(name, "--hint", "1,2,red") == 1
        assert f"error: {name}: " in capsys.readouterr().err


def test_a_model_without_hints_is_named_with_one_that_takes_them(tiny_model_file, photo, monkeypatch, capsys):
    arguments = [str(photo), "--hint", "1,2,red", "--model", str(tiny_model_file)]
    for others, remedy in (([], "train one with --hints"), (["unet", "other"], "use unet or other")):
        monkeypatch.setattr("nxap_color.saved.models_with_hints", lambda others=others: others)
        assert main(arguments) == 2
        assert capsys.readouterr().err == f"error: The model tiny takes no colour hints; {remedy}.\n"


@pytest.fixture
def bird(project, tmp_path, monkeypatch):
    """A gray photo of a bird, its colour photo mirrored, and one of something else, in the current folder."""
    monkeypatch.chdir(tmp_path)
    with Image.open(project / "data" / "photos" / "test" / "kingfisher.jpg") as colour:
        colour.convert("L").save("bird.png")
        colour.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("later.png")
    with Image.open(project / "data" / "photos" / "test" / "cat.jpg") as other:
        other.save("cat.png")
    return tmp_path


def test_a_reference_gives_its_colours_and_one_of_something_else_is_named(bird, capsys):
    assert main(["bird.png", "--reference", "later.png", "--reference", "cat.png", "-o", "told.png"]) == 0
    assert capsys.readouterr().out == "wrote told.png\n"
    assert main(["bird.png", "--reference", "cat.png", "-o", "untold.png"]) == 0
    note = "note: bird.png: it shows nothing that cat.png shows; coloured without\n"
    assert note in capsys.readouterr().out
    assert main(["bird.png", "--quiet", "-o", "automatic.png"]) == 0
    told, untold, automatic = (ab_at(f"{name}.png", 165, 140) for name in ("told", "untold", "automatic"))
    np.testing.assert_array_equal(untold, automatic)
    assert told[1] < -15.0 < automatic[1]  # the wing is blue


def test_a_folder_of_references_is_all_of_its_photos(bird, capsys):
    (bird / "keys").mkdir()
    (bird / "keys" / "notes.txt").write_text("no photo")
    for name in ("cat.png", "later.png"):
        (bird / name).rename(bird / "keys" / name)
    assert main(["bird.png", "--reference", "keys", "-o", "told.png"]) == 0
    assert capsys.readouterr().out == "wrote told.png\n"
    assert ab_at("told.png", 165, 140)[1] < -15.0


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("none.jpg", "There is no reference none.jpg: expected a colour photo, or a folder"),
        ("empty", "There are no photos in the folder of references empty: expected .bmp, "),
    ],
)
def test_references_that_are_missing_are_named_before_any_work(bird, monkeypatch, capsys, reference, message):
    (bird / "empty").mkdir()
    monkeypatch.setattr("nxap_color.colorizer.Colorizer.load", fails)
    assert main(["bird.png", "--reference", reference]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["moving.gif", "moving.png"])
def test_hints_and_references_colour_animations(bird, capsys, name):
    """A bird that moves by some pixels a frame, told once by a hint and once by a photo of it."""
    with Image.open("bird.png") as gray:
        frames = [gray.crop((3 * step, 0, gray.width - 15 + 3 * step, gray.height)) for step in range(5)]
    frames[0].save(name, save_all=True, append_images=frames[1:], duration=100)
    x, y = 165, 140
    assert main([name, "--hint", f"{x},{y},#2f7ab8@0", "--quiet", "-o", f"hinted-{name}"]) == 0
    with Image.open("later.png") as mirrored:
        mirrored.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("key.png")
    assert main([name, "--reference", "key.png", "--reference", "cat.png", "-o", f"told-{name}"]) == 0
    assert f"{name}: no shot shows what cat.png shows; coloured without" in capsys.readouterr().out
    for result in (f"hinted-{name}", f"told-{name}"):
        with Image.open(result) as moving:
            for step in (0, 4):
                moving.seek(step)
                there = (slice(y - 3, y + 4), slice(x - 3 * step - 3, x - 3 * step + 4))
                assert rgb2lab(np.asarray(moving.convert("RGB")))[there][..., 2].mean() < -15.0, (
                    result,
                    step,
                )
    assert main([name, "--hint", f"{x},{y},red"]) == 2
    assert "needs its second in the film" in capsys.readouterr().err


def test_a_gray_reference_is_refused(bird, capsys):
    assert main(["bird.png", "--reference", "bird.png"]) == 2
    assert "The reference 'bird.png' is gray: expected a photo in colour." in capsys.readouterr().err


def test_hints_have_times_in_films_and_none_in_photos(run, photo, tmp_path, monkeypatch, capsys):
    (tmp_path / "film.mp4").write_bytes(b"")
    (tmp_path / "hints.json").write_text('{"hints": [{"x": 5, "y": 6, "color": "red"}]}')
    monkeypatch.setattr("nxap_color.colorizer.Colorizer.load", fails)
    for options in (["--hint", "5,6,red"], ["--hints", "hints.json"]):
        assert run("film.mp4", *options) == 2
        expected = 'error: The hint 5,6 needs its second in the film, such as @2.5, or "time" in a file.\n'
        assert capsys.readouterr().err == expected
    assert run(photo, "--hint", "5,6,red@2") == 2
    assert capsys.readouterr().err == "error: The hint 5,6 has a time, 2 s, but the input is no film.\n"

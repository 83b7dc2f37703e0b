"""The command line that colours photos."""

import contextlib
import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from types import SimpleNamespace

import numpy as np
import pytest
from commands import environment, start
from PIL import Image
from skimage.color import rgb2lab

from nxap_color import models
from nxap_color.cli.jobs import plan
from nxap_color.errors import UsageError
from nxap_color.media.photos import Photo, read_photo, write_photo
from nxap_color.predict import main


@pytest.fixture
def photo(tmp_path, sample_rgb):
    path = tmp_path / "old.jpg"
    Image.fromarray(sample_rgb).convert("L").save(path)
    return path


@pytest.fixture
def run(tiny_model_file, monkeypatch, tmp_path):
    """The command line with a tiny model, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: main([*map(str, arguments), "--model", str(tiny_model_file)])


def chroma(path):
    lab = rgb2lab(read_photo(path).rgb)
    return np.hypot(lab[..., 1], lab[..., 2]).mean()


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
def test_the_readme_command_colours_the_sample_in_a_process_of_its_own(project, tmp_path):
    """In a copy, offline: every try to open a connection fails."""
    copy = tmp_path / "project"
    for name in ("nxap_color", "saved_models", "data"):
        shutil.copytree(project / name, copy / name, ignore=shutil.ignore_patterns("*_color*", "__pycache__"))
    # An error alone might be taken for a network that is down, and go unseen.
    (copy / "sitecustomize.py").write_text(
        "import os, socket\ndef refuse(*_, **__):\n    os._exit(99)\n"
        "socket.getaddrinfo = refuse\n"
        "for name in ('connect', 'connect_ex', 'sendto'):\n    setattr(socket.socket, name, refuse)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    done = subprocess.run(
        [sys.executable, "-m", "nxap_color.predict"],
        cwd=copy, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    written = copy / "data" / "sample_color.jpg"
    assert done.stdout.splitlines()[-1] == f"wrote {written}"
    assert chroma(written) > 8.0 > 1.0 > chroma(copy / "data" / "sample.jpg")


def test_a_photo_gets_its_colour_beside_it(run, photo, capsys):
    before = photo.read_bytes()
    assert run(photo) == 0
    result = photo.with_name("old_color.jpg")
    assert capsys.readouterr().out.splitlines()[-1] == f"wrote {result}"
    assert chroma(result) > 1.0
    assert read_photo(result).rgb.shape == read_photo(photo).rgb.shape
    assert photo.read_bytes() == before


def test_vividness_turns_the_colour_up_and_off(run, photo):
    result, seen = photo.with_name("old_color.jpg"), []
    for vividness in ("0", "1", "1.5"):
        assert run(photo, "--vividness", vividness, "--overwrite") == 0
        seen.append(chroma(result))
    assert seen[0] < 1.0 < seen[1] < seen[2]


def test_a_folder_gives_the_same_tree(run, photo_folder):
    (photo_folder / "notes.txt").write_text("no photo")
    assert run(photo_folder) == 0
    result = photo_folder.with_name("photos_color")
    assert files_below(result) == [name for name in files_below(photo_folder) if name != "notes.txt"]


def test_output_names_a_file_or_a_folder(run, photo, tmp_path):
    assert run(photo, "-o", tmp_path / "new" / "result.png") == 0
    assert run(photo, "-o", tmp_path / "results") == 0
    with Image.open(photo) as image:
        image.save(tmp_path / "pages.tif", save_all=True, append_images=[image])
        image.save(tmp_path / "moving.gif", save_all=True, append_images=[image.rotate(9)])
    for name in ("pages.tif", "moving.gif"):
        assert run(tmp_path / name, "-o", tmp_path / f"new for {name}" / name) == 0
        assert files_below(tmp_path / f"new for {name}") == [name]
    assert files_below(tmp_path / "new") == ["result.png"]
    assert files_below(tmp_path / "results") == ["old_color.jpg"]


def test_several_inputs(run, photo, photo_folder, tmp_path, capsys):
    assert run(photo, photo_folder, "-o", tmp_path / "all") == 0
    assert len(files_below(tmp_path / "all")) == 13
    assert capsys.readouterr().out.splitlines()[-1].startswith("wrote 13 of 13 files")


def test_compare_writes_before_and_after(run, photo):
    assert run(photo, "--compare") == 0
    with Image.open(photo.with_name("old_color_compare.jpg")) as picture, Image.open(photo) as before:
        assert picture.width == 2 * before.width + 4
        left = np.asarray(picture.convert("RGB"))[:, : before.width].astype(int)
    assert np.ptp(left, axis=-1).mean() < 2.0


def test_what_exists_is_kept_and_named(run, photo, capsys):
    result = photo.with_name("old_color.jpg")
    result.write_bytes(b"precious")
    assert run(photo) == 0
    assert f"kept {result}" in capsys.readouterr().out
    assert result.read_bytes() == b"precious"
    assert run(photo, "--overwrite") == 0
    assert chroma(result) > 1.0


def test_a_folder_that_is_half_done_goes_on_where_it_was(run, photo_folder, capsys):
    """As after a run that was stopped, which tests/cli/test_safety.py does."""
    assert run(photo_folder) == 0
    results = photo_folder.with_name("photos_color")
    done = sorted(path for path in results.rglob("*.jpg"))
    for path in done[4:]:
        path.unlink()
    times = {path: path.stat().st_mtime_ns for path in done[:4]}
    assert run(photo_folder) == 0
    assert len(files_below(results)) == 12
    assert {path: path.stat().st_mtime_ns for path in done[:4]} == times
    assert capsys.readouterr().out.splitlines()[-1].startswith("wrote 8 of 12 files")


NOTHING_TO_DO = """
import sys
from nxap_color.predict import main
status = main(sys.argv[1:])
print(status, [name for name in ("keras", "tensorflow", "onnxruntime") if name in sys.modules])
"""


def run_without_network(*arguments):
    """The command line in a fresh process: its lines, of which the last says what it did not need."""
    command = [sys.executable, "-c", NOTHING_TO_DO, *map(str, arguments), "--model", "no-such-model"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    return done.stdout.splitlines(), done.stderr.splitlines()


def test_an_album_that_is_finished_is_named_without_a_network(photo_folder):
    results = photo_folder.with_name("photos_color")
    shutil.copytree(photo_folder, results)
    lines, failures = run_without_network(photo_folder)
    kept = [line for line in lines if line.startswith("kept ") and "--overwrite replaces it" in line]
    assert len(kept) == 12 and not failures
    assert lines[12:] == ["wrote 0 of 12 files", "0 []"]
    (photo_folder / "missing.txt").touch()
    lines, failures = run_without_network(photo_folder, photo_folder / "missing.txt", "--quiet")
    assert lines == ["wrote 0 of 13 files", "1 []"]
    assert len(failures) == 1 and "This is no photo, film or GIF" in failures[0]


def test_inputs_that_are_all_refused_need_no_network(photo, tmp_path):
    lines, failures = run_without_network(tmp_path / "gone.jpg", tmp_path / "gone.mp4")
    assert lines == ["wrote 0 of 2 files", "1 []"]
    assert [line.endswith("There is no such file.") for line in failures] == [True, True]
    lines, failures = run_without_network(photo, "-o", tmp_path / "film.mp4")
    assert lines == ["2 []"] and failures[0].startswith("error: -o ")


@pytest.mark.slow
def test_a_model_that_is_not_there_is_wrong_usage_once_there_is_something_to_do(photo):
    lines, failures = run_without_network(photo)
    assert lines[-1].startswith("2 ") and "There is no model no-such-model" in failures[0]


@pytest.mark.parametrize("module", ["nxap_color", "nxap_color.predict"])
def test_help_shows_the_name_that_was_typed(module):
    output, failures = start(module, "--help").communicate(timeout=60)
    assert output.startswith(f"usage: python -m {module} [-h]") and not failures
    output, failures = start(module, "--colour").communicate(timeout=60)
    assert not output and f"python -m {module}: error: unrecognized arguments: --colour" in failures


def test_the_package_itself_is_the_command(photo):
    """With an input that is refused, which needs no network."""
    process = start("nxap_color", photo, "-o", photo, "--quiet")
    output, failures = process.communicate(timeout=60)
    assert (process.returncode, output) == (1, "wrote 0 of 1 files\n")
    assert "would replace the input" in failures


def test_one_broken_photo_does_not_stop_the_others(run, photo_folder, capsys):
    (photo_folder / "broken.jpg").write_bytes(b"\xff\xd8 no photo")
    assert run(photo_folder) == 1
    output = capsys.readouterr()
    errors = output.err.splitlines()
    assert len(errors) == 1 and "broken.jpg" in errors[0]
    assert "Traceback" not in output.err
    assert output.out.splitlines()[-1].startswith("wrote 12 of 13 files")
    assert "broken.jpg" not in files_below(photo_folder.with_name("photos_color"))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("missing.jpg", None, "There is no such file"),
        ("notes.txt", b"text", "This is no photo"),
        ("film.mp4", b"film", "This is no film"),
        ("moving.gif", b"GIF89a", "This is empty or no GIF"),
        ("empty.jpg", b"", "empty"),
    ],
)
def test_what_cannot_be_coloured_is_named_with_its_reason(run, photo, capsys, name, content, reason):
    path = photo.with_name(name)
    if content is not None:
        path.write_bytes(content)
    assert run(path, photo) == 1
    output = capsys.readouterr()
    assert str(path) in output.err and reason in output.err
    assert photo.with_name("old_color.jpg").exists()


def test_a_film_in_a_folder_is_named(run, photo_folder, capsys):
    (photo_folder / "film.mp4").write_bytes(b"film")
    assert run(photo_folder) == 1
    assert "film.mp4" in capsys.readouterr().err


def test_the_input_is_never_written_to(run, photo, tmp_path, capsys):
    before = photo.read_bytes()
    link = tmp_path / "link.jpg"
    link.symlink_to(photo)
    assert run(photo, "-o", photo, "--overwrite") == 1
    assert run(link, "-o", photo, "--overwrite") == 1
    assert "would replace the input" in capsys.readouterr().err
    assert photo.read_bytes() == before


def test_no_input_is_written_to_whatever_the_outputs_are_called(run, photo, capsys):
    """As `*.jpg` names the result of an earlier run, and as --compare makes a name of its own."""
    earlier = photo.with_name("old_color.jpg")
    compared = photo.with_name("new_compare.jpg")
    for path in (earlier, compared):
        shutil.copy(photo, path)
    before = photo.read_bytes()
    assert run(photo, earlier, "--overwrite") == 1
    assert run(compared, "-o", photo.with_name("new.jpg"), "--compare", "--overwrite") == 1
    assert capsys.readouterr().err.count("would replace the input") == 2
    assert earlier.read_bytes() == compared.read_bytes() == before


def test_a_comparison_that_exists_is_kept(run, photo):
    bystander = photo.with_name("new_compare.jpg")
    bystander.write_bytes(b"precious")
    assert run(photo, "-o", photo.with_name("new.jpg"), "--compare") == 0
    assert bystander.read_bytes() == b"precious"
    assert chroma(photo.with_name("new.jpg")) > 1.0


def test_a_comparison_can_be_asked_for_later(run, photo):
    run(photo)
    result = photo.with_name("old_color.jpg")
    before = result.stat().st_mtime_ns
    assert run(photo, "--compare") == 0
    assert photo.with_name("old_color_compare.jpg").exists() and result.stat().st_mtime_ns == before


def test_the_folder_one_stands_in_is_coloured_beside_it(run, photo_folder, monkeypatch):
    monkeypatch.chdir(photo_folder)
    assert run(".") == 0
    assert files_below(photo_folder.with_name("photos_color")) == files_below(photo_folder)


def test_results_inside_the_input_folder_are_not_coloured_again(run, photo_folder):
    for _ in range(2):
        assert run(photo_folder, "-o", photo_folder / "results") == 0
    assert len(files_below(photo_folder / "results")) == 12


def test_hidden_files_are_left_alone(run, photo_folder):
    (photo_folder / ".thumbs").mkdir()
    shutil.copy(photo_folder / "cat.jpg", photo_folder / ".thumbs" / "cat.jpg")
    (photo_folder / "._film.mp4").write_bytes(b"film")
    assert run(photo_folder) == 0
    assert len(files_below(photo_folder.with_name("photos_color"))) == 12


def test_a_folder_without_photos_is_named(run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty") == 1
    assert "There are no photos" in capsys.readouterr().err


def test_a_name_too_long_for_its_result_is_named(run, photo, capsys):
    long = photo.with_name("x" * 248 + ".jpg")
    shutil.copy(photo, long)
    assert run(long, photo) == 1
    assert "too long" in capsys.readouterr().err
    assert photo.with_name("old_color.jpg").exists()


def test_two_results_never_share_a_file(run, photo, tmp_path, capsys):
    other = tmp_path / "other" / "old.jpg"
    other.parent.mkdir()
    shutil.copy(photo, other)
    assert run(photo, other, "-o", tmp_path / "results") == 1
    assert "would replace the result of" in capsys.readouterr().err
    assert files_below(tmp_path / "results") == ["old_color.jpg"]


def test_one_photo_by_two_paths_is_coloured_once(run, photo, capsys):
    assert run(photo, photo.parent / ".." / photo.parent.name / photo.name) == 1
    assert f"would replace the result of {photo};" in capsys.readouterr().err


def test_a_broken_photo_leaves_no_empty_folder(run, photo, tmp_path):
    photo.write_bytes(photo.read_bytes()[:-500])
    assert run(photo, "-o", tmp_path / "new" / "result.png") == 1
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made_is_named(run, photo, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert run(photo, "-o", tmp_path / "file" / "results") == 1
    assert "cannot be made" in capsys.readouterr().err


def test_quiet_says_only_what_was_written(run, photo_folder, capsys):
    run(photo_folder)
    capsys.readouterr()
    run(photo_folder, "--quiet")
    output = capsys.readouterr()
    assert output.out == "wrote 0 of 12 files\n" and output.err == ""


def test_transparency_and_metadata_are_kept(run, tmp_path, sample_rgb):
    alpha = np.uint8(np.indices(sample_rgb.shape[:2]).sum(axis=0) % 256)
    source = tmp_path / "old.png"
    write_photo(source, Photo(sample_rgb, alpha, {"text": {"Title": "Grandmother"}, "dpi": (300.0, 300.0)}))
    assert run(source) == 0
    result = read_photo(tmp_path / "old_color.png")
    np.testing.assert_array_equal(result.alpha, alpha)
    assert result.metadata["text"]["Title"] == "Grandmother"
    assert result.metadata["dpi"] == pytest.approx((300.0, 300.0), abs=0.1)


def test_orientation_is_applied_once(run, tmp_path, sample_rgb):
    source = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(sample_rgb).save(source, exif=exif)
    assert run(source) == 0
    with Image.open(tmp_path / "turned_color.jpg") as result:
        assert result.size == (sample_rgb.shape[0], sample_rgb.shape[1])
        assert result.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--colour"], "unrecognized arguments: --colour"),
        (["--model", "no-such-model"], "There is no model no-such-model"),
        (["--model", __file__], "could not be loaded as a Keras model"),
        (["-o", "old.gif"], "old.gif is a GIF, but"),
        (["--vividness", "3"], "expected a number from 0 to 2, received 3"),
    ],
)
def test_wrong_usage_exits_with_2(arguments, message, photo, capsys):
    try:
        status = main([str(photo), *arguments])
    except SystemExit as error:  # argparse's way
        status = error.code
    assert status == 2
    assert message in capsys.readouterr().err


def test_a_model_whose_extractor_is_not_there_is_wrong_usage(photo, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    # A patch, since a machine with a connection would download the weights instead.
    monkeypatch.setattr("nxap_color.extractors.has_internet", lambda: False)
    model, inception = tmp_path / "own.keras", SimpleNamespace(name="inception_v3", num_features=2048)
    models.build_fusion(inception, filters=1).save(model)
    for options, reason in (
        ([], "The ImageNet weights of inception_v3 are not on this machine"),
        (["--extractor-weights", "no-such.h5"], "There is no file no-such.h5"),
    ):
        assert main([str(photo), "--model", str(model), *options]) == 2
        assert reason in capsys.readouterr().err
    assert not photo.with_name("old_color.jpg").exists()


def test_several_results_into_one_file_is_wrong_usage(photo, photo_folder):
    for inputs in ([photo, photo], [photo_folder]):
        with pytest.raises(UsageError, match="name a folder instead"):
            plan(inputs, photo.with_name("one.jpg"))


ONLY_ANSWERED = """
import sys
from nxap_color.predict import main
try:
    status = main(sys.argv[1:])
except SystemExit as stop:  # argparse's way
    status = stop.code
slow = {"numpy", "cv2", "PIL", "tifffile", "imageio_ffmpeg", "onnxruntime", "keras", "tensorflow", "tqdm"}
print(status, sorted(slow & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("arguments", "status", "answer"),
    [
        (["--help"], 0, "usage: "),
        (["--version"], 0, "nxap_color "),
        (["--crf", "99"], 2, "expected a whole number from 0 to 51, received 99"),
        (["-o", "one.jpg", "a.jpg", "b.jpg"], 2, "-o one.jpg is one file, but the input is several"),
        (["no-such.jpg"], 1, "no-such.jpg: There is no such file."),
    ],
)
def test_help_and_wrong_usage_wait_for_no_package(arguments, status, answer, tmp_path):
    command = [sys.executable, "-c", ONLY_ANSWERED, *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert answer in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"{status} []"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_name_that_is_no_utf_8_is_coloured_and_named(run, photo, capsys):
    folder = os.fsencode(photo.parent)
    odd = photo.rename(os.fsdecode(folder + b"/caf\xe9.jpg"))
    broken = odd.with_name(os.fsdecode(b"d\xe9chir\xe9.jpg"))
    broken.touch()
    assert run(odd, broken) == 1
    output = capsys.readouterr()
    assert "caf\\udce9_color.jpg" in output.out and "d\\udce9chir\\udce9.jpg: " in output.err


def seen_on_a_terminal(*arguments):
    """What a command line shows on stderr if that is a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-m", "nxap_color.predict", *map(str, arguments)]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while part := os.read(ours, 4096):
            seen += part
    os.close(ours)
    assert process.wait() == 0 and process.stdout.read().endswith(b"\n")
    process.stdout.close()
    return seen.decode()


@pytest.mark.slow
def test_a_terminal_shows_what_takes_longer_than_a_moment(tmp_path, tiny_model_file, sample_rgb):
    photo, model = tmp_path / "large.png", tmp_path / "own.keras"
    Image.fromarray(sample_rgb).convert("L").resize((3000, 2000)).save(photo)
    shutil.copy(tiny_model_file, model)  # without the exported one
    seen = seen_on_a_terminal(photo, "--model", model)
    assert "starting Keras ..." in seen and re.search(r"large.png \.\.\. 0\d:\d\d", seen)
    assert not re.split(r"[\r\n]", seen)[-1].strip("\x1b[KA ")  # nothing stays there
    assert not seen_on_a_terminal(photo, "--model", tiny_model_file, "--overwrite", "--quiet")

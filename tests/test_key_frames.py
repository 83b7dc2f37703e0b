"""Shots of a film, their key frames, and key frames as references."""

import dataclasses

import numpy as np
import pytest
from films import ffmpeg
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio
from test_video import frames_of

from nxap_color import film_files
from nxap_color.colorizer import Colorizer
from nxap_color.film_files import colorize_video
from nxap_color.guidance import Hint
from nxap_color.key_frames import write_key_frames
from nxap_color.media import films
from nxap_color.media.photos import read_photo
from nxap_color.predict import main
from nxap_color.references import find_details
from nxap_color.shots import find_shots
from nxap_color.steady import SteadyColour
from nxap_color.video import FilmGuide, follow_colours, luma_of

SIZE = (192, 288)
FPS = 25
LENGTHS = (11, 15, 9)  # frames of each shot


@pytest.fixture(scope="module")
def truth(project):
    """Frames of three shots, uint8 (H, W, 3), each a move over a photo."""
    frames = []
    for name, length in zip(("kingfisher", "hawa-mahal", "dandelions"), LENGTHS, strict=True):
        with Image.open(project / "data" / "photos" / "test" / f"{name}.jpg") as photo:
            whole = photo.convert("RGB").resize((SIZE[1] + 60, SIZE[0] + 40))
        boxes = [(3 * step, step, 3 * step + SIZE[1], step + SIZE[0]) for step in range(length)]
        frames += [np.asarray(whole.crop(box)) for box in boxes]
    return frames


@pytest.fixture(scope="module")
def film(truth, tmp_path_factory):
    folder = tmp_path_factory.mktemp("film")
    for number, frame in enumerate(truth):
        Image.fromarray(frame).convert("L").save(folder / f"{number:03d}.png")
    images = ("-framerate", FPS, "-i", folder / "%03d.png")
    ffmpeg(*images, "-crf", 4, "-pix_fmt", "yuv420p", folder / "old.mp4")
    return folder / "old.mp4"


@pytest.fixture(scope="module")
def shipped():
    return Colorizer.load()


def test_shots_end_at_cuts_and_know_their_references(truth, shipped):
    references = shipped.with_references({"bird": truth[5], "weeds": truth[-1]}).references
    grays = [np.asarray(Image.fromarray(frame).convert("L")) for frame in truth]
    shots = list(find_shots(grays, SteadyColour(FPS), references))
    assert [(shot.start, shot.end) for shot in shots] == [(0, 11), (11, 26), (26, 35)]
    names = [{match.reference.name for some in shot.matches.values() for match in some} for shot in shots]
    assert names == [{"bird"}, set(), {"weeds"}]
    for number in (0, 3, 10):  # the camera moves by 3 pixels a frame to the right and by 1 down
        (match,) = shots[0].matches[number]
        shift = (np.array([3.0, 1.0]) * (5 - number) + 0.5) / SIZE[0]
        np.testing.assert_allclose(match.transform @ (0.5 / SIZE[0], 0.5 / SIZE[0], 1.0), shift, atol=0.01)
    assert list(find_shots([], SteadyColour(FPS))) == []


def test_the_middle_frame_of_each_shot_is_written_by_its_second(film, truth, shipped, tmp_path):
    written, kept = write_key_frames(shipped, film, tmp_path / "keys")
    names = ["old_00000.200s.png", "old_00000.720s.png", "old_00001.200s.png"]
    assert [path.name for path in written] == names and not kept
    for path, number in zip(written, (5, 18, 30), strict=True):
        rgb = read_photo(path).rgb
        assert rgb.shape == truth[number].shape
        gray, expected = (
            np.asarray(Image.fromarray(each).convert("L"), int) for each in (rgb, truth[number])
        )
        assert np.abs(gray - expected).mean() < 3.0
        assert np.ptp(rgb, axis=-1).mean() > 10.0  # in colour
    by_hand = Image.new("RGB", (8, 8), "red")
    by_hand.save(written[1])
    written, kept = write_key_frames(shipped, film, tmp_path / "keys")
    assert not written and [path.name for path in kept] == names
    assert read_photo(kept[1]).rgb.shape == (8, 8, 3)
    written, _ = write_key_frames(shipped, film, tmp_path / "keys", overwrite=True)
    assert [path.name for path in written] == names


def test_key_frames_colour_their_shots_and_leave_others_alone(film, truth, shipped, tmp_path):
    told = shipped.with_references({"bird": truth[5], "weeds": truth[30]})
    assert colorize_video(shipped, film, tmp_path / "automatic.mp4") == []
    assert colorize_video(told, film, tmp_path / "told.mp4") == []
    automatic, coloured = frames_of(tmp_path / "automatic.mp4"), frames_of(tmp_path / "told.mp4")
    for number in (0, 10, 26, 34):  # the first and the last of both shots
        before, after = (
            peak_signal_noise_ratio(truth[number], each[number]) for each in (automatic, coloured)
        )
        assert after > before + 3.0
    np.testing.assert_array_equal(coloured[11:26], automatic[11:26])


def test_frames_in_colour_are_written_and_given_back_on_the_command_line(film, truth, tmp_path, capsys):
    keys, target = tmp_path / "keys", tmp_path / "told.mp4"
    assert main([str(film), "--shots", str(keys), "--quiet"]) == 0
    assert capsys.readouterr().out == f"wrote 3 frames to {keys}\n"
    Image.fromarray(truth[5]).save(keys / "old_00000.200s.png")  # as if by hand
    (keys / "old_00001.200s.png").unlink()
    assert main([str(film), "--shots", str(keys), "--quiet"]) == 0
    assert capsys.readouterr().out == f"wrote 1 frame to {keys}\n"
    assert main([str(film), "--reference", str(keys), "-o", str(target)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"wrote {target}"
    assert peak_signal_noise_ratio(truth[0], frames_of(target)[0]) > 23.0  # 18 without


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["old.png"], "--shots is for films, but the input is old.png: expected one of .avi, "),
        ([], "--shots needs a film."),
        (["old.mp4", "--hint", "1,2,red@0", "-o", "x.mp4"], "leave out --hint and -o."),
        (["a/old.mp4", "b/old.mp4"], "two films called old would have one name"),
        (["none.mp4"], "error: none.mp4: There is no such file."),
    ],
)
def test_wrong_use_of_shots_is_named(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--shots", "keys"]) == (1 if arguments == ["none.mp4"] else 2)
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.png"))


def test_a_told_film_that_was_stopped_goes_on_and_ends_the_same(
    film, truth, guided_model_file, tmp_path, monkeypatch
):
    """Frames are counted on from where it stopped, so that hints and references stay with theirs."""
    monkeypatch.setattr(film_files, "SEGMENT_FRAMES", 16)
    hints = [Hint.from_ab(150, 90, (30.0, -20.0), time=0.9)]
    told = Colorizer.load(guided_model_file).with_references({"weeds": truth[30]})
    colorize_video(told, film, tmp_path / "whole.mp4", hints=hints)
    write, seen = films.FilmWriter.write, []

    def interrupted(writer, *arguments):
        seen.append(1)
        if len(seen) == 20:
            raise KeyboardInterrupt
        write(writer, *arguments)

    monkeypatch.setattr(films.FilmWriter, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        colorize_video(told, film, tmp_path / "stopped.mp4", hints=hints)
    seen[:] = [1] * 20
    colorize_video(told, film, tmp_path / "stopped.mp4", hints=hints)
    assert len(seen) == 20 + len(truth) - 16
    md5s = [ffmpeg("-i", tmp_path / f"{name}.mp4", "-f", "framemd5", "-") for name in ("whole", "stopped")]
    assert md5s[0] == md5s[1]


def test_a_broken_frame_at_the_start_of_a_resumed_film_has_the_colours_before(shipped, truth):
    steady, whole = SteadyColour(FPS), [luma_of(frame) for frame in truth[:3]]
    before = [coloured.ab for coloured in follow_colours(shipped, whole[:2], steady)]
    broken = [dataclasses.replace(whole[2], is_broken=True)]
    (after,) = follow_colours(shipped, broken, steady, guide=FilmGuide(), first=2)
    np.testing.assert_array_equal(after.ab, before[1])


def test_a_reference_counts_near_the_frames_that_show_it(truth, shipped):
    """After a dissolve, which is no cut, another scene is there."""
    bird, weeds = (np.asarray(Image.fromarray(truth[number]).convert("L"), float) for number in (5, 30))
    shares = [0.0] * 5 + [step / 20 for step in range(20)] + [1.0] * 50
    grays = [np.uint8((1.0 - share) * bird + share * weeds) for share in shares]
    references = shipped.with_references({"bird": truth[5]}).references
    (shot,) = find_shots(grays, SteadyColour(FPS), references)
    assert set(range(10)) <= set(shot.matches) and max(shot.matches) < 50
    assert all(match.transform is None for match in shot.matches[max(shot.matches)])


def test_a_black_shot_gives_no_key_frame(shipped, film, tmp_path):
    black = ("-f", "lavfi", "-i", f"color=black:size={SIZE[1]}x{SIZE[0]}:rate={FPS}:duration=0.4")
    joined = ("-filter_complex", "[0:v]format=yuv420p[a];[1:v]format=yuv420p[b];[a][b]concat=n=2", "-crf", 4)
    ffmpeg(*black, "-i", film, *joined, tmp_path / "old.mp4")
    written, kept = write_key_frames(shipped, tmp_path / "old.mp4", tmp_path / "keys")
    assert len(written) == len(LENGTHS) and not kept


def test_a_dark_frame_has_no_details_and_matches_nothing(shipped, truth):
    reference, _ = shipped.with_references({"bird": truth[5]}).references
    assert reference.match(find_details(np.zeros(SIZE, "float32"))) is None

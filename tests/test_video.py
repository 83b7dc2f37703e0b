"""Films through the command line and the interfaces for notebooks."""

import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import hear_ctrl_c
from films import FFMPEG, ffmpeg, luma, pattern, report, sound, sound_packets, times
from PIL import Image
from skimage.color import rgb2lab
from skimage.metrics import peak_signal_noise_ratio

from nxap_color import color, predict
from nxap_color.colorizer import Colorizer
from nxap_color.errors import FilmError
from nxap_color.film_files import colorize_video
from nxap_color.media import films
from nxap_color.media.films import Frame
from nxap_color.media.segments import SEGMENT_FRAMES, SegmentStore
from nxap_color.steady import SteadyColour
from nxap_color.video import colorize_frames, follow_colours

H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
FILMS = {
    "25 fps with sound.mp4": (*pattern(), *sound(), *H264, "-c:a", "aac", "-metadata", "title=Old film"),
    "UPPER CASE.WEBM": (*pattern(), *sound(), "-c:v", "libvpx", "-c:a", "libvorbis"),
    "29.97 fps.mp4": (*pattern(rate="30000/1001"), *H264),
    "23.976 fps.mkv": (*pattern(rate="24000/1001"), *sound(), *H264, "-c:a", "flac"),
    "variable rate.mp4": (
        *pattern(rate="30"), "-vf", r"setpts='(N+0.5*mod(N\,5)+gt(N\,20)*7)/30/TB'", "-fps_mode", "vfr",
        "-enc_time_base", "1/1000", *H264, "-video_track_timescale", "1000",
    ),
    "odd size.mp4": (*pattern(size="171x97"), "-c:v", "mpeg4", "-pix_fmt", "yuv420p"),
    "odd size.webm": (*pattern(size="171x97"), "-c:v", "libvpx", "-pix_fmt", "yuv420p"),
    "two sounds.mp4": (
        *pattern(), *sound(), *sound(pitch=880), "-map", "0", "-map", "1", "-map", "2", *H264, "-c:a", "aac",
        "-metadata:s:a:1", "language=cat",
    ),
    "no square pixels.mov": (*pattern(), "-vf", "setsar=4/3", *H264),
    "full range.mp4": (*pattern(), *H264[:-1], "yuvj420p"),
    "old.avi": (*pattern(), *sound(), "-c:v", "mpeg4", "-c:a", "libmp3lame"),
    "web.webm": (*pattern(), *sound(), "-c:v", "libvpx", "-c:a", "libvorbis"),
}  # fmt: skip


@pytest.fixture
def colour(tiny_model_file, monkeypatch, tmp_path):
    """The command line with a tiny model, in a folder of its own; gives the path of the result."""
    monkeypatch.chdir(tmp_path)

    def run(path, *options):
        assert predict.main([str(path), "--model", str(tiny_model_file), "--quiet", *options]) == 0
        return path.with_name(f"{path.stem}_color{path.suffix}")

    run.model = tiny_model_file
    return run


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "film.mp4"
    ffmpeg(*FILMS["25 fps with sound.mp4"], path)
    return path


def frames_of(path):
    """Decoded colour frames, uint8 (frames, H, W, 3)."""
    width, height = map(int, report(path)["size"].split("x"))
    options = ("-map", "0:V:0", "-fps_mode", "passthrough", "-pix_fmt", "rgb24", "-f", "rawvideo", "-")
    data = ffmpeg("-i", path, *options)
    return np.frombuffer(data, "uint8").reshape(-1, height, width, 3)


@pytest.mark.parametrize("name", FILMS)
def test_everything_but_the_colour_stays(name, tmp_path, colour):
    path = tmp_path / name
    ffmpeg(*FILMS[name], path)
    before = path.read_bytes()
    result = colour(path, "--crf", "10")
    assert report(result) == report(path)
    assert times(result) == times(path)
    if report(path)["sounds"]:
        assert sound_packets(result) == sound_packets(path)
    if "full range" not in name:  # whose blacks are stored as those of all other films
        old, new = (np.frombuffer(luma(film), "uint8") for film in (path, result))
        assert peak_signal_noise_ratio(old, new) > 38
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([name, result.name])


def test_players_everywhere_open_the_result(film, colour):
    result = colour(film)
    log = subprocess.run([FFMPEG, "-i", result], capture_output=True, text=True).stderr
    assert "h264 (High)" in log and "yuv420p(tv" in log
    data = result.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the index comes first, so that it can be streamed"


def test_a_rotated_film_is_coloured_upright(film, tmp_path, colour):
    """Colours of a film with a rotation mark are those of the same film stored upright."""
    phone, upright = tmp_path / "phone.mp4", tmp_path / "upright.mp4"
    ffmpeg("-display_rotation", "90", "-i", film, "-c", "copy", phone)
    ffmpeg("-i", phone, *H264, "-crf", "0", upright)
    results = [colour(path, "--crf", "4") for path in (phone, upright)]
    assert report(results[0]) == report(phone)
    shown = [ffmpeg("-i", path, "-pix_fmt", "rgb24", "-f", "rawvideo", "-") for path in results]
    assert peak_signal_noise_ratio(*(np.frombuffer(data, "uint8") for data in shown)) > 35


def test_colours_are_those_of_the_frames_generator(film, colour, tiny_model_file):
    """The film's own chroma planes against the generator for notebooks, which works on RGB at full size."""
    stored = frames_of(colour(film, "--crf", "4"))
    expected = np.stack(list(colorize_frames(Colorizer.load(str(tiny_model_file)), frames_of(film), fps=25)))
    difference = rgb2lab(stored)[..., 1:].mean(axis=(1, 2)) - rgb2lab(expected)[..., 1:].mean(axis=(1, 2))
    assert np.abs(difference).max() < 1.5


def test_subtitles_and_sound_are_converted_only_where_they_must_be(film, tmp_path, tiny_model_file, capsys):
    (tmp_path / "text.srt").write_text("1\n00:00:00,000 --> 00:00:00,900\nHello\n")
    source = tmp_path / "with text.mkv"
    ffmpeg("-i", film, "-i", tmp_path / "text.srt", "-map", "0:v", "-map", "1", "-map", "0:a",
           "-c:v", "copy", "-c:s", "srt", "-c:a", "wmav2", source)  # fmt: skip
    for suffix, notes in ((".mkv", None), (".mp4", "sound and subtitles were converted")):
        target = tmp_path / f"result{suffix}"
        assert predict.main([str(source), "-o", str(target), "--model", str(tiny_model_file)]) == 0
        out = capsys.readouterr().out
        assert (notes in out) if notes else ("note" not in out)
        assert report(target)["subtitles"] == 1
        assert len(report(target)["sounds"]) == 1


def test_compare_writes_both_side_by_side(film, colour):
    result = colour(film, "--compare")
    both = frames_of(result.with_name("film_color_compare.mp4"))
    assert both.shape == (25, 90, 320, 3)
    left, right = both[:, :, :156].astype(int), both[:, :, 164:].astype(int)
    assert np.ptp(left, axis=-1).mean() < 3 < np.ptp(right, axis=-1).mean()


def start(film, model):
    command = [sys.executable, "-m", "nxap_color.predict", str(film), "--model", str(model), "--quiet"]
    # Who runs the tests in the background may ignore Ctrl-C, which children take over.
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=hear_ctrl_c)


def wait_for(folder, name, process):
    for _ in range(1200):
        found = list(folder.glob(name))
        if found:
            return found
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    raise AssertionError(f"no {name}")


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_film_goes_on_and_ends_the_same(stop, tmp_path, quick_model_file):
    film = tmp_path / "long.mp4"
    ffmpeg(*pattern(seconds=16), *sound(16), *H264, film)
    colorizer, target = Colorizer.load(str(quick_model_file)), tmp_path / "long_color.mp4"
    process = start(film, quick_model_file)
    wait_for(tmp_path, ".nxap-*/00000.npz", process)
    process.send_signal(stop)
    process.wait()
    assert not target.exists()
    seen, predict_ab = [], colorizer.predict_ab
    colorizer.predict_ab = lambda inputs: seen.append(len(inputs)) or predict_ab(inputs)
    colorize_video(colorizer, film, target)
    assert sum(seen) <= 400 - SEGMENT_FRAMES, "finished segments are not done twice"
    stopped = ffmpeg("-i", target, "-f", "framemd5", "-")
    colorizer.predict_ab = predict_ab
    colorize_video(colorizer, film, tmp_path / "whole_color.mp4")
    # Equal to the bit: both saw the same batches on the same machine, and a stop must change nothing.
    assert stopped == ffmpeg("-i", tmp_path / "whole_color.mp4", "-f", "framemd5", "-")
    left = sorted(file.name for file in tmp_path.iterdir())
    assert left == ["long.mp4", "long_color.mp4", "whole_color.mp4"]


def test_films_of_several_segments_keep_their_times(tmp_path, tiny_model):
    """30 frames a second, then fewer, each late by a little; over three segments."""
    steady, film = tmp_path / "steady.mp4", tmp_path / "variable.mp4"
    ffmpeg(*pattern(seconds=17, size="64x48", rate="30"), *H264, "-bf", "0", steady)
    later = r"setts=ts='(N+max(0\,N-300)+mod(N\,5)/3)/30/TB'"
    ffmpeg("-i", steady, "-c", "copy", "-bsf:v", later, film)
    assert films.probe(film).is_variable
    colorize_video(Colorizer(tiny_model, 32), film, tmp_path / "result.mp4")
    expected, result = (films.probe(path) for path in (film, tmp_path / "result.mp4"))
    assert len(expected.times) == 510
    seconds = [np.array(some.times) * float(some.time_base) for some in (expected, result)]
    np.testing.assert_allclose(seconds[1], seconds[0], atol=0.001)
    assert report(tmp_path / "result.mp4")["duration"] == report(film)["duration"]


def test_a_torn_record_is_done_again(film, tmp_path, tiny_model):
    """As a power cut may leave it: the record of a segment is there, but not whole."""
    colorizer, target = Colorizer(tiny_model, 64), tmp_path / "result.mp4"
    settings = {"any": 1}
    store = SegmentStore(target, settings)
    store.next_path.write_bytes(b"segment")
    store.finish(frames=3, time=0, broken=np.zeros(0, int), lightness=np.zeros(1), ab=np.zeros(1))
    store.close()
    assert SegmentStore(target, settings).frames == 3
    record = store.folder / "00000.npz"
    whole = record.read_bytes()
    for torn in (b"", whole[: len(whole) // 2]):
        record.write_bytes(torn)
        assert SegmentStore(target, settings).frames == 0
    record.write_bytes(whole)
    (store.folder / "00000.nut").write_bytes(b"seg")
    assert SegmentStore(target, settings).frames == 0
    colorize_video(colorizer, film, target)
    assert times(target) == times(film)


def test_a_film_is_made_by_one_run_at_a_time(film, tmp_path, tiny_model):
    target = tmp_path / "result.mp4"
    other = SegmentStore(target, {"any": 1})
    with pytest.raises(FilmError, match="Another run is just making .*result.mp4: wait for it"):
        colorize_video(Colorizer(tiny_model, 64), film, target)
    assert (other.folder / "settings.json").exists()
    other.close()
    colorize_video(Colorizer(tiny_model, 64), film, target)
    assert target.exists() and not other.folder.exists()


def test_a_film_is_not_replaced_by_its_result(film, tmp_path, tiny_model):
    before = film.read_bytes()
    (tmp_path / "link.mp4").symlink_to(film)
    for target in (film, tmp_path / "link.mp4"):
        with pytest.raises(FilmError, match="would replace the source"):
            colorize_video(Colorizer(tiny_model, 64), film, target)
    with pytest.raises(FilmError, match="is a folder"):
        colorize_video(Colorizer(tiny_model, 64), film, tmp_path)
    assert film.read_bytes() == before


def test_what_the_format_loses_is_noted(tmp_path, tiny_model):
    film = tmp_path / "deep.mkv"
    options = ("-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-vf", "setfield=tff")
    ffmpeg(*pattern(), *options, tmp_path / "interlaced.mkv")
    ffmpeg(*pattern(), "-c:v", "ffv1", "-pix_fmt", "yuv420p10le", film)
    for source, word in ((film, "8 bits"), (tmp_path / "interlaced.mkv", "interlaced")):
        notes = colorize_video(Colorizer(tiny_model, 64), source, tmp_path / "result.mkv")
        assert len(notes) == 1 and word in notes[0]


def test_other_settings_start_anew(film, tmp_path, tiny_model):
    target = tmp_path / "result.mp4"
    colorize_video(Colorizer(tiny_model, 64), film, target, crf=40)
    first = target.stat().st_size
    colorize_video(Colorizer(tiny_model, 64), film, target, crf=5)
    assert target.stat().st_size > 1.5 * first


def damage(path, number, kind):
    """Spoils packet `number` of a film, in decoding order: all of it, or some bytes."""
    rows = ffmpeg("-i", path, "-map", "0:v", "-c", "copy", "-f", "framecrc", "-").decode().splitlines()
    sizes = [int(row.split(",")[4]) for row in rows if not row.startswith("#")]
    packets = ffmpeg("-i", path, "-map", "0:v", "-c", "copy", "-f", "rawvideo", "-")
    start = sum(sizes[:number])
    packet, data = packets[start : start + sizes[number]], path.read_bytes()
    assert data.count(packet) == 1
    spoiled = bytes(len(packet)) if kind == "lost" else packet[:150] + b"\xff\x00\x13\x77" * 30 + packet[270:]
    path.write_bytes(data.replace(packet, spoiled))


@pytest.mark.parametrize("number", [1, 12, 24])
def test_a_broken_frame_costs_that_frame_only(number, tmp_path, tiny_model_file, capsys):
    film = tmp_path / "broken.avi"
    ffmpeg(*pattern(), "-c:v", "mjpeg", "-q:v", "2", film)
    damage(film, number, "lost")
    assert predict.main([str(film), "--model", str(tiny_model_file)]) == 0
    assert f"1 broken frame kept the colours before it: number {number}" in capsys.readouterr().out
    assert len(times(film.with_name("broken_color.avi"))) == 25


def test_a_damaged_frame_keeps_the_colours_before_it(tmp_path, tiny_model_file, capsys):
    film = tmp_path / "damaged.mp4"
    ffmpeg(*pattern(size="320x180"), *H264, "-bf", "0", film)
    damage(film, 12, "damaged")
    assert predict.main([str(film), "--model", str(tiny_model_file)]) == 0
    assert "number 12" in capsys.readouterr().out
    assert len(times(film.with_name("damaged_color.mp4"))) == 25


@pytest.mark.parametrize(
    "content, reason",
    [(b"", "no film"), (b"no film at all" * 99, "no film"), (None, "There is no such")],
)
def test_what_is_no_film_is_named(content, reason, tmp_path, film, tiny_model_file, capsys):
    bad = tmp_path / "bad.mp4"
    if content is not None:
        bad.write_bytes(content)
    assert predict.main([str(bad), str(film), "--model", str(tiny_model_file)]) == 1
    captured = capsys.readouterr()
    assert f"error: {bad}: " in captured.err and reason in captured.err
    assert len(captured.err.splitlines()) == 1
    assert "wrote" in captured.out and film.with_name("film_color.mp4").exists()
    assert not list(tmp_path.glob(".nxap*"))


def test_sound_without_a_picture_is_no_film(tmp_path):
    path = tmp_path / "sound.mp4"
    ffmpeg(*sound(), "-c:a", "aac", path)
    with pytest.raises(FilmError, match="no film"):
        films.probe(path)


def test_frames_of_other_kinds_are_refused(tiny_model):
    colorizer = Colorizer(tiny_model, 64)
    for frames, reason in (
        ([np.zeros((9, 9), "uint8")], "uint8"),
        ([np.zeros((9, 9, 3))], "float64"),
        ([np.zeros((9, 9, 3), "uint8")] * 8 + [np.zeros((9, 8, 3), "uint8")], "one size"),
    ):
        with pytest.raises(ValueError, match=reason):
            list(colorize_frames(colorizer, frames))


def test_frames_are_streamed(tiny_model):
    """No more frames are asked for than the network and the thread ahead of it need."""
    asked = []

    def frames():
        for number in range(1000):
            asked.append(number)
            yield np.full((32, 32, 3), number % 256, "uint8")

    for _, _ in zip(range(10), colorize_frames(Colorizer(tiny_model, 32), frames()), strict=False):
        pass
    assert len(asked) <= 64


def test_frames_are_given_the_features_of_their_own_scene(tiny_fusion, tiny_extractor, sample_rgb):
    """A cut in the middle of the frames that the network is given at a time."""
    scenes = [np.uint8(sample_rgb[:64, :96]), np.uint8(255 - sample_rgb[-64:, -96:])]
    colorizer = Colorizer(tiny_fusion, 64, extractor=tiny_extractor)
    frames = [scenes[0]] * 3 + [scenes[1]] * 3
    expected = [next(colorize_frames(colorizer, [scene])) for scene in scenes]
    for number, frame in enumerate(colorize_frames(colorizer, frames, memory=0)):
        # One 8-bit step: processors add up batches of another size in another order, which changes the last
        # bits of the network's answer.
        assert np.abs(frame.astype(int) - expected[number // 3]).max() <= 1


@pytest.mark.slow
def test_a_film_of_a_still_photo_does_not_flicker(sample_rgb):
    """The shipped model on one photo with grain: steadier than frame by frame, and as colourful."""
    rng = np.random.default_rng(0)
    gray = np.asarray(Image.fromarray(sample_rgb).convert("L").convert("RGB")).astype(float)
    noise = rng.normal(0.0, 6.0, (40, *gray.shape[:2], 1))
    frames = np.uint8(np.clip(gray + noise, 0, 255))
    colorizer = Colorizer.load()
    flicker, colours = [], []
    for memory in (0.0, 1.2):
        ab = np.stack([rgb2lab(f)[::4, ::4, 1:] for f in colorize_frames(colorizer, frames, 25, memory)])
        flicker.append(np.linalg.norm(np.diff(ab, axis=0), axis=-1).mean())
        colours.append(np.linalg.norm(ab.mean(axis=0), axis=-1).mean())
    assert flicker[1] < 0.6 * flicker[0]
    assert colours[1] > 0.9 * colours[0]


@pytest.mark.slow
def test_joined_clips_are_taken_apart_again(project, tmp_path):
    """Three photos under a moving camera, joined by hard cuts: each begins as if it stood alone."""
    clips, colorizer = [], Colorizer.load()
    for name in ("cat", "coffee", "rocket"):
        with Image.open(next((project / "data" / "photos").rglob(f"{name}.jpg"))) as photo:
            gray = np.asarray(photo.convert("L").resize((288, 216)).convert("RGB"))
        clips.append([gray[n : n + 192, 2 * n : 2 * n + 256] for n in range(0, 12)])
    steady = SteadyColour(25)
    frames = [Frame(color.rgb_to_luma(frame, "bt601")) for clip in clips for frame in clip]
    followed = list(follow_colours(colorizer, frames, steady))
    assert [number for number, coloured in enumerate(followed) if coloured.is_cut] == [0, 12, 24]
    for number in (12, 24):
        alone = next(follow_colours(colorizer, frames[number : number + 12], SteadyColour(25)))
        np.testing.assert_allclose(followed[number].ab, alone.ab, atol=1e-3)


def test_a_full_disk_is_reported_with_the_frame(tmp_path, tiny_model_file):
    """A limit on the size of files stands for the end of the disk."""
    film = tmp_path / "film.mp4"
    ffmpeg(*pattern(seconds=8, size="320x180"), *H264, "-crf", "45", film)
    code = (
        "import resource, signal, sys; from nxap_color import predict; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000)); sys.exit(predict.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, str(film), "--model", str(tiny_model_file), "--crf", "5"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.search(rf"error: {film}: Frame \d+: It cannot be encoded", done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_names_that_ffmpeg_could_take_for_something_else(film, colour):
    """A colon is not an address, nor a leading dash an option, nor a quote the end of a name."""
    folder = film.with_name("-f a#b?c%d")
    folder.mkdir()
    for name in ("12:30 it's film é.mp4", "-y.mp4"):
        path = Path(folder.name) / name
        path.write_bytes(film.read_bytes())
        assert predict.main(["--model", str(colour.model), "--quiet", "--", str(path)]) == 0
        assert times(path.with_name(f"{path.stem}_color.mp4").resolve()) == times(film)


def test_a_disk_that_is_full_at_the_end_leaves_the_old_result(film, tmp_path, tiny_model, monkeypatch):
    target, run = tmp_path / "result.mp4", films.ffmpeg.run_ffmpeg
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def run_on_a_full_disk(*options, **more):
        if "concat" in options:
            resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
        try:
            return run(*options, **more)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    # A disk that fills up in the last step alone, after the segments were written.
    monkeypatch.setattr(films.ffmpeg, "run_ffmpeg", run_on_a_full_disk)
    target.write_bytes(b"precious")
    with pytest.raises(FilmError, match="It cannot be written"):
        colorize_video(Colorizer(tiny_model, 64), film, target)
    assert target.read_bytes() == b"precious"
    assert not [path for path in tmp_path.glob(".nxap-*") if path.is_file()]


def test_a_decoder_that_breaks_off_is_not_the_end_of_the_film(film):
    frames = films.read_film(films.probe(film))
    next(frames)
    frames.gi_frame.f_locals["decoder"].process.kill()
    with pytest.raises(FilmError, match="The decoder broke off"):
        list(frames)


def test_a_name_as_long_as_the_system_allows_is_that_of_a_film_too(film, tmp_path, tiny_model):
    target = tmp_path / ("x" * 251 + ".mp4")
    colorize_video(Colorizer(tiny_model, 64), film, target)
    assert times(target) == times(film)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi"])
def test_a_film_that_was_cut_off_is_coloured_as_far_as_it_goes_and_named(
    suffix, tmp_path, tiny_model_file, capsys
):
    whole, film = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    codec = ("-c:v", "libvpx-vp9", "-deadline", "realtime") if suffix == ".webm" else H264
    ffmpeg(*pattern(), *codec, *(["-movflags", "+faststart"] if suffix == ".mp4" else []), whole)
    film.write_bytes(whole.read_bytes()[: whole.stat().st_size * 7 // 10])
    assert predict.main([str(film), "--model", str(tiny_model_file)]) == 1
    result = tmp_path / f"cut_color{suffix}"
    error = f"error: {film}: The end of its file is missing; {result} holds what there is."
    assert error in capsys.readouterr().err
    assert 0 < len(times(result)) < len(times(whole))
    assert predict.main([str(whole), "--model", str(tiny_model_file)]) == 0

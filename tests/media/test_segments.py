"""Finished segments of a film that was interrupted."""

import numpy as np
import pytest

from nxap_color.errors import FilmError
from nxap_color.media.segments import SegmentStore

SETTINGS = {"crf": 18}


@pytest.fixture
def target(tmp_path):
    """A film of which two segments of three frames are finished."""
    store = SegmentStore(tmp_path / "film.mp4", SETTINGS)
    for time in (0, 3):
        store.next_path.write_bytes(b"encoded frames")
        store.finish(frames=3, time=time, broken=np.array([], int), lightness=np.ones((2, 2)), ab=np.zeros(2))
    store.close()
    return tmp_path / "film.mp4"


def resumed(target, settings=SETTINGS):
    store = SegmentStore(target, settings)
    store.close()
    return store


def test_a_job_resumes_after_its_last_segment(target):
    store = resumed(target)
    assert store.frames == 6 and store.next_path.name == "00002.nut"
    assert (store.memory[0] == 1).all() and [int(segment["time"]) for segment in store.segments] == [0, 3]


@pytest.mark.parametrize("damage", [b"", b"no zip", 0.5, 0.9])
def test_a_damaged_record_ends_what_is_finished(target, damage):
    record = resumed(target).folder / "00001.npz"
    whole = record.read_bytes()
    record.write_bytes(damage if isinstance(damage, bytes) else whole[: int(len(whole) * damage)])
    assert resumed(target).frames == 3


def test_a_segment_of_another_size_does_not_count(target):
    (resumed(target).folder / "00001.nut").write_bytes(b"half")
    assert resumed(target).frames == 3
    (resumed(target).folder / "00000.nut").unlink()
    assert resumed(target).frames == 0


def test_other_settings_begin_again(target):
    assert resumed(target, {"crf": 20}).frames == 0


def test_two_runs_do_not_share_a_folder(target):
    store = SegmentStore(target, SETTINGS)
    with pytest.raises(FilmError, match="wait for it"):
        SegmentStore(target, SETTINGS)
    store.remove()
    assert not store.folder.exists()


def test_bugs_surface(tmp_path):
    with pytest.raises(TypeError):
        SegmentStore(tmp_path / "film.mp4", {"model": object()})

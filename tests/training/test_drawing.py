"""Shares of sources, balance of groups, and the order of an epoch."""

import itertools
from collections import Counter

import numpy as np
import pytest

from nxap_color.errors import UserError
from nxap_color.training.drawing import draw, split_share, split_shares, weigh


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("photos.zip:3", ("photos.zip", 3.0)),
        ("a/b:0.5", ("a/b", 0.5)),
        ("photos.zip", ("photos.zip", None)),
        ("C:\\photos", ("C:\\photos", None)),
        ("C:\\photos:2", ("C:\\photos", 2.0)),
        ("C:2", ("C:2", None)),
        ("scans:two", ("scans:two", None)),
        (":2", (":2", None)),
    ],
)
def test_a_share_is_told_from_a_path(source, expected):
    assert split_share(source) == expected


def test_what_exists_under_its_whole_name_has_no_share(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans:2").mkdir()
    (tmp_path / "a").mkdir()
    assert split_share("scans:2") == ("scans:2", None)
    assert split_share("scans:2:3") == ("scans:2", 3.0)
    assert split_share("a:2") == ("a", 2.0)


@pytest.mark.parametrize("share", ["0", "-1", "nan", "inf"])
def test_a_share_that_is_none_is_named(share):
    with pytest.raises(UserError, match=f"share in a.zip:{share} must be a number above 0, received {share}"):
        split_share(f"a.zip:{share}")


def test_all_sources_have_a_share_or_none():
    assert split_shares(["one:3", "two:1"]) == (["one", "two"], [3.0, 1.0])
    assert split_shares(["one", "two"]) == (["one", "two"], None)
    with pytest.raises(UserError, match="two has no share, other sources have one"):
        split_shares(["one:3", "two"])


def drawn(weights, epochs, seed=0):
    return [draw(weights, seed, epoch) for epoch in range(epochs)]


def test_photos_of_equal_weight_are_each_drawn_once():
    first, second = drawn(np.full(60, 0.1), 2)
    assert sorted(first) == sorted(second) == list(range(60))
    assert list(first) != list(second) and list(first) != sorted(first)


def test_seed_and_epoch_alone_decide_the_order():
    weights = weigh([(0, "a")] * 9 + [(0, "b")] * 40, None, 0.7)
    np.testing.assert_array_equal(draw(weights, 3, 5), drawn(weights, 6, 3)[5])
    assert list(draw(weights, 3, 5)) != list(draw(weights, 4, 5))
    assert len(draw(weights, -1, 0)) == 49


def test_shares_decide_how_often_sources_are_drawn():
    origins = [(0, "a")] * 10 + [(1, "b")] * 90
    numbers = np.concatenate(drawn(weigh(origins, [3.0, 1.0]), 4))
    assert len(numbers) == 400 and (numbers < 10).sum() == 300


@pytest.mark.parametrize(
    ("balance", "expected"), [(0.0, 2 / 34), (0.5, 2**0.5 / (2**0.5 + 32**0.5)), (1.0, 0.5)]
)
def test_balance_evens_groups_out(balance, expected):
    """Groups of one name in two sources are one."""
    origins = [(0, "few")] * 2 + [(0, "many")] * 16 + [(1, "many")] * 16
    numbers = np.concatenate(drawn(weigh(origins, None, balance), 100))
    assert np.mean(numbers < 2) == pytest.approx(expected, abs=0.002)


def test_balance_is_within_a_source_that_has_a_share():
    origins = [(0, "few")] * 2 + [(0, "many")] * 8 + [(1, "many")] * 30
    counts = Counter(np.concatenate(drawn(weigh(origins, [1.0, 1.0], 1.0), 10)).tolist())
    sums = [sum(counts[number] for number in part) for part in (range(2), range(2, 10), range(10, 40))]
    assert sums == [100, 100, 200]


@pytest.mark.parametrize("balance", [0.3, 1.0])
def test_no_photo_comes_again_before_the_others_of_its_group(balance):
    groups = ["few"] * 3 + ["some"] * 7 + ["many"] * 50
    numbers = np.concatenate(drawn(weigh([(0, group) for group in groups], None, balance), 5))
    assert len(numbers) == pytest.approx(300, abs=3)
    for begin, end in itertools.pairwise((0, 3, 10, 60)):
        counts = Counter()
        for number in numbers[(numbers >= begin) & (numbers < end)]:
            counts[number] += 1
            assert counts[number] <= 1 + min(counts[other] for other in range(begin, end))

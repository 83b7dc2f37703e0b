"""The Fréchet distance against closed forms and SciPy, and what FD-Lite0 sees."""

import cv2
import numpy as np
import pytest
from scipy.linalg import sqrtm
from skimage.color import lab2rgb, rgb2lab

from nxap_color.evaluation.frechet import FeatureSets, frechet_distance
from nxap_color.images import as_uint8


def vectors(count, features, seed=0):
    return np.random.default_rng(seed).normal(size=(count, features))


def with_variances(variances):
    """Vectors with mean 0 whose covariance is exactly diagonal: +-s on one axis each."""
    variances = np.asarray(variances, "float64")
    scale = np.sqrt(variances * (2 * len(variances) - 1) / 2)
    return np.concatenate([np.diag(scale), -np.diag(scale)])


# Fewer vectors than features, as many, and more.
@pytest.mark.parametrize("count", [2, 5, 12, 40])
def test_equal_sets_have_no_distance(count):
    some = vectors(count, 12)
    assert frechet_distance(some, some[::-1]) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("count", [2, 5, 12, 40])
def test_a_shift_counts_with_its_square(count):
    some, shift = vectors(count, 12), vectors(1, 12, seed=1)
    assert frechet_distance(some, some + shift) == pytest.approx(np.square(shift).sum())


def test_diagonal_covariances_have_a_closed_form():
    """The distance is the sum of (s1 - s2)^2 over the axes, s their standard deviations; some have none."""
    first, second = np.array([4.0, 1.0, 0.0, 9.0]), np.array([1.0, 1.0, 2.0, 0.25])
    expected = np.square(np.sqrt(first) - np.sqrt(second)).sum()
    assert frechet_distance(with_variances(first), with_variances(second)) == pytest.approx(expected)


def test_sets_may_be_of_different_size():
    """Each vector twice, one axis apart: no spread in common, so both variances count in full."""
    first = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    second = np.array([[0.0, 2.0, 0.0], [0.0, -2.0, 0.0], [0.0, 0.0, 0.0]])
    assert frechet_distance(first, second) == pytest.approx(2.0 + 4.0)


def test_it_is_the_formula_with_a_root_of_a_matrix():
    mixing = vectors(6, 6, seed=3)
    first, second = vectors(50, 6, seed=1) @ mixing, 2.0 + vectors(80, 6, seed=2)
    covariances = [np.cov(vectors_of, rowvar=False) for vectors_of in (first, second)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    shift = np.square(first.mean(axis=0) - second.mean(axis=0)).sum()
    expected = shift + np.trace(covariances[0] + covariances[1] - 2.0 * root)
    assert frechet_distance(first, second) == pytest.approx(expected)
    assert frechet_distance(second, first) == pytest.approx(expected)


def test_less_colour_is_further_from_the_truth(sample_rgb):
    """Half of the chroma is nearer than none, at the same lightness: the features see colour."""
    sets, lab = FeatureSets(), rgb2lab(cv2.resize(sample_rgb, (96, 72)))
    assert sets.distances() == {}
    for left in (0, 16, 32):
        part = lab[:, left : left + 64]
        muted = {label: lab2rgb(part * (1, share, share)) for label, share in (("gray", 0.0), ("half", 0.5))}
        truth = as_uint8(lab2rgb(part))
        sets.add({"truth": truth, "same": truth} | {label: as_uint8(rgb) for label, rgb in muted.items()})
    distances = sets.distances()
    assert list(distances) == ["same", "gray", "half"]
    assert distances["same"] == pytest.approx(0.0, abs=1e-6)
    assert 5.0 < distances["half"] < 0.7 * distances["gray"]

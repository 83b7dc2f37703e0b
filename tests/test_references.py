"""Colours taken from photos of the same scene, with the shipped model."""

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from nxap_color import color
from nxap_color.colorizer import Colorizer
from nxap_color.errors import ModelError, PhotoError
from nxap_color.references import (
    LEAST_MATCHES,
    Details,
    Match,
    Reference,
    find_details,
    match_details,
    name_some,
    refer_to_matches,
)


@pytest.fixture(scope="module")
def shipped():
    return Colorizer.load()


def read(project, name):
    with Image.open(project / "data" / "photos" / "test" / f"{name}.jpg") as photo:
        return np.asarray(photo.convert("RGB"))


def lightness_of(rgb):
    return color.find_lightness(rgb)[..., 0]


def resized(rgb, scale):
    return np.asarray(Image.fromarray(rgb).resize([round(scale * side) for side in rgb.shape[1::-1]]))


def corner(rgb, first, end):
    """The part of a photo between two shares of its sides."""
    (top, left), (bottom, right) = ([round(share * side) for side in rgb.shape[:2]] for share in (first, end))
    return rgb[top:bottom, left:right]


@pytest.mark.parametrize(
    "change", [lambda x: resized(x, 0.7), lambda x: corner(x, 0.25, 1), lambda x: x // 2 + 60]
)
def test_a_scene_is_recognised_smaller_cut_and_in_other_light(project, change):
    photo = read(project, "cat")
    details = find_details(lightness_of(photo))
    assert match_details(find_details(lightness_of(change(photo))), details)[0] > 4 * LEAST_MATCHES
    other = find_details(lightness_of(read(project, "hawa-mahal")))
    assert match_details(other, details) == (0, None)


@pytest.mark.parametrize("photo", [np.full((40, 60), 50.0, "float32"), np.zeros((1, 1), "float32")])
def test_what_has_no_details_is_not_recognised(photo):
    details = find_details(photo)
    assert details.descriptors.shape == (0, 128) and match_details(details, details) == (0, None)


@pytest.mark.parametrize("name", ["crab", "cat", "hawa-mahal"])
def test_another_part_of_a_scene_and_its_mirror_image_bring_the_true_colours(shipped, project, name):
    photo = read(project, name)
    truth = corner(photo, 0.0, 0.75)
    automatic = peak_signal_noise_ratio(truth, shipped.colorize(truth))
    for reference in (corner(photo, 0.25, 1.0), resized(photo[:, ::-1], 0.7)):
        colorizer = shipped.with_references({"reference": reference})
        assert peak_signal_noise_ratio(truth, colorizer.colorize(truth)) > automatic + 1.5


def test_a_reference_of_another_scene_changes_nothing(shipped, project):
    photo = read(project, "cat")
    colorizer = shipped.with_references({"bird": read(project, "kingfisher")})
    prepared = colorizer.prepare(photo)
    np.testing.assert_array_equal(colorizer.answer(prepared), shipped.answer(prepared))
    assert prepared.references == []


def test_of_several_references_those_that_show_the_scene_are_used(shipped, project):
    photo = read(project, "red-panda")
    colorizer = shipped.with_references({"bird": read(project, "kingfisher"), "mirrored": photo[:, ::-1]})
    prepared = colorizer.prepare(photo)
    colorizer.answer(prepared)
    assert [match.reference.name for match in prepared.references] == ["mirrored"]
    assert not shipped.references  # the colorizer that was asked stays as it is


def test_a_reference_tells_what_is_missed_whatever_the_vividness(shipped, project):
    photo = read(project, "astronaut")
    for vividness in (0.5, 1.5):
        colorizer = shipped.with_references({"itself": photo}).with_vividness(vividness)
        result = color.rgb_to_lab(colorizer.colorize(photo) / 255.0)[..., 1:]
        true_ab = color.rgb_to_lab(photo / 255.0)[..., 1:]
        assert np.abs(result.mean(axis=(0, 1)) - true_ab.mean(axis=(0, 1))).max() < 3.0


def test_a_picture_that_is_its_own_reference_is_put_right_nearly_everywhere():
    """The mean of the process at known places: what is missing there, but for the noise."""
    rng = np.random.default_rng(0)
    answer = rng.normal(0.0, 9.0, (6, 8, 19)).astype("float32")
    answer[..., -1] = 2.0
    true_ab = rng.uniform(-20.0, 20.0, (6, 8, 2)).astype("float32")
    for transform in (np.eye(2, 3), None):
        matches = [Match(Reference("itself", answer, true_ab, None), transform, 99)]
        np.testing.assert_allclose(refer_to_matches(answer, matches, gain=1.3), true_ab, atol=1.0)


def test_details_that_all_lie_at_one_place_are_no_match():
    """Many details of one picture that are all like one of the other: a scale of 0 fits them perfectly."""
    rng = np.random.default_rng(0)
    descriptors = rng.uniform(0.0, 100.0, (40, 128)).astype("float32")
    spread = Details(rng.uniform(0.0, 1.0, (40, 2)).astype("float32"), descriptors)
    pointed = Details(np.full((40, 2), 0.5, "float32") + 1e-3 * spread.places, descriptors)
    assert match_details(spread, spread)[0] == 40
    assert match_details(spread, pointed) == (0, None)


def test_a_reference_is_found_where_it_lies(project):
    """A part of a photo, at half its size: its corner lies where it was cut out."""
    photo = read(project, "hawa-mahal")
    height, width = photo.shape[:2]
    part = photo[height // 4 :, width // 3 :]
    details = find_details(lightness_of(photo))
    _, transform = match_details(find_details(lightness_of(resized(part, 0.5))), details)
    corner = np.array([width // 3, height // 4]) / min(height, width)
    np.testing.assert_allclose(transform @ (0.0, 0.0, 1.0), corner, atol=0.01)
    scale = min(part.shape[:2]) / min(height, width)
    np.testing.assert_allclose(transform[:, :2], scale * np.eye(2), atol=0.02)


def test_colours_go_where_the_reference_lies():
    """Everything is alike, so that places decide: the picture's left half is the reference's right."""
    answer = np.zeros((8, 8, 19), "float32")
    answer[..., -1] = 2.0
    true_ab = np.zeros((8, 8, 2), "float32")
    true_ab[:, 4:] = 30.0
    transform = np.array([[1.0, 0.0, -0.5], [0.0, 1.0, 0.0]])
    match = Match(Reference("shifted", answer, true_ab, None), transform, 99)
    assert refer_to_matches(answer, [match], gain=1.0)[:, :3, 0].min() > 25.0


@pytest.mark.parametrize("gray", [np.full((64, 96), 90, "uint8"), np.full((64, 96, 3), 90, "uint8")])
def test_gray_references_and_models_without_hints_are_refused(shipped, tiny_model, gray):
    with pytest.raises(PhotoError, match="The reference 'old.jpg' is gray: expected a photo in colour"):
        shipped.with_references({"old.jpg": gray})
    with pytest.raises(ModelError, match="The model tiny takes no colour hints"):
        Colorizer(tiny_model).with_references({})


def test_hundreds_of_references_of_one_scene_say_what_the_best_say():
    answer = np.zeros((24, 32, 19), "float32")
    answer[..., -1] = 2.0
    true_ab = np.full((24, 32, 2), 20.0, "float32")
    good, bad = (Reference(name, answer, ab, None) for name, ab in (("good", true_ab), ("bad", -true_ab)))
    matches = [Match(bad, np.eye(2, 3), 20)] * 300 + [Match(good, np.eye(2, 3), 99)] * 300
    np.testing.assert_allclose(refer_to_matches(answer, matches, gain=1.0), true_ab, atol=1.0)


def test_references_are_named_as_far_as_they_fit_a_line():
    assert name_some(["a", "b"]) == "a or b"
    assert name_some(list("abcde")) == "a, b, c or 2 others"


def test_a_reference_may_be_a_path(shipped, project):
    path = project / "data" / "photos" / "test" / "cat.jpg"
    for given in (path, str(path)):
        assert [reference.name for reference in shipped.with_references({"cat": given}).references] == [
            "cat"
        ] * 2

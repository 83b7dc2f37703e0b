"""Pre- and post-processing around the network."""

import dataclasses

import cv2
import keras
import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab
from skimage.transform import resize

from nxap_color import color
from nxap_color.colorizer import Colorizer, colorize
from nxap_color.corrections import correct_colours
from nxap_color.errors import ExtractorError, HintError, ModelError
from nxap_color.extractors import Extractor
from nxap_color.guidance import Hint, draw_hints
from nxap_color.upsampling import upsample_guided


@pytest.fixture(scope="module")
def colorizer(tiny_model):
    return Colorizer(tiny_model, network_size=64)


@pytest.fixture(scope="module")
def shipped():
    return Colorizer.load()


def lightness(rgb):
    return rgb2lab(rgb)[..., 0]


def gray_of(rgb):
    return np.uint8(np.rint(rgb.mean(axis=-1)))


@pytest.mark.parametrize("size", [(37, 53), (256, 341), (1, 1), (1, 400), (7, 3), (64, 64)])
def test_every_size_comes_back_at_its_own(colorizer, size):
    photo = np.random.default_rng(0).integers(0, 256, size, dtype="uint8")
    assert colorizer.colorize(photo).shape == (*size, 3)


def test_the_photo_keeps_its_lightness(shipped, sample_rgb):
    gray = gray_of(sample_rgb)
    result = shipped.colorize(gray)
    expected = lightness(np.repeat(gray[..., None], 3, axis=-1))
    assert np.abs(lightness(result) - expected).max() < 1.0  # 8-bit steps are worth up to 0.6
    assert np.abs(lightness(result) - expected).mean() < 0.2


def test_the_shipped_model_gives_colour(shipped, sample_rgb):
    lab = rgb2lab(shipped.colorize(gray_of(sample_rgb)))
    assert np.hypot(lab[..., 1], lab[..., 2]).mean() > 5.0


def test_of_a_colour_photo_only_the_lightness_counts(shipped, sample_rgb):
    from skimage.color import lab2rgb

    lab = rgb2lab(sample_rgb)
    lab[..., 1:] = 0.0
    gray = np.float32(lab2rgb(lab).clip(0.0, 1.0))
    from_colour = shipped.colorize(np.float32(sample_rgb) / 255.0)
    assert np.abs(from_colour - shipped.colorize(gray)).mean() < 0.01


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_the_dtype_stays(colorizer, dtype):
    gray = np.linspace(0.0, 1.0, 40 * 50).reshape(40, 50)
    scale = 1.0 if dtype.startswith("float") else np.iinfo(dtype).max
    photo = (gray * scale).astype(dtype)
    result = colorizer.colorize(photo)
    assert result.dtype == dtype
    # Half a step of rounding, and a tenth of OpenCV's conversion.
    np.testing.assert_allclose(result / scale, colorizer.colorize(photo / scale), atol=0.6 / 255.0)


def test_16_bits_keep_more_shades_than_8(colorizer):
    gray = np.linspace(20_000, 22_000, 1000).astype("uint16")[None].repeat(8, axis=0)
    assert len(np.unique(colorizer.colorize(gray)[..., 1])) > 300


def test_one_channel_and_two_dimensions_are_the_same(colorizer, sample_rgb):
    gray = gray_of(sample_rgb)
    np.testing.assert_array_equal(colorizer.colorize(gray), colorizer.colorize(gray[..., None]))


def test_a_batch_of_different_photos_gives_what_each_gives_alone(colorizer, sample_rgb):
    photos = [sample_rgb, gray_of(sample_rgb)[:100], sample_rgb[::-1], np.float32(sample_rgb / 255.0)]
    for photo, result in zip(photos, colorizer.colorize_batch(photos), strict=True):
        alone = colorizer.colorize(photo)
        scale = 1.0 if photo.dtype == np.float32 else 255.0
        assert result.dtype == photo.dtype
        np.testing.assert_allclose(result / scale, alone / scale, atol=1.01 / 255.0)


def test_an_empty_batch_gives_nothing(colorizer):
    assert colorizer.colorize_batch([]) == []


def test_the_aspect_is_kept_on_the_way_through_the_network(colorizer):
    height, width, _ = colorizer.network_input(np.zeros((300, 450, 3), "float32"))["lightness"].shape
    assert min(height, width) == 64
    assert width / height == pytest.approx(1.5, rel=0.02)


def test_the_network_sees_lightness_scaled_as_in_training(tiny_model, sample_rgb):
    rgb = np.float32(sample_rgb[:64, :96]) / 255.0  # of the network's own size, so that nothing is resized
    expected = rgb2lab(rgb)[..., :1] / 50.0 - 1.0
    given = Colorizer(tiny_model, 64).network_input(rgb)
    assert list(given) == ["lightness"]
    np.testing.assert_allclose(given["lightness"], expected, atol=1e-3)


def test_a_long_strip_does_not_fill_the_memory(colorizer):
    height, width, _ = colorizer.network_input(np.zeros((1, 4000, 3), "float32"))["lightness"].shape
    assert width <= 8 * 64 and height >= 1


def test_padding_does_not_reach_the_photo(tiny_model):
    """Where no resizing is needed, the colours are the network's own, also beside the padded border."""
    photo = np.random.default_rng(0).uniform(size=(40, 64)).astype("float32")
    colorizer = Colorizer(tiny_model, network_size=40)
    inputs = colorizer.network_input(np.repeat(photo[..., None], 3, axis=-1))
    assert inputs["lightness"].shape == (40, 64, 1)
    (ab,) = colorizer.predict_ab([inputs])
    padded = np.pad(inputs["lightness"], ((0, 24), (0, 0), (0, 0)), mode="symmetric")
    (alone,) = np.asarray(tiny_model({"lightness": padded[None]}))[:, :20]
    np.testing.assert_allclose(ab, alone * color.AB_SCALE, atol=1e-3)


def test_a_photo_is_looked_at_twice_once_in_the_mirror_and_larger(colorizer, sample_rgb):
    prepared = colorizer.prepare(sample_rgb)
    smaller, larger = (given["lightness"][..., 0] for given in prepared.inputs)
    assert min(larger.shape) > 1.4 * min(smaller.shape)
    mirrored = cv2.resize(larger[:, ::-1], smaller.shape[::-1], interpolation=cv2.INTER_AREA)
    assert np.corrcoef(smaller.ravel(), mirrored.ravel())[0, 1] > 0.98
    alone, other = colorizer.predict_ab(prepared.inputs)
    answer = colorizer.answer(prepared)
    alone, other = (
        resize(look, answer.shape, order=1, anti_aliasing=True) for look in (alone, other[:, ::-1])
    )
    assert np.abs(answer - (alone + other) / 2).mean() < 0.1 * np.abs(other - alone).mean()


def test_a_mirrored_photo_gets_colours_like_its_own(shipped, sample_rgb):
    mirrored = rgb2lab(shipped.colorize(sample_rgb[:, ::-1]))[:, ::-1]
    alone = rgb2lab(shipped.colorize(sample_rgb))
    assert np.linalg.norm(mirrored - alone, axis=-1).mean() < 0.3 * np.hypot(*alone[..., 1:].T).mean()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 4), "uint8"), r"received shape \(4, 4, 4\)"),
        (np.zeros((0, 4), "uint8"), r"received shape \(0, 4, 1\)"),
        (np.zeros((4, 4), "int32"), "received int32"),
        (np.full((4, 4), 7.0), r"lie in \[0, 1\], received 7 to 7"),
        (np.full((4, 4), np.nan), r"lie in \[0, 1\], received nan"),
    ],
)
def test_what_is_no_photo_is_refused(colorizer, image, message):
    with pytest.raises(ValueError, match=message):
        colorizer.colorize(image)


def test_vividness_scales_the_colour_and_keeps_the_lightness(tiny_model, sample_rgb):
    photo = 85 + sample_rgb[:64, :96] // 3  # middle tones, where all colours fit
    spread = []
    for vividness in (0.0, 0.5, 1.0, 2.0):
        lab = rgb2lab(Colorizer(tiny_model, 64, vividness).colorize(photo))
        assert np.abs(lab[..., 0] - lightness(photo)).max() < 1.5
        spread.append(np.hypot(lab[..., 1], lab[..., 2]).mean())
    assert spread[0] < 0.5
    assert spread[1] == pytest.approx(spread[2] / 2.0, rel=0.1)
    assert spread[2] < spread[3]


@pytest.mark.parametrize("vividness", [-0.1, 2.1, float("nan")])
def test_vividness_has_a_range(tiny_model, vividness):
    with pytest.raises(ValueError, match=r"vividness lies in \[0, 2\], received"):
        Colorizer(tiny_model, vividness=vividness)


@pytest.mark.slow
def test_the_size_of_a_photo_does_not_change_its_colours(shipped, project):
    """The same photo at 256, 512 and 2000 px on the shorter side, compared at 256."""
    with Image.open(project / "data" / "sample.jpg") as photo:
        photo = photo.convert("L")
    colours = []
    for side in (256, 512, 2000):
        size = [round(length * side / min(photo.size)) for length in photo.size]
        coloured = shipped.colorize(np.asarray(photo.resize(size, Image.Resampling.LANCZOS)))
        small = Image.fromarray(coloured).resize((342, 256), Image.Resampling.LANCZOS)
        colours.append(rgb2lab(small)[..., 1:])
    for ab in colours[1:]:
        assert np.linalg.norm(ab - colours[0], axis=-1).mean() < 3.0


@pytest.fixture
def fusing(tiny_fusion, tiny_extractor):
    return Colorizer(tiny_fusion, 64, extractor=tiny_extractor)


def test_features_are_those_of_the_photo_at_its_own_size(fusing, tiny_extractor, sample_rgb):
    photo = sample_rgb[:192, :288]
    (features,) = tiny_extractor([np.float32(photo) / 255.0])
    given = fusing.network_input(np.float32(photo) / 255.0)
    # The extractor may look at several photos together, which changes the last bits of its answer.
    np.testing.assert_allclose(given["tiny_features"], features, atol=1e-5)
    for look in fusing.prepare(photo).inputs:  # at the mirror image, too
        np.testing.assert_allclose(look["tiny_features"], features, atol=1e-5)
    (ab,) = fusing.predict_ab([given])
    (other,) = fusing.predict_ab([{**given, "tiny_features": features + 1.0}])
    assert np.abs(other - ab).mean() > 0.1


def test_a_batch_of_photos_with_features_gives_what_each_gives_alone(fusing, sample_rgb):
    photos = [sample_rgb, gray_of(sample_rgb)[:100], sample_rgb[::-1]]
    for photo, result in zip(photos, fusing.colorize_batch(photos), strict=True):
        assert np.abs(result.astype(int) - fusing.colorize(photo)).max() <= 1


def test_an_extractor_that_does_not_fit_is_refused(tiny_model, tiny_fusion, tiny_extractor):
    with pytest.raises(ExtractorError, match=r"fusion takes tiny_features \(4\) features, .* gives none"):
        Colorizer(tiny_fusion)
    with pytest.raises(ExtractorError, match=r"tiny takes no features, .* gives tiny_features \(4\)"):
        Colorizer(tiny_model, extractor=tiny_extractor)
    other = Extractor(keras.Model(tiny_extractor.network.input, tiny_extractor.network.output, name="other"))
    with pytest.raises(ExtractorError, match=r"fusion takes tiny_features .* gives other \(4\)"):
        Colorizer(tiny_fusion, extractor=other)


def test_a_model_with_an_extractor_of_ones_own_says_that_it_needs_it(tiny_fusion, tiny_extractor, tmp_path):
    tiny_fusion.save(tmp_path / "own.keras")
    with pytest.raises(
        ValueError, match=r"There is no extractor tiny_features.*Colorizer.load\(..., extractor="
    ):
        Colorizer.load(str(tmp_path / "own.keras"))
    loaded = Colorizer.load(str(tmp_path / "own.keras"), extractor=tiny_extractor)
    assert loaded.extractor is tiny_extractor


def test_a_model_that_answers_no_numbers_is_named_rather_than_giving_gray(sample_rgb):
    inputs = keras.Input((None, None, 1), name="lightness")
    layer = keras.layers.Conv2D(2, 3, padding="same", bias_initializer=keras.initializers.Constant(np.nan))
    with pytest.raises(ModelError, match="answered NaN or infinity; the model file is damaged"):
        Colorizer(keras.Model(inputs, layer(inputs)), 64).colorize(sample_rgb)


@pytest.mark.parametrize("layer", [keras.layers.UpSampling2D(2), keras.layers.Conv2D(2, 3)])
def test_a_model_of_no_useful_stride_is_refused(layer):
    inputs = keras.Input((None, None, 1), name="lightness")
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1)(layer(inputs)))
    with pytest.raises(ModelError, match="where it is given 64"):
        Colorizer(model)


def test_a_model_without_named_inputs_is_refused_with_the_way_to_name_them():
    inputs = keras.Input((None, None, 1))
    with pytest.raises(ModelError, match=r'name one: keras.Input\(\(None, None, 1\), name="lightness"\)'):
        Colorizer(keras.Model(inputs, keras.layers.Conv2D(2, 3, padding="same")(inputs)))


@pytest.fixture(scope="module")
def guided(guided_model_file):
    return Colorizer.load(guided_model_file)


@pytest.fixture
def two_objects():
    """A gray photo, uint8 (192, 256): a disc on a dark half, another on a light half, with grain."""
    photo = np.full((192, 256), 60.0)
    photo[:, 128:] = 215.0
    cv2.circle(photo, (64, 96), 40, 150.0, -1)
    cv2.circle(photo, (192, 96), 40, 105.0, -1)
    return np.uint8(np.rint(photo + np.random.default_rng(0).normal(0.0, 3.0, photo.shape)))


def test_without_hints_a_photo_gets_the_networks_own_colours(guided, sample_rgb):
    """By its definition: bit for bit what the steps make of it one after the other."""
    gray = gray_of(sample_rgb)
    ab = guided.answer(guided.prepare(gray))
    lightness = color.gray_to_lightness(gray)
    lab = cv2.merge([lightness, *cv2.split(upsample_guided(ab, lightness))])
    expected = cv2.convertScaleAbs(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB), alpha=255.0)
    inside = color.is_in_gamut(lab) & (expected > 0).all(axis=-1) & (expected < 255).all(axis=-1)
    found = guided.colorize(gray)
    assert inside.mean() > 0.5
    np.testing.assert_array_equal(found[inside], expected[inside])
    np.testing.assert_array_equal(guided.colorize(gray, []), found)


def test_a_prepared_photo_is_coloured_as_the_photo_is(guided, sample_rgb):
    hints = [Hint(40, 60, "teal"), Hint("70%", "30%", "#8c2f2b", radius=9)]
    prepared = guided.prepare(sample_rgb)
    for told in ([], hints, hints[:1]):  # one after the other, on the same
        ab = guided.answer(prepared, told)
        np.testing.assert_array_equal(guided.finish(prepared, ab, told), guided.colorize(sample_rgb, told))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_clicked_pixels_get_their_colours_and_keep_their_lightness(guided, sample_rgb, dtype):
    gray = gray_of(sample_rgb)
    photo = (
        gray / np.float32(255) if dtype == "float32" else gray.astype(dtype) * (np.iinfo(dtype).max // 255)
    )
    known = color.gray_to_lightness(gray)
    edges = np.abs(cv2.Laplacian(np.where((known > 30) & (known < 70), known, 50), cv2.CV_32F))
    rows, columns = np.unravel_index(edges.ravel().argsort()[-2000::100], edges.shape)
    places = [*zip(rows, columns, strict=True), (50, 60), (50, 61), (52, 60)]
    # What sRGB can show at these lightnesses.
    places = [(int(y), int(x)) for y, x in places if 25 < known[y, x] < 75]
    colours = [(20.0 * np.cos(turn), 15.0 * np.sin(turn)) for turn in range(len(places))]
    hints = [Hint.from_ab(x, y, ab) for (y, x), ab in zip(places, colours, strict=True)]
    result = color.rgb_to_lab(
        np.float32(guided.colorize(photo, hints)) / (1 if dtype == "float32" else np.iinfo(dtype).max)
    )
    wanted = dict(zip(places, colours, strict=True))
    misses = [np.hypot(*(result[place][1:] - ab)) for place, ab in wanted.items()]
    assert len(misses) > 15 and max(misses) < 3.0
    assert np.abs(result[..., 0] - known).max() < 0.6  # an 8-bit step


def test_the_answer_is_corrected_towards_the_hints_by_what_the_network_finds_alike(guided, sample_rgb):
    prepared, hints = guided.prepare(sample_rgb), [Hint(40, 60, "teal"), Hint("70%", "30%", "red")]
    ab = guided.answer(prepared)
    drawn = draw_hints(hints, sample_rgb.shape[:2], ab.shape[:2])
    expected = correct_colours(ab, drawn, prepared.looks.mean(axis=0)[..., 2:], prepared.small)
    np.testing.assert_allclose(guided.answer(prepared, hints), expected, atol=1e-2)


def test_the_network_looks_at_a_photo_twice_however_often_hints_change(guided_model_file, sample_rgb):
    colorizer, looks = Colorizer.load(guided_model_file), []
    network = colorizer.network
    colorizer.network = dataclasses.replace(network, answer=lambda given: looks.append(1) or network(given))
    prepared = colorizer.prepare(sample_rgb)
    before = colorizer.answer(prepared)
    colorizer.answer(prepared, [Hint(5, 6, "red")])
    np.testing.assert_array_equal(colorizer.with_vividness(0.5).answer(prepared), 0.5 * before)
    assert len(looks) == 2


def test_another_network_looks_for_itself(guided, shipped, sample_rgb):
    prepared = guided.prepare(sample_rgb)
    guided.answer(prepared)
    np.testing.assert_array_equal(
        Colorizer(guided.network, 96, chroma_gain=2.0).answer(prepared),
        color.amplify_colours(guided.answer(prepared), 2.0),
    )
    other = Colorizer(dataclasses.replace(guided.network, answer=lambda x: 0.0 * guided.network(x)), 96)
    assert not other.answer(prepared).any()


def test_a_hint_leaves_the_other_object_alone(shipped, two_objects):
    before = rgb2lab(shipped.colorize(two_objects))
    after = rgb2lab(shipped.colorize(two_objects, [Hint(64, 96, "crimson")]))
    change = np.hypot(*np.moveaxis(after - before, -1, 0)[1:])
    assert change[80:112, 48:80].mean() > 20.0
    assert change[:, 128:].mean() < 2.0


def test_a_colour_that_srgb_cannot_show_keeps_its_hue(guided):
    photo = np.full((64, 64), 40, "uint8")
    lab = rgb2lab(guided.colorize(photo, [Hint(30, 30, "#ff0000")]))[30, 30]
    _, a, b = rgb2lab(np.array([1.0, 0.0, 0.0]))
    assert lab[0] == pytest.approx(color.gray_to_lightness(photo)[0, 0], abs=0.6)
    assert np.arctan2(lab[2], lab[1]) == pytest.approx(np.arctan2(b, a), abs=0.1)


def test_photos_that_go_together_have_hints_of_their_own(guided, sample_rgb):
    photos = [guided.prepare(photo) for photo in (sample_rgb, sample_rgb[::-1], sample_rgb[:100])]
    hints = [[], [Hint(30, 40, "teal")], [Hint(0, 0, "red"), Hint("50%", 9, "blue")]]
    for prepared, told, ab in zip(photos, hints, guided.answer_batch(photos, hints), strict=True):
        np.testing.assert_allclose(ab, guided.answer(prepared, told), atol=1e-3)


def test_hints_outside_the_photo_and_models_without_hints_are_refused(guided, colorizer, sample_rgb):
    height, width = sample_rgb.shape[:2]
    with pytest.raises(
        HintError, match=f"The hint 9999,3 lies outside the photo of {width} x {height} pixels"
    ):
        guided.colorize(sample_rgb, [Hint(9999, 3, "red")])
    with pytest.raises(ModelError, match="The model tiny takes no colour hints; (use|train one)"):
        colorizer.colorize(sample_rgb, [Hint(9, 3, "red")])


def test_the_palette_begins_with_the_models_own_colour(guided, sample_rgb):
    prepared = guided.prepare(sample_rgb)
    lab = rgb2lab(guided.finish(prepared, guided.answer(prepared)))[50, 60]
    first, *_ = names = guided.palette(prepared, 60, 50, count=5)
    assert len(names) <= 5
    rgb = np.array([int(first[start : start + 2], 16) for start in (1, 3, 5)])
    np.testing.assert_allclose(rgb2lab(rgb / 255.0), lab, atol=1.5)
    with pytest.raises(HintError, match="lies outside the photo"):
        guided.palette(prepared, 60, 5000)


def test_the_front_door_takes_hints(guided, guided_model_file, sample_rgb):
    hints = [Hint("20%", "20%", "olive")]
    found = colorize(sample_rgb, guided_model_file, hints=hints)
    np.testing.assert_array_equal(found, guided.colorize(sample_rgb, hints))
    image = colorize(Image.fromarray(sample_rgb), guided_model_file, hints=hints)
    np.testing.assert_array_equal(np.asarray(image), found)

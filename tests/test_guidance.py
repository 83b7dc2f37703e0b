"""Colour hints: said in texts and files, placed in a photo, drawn for the network."""

import json

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab

from nxap_color.color import AB_SCALE
from nxap_color.errors import HintError
from nxap_color.guidance import Hint, draw_hints, parse_hint, place, read_hints, write_hints


@pytest.mark.parametrize(
    ("name", "rgb"),
    [
        ("#8c2f2b", (0x8C, 0x2F, 0x2B)),
        ("teal", (0, 128, 128)),
        ("Firebrick", (178, 34, 34)),
        ("gray", (128,) * 3),
    ],
)
def test_a_colour_counts_by_its_hue_and_chroma(name, rgb):
    expected = rgb2lab(np.array(rgb) / 255.0)[1:]
    np.testing.assert_allclose(Hint(0, 0, name).ab, expected, atol=0.01)


def test_a_colour_may_be_given_in_ab_units():
    hint = Hint.from_ab(3, 4, np.float32([12.5, -8.0]), radius=2)
    assert (hint.x, hint.y, hint.ab, hint.radius) == (3.0, 4.0, (12.5, -8.0), 2.0)
    assert hint == Hint(3, 4, (12.5, -8.0), 2) and hash(hint) == hash(Hint(3, 4, (12.5, -8.0), 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 2, "greeen"), "There is no colour 'greeen': expected #rrggbb or a CSS name"),
        ((1, 2, "#12345"), "There is no colour '#12345'"),
        ((1, 2, (1, 2, 3)), r"a pair of numbers \(a, b\), received \(1, 2, 3\)"),
        ((1, 2, None), "The colour of a hint is .*, received None"),
        (("left", 2, "red"), "a number of pixels or a percentage such as 40%, received 'left'"),
        ((1, "x%", "red"), "received 'x%'"),
        ((1, None, "red"), "received None"),
        ((float("nan"), 2, "red"), "received nan"),
        ((10**400, 2, "red"), "received 1000"),
        ((1, 2, "red", 0), "radius of a hint is a number of pixels above 0, received 0"),
        ((1, 2, "red", "wide"), "received 'wide'"),
        ((1, 2, "red", None, -1), "time of a hint is a number of seconds, 0 or above, received -1"),
        ((1, 2, "red", None, True), "received True"),
    ],
)
def test_what_is_no_hint_is_refused(arguments, message):
    with pytest.raises(HintError, match=message):
        Hint(*arguments)


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (0, 0, (0, 0)), (639, 479, (479, 639)), ("0%", "100%", (479, 0)), ("50%", 12, (12, 319.5)),
        (639.4, -0.4, (0, 639)),  # still on the border's pixels
    ],
)  # fmt: skip
def test_places_are_pixels_or_percentages(x, y, expected):
    assert place(Hint(x, y, "red"), (480, 640)) == pytest.approx(expected)


@pytest.mark.parametrize(("x", "y"), [(900, 10), (640, 10), (10, 480), (-1, 10), ("101%", 10)])
def test_a_place_outside_the_photo_is_named_with_the_photos_size(x, y):
    expected = f"The hint {x},{y} lies outside the photo of 640 x 480 pixels"
    with pytest.raises(HintError, match=expected):
        place(Hint(x, y, "red"), (480, 640))


def test_a_hint_is_drawn_where_it_is_at_another_size():
    drawn = draw_hints([Hint.from_ab(29.5, 9.5, (64.0, -32.0), radius=10)], (100, 200), (10, 20))
    expected = np.zeros((10, 20, 3), "float32")
    expected[0:2, 2:4] = (64.0 / AB_SCALE, -32.0 / AB_SCALE, 1.0)
    np.testing.assert_allclose(drawn, expected)


@pytest.mark.parametrize("where", [(0, 0), (199, 99), (100, 50)])
def test_the_smallest_hint_is_a_pixel(where):
    drawn = draw_hints([Hint.from_ab(*where, (10.0, 20.0), radius=0.5)], (100, 200), (10, 20))
    assert drawn[..., 2].sum() == 1.0
    assert drawn[where[1] // 10, where[0] // 10, 2] == 1.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("120,88,#8c2f2b", Hint(120, 88, "#8c2f2b")),
        (" 40%, 55% ,green", Hint("40%", "55%", "green")),
        ("1.5,2,rgb(1, 2, 3)", Hint(1.5, 2, "rgb(1, 2, 3)")),
        ("1,2,teal@2.5", Hint(1, 2, "teal", time=2.5)),
    ],
)
def test_hints_of_a_command_line(text, expected):
    assert parse_hint(text) == expected


def test_a_second_that_is_none_is_refused():
    with pytest.raises(HintError, match="a number of seconds, such as @2.5, received @soon"):
        parse_hint("1,2,red@soon")


@pytest.mark.parametrize("text", ["", "120,88", "red"])
def test_a_text_of_fewer_parts_is_refused(text):
    with pytest.raises(HintError, match=f"A hint is X,Y,COLOUR, such as .*; received '{text}'"):
        parse_hint(text)


def test_hints_survive_a_file(tmp_path):
    hints = [
        Hint(120, 88.5, "#8c2f2b"),
        Hint("40%", 3, "teal", radius=12),
        Hint.from_ab(0, 0, (-20.25, 7.0), time=0.0),
    ]
    write_hints(tmp_path / "hints.json", hints)
    assert read_hints(tmp_path / "hints.json") == hints
    written = json.loads((tmp_path / "hints.json").read_text())["hints"]
    assert written[0] == {"x": 120.0, "y": 88.5, "color": "#8c2f2b"}
    assert written[2] == {"x": 0.0, "y": 0.0, "ab": [-20.25, 7.0], "time": 0.0}


def test_hints_that_cannot_be_written_are_named(tmp_path):
    with pytest.raises(HintError, match="cannot be written: No such file or directory"):
        write_hints(tmp_path / "none" / "hints.json", [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "neither JSON nor a PNG, WebP or TIFF"),
        ('{"hints": [', "neither JSON nor a PNG, WebP or TIFF"),
        ('{"hints": ' + 99_999 * "[", "neither JSON nor a PNG, WebP or TIFF"),
        ("[]", 'have no list "hints"'),
        ('{"hints": 3}', 'have no list "hints"'),
        ('{"hints": [7]}', "Hint 1 of '.*' is no object with x, y and color"),
        (
            '{"hints": [{"x": 1, "y": 2, "color": "red"}, {"x": 1, "color": "red"}]}',
            "Hint 2 of '.*' has no y",
        ),
        ('{"hints": [{"x": 1, "y": 2}]}', "Hint 1 of '.*' needs either a color or ab"),
        ('{"hints": [{"x": 1, "y": 2, "ab": [1, 2], "color": "red"}]}', "needs either a color or ab"),
        ('{"hints": [{"x": 1, "y": 2, "color": 7}]}', "has a color that is no text: 7"),
        ('{"hints": [{"x": 1, "y": 2, "color": "rad"}]}', "Hint 1 of '.*': There is no colour 'rad'"),
        ('{"hints": [{"x": 1, "y": 2, "ab": [1]}]}', r"a pair of numbers \(a, b\), received \[1\]"),
        ('{"hints": [{"x": 1, "y": 2, "color": "red", "radius": -1}]}', "above 0, received -1"),
        ('{"hints": [{"x": 1, "y": 2, "color": "red", "time": "x"}]}', "seconds, 0 or above, received 'x'"),
        ('{"hints": [{"x": 1, "y": 2, "color": "red", "frame": 9}]}', "number of a frame: say its .time."),
    ],
)
def test_a_file_that_holds_no_hints_is_refused_with_the_reason(tmp_path, text, message):
    path = tmp_path / "hints.json"
    path.write_text(text)
    with pytest.raises(HintError, match=message):
        read_hints(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(HintError, match="none.json' cannot be read: No such file or directory"):
        read_hints(tmp_path / "none.json")


def layer_of(size, *strokes):
    """A transparent layer, uint8 (H, W, 4), with rectangles: slices of rows and columns, and a colour."""
    layer = np.zeros((*size, 4), "uint8")
    for rows, columns, rgb in strokes:
        layer[rows, columns] = (*rgb, 255)
    return layer


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_scribbles_are_hints(tmp_path, suffix):
    path, rgb = tmp_path / f"strokes{suffix}", (140, 47, 43)
    layer = layer_of((96, 128), (slice(40, 44), slice(20, 60), rgb))
    Image.fromarray(layer).save(path, **({"lossless": True} if suffix == ".webp" else {}))
    hints = read_hints(path, (192, 256))
    assert len(hints) > 10
    for hint in hints:
        y, x = place(hint, (96, 128))
        assert 40 <= y <= 43 and 20 <= x <= 59
        np.testing.assert_allclose(hint.ab, rgb2lab(np.array(rgb) / 255.0)[1:], atol=0.5)


def test_a_damaged_picture_of_scribbles_is_named(tmp_path):
    path = tmp_path / "strokes.png"
    Image.fromarray(layer_of((40, 40), (slice(3, 9), slice(3, 9), (9, 9, 9)))).save(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(HintError, match="The hints cannot be read. The photo '.*strokes.png'"):
        read_hints(path)

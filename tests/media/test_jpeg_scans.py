"""Scans of JPEGs, against files that Pillow wrote and that were cut."""

import io

import numpy as np
import pytest
from PIL import Image

from nxap_color.errors import PhotoError
from nxap_color.media.photo_integrity import has_all_blocks, lengthen_scans
from nxap_color.media.photos import read_photo

KINDS = {
    "gray": ("L", {}),
    "colour": ("RGB", {}),
    "4:4:4": ("RGB", {"subsampling": 0}),
    "CMYK": ("CMYK", {}),
    "progressive": ("RGB", {"progressive": True}),
    "restarts": ("RGB", {"restart_marker_blocks": 7}),
    "own tables": ("L", {"optimize": True}),
}


def noise(height=61, width=75):
    return np.random.default_rng(5).integers(0, 256, (height, width, 4), dtype=np.uint8)


def jpeg_of(pixels, mode="RGB", **options):
    stream = io.BytesIO()
    Image.fromarray(pixels[..., :3]).convert(mode).save(stream, "JPEG", **options)
    return stream.getvalue()


def with_height(jpeg, height):
    """The same with another height in its head."""
    frame = next(start for start in range(len(jpeg)) if jpeg[start : start + 2] in (b"\xff\xc0", b"\xff\xc2"))
    return jpeg[: frame + 5] + height.to_bytes(2, "big") + jpeg[frame + 7 :]


def pixels_of(jpeg):
    with Image.open(io.BytesIO(jpeg)) as image:
        return np.asarray(image)


@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_with_too_few_rows_is_refused(kind):
    """It ends as it should, so that Pillow takes it for whole."""
    mode, options = KINDS[kind]
    jpeg = jpeg_of(noise(), mode, **options)
    assert read_photo(io.BytesIO(jpeg)).rgb.shape == (61, 75, 3)
    lying = with_height(jpeg, 96)
    assert pixels_of(lying).shape[0] == 96
    with pytest.raises(PhotoError, match="fewer rows of pixels than its head says"):
        read_photo(io.BytesIO(lying))


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"progressive"}))  # which only loses detail so
def test_a_jpeg_that_lost_the_end_of_its_data_is_refused(kind):
    mode, options = KINDS[kind]
    jpeg = jpeg_of(noise(), mode, **options)
    with pytest.raises(PhotoError, match="fewer rows of pixels than its head says"):
        read_photo(io.BytesIO(jpeg[: len(jpeg) * 2 // 3] + b"\xff\xd9"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", [127, 128, 129])
def test_a_whole_jpeg_may_be_gray_below(kind, level):
    mode, options = KINDS[kind]
    pixels = noise()
    pixels[20:] = level
    jpeg = jpeg_of(pixels, mode, **options)
    longer = lengthen_scans(jpeg)
    assert len(longer) > len(jpeg)
    np.testing.assert_array_equal(pixels_of(longer), pixels_of(jpeg))
    with Image.open(io.BytesIO(jpeg)) as image:
        assert has_all_blocks(jpeg, image)


def test_the_smallest_gray_jpeg_is_whole():
    assert (read_photo(io.BytesIO(jpeg_of(np.full((1, 1, 3), 128, np.uint8)))).rgb == 128).all()

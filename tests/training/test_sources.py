"""Where photos come from, and their split."""

import os
import socket
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from nxap_color.errors import PhotoError, UserError
from nxap_color.media.collections import folder_of, list_photos, own_name, read_listed
from nxap_color.media.photos import read_photo
from nxap_color.training.sources import find_tfds, load_photos, photos_of_builder


def names(dataset):
    return [name.decode() for name, _ in dataset.as_numpy_iterator()]


@pytest.fixture
def photo_zip(photo_folder, tmp_path):
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as file:
        for photo in photo_folder.rglob("*.jpg"):
            file.write(photo, photo.relative_to(photo_folder))
        file.writestr("readme.txt", "no photo")
        file.writestr("__MACOSX/._cat.jpg", "no photo either")
    return path


def test_a_folder_is_searched_recursively_for_every_format(photo_folder):
    for suffix in (".png", ".TIF", ".webp", ".bmp"):
        Image.new("RGB", (9, 9)).save(photo_folder / f"picture{suffix}")
    (photo_folder / "notes.txt").write_text("no photo")
    (photo_folder / "folder.jpg").mkdir()
    found = list_photos(photo_folder)
    assert len(found) == 12 + 4
    assert sum("more" in name for name in found) == 2


def test_a_zip_is_read_in_place(photo_zip, photo_folder):
    listed = list_photos(photo_zip)
    assert sorted(map(own_name, listed)) == sorted(
        str(path.relative_to(photo_folder)) for path in photo_folder.rglob("*.jpg")
    )
    for name in listed:
        original = read_photo(photo_folder / own_name(name))
        np.testing.assert_array_equal(read_listed(name).rgb, original.rgb)


def test_a_damaged_zip_is_named(photo_zip):
    content = photo_zip.read_bytes()
    at = content.index(b"PK\x01\x02")  # the list of members
    photo_zip.write_bytes(content[:at] + b"XX" + content[at + 2 :])
    with pytest.raises(ValueError, match="photos.zip is damaged"):
        list_photos(photo_zip)


def test_a_member_that_cannot_be_unpacked_is_an_unreadable_photo(photo_zip):
    name = list_photos(photo_zip)[0]
    content = bytearray(photo_zip.read_bytes())
    content[content.index(b"PK\x03\x04")] = 0  # the header of the first member
    photo_zip.write_bytes(content)
    broken = []
    for name in list_photos(photo_zip):
        try:
            read_listed(name)
        except PhotoError as error:
            broken.append(str(error))
    assert len(broken) == 1 and "cannot be unpacked" in broken[0]


def test_two_colons_in_the_name_of_a_folder_are_no_zip(photo_folder, tmp_path):
    odd = photo_folder.rename(tmp_path / "a::b")
    assert len(names(load_photos([odd], 0.3).validation)) > 0
    assert read_listed(list_photos(odd)[0]).rgb.size


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_name_that_is_no_utf_8_can_be_trained_on(photo_folder):
    odd = os.fsencode(photo_folder) + b"/caf\xe9.jpg"
    (photo_folder / "cat.jpg").rename(os.fsdecode(odd))
    photos = load_photos([photo_folder], 0.3)
    read = {bytes(name): rgb for part in (photos.train(0), photos.validation)
            for name, rgb in part.as_numpy_iterator()}  # fmt: skip
    assert read[odd].size


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no-such-folder", "There is no no-such-folder"),
        (__file__, "neither a folder, nor a zip, nor a photo"),
    ],
)
def test_a_source_that_is_none_is_named(source, message):
    with pytest.raises(UserError, match=message):
        load_photos([source])


def test_training_and_validation_are_disjoint_and_complete(photo_folder):
    photos = load_photos([photo_folder], 0.3, seed=1)
    train, validation = names(photos.train(0)), names(photos.validation)
    assert set(train) | set(validation) == set(list_photos(photo_folder))
    assert not set(train) & set(validation)
    assert (photos.num_train, photos.num_validation) == (len(train), len(validation))


def test_a_new_photo_moves_no_other_to_the_other_side(photo_folder):
    before = set(names(load_photos([photo_folder], 0.3).validation))
    Image.new("RGB", (9, 9)).save(photo_folder / "aaa.png")
    after = set(names(load_photos([photo_folder], 0.3).validation))
    assert {name for name in after if "aaa" not in name} == before


def test_the_seed_decides_split_and_order(photo_folder):
    first, same, other = (load_photos([photo_folder], 0.3, seed) for seed in (1, 1, 2))
    assert names(first.train(0)) == names(same.train(0))
    assert names(first.validation) == names(same.validation)
    assert set(names(first.validation)) != set(names(other.validation))


def test_every_epoch_has_its_own_order(photo_folder):
    photos = load_photos([photo_folder], 0.3)
    assert names(photos.train(0)) != names(photos.train(1))
    assert sorted(names(photos.train(0))) == sorted(names(photos.train(1)))


def folders_of(numbers, parent):
    """Folders of small photos: from name to how many."""
    for folder, number in numbers.items():
        (parent / folder).mkdir(parents=True)
        for index in range(number):
            Image.effect_noise((9, 9), 60).convert("RGB").save(parent / folder / f"{folder}{index}.png")


def test_shares_say_how_often_the_photos_of_sources_are_drawn(tmp_path):
    folders_of({"a": 8, "b": 60}, tmp_path)
    photos = load_photos([f"{tmp_path / 'a'}:3", f"{tmp_path / 'b'}:1"], 0.3)
    drawn, validation = names(photos.train(0)), names(photos.validation)
    from_a = sum(Path(name).parent.name == "a" for name in drawn)
    assert from_a == pytest.approx(0.75 * photos.num_train, abs=1)
    assert len(set(validation)) == len(validation) == photos.num_validation
    assert sorted(names(photos.everything)) == sorted(set(list_photos(tmp_path)))
    plain = load_photos([tmp_path / "a", tmp_path / "b"], 0.3)
    assert (plain.digest, names(plain.validation)) == (photos.digest, validation)


def test_balance_evens_out_folders_also_inside_zips(tmp_path):
    folders_of({"few": 6, "many": 60}, tmp_path / "photos")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as file:
        for photo in (tmp_path / "photos").rglob("*.png"):
            file.write(photo, photo.relative_to(tmp_path))
    for source in (tmp_path / "photos", tmp_path / "photos.zip"):
        photos = load_photos([source], 0.2, balance=1)
        few = sum("few" in Path(name).name for name in names(photos.train(0)))
        assert few == pytest.approx(0.5 * photos.num_train, abs=1)


@pytest.mark.parametrize(
    ("name", "folder"), [("a.jpg", "."), ("cats/a.jpg", "cats"), ("cats/tabby/a.jpg", "cats/tabby")]
)
def test_the_folder_of_a_photo_is_that_seen_from_its_source(photo_folder, tmp_path, name, folder):
    (tmp_path / "in" / name).parent.mkdir(parents=True)
    (photo_folder / "cat.jpg").rename(tmp_path / "in" / name)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.write(tmp_path / "in" / name, name)
    for source in (tmp_path / "in", tmp_path / "x.zip"):
        (listed,) = list_photos(source)
        assert folder_of(source, listed) == (str(source) if folder == "." else folder)
    assert folder_of(tmp_path / "in" / name, str(tmp_path / "in" / name)) == str(
        (tmp_path / "in" / name).parent
    )


def test_balance_needs_folders():
    with pytest.raises(UserError, match="evens out folders"):
        load_photos(["tfds:tf_flowers"], balance=0.5)


def test_the_digest_stands_for_the_files_not_for_where_they_lie(photo_folder, tmp_path):
    before = load_photos([photo_folder], 0.3).digest
    photo_folder.rename(tmp_path / "moved")
    assert load_photos([tmp_path / "moved"], 0.3).digest == before
    Image.new("RGB", (9, 9)).save(tmp_path / "moved" / "one-more.png")
    assert load_photos([tmp_path / "moved"], 0.3).digest != before


def test_too_few_photos_are_refused(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "only.png")
    with pytest.raises(UserError, match="1 photos give 1 to train and 0 to validate on"):
        load_photos([tmp_path])


def test_a_tensorflow_datasets_name_gives_photos():
    with tfds.testing.mock_data(num_examples=40):
        photos = photos_of_builder(tfds.builder("tf_flowers"), 0.25)
        train, again = names(photos.train(0)), names(photos.train(1))
        validation = names(photos.validation)
        rgb = next(photos.validation.as_numpy_iterator())[1]
    assert len(train) + len(validation) == 40 and not set(train) & set(validation)
    assert train != again and sorted(train) == sorted(again)
    assert rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.dtype == "uint8"


def test_a_folder_of_classes_works_through_tensorflow_datasets(photo_folder, tmp_path):
    classes = tmp_path / "classes" / "train"
    classes.mkdir(parents=True)
    photo_folder.rename(classes / "things")
    photos = photos_of_builder(tfds.folder_dataset.ImageFolder(str(tmp_path / "classes")), 0.3)
    assert len(names(photos.train(0))) == photos.num_train
    assert photos.num_train + photos.num_validation == 10  # it does not look into subfolders


def test_a_data_set_without_photos_is_refused():
    with tfds.testing.mock_data(num_examples=4), pytest.raises(UserError, match="has no colour photos"):
        photos_of_builder(tfds.builder("mnist"))


def test_an_unknown_data_set_is_named():
    with pytest.raises(UserError, match="has no data set no_such_set"):
        find_tfds("no_such_set")


def test_without_internet_a_data_set_fails_soon_and_says_what_to_do(monkeypatch, tmp_path):
    def unreachable(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    start = time.monotonic()
    with pytest.raises(UserError, match="no internet.*folder of your own photos"):
        find_tfds("tf_flowers")
    assert time.monotonic() - start < 10.0


def test_a_zip_with_ways_out_of_it_is_read_in_memory(photo_folder, tmp_path):
    """Members are read by name, and never unpacked."""
    jpeg = next(photo_folder.glob("*.jpg")).read_bytes()
    path = tmp_path / "in" / "evil.zip"
    path.parent.mkdir()
    names = ["../evil.jpg", "/nxap-evil.jpg", "..\\evil.jpg", "a/../../evil.jpg"]
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, jpeg)
    before = sorted(tmp_path.rglob("*"))
    assert all(read_listed(name).rgb.ndim == 3 for name in list_photos(path))
    assert sorted(tmp_path.rglob("*")) == before and not Path("/nxap-evil.jpg").exists()

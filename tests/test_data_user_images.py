"""The user's pictures: decoded whatever they are, counted and reported."""

from __future__ import annotations

import os
import struct
import unicodedata
import zlib
from functools import partial

import numpy as np
import pytest
from odd_images import CLASSES, odd_class, odd_folder, transparent, turned
from photographs import picture, prepared_of, save, save_classes
from PIL import Image

from benchharness.data import listing as listings
from benchharness.data.cats_dogs import cats_dogs
from benchharness.data.folder import flat, folder, image_files, require_alike, user_images
from benchharness.data.images import read_image, sample_channels
from benchharness.data.prepared import Prepared
from benchharness.errors import DatasetError
from benchharness.model.image_files import describe_conversions

# What a viewer does to show a picture that is stored in each of the ways.
SHOWN = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored.transpose(1, 0, 2), 2),
    8: np.rot90,
}


ready = partial(prepared_of, size=8, validation=0.2, seed=7)


def counts(prepared: Prepared) -> dict[str, int]:
    """Return how many images are of each kind."""
    return {kind: len(ids) for kind, ids in prepared.kinds.items()}


@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_turned_picture_is_set_upright(tmp_path, orientation, suffix):
    """As a viewer shows it, for each of the eight ways that EXIF knows."""
    stored = picture(seed=1, width=20, height=20)
    path = turned(stored, tmp_path / f"a.{suffix}", orientation)

    decoded = read_image(path, size=20, channels=3)

    assert np.array_equal(decoded.pixels, SHOWN[orientation](np.asarray(stored)))
    assert ("turned" in decoded.kinds) == (orientation != 1)


@pytest.mark.parametrize("suffix", ["jpg", "webp", "png", "tif"])
def test_a_turned_picture_is_resized_as_if_it_had_been_stored_upright(tmp_path, suffix):
    """The aspect ratio that is squeezed is that of the upright picture."""
    stored = picture(seed=2, width=40, height=16)
    path = turned(stored, tmp_path / f"a.{suffix}", 6)
    stored.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "upright.png")

    lying = read_image(path, size=10, channels=3).pixels.astype(int)
    upright = read_image(tmp_path / "upright.png", size=10, channels=3).pixels.astype(int)

    # What JPEG and WebP lose; a picture turned another way is 50 levels off.
    assert np.abs(lying - upright).mean() < 8


@pytest.mark.parametrize("note", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"])
def test_a_damaged_note_is_no_damage_of_the_picture(tmp_path, note):
    """What cannot be read about a picture leaves it as it is stored."""
    picture(seed=3).save(tmp_path / "plain.jpg")
    picture(seed=3).save(tmp_path / "noted.jpg", exif=note)

    noted = read_image(tmp_path / "noted.jpg", size=12, channels=3)

    assert np.array_equal(
        noted.pixels, read_image(tmp_path / "plain.jpg", size=12, channels=3).pixels
    )
    assert noted.kinds == ()


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_keeps_its_colours(tmp_path, suffix):
    """JPEGs as Adobe writes them, inverted, and TIFFs, which are not."""
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (20, 20), (200, 20, 20)).convert("CMYK").save(path)

    decoded = read_image(path, size=8, channels=3)

    assert (b"Adobe" in path.read_bytes()) == (suffix == "jpg")
    assert np.abs(decoded.pixels.astype(int) - (200, 20, 20)).max() < 12
    assert "cmyk" in decoded.kinds


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_transparent_is_put_on_white(tmp_path, mode, channels):
    """Black at the left, where nothing is opaque, would be a pixel that nobody sees."""
    transparent(4).convert(mode).save(tmp_path / "a.png")

    decoded = read_image(tmp_path / "a.png", size=20, channels=channels)

    assert (decoded.pixels[:, 0] > 240).all()
    assert "transparent" in decoded.kinds


def test_a_transparent_colour_of_a_palette_is_white(tmp_path):
    """GIFs and PNGs of few colours make one of them transparent."""
    flags = Image.new("P", (8, 8), 1)
    flags.putpalette([0, 0, 0, 250, 0, 0])
    flags.paste(0, (0, 0, 4, 8))
    flags.save(tmp_path / "a.png", transparency=0)

    decoded = read_image(tmp_path / "a.png", size=8, channels=3)

    assert (decoded.pixels[:, :4] == 255).all()
    assert (decoded.pixels[:, 4:] == (250, 0, 0)).all()
    assert decoded.kinds == ("PNG", "transparent")


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_and_reported(tmp_path, suffix):
    """The upper eight bits are kept."""
    ramp = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / f"deep.{suffix}")

    decoded = read_image(tmp_path / f"deep.{suffix}", size=16, channels=1)

    assert np.array_equal(decoded.pixels.ravel(), np.arange(256))
    assert "deep" in decoded.kinds


@pytest.mark.parametrize(
    ("mode", "options", "kinds"),
    [
        ("RGBA", {"format": "PNG"}, ("misnamed", "PNG")),
        ("RGB", {"format": "WEBP"}, ("misnamed", "WEBP")),
        ("RGB", {"format": "MPO", "save_all": True, "append_images": [picture(seed=7)]}, ()),
    ],
)
def test_the_content_of_a_file_counts_and_not_its_name(tmp_path, mode, options, kinds):
    """An opaque fourth channel hides nothing; a second view of telephones is no animation."""
    picture(seed=8).convert(mode).save(tmp_path / "a.jpg", **options)

    assert read_image(tmp_path / "a.jpg", size=8, channels=3).kinds == kinds


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("{}/a/1.jpg", r"two class folders, found cats; .*/cats, name"),
        ("IMG {}.jpg", "put the images of each class into a folder"),
    ],
)
def test_a_folder_without_classes_is_refused_with_a_remedy(tmp_path, file, message):
    """The folder that was perhaps meant is named, or a folder for each class."""
    save(tmp_path / file.format("cats"), seed=1)
    save(tmp_path / file.format("cats").replace("/a/", "/b/"), seed=1)

    with pytest.raises(DatasetError, match=message):
        user_images(tmp_path, seed=7)


def test_sixteen_bits_a_colour_are_reported_too(tmp_path):
    """Pillow opens such a PNG as if it had eight."""
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" + struct.pack(">6H", *(value * 257 for value in range(6))))
    chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    (tmp_path / "a.png").write_bytes(content)

    decoded = read_image(tmp_path / "a.png", size=2, channels=3)

    assert decoded.pixels[0].ravel().tolist() == list(range(6))
    assert "deep" in decoded.kinds


@pytest.mark.parametrize("suffix", ["gif", "webp", "tif"])
def test_of_several_pictures_the_first_counts(tmp_path, suffix):
    """An animation is reported."""
    first, second = Image.new("RGB", (9, 9), "red"), Image.new("RGB", (9, 9), "blue")
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=[second])

    decoded = read_image(tmp_path / f"a.{suffix}", size=9, channels=3)

    assert (decoded.pixels[..., 0] > 240).all()
    assert "moving" in decoded.kinds


def test_one_picture_in_colour_among_many_grey_ones_is_found(tmp_path):
    """A sample alone would miss it, and its colour would be lost."""
    paths = [save(tmp_path / f"{number}.png", seed=number, mode="L") for number in range(70)]
    paths[1] = save(tmp_path / "colour.png", seed=99)

    assert sample_channels(paths) == 3


def test_what_was_converted_is_counted_and_kept_with_the_images(tmp_path):
    """A run from the cache says the same."""
    expected = odd_class(tmp_path / "data/a", seed=0)
    odd_class(tmp_path / "data/b", seed=50)

    built = ready(user_images(tmp_path / "data", seed=7), tmp_path / "cache")
    cached = ready(user_images(tmp_path / "data", seed=7), tmp_path / "cache")

    assert built.seconds > 0 == cached.seconds
    assert counts(built) == {kind: 2 * count for kind, count in expected.items()}
    assert cached.kinds == built.kinds


def test_conversions_are_described_in_words():
    """Counts first, conversions before formats."""
    words = describe_conversions({"PNG": 1200, "turned": 2, "cmyk": 3})

    assert words == "3 CMYK, 2 rotated by EXIF, 1,200 PNG"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("for print.jpg", "CMYK"),
        ("clair é.png", "with transparency"),
        ("IMG 10.JPG", "rotated by EXIF"),
        ("deep.png", "16 bits"),
    ],
)
def test_loaders_get_no_file_that_they_decode_in_another_way(tmp_path, name, reason):
    """The file is named, what is odd about it, and the way out."""
    for label in ("a", "b"):
        odd_class(tmp_path / "odd" / label, seed=0)
        for number in range(3):
            save(tmp_path / "data" / label / f"{number}.jpg", seed=number)
    os.link(tmp_path / "odd/a" / name, tmp_path / "data/a" / name)
    listing = folder(tmp_path / "data")
    prepared = ready(listing, tmp_path / "cache")

    with pytest.raises(DatasetError, match=rf'{name}: .*{reason}.*set input = "prepared"'):
        require_alike(image_files(listing), prepared)


def test_loaders_get_plain_files_in_colour_and_grey(tmp_path):
    """JPEG and PNG, upright and opaque."""
    for label in ("a", "b"):
        save(tmp_path / label / "1.jpg", seed=1)
        save(tmp_path / label / "2.png", seed=2)
        save(tmp_path / label / "3.jpg", seed=3, mode="L")
    listing = folder(tmp_path)

    require_alike(image_files(listing), ready(listing, tmp_path / "cache", validation=0.0))


def test_classes_of_any_name_are_read_and_the_rest_is_counted(tmp_path):
    """The dataset is called by its folder; what is passed over is said."""
    listing = user_images(odd_folder(tmp_path / "Mes [photos]"), seed=7)

    assert listing.title == "Mes [photos]"
    assert listing.classes == CLASSES
    assert (len(listing.train), len(listing.test)) == (24, 6)
    assert listing.notes == (
        "not read: 1 picture hidden or made by the system: . (1)",
        "not read: 1 picture to be converted to JPEG or PNG: HEIC (1)",
        "not read: files that are no pictures: .txt (1)",
    )
    assert listing.is_own


def test_an_accent_written_in_two_ways_is_one_class(tmp_path):
    """Archives from a Mac take accents apart; the labels of both splits agree all the same."""
    for form, split in (("NFC", "train"), ("NFD", "test")):
        for name in ("été", "etz"):
            save(tmp_path / split / unicodedata.normalize(form, name) / f"{name}.jpg", seed=1)

    listing = user_images(tmp_path, seed=7)

    assert listing.classes == ("etz", unicodedata.normalize("NFC", "été"))
    for examples in (listing.train, listing.test):
        assert [examples.name(index).rsplit("/", 1)[1] for index in examples.labels] == [
            "etz.jpg",
            "été.jpg",
        ]


def test_names_that_are_no_text_are_shown_as_far_as_they_are(tmp_path):
    """A folder from an old disk, with bytes that are no UTF-8, and one with a newline."""
    odd, line = os.fsdecode(b"caf\xe9"), "two\nlines"
    for name in (odd, line):
        for number in range(5):
            save(tmp_path / "data" / name / f"{number}.jpg", seed=number)
    (tmp_path / "data" / odd / "0.jpg").write_bytes(b"broken")

    listing = user_images(tmp_path / "data", seed=7)
    prepared = ready(listing, tmp_path / "cache", on_bad_image="skip")

    assert prepared.classes == ("caf\ufffd", "two\ufffdlines")
    assert prepared.skipped == (str(tmp_path / "data" / "caf\ufffd" / "0.jpg"),)


def test_files_named_by_class_are_own_pictures_too(tmp_path):
    """Where there are no folders, the names tell."""
    for number in range(7):
        save(tmp_path / f"bird.{number}.jpg", seed=number)
        save(tmp_path / f"frog.{number}.jpg", seed=number)

    listing = user_images(tmp_path, seed=7)

    assert listing.classes == ("bird", "frog")
    assert (len(listing.train), len(listing.test)) == (10, 4)
    assert listing.notes == ()
    assert len(flat(tmp_path).train) == 10


def test_a_small_class_gives_what_it_has(tmp_path):
    """Own pictures are never too few for a limit; the others keep to their shares."""
    for label, count in (("a", 20), ("b", 20), ("c", 5)):
        for number in range(count):
            save(tmp_path / label / f"{number}.jpg", seed=number)

    chosen = user_images(tmp_path, seed=7).first(train=30, test=None)

    assert np.bincount(chosen.train.labels).tolist() == [10, 10, 4]


def test_guessing_is_measured_by_the_largest_class(tmp_path):
    """Of 4 + 1 test images, the class that training has most of makes four fifths."""
    for split, label, count in (
        ("train", "a", 6),
        ("train", "b", 2),
        ("test", "a", 4),
        ("test", "b", 1),
    ):
        for number in range(count):
            save(tmp_path / "data" / split / label / f"{number}.jpg", seed=number)

    prepared = ready(user_images(tmp_path / "data", seed=7), tmp_path / "cache")

    assert prepared.majority_share == pytest.approx(0.8)


def test_cats_and_dogs_in_colour_are_the_dataset_that_they_were(tmp_path, monkeypatch):
    """Digest and splits are those of version 0.1.0, but for the name of the decoder."""
    for split, count in (("train", 5), ("test", 2)):
        for shift, name in enumerate(("cats", "dogs")):
            for number in range(count):
                y, x = np.mgrid[:12, :17]
                waves = [x * (3 + number) % 256, y * 5 * (1 + shift) % 256, (x * y + number) % 256]
                path = tmp_path / split / name / f"{number}.bmp"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8)).save(path)
    monkeypatch.setattr(listings, "DECODER", "pillow-bilinear-antialias-1")

    prepared = ready(
        cats_dogs(tmp_path), tmp_path / "cache", train_images=8, test_images=4, validation=0.25
    )

    assert prepared.digest == "2ed079c282c11da8050e6c1ff830246085e2c7beaf8be54bf0c292ef7bdaad41"
    assert prepared.splits["train"].tolist() == [0, 2, 3, 5, 6, 7]
    assert prepared.splits["validation"].tolist() == [1, 4]


def test_photographs_of_cats_and_dogs_need_no_conversion(tmp_path):
    """Nothing is said where nothing was done."""
    listing = cats_dogs(save_classes(tmp_path / "data", train=4, test=2))

    assert ready(listing, tmp_path / "cache").kinds == {}

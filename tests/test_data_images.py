"""The decoder."""

from __future__ import annotations

import hashlib
import io
import re
import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from photographs import picture, save
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from benchharness.data import images
from benchharness.data.images import sample_channels
from benchharness.data.tree import pictures_in
from benchharness.errors import DatasetError

_PNG = b"\x89PNG\r\n\x1a\n"


def read_image(path, **shape):
    """Return the pixels of a file."""
    return images.read_image(path, **shape).pixels


def resize_array(array, **shape):
    """Return the pixels of a resized array."""
    return images.resize_array(array, **shape).pixels


def test_an_image_of_the_wanted_size_keeps_its_pixels(tmp_path):
    """Nothing is interpolated where nothing needs to be."""
    original = picture(seed=2, width=16, height=16)
    original.save(tmp_path / "a.png")

    pixels = read_image(tmp_path / "a.png", size=16, channels=3)

    assert np.array_equal(pixels, np.asarray(original))


def test_pixels_are_the_same_as_ever(tmp_path):
    """Dataset identities rest on these bytes; if they change, DECODER has to change too."""
    y, x = np.mgrid[:50, :70]
    waves = np.stack([x * 3 % 256, y * 5 % 256, (x * y) % 256], axis=-1).astype(np.uint8)
    Image.fromarray(waves).save(tmp_path / "a.png")

    pixels = read_image(tmp_path / "a.png", size=20, channels=3)

    assert hashlib.sha256(pixels.tobytes()).hexdigest()[:16] == "4fd0656ea6e87eaa"


def test_shrinking_averages_instead_of_picking(tmp_path):
    """A fine black-and-white board becomes grey: resizing is antialiased."""
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "board.png")

    pixels = read_image(tmp_path / "board.png", size=8, channels=1)

    assert np.abs(pixels.astype(int) - 127).max() <= 2


def test_the_picture_is_squeezed_not_cropped(tmp_path):
    """A red left third stays a third of the width."""
    wide = np.zeros((10, 90, 3), dtype=np.uint8)
    wide[:, :30, 0] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")

    pixels = read_image(tmp_path / "wide.png", size=30, channels=3)

    assert (pixels[:, :9, 0] == 255).all()
    assert (pixels[:, 11:, 0] == 0).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "LA"])
def test_every_mode_becomes_a_square_of_rgb_pixels(tmp_path, mode):
    """Grey, palette and transparent pictures of any shape are read like any other."""
    picture(seed=3, width=61, height=33).convert(mode).save(tmp_path / "a.png")

    pixels = read_image(tmp_path / "a.png", size=12, channels=3)

    assert (pixels.shape, pixels.dtype) == ((12, 12, 3), np.uint8)


def bomb() -> bytes:
    """Return the header of a PNG of 900 million pixels."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return _PNG + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def half() -> bytes:
    """Return half of a JPEG."""
    buffer = io.BytesIO()
    picture(seed=5, width=200, height=200).save(buffer, "JPEG")
    return buffer.getvalue()[: buffer.tell() // 2]


def big() -> bytes:
    """Return a PNG of a size that Pillow itself would only warn about."""
    buffer = io.BytesIO()
    Image.new("1", (10_000, 9_100)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda: b"this is not a picture", "none of JPEG"),
        (lambda: b"", "an empty file"),
        (bomb, "found"),
        (half, "truncated"),
        (big, "more than 89000000"),
        (None, "No such file"),
    ],
)
def test_what_is_no_whole_image_is_refused_by_name(tmp_path, content, reason):
    """The error says what was found and what to do; nothing is silently completed with grey."""
    if content is not None:
        (tmp_path / "bad.jpg").write_bytes(content())

    with pytest.raises(DatasetError, match=rf"bad\.jpg: .*image.*{reason}.*on_bad_image"):
        read_image(tmp_path / "bad.jpg", size=8, channels=3)


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_damage_is_a_dataset_error_or_a_picture(tmp_path, data):
    """Whatever happens to the bytes, nothing but pixels or DatasetError comes back."""
    suffix = data.draw(st.sampled_from(["jpg", "png", "gif", "bmp", "tif", "webp"]))
    path = save(tmp_path / f"a.{suffix}", seed=6)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))

    try:
        pixels = read_image(path, size=8, channels=3)
    except DatasetError:
        return

    assert pixels.shape == (8, 8, 3)


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1), (28, 28, 3)])
def test_arrays_are_resized_like_files(tmp_path, shape):
    """The same pixels give the same result from an array and from a lossless file."""
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(array.squeeze()).save(tmp_path / "a.png")

    pixels = resize_array(array, size=16, channels=3)

    assert np.array_equal(pixels, read_image(tmp_path / "a.png", size=16, channels=3))


def test_channels_are_one_only_if_every_sample_is_grey(tmp_path):
    """One picture in colour makes the dataset colour; a damaged one has no say."""
    grey = [save(tmp_path / f"{i}.png", seed=i, mode="L") for i in range(3)]
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no")
    colour = save(tmp_path / "colour.png", seed=9)

    assert sample_channels([*grey, bad]) == 1
    assert sample_channels([*grey, colour]) == 3
    assert sample_channels([bad]) == 3


@pytest.mark.parametrize("kind", ["text", "compressed", "international", "profile"])
def test_a_long_text_does_not_cost_the_picture(tmp_path, kind):
    """Two megabytes in a PNG, before its pixels; Pillow alone refuses what is packed."""
    note, image = "x" * 2_000_000, picture(seed=4)
    info = PngInfo()
    if kind == "international":
        info.add_itxt("Comment", note, zip=True)
    elif kind != "profile":
        info.add_text("Comment", note, zip=kind == "compressed")
    icc = {"icc_profile": note.encode()} if kind == "profile" else {}
    image.save(tmp_path / "noted.png", pnginfo=info, **icc)
    image.save(tmp_path / "plain.png")

    noted = read_image(tmp_path / "noted.png", size=12, channels=3)

    assert np.array_equal(noted, read_image(tmp_path / "plain.png", size=12, channels=3))
    assert sample_channels([tmp_path / "noted.png"]) == 3


def test_a_short_note_beside_a_long_text_still_turns_the_picture(tmp_path):
    """Only what is too long is passed over."""
    info, exif = PngInfo(), Image.Exif()
    info.add_text("Comment", "x" * 2_000_000, zip=True)
    exif[0x0112] = 6
    picture(seed=4).save(tmp_path / "a.png", pnginfo=info, exif=exif)

    assert "turned" in images.read_image(tmp_path / "a.png", size=12, channels=3).kinds


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JFIF", ".pjpeg"])
def test_jpegs_have_more_names_than_one(tmp_path, suffix):
    """As browsers and older systems write them; they are not called misnamed."""
    path = tmp_path / f"a{suffix}"
    picture(seed=5).save(path, "JPEG")

    assert pictures_in(tmp_path) == [path]
    assert images.read_image(path, size=8, channels=3).kinds == ()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "found: HEIC"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "found: AVIF"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>404</html>", "found: an HTML page"),
        (b"<HTML><body>", "found: an HTML page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n",
            "found: a Git LFS pointer, run `git lfs pull`",
        ),
        (b"%PDF-1.7", "found: PDF"),
        (b"a note", "found: none of JPEG, PNG"),
    ],
)
def test_what_is_no_picture_is_called_what_it_is(tmp_path, content, reason):
    """The name says JPEG; the first bytes know better."""
    (tmp_path / "a.jpg").write_bytes(content)

    with pytest.raises(DatasetError, match=re.escape(reason)):
        read_image(tmp_path / "a.jpg", size=8, channels=3)

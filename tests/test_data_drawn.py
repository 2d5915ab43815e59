"""Drawn cats and dogs, told apart by shapes alone, and the zoo of vgg_mini's training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from zoo import KINDS, draw_kind

from benchharness.data.drawn import draw, write_drawn

Pixels = NDArray[np.float64]
Labels = NDArray[np.int64]
Thumbnails = dict[str, tuple[Pixels, Labels]]
TRAIN, TEST = 401, 301


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with TRAIN and TEST pictures."""
    folder = tmp_path_factory.mktemp("drawn")
    write_drawn(folder, train=TRAIN, test=TEST, seed=7)
    return folder


@pytest.fixture(scope="module")
def thumbnails(drawn: Path) -> Thumbnails:
    """Return per split the pictures at 32 x 32, 0-1, and their labels."""
    return {split: _thumbnails(drawn / split) for split in ("train", "test")}


def test_a_seed_repeats_every_byte(tmp_path: Path) -> None:
    """Two folders written with one seed hold the same files."""
    for name in ("first", "second"):
        write_drawn(tmp_path / name, train=8, test=4, seed=3)

    assert _contents(tmp_path / "first") == _contents(tmp_path / "second")


def test_another_seed_draws_other_pictures(tmp_path: Path) -> None:
    """No picture is common to two seeds."""
    for seed in (3, 4):
        write_drawn(tmp_path / str(seed), train=8, test=4, seed=seed)

    first, second = (set(_contents(tmp_path / name).values()) for name in ("3", "4"))
    assert not first & second


def test_more_pictures_leave_the_first_ones_alone(tmp_path: Path) -> None:
    """A picture depends on seed, split, class and index, not on how many are asked for."""
    write_drawn(tmp_path / "few", train=4, test=2, seed=3)
    write_drawn(tmp_path / "many", train=9, test=6, seed=3)

    assert _contents(tmp_path / "few").items() <= _contents(tmp_path / "many").items()


def test_cats_get_the_odd_picture(drawn: Path) -> None:
    """Totals are shared between two class folders per split, numbered from 0."""
    found = {home: len(list((drawn / home).iterdir())) for home in _homes()}

    assert found == {"train/cats": 201, "train/dogs": 200, "test/cats": 151, "test/dogs": 150}
    assert (drawn / "train/cats/cat.200.jpg").is_file()
    assert (drawn / "test/dogs/dog.149.jpg").is_file()


def test_no_picture_comes_twice(drawn: Path) -> None:
    """Training and test pictures are disjoint, and so are the classes."""
    assert len(set(_contents(drawn).values())) == TRAIN + TEST


def test_files_are_rgb_jpegs_of_many_sizes_and_qualities(drawn: Path) -> None:
    """Sides run from 160 to 420 pixels, upright and level, at several compressions."""
    sizes, tables = set(), set()
    for path in drawn.rglob("*.jpg"):
        with Image.open(path) as picture:
            assert isinstance(picture, JpegImageFile)
            assert picture.mode == "RGB"
            picture.load()
            sizes.add(picture.size)
            tables.add(tuple(picture.quantization[0]))

    sides = [side for size in sizes for side in size]
    ratios = [width / height for width, height in sizes]
    assert 160 <= min(sides) < 180 and 400 < max(sides) <= 420
    assert min(ratios) < 0.75 and max(ratios) > 1.33
    assert len(sizes) > 300 and len(tables) > 20


def test_classes_share_their_light(thumbnails: Thumbnails) -> None:
    """A threshold on the mean or the contrast of any band guesses little better than chance."""
    images, labels = (np.concatenate(parts) for parts in zip(*thumbnails.values(), strict=True))
    statistics = np.concatenate([images.mean((1, 2)), images.std((1, 2))], axis=1)

    cats, dogs = statistics[labels == 0].mean(0), statistics[labels == 1].mean(0)
    nearer_to_dogs = np.abs(statistics - dogs) < np.abs(statistics - cats)
    assert (nearer_to_dogs == labels[:, None]).mean(0).max() < 0.6


def test_colour_histograms_say_nothing(thumbnails: Thumbnails) -> None:
    """A linear classifier on 64 colour bins stays near chance."""
    assert _ridge_top1(thumbnails, _histograms) < 0.6


def test_a_linear_classifier_on_pixels_stays_weak(thumbnails: Thumbnails) -> None:
    """No template of single pixels tells the classes apart."""
    assert _ridge_top1(thumbnails, lambda images: images.reshape(len(images), -1)) < 0.65


def test_the_label_changes_the_picture() -> None:
    """With equal chance, a cat and a dog are different pictures."""
    cat, dog = (draw(label, np.random.default_rng(5)) for label in (0, 1))

    assert cat.mode == dog.mode == "RGB"
    assert cat.size == dog.size
    assert np.abs(np.asarray(cat, np.int16) - np.asarray(dog, np.int16)).mean() > 5


def _homes() -> list[str]:
    return [f"{split}/{name}" for split in ("train", "test") for name in ("cats", "dogs")]


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.jpg")}


def _thumbnails(folder: Path) -> tuple[Pixels, Labels]:
    paths = sorted(folder.rglob("*.jpg"))
    images = [Image.open(path).resize((32, 32), Image.Resampling.BILINEAR) for path in paths]
    labels = [path.parent.name == "dogs" for path in paths]
    return np.stack([np.asarray(i) for i in images]) / 255.0, np.array(labels, dtype=np.int64)


def _histograms(images: Pixels) -> Pixels:
    bins = (images * 3.999).astype(np.int64) @ np.array([16, 4, 1])
    return np.stack([np.bincount(b.ravel(), minlength=64) for b in bins]) / 1024.0


def _ridge_top1(thumbnails: Thumbnails, features: Callable[[Pixels], Pixels]) -> float:
    """Return the best test accuracy of ridge classifiers over a range of penalties."""
    (images, labels), (test_images, test_labels) = thumbnails["train"], thumbnails["test"]
    x, test_x = features(images), features(test_images)
    mean, std = x.mean(0), x.std(0) + 1e-3
    x, test_x = (x - mean) / std, (test_x - mean) / std
    kernel, cross = x @ x.T, test_x @ x.T
    accuracies = []
    for penalty in (1e1, 1e2, 1e3, 1e4, 1e5):
        dual = np.linalg.solve(kernel + penalty * np.eye(len(x)), 2.0 * labels - 1.0)
        accuracies.append(((cross @ dual > 0) == test_labels).mean())
    return float(max(accuracies))


def test_there_are_many_kinds_and_neither_cats_nor_dogs():
    """What is learnt beforehand is not what the suites ask for."""
    assert 20 <= len(KINDS) <= 32
    assert not {"cat", "cats", "dog", "dogs", "kitten", "puppy", "wolf"} & set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_is_drawn_alike_from_one_seed_and_otherwise_from_another(name: str):
    """A picture is RGB with sides of 160 to 420 pixels, and its seed repeats every pixel."""
    first, again, other = (draw_kind(name, np.random.default_rng(seed)) for seed in (3, 3, 4))

    assert first.mode == "RGB"
    assert min(first.size) >= 160 and max(first.size) <= 420
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_can_be_drawn_in_all_its_poses(name: str):
    """Whatever is drawn has outlines of finite points, and a size."""
    for seed in range(24):
        low, high = KINDS[name](np.random.default_rng(seed)).bounds()

        assert np.isfinite([low, high]).all()
        assert high.real > low.real and high.imag > low.imag


def test_each_kind_is_a_picture_of_its_own():
    """With equal chance, all kinds differ."""
    pictures = {draw_kind(name, np.random.default_rng(5)).tobytes() for name in KINDS}

    assert len(pictures) == len(KINDS)


def test_an_unknown_kind_is_refused():
    """The message says what can be drawn."""
    with pytest.raises(ValueError, match=r"expected one of bear, .*, found cat"):
        draw_kind("cat", np.random.default_rng(5))

"""Finding a dataset by name."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest
from photographs import save, save_classes

from benchharness.data.sources import SOURCES, find
from benchharness.errors import DatasetError
from benchharness.files import atomic_dir


def look(name, tmp_path, **options):
    """Find a source with everything else at rest."""
    given = {
        "path": None, "environment": {}, "cache_dir": tmp_path / "cache", "train_images": None,
        "test_images": None, "seed": 0, "fallback": None,
    }  # fmt: skip
    return find(name, **{**given, **options})


@pytest.fixture
def drawing(monkeypatch):
    """Replace the drawing program by a quick one; gives the list of its calls."""
    calls = []

    def write(folder, *, train, test, seed, progress=None):
        calls.append((train, test, seed))
        save_classes(folder, train=train // 2, test=test // 2, seed=seed)

    monkeypatch.setattr("benchharness.data.drawn.write_drawn", write)
    return calls


def test_listing_the_sources_needs_neither_numpy_nor_pillow():
    """Start-up stays quick: the names come without the libraries."""
    code = (
        "import sys; from benchharness.data.sources import names; "
        "assert len(names()) == 5; print([m for m in ('numpy', 'PIL') if m in sys.modules])"
    )

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert result.stdout.strip() == "[]", result.stderr


def test_every_source_has_a_line_about_itself():
    """One line, for ``list``."""
    assert set(SOURCES) == {"folder", "flat", "cats_dogs", "fashion_mnist", "drawn"}
    assert all(info.description and "\n" not in info.description for info in SOURCES.values())


def test_a_path_wins_over_the_environment(tmp_path):
    """What the user names is what is read."""
    mine = save_classes(tmp_path / "mine", train=2, test=1)
    other = save_classes(tmp_path / "other", train=3, test=1)

    listing = look("cats_dogs", tmp_path, path=mine, environment={"BENCHHARNESS_DATA": str(other)})

    assert len(listing.train) == 4


@pytest.mark.parametrize("below", [".", "cats_dogs"])
def test_the_environment_names_the_folder_or_its_parent(tmp_path, below):
    """$BENCHHARNESS_DATA itself first, then the source's name below it."""
    save_classes(tmp_path / "data" / below, train=2, test=1)

    listing = look("cats_dogs", tmp_path, environment={"BENCHHARNESS_DATA": str(tmp_path / "data")})

    assert listing.name == "cats_dogs"
    assert listing.place == tmp_path / "data" / below


def test_a_path_may_be_the_parent_too(tmp_path):
    """--data may name the folder that holds all datasets."""
    save_classes(tmp_path / "data" / "cats_dogs", train=2, test=1)

    assert len(look("cats_dogs", tmp_path, path=tmp_path / "data").train) == 4


def test_a_missing_path_is_never_a_fallback(tmp_path, drawing):
    """Who names a folder means it."""
    with pytest.raises(DatasetError, match="nowhere: expected a folder with the dataset cats_dogs"):
        look("cats_dogs", tmp_path, path=tmp_path / "nowhere", fallback="drawn")

    assert not drawing


def test_a_path_that_holds_something_else_is_never_a_fallback(tmp_path, drawing):
    """A folder that is there but holds no cats and dogs is an error."""
    with pytest.raises(DatasetError, match="expected the classes cats and dogs"):
        look("cats_dogs", tmp_path, path=tmp_path, fallback="drawn")

    assert not drawing


def test_nothing_found_is_an_error_with_places_and_remedy(tmp_path):
    """The message lists where it looked."""
    with pytest.raises(DatasetError, match=rf"looked in {tmp_path}/empty.*--data DIR"):
        look("cats_dogs", tmp_path, environment={"BENCHHARNESS_DATA": str(tmp_path / "empty")})


def test_the_fallback_says_that_it_is_one(tmp_path, drawing):
    """Drawn pictures carry their own name, are not real, and tell what they stand in for."""
    listing = look("cats_dogs", tmp_path, fallback="drawn", train_images=4, test_images=2)

    assert (listing.name, listing.is_real) == ("drawn", False)
    assert "no photographs" in listing.origin
    assert "in place of cats_dogs, not found (looked in no folder" in listing.origin
    assert (len(listing.train), len(listing.test)) == (4, 2)


def test_pictures_are_drawn_once(tmp_path, drawing):
    """The second run finds them; another seed or count draws anew."""
    for seed, train in ((0, 4), (0, 4), (1, 4), (0, 6)):
        look("drawn", tmp_path, train_images=train, test_images=2, seed=seed)

    assert drawing == [(4, 2, 0), (4, 2, 1), (6, 2, 0)]


def test_our_manifest_beside_drawn_pictures_is_no_note(tmp_path, drawing):
    """Their manifest is no news."""
    assert look("drawn", tmp_path, train_images=4, test_images=2).notes == ()


def test_drawn_pictures_number_2000_and_800_unless_asked(tmp_path, monkeypatch):
    """The tutorial's counts; one picture stands for the rest here."""
    calls = []

    def write(folder, *, train, test, seed, progress=None):
        calls.append((train, test))
        save_classes(folder, train=1, test=1)

    monkeypatch.setattr("benchharness.data.drawn.write_drawn", write)

    look("drawn", tmp_path)

    assert calls == [(2000, 800)]


def test_drawing_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    """A full disk is a DatasetError, and the next run starts afresh."""

    def write(folder, *, train, test, seed, progress=None):
        (folder / "train").mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("benchharness.data.drawn.write_drawn", write)

    with pytest.raises(DatasetError, match="No space left"):
        look("drawn", tmp_path)

    assert list((tmp_path / "cache" / "drawn").iterdir()) == []


def test_drawn_takes_no_folder(tmp_path):
    """Images of one's own are another source."""
    with pytest.raises(DatasetError, match='source = "folder"'):
        look("drawn", tmp_path, path=tmp_path)


def test_flat_counts_are_shared_among_the_classes(tmp_path):
    """Four training and two test images in all are the first two and the next one of each."""
    for name in ("a", "b"):
        for number in range(9):
            save(tmp_path / "data" / f"{name}.{number}.png", seed=number)

    listing = look("flat", tmp_path, path=tmp_path / "data", train_images=4, test_images=2)

    assert [listing.test.name(i)[-7:] for i in range(2)] == ["a.2.png", "b.2.png"]


def test_builders_of_one_folder_do_not_disturb_each_other(tmp_path):
    """Four builders at once: the folder is whole, and nothing is left beside it."""
    target = tmp_path / "cache" / "entry"
    together = threading.Barrier(4)

    def build():
        with atomic_dir(target) as folder:
            together.wait()
            (folder / "a").write_text("whole")

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [path.name for path in target.parent.iterdir()] == ["entry"]
    assert (target / "a").read_text() == "whole"


def test_what_a_killed_builder_left_is_swept_after_a_day(tmp_path):
    """Old leftovers go; those of a builder still at work stay."""
    old, fresh = tmp_path / ".entry-1-aa", tmp_path / ".entry-2-bb"
    old.mkdir()
    fresh.mkdir()
    os.utime(old, (time.time() - 100_000,) * 2)

    with atomic_dir(tmp_path / "entry"):
        pass

    assert sorted(path.name for path in tmp_path.iterdir()) == [".entry-2-bb", "entry"]


def test_a_folder_of_datasets_is_no_dataset(tmp_path, drawing):
    """BENCHHARNESS_DATA may hold several, which are no classes of one."""
    for dataset in ("pets", "cars"):
        save_classes(tmp_path / "data" / dataset / "train", train=2, test=0)
    environment = {"BENCHHARNESS_DATA": str(tmp_path / "data")}

    listing = look("folder", tmp_path, environment=environment, fallback="drawn", train_images=4)

    assert not listing.is_real
    assert drawing

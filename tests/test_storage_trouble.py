"""Full, read-only and missing disks: said in a sentence, and nothing torn."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from photographs import prepared_of, save_classes
from results_records import record
from small_disks import fill, small_disk
from suite_files import FOLDER_SUITE

from benchharness.data import drawn as drawn_pictures
from benchharness.data.folder import folder
from benchharness.data.prepared import Prepared
from benchharness.errors import DatasetError, RunError
from benchharness.files import atomic_write_text
from benchharness.results import journal
from benchharness.results.run_folder import require_room
from benchharness.results.tables import write_csv_files
from benchharness.worker.features import compute_features, load_features

pytestmark = pytest.mark.slow


@pytest.fixture
def listing(tmp_path: Path):
    """Forty photographs of two classes."""
    return folder(save_classes(tmp_path / "data", train=15, test=5))


def ready(listing, cache: Path, *, size: int = 16) -> Prepared:
    """Prepare with everything else at rest."""
    return prepared_of(listing, cache, size=size)


def files_in(place: Path) -> list[str]:
    """Return the files below a folder, without locks and ballast."""
    found = (file for file in place.rglob("*") if file.is_file())
    return sorted(file.name for file in found if file.suffix != ".lock" and file.name != "ballast")


@contextmanager
def short_files() -> Iterator[None]:
    """Let no file grow beyond 64 kB: what a quota does, and works without a disk of its own.

    It holds for the file that pytest prints to as well, so nothing may be printed meanwhile.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_too_small_for_the_cache_is_an_error_before_decoding(listing, tmp_path: Path):
    """A real disk of 256 kB, and images of 480 kB."""
    with (
        small_disk(tmp_path / "disk", kilobytes=256) as disk,
        pytest.raises(DatasetError, match=r"expected 0\.5 MB of free space for prepared images"),
    ):
        ready(listing, disk, size=64)


def test_a_disk_that_fills_while_images_are_decoded_stops_in_words(listing, tmp_path: Path):
    """Another process takes the room; no half entry stays, and with room it goes on."""
    with small_disk(tmp_path / "disk", kilobytes=1024) as disk:

        def taken(done: int, total: int) -> None:
            if done < total and not (disk / "ballast").exists():
                fill(disk)

        with pytest.raises(DatasetError, match=r"No space left on device.*; free some space"):
            prepared_of(listing, disk, size=64, workers=1, progress=taken)
        left = files_in(disk)
        (disk / "ballast").unlink()
        again = ready(listing, disk, size=64)

    assert left == []
    assert len(again.labels) == 40


def test_a_quota_while_images_are_written_leaves_nothing_half(listing, tmp_path):
    """No file may grow beyond a limit: the same sentence as on a full disk."""
    message = r"expected to write prepared images.*File too large"
    with short_files(), pytest.raises(DatasetError, match=message):
        ready(listing, tmp_path / "cache", size=64)

    assert files_in(tmp_path / "cache") == []


def test_drawn_pictures_leave_nothing_half_on_a_full_disk(tmp_path: Path):
    """The folder is named before the first is drawn."""
    with (
        small_disk(tmp_path / "disk", kilobytes=64) as disk,
        pytest.raises(DatasetError, match="free space for pictures"),
    ):
        drawn_pictures.synthetic_images(train=20, test=10, seed=0, cache_dir=disk)


class Nothing:
    """An extraction that is never reached."""

    def extract(self, batches):
        raise AssertionError("no step is done before there is room for what it gives")


def test_features_have_their_room_before_a_step_is_done(tmp_path: Path):
    """A memory map that outgrows a disk would end the worker by a signal, without a word."""
    with (
        small_disk(tmp_path / "disk", kilobytes=256) as disk,
        pytest.raises(DatasetError, match=r"cannot write 2\.0 MB of features: No space"),
    ):
        compute_features(
            disk / "features", "key", extraction=Nothing(), batches=[np.zeros(10)] * 50,
            shape=(1024,), now=lambda: 0.0, progress=None,
        )  # fmt: skip


class Doubling:
    """An extraction whose features are the ids, doubled."""

    def extract(self, batches):
        for batch in batches:
            yield np.repeat(batch[:, None] * 2, 3, axis=1).astype(np.float32)

    def synchronize(self):
        """Nothing runs elsewhere."""


class Unwatched:
    """Progress that nobody wants."""

    def is_due(self) -> bool:
        """Never."""
        return False


def test_stored_features_with_a_turned_bit_are_none(tmp_path: Path):
    """Whole ones are read back as they were; a bit that turned is found, and they are made anew."""
    made = compute_features(
        tmp_path, "key", extraction=Doubling(), batches=[np.arange(4), np.arange(4, 7)],
        shape=(3,), now=time.monotonic, progress=Unwatched(),
    )  # fmt: skip
    expected = np.array(made.values)
    whole = np.array(load_features(tmp_path, "key").values)
    file = tmp_path / "key" / "features.npy"
    content = bytearray(file.read_bytes())
    content[-5] ^= 4
    file.write_bytes(content)

    assert expected[:, 0].tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert np.array_equal(whole, expected)
    assert load_features(tmp_path, "key") is None


def test_a_record_on_a_full_disk_is_whole_or_absent(tmp_path: Path):
    """What was acknowledged stays readable, and what does not fit leaves no trace."""
    with small_disk(tmp_path / "disk", kilobytes=64) as disk:
        file, acknowledged = disk / "records.jsonl", 0
        with pytest.raises(OSError, match="No space left"):
            while True:
                journal.append(file, record(id=f"t{acknowledged}"))
                acknowledged += 1
        kept, problems = journal.read(file)

    assert acknowledged > 0
    assert [one["id"] for one in kept] == [f"t{number}" for number in range(acknowledged)]
    assert problems == []


def test_tables_on_a_full_disk_stay_as_they_were(tmp_path: Path):
    """The old files are whole; the reason names the file."""
    with small_disk(tmp_path / "disk", kilobytes=128) as disk:
        write_csv_files(disk, [record()])
        before = (disk / "trials.csv").read_text()
        fill(disk)
        with pytest.raises(RunError, match=r"trials\.csv: .*No space left on device"):
            write_csv_files(disk, [record(id=f"t{number}") for number in range(300)])
        after = (disk / "trials.csv").read_text()

    assert after == before


def test_a_file_that_cannot_be_replaced_whole_is_not_touched(tmp_path: Path):
    """Under a quota the old one stays, and no other beside it."""
    path = tmp_path / "run.json"
    atomic_write_text(path, "old")

    with short_files(), pytest.raises(OSError, match="File too large"):
        atomic_write_text(path, "x" * 100_000)

    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


def test_results_on_a_small_disk_are_refused_with_figures(tmp_path: Path):
    """Needed and free; the probe leaves nothing behind."""
    with small_disk(tmp_path / "disk", kilobytes=512) as disk:
        with pytest.raises(RunError, match=r"expected 50\.0 MB of free space.*found 0\.5 MB"):
            require_room(disk / "not" / "made", needed=50_000_000)
        left = list(disk.iterdir())

    assert left == []


def called(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the suite of a folder, as a user does."""
    (place / "pets.toml").write_text(FOLDER_SUITE, encoding="utf-8")
    if not (place / "data").is_symlink():
        save_classes(place / "data", train=4, test=2)
    return subprocess.run(
        [sys.executable, "-m", "benchharness", "run", "pets.toml", *arguments],
        cwd=place,
        env={**os.environ, "BENCHHARNESS_CACHE": str(place / "cache")},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_results_without_a_place_are_an_error_before_anything_is_decoded(tmp_path: Path):
    """A disk that is full, a file in the way, a link in a circle: exit 1, and no image is read."""
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "loop").symlink_to("loop")
    with small_disk(tmp_path / "disk", kilobytes=64) as disk:
        done = {name: called(tmp_path, "--results", str(tmp_path / name))
                for name in ("file", "loop", str(disk))}  # fmt: skip

    for name, one in done.items():
        assert one.returncode == 1, one.stderr
        assert "Traceback" not in one.stderr
        errors = [line for line in one.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert str(tmp_path / name) in errors[0]
    assert not (tmp_path / "cache").exists()


def test_a_results_disk_that_is_read_only_is_an_error(tmp_path: Path):
    """Permissions say nothing there, writing does."""
    with small_disk(tmp_path / "disk", kilobytes=64) as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True, capture_output=True)
        with pytest.raises(RunError, match=r"Read-only file system.*choose a folder"):
            require_room(disk, needed=1)


def test_a_read_only_cache_still_serves_what_it_holds(listing, tmp_path: Path):
    """Neither lock nor probe is needed for reading; what is missing is an error in words."""
    with small_disk(tmp_path / "disk", kilobytes=2048) as disk:
        first = ready(listing, disk)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True, capture_output=True)
        second = ready(listing, disk)
        with pytest.raises(DatasetError, match=r"Read-only file system.*mount it writable"):
            ready(listing, disk, size=24)

    assert second.seconds == 0.0
    assert second.digest == first.digest


def test_paths_with_spaces_and_links_in_a_circle_are_read_or_named(tmp_path: Path):
    """A class folder, a picture and the whole folder may be links; a circle is not walked."""
    place = tmp_path / "my pictures & more"
    save_classes(place, train=3, test=2)
    (place / "train" / "cats" / "again").symlink_to(place / "train")
    (place / "train" / "cats" / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "link").symlink_to(place)

    with pytest.raises(DatasetError, match=r"loop\.jpg: expected a readable file, found: Too many"):
        ready(folder(tmp_path / "link"), tmp_path / "cache")
    (place / "train" / "cats" / "loop.jpg").unlink()

    assert len(ready(folder(tmp_path / "link"), tmp_path / "cache").labels) == 10


def test_a_dataset_that_is_a_link_in_a_circle_is_no_folder(tmp_path: Path):
    """Said as any missing folder is."""
    (tmp_path / "data").symlink_to("data")

    done = called(tmp_path)

    assert done.returncode == 1
    assert "data: expected a folder with the dataset folder, found none" in done.stderr


@pytest.mark.parametrize("name", ["images.npy", "labels.npy"])
def test_a_turned_bit_in_the_cache_is_detected_repaired_and_reported(
    listing, tmp_path: Path, name: str
):
    """Same length, same header: only the digest tells."""
    good = ready(listing, tmp_path / "cache")
    pixels, path = np.array(good.images), good.folder / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    again = ready(listing, tmp_path / "cache")

    assert np.array_equal(again.images, pixels)
    assert again.seconds > 0
    assert again.rebuilt_because.endswith(
        f"{name}: expected the bytes that were written, found others"
    )
    assert ready(listing, tmp_path / "cache").rebuilt_because == ""


@pytest.mark.parametrize("change", [{"classes": ["dogs", "cats"]}, {"train": 29}, {"name": "x"}])
def test_a_description_that_is_not_that_of_the_images_is_not_believed(listing, tmp_path, change):
    """Names of classes and the border between the splits decide as much as pixels."""
    good = ready(listing, tmp_path / "cache")
    meta = good.folder / "meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | change))

    again = ready(listing, tmp_path / "cache")

    assert again.classes == good.classes
    assert again.seconds > 0
    assert again.rebuilt_because


def test_drawn_pictures_that_are_damaged_are_drawn_again(tmp_path: Path):
    """A lost file and a changed one; the others come out as they were."""
    listing = drawn_pictures.synthetic_images(train=4, test=2, seed=1, cache_dir=tmp_path)
    paths = [*listing.train.paths, *listing.test.paths]
    before = [path.read_bytes() for path in paths]
    paths[0].unlink()
    paths[-1].write_bytes(before[-1][:-1])

    drawn_pictures.synthetic_images(train=4, test=2, seed=1, cache_dir=tmp_path)

    assert [path.read_bytes() for path in paths] == before


PREPARER = """
import sys
import time
from pathlib import Path
from benchharness.data.folder import folder
from benchharness.data.prepared import prepare_images
found = prepare_images(
    folder(Path(sys.argv[1])), size=96, validation=0.0, seed=0,
    cache_dir=Path(sys.argv[2]), workers=1, on_bad_image="error",
    progress=lambda done, count: time.sleep(float(sys.argv[3])),
)
print(found.seconds > 0, found.digest, int(found.images.astype("int64").sum()))
"""


def test_processes_that_prepare_the_same_at_once_decode_it_once(listing, tmp_path: Path):
    """Four begin together; one builds, the others wait, and all read the same."""
    places = [str(tmp_path / "data"), str(tmp_path / "cache")]
    arguments = [sys.executable, "-c", PREPARER, *places, "0"]
    started = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(4)]

    outputs = [process.communicate(timeout=600)[0].split() for process in started]

    assert [one.returncode for one in started] == [0] * 4
    assert sorted(has_built for has_built, _, _ in outputs) == ["False"] * 3 + ["True"]
    assert len({(digest, total) for _, digest, total in outputs}) == 1


def test_a_builder_that_was_killed_holds_nobody_up(listing, tmp_path: Path):
    """Its lock went with it, and what it left is not taken for an entry."""
    places = [str(tmp_path / "data"), str(tmp_path / "cache")]
    # It stops after its first pictures, and would never finish.
    arguments = [sys.executable, "-c", PREPARER, *places, "3600"]
    killed = subprocess.Popen(arguments, stdout=subprocess.PIPE)
    while not list((tmp_path / "cache").glob("prepared/.*/images.npy")):
        assert killed.poll() is None, "it had finished before it was seen to build"
        time.sleep(0.02)
    killed.kill()
    killed.wait()

    found = ready(listing, tmp_path / "cache", size=96)

    assert len(found.labels) == 40
    assert list((tmp_path / "cache" / "prepared").iterdir()) == [found.folder]


LONG = (
    FOLDER_SUITE
    + 'epochs = 1\n[[benchmark]]\nname = "again"\nstrategy = "dataset"\nbatch_size = 2\n'
)


@pytest.mark.parametrize("spare_bytes", [0, 3 * 4096])
def test_a_disk_that_fills_during_a_run_stops_it_with_nothing_torn(tmp_path, spare_bytes):
    """What is recorded stays readable, the reason is a sentence, and no process is left behind."""
    save_classes(tmp_path / "data", train=4, test=2)
    (tmp_path / "pets.toml").write_text(LONG, encoding="utf-8")
    with small_disk(tmp_path / "disk", kilobytes=60_000) as disk:
        run = subprocess.Popen(
            [sys.executable, "-m", "benchharness", "run", "pets.toml", "--no-proof",
             "--trials", "20", "--results", str(disk)],
            cwd=tmp_path,
            env={**os.environ, "BENCHHARNESS_CACHE": str(tmp_path / "cache")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        while not any(file.stat().st_size for file in disk.glob("pets/*/records.jsonl")):
            assert run.poll() is None, run.stderr.read()
            time.sleep(0.02)
        fill(disk, spare_bytes=spare_bytes)
        _, said = run.communicate(timeout=600)
        (file,) = disk.glob("pets/2*/records.jsonl")
        records, problems = journal.read(file)

    assert run.returncode == 1, said
    assert "Traceback" not in said
    assert [line for line in said.splitlines() if line.startswith("error: ")]
    assert "No space left on device" in said
    assert problems == []
    assert 0 < len(records) < 40
    assert all(one["status"] == "ok" for one in records)

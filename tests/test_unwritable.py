"""Caches, data, weights and results that cannot be written: the remedy fits what is in the way."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from photographs import prepared_of, save_classes
from small_disks import fill, small_disk
from suite_files import FOLDER_SUITE
from web_server import remote

from benchharness.data.drawn import synthetic_images
from benchharness.data.folder import class_folder, folder, image_files
from benchharness.data.prepared import Prepared
from benchharness.data.preprocessing import fitted
from benchharness.download.fetcher import Fetcher, download
from benchharness.download.registry import RemoteResource
from benchharness.download.transfer import Timeouts
from benchharness.environments.spec import EnvironmentSpec
from benchharness.environments.store import Environments, Reference
from benchharness.errors import BenchError
from benchharness.exit_codes import explanation
from benchharness.files import ANOTHER_CACHE, ANOTHER_RESULTS, save_arrays, unwritten, writable
from benchharness.results.run_folder import require_room
from benchharness.results.tables import write_csv_files
from benchharness.weights.store import write_arrays
from benchharness.worker.features import compute_features

SPACE = "free some space"
WEIGHTS = {"w": np.zeros(100_000, np.float32)}


def prepared_in(cache: Path, data: Path) -> Prepared:
    """Prepare class folders, all else at rest."""
    if not data.exists():
        save_classes(data, train=4, test=2)
    return prepared_of(folder(data), cache, size=8, channels=3)


def refusal_of(write: Callable[[], object]) -> OSError:
    """Return what the system says to an attempt."""
    with pytest.raises(OSError) as caught:
        write()
    return caught.value


def told(write: Callable[[], object]) -> str:
    """Return the end of our message on an attempt, and check that it names a place in any case."""
    words = unwritten(refusal_of(write), elsewhere=ANOTHER_CACHE)
    assert words.endswith(ANOTHER_CACHE)
    return words


def test_a_file_in_the_way_is_named(tmp_path: Path):
    """Where a folder is wanted, and anywhere above it."""
    file = tmp_path / "file"
    file.write_text("in the way")

    for place in (file, file / "below", file / "far" / "below"):
        words = told(lambda place=place: place.mkdir(parents=True, exist_ok=True))
        assert f"move {file} away, which is no folder, or {ANOTHER_CACHE}" in words
        assert SPACE not in words


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path):
    """No folder can be made in its place."""
    link = tmp_path / "link"
    link.symlink_to("gone")

    words = told(lambda: link.mkdir(parents=True, exist_ok=True))

    assert f"File exists; move {link} away, which is no folder" in words


def test_other_things_in_the_way_are_told_by_their_kind(tmp_path: Path):
    """A folder in a file's place, a link in a circle, too long a name."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    attempts = {
        "folder": "Is a directory ({}); move the folder away that is in its place, or",
        "loop": "Too many levels of symbolic links ({}); remove the link that leads back to itself",
        "x" * 300: "File name too long ({}); shorten its name, or",
    }

    for name, expected in attempts.items():
        place = tmp_path / name
        words = told(lambda place=place: place.write_bytes(b"1"))
        assert words.startswith(expected.format(place))
        assert SPACE not in words


def test_a_read_only_disk_is_to_be_mounted_writable(tmp_path: Path):
    """Free space would change nothing."""
    with small_disk(tmp_path / "disk", kilobytes=64) as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True, capture_output=True)
        words = told(lambda: (disk / "file").write_bytes(b"1"))

    assert (
        words == f"Read-only file system ({disk / 'file'}); mount it writable, or {ANOTHER_CACHE}"
    )


def test_a_full_disk_is_to_get_space(tmp_path: Path):
    """Small files and arrays alike."""
    with small_disk(tmp_path / "disk", kilobytes=64) as disk:
        fill(disk)
        plain = told(lambda: (disk / "file").write_bytes(bytes(10_000)))
        arrays = told(lambda: save_arrays(disk / "arrays", WEIGHTS))

    for words in (plain, arrays):
        assert words.startswith("No space left on device")
        assert words.endswith(f"; {SPACE}, or {ANOTHER_CACHE}")


def test_a_limit_on_the_size_of_files_is_to_be_raised(tmp_path: Path):
    """As `ulimit -f` sets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, hard))
    try:
        error = refusal_of(lambda: (tmp_path / "file").write_bytes(bytes(100_000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert unwritten(error).endswith("; raise the limit on the size of files (`ulimit -f`)")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_permissions_are_to_be_changed(tmp_path: Path):
    """Tried as a user who may not write there."""
    tmp_path.chmod(0o755)
    program = (
        "import os, sys; from pathlib import Path; from benchharness.files import unwritten\n"
        "os.setresuid(65534, 65534, 65534)\n"
        "try: Path(sys.argv[1]).mkdir()\n"
        "except OSError as error: print(unwritten(error, elsewhere='go'))"
    )
    command = [sys.executable, "-c", program, "/usr/below"]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout == "Permission denied; change the permissions of /usr, or go\n"


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EDQUOT, SPACE),
        (errno.EPERM, "change its permissions"),
        (errno.ENOTEMPTY, "move the folder away that is in its place"),
        (errno.EMFILE, "raise the limit on open files (`ulimit -n`)"),
        (errno.EIO, "check the disk (`dmesg` says more)"),
        (errno.ESTALE, "mount it again"),
        (errno.ENODEV, ""),
    ],
)
def test_what_a_test_cannot_bring_about_has_its_remedy_too(number: int, remedy: str):
    """Stand-ins for quotas, broken disks and network disks that went away."""
    error = OSError(number, os.strerror(number))

    assert unwritten(error) == os.strerror(number) + (f"; {remedy}" if remedy else "")
    assert unwritten(error, elsewhere="go").endswith(f"; {remedy}, or go" if remedy else "; go")


def test_space_helps_only_where_there_is_none():
    """Of all that a system can say."""
    helped = {number for number in errno.errorcode if SPACE in unwritten(OSError(number, "found"))}

    assert helped == {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class Work:
    """What writers write of: a folder of pictures, and what was prepared of them elsewhere."""

    data: Path
    kept: Prepared


def _prepared(place: Path, work: Work) -> None:
    prepared_in(place, work.data)


def _drawn(place: Path, work: Work) -> None:
    synthetic_images(cache_dir=place, train=4, test=2, seed=0)


def _links(place: Path, work: Work) -> None:
    class_folder(image_files(folder(work.data)), work.kept, cache_dir=place)


def _features(place: Path, work: Work) -> None:
    compute_features(
        place / "features", "key", extraction=None, batches=[np.zeros(4)], shape=(4,),
        now=lambda: 0.0, progress=None,
    )  # fmt: skip


def _fetched(place: Path, work: Work) -> None:
    home = RemoteResource(
        files=(remote("a", b"1", "http://127.0.0.1:9/a"),), remark="made by a test"
    )
    Fetcher(folder=place, homes={"a": home}).fetch("a")


def _downloaded(place: Path, work: Work) -> None:
    download(remote("a", b"1", "http://127.0.0.1:9/a"), place, timeouts=Timeouts())


def _environment(place: Path, work: Work) -> None:
    spec = EnvironmentSpec(plugin="numpy", requirements=(), python="3", copied=(), to_install=())
    reference = Reference(suite="pets.toml", backend="numpy")
    Environments(place).sync(
        spec, reference=reference, base=Path(sys.executable), environment={}, tell=print
    )


def _results(place: Path, work: Work) -> None:
    require_room(place, needed=1)


def _tables(place: Path, work: Work) -> None:
    write_csv_files(place, [])


WRITERS = {
    _prepared: ANOTHER_CACHE,
    _drawn: ANOTHER_CACHE,
    _links: ANOTHER_CACHE,
    _features: ANOTHER_CACHE,
    _fetched: ANOTHER_CACHE,
    _downloaded: ANOTHER_CACHE,
    _environment: ANOTHER_CACHE,
    _results: ANOTHER_RESULTS,
    _tables: "the records are whole",
}


@pytest.mark.parametrize("below", ["", "below"])
@pytest.mark.parametrize("write", WRITERS)
def test_every_writer_names_the_file_in_the_way(
    tmp_path: Path, write: Callable[[Path, Work], None], below: str
):
    """None of them asks for space, and each says how to choose another place."""
    data = tmp_path / "data"
    work = Work(data, prepared_in(tmp_path / "kept", data))
    file = tmp_path / "file"
    file.write_text("in the way")

    with pytest.raises(BenchError) as caught:
        write(file / below, work)

    words = str(caught.value)
    assert f"move {file} away, which is no folder" in words
    assert WRITERS[write] in words
    assert SPACE not in words


def test_what_is_fitted_names_the_file_in_the_way(tmp_path: Path):
    """Its place is beside the prepared images, which were there."""
    kept = prepared_in(tmp_path / "cache", tmp_path / "data")
    place = tmp_path / "cache" / "fitted"
    place.write_text("in the way")

    with pytest.raises(BenchError) as caught:
        fitted("standard", kept)

    assert f"move {place} away, which is no folder, or {ANOTHER_CACHE}" in str(caught.value)


def test_learnt_weights_are_refused_as_files_are(tmp_path: Path):
    """With the system's reason; safetensors has an error of its own for that."""
    with small_disk(tmp_path / "disk", kilobytes=64) as disk:
        error = refusal_of(lambda: write_arrays(disk / "weights.safetensors", WEIGHTS))

    assert error.errno == errno.ENOSPC
    assert explanation(error)[0].count(SPACE) == 1


def test_a_place_in_the_way_is_an_error_of_ours(tmp_path: Path):
    """For writers that have no words of their own."""
    (tmp_path / "file").write_text("in the way")
    place = tmp_path / "file" / "below"

    with (
        pytest.raises(BenchError, match="expected to be able to write here, found: Not a dir"),
        writable(place, elsewhere=ANOTHER_CACHE),
    ):
        place.mkdir()


@pytest.mark.parametrize("command", ["run", "doctor", "certify"])
def test_a_cache_that_is_a_file_is_a_sentence(tmp_path: Path, command: str):
    """No traceback, whatever the command; doctor looks at the backends all the same."""
    save_classes(tmp_path / "data", train=4, test=2)
    (tmp_path / "pets.toml").write_text(FOLDER_SUITE, encoding="utf-8")
    (tmp_path / "cache").write_text("in the way")

    done = subprocess.run(
        [sys.executable, "-m", "benchharness", command, "pets.toml"],
        cwd=tmp_path,
        env={**os.environ, "BENCHHARNESS_CACHE": str(tmp_path / "cache"), "COLUMNS": "500"},
        capture_output=True,
        text=True,
        timeout=600,
    )

    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "Traceback" not in said
    assert SPACE not in said
    if command == "doctor":
        assert f"{tmp_path / 'cache'} is no folder" in said
        assert "numpy" in done.stdout
        assert "Not a directory" not in said
    else:
        assert f"move {tmp_path / 'cache'} away, which is no folder, or {ANOTHER_CACHE}" in said

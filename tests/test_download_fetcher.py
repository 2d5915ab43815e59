"""Downloads of a session: kept whole, once, and not at all without a network."""

from __future__ import annotations

import multiprocessing
import random
import zipfile
from collections import namedtuple

import pytest
from web_server import remote

from benchharness.download.fetcher import Fetcher
from benchharness.download.manifest import MANIFEST, damages, read_manifest
from benchharness.download.registry import REGISTRY, ArchiveLimits, RemoteResource
from benchharness.download.transfer import Timeouts
from benchharness.errors import FetchError

PATIENT = Timeouts(connect_s=30.0, answer_s=60.0, read_s=60.0, tries=3)
ONE, TWO = (random.Random(seed).randbytes(20_000) for seed in (1, 2))


def plain(server) -> dict[str, RemoteResource]:
    """Serve two files that are used as they are."""
    files = tuple(
        remote(name, body, server.put(name, body)) for name, body in (("a", ONE), ("b", TWO))
    )
    return {"pair": RemoteResource(files=files, remark="made by a test")}


def packed(server, tmp_path) -> dict[str, RemoteResource]:
    """Serve an archive with two pictures."""
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as archive:
        archive.writestr("pets/0.jpg", ONE)
        archive.writestr("pets/1.jpg", TWO)
    body = (tmp_path / "made.zip").read_bytes()
    limits = ArchiveLimits(wanted=r"pets/[0-9]+\.jpg", most_files=2, most_bytes=50_000)
    file = remote("made.zip", body, server.put("made.zip", body))
    return {"pets": RemoteResource(files=(file,), unpacking=limits, remark="made by a test")}


def fetcher(tmp_path, homes, **options) -> Fetcher:
    """Return a fetcher into a folder of the test."""
    return Fetcher(folder=tmp_path / "downloads", homes=homes, timeouts=PATIENT, **options)


def visible(folder):
    """Return the names that are not hidden."""
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def test_files_appear_together_with_a_list_of_what_they_are(server, tmp_path):
    """The manifest says whence, on what terms, and which bytes."""
    folder = fetcher(tmp_path, plain(server)).fetch("pair")

    manifest = read_manifest(folder)
    assert visible(folder) == ["a", "b", MANIFEST]
    assert manifest and manifest.source == "2 files from 127.0.0.1"
    assert manifest.remark == "made by a test"
    assert list(damages(folder)) == []


def test_an_archive_is_unpacked_and_not_kept(server, tmp_path):
    """Pictures need the disk once, not twice."""
    downloads = tmp_path / "downloads"

    folder = fetcher(tmp_path, packed(server, tmp_path)).fetch("pets")

    assert visible(folder / "pets") == ["0.jpg", "1.jpg"]
    assert not list(downloads.rglob("*.zip"))
    assert visible(downloads) == ["pets"]


def test_what_is_there_is_not_fetched_again_not_even_offline(server, tmp_path):
    """A second session, without a network, finds it."""
    homes = plain(server)
    folder = fetcher(tmp_path, homes).fetch("pair")
    asked = len(server.asked)

    again = fetcher(tmp_path, homes, is_offline=True).fetch("pair")

    assert again == folder
    assert len(server.asked) == asked


def test_offline_touches_no_network_and_says_what_was_not_fetched(server, tmp_path):
    """The message names the thing, its home and the reason."""
    with pytest.raises(FetchError, match=r"pair: 2 files from 127.0.0.1 was not fetched: offline"):
        fetcher(tmp_path, plain(server), is_offline=True).fetch("pair")

    assert server.asked == []


def test_a_session_says_what_it_fetches_and_how_far_it_is(server, tmp_path):
    """One line when it begins, then bytes, first of the download and then of unpacking."""
    lines, seen = [], []
    options = {"announce": lines.append, "on_download": lambda *now: seen.append(now)}

    fetcher(tmp_path, packed(server, tmp_path), **options).fetch("pets")

    assert lines == ["fetching pets: made.zip from 127.0.0.1, 0 MB"]
    assert seen[0][0] == "made.zip" and seen[0][1] == seen[0][2]
    assert seen[-1] == ("unpacking made.zip", 40_000, 40_000)


def test_without_a_network_one_failure_is_enough(server, tmp_path):
    """The second thing is not even tried, and one line told the user."""
    urls = {"a": "http://127.0.0.1:9/a", "b": server.put("b", ONE)}
    files = [remote(name, ONE, url) for name, url in urls.items()]
    homes = {file.name: RemoteResource(files=(file,), remark="") for file in files}
    lines = []
    one = fetcher(tmp_path, homes, announce=lines.append)
    with pytest.raises(FetchError, match="refused"):
        one.fetch("a")

    with pytest.raises(FetchError, match="was not fetched: no network"):
        one.fetch("b")

    assert server.asked == []
    assert [line for line in lines if "no network" in line] == lines[1:]
    assert "no network" in one.refusal()


def test_a_bad_server_does_not_stop_downloads_from_others(server, tmp_path):
    """It is asked once, and other things are still fetched."""
    homes = plain(server) | {
        "gone": RemoteResource(files=(remote("x", ONE, server.put("x", status=404)),), remark="")
    }
    one = fetcher(tmp_path, homes)

    for _ in range(2):
        with pytest.raises(FetchError, match="404"):
            one.fetch("gone")
    one.fetch("pair")

    assert [path for path, _ in server.asked] == ["x", "a", "b"]
    assert visible(tmp_path / "downloads") == ["pair"]


def test_too_small_a_disk_is_an_error_before_anything_is_fetched(server, tmp_path, monkeypatch):
    """Needed and free space are named, and the variable that moves the cache."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(0, 0, 7_000_000))

    with pytest.raises(
        FetchError, match=r"expected 50\.0 MB of free.*found 7\.0 MB.*BENCHHARNESS_CACHE"
    ):
        fetcher(tmp_path, plain(server)).fetch("pair")

    assert server.asked == []


def test_a_cache_that_cannot_be_written_is_an_error(server, tmp_path):
    """Its place is named."""
    (tmp_path / "downloads").write_text("in the way")

    with pytest.raises(FetchError, match="BENCHHARNESS_CACHE"):
        fetcher(tmp_path, plain(server)).fetch("pair")


def test_an_archive_that_means_harm_leaves_no_folder(server, tmp_path):
    """The next run does not mistake half of it for the whole."""
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as archive:
        archive.writestr("pets/0.jpg", ONE)
        archive.writestr("../evil", TWO)
    body = (tmp_path / "made.zip").read_bytes()
    limits = ArchiveLimits(wanted=".*", most_files=9, most_bytes=90_000)
    home = RemoteResource(
        files=(remote("made.zip", body, server.put("made.zip", body)),), unpacking=limits, remark=""
    )

    with pytest.raises(FetchError, match="stay in their folder"):
        fetcher(tmp_path, {"pets": home}).fetch("pets")

    assert visible(tmp_path / "downloads") == []
    assert not (tmp_path / "evil").exists()


def _obtain(folder, homes, barrier, results) -> None:
    barrier.wait()
    one = Fetcher(folder=folder, homes=homes, timeouts=PATIENT)
    results.put(sorted(p.name for p in one.fetch("pair").iterdir()))


def test_two_processes_fetch_the_same_thing_once(server, tmp_path):
    """One waits for the other and finds what it fetched."""
    homes = plain(server)
    for page in server.pages.values():
        page.stalls_s = 0.2
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    arguments = (tmp_path / "downloads", homes, barrier, results)
    processes = [context.Process(target=_obtain, args=arguments) for _ in range(2)]

    for process in processes:
        process.start()
    found = [results.get(timeout=300) for _ in processes]
    for process in processes:
        process.join(timeout=300)

    assert found == [["a", "b", MANIFEST]] * 2
    assert sorted(path for path, _ in server.asked) == ["a", "b"]


def test_damage_is_found_file_by_file(server, tmp_path):
    """Changed, missing, and a list that cannot be read."""
    folder = fetcher(tmp_path, plain(server)).fetch("pair")
    (folder / "a").write_bytes(b"spoilt")
    (folder / "b").unlink()

    found = list(damages(folder))

    assert len(found) == 2
    assert "a: expected SHA-256" in found[0]
    assert "b: expected a file, found none" in found[1]
    (folder / MANIFEST).write_text("{")
    assert "manifest.json" in next(damages(folder))


def test_public_homes_are_stated_in_full():
    """Every address is of the web, every digest a SHA-256, every size and remark there."""
    for home in REGISTRY.values():
        assert home.remark
        for file in home.files:
            assert all(url.startswith(("https://", "http://")) for url in file.urls)
            assert any(url.startswith("https://") for url in file.urls)
            assert len(bytes.fromhex(file.sha256)) == 32
            assert file.size_bytes > 5_000

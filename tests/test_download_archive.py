"""Unpacking archives that mean harm, and those that do not."""

from __future__ import annotations

import hashlib
import random
import stat
import zipfile

import pytest

from benchharness.download.archive import unpack
from benchharness.download.registry import ArchiveLimits
from benchharness.errors import FetchError

LIMITS = ArchiveLimits(wanted=r"pets/(cat|dog)/[0-9]+\.jpg", most_files=3, most_bytes=10_000)
PICTURE = random.Random(1).randbytes(900)


def zipped(path, members):
    """Write a zip file from names and contents."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def opened(tmp_path, archive, limits=LIMITS, **options):
    """Unpack into a new folder; returns the digests."""
    target = tmp_path / "out"
    target.mkdir()
    return unpack(archive, target, limits=limits, **options)


def written(tmp_path):
    """Return every path below the test's folder, save the archive."""
    return {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()} - {"a"}


def test_only_wanted_members_come_out_with_their_digests(tmp_path):
    """Readmes and empty pictures stay in; progress counts the bytes."""
    members = {
        "pets/readme.txt": b"terms",
        "pets/cat/0.jpg": PICTURE,
        "pets/cat/666.jpg": b"",
        "pets/dog/1.jpg": PICTURE[:500],
        "pets/dog/Thumbs.db": b"junk",
    }
    seen = []

    digests = opened(tmp_path, zipped(tmp_path / "a", members), progress=lambda *n: seen.append(n))

    assert written(tmp_path) == {"out/pets/cat/0.jpg", "out/pets/dog/1.jpg"}
    assert (tmp_path / "out/pets/cat/0.jpg").read_bytes() == PICTURE
    assert digests["pets/dog/1.jpg"] == hashlib.sha256(PICTURE[:500]).hexdigest()
    assert seen == [(900, 1400), (1400, 1400)]


@pytest.mark.parametrize(
    "name",
    ["../evil.jpg", "pets/../../evil.jpg", "/tmp/evil.jpg", "C:/evil.jpg", "pets\\..\\evil.jpg"],
)
def test_an_archive_that_reaches_outside_is_refused_altogether(tmp_path, name):
    """Even where the member is not wanted: nothing of such an archive is written."""
    archive = zipped(tmp_path / "a", {"pets/cat/0.jpg": PICTURE, name: PICTURE})

    with pytest.raises(FetchError, match=r"expected paths that stay in their folder"):
        opened(tmp_path, archive)

    assert written(tmp_path) == set()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_are_refused(tmp_path, kind):
    """They would lead outside, or do something when opened; Unix kinds are external attributes."""
    info = zipfile.ZipInfo("pets/cat/1.jpg")
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.writestr(info, "/etc/passwd")

    with pytest.raises(FetchError, match="found a link or a device"):
        opened(tmp_path, tmp_path / "a")


def test_a_bomb_is_refused_before_it_bursts(tmp_path):
    """A thousand to one is no photograph."""
    archive = zipped(tmp_path / "a", {"pets/cat/0.jpg": bytes(5_000_000)})
    limits = ArchiveLimits(wanted=LIMITS.wanted, most_files=9, most_bytes=10_000_000)

    with pytest.raises(FetchError, match="packed at most 100 to 1"):
        opened(tmp_path, archive, limits=limits)

    assert written(tmp_path) == set()


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ({f"pets/cat/{n}.jpg": b"x" * 9 for n in range(4)}, "found 4 files and 36 bytes"),
        ({"pets/cat/0.jpg": PICTURE * 12}, "found 1 files and 10,800 bytes"),
    ],
)
def test_more_than_announced_is_refused(tmp_path, members, found):
    """Too many files, or too many bytes."""
    with pytest.raises(FetchError, match=found):
        opened(tmp_path, zipped(tmp_path / "a", members))


def test_a_member_that_lies_about_its_size_is_refused(tmp_path):
    """More bytes than the directory of the zip says."""
    archive = zipped(tmp_path / "a", {"pets/cat/0.jpg": PICTURE})
    raw = archive.read_bytes()
    directory = raw.rindex(b"PK\x01\x02")
    small = (10).to_bytes(4, "little")
    archive.write_bytes(raw[: directory + 24] + small + raw[directory + 28 :])

    with pytest.raises(FetchError, match=r"expected 10 bytes|cannot|bad|Bad"):
        opened(tmp_path, archive)


def test_a_member_that_is_there_twice_is_refused(tmp_path):
    """Nobody can tell which of the two was meant."""
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "a", "w") as made:
        made.writestr("pets/cat/0.jpg", PICTURE)
        made.writestr("pets/cat/0.jpg", PICTURE)

    with pytest.raises(FetchError, match="a member twice"):
        opened(tmp_path, tmp_path / "a")


@pytest.mark.parametrize(
    "spoil", [lambda raw: raw[:300] + bytes([raw[300] ^ 255]) + raw[301:], lambda raw: raw[:-30]]
)
def test_a_damaged_archive_is_named(tmp_path, spoil):
    """A flipped byte, a missing end."""
    archive = zipped(tmp_path / "a", {"pets/cat/0.jpg": PICTURE})
    archive.write_bytes(spoil(archive.read_bytes()))

    with pytest.raises(FetchError, match="expected an archive that can be read"):
        opened(tmp_path, archive)


@pytest.mark.parametrize("content", [b"", b"<html>sign in first</html>", b"PK\x03\x04" + bytes(50)])
def test_what_is_no_archive_is_named(tmp_path, content):
    """A page of a portal, for instance."""
    (tmp_path / "a").write_bytes(content)

    with pytest.raises(FetchError, match="expected an archive that can be read"):
        opened(tmp_path, tmp_path / "a")


def test_an_archive_of_something_else_is_named(tmp_path):
    """Nothing in it is wanted."""
    with pytest.raises(FetchError, match="expected members like"):
        opened(tmp_path, zipped(tmp_path / "a", {"birds/0.jpg": PICTURE}))

"""Zip archives, unpacked with suspicion: nothing leaves the folder, nothing grows without end."""

from __future__ import annotations

import hashlib
import lzma
import re
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from benchharness.download.registry import ArchiveLimits
from benchharness.download.transfer import Progress
from benchharness.errors import FetchError

# Photographs and weights shrink little; a bomb shrinks a thousandfold.
_MOST_RATIO = 100
_MOST_MEMBERS = 1_000_000
_BLOCK_BYTES = 1 << 20
_DRIVE = re.compile(r"[A-Za-z]:")


def unpack(
    archive: Path, target: Path, *, limits: ArchiveLimits, progress: Progress | None = None
) -> dict[str, str]:
    """Write the wanted members into an empty folder, and return their SHA-256 by path.

    Empty members are left out. An archive with one member that points outside, or that is a link
    or a device, is refused altogether, wanted or not. When this fails, what is in the folder is
    worth nothing. Progress is told in bytes written and bytes in all.

    Raises:
        FetchError: The archive is damaged, or not to be trusted.
        OSError: The disk is full or cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            members = _wanted(archive, zipped.infolist(), limits)
            total = sum(member.file_size for member in members)
            digests, done = {}, 0
            for member in members:
                digests[member.filename] = _write(archive, zipped, member, target)
                done += member.file_size
                if progress is not None:
                    progress(done, total)
            return digests
    # An unknown compression, and a password, are the last two.
    except (
        zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError,
    ) as error:  # fmt: skip
        raise FetchError(
            f"{archive}: expected an archive that can be read, found: {error}; fetch it again"
        ) from error


def _wanted(
    archive: Path, members: list[zipfile.ZipInfo], limits: ArchiveLimits
) -> list[zipfile.ZipInfo]:
    """Return what is to be unpacked; refuse what is dangerous, too much, a bomb, or nothing."""
    if len(members) > _MOST_MEMBERS:
        raise FetchError(f"{archive}: expected at most {_MOST_MEMBERS:,} members, found more")
    for member in members:
        name, path = member.filename, PurePosixPath(member.filename)
        kind, kinds = stat.S_IFMT(member.external_attr >> 16), (0, stat.S_IFREG)
        is_inside = not path.is_absolute() and ".." not in path.parts and path.parts
        if not is_inside or "\\" in name or "\0" in name or _DRIVE.match(name):
            problem = f"paths that stay in their folder, found {name!r}"
        elif kind not in ((0, stat.S_IFDIR) if member.is_dir() else kinds):
            problem = f"plain files, found a link or a device: {name!r}"
        else:
            continue
        raise FetchError(
            f"{archive}: expected {problem}; nothing was unpacked, do not trust its source"
        )
    wanted = [m for m in members if m.file_size and re.fullmatch(limits.wanted, m.filename)]
    if len({member.filename for member in wanted}) < max(1, len(wanted)):
        actual = "a member twice" if wanted else "none"
        raise FetchError(f"{archive}: expected members like {limits.wanted}, found {actual}")
    total = sum(member.file_size for member in wanted)
    if len(wanted) > limits.most_files or total > limits.most_bytes:
        raise FetchError(
            f"{archive}: expected at most {limits.most_files:,} files and "
            f"{limits.most_bytes:,} bytes, found {len(wanted):,} files and {total:,} bytes; "
            "nothing was unpacked"
        )
    sizes = [(member.file_size, member.compress_size) for member in wanted]
    for size, packed in (*sizes, (total, archive.stat().st_size)):
        if size > _MOST_RATIO * packed:
            raise FetchError(
                f"{archive}: expected files packed at most {_MOST_RATIO} to 1, found "
                f"{size:,} bytes in {packed:,}; nothing was unpacked"
            )
    return wanted


def _write(archive: Path, zipped: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> str:
    """Write a member, exactly as many bytes as it said, and return its SHA-256."""
    file = target / member.filename
    file.parent.mkdir(parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), member.file_size
    with zipped.open(member) as source, file.open("xb") as sink:
        while left >= 0 and (block := source.read(min(_BLOCK_BYTES, left + 1))):
            left -= len(block)
            digest.update(block)
            sink.write(block)
    if left:
        raise FetchError(
            f"{archive}: {member.filename}: expected {member.file_size:,} bytes, "
            f"found {'more' if left < 0 else 'fewer'}"
        )
    return digest.hexdigest()

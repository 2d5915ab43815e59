"""Archives, unpacked with suspicion: nothing leaves the folder, nothing grows without end."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from benchharness.download.registry import ArchiveLimits
from benchharness.download.transfer import Progress
from benchharness.errors import FetchError

# Photographs and weights shrink little; a bomb shrinks a thousandfold.
_MOST_RATIO = 100
_MOST_MEMBERS = 1_000_000
_BLOCK_BYTES = 1 << 20
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """One file of an archive.

    Attributes:
        is_plain: Whether it is neither a link nor a device.
        packed_bytes: Its size in the archive; None where archives of this kind do not tell.
    """

    name: str
    size_bytes: int
    packed_bytes: int | None
    is_plain: bool
    open: Callable[[], IO[bytes]]


def unpack(
    archive: Path, target: Path, *, limits: ArchiveLimits, progress: Progress | None = None
) -> dict[str, str]:
    """Write the wanted members of an archive into a folder; empty ones are left out.

    An archive with one member that points outside, or that is a link or a device, is refused
    altogether, wanted or not.

    Args:
        archive: A zip file or a tar file, compressed or not.
        target: An empty folder; when this fails, what is in it is worth nothing.
        limits: What is wanted, and how much at most.
        progress: Called with bytes written and bytes in all.

    Returns:
        SHA-256 by path below ``target``.

    Raises:
        FetchError: The archive is damaged, or not to be trusted.
        OSError: The disk is full or cannot be written.
    """
    with _open(archive) as members:
        checked = []
        for number, member in enumerate(members, start=1):
            if number > _MOST_MEMBERS:
                raise FetchError(
                    f"{archive}: expected at most {_MOST_MEMBERS:,} members, found more"
                )
            _require_harmless(archive, member)
            checked.append(member)
        wanted = [m for m in checked if m.size_bytes and re.fullmatch(limits.wanted, m.name)]
        total = _require_within(archive, wanted, limits)
        digests, done = {}, 0
        for member in wanted:
            digests[member.name] = _write(archive, member, target / member.name)
            done += member.size_bytes
            if progress is not None:
                progress(done, total)
    return digests


def _require_harmless(archive: Path, member: _Member) -> None:
    """Refuse a member that points outside, or is no plain file."""
    path = PurePosixPath(member.name)
    is_inside = not path.is_absolute() and ".." not in path.parts and path.parts
    if not is_inside or "\\" in member.name or "\0" in member.name or _DRIVE.match(member.name):
        problem = f"paths that stay in their folder, found {member.name!r}"
    elif not member.is_plain:
        problem = f"plain files, found a link or a device: {member.name!r}"
    else:
        return
    raise FetchError(
        f"{archive}: expected {problem}; nothing was unpacked, do not trust its source"
    )


def _require_within(archive: Path, members: list[_Member], limits: ArchiveLimits) -> int:
    """Return the bytes that the members say they have; refuse none, too many, and bombs."""
    total = sum(member.size_bytes for member in members)
    if len({member.name for member in members}) < max(1, len(members)):
        actual = "a member twice" if members else "none"
        raise FetchError(f"{archive}: expected members like {limits.wanted}, found {actual}")
    if len(members) > limits.most_files or total > limits.most_bytes:
        raise FetchError(
            f"{archive}: expected at most {limits.most_files:,} files and "
            f"{limits.most_bytes:,} bytes, found {len(members):,} files and {total:,} bytes; "
            "nothing was unpacked"
        )
    sizes = [(m.size_bytes, m.packed_bytes) for m in members if m.packed_bytes is not None]
    for size_bytes, packed_bytes in (*sizes, (total, archive.stat().st_size)):
        if size_bytes > _MOST_RATIO * packed_bytes:
            raise FetchError(
                f"{archive}: expected files packed at most {_MOST_RATIO} to 1, found "
                f"{size_bytes:,} bytes in {packed_bytes:,}; nothing was unpacked"
            )
    return total


def _write(archive: Path, member: _Member, file: Path) -> str:
    """Write a member, exactly as many bytes as it said, and return its SHA-256."""
    file.parent.mkdir(parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), member.size_bytes
    with member.open() as source, file.open("xb") as sink:
        while left >= 0 and (block := source.read(min(_BLOCK_BYTES, left + 1))):
            left -= len(block)
            digest.update(block)
            sink.write(block)
    if left:
        raise FetchError(
            f"{archive}: {member.name}: expected {member.size_bytes:,} bytes, "
            f"found {'more' if left < 0 else 'fewer'}"
        )
    return digest.hexdigest()


@contextmanager
def _open(archive: Path) -> Iterator[Iterator[_Member]]:
    """Yield the files of an archive; folders are made as files need them."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                yield _of_zip(zipped)
        else:
            with tarfile.open(archive) as tarred:
                yield _of_tar(tarred)
    except (
        zipfile.BadZipFile, tarfile.TarError, zlib.error, gzip.BadGzipFile, lzma.LZMAError,
        EOFError,
        # An unknown compression, and a password.
        NotImplementedError, RuntimeError,
    ) as error:  # fmt: skip
        raise FetchError(
            f"{archive}: expected an archive that can be read, found: {error}; fetch it again"
        ) from error


def _of_zip(zipped: zipfile.ZipFile) -> Iterator[_Member]:
    for info in zipped.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.is_dir() and kind in (0, stat.S_IFDIR):
            continue
        yield _Member(
            name=info.filename,
            size_bytes=info.file_size,
            packed_bytes=info.compress_size,
            is_plain=kind in (0, stat.S_IFREG),
            open=lambda info=info: zipped.open(info),  # type: ignore[misc]
        )


def _of_tar(tarred: tarfile.TarFile) -> Iterator[_Member]:
    for info in tarred:
        if info.isdir():
            continue
        yield _Member(
            name=info.name,
            size_bytes=info.size,
            packed_bytes=None,
            is_plain=info.isreg() and not info.issparse(),
            open=lambda info=info: tarred.extractfile(info),  # type: ignore[misc, arg-type]
        )

"""An append-only file of records: what was acknowledged stays, what was torn is set aside."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchharness.results.record import FORMAT, Record, in_present_format, without_nan

# What is read of the file's end first; most records are shorter.
_BLOCK = 65_536


def encode(record: Record) -> bytes:
    """Return one line: CRC-32 of the JSON as 8 hex digits, a space, the JSON, a newline."""
    payload = json.dumps(without_nan(record), allow_nan=False, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(payload), payload)


def decode(line: bytes) -> Record | None:
    """Return the record of a line without its newline; None when the checksum disagrees."""
    checksum, _, payload = line.partition(b" ")
    if not payload or checksum != b"%08x" % zlib.crc32(payload):
        return None
    record: Record = json.loads(payload)
    return record


def append(path: Path, record: Record) -> None:
    """Add a record in one write; when this returns, it survives a power cut.

    A torn tail that an earlier crash left is moved to ``records.damaged`` first.

    Raises:
        OSError: The file could not be written; it then ends as it did before.
    """
    line = encode(record)
    with _locked(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, fcntl.LOCK_EX) as descriptor:
        separator = b"" if _heal(path, descriptor) else b"\n"
        _write_whole(descriptor, separator + line)
        os.fsync(descriptor)


def read(path: Path) -> tuple[list[Record], list[str]]:
    """Return the readable records in order, and one message per line that cannot be read."""
    with _locked(path, os.O_RDONLY, fcntl.LOCK_SH):
        lines = path.read_bytes().split(b"\n")
    records: list[Record] = []
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        record = decode(line)
        readable = None if record is None else in_present_format(record)
        if readable is not None:
            records.append(readable)
        elif line:
            problems.append(f"{path}:{number}: {_complaint(line, record)}")
    return records, problems


def _complaint(line: bytes, record: Record | None) -> str:
    if record is None:
        return (
            f"expected a record with its checksum, found {len(line)} damaged bytes; "
            "`benchharness run SUITE --resume` repeats the trial"
        )
    return (
        f"expected a record of format {FORMAT} or older, found {record['format']}; "
        "read it with the version of benchharness that wrote it, or a newer one"
    )


@contextmanager
def _locked(path: Path, flags: int, lock: int) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o666)
    try:
        fcntl.flock(descriptor, lock)
        yield descriptor
    finally:
        os.close(descriptor)


def _heal(path: Path, descriptor: int) -> bool:
    """Move what follows the last whole record aside; return whether what stays ends its line."""
    size = os.fstat(descriptor).st_size
    kept = _intact_length(descriptor, size)
    if kept < size:
        torn = os.pread(descriptor, size - kept, kept)
        with path.with_suffix(".damaged").open("ab") as damaged:
            damaged.write(torn.rstrip(b"\n") + b"\n")
            damaged.flush()
            os.fsync(damaged.fileno())
        os.ftruncate(descriptor, kept)
    return kept == 0 or os.pread(descriptor, 1, kept - 1) == b"\n"


def _intact_length(descriptor: int, size: int) -> int:
    """Return where the last whole record ends; damage before it is the reader's to report.

    Read from the end and no further than needed: a long run must not make its records slower.
    """
    length = _BLOCK
    while True:
        start = max(0, size - length)
        lines = os.pread(descriptor, size - start, start).splitlines(keepends=True)
        end = size
        # The first line of a block that is not the file's first is cut.
        for line in reversed(lines if start == 0 else lines[1:]):
            if decode(line.rstrip(b"\n")) is not None:
                return end
            end -= len(line)
        if start == 0:
            return 0
        length *= 8


def _write_whole(descriptor: int, data: bytes) -> None:
    size = os.fstat(descriptor).st_size
    if os.write(descriptor, data) < len(data):
        # A full disk takes what fits; half a record would be worse than none.
        os.ftruncate(descriptor, size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

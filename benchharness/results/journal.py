"""An append-only file of records: what was acknowledged stays, what was torn is set aside.

A line is the record as a JSON object, its first member ``crc32``: the CRC-32 of the object without
that member, so that any reader of JSON lines reads the file. Lines of older files, the CRC-32 as 8
hex digits and a space before the object, are read as well.
"""

from __future__ import annotations

import errno
import json
import os
import time
import zlib
from pathlib import Path

from benchharness.locks import LONGEST_S, lock
from benchharness.results.record import FORMAT, Record, in_present_format, without_nan

# What is read of the file's end first; most records are shorter.
_BLOCK = 65_536
# Longer than writing a line takes.
_WRITING_S = 0.1


def encode(record: Record) -> bytes:
    """Return the line of a record, its newline included."""
    payload = json.dumps(without_nan(record), allow_nan=False, separators=(",", ":")).encode()
    return _sealed(payload) + b"\n"


def decode(line: bytes) -> Record | None:
    """Return the record of a line without its newline; None when the checksum disagrees."""
    if line.startswith(b"{"):
        payload = b"{" + (line.partition(b",")[2] or b"}")
        is_whole = line == _sealed(payload)
    else:
        checksum, _, payload = line.partition(b" ")
        is_whole = payload != b"" and checksum == b"%08x" % zlib.crc32(payload)
    record: Record | None = json.loads(payload) if is_whole else None
    return record


def append(path: Path, record: Record) -> None:
    """Add a record in one write; when this returns, it survives a power cut.

    A torn tail that an earlier crash left is moved to ``records.damaged`` first.

    Raises:
        LockedError: Another process has held the file for too long.
        OSError: The file could not be written; it then ends as it did before.
    """
    line = encode(record)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        lock(descriptor, path, longest_s=LONGEST_S)
        line = (b"" if _heal(path, descriptor) else b"\n") + line
        size = os.fstat(descriptor).st_size
        if os.write(descriptor, line) < len(line):
            # A full disk takes what fits; half a record would be worse than none.
            os.ftruncate(descriptor, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path) -> tuple[list[Record], list[str]]:
    """Return the readable records in order, and one message per line that cannot be read.

    Without a lock: a line that is just being written is whole at the second look.
    """
    content = path.read_bytes()
    if not content.endswith(b"\n") and decode(content.rpartition(b"\n")[2]) is None:
        time.sleep(_WRITING_S)
        content = path.read_bytes()
    records: list[Record] = []
    problems: list[str] = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        record = decode(line)
        if record is not None and (readable := in_present_format(record)) is not None:
            records.append(readable)
        elif record is not None:
            problems.append(
                f"{path}:{number}: expected a record of format {FORMAT} or older, "
                f"found {record['format']}; read it with the version of benchharness that wrote "
                "it, or a newer one"
            )
        elif line:
            problems.append(
                f"{path}:{number}: expected a record with its checksum, found {len(line)} damaged "
                "bytes; `benchharness run SUITE --resume` repeats the trial"
            )
    return records, problems


def _sealed(payload: bytes) -> bytes:
    """Return a JSON object with its checksum as the first member."""
    rest = b"}" if payload == b"{}" else b"," + payload[1:]
    return b'{"crc32":%d%s' % (zlib.crc32(payload), rest)


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

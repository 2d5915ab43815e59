"""Locks on files between processes; the system frees one when its process ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchharness.errors import RunError
from benchharness.text import escape_control_chars

LOGGER = logging.getLogger(__name__)

# Longer than any download or build; whoever holds a lock for longer has come to a standstill.
LONGEST_S = 3600.0
# A wait that a user would notice.
_SILENT_S = 2.0
_POLL_S = 0.05
# What Lustre, NFS, SMB and FUSE answer where a file system has no locks.
_LOCKLESS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
_EVERYBODY = 0o666
# Devices of file systems without locks that were logged already.
_lockless_devices: set[int] = set()


class LockedError(RunError):
    """Another process, the holder, has a lock."""

    def __init__(self, file: Path, *, holder: str, waited_s: float) -> None:
        waited = f" for more than {waited_s:g} s" if waited_s else ""
        super().__init__(
            f"{file} has been locked by {holder}{waited}; wait for that process, or end it"
        )
        self.holder = holder


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A lock of this process; not held on a file system without locks, which is logged."""

    descriptor: int
    is_held: bool

    @classmethod
    def acquire(cls, file: Path, *, longest_s: float = LONGEST_S) -> Lock:
        """Lock a file, which is made where it is missing and says which process holds it.

        Raises:
            LockedError: Another process held it for longer than ``longest_s``.
            OSError: It cannot be opened.
        """
        descriptor = _open(file)
        try:
            is_held = lock(descriptor, file, longest_s=longest_s)
        except BaseException:
            os.close(descriptor)
            raise
        # For whoever comes second; a file of another user's cannot be written, and need not be.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
        return cls(descriptor=descriptor, is_held=is_held)

    def release(self) -> None:
        """Free the lock."""
        os.close(self.descriptor)


@contextmanager
def locked(file: Path, *, longest_s: float = LONGEST_S) -> Iterator[bool]:
    """Hold a lock, made with its folder, as ``Lock.acquire`` does; yield whether it is held."""
    file.parent.mkdir(parents=True, exist_ok=True)
    held = Lock.acquire(file, longest_s=longest_s)
    try:
        yield held.is_held
    finally:
        held.release()


def lock(descriptor: int, file: Path, *, longest_s: float) -> bool:
    """Lock an open file of that name as ``Lock.acquire`` does, and return whether it is held.

    A wait of more than 2 s is logged with the holder.
    """
    began = time.monotonic()
    is_logged = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno in _LOCKLESS:
                device = os.fstat(descriptor).st_dev
                if device not in _lockless_devices:
                    _lockless_devices.add(device)
                    _warn(
                        f"{file.parent}: its file system has no locks ({error.strerror}); "
                        "continuing without: let one process at a time write there"
                    )
                return False
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
        waited_s = time.monotonic() - began
        if waited_s >= longest_s:
            raise LockedError(file, holder=_holder(descriptor), waited_s=longest_s)
        if waited_s >= _SILENT_S and not is_logged:
            is_logged = True
            _warn(f"waiting for {_holder(descriptor)}, which holds the lock {file}")
        time.sleep(_POLL_S)


def _open(file: Path) -> int:
    """Open a file that is there for its lock alone, and that another user may have made."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | flags, _EVERYBODY)
    except PermissionError:
        # In a folder that everybody writes, the kernel lets nobody open another's file to write.
        return os.open(file, os.O_RDONLY | flags)
    with contextlib.suppress(OSError):
        # Whatever the umask says.
        os.fchmod(descriptor, _EVERYBODY)
    return descriptor


def _warn(message: str) -> None:
    LOGGER.warning(escape_control_chars(message))


def _holder(descriptor: int) -> str:
    """Return which process holds the lock of an open file."""
    import psutil

    line = os.pread(descriptor, 256, 0).partition(b"\n")[0].decode("utf-8", errors="replace")
    pid, _, host = line.partition(" ")
    if known := _known_to_kernel(descriptor):
        pid, host = known, ""
    if not pid.isdigit():
        return "another process"
    if host and host != socket.gethostname():
        return f"process {pid} on {host}"
    words = ""
    with contextlib.suppress(psutil.Error):
        words = " ".join(psutil.Process(int(pid)).cmdline())
    words = f"{words[:57]}..." if len(words) > 60 else words
    return f"process {pid} ({words})" if words else f"process {pid}"


def _known_to_kernel(descriptor: int) -> str:
    """Return the process that Linux knows to hold the lock of a file; empty for none."""
    status = os.fstat(descriptor)
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            # 1: FLOCK  ADVISORY  WRITE 4242 00:1d:8155 0 EOF
            words = line.split()
            if "->" not in words and words[5] == place and int(words[4]) > 0:
                return words[4]
    return ""

"""Locks on files between processes; the system frees one when its process ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import socket
import stat
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
_EVERYBODY = stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH
# Devices of file systems without locks that were logged already.
_lockless_devices: set[int] = set()


class LockedError(RunError):
    """Another process holds a lock.

    Attributes:
        holder: Which, in words.
    """

    def __init__(self, file: Path, *, holder: str, waited_s: float) -> None:
        waited = f" for more than {waited_s:g} s" if waited_s else ""
        super().__init__(
            f"{file} has been locked by {holder}{waited}; wait for that process, or end it"
        )
        self.holder = holder


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A lock that this process holds.

    Attributes:
        is_held: False on a file system without locks, which is logged.
    """

    descriptor: int
    is_held: bool

    @classmethod
    def acquire(cls, file: Path, *, longest_s: float = LONGEST_S) -> Lock:
        """Lock a file, which is made where it is missing and says which process holds it.

        Args:
            longest_s: Longest to wait for another process.

        Raises:
            LockedError: Another process holds it still.
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
    """Hold the lock of a file, which is made with its folder where it is missing.

    Yields:
        Whether it is held: not on a file system without locks.

    Raises:
        LockedError: Another process held it for longer than ``longest_s``.
        OSError: It cannot be opened.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    held = Lock.acquire(file, longest_s=longest_s)
    try:
        yield held.is_held
    finally:
        held.release()


def lock(descriptor: int, file: Path, *, longest_s: float) -> bool:
    """Lock an open file; a wait of more than 2 s is logged with the holder.

    Args:
        file: Its name, for people.
        longest_s: Longest to wait for another process.

    Returns:
        Whether it is held: not on a file system without locks, which is logged once.

    Raises:
        LockedError: Another process holds it still.
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
    line = os.pread(descriptor, 256, 0).partition(b"\n")[0].decode("utf-8", errors="replace")
    pid, _, host = line.partition(" ")
    if known := _known_to_kernel(descriptor):
        pid, host = known, ""
    if not pid.isdigit():
        return "another process"
    if host and host != socket.gethostname():
        return f"process {pid} on {host}"
    return f"process {pid}{_command(int(pid))}"


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


def _command(pid: int) -> str:
    import psutil

    try:
        words = " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""
    return f" ({words[:57]}...)" if len(words) > 60 else f" ({words})" if words else ""

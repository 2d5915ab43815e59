"""A disk that refuses: no mistake of ours, and no traceback."""

from __future__ import annotations

import errno

from benchharness.files import unwritten

_REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


def is_disk_error(error: OSError) -> bool:
    """Return whether a disk is full, at its limit, read-only or broken."""
    return error.errno in _REFUSALS


def disk_sentence(error: OSError) -> str:
    """Return what the user is told of it."""
    return (
        f"{error.filename or 'a file'}: expected to be able to write here, "
        f"found: {unwritten(error, elsewhere='choose a folder on another disk')}; "
        "finished trials are recorded"
    )

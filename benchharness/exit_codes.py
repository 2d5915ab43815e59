"""Exit codes of the errors that end a command, and the messages that explain them."""

from __future__ import annotations

import errno
import signal

import click

from benchharness.errors import BenchError, SuiteError
from benchharness.files import unwritten

INTERRUPTED = 130
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


class Terminated(SystemExit):
    """Another process asks us to end; records and workers are put in order first."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.name = signal.Signals(number).name


def exit_code(error: BaseException) -> int:
    """Return the exit code that an error ends a command with."""
    match error:
        case SuiteError() | click.ClickException():
            return 2
        case KeyboardInterrupt() | click.Abort():
            return INTERRUPTED
        case Terminated(code=int(code)):
            return code
    return 1


def is_disk_error(error: OSError) -> bool:
    """Return whether a disk is full, at its limit, read-only or broken."""
    return error.errno in _DISK_ERRORS


def explanation(error: BaseException) -> list[str]:
    """Return the message for an error, one line per problem."""
    match error:
        case BenchError():
            return [line for text in error.lines() for line in text.splitlines()]
        case KeyboardInterrupt() | click.Abort():
            return ["interrupted; finished trials have been saved"]
        case Terminated():
            return [f"terminated by {error.name}; finished trials have been saved"]
        case OSError() if is_disk_error(error):
            reason = unwritten(error, elsewhere="choose a folder on another disk")
            place = error.filename or "a file"
            return [f"cannot write {place}: {reason}; finished trials have been saved"]
    return [f"{type(error).__name__}: {error}"]

"""How a command ends: exit codes, and what is said of them."""

from __future__ import annotations

import signal
from types import FrameType

import click

from benchharness.cli.disks import disk_sentence, is_of_disk
from benchharness.errors import BenchError, SuiteError

INTERRUPTED = 130


class Terminated(SystemExit):
    """Another process asks us to end; what is in hand is put in order first."""

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


def explanation(error: BaseException) -> list[str]:
    """Return what the user is told of an error, a line each."""
    match error:
        case BenchError():
            return [line for text in error.lines() for line in text.splitlines()]
        case KeyboardInterrupt() | click.Abort():
            return ["interrupted; finished trials are on disk"]
        case Terminated():
            return [f"ended by {error.name}; finished trials are on disk"]
        case OSError() if is_of_disk(error):
            return [disk_sentence(error)]
    return [f"{type(error).__name__}: {error}"]


def end_in_order() -> None:
    """Let a request to end take the way of an exception, so that everything is put in order."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Whoever started us with nohup wants us to go on.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _terminate)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated(number)

"""How a command ends: exit codes, and what is said of them."""

from __future__ import annotations

import os
import signal
from types import FrameType

import click

from benchharness.cli.disk_errors import disk_sentence, is_disk_error
from benchharness.errors import BenchError, SuiteError

INTERRUPTED = 130
_STDERR = 2
# What a live picture hides.
_SHOW_CURSOR = b"\x1b[?25h"


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
        case OSError() if is_disk_error(error):
            return [disk_sentence(error)]
    return [f"{type(error).__name__}: {error}"]


def install_signal_handlers() -> None:
    """Let a request to end take the way of an exception, so that everything is put in order.

    Whoever asks a second time does not want to wait for that: then we end at once.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Whoever started us with nohup, or in the background, wants us to go on.
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _terminate)


def _terminate(number: int, frame: FrameType | None) -> None:
    for second in (signal.SIGINT, number):
        signal.signal(second, _end_at_once)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Terminated(number)


def _end_at_once(number: int, frame: FrameType | None) -> None:
    """End without putting anything in order; workers end with us, and records are on disk."""
    if os.isatty(_STDERR):
        os.write(_STDERR, _SHOW_CURSOR)
    os.write(_STDERR, b"ended at once; finished trials are on disk\n")
    os._exit(INTERRUPTED if number == signal.SIGINT else 128 + number)

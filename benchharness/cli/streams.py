"""Standard streams and signals of the command line."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import click

from benchharness.exit_codes import INTERRUPTED, Terminated
from benchharness.text import escape_control_chars

_STDERR = 2
# What a live display hides.
_SHOW_CURSOR = b"\x1b[?25h"


def echo(line: str, *, err: bool = False) -> None:
    """Print a line in which no name, of a suite, a file or a library, acts on the terminal."""
    click.echo(escape_control_chars(line), err=err)


def install_signal_handlers() -> None:
    """Turn a request to end into an exception; a second request ends at once."""
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
    """End without clean-up; workers end with us, and records are on disk."""
    if os.isatty(_STDERR):
        os.write(_STDERR, _SHOW_CURSOR)
    os.write(_STDERR, b"ended at once; finished trials have been saved\n")
    os._exit(INTERRUPTED if number == signal.SIGINT else 128 + number)


def open_missing_streams() -> None:
    """Open closed standard streams on the null device.

    Otherwise the next file that is opened takes a closed stream's number, and a library that prints
    writes into a record.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        mode = "r" if number == 0 else "w"
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free: this one, as those before it are open.
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115

"""Surroundings that a command may lack: standard streams, a home folder."""

from __future__ import annotations

import os
import sys

from benchharness.files import expanded


def open_missing_streams() -> None:
    """Let standard streams that are closed lead nowhere.

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


def name_home() -> None:
    """Let / be the home folder of a user without one, as containers have it.

    Libraries know what to do with a home folder that cannot be written, and fail without any.
    """
    if not expanded("~").is_absolute():
        os.environ["HOME"] = "/"

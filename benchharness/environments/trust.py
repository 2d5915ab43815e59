"""Interpreters that a suite names by a path: started only once the user has said so.

A suite is data, and a path in it would otherwise decide which program runs. ``benchharness env
sync`` is the user's word, as it is for packages; commands on the PATH are the user's own already.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from benchharness.files import atomic_write_bytes


class TrustedInterpreters:
    """The interpreters that the user knows of.

    Args:
        cache: A file in its folder ``environments`` remembers them.
    """

    def __init__(self, cache: Path) -> None:
        self._file = cache / "environments" / "interpreters.json"

    def knows(self, program: Path) -> bool:
        """Return whether the user has said that a program may be started."""
        return _name(program) in self._names()

    def add(self, program: Path) -> None:
        """Remember that a program may be started.

        Raises:
            OSError: Nothing can be written there.
        """
        names = sorted({*self._names(), _name(program)})
        self._file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_bytes(self._file, json.dumps(names, indent=2).encode())

    def _names(self) -> list[str]:
        """Return what is remembered; nothing where that cannot be read: it is asked for again."""
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return found if isinstance(found, list) else []


def is_path(written: str) -> bool:
    """Return whether a suite names an interpreter by a path, and not as a command."""
    return os.sep in written or written.startswith("~")


def _name(program: Path) -> str:
    """Return what a program is known by: where it lies, and where that leads."""
    return f"{program.absolute()} -> {program.resolve()}"

"""Interpreters that a suite names by a path: started only once the user trusts them.

A suite is data, and a path in it would otherwise decide which program runs. ``benchharness env
sync`` states that trust, as it does for packages; commands on the PATH are trusted already.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from benchharness.files import atomic_write_bytes


class TrustedInterpreters:
    """Interpreters that the user trusts, remembered in the cache."""

    def __init__(self, cache: Path) -> None:
        self._file = cache / "environments" / "interpreters.json"

    def is_trusted(self, program: Path) -> bool:
        """Return whether a program may be started."""
        return _name(program) in self._names()

    def trust(self, program: Path) -> None:
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
            names = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return names if isinstance(names, list) else []


def is_path(written: str) -> bool:
    """Return whether a suite names an interpreter by a path, and not as a command."""
    return os.sep in written or written.startswith("~")


def _name(program: Path) -> str:
    """Return the path of a program, and what it resolves to."""
    return f"{program.absolute()} -> {program.resolve()}"

"""A stream whose reader may leave at any time without ending the run."""

from __future__ import annotations

import os
from typing import Any, TextIO


class BrokenPipeSafeStream:
    """Writes to a stream as long as somebody reads it, and into nothing afterwards.

    A run takes hours, ``| head`` a second: what is recorded must not depend on who watches.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, and say how much."""
        try:
            return self._stream.write(text)
        except OSError:
            self._detach()
        return len(text)

    def flush(self) -> None:
        """Hand on what has been written."""
        try:
            self._stream.flush()
        except OSError:
            self._detach()

    def line(self, text: str) -> None:
        """Write a line at once."""
        self.write(f"{text}\n")
        self.flush()

    def _detach(self) -> None:
        """Let all that follows go nowhere, what Python flushes at its own end included."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

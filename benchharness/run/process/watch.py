"""The runner's side of the warden: which workers are to end when this process ends."""

from __future__ import annotations

import atexit
import contextlib
import functools
import subprocess
import sys
from pathlib import Path

from benchharness.run.process import reaper


class Watch:
    """Tells a warden of each worker; the warden sees by itself when this process is gone."""

    def __init__(self) -> None:
        self._warden = subprocess.Popen(
            # Isolated and without site: it needs nothing, and nothing may keep it from starting.
            [sys.executable, "-I", "-S", str(Path(reaper.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Whoever ends our group, or presses Ctrl-C in our terminal, does not end the warden.
            start_new_session=True,
            text=True,
        )

    def begin(self, group: int, mark: str) -> None:
        """Watch over a worker: its process group, and the mark of all that it starts."""
        self._tell(f"{group} {mark}\n")

    def end(self, mark: str) -> None:
        """Watch no longer over a worker, whose processes are gone."""
        self._tell(f"- {mark}\n")

    def close(self) -> None:
        """Let the warden end what is left, and itself."""
        pipe = self._warden.stdin
        assert pipe is not None
        with contextlib.suppress(OSError):
            pipe.close()
        self._warden.wait()

    def _tell(self, line: str) -> None:
        pipe = self._warden.stdin
        assert pipe is not None
        # Without its warden a worker still dies with us, by the kernel's hand.
        with contextlib.suppress(OSError, ValueError):
            pipe.write(line)
            pipe.flush()


@functools.cache
def watch() -> Watch:
    """Return the watch of this process; its warden is started with the first worker."""
    found = Watch()
    atexit.register(found.close)
    return found

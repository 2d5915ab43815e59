"""A terminal of our own: a program runs in it, a person could look at its screen."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pyte

# So many that nothing scrolls away.
ROWS = 200


class Terminal:
    """Runs a program on a pseudo-terminal of so many columns, and shows what it drew.

    Attributes:
        frames: The screen after each piece of output, as text.
    """

    def __init__(
        self, command: list[str], *, columns: int, cwd: Path, environment: dict[str, str]
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
        self.screen = pyte.Screen(columns, ROWS)
        self._stream = pyte.ByteStream(self.screen)
        self.frames: list[list[str]] = []
        self.output = b""

        # It asks the terminal for its size.
        surroundings = {k: v for k, v in environment.items() if k not in ("COLUMNS", "LINES")}

        def adopt() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=surroundings | {"TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=adopt,
        )
        os.close(slave)

    @property
    def lines(self) -> list[str]:
        """What is on the screen now, without empty lines."""
        return [line.rstrip() for line in self.screen.display if line.strip()]

    def watch(self, until: Callable[[], bool], *, patience_s: float = 600.0) -> None:
        """Look at the screen until something is there, or the program has ended."""
        deadline = time.monotonic() + patience_s
        while not until():
            assert time.monotonic() < deadline, "\n".join(self.lines)
            if not select.select([self._master], [], [], 0.1)[0]:
                continue
            try:
                piece = os.read(self._master, 65536)
            except OSError:
                # The kernel's way of saying that nobody holds the other end.
                return
            if not piece:
                return
            self.output += piece
            self._stream.feed(piece)
            self.frames.append(self.lines)

    def press(self, keys: bytes) -> None:
        """Type."""
        os.write(self._master, keys)

    def end(self) -> int:
        """Look on until the program ends, and return its exit code."""
        self.watch(lambda: False)
        os.close(self._master)
        return self.process.wait(timeout=300)

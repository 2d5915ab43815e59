"""Progress on a terminal: a picture that is drawn anew, and plain lines above it that stay."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO, cast

from rich.console import Console
from rich.live import Live as Drawing

from benchharness.progress import text
from benchharness.progress.plain import Proofs, told
from benchharness.progress.state import RunState
from benchharness.progress.stream import BrokenPipeSafeStream
from benchharness.progress.view import Picture
from benchharness.run.events import Event, TrialFinished, TrialStarted
from benchharness.text import escape_control_chars

# Drawing takes a third of a millisecond of a core that the trial may want: twice a second is
# enough for clocks that tick.
_PER_S = 2.0


class Live:
    """Shows the trials in flight, and leaves a line for each that has finished.

    Args:
        stream: A terminal.
        now: Monotonic clock in seconds.
        console: Draws; None for one of the stream's.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        now: Callable[[], float] = time.monotonic,
        console: Console | None = None,
    ) -> None:
        self._standing = RunState(now=now)
        self._proofs = Proofs()
        self._count = 0
        self._drawing = Drawing(
            Picture(self._standing),
            console=console
            or Console(file=cast(TextIO, BrokenPipeSafeStream(stream)), highlight=False),
            refresh_per_second=_PER_S,
            # What is left on the screen are the lines, not the last picture.
            transient=True,
            # Or what is meant for a file would be printed beside the picture.
            redirect_stdout=sys.stdout.isatty(),
        )

    def __enter__(self) -> Self:
        self._drawing.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take the picture away and give the cursor back."""
        self._drawing.stop()

    def __call__(self, event: Event) -> None:
        """Change the picture, and say what is to stay."""
        self._standing.take(event)
        for line in told(event, self._proofs):
            self._say(line)
        if isinstance(event, TrialStarted):
            # It may be over before the next drawing, and nothing is timed yet.
            self._drawing.refresh()
        if isinstance(event, TrialFinished):
            name, count = event.name, self._standing.count
            self._say(f"[{name.number}/{count}] {text.cell_name(name)}: {text.ending(event)}")

    def _say(self, line: str) -> None:
        # Long reasons are wrapped by the terminal, so that they can be copied in one piece.
        self._drawing.console.print(
            escape_control_chars(line), soft_wrap=True, markup=False, highlight=False
        )

"""Progress on a terminal: bars that are redrawn, and lines above them that stay."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Self, TextIO, cast

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from benchharness.progress.plain import (
    BrokenPipeSafeStream,
    amount,
    cell_name,
    clock,
    ending,
    lasting_lines,
    left,
    phase,
    point,
    rate,
    side,
)
from benchharness.progress.state import BackgroundTask, RunState, TrialState
from benchharness.run.events import Downloading, Event, Preparing, TrialFinished, TrialStarted
from benchharness.text import escape_control_chars

# Drawing takes a third of a millisecond of a core that the trial may want: twice a second is
# enough for clocks that tick.
_PER_S = 2.0
# Terminals of fewer columns show no bars, losses and trial numbers, or no accuracies.
_WIDE, _NARROW = 110, 80
# Columns of the bar, and of a name and the time left with the gaps.
_BAR, _NAME_AND_TIME = 20, 24
# Name, amount done and in all (None where unknown), details, time left.
Row = tuple[str, float, float | None, str, str]


class LiveReporter:
    """Shows the trials in flight, and leaves a line for each that has finished.

    Args:
        stream: A terminal.
        now: Monotonic clock in seconds.
        console: None for one of the stream.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        now: Callable[[], float] = time.monotonic,
        console: Console | None = None,
    ) -> None:
        self._state = RunState(now=now)
        self._console = console or Console(
            file=cast(TextIO, BrokenPipeSafeStream(stream)), highlight=False
        )
        self._live = Live(
            console=self._console,
            get_renderable=self.bars,
            refresh_per_second=_PER_S,
            # What stays on the screen are the lines, not the bars.
            transient=True,
            # Otherwise output that is meant for a file would be printed above the bars.
            redirect_stdout=sys.stdout.isatty(),
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Remove the bars and give the cursor back."""
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Update the bars, and print what is to stay."""
        self._state.take(event)
        for line in lasting_lines(event, proven=self._state.proven):
            self._print(line)
        if isinstance(event, TrialFinished):
            number = f"[{event.name.number}/{self._state.count}]"
            self._print(f"{number} {cell_name(event.name)}: {ending(event)}")
        if isinstance(event, TrialStarted):
            # The trial may be over before the next drawing, and nothing is timed yet.
            self._live.refresh()

    def bars(self) -> Table:
        """Return what is drawn below the lines."""
        width = self._console.width
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1, min_width=10)
        room = width - _NAME_AND_TIME
        if width >= _WIDE:
            table.add_column()
            room -= _BAR + 1
        # Long details are cut, not the name.
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(room, 1))
        table.add_column(no_wrap=True, overflow="ellipsis", justify="right")
        for name, done, total, detail, time_left in self._rows(width):
            bar = [ProgressBar(total=total, completed=done, width=_BAR)] if width >= _WIDE else []
            texts = (Text(escape_control_chars(words)) for words in (detail, time_left))
            table.add_row(Text(escape_control_chars(name)), *bar, *texts)
        return table

    def _print(self, line: str) -> None:
        # Long reasons are wrapped by the terminal, so that they can be copied in one piece.
        shown = escape_control_chars(line)
        self._console.print(shown, soft_wrap=True, markup=False, highlight=False)

    def _rows(self, width: int) -> Iterator[Row]:
        """Yield a row for what is in hand, for each trial in flight, and for the suite."""
        state = self._state
        if state.task is not None:
            yield _task_row(state.task)
        for trial in list(state.trials.values()):
            yield _trial_row(state, trial, width)
        if state.count:
            yield _suite_row(state)


def _trial_row(state: RunState, trial: TrialState, width: int) -> Row:
    started, name = trial.started, trial.started.name
    is_wide = width >= _WIDE
    turn = f"{name.trial}/{started.trials}{'+' if started.max_trials else ''}"
    details = [side(name), turn if is_wide else "", phase(trial)]
    if trial.images_per_s is not None:
        unit = f" {trial.speed_unit}" if is_wide else "/s"
        details.append(rate(trial.images_per_s) + unit)
    if trial.loss is not None and is_wide:
        details.append(f"loss {trial.loss:.4f}")
    if trial.top1 is not None and width >= _NARROW:
        details.append(f"val {trial.top1:.3f}")
    done, detail = trial.ended + (trial.share or 0.0), "  ".join(filter(None, details))
    where, time_left = point(name.benchmark, name.matrix), left(state.left_of_trial(name))
    return where, done, started.epochs, detail, time_left


def _suite_row(state: RunState) -> Row:
    done, count = state.finished, state.count
    details = [f"{state.failed} not ok"] if state.failed else []
    details.append(f"{clock(state.now() - state.began_s)} elapsed")
    time_left = left(state.left()) if done < count else ""
    return f"[{min(done + 1, count)}/{count}]", done, count, "  ".join(details), time_left


def _task_row(task: BackgroundTask) -> Row:
    match task:
        case Preparing(done=done, count=count):
            return "preparing images", done, count, f"{done:,} of {count:,}", ""
        case Downloading(what=what, done_bytes=done_bytes, count_bytes=count_bytes):
            detail = amount(done_bytes, count_bytes)
            return f"downloading {what or 'a file'}", done_bytes or 0, count_bytes, detail, ""
    name = f"proving equal work: {task.backend}, {point(task.benchmark, task.matrix)}"
    return name, task.number - 1, task.count, f"{task.number} of {task.count}", ""

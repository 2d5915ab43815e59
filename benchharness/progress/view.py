"""The live picture of a run: a line for each trial in flight, and one for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions
from rich.text import Text

from benchharness.progress import text
from benchharness.progress.plain import phase
from benchharness.progress.state import BackgroundTask, RunState, TrialStanding
from benchharness.progress.text import Field
from benchharness.run.events import Downloading, Preparing, Probing
from benchharness.text import escape_control_chars

# A terminal that has its last cell written may begin a new line.
_MARGIN = 1
_BAR = 20
_NARROWEST_BAR = 6
# Sooner than that, a beginning says nothing of the rest.
_TELLING_S = 1.0


@dataclass(frozen=True, slots=True)
class Picture:
    """What the terminal shows while a run goes on; rich draws it at the width at hand."""

    standing: RunState

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Yield lines, none wider than the terminal."""
        width = options.max_width - _MARGIN
        standing = self.standing
        if standing.chore is not None:
            line = _chore_line(standing, standing.chore, width, is_ascii=options.ascii_only)
            yield _line(line, "cyan")
        for trial in standing.trials.values():
            yield _line(trial_line(standing, trial, width), "cyan")
        if standing.count:
            yield _line(suite_line(standing, width, is_ascii=options.ascii_only), "")


def trial_line(standing: RunState, trial: TrialStanding, width: int) -> str:
    """Return the line of a trial in flight, in at most so many cells.

    Numbers keep their places while they grow, so that the eye finds them.
    """
    started, name = trial.started, trial.started.name
    turn = f"{name.trial}/{started.trials}{'+' if started.max_trials else ''}"
    rate = "" if trial.images_per_s is None else text.rate(trial.images_per_s)
    loss = "" if trial.loss is None else f"loss {trial.loss:.4f}"
    top1 = "" if trial.top1 is None else f"val {trial.top1:.3f}"
    left = text.left(standing.remaining.trial(name))
    return text.fitted(
        [
            Field(text.point(name.benchmark, name.matrix), weight=9, is_name=True),
            Field(text.side(name), weight=9),
            Field(turn, weight=2),
            Field(f"{phase(trial):<{_phase_width(trial)}}", weight=8, short=phase(trial)),
            Field(f"{rate:>6} {trial.speed_unit}" if rate else "", weight=6, short=f"{rate}/s"),
            Field(loss, weight=3),
            Field(top1, weight=5),
            Field(f"{left:>10}" if left else "", weight=7, short=left),
        ],
        width,
    )


def suite_line(standing: RunState, width: int, *, is_ascii: bool) -> str:
    """Return the line of all trials, in at most so many cells."""
    done, count = standing.finished, standing.count
    failed = f"{standing.failed} not ok" if standing.failed else ""
    left = text.left(standing.remaining.suite()) if done < count else ""
    return text.fitted(
        [
            Field(f"[{min(done + 1, count)}/{count}]", weight=9),
            Field(bar(done / count, _bar_width(width), is_ascii=is_ascii), weight=2),
            Field(failed, weight=6),
            Field(f"{text.clock(standing.elapsed_s)} elapsed", weight=4),
            Field(left, weight=7),
        ],
        width,
    )


def bar(share: float, width: int, *, is_ascii: bool) -> str:
    """Return a bar of so many cells, filled to a share of 0-1."""
    full, empty = (
        ("#", ".")
        if is_ascii
        else ("\N{BOX DRAWINGS HEAVY HORIZONTAL}", "\N{BOX DRAWINGS LIGHT HORIZONTAL}")
    )
    filled = round(min(max(share, 0.0), 1.0) * width)
    return full * filled + empty * (width - filled)


def _chore_line(standing: RunState, chore: BackgroundTask, width: int, *, is_ascii: bool) -> str:
    share: float | None
    match chore:
        case Preparing(done=done, count=count):
            name, amount, share = "preparing images", f"{done:,} of {count:,}", done / count
        case Downloading(what=what, done_bytes=done, count_bytes=count):
            name, amount = f"fetching {what or 'a file'}", text.amount(done, count)
            share = done / count if done is not None and count else None
        case Probing(number=number, count=count):
            cell = text.point(chore.benchmark, chore.matrix)
            name = f"proving equal work: {chore.backend}, {cell}"
            amount, share = f"{number} of {count}", (number - 1) / count
    spent_s = standing.now() - standing.chore_s
    is_known = share and spent_s >= _TELLING_S
    left = f"{text.clock(spent_s * (1 - share) / share)} left" if is_known and share else ""
    drawn = "" if share is None else bar(share, _bar_width(width), is_ascii=is_ascii)
    return text.fitted(
        [
            Field(name, weight=9, is_name=True),
            Field(amount, weight=8),
            Field(drawn, weight=2),
            Field(f"{left:>10}" if left else "", weight=5),
        ],
        width,
    )


def _bar_width(width: int) -> int:
    return max(_NARROWEST_BAR, min(_BAR, width // 4))


def _phase_width(trial: TrialStanding) -> int:
    epochs = trial.started.epochs
    return len(f"train {epochs}/{epochs} 100%")


def _line(text: str, style: str) -> Text:
    return Text(
        escape_control_chars(text), style=style, no_wrap=True, overflow="ellipsis", end="\n"
    )

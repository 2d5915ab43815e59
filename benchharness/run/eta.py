"""How long a run will still take, from what has been seen of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from benchharness.measure.clock import now_s
from benchharness.run.events import (
    EpochEnded,
    Event,
    Looked,
    OfTrial,
    PhaseEntered,
    PlannedCell,
    RunStarted,
    TrialFinished,
    TrialName,
    TrialProgress,
    TrialStarted,
)

Point = tuple[str, str, str]
_TRAINING = ("train", "feed")
# How much of a new estimate is believed at once: enough to follow, not enough to jump.
_SMOOTHING = 0.5


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds that are left.

    Attributes:
        seconds: Never negative.
        is_lower_bound: Whether something of which nothing is known comes on top.
    """

    seconds: float
    is_lower_bound: bool = False


@dataclass(slots=True, kw_only=True)
class _Course:
    """A trial in flight: when it has come how far.

    Attributes:
        own_s: Its share of the time so far: trials in flight at once are at work in turn.
    """

    began_s: float
    own_s: float = 0.0
    epochs: int
    training_s: float | None = None
    seen_s: float = 0.0
    progress: float = 0.0
    extracting_s: float | None = None
    extracted_s: float | None = None
    end: tuple[float, bool] | None = None

    def take(self, event: OfTrial, now: float) -> None:
        """Take note of how far it has come."""
        match event:
            case PhaseEntered(phase=phase) if phase in _TRAINING and self.training_s is None:
                self.training_s = now
            case PhaseEntered(phase="extract"):
                self.extracting_s = now
            case TrialProgress(phase="extract", done=done, images=images):
                began_s = self.began_s if self.extracting_s is None else self.extracting_s
                self.extracted_s = began_s + (now - began_s) * images / done
            case TrialProgress(epoch=int(epoch), done=done, images=images):
                self.seen_s, self.progress = now, epoch - 1 + done / images
            case EpochEnded(epoch=epoch):
                self.seen_s, self.progress = now, float(epoch)

    def project(self, *, expected_s: float | None, tail_s: float) -> None:
        """Estimate anew when it ends.

        Args:
            expected_s: Seconds of the whole trial, by others like it; None where there are none.
            tail_s: From its last epoch to its end, likewise.
        """
        found = self._projected(expected_s, tail_s)
        if found is not None and self.end is not None and not self.end[1]:
            old_s, new_s = self.end[0], found[0]
            found = (old_s + _SMOOTHING * (new_s - old_s), found[1])
        self.end = found or self.end

    def _projected(self, expected_s: float | None, tail_s: float) -> tuple[float, bool] | None:
        if self.training_s is not None and self.progress:
            period_s = (self.seen_s - self.training_s) / self.progress
            return self.seen_s + period_s * (self.epochs - self.progress) + tail_s, False
        if expected_s is not None:
            return max(self.began_s + expected_s, self.extracted_s or 0.0), False
        # What follows the extraction is anyone's guess.
        return None if self.extracted_s is None else (self.extracted_s, True)


@dataclass(slots=True, kw_only=True)
class _Cell:
    """What is known of the trials of a cell."""

    point: Point
    pending: int = 0
    expected_s: float | None = None
    taken_s: list[float] = field(default_factory=list)
    tail_s: float | None = None


class EtaEstimator:
    """Estimates what is left of each trial in flight, and of all of them.

    A trial that trains is judged by its own epochs. One that has not come so far, or has not
    begun, is expected to take as long as the latest of its cell, else as in an earlier run, else
    as the same benchmark on other backends.

    Args:
        now: Monotonic clock in seconds.
    """

    def __init__(self, *, now: Callable[[], float] = now_s) -> None:
        self._now = now
        self._cells: dict[tuple[Point, str], _Cell] = {}
        self._courses: dict[int, tuple[_Cell, _Course]] = {}
        self._has_begun = False
        self._may_grow = False
        self._shared_s = now()

    def take(self, event: Event) -> None:
        """Take note of what happens."""
        match event:
            case RunStarted(cells=cells):
                for planned in cells:
                    cell = self._cell(planned)
                    cell.pending += planned.trials
                    cell.expected_s = planned.expected_s
                    self._may_grow |= planned.max_trials is not None
            case Looked(lines=lines):
                self._count_round(lines)
            case TrialStarted():
                self._begin(event)
            case TrialFinished():
                self._end(event)
            case OfTrial(name=name) if name.number in self._courses:
                cell, course = self._courses[name.number]
                course.take(event, self._now())
                self._project(cell, course)

    def trial(self, name: TrialName) -> Estimate | None:
        """Return what is left of a trial in flight; None where nothing is known."""
        if name.number not in self._courses:
            return None
        _, course = self._courses[name.number]
        return None if course.end is None else self._until(*course.end)

    def suite(self) -> Estimate | None:
        """Return what is left of all trials; None where nothing is known."""
        in_flight = [
            None if course.end is None else self._until(*course.end)
            for _, course in self._courses.values()
        ]
        parts: list[Estimate | None] = [one for one in in_flight if one is None]
        # Those in flight take turns: the end of the last is the end of all.
        parts += sorted(filter(None, in_flight), key=lambda one: one.seconds)[-1:]
        for cell in self._cells.values():
            each_s = self._expected(cell)
            whole = None if each_s is None else Estimate(each_s * cell.pending)
            parts += [whole] if cell.pending else []
        known = [part for part in parts if part is not None]
        if not known and parts:
            return None
        is_lower_bound = (
            len(known) < len(parts)
            or any(part.is_lower_bound for part in known)
            # Nothing tells how long preparing and proving will take, nor what looks will ask for.
            or not self._has_begun
            or self._may_grow
        )
        return Estimate(sum(part.seconds for part in known), is_lower_bound)

    def _count_round(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Count the trials that a look has asked for."""
        for line in lines:
            point = _point(line["benchmark"], line["matrix"], line["track"])
            for backend in line["backends"] if line["stop"] is None else ():
                self._cells[point, backend].pending += 1

    def _begin(self, event: TrialStarted) -> None:
        cell = self._cell(event.name)
        self._share()
        cell.pending = max(0, cell.pending - 1)
        self._has_begun = True
        course = _Course(began_s=self._now(), epochs=event.epochs)
        self._courses[event.name.number] = cell, course
        self._project(cell, course)

    def _end(self, event: TrialFinished) -> None:
        self._share()
        cell, course = self._courses.pop(event.name.number)
        now = self._now()
        cell.taken_s.append(course.own_s)
        if course.progress == course.epochs:
            cell.tail_s = now - course.seen_s

    def _share(self) -> None:
        """Share the time since this was last done among the trials in flight."""
        now = self._now()
        for _, course in self._courses.values():
            course.own_s += (now - self._shared_s) / len(self._courses)
        self._shared_s = now

    def _project(self, cell: _Cell, course: _Course) -> None:
        tails = [other.tail_s for other in self._cells.values() if other.tail_s is not None]
        tail_s = cell.tail_s if cell.tail_s is not None else fmean(tails) if tails else 0.0
        course.project(expected_s=self._expected(cell), tail_s=tail_s)

    def _expected(self, cell: _Cell) -> float | None:
        """Return the seconds of one trial of a cell; None where nothing is known."""
        own_s = self._seen(cell)
        if own_s is not None:
            return own_s
        if cell.expected_s is not None:
            return cell.expected_s
        likes = [other for other in self._cells.values() if other.point == cell.point]
        seen = [seconds for other in likes if (seconds := self._seen(other)) is not None]
        return fmean(seen) if seen else None

    def _seen(self, cell: _Cell) -> float | None:
        """Return what the latest trial of a cell took, or the one in flight will take."""
        if cell.taken_s:
            return cell.taken_s[-1]
        for other, course in self._courses.values():
            if other is cell and course.end is not None and course.progress:
                return (course.end[0] - course.began_s) / len(self._courses)
        return None

    def _cell(self, named: PlannedCell | TrialName) -> _Cell:
        point = _point(named.benchmark, named.matrix, named.track)
        return self._cells.setdefault((point, named.backend), _Cell(point=point))

    def _until(self, end_s: float, is_lower_bound: bool) -> Estimate:
        return Estimate(max(0.0, end_s - self._now()), is_lower_bound)


def _point(benchmark: str, matrix: Mapping[str, Any], track: str) -> Point:
    return benchmark, repr(sorted(matrix.items())), track

"""Comparisons: every two backends of a benchmark, trial by trial, in the measure that decides."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import combinations

from benchharness.model.cell import CellKey, CellName
from benchharness.results.cells import Cell, is_extracting
from benchharness.results.record import Record

# A machine that was idle for longer than this between two trials may be in another state: a turn
# starts its trials within seconds of each other. (``compare.verdict`` asks for ten times as much
# before it counts two times as different. Either limit makes us claim less, not more.)
LONGEST_IDLE_S = 60.0

# With fewer pairs of trials, all trials are compared, as they come.
FEWEST_PAIRS = 3

# Gives the logarithm of a trial's speed; None where unknown.
Speed = Callable[[Record], float | None]


# By identity: records are not hashable.
@dataclass(frozen=True, eq=False)
class BackendPair:
    """Two backends on one line of the table, all of whose cells are in ``line``."""

    a: Cell
    b: Cell
    line: tuple[Cell, ...]

    @property
    def metric(self) -> str:
        """What decides who is faster.

        ``time_to_top1_s`` where a target is stated and every ok trial of both has reached it, else
        ``train_images_per_s``, or ``feed_images_per_s`` where nothing is trained.
        """
        return "time_to_top1_s" if self.is_target_met else self.rate

    @property
    def rate(self) -> str:
        """The metric of the work's speed, in images/s."""
        is_feeding = self.a.strategy == "dataset"
        return "feed_images_per_s" if is_feeding else "train_images_per_s"

    @property
    def is_target_met(self) -> bool:
        """Whether there is a target, and every ok trial of both has reached it."""
        return self.a.target_misses == 0 and self.b.target_misses == 0

    @cached_property
    def couples(self) -> tuple[tuple[Record, Record], ...]:
        """The ok trials of both, by index, that ran next to each other; see ``Timeline``."""
        timeline = Timeline(trial for cell in self.line for trial in cell.trials)
        return tuple(couple for couple in self._of_one_host if timeline.are_adjacent(*couple))

    @property
    def apart(self) -> int:
        """Number of pairs, of one index and host, that did not run next to each other."""
        return len(self._of_one_host) - len(self.couples)

    @property
    def on_two_hosts(self) -> int:
        """Number of indices of which both have a trial, but on no common host."""
        of_a, of_b = ({trial["trial"] for trial in cell.ok} for cell in (self.a, self.b))
        return len(of_a & of_b - {trial["trial"] for trial, _ in self._of_one_host})

    @property
    def is_separate_run(self) -> bool:
        """Whether the sides ran at different times: too few of their trials ran in pairs."""
        return self.apart > 0 and len(self.couples) < FEWEST_PAIRS

    @property
    def max_trials(self) -> int | None:
        """Up to how many trials looks decide when to stop; None where the number was fixed."""
        return max((trial.get("max_trials") or 0 for trial in self.a.ok), default=0) or None

    def logs(self, speed: Speed | None = None) -> tuple[float, ...]:
        """Return the logarithms of how many times as fast A is, by default in ``metric``."""
        return tuple(log for log, _ in self._ratios(speed))

    def hosts(self, speed: Speed | None = None) -> tuple[str, ...]:
        """Return the host of each of ``logs``, which are one per couple."""
        return tuple(host for _, host in self._ratios(speed))

    def sides(self, speed: Speed | None = None) -> list[tuple[list[float], list[float]]]:
        """Return the log speeds of all ok trials of A and of B, of each host that ran both.

        By default those of ``metric``.
        """
        speed = speed or log_speed(self.metric)
        hosts: dict[str, tuple[list[float], list[float]]] = {}
        for side, cell in enumerate((self.a, self.b)):
            for trial in cell.ok:
                if (log := speed(trial)) is not None:
                    hosts.setdefault(host_of(trial), ([], []))[side].append(log)
        return [sides for sides in hosts.values() if all(sides)]

    @cached_property
    def _of_one_host(self) -> list[tuple[Record, Record]]:
        """The ok trials of both, by index and host."""
        of_b = {(host_of(trial), trial["trial"]): trial for trial in self.b.ok}
        of_a = ((trial, (host_of(trial), trial["trial"])) for trial in self.a.ok)
        return [(trial, of_b[key]) for trial, key in of_a if key in of_b]

    def _ratios(self, speed: Speed | None) -> list[tuple[float, str]]:
        """Return the logarithm of each couple's ratio, and its host."""
        speed = speed or log_speed(self.metric)
        speeds = ((speed(a), speed(b), host_of(a)) for a, b in self.couples)
        return [(a - b, host) for a, b, host in speeds if a is not None and b is not None]


def comparisons_of(cells: Iterable[Cell]) -> list[BackendPair]:
    """Return every two backends of each line and kind of machine, in the order of the cells."""
    lines: dict[tuple[CellKey, str], list[Cell]] = {}
    for cell in cells:
        lines.setdefault((cell.group_key, cell.machine), []).append(cell)
    return [
        BackendPair(*pair, line=tuple(line))
        for line in lines.values()
        for pair in combinations(line, 2)
    ]


def family_size(cells: Iterable[CellName]) -> int:
    """Return in how many comparisons a report of cells of one kind of machine may name a winner.

    Every two backends of each line, not only those with the leader, because the data pick the
    leader; and every two backends that have an overall answer. Before a run, give all cells of
    the plan: the size must not depend on how far the run has come.
    """
    lines: dict[CellKey, set[str]] = {}
    benchmarks: dict[str, set[str]] = {}
    for cell in cells:
        lines.setdefault(cell.group_key, set()).add(cell.backend)
        if is_in_overall(cell):
            benchmarks.setdefault(cell.benchmark, set()).add(cell.backend)
    shared = Counter(
        pair for backends in benchmarks.values() for pair in combinations(sorted(backends), 2)
    )
    overall = sum(count > 1 for count in shared.values())
    return overall + sum(math.comb(len(backends), 2) for backends in lines.values())


def is_in_overall(cell: CellName) -> bool:
    """Whether the overall answer may use a cell: of the equal track, and it trains."""
    return cell.track == "equal" and cell.strategy != "dataset"


def log_speed(metric: str) -> Speed:
    """Return a trial's log speed by a rate (``_per_s``), or by a time: then of its reciprocal."""
    sign = 1 if metric.endswith("_per_s") else -1

    def of(trial: Record) -> float | None:
        value = trial["metrics"].get(metric)
        return sign * math.log(value) if value else None

    return of


def work_speed(trial: Record) -> float | None:
    """Return the logarithm of the training images per second of work, extraction included.

    None where a trial read features that an earlier one had extracted: it has not done the work.
    """
    metrics = trial["metrics"]
    rate = metrics.get("train_images_per_s")
    if not rate or not is_extracting(trial):
        return math.log(rate) if rate else None
    train_s, extract_s = metrics.get("train_s"), metrics.get("extract_s")
    if not train_s or extract_s is None or metrics.get("extract_reused") is not False:
        return None
    return math.log(rate * train_s / (train_s + extract_s))


class Timeline:
    """When the trials of a run ran, on each host."""

    def __init__(self, trials: Iterable[Record]) -> None:
        """Take all trials that may have run between others, in any order."""
        self._spans: dict[str, list[tuple[float, float, int]]] = {}
        for trial in trials:
            if trial.get("started"):
                span = started_s(trial), ended_s(trial), trial["trial"]
                self._spans.setdefault(host_of(trial), []).append(span)
        for spans in self._spans.values():
            spans.sort()

    def are_adjacent(self, record: Record, other: Record) -> bool:
        """Return whether two trials of one index ran next to each other; unknown times count as so.

        On one host: between them ran only trials of that index, and nothing was idle for longer
        than ``LONGEST_IDLE_S``.
        """
        host = host_of(record)
        if host != host_of(other):
            return False
        if not (record.get("started") and other.get("started")):
            return True
        first, last = sorted((started_s(record), started_s(other)))
        spans, ended = self._spans.get(host, []), first
        for place in range(bisect_left(spans, (first,)), bisect_right(spans, (last, math.inf))):
            began, end, index = spans[place]
            if index != record["trial"] and first < began < last:
                return False
            if began - ended > LONGEST_IDLE_S:
                return False
            ended = max(ended, end)
        return True


def host_of(trial: Record) -> str:
    """Return the host of a trial; empty in older records, all of which are of one host."""
    return trial.get("host") or ""


def started_s(trial: Record) -> float:
    """Return when a trial began, in seconds; records name no zone where they mean UTC."""
    time = datetime.fromisoformat(trial["started"])
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def ended_s(trial: Record) -> float:
    """Return when a trial ended, in seconds; one that was killed has measured nothing."""
    if ended := trial.get("ended"):
        return datetime.fromisoformat(ended).timestamp()
    return started_s(trial) + (trial["metrics"].get("wall_s") or 0.0)

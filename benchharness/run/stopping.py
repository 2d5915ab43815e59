"""Stopping rule: a look at every line after each round of trials decides whether it gets more.

A line is a benchmark at one point of its matrix and in one track, on all its backends. It ends once
its fastest backend is decided, after its most trials, for lack of time, or as too many have failed.
The confidence of each look (``measure.sequential``) depends on the number of looks and comparisons.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from typing import Any, Literal

from benchharness.measure.sequential import InterimLook, looks
from benchharness.model.cell import CellKey
from benchharness.results.cells import Cell as RecordedCell
from benchharness.results.cells import cells_of
from benchharness.results.comparisons import comparisons_of, family_size
from benchharness.results.record import Record
from benchharness.suite.plan import Plan, PlannedCell, Trial

Stop = Literal["decided", "max_trials", "time", "failed"]
# Two backends, and the kind of machine where the records have several.
Pair = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LineLook:
    """Interim look at a line after some rounds: all its cells, and those with a trial that is ok.

    Looks are by pair of backends, and by kind of machine where there are several; None without
    trials of both that ran side by side. ``round_s`` are the seconds of one more round. Without a
    stop another round follows.
    """

    line: tuple[PlannedCell, ...]
    cells: tuple[PlannedCell, ...]
    trials: int
    looks: Mapping[Pair, InterimLook | None]
    round_s: float
    stop: Stop | None = None

    @property
    def undecided(self) -> list[InterimLook | None]:
        """The undecided looks at the fastest backend of a kind of machine and another one."""
        ahead: dict[Pair, Counter[str]] = {}
        for pair, look in self.looks.items():
            if look:
                ahead.setdefault(pair[2:], Counter())[pair[look.ratio < 1]] += 1
        fastest = {machine: max(wins, key=wins.__getitem__) for machine, wins in ahead.items()}
        return [
            look
            for pair, look in self.looks.items()
            if look is None or (look.verdict == "open" and fastest[pair[2:]] in pair[:2])
        ]

    @property
    def more(self) -> int | None:
        """How many more rounds would probably decide the line; None if unknown or too many."""
        needed = [look.more if look else None for look in self.undecided]
        known = [rounds for rounds in needed if rounds is not None]
        if not known or len(known) < len(needed):
            return None
        return max(known) if self.trials + max(known) <= self.line[0].most else None

    def as_dict(self) -> dict[str, Any]:
        """Return the look as JSON knows it."""
        first, more = self.line[0], self.more
        return {
            "benchmark": first.benchmark,
            "matrix": dict(first.matrix),
            "track": first.track,
            "backends": [cell.backend for cell in self.cells],
            "trials": self.trials,
            "max_trials": first.max_trials,
            "stop": self.stop,
            "more_trials": more,
            "more_s": None if more is None else more * self.round_s,
            "pairs": [
                {
                    "backends": list(pair[:2]),
                    **({"machine": pair[2]} if pair[2:] else {}),
                    **{name: getattr(look, name) for name in ("verdict", "ratio", "low", "high")},
                }
                for pair, look in self.looks.items()
                if look
            ],
        }


def look_at(plan: Plan, records: Sequence[Record], *, spent_s: float) -> list[LineLook]:
    """Return a look at each line with ``auto`` trials, so many seconds after timing began."""
    automatic = [line for line in plan.lines() if line[0].max_trials is not None]
    if not automatic:
        # The statistics take a second to load.
        return []
    left_s = 60 * (plan.max_minutes or math.inf) - spent_s
    pairs, recorded = _pairs(plan, records), _by_line(records)
    lines = []
    for cells in automatic:
        key = cells[0].group_key
        known = recorded.get(key, [])
        ok, known_pairs = _ok_cells(cells, known), pairs.get(key, {})
        # Backends that have met on no kind of machine yet.
        apart = set(combinations((cell.backend for cell in ok), 2)) - {
            both for pair in known_pairs for both in permutations(pair[:2])
        }
        line = LineLook(
            line=cells,
            cells=ok,
            trials=max(map(_last_index, known), default=0),
            looks={**known_pairs, **dict.fromkeys(sorted(apart))},
            round_s=sum(_trial_s(known).values()),
        )
        stop: Stop | None = None
        if len(line.cells) < 2:
            stop = "failed"
        elif not line.undecided:
            stop = "decided"
        elif line.trials >= cells[0].most:
            stop = "max_trials"
        elif line.round_s > left_s:
            stop = "time"
        else:
            left_s -= line.round_s
        lines.append(replace(line, stop=stop))
    return lines


def started_trials(plan: Plan, records: Sequence[Record]) -> list[Trial]:
    """Return the trials of all rounds that have started, in running order.

    The first rounds count as started; a later one has a record.
    """
    recorded = _by_line(records)
    trials: list[Trial] = []
    for line in plan.lines():
        cells, first = recorded.get(line[0].group_key, []), line[0].trials
        for index in range(1, max([first, *map(_last_index, cells)]) + 1):
            trials += plan.turn(line if index <= first else _ok_cells(line, cells), index)
    return trials


def next_round(plan: Plan, lines: Iterable[LineLook]) -> list[Trial]:
    """Return one more trial of each backend of the lines that continue."""
    continued = (line for line in lines if line.stop is None)
    return [trial for line in continued for trial in plan.turn(line.cells, line.trials + 1)]


def _pairs(plan: Plan, records: Sequence[Record]) -> dict[CellKey, dict[Pair, InterimLook | None]]:
    """Return the look at each pair of backends of a line that both have a trial that is ok.

    All are computed together, because the confidence of each depends on the others.
    """
    cells = cells_of(records)
    comparisons = [pair for pair in comparisons_of(cells) if pair.a.ok and pair.b.ok]
    logs = {index: logs for index, pair in enumerate(comparisons) if (logs := pair.logs())}
    machines = len({cell.machine for cell in cells})
    all_looks = looks(
        list(logs.values()),
        hosts=[comparisons[index].hosts() for index in logs],
        comparisons=family_size(plan.cells) * max(machines, 1),
        max_trials=max(cell.most for cell in plan.cells),
    )
    by_index = dict(zip(logs, all_looks, strict=True))
    lines: dict[CellKey, dict[Pair, InterimLook | None]] = {}
    for index, pair in enumerate(comparisons):
        key = (pair.a.backend, pair.b.backend)
        machine = (pair.a.machine,) if machines > 1 else ()
        lines.setdefault(pair.a.group_key, {})[*key, *machine] = by_index.get(index)
    return lines


def _trial_s(recorded: Sequence[RecordedCell]) -> dict[str, float]:
    """Return the seconds of the latest trial of each backend, on its slowest kind of machine."""
    seconds: dict[str, float] = {}
    for cell in (cell for cell in recorded if cell.ok):
        wall_s = cell.ok[-1]["metrics"].get("wall_s", 0.0)
        seconds[cell.backend] = max(wall_s, seconds.get(cell.backend, 0.0))
    return seconds


def _ok_cells(
    line: Sequence[PlannedCell], recorded: Sequence[RecordedCell]
) -> tuple[PlannedCell, ...]:
    ok = {cell.backend for cell in recorded if cell.ok}
    return tuple(cell for cell in line if cell.backend in ok)


def _by_line(records: Sequence[Record]) -> dict[CellKey, list[RecordedCell]]:
    lines: dict[CellKey, list[RecordedCell]] = {}
    for cell in cells_of(records):
        lines.setdefault(cell.group_key, []).append(cell)
    return lines


def _last_index(cell: RecordedCell) -> int:
    return max(int(trial["trial"]) for trial in cell.trials)

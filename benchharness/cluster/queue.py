"""Queue of repetitions: which trials wait for which host, so that ratios are made on one host."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from benchharness.model.cell import CellKey, cell_key
from benchharness.results.record import Record
from benchharness.suite.plan import Trial


@dataclass(slots=True, kw_only=True)
class Repetition:
    """Trials of one benchmark and one index that are compared: every backend's, in their order.

    Attributes:
        benchmark: Key of the benchmark at its point of the matrix and in its track.
        host: Where those of its trials ran that are done; empty for none.
    """

    benchmark: CellKey
    index: int
    trials: list[Trial]
    host: str = ""


@dataclass(slots=True, kw_only=True)
class Queue:
    """Repetitions that wait, in the order of the plan.

    All repetitions of a benchmark go to the kind of machine that got its first one, as ratios are
    made within a kind and need several; those that were begun go on where they began.

    Attributes:
        kinds: The kind of machine that each benchmark runs on, as far as that is decided.
    """

    waiting: list[Repetition]
    kinds: dict[CellKey, str] = field(default_factory=dict)

    @classmethod
    def of(cls, trials: Iterable[Trial], records: Iterable[Record]) -> Queue:
        """Return the queue of pending trials; records are those of the run so far."""
        begun: dict[tuple[CellKey, int], str] = {}
        kinds: dict[CellKey, str] = {}
        for record in records:
            key = cell_key(record["benchmark"], record["matrix"], record["track"])
            begun[key, record["trial"]] = record.get("host") or ""
            if record.get("machine"):
                kinds[key] = record["machine"]
        repetitions: dict[tuple[CellKey, int], Repetition] = {}
        for trial in trials:
            key, index = trial.cell.group_key, trial.index
            host = begun.get((key, index), "")
            first = Repetition(benchmark=key, index=index, trials=[], host=host)
            repetitions.setdefault((key, index), first).trials.append(trial)
        return cls(waiting=[*repetitions.values()], kinds=kinds)

    def __len__(self) -> int:
        return len(self.waiting)

    def take(
        self,
        *,
        host: str,
        machine: str,
        hosts: Sequence[tuple[str, str]],
        is_ready: Callable[[Repetition], bool],
    ) -> Repetition | None:
        """Take out the first repetition that a free host may carry out; None where there is none.

        Args:
            machine: The host's kind.
            hosts: Name and kind of every host there is; what belongs to one that is gone may go to
                any other.
            is_ready: Whether the trials that a repetition builds on are done.
        """
        names, machines = (set(values) for values in zip(*hosts, strict=True))
        for place, repetition in enumerate(self.waiting):
            kind = self.kinds.get(repetition.benchmark)
            if kind in machines and kind != machine:
                continue
            if repetition.host in names and repetition.host != host:
                continue
            if is_ready(repetition):
                self.kinds[repetition.benchmark] = machine
                return self.waiting.pop(place)
        return None

    def put_back(self, repetition: Repetition) -> None:
        """Let what is left of a repetition be the next to be carried out."""
        if repetition.trials:
            self.waiting.insert(0, repetition)

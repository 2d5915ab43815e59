"""Trials grouped into cells: one benchmark, point of its matrix, backend, track and machine."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from benchharness.model.cell import CellKey, CellName, cell_key, cell_label
from benchharness.results.record import Record, machines_of, measured

Number = int | float
# From good to bad; nothing is known where no proof was requested.
PROOFS = ("proven", "", "partial", "not comparable")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell(CellName):
    """All trials of one cell on one kind of machine, at least one.

    Attributes:
        machine: Empty where the records do not state it.
    """

    trials: tuple[Record, ...]
    machine: str = ""

    @property
    def ok(self) -> tuple[Record, ...]:
        """The trials that ran to their end."""
        return tuple(trial for trial in self.trials if trial["status"] == "ok")

    @property
    def status(self) -> str:
        """``ok`` when any trial is, else the status of the last."""
        return "ok" if self.ok else str(self.trials[-1]["status"])

    @property
    def failures(self) -> Counter[tuple[str, str]]:
        """Number of the trials that are not ok, by status and reason."""
        return Counter(
            (trial["status"], trial.get("reason") or trial["status"])
            for trial in self.trials
            if trial["status"] != "ok"
        )

    @property
    def proof(self) -> str:
        """The worst verdict of the trials that ran to their end, or of all where none did."""
        return worst_proof(trial.get("proof") or "" for trial in self.ok or self.trials)

    def proof_against(self, backend: str) -> str:
        """Return the worst verdict of the ok trials on the pair with another backend."""
        return worst_proof((trial.get("proofs") or {}).get(backend) or "" for trial in self.ok)

    @property
    def disturbed(self) -> tuple[Record, ...]:
        """The ok trials that were timed while other processes kept the machine busy."""
        return tuple(trial for trial in self.ok if trial.get("is_disturbed"))

    @property
    def target_top1(self) -> float | None:
        """The validation top-1 to reach; None where the benchmark has no target."""
        target: float | None = self.trials[-1]["settings"].get("target_top1")
        return target

    @property
    def target_misses(self) -> int | None:
        """How many ok trials never reached the target; None where there is none."""
        if self.target_top1 is None:
            return None
        return len(self.ok) - len(self.values("time_to_top1_s"))

    @property
    def speed_unit(self) -> str:
        """Unit of its speed: images, or what a frozen front has made of them, a second."""
        return f"{trains_on(self.strategy, self.trials[-1]['settings'])}/s"

    @property
    def is_extracting(self) -> bool:
        """True where its trials extract features before training."""
        return is_extracting(self.trials[-1])

    def values(self, metric: str) -> list[Number]:
        """Return the known values of a metric over the ok trials."""
        known = (measured(trial["metrics"], metric) for trial in self.ok)
        return [value for value in known if value is not None]

    def median(self, metric: str) -> Number | None:
        """Return the median over the ok trials; None when no trial knows it."""
        values = self.values(metric)
        return statistics.median(values) if values else None

    def published(self, figure: str) -> Any:
        """Return a published figure (``top1``, ``epoch_s``, ``note``); None when there is none."""
        return (self.trials[-1].get("published") or {}).get(figure)


def cells_of(records: Iterable[Record]) -> list[Cell]:
    """Return the cells of some trials, in the order in which they first occur."""
    records = list(records)
    groups: dict[tuple[CellKey, str], list[Record]] = {}
    for record, machine in zip(records, machines_of(records), strict=True):
        groups.setdefault((record_key(record), machine), []).append(record)
    return [
        Cell(
            benchmark=trials[0]["benchmark"],
            strategy=trials[0]["strategy"],
            backend=trials[0]["backend"],
            track=trials[0]["track"],
            matrix=trials[0]["matrix"],
            trials=tuple(trials),
            machine=machine,
        )
        for (_, machine), trials in groups.items()
    ]


def record_key(record: Mapping[str, Any]) -> CellKey:
    """Return the key of the cell that a record, or what run.json says of a cell, names."""
    return cell_key(record["benchmark"], record["matrix"], record["track"], record["backend"])


def record_label(record: Mapping[str, Any]) -> str:
    """Return the name of that cell for people."""
    return cell_label(record["benchmark"], record["matrix"], record["track"], record["backend"])


def trains_on(strategy: str, settings: Mapping[str, Any]) -> str:
    """Return what training goes through: ``images``, or stored ``features`` of them."""
    is_front_stored = settings.get("reuse_frozen") and settings.get("trainable") != "all"
    return "features" if strategy == "bottleneck" or is_front_stored else "images"


def is_extracting(trial: Record) -> bool:
    """Return whether a trial extracts features before it trains on them."""
    return trains_on(trial["strategy"], trial["settings"]) == "features"


def worst_proof(verdicts: Iterable[str]) -> str:
    """Return the worst of several verdicts; empty where there is none."""
    return max(verdicts, key=lambda verdict: PROOFS.index(proof_word(verdict)), default="")


def proof_word(verdict: str) -> str:
    """Return a verdict without its reason.

    Raises:
        ValueError: It is none of ``PROOFS``.
    """
    word = verdict.partition(":")[0]
    if word not in PROOFS:
        raise ValueError(f"expected a verdict of {', '.join(filter(None, PROOFS))}, found {word!r}")
    return word

"""Log of a run as a tracker gets it: parameters, epochs and figures of each trial, and the end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from benchharness.api import Event
from benchharness.model.quantities import QUANTITIES
from benchharness.results.cells import cells_of, record_label
from benchharness.results.run_folder import RunFolder
from benchharness.run.resume import SUCCESS

State = Literal["finished", "failed", "killed"]
Parameter = str | int | float | bool

_OF_RUN = ("command", "suite", "profile", "device")
_OF_TRIAL = ("trial_id", "benchmark", "backend", "track", "trial", "seed", "matrix", "settings")
_OF_RECORD = ("host", "machine", "effective", "versions")
_OF_EPOCH = (
    *("train_s", "images_per_s", "train_loss", "train_top1"),
    *("validation_loss", "validation_top1"),
)
_NOTES = ("status", "reason", "failed_in", "proof", "flags", "log")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStart:
    """Start of a run.

    Attributes:
        name: Of its folder.
        folder: Made after the start, when the data are there.
        parameters: ``command``, ``suite``, ``profile`` and ``device``.
        time_s: Unix time.
    """

    name: str
    suite: str
    folder: Path
    parameters: Mapping[str, Parameter]
    time_s: float


@dataclass(slots=True, kw_only=True)
class TrialLog:
    """Log of one trial.

    Attributes:
        parameters: What it was asked to do and what it ran on, flat: ``settings.batch_size``.
        epochs: Number, Unix time of its end and figures of each: ``epoch/train_loss``.
        figures: Every number of its metrics; of a trial in flight none are known.
        notes: Status, reason, proof and all else in words.
        state: None while it runs.
    """

    name: str
    parameters: dict[str, Parameter]
    started_s: float
    epochs: list[tuple[int, float, dict[str, float]]] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    state: State | None = None
    ended_s: float = 0.0

    @classmethod
    def of(cls, event: Event) -> Self:
        """Return the log of a trial that starts."""
        return cls(
            name=f"{record_label(event)} {event['trial']}",
            parameters=dict(_flat(event, _OF_TRIAL)),
            started_s=_unix(event),
        )

    def add_epoch(self, event: Event) -> None:
        """Add an epoch; the first of another attempt replaces those of the one before."""
        if event["epoch"] == 1:
            self.epochs.clear()
        known = [name for name in _OF_EPOCH if event[name] is not None]
        figures = {f"epoch/{name}": event[name] for name in known}
        self.epochs.append((event["epoch"], _unix(event), figures))

    def finish(self, event: Event) -> None:
        """Add everything that became known at the trial's end."""
        self.parameters |= _flat(event, _OF_RECORD)
        for name, value in _flat(event["metrics"]):
            if isinstance(value, str | bool):
                self.notes[name] = str(value)
            else:
                self.figures[name] = value
        self.notes |= {name: str(value) for name, value in _flat(event, _NOTES) if value != ""}
        self.state = "finished" if event["status"] in SUCCESS else "failed"
        self.ended_s = _unix(event)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnd:
    """End of a run.

    Attributes:
        figures: Median of each quantity over the trials of a cell that are ok, ``CELL/QUANTITY``.
        text: The answers, or what ended the run early.
        files: Those in the run's folder: records, tables, certificate and report, without logs
            and weights.
        time_s: Unix time.
    """

    state: State
    exit_code: int
    figures: Mapping[str, float]
    text: str
    files: Sequence[Path]
    time_s: float


class Tracker(Protocol):
    """Writes logs with a package, whose environment variables decide where to."""

    def start(self, run: RunStart) -> None:
        """Begin a run, which may be a resumed one."""

    def log_trial(self, trial: TrialLog) -> None:
        """Write a trial that has ended; again, at the end of the run, where the user interrupts."""

    def finish(self, end: RunEnd) -> None:
        """End the run."""


class RunLog:
    """Observer that hands a run to a tracker.

    A trial is written when the next is about to start, or when the run ends: no worker computes
    then, and the user can interrupt it, which the end of a trial does not allow.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._run: RunStart | None = None
        # By their number in the run; of a comparison two are in flight.
        self._trials: dict[int, TrialLog] = {}

    def __call__(self, event: Event) -> None:
        """Take an event; of runs without records, as of ``certify``, nothing is logged."""
        kind = event["event"]
        if kind == "run_started" and event["folder"]:
            folder = Path(event["folder"])
            self._run = RunStart(
                name=folder.name,
                suite=event["suite"],
                folder=folder,
                parameters=dict(_flat(event, _OF_RUN)),
                time_s=_unix(event),
            )
            self._tracker.start(self._run)
        elif self._run is None:
            return
        elif kind == "trial_started":
            self._write()
            self._trials[event["number"]] = TrialLog.of(event)
        elif kind == "epoch":
            self._trials[event["number"]].add_epoch(event)
        elif kind == "trial_finished":
            self._trials[event["number"]].finish(event)
        elif kind == "run_finished":
            for trial in self._trials.values():
                if trial.state is None:
                    # The end of the run has interrupted it.
                    trial.notes["status"] = trial.state = "killed"
                    trial.ended_s = _unix(event)
            self._write()
            self._tracker.finish(_end(self._run.folder, event))

    def _write(self) -> None:
        for number, trial in list(self._trials.items()):
            if trial.state is not None:
                self._tracker.log_trial(trial)
                del self._trials[number]


def _end(folder: Path, event: Event) -> RunEnd:
    code, is_made = event["exit_code"], folder.is_dir()
    # As in a shell: 128 and the number of the signal.
    ended_early: State = "killed" if code > 128 else "failed"
    cells = cells_of(RunFolder.open(folder).records()[0]) if is_made else []
    is_mixed = len({cell.machine for cell in cells}) > 1
    return RunEnd(
        state=ended_early if event["errors"] else "finished",
        exit_code=code,
        figures={
            f"{cell.label}{f' on {cell.machine}' if is_mixed else ''}/{name}": median
            for cell in cells
            for name in QUANTITIES
            if (median := cell.median(name)) is not None
        },
        text="\n".join(event["answers"] or event["errors"]),
        # Hidden is the lock.
        files=sorted(filter(Path.is_file, folder.glob("[!.]*"))),
        time_s=_unix(event),
    )


def _flat(
    source: Mapping[str, Any], names: Sequence[str] | None = None, *, prefix: str = ""
) -> Iterator[tuple[str, Parameter]]:
    """Yield names and values of nested fields, of these or all, without unknown ones."""
    for name in source if names is None else names:
        value = source[name]
        if isinstance(value, Mapping):
            yield from _flat(value, prefix=f"{prefix}{name}.")
        elif isinstance(value, str | int | float):
            yield f"{prefix}{name}", value
        elif value is not None and value != []:
            yield f"{prefix}{name}", json.dumps(value)


def _unix(event: Event) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()

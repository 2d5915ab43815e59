"""Events of a run, for its observers; ``--json`` prints each as one JSON object a line.

An observer is called with every event, in the order in which things happen. ``ORDER`` lists the
kinds of events; the docstring of each says what its fields mean, and the documentation's table is
made from these docstrings.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar

from benchharness.errors import RunError
from benchharness.results.record import Record, failed_in
from benchharness.results.run_folder import runs_of

if TYPE_CHECKING:
    from benchharness.suite.plan import Plan

_SCORES = ("train_loss", "train_top1", "validation_loss", "validation_top1")
# Fields of a record that are those of its event.
_OF_RECORD = (
    *("status", "reason", "proof", "metrics", "log"),
    *("effective", "versions", "host", "machine"),
)
# Settings that decide most of a trial's seconds.
_SLOWING = ("epochs", "image_size", "batch_size", "train_images", "test_images", "threads")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialName:
    """Which trial an event is about.

    Attributes:
        trial_id: Digest of all that decides its outcome, as in its record.
        number: Its place in the run, from 1.
        benchmark: Name.
        matrix: Setting to value: the point of the benchmark's matrix, empty without one.
        backend: Name.
        track: ``equal`` or ``native``.
        trial: From 1, among those of its cell.
        host: Name of the host of a cluster that runs it; empty for this machine.
    """

    trial_id: str
    number: int
    benchmark: str
    matrix: Mapping[str, Any]
    backend: str
    track: str
    trial: int
    host: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledCell:
    """A benchmark at one point of its matrix, on one backend and one track; see ``RunStarted``."""

    benchmark: str
    matrix: Mapping[str, Any]
    backend: str
    track: str
    trials: int
    epochs: int
    max_trials: int | None = None
    expected_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Event of a run."""

    kind: ClassVar[str]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-able; those of the trial's name are among them."""
        values = asdict(self)
        return {"event": self.kind, **values.pop("name", {}), **values}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """The run starts; only downloads that the choice of the profile needs come before.

    Attributes:
        command: ``run``, ``certify``, ``compare`` or ``noise``.
        suite: Name.
        profile: Name; null for none.
        device: Name.
        folder: Where records, CSV files and logs will be; null for ``certify``.
        trials: How many will run, before the first look.
        cells: What will run, each with ``benchmark``, ``matrix``, ``backend``, ``track``,
            ``trials`` (of each cell, before the first look), ``max_trials`` (how many there may
            be where looks decide, else null), ``epochs`` and ``expected_s``: the seconds of a
            trial in the latest run like this one, null where there is none.
    """

    kind: ClassVar[str] = "run_started"
    command: str
    suite: str
    profile: str | None
    device: str
    folder: str | None
    trials: int
    cells: tuple[ScheduledCell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced(Event):
    """A message to the user: a choice that was made, or a warning.

    Attributes:
        level: ``note`` or ``warning``.
        text: A sentence.
    """

    kind: ClassVar[str] = "message"
    level: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloading(Event):
    """A download makes progress; at most one event a second.

    Attributes:
        what: Which file; null where it is not known.
        done_bytes: Already there; null where it is not known.
        count_bytes: In all; null where it is not known.
    """

    kind: ClassVar[str] = "download"
    what: str | None
    done_bytes: int | None
    count_bytes: int | None

    @property
    def is_complete(self) -> bool:
        """Whether the whole file is there."""
        return self.count_bytes is not None and self.done_bytes == self.count_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparing(Event):
    """Images are drawn or decoded; at most one event a second, and one when all are done.

    Attributes:
        done: Images.
        count: Images in all.
    """

    kind: ClassVar[str] = "preparing"
    done: int
    count: int

    @property
    def is_complete(self) -> bool:
        """Whether all images are done."""
        return self.done == self.count


@dataclass(frozen=True, slots=True, kw_only=True)
class Probing(Event):
    """A backend is about to be probed at one cell, for the proof of equal work.

    What was probed in an earlier run is not probed again, and has no event.

    Attributes:
        backend: Name, or ``float64 reference``.
        benchmark: Name.
        matrix: Setting to value: the point of the benchmark's matrix.
        cell: Its place among this backend's, from 1.
        cells: How many of this backend are probed.
        number: Its place among all, from 1.
        count: How many are probed in all.
    """

    kind: ClassVar[str] = "probe"
    backend: str
    benchmark: str
    matrix: Mapping[str, Any]
    cell: int
    cells: int
    number: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified(Event):
    """The verdict on a pair of backends.

    Attributes:
        number: Its place among all, from 1.
        count: How many there are.
        is_proven: Whether both do the same work.
        certificate: As in ``certificate.json``: ``benchmark``, ``matrix``, ``backends``,
            ``verdict``, ``stages`` and ``deviations``.
    """

    kind: ClassVar[str] = "certificate"
    number: int
    count: int
    is_proven: bool
    certificate: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OfTrial(Event):
    """Event of a trial."""

    name: TrialName


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialStarted(OfTrial):
    """A trial's process is about to be started; of a comparison there may be two at a time.

    Attributes:
        count: Trials of the run, as far as looks have asked for them.
        trials: Trials of its cell, likewise.
        seed: Its seed.
        epochs: How many it will train, or feed.
        images: Training images of an epoch.
        max_trials: How many of its cell there may be where looks decide; null where ``trials`` is
            all.
        trains_on: ``images``, or the ``features`` that a frozen network has made of them.
        settings: Of the benchmark, all of them.
    """

    kind: ClassVar[str] = "trial_started"
    count: int
    trials: int
    seed: int
    epochs: int
    images: int
    max_trials: int | None = None
    trains_on: str = "images"
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseEntered(OfTrial):
    """A trial enters a phase: its seconds will be those of the column ``PHASE_s``.

    After the end of an epoch the training continues, without an event.

    Attributes:
        phase: ``startup``, ``import``, ``data``, ``build``, ``compile``, ``extract``, ``feed``,
            ``train``, ``ledger``, ``evaluate``, ``test``, ``save``, ``replay``, ``calibrate`` or
            ``overhead``, the warm-up of a GPU.
    """

    kind: ClassVar[str] = "phase"
    phase: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialProgress(OfTrial):
    """Progress of a phase, at most once a second and outside its timing.

    Attributes:
        phase: ``extract``, ``feed`` or ``train``.
        epoch: Current epoch, from 1; null where the phase has none.
        done: Images.
        images: In all, of the epoch or of the phase.
        seconds: Timed so far, of the epoch or of the phase.
    """

    kind: ClassVar[str] = "progress"
    phase: str
    epoch: int | None
    done: int
    images: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochEnded(OfTrial):
    """An epoch has been trained, or fed, and evaluated.

    Attributes:
        epoch: From 1.
        epochs: How many there are.
        train_s: Timed seconds of its steps alone.
        images_per_s: Training images per timed second.
        train_loss: Mean over the epoch; null where nothing is learnt.
        train_top1: Share of right guesses while training, 0-1; null likewise.
        validation_loss: Null without validation images.
        validation_top1: 0-1; null without validation images.
    """

    kind: ClassVar[str] = "epoch"
    epoch: int
    epochs: int
    train_s: float
    images_per_s: float
    train_loss: float | None = None
    train_top1: float | None = None
    validation_loss: float | None = None
    validation_top1: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialFinished(OfTrial):
    """A trial has ended, and its record is on disk.

    Attributes:
        status: ``ok``, ``failed``, ``timeout``, ``oom``, ``diverged`` or ``skipped``.
        reason: Why it is not ok, and what to try; else empty.
        failed_in: The phase in which it went wrong, and the epoch; null where none did, or
            unknown.
        proof: ``proven``, ``partial: WHAT (HOW FAR)`` or ``not comparable: WHY``; empty
            without a proof.
        flags: What looks wrong with its numbers.
        metrics: The columns of ``trials.csv`` that became known.
        log: What its process printed, a path below the run's folder; empty for none.
        effective: What the framework says it did, and the variables that matter; flat.
        versions: Which versions did it.
        host: Name of the host that ran it.
        machine: Its kind of machine.
    """

    kind: ClassVar[str] = "trial_finished"
    status: str
    reason: str
    failed_in: str | None = None
    proof: str
    flags: tuple[str, ...]
    metrics: Mapping[str, Any]
    log: str
    effective: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    host: str = ""
    machine: str = ""

    @classmethod
    def of(cls, name: TrialName, record: Record) -> TrialFinished:
        """Return the event of a record."""
        same = {key: record[key] for key in _OF_RECORD}
        return cls(name=name, failed_in=failed_in(record), flags=tuple(record["flags"]), **same)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked(Event):
    """All trials that were asked for have ended, and a look says which benchmarks get another.

    Only where a number of trials is ``auto``.

    Attributes:
        trials: How many the next round has; 0 after the last.
        lines: Each with ``benchmark``, ``matrix``, ``track``, ``backends`` (with a trial that is
            ok), ``trials`` (of each of them), ``max_trials``, ``stop`` (``decided``,
            ``max_trials``, ``time`` or ``failed``; null where another round follows),
            ``more_trials`` and ``more_s`` (what would probably decide it, of each backend and of
            all; null where it is decided or not known), and ``pairs``: ``backends``, ``machine``
            (its kind, only where there are several), ``verdict`` (``faster``, ``slower``, ``equal``
            or ``open``), ``ratio``, ``low``, ``high``.
    """

    kind: ClassVar[str] = "look"
    trials: int
    lines: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """The last event, also after an error or an interruption.

    Attributes:
        exit_code: Of the command.
        folder: Of the run; null where nothing was recorded.
        answers: Who is faster, by how much, how surely: the lines over the table.
        report: The page; null where none was written.
        errors: What ended the run early, a line each; as on standard error.
    """

    kind: ClassVar[str] = "run_finished"
    exit_code: int
    folder: str | None = None
    answers: tuple[str, ...] = ()
    report: str | None = None
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared(Event):
    """Two sides have been compared.

    Attributes:
        comparison: As in ``comparison.json``.
    """

    kind: ClassVar[str] = "comparison"
    comparison: Mapping[str, Any]


ORDER: tuple[type[Event], ...] = (
    RunStarted,
    Announced,
    Downloading,
    Preparing,
    Probing,
    Certified,
    TrialStarted,
    PhaseEntered,
    TrialProgress,
    EpochEnded,
    TrialFinished,
    Looked,
    Compared,
    RunFinished,
)
Observer = Callable[[Event], None]


def unobserved(event: Event) -> None:
    """Ignore an event."""


def announce(observe: Observer, lines: Iterable[str]) -> None:
    """Send an observer messages; those that begin with ``WARNING`` are warnings."""
    for line in lines:
        level = "warning" if line.startswith("WARNING") else "note"
        observe(Announced(level=level, text=line.removeprefix("WARNING: ")))


def of_worker(event: Mapping[str, Any], *, started: TrialStarted) -> Event | None:
    """Return the event for observers of a worker's event; None where only the record needs it."""
    name = started.name
    match event["event"]:
        case "phase":
            return PhaseEntered(name=name, phase=event["phase"])
        case "progress":
            details = {key: value for key, value in event.items() if key != "event"}
            return TrialProgress(name=name, **details)
        case "epoch" | "blocks":
            # Where nothing is learnt, there are the blocks of steps alone.
            is_fed = event["event"] == "blocks"
            train_s = sum(s for _, s in event["blocks"]) if is_fed else event["train_s"]
            return EpochEnded(
                name=name,
                epoch=event["epoch"],
                epochs=started.epochs,
                train_s=train_s,
                images_per_s=started.images / train_s,
                **{key: None if is_fed else event[key] for key in _SCORES},
            )
    return None


def previous_durations(results: Path, plan: Plan, *, device: str) -> dict[int, float]:
    """Return the median seconds of a cell's trials in the suite's latest run, by place in the plan.

    Cells that the run did not finish are missing, and all where it was on another device.
    """
    try:
        folder = runs_of(results / plan.suite.name)[-1]
        run, (records, _) = folder.read_run(), folder.records()
    except (IndexError, RunError, OSError):
        return {}
    if run.get("device") != device:
        return {}
    seconds: dict[str, list[float]] = {}
    for record in records:
        if "wall_s" in record["metrics"]:
            seconds.setdefault(_duration_key(record), []).append(record["metrics"]["wall_s"])
    keys = (_duration_key(cell.as_dict()) for cell in plan.cells)
    return {place: median(seconds[key]) for place, key in enumerate(keys) if key in seconds}


def _duration_key(described: Mapping[str, Any]) -> str:
    names = [described.get(key) for key in ("benchmark", "backend", "track", "matrix")]
    settings = described.get("settings", {})
    values = [*names, *(settings.get(key) for key in _SLOWING)]
    return json.dumps(values, sort_keys=True)

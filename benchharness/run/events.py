"""What happens in a run, as its observers are told; ``--json`` prints each as one object a line.

An observer is called with every event, in the order in which things happen. ``ORDER`` lists the
kinds of events; the docstring of each says what its fields mean, and the documentation's table is
made from these docstrings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from benchharness.results.record import Record, failed_in


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
    """

    trial_id: str
    number: int
    benchmark: str
    matrix: Mapping[str, Any]
    backend: str
    track: str
    trial: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCell:
    """A benchmark at one point of its matrix, on one backend and one track.

    Attributes:
        trials: How often it runs; where looks decide, how often before the first look.
        max_trials: How often it may run where looks decide; null where ``trials`` is all.
        epochs: Of each trial.
        expected_s: Seconds of a trial in the latest run like this one; null where there is none.
    """

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
    """Something that happens."""

    kind: ClassVar[str]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON knows them; those of the trial's name stand among them."""
        found: dict[str, Any] = {"event": self.kind}
        for field in fields(self):
            value = _plain(getattr(self, field.name))
            found |= value if field.name == "name" else {field.name: value}
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """The run begins; only downloads that decide how it is run come before.

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
    cells: tuple[PlannedCell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced(Event):
    """Something the user should know of the run: what was decided, or a warning.

    Attributes:
        level: ``note`` or ``warning``.
        text: A sentence.
    """

    kind: ClassVar[str] = "announcement"
    level: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloading(Event):
    """A download goes on; at most one event a second.

    Attributes:
        what: Which file; null where it is not known.
        done_bytes: Already there; null where it is not known.
        count_bytes: In all; null where it is not known.
    """

    kind: ClassVar[str] = "download"
    what: str | None
    done_bytes: int | None
    count_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparing(Event):
    """Images are drawn or decoded; at most one event a second, and one when all are done.

    Attributes:
        done: Images.
        count: Images in all.
    """

    kind: ClassVar[str] = "prepared"
    done: int
    count: int


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

    kind: ClassVar[str] = "proof"
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
    """Something that happens in a trial."""

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
    """

    kind: ClassVar[str] = "trial_started"
    count: int
    trials: int
    seed: int
    epochs: int
    images: int
    max_trials: int | None = None
    trains_on: str = "images"


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseEntered(OfTrial):
    """A trial enters a phase: its seconds will be those of the column ``PHASE_s``.

    After the end of an epoch the training goes on by itself, and no phase is told.

    Attributes:
        phase: ``startup``, ``import``, ``data``, ``build``, ``compile``, ``extract``, ``feed``,
            ``train``, ``ledger``, ``evaluate``, ``test``, ``save``, ``replay`` or ``calibrate``.
    """

    kind: ClassVar[str] = "phase"
    phase: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialProgress(OfTrial):
    """How far a phase has come, told at most once a second and off its clock.

    Attributes:
        phase: ``extract``, ``feed`` or ``train``.
        epoch: Which one is going on, from 1; null where the phase has none.
        done: Images.
        images: In all, of the epoch or of the phase.
        seconds: Timed so far, of the epoch or of the phase.
    """

    kind: ClassVar[str] = "advance"
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
        failed_in: The phase in which it went wrong, and the epoch; null where none did or nobody
            knows.
        proof: ``proven``, ``partial: WHAT (HOW FAR)`` or ``not comparable: WHY``; empty when
            nobody asked for a proof.
        flags: What looks wrong with its numbers.
        metrics: The columns of ``trials.csv`` that became known.
        log: What its process printed, a path below the run's folder; empty for none.
    """

    kind: ClassVar[str] = "trial_finished"
    status: str
    reason: str
    failed_in: str | None = None
    proof: str
    flags: tuple[str, ...]
    metrics: Mapping[str, Any]
    log: str

    @classmethod
    def of(cls, name: TrialName, record: Record) -> TrialFinished:
        """Return the event of a record."""
        return cls(
            name=name,
            status=record["status"],
            reason=record["reason"],
            failed_in=failed_in(record),
            proof=record["proof"],
            flags=tuple(record["flags"]),
            metrics=record["metrics"],
            log=record["log"],
        )


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
            all; null where it is decided or not known), and ``pairs``: ``backends``, ``verdict``
            (``faster``, ``slower``, ``equal`` or ``open``), ``ratio``, ``low``, ``high``.
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
    """Take no note of an event."""


def announce(observe: Observer, lines: list[str]) -> None:
    """Tell an observer what the user should know, a line each."""
    for line in lines:
        level = "warning" if line.startswith("WARNING") else "note"
        observe(Announced(level=level, text=line.removeprefix("WARNING: ")))


def of_worker(event: Mapping[str, Any], *, started: TrialStarted) -> Event | None:
    """Return what a worker's event means to an observer; None for what concerns the record alone.

    Args:
        event: As it came through the worker's pipe.
        started: How the trial began.
    """
    name = started.name
    match event["event"]:
        case "phase":
            return PhaseEntered(name=name, phase=event["phase"])
        case "progress":
            return TrialProgress(name=name, **_without_kind(event))
        case "epoch":
            scores = {key: event[key] for key in _SCORES}
            return _epoch(started, event["epoch"], event["train_s"], scores=scores)
        case "blocks":
            seconds = sum(block_s for _, block_s in event["blocks"])
            return _epoch(started, event["epoch"], seconds, scores={})
    return None


_SCORES = ("train_loss", "train_top1", "validation_loss", "validation_top1")


def _epoch(
    started: TrialStarted, epoch: int, train_s: float, *, scores: Mapping[str, float | None]
) -> EpochEnded:
    return EpochEnded(
        name=started.name,
        epoch=epoch,
        epochs=started.epochs,
        train_s=train_s,
        images_per_s=started.images / train_s,
        **scores,
    )


def _without_kind(event: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key != "event"}


def _plain(value: Any) -> Any:
    """Return a field as JSON knows it."""
    if isinstance(value, TrialName | PlannedCell):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value

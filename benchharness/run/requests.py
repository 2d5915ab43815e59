"""Requests to workers: a trial's executor, settings and inputs, its id, and its pretrained head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchharness.errors import PluginError
from benchharness.files import json_digest
from benchharness.measure.machine import usable_cores
from benchharness.model.cell import CellKey
from benchharness.plugins import code_digest, find, package_digest
from benchharness.results.record import Record
from benchharness.run.inputs import RunInputs
from benchharness.run.process.executor import LocalExecutor
from benchharness.suite.plan import Plan, PlannedCell, Trial
from benchharness.suite.settings import FineTuneSettings, TrainingSettings
from benchharness.worker.request import WorkerRequest

if TYPE_CHECKING:
    from benchharness.run.session import Session

# Settings that do not affect the outcome of a trial that finishes.
_IRRELEVANT = {"time_limit_s"}


@dataclass(kw_only=True)
class Requests:
    """Requests for the trials and probes of a session's plan, and who carries them out.

    Attributes:
        executor: Of backends that run on the interpreter of this process.
        resident_bytes: Most that all inputs of a trial may have to stay on a GPU.
    """

    session: Session
    inputs: RunInputs
    executor: LocalExecutor
    resident_bytes: int
    _digests: dict[CellKey, str] = field(default_factory=dict)
    _codes: dict[tuple[str, str], str] = field(default_factory=dict)

    def trial(
        self, trial: Trial, *, head_file: Path | None = None, weights_file: Path | None = None
    ) -> WorkerRequest:
        """Return the request for a trial: from which head, and where to write trained weights."""
        cell, cores = trial.cell, usable_cores()
        plugin, options = backend_plugin(self.inputs.plan, cell.backend)
        pretrained = self.inputs.pretrained(cell)
        return WorkerRequest(
            plugin=plugin,
            options=options,
            settings=cell.settings.model_dump(mode="json"),
            prepared=self.inputs.prepared(cell).as_dict(),
            pretrained=pretrained.as_dict() if pretrained else None,
            head_file=str(head_file) if head_file else None,
            weights_file=str(weights_file) if weights_file else None,
            features_folder=str(self.session.places.cache / "features"),
            files=self.inputs.files(cell),
            native=_stated_optimizer(cell),
            device=self.session.device.kind,
            resident_bytes=self.resident_bytes,
            threads=min(cell.settings.threads or cores, cores),
            seed=trial.seed,
        )

    def executor_of(self, backend: str, plugin: str) -> LocalExecutor:
        """Return a backend's executor; raise a PluginError if the plugin is not installed."""
        if backend in self.session.executors:
            return self.session.executors[backend]
        find(plugin)
        return self.executor

    def code(self, backend: str, plugin: str) -> str:
        """Return the digest of a backend's code and of the versions it runs on."""
        if (backend, plugin) not in self._codes:
            try:
                executor = self.session.executors.get(backend)
                code = executor.code if executor else code_digest(find(plugin))
            except PluginError:
                code = "not installed"
            self._codes[backend, plugin] = code
        return self._codes[backend, plugin]

    def trial_id(self, trial: Trial) -> str:
        """Return a trial's id: a digest of all that decides its outcome, known before it runs.

        All cells that may train its head count: failures decide which of them does.
        """
        heads = [self._digest(source) for source in self._head_sources(trial.cell)]
        return json_digest([self._digest(trial.cell), trial.index, trial.seed, heads], length=16)

    def _digest(self, cell: PlannedCell) -> str:
        """Return the digest of all that the trials of a cell have in common."""
        if cell.key not in self._digests:
            plugin, options = backend_plugin(self.inputs.plan, cell.backend)
            pretrained = self.inputs.pretrained(cell)
            self._digests[cell.key] = json_digest(
                {
                    "core": package_digest("benchharness"),
                    "benchmark": cell.benchmark,
                    "settings": {
                        **cell.settings.model_dump(mode="json", exclude=_IRRELEVANT),
                        **self.executor.variables,
                    },
                    "backend": [cell.backend, plugin, dict(options)],
                    "code": self.code(cell.backend, plugin),
                    "track": cell.track,
                    "stated": _stated_optimizer(cell),
                    "device": self.session.device.kind,
                    "data": self.inputs.prepared(cell).digest,
                    "weights": pretrained.digest if pretrained else None,
                },
                length=16,
            )
        return self._digests[cell.key]

    @cached_property
    def head_benchmarks(self) -> frozenset[str]:
        """The benchmarks whose heads some cells start from."""
        return frozenset(filter(None, map(head_benchmark, self.inputs.plan.cells)))

    def _head_sources(self, cell: PlannedCell) -> list[PlannedCell]:
        """Return the cells one of which trains the head that a cell starts from, preferred first.

        All backends start from the same head, or they would not do the same work: that of the first
        backend of the suite that has one. In the native track each starts from its own.
        """
        cells, name = self.inputs.plan.cells, head_benchmark(cell)
        sources = [s for s in cells if s.benchmark == name and s.track == cell.track]
        if self.session.own_head_per_backend or cell.track == "native":
            return [source for source in sources if source.backend == cell.backend]
        in_suite_order = list(dict.fromkeys(other.backend for other in cells))
        return sorted(sources, key=lambda source: in_suite_order.index(source.backend))

    def head_record(self, trial: Trial, records: Sequence[Record]) -> Record | None:
        """Return which of earlier records trained the head that a trial starts from, if any."""
        cell, name = trial.cell, head_benchmark(trial.cell)
        records = [record for record in records if record["benchmark"] == name]
        # Where the bottleneck has fewer trials, they serve in turn.
        count = max((int(record["trial"]) for record in records), default=1)
        wanted = cell.track, (trial.index - 1) % count + 1, "ok"
        usable = {
            record["backend"]: record
            for record in records
            if (record["track"], record["trial"], record["status"]) == wanted
        }
        backends: Iterable[str] = (source.backend for source in self._head_sources(cell))
        return next((usable[backend] for backend in backends if backend in usable), None)


def backend_plugin(plan: Plan, backend: str) -> tuple[str, Mapping[str, Any]]:
    """Return the plugin that a backend of the suite stands for, and its options."""
    table = plan.suite.backend.get(backend)
    if table is None:
        return backend, {}
    return table.plugin or backend, table.options


def head_benchmark(cell: PlannedCell) -> str:
    """Return the benchmark whose head a cell starts from; empty for none."""
    return (isinstance(cell.settings, FineTuneSettings) and cell.settings.head_from) or ""


def _stated_optimizer(cell: PlannedCell) -> dict[str, Any] | None:
    """Return the constants that suite or recipe states; None in the equal track."""
    settings = cell.settings
    if cell.track == "equal":
        return None
    if not isinstance(settings, TrainingSettings):
        return {}
    stated = settings.optimizer.model_dump(mode="json", exclude_unset=True)
    return {"name": settings.optimizer.name, **stated}

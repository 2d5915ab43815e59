"""Requests to workers: a trial's settings and inputs, its id, and the head it starts from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from benchharness import __version__
from benchharness.errors import PluginError
from benchharness.files import json_digest
from benchharness.model.cell import CellKey
from benchharness.plugins import code_digest, find
from benchharness.results.record import Record
from benchharness.run.inputs import RunInputs
from benchharness.run.process.executor import LocalExecutor
from benchharness.suite.plan import Cell, Plan, Trial
from benchharness.suite.settings import FineTuneSettings, TrainingSettings
from benchharness.worker.request import WorkerRequest

# Settings that do not affect the outcome of a trial that finishes.
_IRRELEVANT = {"time_limit_s"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Requests for the trials and probes of a plan.

    Attributes:
        device: ``cpu`` or ``gpu``.
        cores: CPU cores a trial may use where its suite states none.
        features: Folder of the extracted features.
        resident_bytes: Most that all inputs of a trial may have to stay on a GPU.
    """

    inputs: RunInputs
    device: Literal["cpu", "gpu"]
    cores: int
    features: Path
    resident_bytes: int = 0

    def trial(
        self, trial: Trial, *, head_file: Path | None = None, weights_file: Path | None = None
    ) -> WorkerRequest:
        """Return the request for a trial.

        Args:
            head_file: Trained head to start from.
            weights_file: Where to write the trained weights.
        """
        cell = trial.cell
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
            features_folder=str(self.features),
            files=self.inputs.files(cell),
            native=stated_optimizer(cell),
            device=self.device,
            resident_bytes=self.resident_bytes,
            threads=min(cell.settings.threads or self.cores, self.cores),
            seed=trial.seed,
        )

    def probe(self, cell: Cell, *, plugin: str, options: Mapping[str, Any]) -> WorkerRequest:
        """Return the request for a probe: the cell's first trial, on prepared images.

        Args:
            plugin: The backend to probe.
            options: Of the plugin.
        """
        request = self.trial(Trial(cell=cell, index=1, seed=self.inputs.plan.suite.seed))
        return replace(
            request,
            plugin=plugin,
            options=options,
            settings={**request.settings, "input": "prepared"},
            files=None,
            # A probe copies few images, and is kept whatever memory is free.
            resident_bytes=0,
        )


def backend_plugin(plan: Plan, backend: str) -> tuple[str, Mapping[str, Any]]:
    """Return the plugin that a backend of the suite stands for, and its options."""
    table = plan.suite.backend.get(backend)
    if table is None:
        return backend, {}
    return table.plugin or backend, table.options


def installed_code(plugin: str) -> str:
    """Return the digest of an installed plugin's code and of the versions it runs on."""
    try:
        return code_digest(find(plugin))
    except PluginError:
        return "not installed"


def stated_optimizer(cell: Cell) -> dict[str, Any] | None:
    """Return the constants that the suite or the strategy's recipe states, and the rule's name.

    None in the equal track, where every constant is stated.
    """
    settings = cell.settings
    if cell.track == "equal":
        return None
    if not isinstance(settings, TrainingSettings):
        return {}
    stated = settings.optimizer.model_dump(mode="json", exclude_unset=True)
    return {"name": settings.optimizer.name, **stated}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialIds:
    """Ids of trials: digests of all that decides an outcome.

    Settings, code and versions, data, weights and device count.

    Attributes:
        device: ``cpu`` or ``gpu``.
        variables: Of the workers' environment, those that are part of what is measured.
        executors: Of backends whose code is not what this process would import.
        own_head_per_backend: Whether each backend starts from the head that it trained itself.
    """

    inputs: RunInputs
    device: str
    variables: Mapping[str, str] = field(default_factory=dict)
    executors: Mapping[str, LocalExecutor] = field(default_factory=dict)
    own_head_per_backend: bool = False
    _cells: dict[CellKey, str] = field(default_factory=dict)
    _codes: dict[str, str] = field(default_factory=dict)

    def of(self, trial: Trial) -> str:
        """Return a trial's id, which is known before it runs and does not depend on when it runs.

        All cells that may train its head count: failures decide which of them does.
        """
        sources = head_sources(self.inputs.plan, trial.cell, own=self.own_head_per_backend)
        heads = [self._cell(source) for source in sources]
        return json_digest([self._cell(trial.cell), trial.index, trial.seed, heads], length=16)

    def _cell(self, cell: Cell) -> str:
        """Return the digest of all that the trials of a cell have in common."""
        if cell.key not in self._cells:
            plugin, options = backend_plugin(self.inputs.plan, cell.backend)
            pretrained = self.inputs.pretrained(cell)
            self._cells[cell.key] = json_digest(
                {
                    "core": __version__,
                    "benchmark": cell.benchmark,
                    "settings": {
                        **cell.settings.model_dump(mode="json", exclude=_IRRELEVANT),
                        **self.variables,
                    },
                    "backend": [cell.backend, plugin, dict(options)],
                    "code": self._code(cell.backend, plugin),
                    "track": cell.track,
                    "stated": stated_optimizer(cell),
                    "device": self.device,
                    "data": self.inputs.prepared(cell).digest,
                    "weights": pretrained.digest if pretrained else None,
                },
                length=16,
            )
        return self._cells[cell.key]

    def _code(self, backend: str, plugin: str) -> str:
        if backend not in self._codes:
            executor = self.executors.get(backend)
            self._codes[backend] = executor.code if executor else installed_code(plugin)
        return self._codes[backend]


def needs_pretrained_head(cell: Cell) -> bool:
    """Return whether a cell starts from a head that another benchmark has trained."""
    return bool(head_benchmark(cell))


def head_benchmark(cell: Cell) -> str:
    """Return the benchmark whose head a cell starts from; empty for none."""
    return (isinstance(cell.settings, FineTuneSettings) and cell.settings.head_from) or ""


def head_benchmarks(cells: Iterable[Cell]) -> frozenset[str]:
    """Return the benchmarks whose heads some of the cells start from."""
    return frozenset(filter(None, map(head_benchmark, cells)))


def head_sources(plan: Plan, cell: Cell, *, own: bool) -> list[Cell]:
    """Return the cells one of which trains the head that a cell starts from, the preferred first.

    All backends start from the same head, or they would not do the same work: that of the first
    backend of the suite that has trained one. In the native track each starts from its own.

    Args:
        own: Whether each backend starts from its own in the equal track, too.
    """
    name = head_benchmark(cell)
    sources = [
        other for other in plan.cells if other.benchmark == name and other.track == cell.track
    ]
    if own or cell.track == "native":
        return [source for source in sources if source.backend == cell.backend]
    in_suite_order = list(dict.fromkeys(other.backend for other in plan.cells))
    return sorted(sources, key=lambda source: in_suite_order.index(source.backend))


def find_head_record(
    plan: Plan, trial: Trial, records: Sequence[Record], *, own: bool
) -> Record | None:
    """Return the record of the trial whose head this one starts from; None where there is none.

    Args:
        records: Of earlier trials.
        own: Whether each backend starts from its own in the equal track, too.
    """
    name = head_benchmark(trial.cell)
    records = [record for record in records if record["benchmark"] == name]
    # Where the bottleneck has fewer trials, they serve in turn.
    count = max((int(record["trial"]) for record in records), default=1)
    index = (trial.index - 1) % count + 1
    usable = {
        record["backend"]: record
        for record in records
        if record["track"] == trial.cell.track
        and record["trial"] == index
        and record["status"] == "ok"
    }
    preferred = (cell.backend for cell in head_sources(plan, trial.cell, own=own))
    return next((usable[backend] for backend in preferred if backend in usable), None)

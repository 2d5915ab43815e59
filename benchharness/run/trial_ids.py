"""What makes a trial this trial and no other: the digest of all that decides its outcome."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchharness import __version__
from benchharness.errors import PluginError
from benchharness.plugins import code_digest, find
from benchharness.run.heads import sources
from benchharness.run.inputs import RunInputs
from benchharness.run.process.executor import LocalExecutor
from benchharness.run.requests import backend_plugin, stated_optimizer
from benchharness.suite.plan import Cell, Plan, Trial

# How long a trial may take decides nothing of one that comes to its end.
_ASIDE = {"time_limit_s"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialIds:
    """Tells trials apart: by their settings, by code and versions, data, weights and device.

    Attributes:
        device: ``cpu`` or ``gpu``.
        variables: Of the workers' environment, those that are part of what is measured.
        elsewhere: Executors of backends whose code is not what this process would import.
        own_head_per_backend: Whether each backend starts from the head that it has trained itself.
    """

    plan: Plan
    materials: RunInputs
    device: str
    variables: Mapping[str, str] = field(default_factory=dict)
    elsewhere: Mapping[str, LocalExecutor] = field(default_factory=dict)
    own_head_per_backend: bool = False
    _cells: dict[tuple[str, ...], str] = field(default_factory=dict)
    _codes: dict[str, str] = field(default_factory=dict)

    def of(self, trial: Trial) -> str:
        """Return a trial's id, which holds before it has run and does not depend on when it does.

        Of the trials that may leave the head it starts from, all count: which of them serves is
        decided by which of them go well.
        """
        heads = [
            self._cell(source)
            for source in sources(self.plan, trial.cell, own=self.own_head_per_backend)
        ]
        return _digest([self._cell(trial.cell), trial.index, trial.seed, heads])

    def _cell(self, cell: Cell) -> str:
        """Return the digest of all that the trials of a cell have in common."""
        place = cell.benchmark, cell.backend, cell.track, repr(cell.matrix)
        if place not in self._cells:
            self._cells[place] = self._describe(cell)
        return self._cells[place]

    def _describe(self, cell: Cell) -> str:
        plugin, options = backend_plugin(self.plan, cell.backend)
        pretrained = self.materials.pretrained(cell)
        return _digest(
            {
                "core": __version__,
                "benchmark": cell.benchmark,
                "settings": {
                    **cell.settings.model_dump(mode="json", exclude=_ASIDE),
                    **self.variables,
                },
                "backend": [cell.backend, plugin, dict(options)],
                "code": self._code(cell.backend, plugin),
                "track": cell.track,
                "stated": stated_optimizer(cell),
                "device": self.device,
                "data": self.materials.prepared(cell).digest,
                "weights": pretrained.digest if pretrained else None,
            }
        )

    def _code(self, backend: str, plugin: str) -> str:
        """Return what tells the code and the versions that do a backend's work."""
        if backend not in self._codes:
            elsewhere = self.elsewhere.get(backend)
            self._codes[backend] = elsewhere.code if elsewhere else _installed_code(plugin)
        return self._codes[backend]


def _installed_code(plugin: str) -> str:
    try:
        return code_digest(find(plugin))
    except PluginError:
        return "not installed"


def _digest(facts: object) -> str:
    text = json.dumps(facts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

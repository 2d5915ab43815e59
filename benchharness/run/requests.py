"""From a trial of the plan to the request that a worker reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from benchharness.run.inputs import RunInputs
from benchharness.suite.plan import Cell, Plan, Trial
from benchharness.suite.settings import TrainingSettings
from benchharness.worker.request import WorkerRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Makes the requests of a plan.

    Attributes:
        device: ``cpu`` or ``gpu``.
        cores: CPU cores a trial may use where its suite states none.
        features: Folder of the extracted features.
        resident_bytes: Most that all inputs of a trial may have to stay on a GPU.
    """

    plan: Plan
    materials: RunInputs
    device: Literal["cpu", "gpu"]
    cores: int
    features: Path
    resident_bytes: int = 0

    def make(
        self, trial: Trial, *, head_file: Path | None = None, weights_file: Path | None = None
    ) -> WorkerRequest:
        """Return what a worker needs to carry out a trial.

        Args:
            head_file: Trained head to start from.
            weights_file: Where to write what is learnt.
        """
        cell = trial.cell
        plugin, options = backend_plugin(self.plan, cell.backend)
        pretrained = self.materials.pretrained(cell)
        return WorkerRequest(
            plugin=plugin,
            options=options,
            settings=cell.settings.model_dump(mode="json"),
            prepared=self.materials.prepared(cell).as_dict(),
            pretrained=pretrained.as_dict() if pretrained else None,
            head_file=str(head_file) if head_file else None,
            weights_file=str(weights_file) if weights_file else None,
            features_folder=str(self.features),
            files=self.materials.files(cell),
            native=stated_optimizer(cell),
            device=self.device,
            resident_bytes=self.resident_bytes,
            threads=min(cell.settings.threads or self.cores, self.cores),
            seed=trial.seed,
        )

    def make_for_proof(
        self, cell: Cell, *, plugin: str, options: Mapping[str, Any]
    ) -> WorkerRequest:
        """Return what a prober needs: the cell's first trial, on prepared images.

        Args:
            plugin: The backend to probe.
            options: Of the plugin.
        """
        request = self.make(Trial(cell=cell, index=1, seed=self.plan.suite.seed))
        settings = {**request.settings, "input": "prepared"}
        return replace(
            request,
            plugin=plugin,
            options=options,
            settings=settings,
            files=None,
            # A few images are copied; and a probe is kept whatever memory is free.
            resident_bytes=0,
        )


def backend_plugin(plan: Plan, backend: str) -> tuple[str, Mapping[str, Any]]:
    """Return the plugin that a backend of the suite stands for, and its options."""
    table = plan.suite.backend.get(backend)
    if table is None:
        return backend, {}
    return table.plugin or backend, table.options


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

"""What a suite asks of this machine before it runs: memory, disk, time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchharness.measure.gpu import Accelerator, read_gpus
from benchharness.measure.machine import read_memory, usable_cores
from benchharness.run.dataset_info import DatasetInfo
from benchharness.run.device import Device
from benchharness.run.dry_run import TrialPreview, forecast
from benchharness.run.estimate.calibration import BackendSpeed, CalibrationStore
from benchharness.run.estimate.estimate import Estimate, estimate
from benchharness.run.estimate.memory import CellNeeds, Memory, memory_warnings
from benchharness.run.estimate.needs import FRAMEWORK_BYTES, memory_needs
from benchharness.run.estimate.sharing import sharing_findings
from benchharness.run.inputs import SearchPaths
from benchharness.run.requests import backend_plugin
from benchharness.suite.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceEstimate:
    """A plan on this machine.

    Attributes:
        facts: Of the dataset.
        framework_bytes: Of a worker that has done nothing yet, by backend, where it was measured.
        codes: What tells the code of backends that have an interpreter of their own.
    """

    plan: Plan
    places: SearchPaths
    device: Device
    facts: DatasetInfo
    framework_bytes: Mapping[str, int] = field(default_factory=dict)
    codes: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_drawn(self) -> bool:
        """Whether the pictures are to be drawn."""
        return not self.facts.is_real

    @property
    def store(self) -> CalibrationStore:
        """What was measured on this machine."""
        return CalibrationStore(self.places.cache, machine=self.device.name)

    def forecasts(self) -> list[TrialPreview]:
        """Return what each trial would do, in running order.

        Raises:
            SuiteError: A cell's settings do not suit the dataset.
        """
        return list(forecast(self.plan, self.facts))

    def cells(self) -> list[CellNeeds]:
        """Return the memory that each cell needs, in the plan's order."""
        tempos = self.tempos()
        found: dict[int, CellNeeds] = {}
        for one in self.forecasts():
            cell = one.trial.cell
            tempo = tempos.get(cell.backend)
            measured = tempo.framework_bytes if tempo else FRAMEWORK_BYTES
            needs = memory_needs(
                cell.settings,
                one.workload,
                channels=one.channels,
                images=one.images,
                device=self.device.kind,
                framework_bytes=self.framework_bytes.get(cell.backend, measured),
            )
            found.setdefault(id(cell), CellNeeds(cell=cell, needs=needs))
        return list(found.values())

    def tempos(self) -> dict[str, BackendSpeed]:
        """Return what was measured before of the plan's backends, by backend."""
        found = {}
        for backend in dict.fromkeys(cell.backend for cell in self.plan.cells):
            plugin, options = backend_plugin(self.plan, backend)
            if tempo := self.store.load(plugin, options, code=self.codes.get(backend)):
                found[backend] = tempo
        return found

    def unmeasured(self) -> list[str]:
        """Return the plan's backends of which nothing was measured."""
        measured = self.tempos()
        backends = dict.fromkeys(cell.backend for cell in self.plan.cells)
        return [backend for backend in backends if backend not in measured]

    def estimate(self, *, has_proof: bool = True) -> Estimate | None:
        """Return how long the plan takes by what was measured before; None where that lacks."""
        images = self.store.load_images()
        if images is None or self.unmeasured():
            return None
        return estimate(
            self.forecasts(),
            self.tempos(),
            images=images,
            cores=usable_cores(),
            is_drawn=self.is_drawn,
            has_proof=has_proof,
            limit_s=60 * (self.plan.max_minutes or math.inf),
        )


def warnings(
    outlook: ResourceEstimate,
    accelerators: Sequence[Accelerator],
    *,
    host: Callable[[], tuple[int, int]] = read_memory,
) -> list[str]:
    """Return a line for each benchmark that needs more memory than is free, shared memory included.

    Args:
        host: Gives the bytes of host memory that there are, and those that are free.
    """
    host_bytes, free_bytes = host()
    used = [one for one in accelerators if one.index == outlook.device.index]
    gpu = next(iter(read_gpus(used)), None)
    memory = Memory(
        host_bytes=host_bytes,
        free_bytes=free_bytes,
        gpu_bytes=gpu.accelerator.memory_bytes if gpu else None,
        gpu_free_bytes=gpu.free_bytes if gpu else None,
    )
    sharing = sharing_findings(outlook.forecasts(), cores=usable_cores())
    return [
        *memory_warnings(outlook.cells(), memory),
        *(f"WARNING: {one.text}; {one.remedy}" for one in sharing if one.mark != "ok"),
    ]

"""Resources that a plan needs, by the shapes of its layers and the last run: memory, disk, time."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchharness.data.info import DatasetInfo
from benchharness.measure.gpu import Accelerator, read_gpus
from benchharness.measure.machine import read_memory, usable_cores
from benchharness.model.network import Flatten
from benchharness.run.device import Device
from benchharness.run.dry_run import TrialPreview, preview_trials
from benchharness.run.events import previous_durations
from benchharness.run.requests import head_benchmark
from benchharness.suite.plan import Plan, PlannedCell
from benchharness.suite.settings import TrainingSettings, TransferSettings
from benchharness.suite.workload import Workload
from benchharness.text import format_bytes

FLOAT_BYTES = 4
# A process with a framework imported and its first network trained: 0.63 to 0.87 GB measured for
# PyTorch 2.15 and for Keras 3.15 on TensorFlow 2.21. Used where this machine has not measured it.
FRAMEWORK_BYTES = 800_000_000
# What CUDA and its libraries take of a GPU before the first array. An assumption on the safe side,
# not a measurement: contexts take some 0.5 GB, workspaces of cuBLAS and cuDNN come on top.
GPU_FRAMEWORK_BYTES = 1_000_000_000
# What a run writes besides what other benchmarks start from.
RUN_BYTES = 50_000_000
SHARED = Path("/dev/shm")
# Initial weights, what was learnt, what is read back.
_COPIES = 3
# Arrays as large as the parameters that an optimizer keeps.
_STATES: Mapping[str, int] = {"sgd": 1, "rmsprop": 1, "adam": 2}
# Batches that each process of a loader makes ahead.
_AHEAD = 2
# Below it, the purpose of the memory is of no interest.
_MUCH_BYTES = 1e9
_LESS = (
    "to need less: a smaller image_size or dense, pooling after each layer; or skip it "
    "(--benchmark names the others)"
)
_MORE_SHARED = (
    f"give {SHARED} more room (docker run --shm-size=1g, or mount -o remount,size=1g {SHARED}), or "
    "set a smaller batch_size or threads"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellMemory:
    """Bytes of a cell's trial by purpose, as ``weights``: of the worker, and of the GPU if any."""

    cell: PlannedCell
    host: Mapping[str, int]
    device: Mapping[str, int] = field(default_factory=dict)

    @property
    def host_bytes(self) -> int:
        """All memory of the worker."""
        return sum(self.host.values())

    @property
    def device_bytes(self) -> int:
        """All memory of the GPU."""
        return sum(self.device.values())

    @property
    def learning_bytes(self) -> int:
        """Weights, gradients and optimizer state."""
        parts = {**self.host, **self.device}
        return sum(parts.get(name, 0) for name in ("weights", "gradients", "optimizer"))

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON-able values."""
        return {
            "benchmark": self.cell.benchmark,
            "matrix": dict(self.cell.matrix),
            "backend": self.cell.backend,
            "track": self.cell.track,
            "host_bytes": self.host_bytes,
            "device_bytes": self.device_bytes,
            "host": dict(self.host),
            "device": dict(self.device),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AvailableMemory:
    """Memory of this machine; of the GPU, None on the CPU or where the driver does not tell."""

    host_bytes: int
    free_bytes: int
    gpu_bytes: int | None = None
    gpu_free_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceEstimate:
    """Memory and time of a plan on this machine; ``framework_bytes`` as measured, by backend."""

    plan: Plan
    device: Device
    facts: DatasetInfo
    framework_bytes: Mapping[str, int] = field(default_factory=dict)

    def previews(self) -> list[TrialPreview]:
        """Return what each trial would do, in running order."""
        return list(preview_trials(self.plan, self.facts))

    def cells(self) -> list[CellMemory]:
        """Return the memory that each cell needs, in the plan's order."""
        # All trials of a cell need the same.
        previews = {id(preview.trial.cell): preview for preview in self.previews()}
        measured = self.framework_bytes
        return [
            memory_needs(
                preview,
                device=self.device.kind,
                framework_bytes=measured.get(preview.trial.cell.backend, FRAMEWORK_BYTES),
            )
            for preview in previews.values()
        ]

    def seconds(self, results: Path) -> float | None:
        """Return how long the trials take by the last run of the suite; None where it lacks any."""
        durations = previous_durations(results, self.plan, device=self.device.name)
        if len(durations) < len(self.plan.cells):
            return None
        return sum(durations[place] * cell.trials for place, cell in enumerate(self.plan.cells))


def memory_needs(
    preview: TrialPreview,
    *,
    device: Literal["cpu", "gpu"],
    framework_bytes: int = FRAMEWORK_BYTES,
) -> CellMemory:
    """Return the most memory that one trial holds at once.

    With P learnt values, T of them trainable, and s arrays of optimizer state: weights 4 P,
    gradients 4 T, optimizer 4 s T. On the host there are copies of them: the initial weights, what
    was learnt and what is read back while the clock is checked, 12 P, and a fresh optimizer's
    state, 4 s T. Images and features are mapped, not held.

    Within a factor of 0.8 to 1.4 of the peaks of trials with 0.4 to 120 million parameters.
    """
    settings, workload = preview.trial.cell.settings, preview.workload
    work = {"weights": FLOAT_BYTES * workload.learner.count()}
    copies = _COPIES * FLOAT_BYTES * workload.params
    if isinstance(settings, TrainingSettings):
        rule = settings.optimizer
        learnt = FLOAT_BYTES * workload.trainable_params
        state = learnt * optimizer_states(rule.name, momentum=rule.momentum or 0.0)
        work |= {"gradients": learnt, "optimizer": state}
        copies += state
    work["activations"] = peak_activation_bytes(
        workload, batch_size=settings.batch_size, precision=settings.precision
    )
    image = settings.image_size**2 * preview.channels
    # Bytes from the dataset, floats for the network, and a batch or two ahead.
    work["batches"] = settings.batch_size * image * (1 + FLOAT_BYTES) * 2
    stored = workload.front.output_shape if workload.front else (0,)
    kept = {
        "framework": framework_bytes,
        "copies": copies,
        "dataset": preview.images * (image + FLOAT_BYTES * math.prod(stored)),
    }
    if device == "cpu":
        return CellMemory(cell=preview.trial.cell, host=kept | work)
    on_gpu = {"framework": GPU_FRAMEWORK_BYTES, **work}
    return CellMemory(cell=preview.trial.cell, host=kept, device=on_gpu)


def optimizer_states(name: str, *, momentum: float = 0.0) -> int:
    """Return how many arrays as large as the parameters an optimizer keeps."""
    return 0 if name == "sgd" and momentum == 0 else _STATES[name]


def peak_activation_bytes(workload: Workload, *, batch_size: int, precision: str) -> int:
    """Return the most bytes that the layers' outputs of a batch take at once.

    Training keeps the outputs of all layers from the first trainable one on; in the backward pass
    the gradients of one layer's input and output come on top. Layers before it, and a front that
    runs once, hold one layer's input and output at a time.
    """
    kept, passing, backward = 0, 0, 0
    is_learning = False
    for layer, before, after in workload.learner.steps():
        if isinstance(layer, Flatten):
            # The same values under another shape.
            continue
        values_in, values_out = math.prod(before), math.prod(after)
        if not is_learning and layer.name in workload.trainable:
            is_learning = True
            kept = values_in
        if is_learning:
            kept += values_out
            backward = max(backward, values_in + values_out)
        else:
            passing = max(passing, values_in + values_out)
    for _, before, after in workload.front.steps() if workload.front else ():
        passing = max(passing, math.prod(before) + math.prod(after))
    value_bytes = 2 if precision == "bfloat16" else FLOAT_BYTES
    return batch_size * value_bytes * max(kept + backward, passing)


def largest_per_benchmark(cells: Sequence[CellMemory]) -> list[CellMemory]:
    """Return for each benchmark the cell that needs most memory."""
    groups: dict[str, list[CellMemory]] = {}
    for cell in cells:
        groups.setdefault(cell.cell.benchmark, []).append(cell)
    return [
        max(group, key=lambda cell: (cell.device_bytes, cell.host_bytes))
        for group in groups.values()
    ]


def memory_text(cell: CellMemory, memory: AvailableMemory) -> str:
    """Return what a cell needs, what for, and what is available."""
    point = "".join(f" {key}={value}" for key, value in cell.cell.matrix.items())
    text = f"about {format_bytes(cell.host_bytes)} of memory on {cell.cell.backend}{point}"
    if cell.device_bytes:
        text += f", {format_bytes(cell.device_bytes)} of the GPU's"
    if cell.learning_bytes > _MUCH_BYTES:
        text += f" ({format_bytes(cell.learning_bytes)} for weights, gradients, optimizer state)"
    free = f"{format_bytes(memory.free_bytes)} free"
    if memory.gpu_free_bytes is not None:
        free += f", {format_bytes(memory.gpu_free_bytes)} on the GPU"
    return f"{text}; {free}"


def memory_problems(
    cells: Sequence[CellMemory], memory: AvailableMemory
) -> Iterator[tuple[CellMemory, Literal["ok", "warn", "missing"], str]]:
    """Yield each benchmark's largest cell; a remedy, with ``warn`` or ``missing``, if it is short.

    What is missing is room for weights, gradients and optimizer state alone in the whole memory.
    """
    whole = memory.host_bytes if memory.gpu_bytes is None else memory.gpu_bytes
    free = memory.gpu_bytes if memory.gpu_free_bytes is None else memory.gpu_free_bytes
    for cell in largest_per_benchmark(cells):
        is_short_of_gpu = free is not None and cell.device_bytes > free
        if cell.learning_bytes > whole:
            yield cell, "missing", _LESS
        elif cell.host_bytes > memory.free_bytes or is_short_of_gpu:
            yield cell, "warn", _LESS
        else:
            yield cell, "ok", ""


def shared_memory(previews: Sequence[TrialPreview], *, cores: int) -> tuple[str, str] | None:
    """Return the shared memory that file loaders need, and a remedy where it is too small.

    None where no trial loads files. A process for each thread shares batches of uint8 images.
    """
    needed = 0
    for preview in previews:
        settings = preview.trial.cell.settings
        if settings.input == "files":
            batch = settings.batch_size * settings.image_size**2 * preview.channels
            needed = max(needed, (settings.threads or cores) * _AHEAD * batch)
    if not needed or not SHARED.is_dir():
        return None
    free = shutil.disk_usage(SHARED).free
    text = (
        f"{SHARED}: {format_bytes(free)} free; "
        f"loading files in processes may need {format_bytes(needed)}"
    )
    return text, _MORE_SHARED if free < needed else ""


def warnings(
    estimate: ResourceEstimate,
    accelerators: Sequence[Accelerator],
    *,
    host: Callable[[], tuple[int, int]] = read_memory,
) -> list[str]:
    """Return a line for each benchmark that needs more memory than is free; shared memory too."""
    host_bytes, free_bytes = host()
    used = [gpu for gpu in accelerators if gpu.index == estimate.device.index]
    gpu = next(iter(read_gpus(used)), None)
    memory = AvailableMemory(
        host_bytes=host_bytes,
        free_bytes=free_bytes,
        gpu_bytes=gpu.accelerator.memory_bytes if gpu else None,
        gpu_free_bytes=gpu.free_bytes if gpu else None,
    )
    lines = [
        f"WARNING: {cell.cell.benchmark} needs {memory_text(cell, memory)}; {remedy}"
        for cell, _, remedy in memory_problems(estimate.cells(), memory)
        if remedy
    ]
    shared = shared_memory(estimate.previews(), cores=usable_cores())
    return lines + ([f"WARNING: {'; '.join(shared)}"] if shared and shared[1] else [])


def cache_bytes(previews: Sequence[TrialPreview]) -> int:
    """Return the disk space of decoded images, each picture of a size once, and stored features.

    Of features there is one set for each backend, front and slice.
    """
    sizes: dict[tuple[object, ...], int] = {}
    for preview in previews:
        settings, front = preview.trial.cell.settings, preview.workload.front
        images = (settings.image_size, settings.train_images, settings.test_images)
        sizes[images] = preview.images * settings.image_size**2 * preview.channels
        if front is not None and isinstance(settings, TransferSettings):
            seed = preview.trial.seed if settings.weights == "random" else 0
            features = (*images, preview.trial.cell.backend, front, seed, settings.preprocessing)
            sizes[features] = preview.images * math.prod(front.output_shape) * FLOAT_BYTES
    return sum(sizes.values())


def heads_bytes(previews: Sequence[TrialPreview]) -> int:
    """Return what may be kept of trained heads, from which other benchmarks start."""
    wanted = {head_benchmark(preview.trial.cell) for preview in previews}
    return sum(
        FLOAT_BYTES * preview.workload.learner.count() * cell.most // cell.trials
        for preview in previews
        if (cell := preview.trial.cell).benchmark in wanted
    )


def duration_text(seconds: float) -> str:
    """Return seconds for people: ``45 s``, ``3 min``, ``2.5 h``."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"

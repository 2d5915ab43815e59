"""Memory that cells need against memory there is, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchharness.doctor.check import Finding, size
from benchharness.run.estimate.needs import MemoryEstimate
from benchharness.suite.plan import Cell

# Below it, what the memory is for is of no interest.
_MUCH_BYTES = 1e9
_LESS = (
    "to need less: a smaller image_size or dense, pooling after each layer; or leave it out "
    "(--benchmark names the others)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellNeeds:
    """Memory of one cell."""

    cell: Cell
    needs: MemoryEstimate

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON-able values."""
        return {
            "benchmark": self.cell.benchmark,
            "matrix": dict(self.cell.matrix),
            "backend": self.cell.backend,
            "track": self.cell.track,
            "host_bytes": self.needs.host_bytes,
            "device_bytes": self.needs.device_bytes,
            "host": dict(self.needs.host),
            "device": dict(self.needs.device),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What there is of it.

    Attributes:
        host_bytes: In all.
        free_bytes: Of the host's.
        gpu_bytes: In all; None where the host computes.
        gpu_free_bytes: Of the GPU's; None where nobody tells.
    """

    host_bytes: int
    free_bytes: int
    gpu_bytes: int | None = None
    gpu_free_bytes: int | None = None

    def is_short_of(self, needs: MemoryEstimate) -> bool:
        """Whether less is free than is needed, as far as that is known."""
        gpu = self.gpu_bytes if self.gpu_free_bytes is None else self.gpu_free_bytes
        return needs.host_bytes > self.free_bytes or (gpu is not None and needs.device_bytes > gpu)

    def cannot_hold(self, needs: MemoryEstimate) -> bool:
        """Whether not even weights, gradients and optimizer state fit into all there is."""
        there = self.host_bytes if self.gpu_bytes is None else self.gpu_bytes
        return needs.learning_bytes > there


def memory_findings(cells: Sequence[CellNeeds], memory: Memory) -> Iterator[Finding]:
    """Yield for each benchmark what its hungriest cell needs, against what there is."""
    for one in largest_per_benchmark(cells):
        is_beyond, is_short = memory.cannot_hold(one.needs), memory.is_short_of(one.needs)
        yield Finding(
            mark="missing" if is_beyond else "warn" if is_short else "ok",
            subject=one.cell.benchmark,
            text=memory_words(one, memory),
            remedy=_LESS if is_beyond or is_short else "",
        )


def memory_words(one: CellNeeds, memory: Memory) -> str:
    """Return what a cell needs, what for, and what there is of it."""
    needs, point = one.needs, "".join(f" {key}={value}" for key, value in one.cell.matrix.items())
    words = f"about {size(needs.host_bytes)} of memory on {one.cell.backend}{point}"
    if needs.device_bytes:
        words += f", {size(needs.device_bytes)} of the GPU's"
    if needs.learning_bytes > _MUCH_BYTES:
        words += f" ({size(needs.learning_bytes)} for weights, gradients and optimizer state)"
    there = f"{size(memory.free_bytes)} free"
    if memory.gpu_free_bytes is not None:
        there += f", {size(memory.gpu_free_bytes)} on the GPU"
    return f"{words}; {there}"


def memory_warnings(cells: Sequence[CellNeeds], memory: Memory) -> Iterator[str]:
    """Yield a line for each benchmark that needs more memory than is free."""
    for one in largest_per_benchmark(cells):
        if memory.is_short_of(one.needs):
            words = memory_words(one, memory)
            yield f"WARNING: {one.cell.benchmark} needs {words}; {_LESS}"


def largest_per_benchmark(cells: Sequence[CellNeeds]) -> Iterator[CellNeeds]:
    """Yield of each benchmark the cell that needs most."""
    benchmarks: dict[str, list[CellNeeds]] = {}
    for one in cells:
        benchmarks.setdefault(one.cell.benchmark, []).append(one)
    for group in benchmarks.values():
        yield max(group, key=lambda one: (one.needs.device_bytes, one.needs.host_bytes))

"""Timing a step of the user's own, in blocks with the device waited for at both edges."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil
from statistics import median
from typing import Any

import pytest

from benchharness import __version__
from benchharness.errors import BenchError, RunError
from benchharness.measure.blocks import BLOCK_S, Block, seconds
from benchharness.measure.clock import now_s
from benchharness.measure.machine import fingerprint, machine_label, recorded_variables
from benchharness.measure.sync_check import Stretches, require_synchronize, stretch_steps
from benchharness.model.work import AfterStep
from benchharness.pytest_plugin.handover import report_samples

Step = Callable[[], Any]
Synchronize = Callable[[], object]


class UncheckedWarning(pytest.PytestWarning):
    """Nothing tells whether ``synchronize`` waits for the device."""


class UnreadableError(RunError):
    """What a step returns cannot be read back, so that the clock cannot be checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """What was timed.

    Attributes:
        blocks: One for each round.
        result: What the last step has returned.
    """

    blocks: tuple[Block, ...]
    result: Any

    @property
    def step_s(self) -> float:
        """The median over the rounds of the seconds that a step took."""
        return median(block.seconds / block.steps for block in self.blocks)


@dataclass(frozen=True, slots=True)
class Bench:
    """Times steps for one test.

    Attributes:
        is_timed: False where benchmarks are disabled: then a step is done once, to see that it can.
        backend: Whose device is waited for; empty where each timing brings its own ``synchronize``.
        device: Of the backend: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """

    item: pytest.Item
    is_timed: bool
    backend: str = ""
    device: str = ""

    def __call__(self, *, backend: str, device: str = "auto") -> Bench:
        """Return the same for a backend, whose plugin knows how to wait for its device."""
        return replace(self, backend=backend, device=device)

    def time(
        self,
        step: Step,
        *,
        synchronize: Synchronize | None = None,
        read_back: Callable[[Any], object] | None = None,
        rounds: int = 20,
        warmup: int = 3,
        steps: int | None = None,
    ) -> Timed:
        """Do a step again and again, and report the seconds that it took.

        Args:
            step: Hands work to the device. What it returns is read back, to check the clock.
            synchronize: Returns when the device has finished; None for the backend's.
            read_back: Brings what the step has returned to the host; None for what arrays and
                tensors know themselves.
            rounds: How many blocks of steps are timed.
            warmup: How often the step is done before, untimed; the first calls often compile.
            steps: In each block; None for as many as take a tenth of a second.

        The test fails with a line where nobody says how to wait for the device, or where
        ``synchronize`` does not wait.
        """
        __tracebackhide__ = True
        try:
            run = _Run(step, synchronize or self._synchronize(), read_back or to_host)
            return self._time(run, rounds=rounds, warmup=warmup, steps=steps)
        except BenchError as error:
            failure = str(error)
        return pytest.fail(failure, pytrace=False)

    def _time(self, run: _Run, *, rounds: int, warmup: int, steps: int | None) -> Timed:
        for name, number in (("rounds", rounds), ("warmup", warmup), ("steps", steps)):
            if number is not None and number < 1:
                raise RunError(f"benchharness.time: {name}: expected at least 1, found {number}")
        if not self.is_timed:
            report_samples(self.item, (), extra_info={})
            return Timed(blocks=(run.block(1),), result=run.result)
        warm_s = min(run.warm_up() for _ in range(warmup))
        blocks = run.blocks(rounds, steps or ceil(BLOCK_S / warm_s))
        synchrony = self._check(run, blocks)
        per_step = [block.seconds / block.steps for block in blocks]
        report_samples(self.item, per_step, extra_info=self._facts() | {"synchrony": synchrony})
        return Timed(blocks=tuple(blocks), result=run.result)

    def _synchronize(self) -> Synchronize:
        if not self.backend:
            raise RunError(
                "benchharness.time: expected to be told how to wait for the device, found nothing; "
                "give synchronize=..., for example torch.cuda.synchronize, "
                'or name a backend: benchharness(backend="torch").time(...)'
            )
        return synchronizer(self.backend, device=self.device)

    def _check(self, run: _Run, blocks: Sequence[Block]) -> str:
        """Return whether it is known that ``synchronize`` waits; refuse the times where not."""
        try:
            run.demand(blocks)
        except UnreadableError as error:
            warnings.warn(UncheckedWarning(str(error)), stacklevel=4)
            return "unchecked"
        return "checked"

    def _facts(self) -> dict[str, Any]:
        """Return what a file of pytest-benchmark tells of it."""
        from benchharness.plugins import find, requirements

        facts: dict[str, Any] = {
            "benchharness": __version__,
            "kind": "step",
            "unit": "seconds per step",
            "machine": machine_label(fingerprint()),
            "settings": recorded_variables(os.environ),
        }
        if not self.backend:
            return facts
        versions = dict(requirements(find(self.backend)))
        return facts | {"backend": self.backend, "device": self.device, "versions": versions}


class _Run:
    """A step that is done under the clock."""

    def __init__(
        self, step: Step, synchronize: Synchronize, to_host: Callable[[Any], object]
    ) -> None:
        self.result: Any = None
        self._step = step
        self._synchronize = synchronize
        self._to_host = to_host

    def block(self, steps: int) -> Block:
        """Do some steps and return what they took, from edge to edge."""
        self._synchronize()
        began_s = now_s()
        for _ in range(steps):
            self.result = self._step()
        self._synchronize()
        return Block(steps, now_s() - began_s)

    def warm_up(self) -> float:
        """Do a step and return the seconds until its result was there, above 0.

        A clock that does not wait would see none, and ask for endless steps.
        """
        began_s = now_s()
        self.block(1)
        with suppress(UnreadableError):
            self.read_back()
        return max(now_s() - began_s, 1e-6)

    def blocks(self, rounds: int, steps: int) -> list[Block]:
        """Time some blocks."""
        return [self.block(steps) for _ in range(rounds)]

    def read_back(self) -> None:
        """Return when what the last step returned has reached the host."""
        self._to_host(self.result)

    def demand(self, blocks: Sequence[Block]) -> None:
        """Refuse the times of a ``synchronize`` that does not wait for the device.

        Raises:
            UnsynchronizedError: It does not.
            UnreadableError: Nothing tells.
        """
        step_s = seconds(blocks) / sum(block.steps for block in blocks)
        stretches = Stretches(
            work=self._work, synchronize=self._wait, read_back=self.read_back, now=now_s
        )
        require_synchronize(stretches, steps=stretch_steps(step_s), step_s=step_s)

    def _wait(self) -> None:
        self._synchronize()

    def _work(self, steps: int, after_step: AfterStep) -> None:
        for _ in range(steps):
            self.result = self._step()
            after_step()


def synchronizer(backend: str, *, device: str) -> Synchronize:
    """Return what waits for a backend's device.

    Raises:
        PluginError: The backend is not installed, or does not offer it.
        SuiteError: There is no such device.
    """
    from benchharness.measure.gpu import find_accelerators
    from benchharness.plugins import load_synchronize
    from benchharness.run.device import choose_device

    chosen = choose_device(device, find_accelerators())
    name = "cpu" if chosen.index is None else f"cuda:{chosen.index}"
    return load_synchronize(backend, device=name)


def to_host(value: Any) -> None:
    """Return when a result has reached the host: an array, a tensor, a number, or some of them.

    Raises:
        UnreadableError: It is nothing of the kind.
    """
    import numpy as np

    leaves = list(_leaves(value))
    if not leaves:
        raise UnreadableError(
            "benchharness.time: expected the step to return an array or a number, found "
            f"{type(value).__name__}: nothing tells whether synchronize waits for the device; "
            "let the step return its loss, or give read_back=..."
        )
    for leaf in leaves:
        # A tensor of PyTorch on a GPU comes to the host only when told to.
        leaf.detach().cpu() if hasattr(leaf, "detach") else np.asarray(leaf)


def _leaves(value: Any) -> Sequence[Any]:
    """Return the arrays and numbers in a result."""
    if isinstance(value, dict):
        return _leaves(list(value.values()))
    if isinstance(value, list | tuple):
        return [leaf for one in value for leaf in _leaves(one)]
    is_known = isinstance(value, int | float) or hasattr(value, "__array__")
    return [value] if is_known else []

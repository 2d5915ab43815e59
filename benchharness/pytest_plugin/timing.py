"""Timing of the user's own steps, in blocks with the device waited for at both edges."""

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
from benchharness.pytest_plugin.samples import report_samples

Step = Callable[[], Any]
Synchronize = Callable[[], object]


class UncheckedWarning(pytest.PytestWarning):
    """It is unknown whether ``synchronize`` waits for the device."""


class UnreadableError(RunError):
    """The result of a step cannot be read back, so that the clock cannot be checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """Timing of a step.

    Attributes:
        blocks: One for each round.
        result: Of the last step.
    """

    blocks: tuple[Block, ...]
    result: Any

    @property
    def step_s(self) -> float:
        """Seconds of a step: the median over the rounds."""
        return median(block.seconds / block.steps for block in self.blocks)


@dataclass(frozen=True, slots=True)
class Bench:
    """Timer of the steps of one test.

    Attributes:
        is_timed: False if benchmarks are disabled: a step then runs once, as a check.
        backend: Whose device is waited for; empty if each timing brings its own ``synchronize``.
        device: Of the backend: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """

    item: pytest.Item
    is_timed: bool
    backend: str = ""
    device: str = ""

    def __call__(self, *, backend: str, device: str = "auto") -> Bench:
        """Return the timer of a backend, whose plugin knows how to wait for its device."""
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
        """Run a step repeatedly, and report its seconds.

        Args:
            step: Hands work to the device. Its result is read back, to check the clock.
            synchronize: Returns when the device has finished; None for the backend's.
            read_back: Copies the result of the step to the host; None for arrays and tensors.
            rounds: Number of timed blocks of steps.
            warmup: Number of untimed steps before; the first calls often compile.
            steps: In each block; None for as many as take a tenth of a second.

        The test fails with a line if it is not stated how to wait for the device, or if
        ``synchronize`` does not wait.
        """
        __tracebackhide__ = True
        try:
            wait = synchronize or self._synchronize()
            timer = _StepTimer(step, wait, read_back or copy_to_host)
            return self._time(timer, rounds=rounds, warmup=warmup, steps=steps)
        except BenchError as error:
            failure = str(error)
        return pytest.fail(failure, pytrace=False)

    def _time(self, timer: _StepTimer, *, rounds: int, warmup: int, steps: int | None) -> Timed:
        for name, number in (("rounds", rounds), ("warmup", warmup), ("steps", steps)):
            if number is not None and number < 1:
                raise RunError(f"benchharness.time: {name}: expected at least 1, found {number}")
        if not self.is_timed:
            report_samples(self.item, (), extra_info={})
            return Timed(blocks=(timer.block(1),), result=timer.result)
        warm_s = min(timer.warm_up() for _ in range(warmup))
        count = steps or ceil(BLOCK_S / warm_s)
        blocks = [timer.block(count) for _ in range(rounds)]
        try:
            timer.require_synchronized(blocks)
            synchrony = "checked"
        except UnreadableError as error:
            warnings.warn(UncheckedWarning(str(error)), stacklevel=3)
            synchrony = "unchecked"
        per_step = [block.seconds / block.steps for block in blocks]
        report_samples(self.item, per_step, extra_info=self._facts() | {"synchrony": synchrony})
        return Timed(blocks=tuple(blocks), result=timer.result)

    def _synchronize(self) -> Synchronize:
        """Return what waits for the backend's device.

        Raises:
            RunError: No backend is stated.
            PluginError: The backend is not installed, or does not offer it.
            SuiteError: There is no such device.
        """
        if not self.backend:
            raise RunError(
                "benchharness.time: expected a way to wait for the device, found none; "
                "give synchronize=..., for example torch.cuda.synchronize, "
                'or name a backend: benchharness(backend="torch").time(...)'
            )
        from benchharness.measure.gpu import find_accelerators
        from benchharness.plugins import load_synchronize
        from benchharness.run.device import choose_device

        chosen = choose_device(self.device, find_accelerators())
        name = "cpu" if chosen.index is None else f"cuda:{chosen.index}"
        return load_synchronize(self.backend, device=name)

    def _facts(self) -> dict[str, Any]:
        """Return the facts to store with the samples."""
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


class _StepTimer:
    """Clock around the steps of a test."""

    def __init__(
        self, step: Step, synchronize: Synchronize, read_back: Callable[[Any], object]
    ) -> None:
        self.result: Any = None
        self._step = step
        self._synchronize = synchronize
        self._read_back = read_back

    def block(self, steps: int) -> Block:
        """Run some steps and return their time, from edge to edge."""
        self._synchronize()
        began_s = now_s()
        for _ in range(steps):
            self.result = self._step()
        self._synchronize()
        return Block(steps, now_s() - began_s)

    def warm_up(self) -> float:
        """Run a step and return the seconds until its result was there, above 0.

        A clock that does not wait would see none, and ask for endless steps.
        """
        began_s = now_s()
        self.block(1)
        with suppress(UnreadableError):
            self._read_back(self.result)
        return max(now_s() - began_s, 1e-6)

    def require_synchronized(self, blocks: Sequence[Block]) -> None:
        """Refuse the times of a ``synchronize`` that does not wait for the device.

        Raises:
            UnsynchronizedError: It does not.
            UnreadableError: It is unknown whether it does.
        """

        def work(steps: int, after_step: AfterStep) -> None:
            for _ in range(steps):
                self.result = self._step()
                after_step()

        def synchronize() -> None:
            self._synchronize()

        def read_back() -> None:
            self._read_back(self.result)

        step_s = seconds(blocks) / sum(block.steps for block in blocks)
        stretches = Stretches(work=work, synchronize=synchronize, read_back=read_back, now=now_s)
        require_synchronize(stretches, steps=stretch_steps(step_s), step_s=step_s)


def copy_to_host(value: Any) -> None:
    """Copy a result to the host: an array, a tensor, a number, or a collection of them.

    Raises:
        UnreadableError: It is none of these.
    """
    import numpy as np

    leaves = list(_leaves(value))
    if not leaves:
        raise UnreadableError(
            "benchharness.time: expected the step to return an array or a number, found "
            f"{type(value).__name__}: cannot check whether synchronize waits for the device; "
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
        return [leaf for part in value for leaf in _leaves(part)]
    is_known = isinstance(value, int | float) or hasattr(value, "__array__")
    return [value] if is_known else []

"""Timing of the user's own steps, in blocks with the device waited for at both edges."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil
from statistics import median
from typing import Any

import pytest

from benchharness import __version__
from benchharness.compare.verdict import Criteria
from benchharness.errors import BenchError, RunError
from benchharness.measure.blocks import BLOCK_S, Block, low_decile, seconds
from benchharness.measure.clock import now_s
from benchharness.measure.machine import fingerprint, machine_label, recorded_variables
from benchharness.measure.sync_check import Stretches, require_synchronize, stretch_steps
from benchharness.measure.yardstick import Yardstick, framework_of, joined
from benchharness.model.work import AfterStep
from benchharness.plugins import find, load_synchronize, requirements
from benchharness.pytest_plugin.samples import is_stored, report_samples, stored_limit
from benchharness.pytest_plugin.side import TURNS

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
        turns = self.item.config.stash.get(TURNS, None)
        if turns is not None and not turns.begin(rounds=rounds):
            raise RunError("benchharness.time: expected one timing in a test, found another")
        versions = dict(requirements(find(self.backend))) if self.backend else None
        warm_s = min(timer.warm_up() for _ in range(warmup))
        count = steps or ceil(BLOCK_S / warm_s)
        yardstick = None
        if is_stored(self.item.config):
            yardstick = Yardstick(framework_of(sys.modules if versions is None else versions))
        readings = [yardstick.read()] if yardstick else []
        blocks = []
        if turns is None:
            blocks = [timer.block(count) for _ in range(rounds)]
        else:
            turns.report(warm_s=warm_s)
            while turns.wait():
                blocks.append(timer.block(count))
                turns.report(step_s=blocks[-1].seconds / count)
            if not blocks:
                pytest.skip("the other side has ended")
        readings += [yardstick.read()] if yardstick else []
        try:
            timer.require_synchronized(blocks)
            synchrony = "checked"
        except UnreadableError as error:
            warnings.warn(UncheckedWarning(str(error)), stacklevel=3)
            synchrony = "unchecked"
        per_step = [block.seconds / block.steps for block in blocks]
        # Parts of one process stand for trials: the yardstick says whether the machine is the same.
        parts = [per_step[part::3] for part in range(3)]
        facts = {
            "benchharness": __version__,
            "kind": "step",
            "unit": "seconds per step",
            "machine": machine_label(fingerprint()),
            "settings": recorded_variables(os.environ),
            "limit": stored_limit(Criteria()),
            "synchrony": synchrony,
            "rounds": rounds,
            "trial_step_s": [low_decile(part) for part in parts if part],
            "yardstick": joined(readings),
        }
        if versions is not None:
            facts |= {"backend": self.backend, "device": self.device, "versions": versions}
        if turns is not None:
            turns.report(facts=facts)
        report_samples(self.item, per_step, extra_info=facts)
        return Timed(blocks=tuple(blocks), result=timer.result)

    def _synchronize(self) -> Synchronize:
        """Return what waits for the backend's device."""
        if not self.backend:
            raise RunError(
                "benchharness.time: expected a way to wait for the device, found none; "
                "give synchronize=..., for example torch.cuda.synchronize, "
                'or name a backend: benchharness(backend="torch").time(...)'
            )
        from benchharness.measure.gpu import find_accelerators
        from benchharness.run.device import choose_device

        chosen = choose_device(self.device, find_accelerators())
        name = "cpu" if chosen.index is None else f"cuda:{chosen.index}"
        return load_synchronize(self.backend, device=name)


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
        """Run some steps and return their time, from edge to edge; debuggers and coverage pause."""
        tracer = sys.gettrace()
        sys.settrace(None)
        try:
            self._synchronize()
            began_s = now_s()
            for _ in range(steps):
                self.result = self._step()
            self._synchronize()
            return Block(steps, now_s() - began_s)
        finally:
            sys.settrace(tracer)

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
        """Refuse the times of a ``synchronize`` that does not wait for the device."""

        def work(steps: int, after_step: AfterStep) -> None:
            for _ in range(steps):
                self.result = self._step()
                after_step()

        def synchronize() -> None:
            self._synchronize()

        step_s = seconds(blocks) / sum(block.steps for block in blocks)
        stretches = Stretches(
            work=work, synchronize=synchronize, read_back=lambda: self._read_back(self.result)
        )
        require_synchronize(stretches, steps=stretch_steps(step_s), step_s=step_s)


def copy_to_host(value: Any) -> None:
    """Copy a result to the host: an array, a tensor, a number, or a collection of them."""
    import numpy as np

    leaves = _leaves(value)
    if not leaves:
        raise UnreadableError(
            "benchharness.time: expected the step to return an array or a number, found "
            f"{type(value).__name__}: cannot check whether synchronize waits for the device; "
            "let the step return its loss, or give read_back=..."
        )
    for leaf in leaves:
        # A tensor of PyTorch on a GPU comes to the host only when told to.
        leaf.detach().cpu() if hasattr(leaf, "detach") else np.asarray(leaf)


def _leaves(value: Any) -> list[Any]:
    """Return the arrays and numbers in a result."""
    if isinstance(value, dict | list | tuple):
        parts = value.values() if isinstance(value, dict) else value
        return [leaf for part in parts for leaf in _leaves(part)]
    is_known = isinstance(value, int | float) or hasattr(value, "__array__")
    return [value] if is_known else []

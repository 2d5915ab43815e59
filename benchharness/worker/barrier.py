"""Waiting, off every clock, while another worker is at work."""

from __future__ import annotations

import os
from dataclasses import dataclass

from benchharness.measure.clock import PhaseClock
from benchharness.run.process.process import TURN
from benchharness.worker.context import Emit


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochBarrier:
    """A worker's turns.

    Attributes:
        told: Descriptor on which the runner tells it to go on; None where it never waits.
    """

    clock: PhaseClock
    emit: Emit
    told: int | None = None

    def wait(self) -> None:
        """Say that another may be at work, and wait to be told to go on."""
        if self.told is None:
            return
        with self.clock.standstill():
            self.emit({"event": TURN})
            os.read(self.told, 1)

"""Energy of the processor packages as a meter, like any plugin's."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchharness.api import Measured, Meter, hookimpl
from benchharness.measure.energy import find_rapl


@hookimpl
def benchharness_meter(pid: int, device: str) -> Meter | None:
    """Return a meter where the counters can be read; None on a GPU, which has its own."""
    read_j = find_rapl() if device == "cpu" else None
    return None if read_j is None else EnergyMeter(read_j)


class EnergyMeter:
    """Adds up what was drawn while work was timed.

    Args:
        read_j: Reading of joules, which only grows.
    """

    def __init__(self, read_j: Callable[[], float]) -> None:
        self._read_j = read_j
        self._last_j = 0.0
        self._was_timed = self._has_energy = False
        self._energy_j = 0.0

    def sample(self, *, is_timed: bool) -> None:
        """Add what was drawn since the last reading, where that time was timed."""
        now_j = self._read_j()
        if self._was_timed:
            self._energy_j += now_j - self._last_j
            self._has_energy = True
        self._last_j, self._was_timed = now_j, is_timed

    def metrics(self) -> Mapping[str, Measured]:
        """Return the energy and who told it; nothing where nothing was timed."""
        if not self._has_energy:
            return {}
        return {"energy_j": self._energy_j, "energy_source": "rapl"}

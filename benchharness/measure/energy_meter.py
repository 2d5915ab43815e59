"""Energy of the processor packages, as Linux counts it (RAPL): a meter like any plugin's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from benchharness.api import Measured, Meter, hookimpl

POWERCAP = Path("/sys/class/powercap")


@hookimpl
def benchharness_meter(pid: int, device: str) -> Meter | None:
    """Return a meter where the counters can be read; None on a GPU, which has its own."""
    read_j = find_rapl() if device == "cpu" else None
    return None if read_j is None else EnergyMeter(read_j)


class EnergyMeter:
    """Adds up the energy used while work was timed.

    By a reading of joules, which only grows; None where there is none at the moment. ``energy_j``
    is None where nothing was timed.
    """

    def __init__(self, read_j: Callable[[], float | None]) -> None:
        self._read_j = read_j
        # None while nothing is timed.
        self._last_j: float | None = None
        self.energy_j: float | None = None

    def sample(self, *, is_timed: bool) -> None:
        """Add the energy since the last reading, where that time was timed."""
        now_j = self._read_j()
        if now_j is not None and self._last_j is not None:
            self.energy_j = (self.energy_j or 0.0) + (now_j - self._last_j)
        if not is_timed:
            self._last_j = None
        elif now_j is not None:
            self._last_j = now_j

    def metrics(self) -> Mapping[str, Measured]:
        """Return the energy and its source, if known."""
        return {} if self.energy_j is None else {"energy_j": self.energy_j, "energy_source": "rapl"}


def find_rapl(root: Path = POWERCAP) -> Callable[[], float] | None:
    """Return a reading of joules from now on; None where counters are absent or not readable.

    A counter wraps after some minutes at full power; ask more often than that.
    """
    try:
        # intel-rapl:0:1 is a part of the package intel-rapl:0 and counted there already; psys, the
        # whole machine of some laptops, stands beside the packages that it holds.
        packages = [
            folder
            for folder in root.glob("intel-rapl:*")
            if folder.name.count(":") == 1
            and (folder / "name").read_text(encoding="ascii").startswith("package")
        ]
        ranges_uj = {folder: _read(folder / "max_energy_range_uj") for folder in packages}
        last_uj = {folder: _read(folder / "energy_uj") for folder in packages}
    except OSError:
        # Since 2020, kernels let only root read them.
        return None
    total_uj = 0

    def read_j() -> float:
        nonlocal total_uj
        for folder, before_uj in last_uj.items():
            now_uj = _read(folder / "energy_uj")
            wrapped_uj = ranges_uj[folder] if now_uj < before_uj else 0
            total_uj += now_uj + wrapped_uj - before_uj
            last_uj[folder] = now_uj
        return total_uj / 1e6

    return read_j if packages else None


def _read(file: Path) -> int:
    return int(file.read_text(encoding="ascii"))

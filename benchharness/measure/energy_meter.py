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

    Args:
        read_j: Reading of joules, which only grows.
    """

    def __init__(self, read_j: Callable[[], float]) -> None:
        self._read_j = read_j
        self._last_j = 0.0
        self._was_timed = self._has_energy = False
        self._energy_j = 0.0

    def sample(self, *, is_timed: bool) -> None:
        """Add the energy since the last reading, where that time was timed."""
        now_j = self._read_j()
        if self._was_timed:
            self._energy_j += now_j - self._last_j
            self._has_energy = True
        self._last_j, self._was_timed = now_j, is_timed

    def metrics(self) -> Mapping[str, Measured]:
        """Return the energy and its source; nothing where nothing was timed."""
        if not self._has_energy:
            return {}
        return {"energy_j": self._energy_j, "energy_source": "rapl"}


class RaplCounter:
    """Adds up the energy of the processor packages, over the wrap-around of their counters.

    Args:
        packages: Folders of the packages, each with ``energy_uj`` and ``max_energy_range_uj``.
    """

    def __init__(self, packages: tuple[Path, ...]) -> None:
        self._ranges_uj = {folder: _read(folder / "max_energy_range_uj") for folder in packages}
        self._last_uj = {folder: _read(folder / "energy_uj") for folder in packages}
        self._total_uj = 0

    def energy_j(self) -> float:
        """Return the joules since construction.

        A counter wraps after some minutes at full power; ask more often than that.
        """
        for folder, last_uj in self._last_uj.items():
            now_uj = _read(folder / "energy_uj")
            wrapped_uj = self._ranges_uj[folder] if now_uj < last_uj else 0
            self._total_uj += now_uj + wrapped_uj - last_uj
            self._last_uj[folder] = now_uj
        return self._total_uj / 1e6


def find_rapl(root: Path = POWERCAP) -> Callable[[], float] | None:
    """Return a reading of joules, or None where the counters are absent or not readable."""
    # intel-rapl:0 is a package, intel-rapl:0:1 a part of it that is counted there already.
    packages = tuple(
        folder for folder in sorted(root.glob("intel-rapl:*")) if folder.name.count(":") == 1
    )
    try:
        return RaplCounter(packages).energy_j if packages else None
    except OSError:
        # Since 2020, kernels let only root read them.
        return None


def _read(file: Path) -> int:
    return int(file.read_text(encoding="ascii"))

"""Energy of the processor packages, as Linux counts it (RAPL)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class RaplMeter:
    """Adds up what the processor packages draw, over the wrap-around of their counters.

    Args:
        packages: Folders of the packages, each with ``energy_uj`` and ``max_energy_range_uj``.
    """

    def __init__(self, packages: tuple[Path, ...]) -> None:
        self._ranges_uj = {folder: _read(folder / "max_energy_range_uj") for folder in packages}
        self._last_uj = {folder: _read(folder / "energy_uj") for folder in packages}
        self._total_uj = 0

    def energy_j(self) -> float:
        """Return the joules drawn since construction; ask more often than a counter wraps.

        A counter wraps after some minutes at full power.
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
        return RaplMeter(packages).energy_j if packages else None
    except OSError:
        # Since 2020, kernels let only root read them.
        return None


def _read(file: Path) -> int:
    return int(file.read_text(encoding="ascii"))

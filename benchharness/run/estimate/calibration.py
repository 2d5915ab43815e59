"""How fast a backend goes on this machine: measured once, kept, and multiplied with costs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchharness import __version__
from benchharness.errors import PluginError
from benchharness.plugins import code_digest, find
from benchharness.run.estimate.costs import Cost

# Part of the key: raise it when what is measured, or how, changes.
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSpeed:
    """Seconds that one backend takes for one of each.

    Attributes:
        start_s: A worker process: starting it, importing the framework, ending it.
        build_s: Building a network and its first steps, tracing and compiling included.
        build_layer_s: What each layer adds to it.
        call_s: A step, whatever it computes.
        score_s: A call for scores, whatever it computes.
        flop_s: One operation.
        activation_byte_s: One byte of a layer's output.
        parameter_byte_s: One byte of dense kernels or optimizer state.
        pixel_s: Bringing one pixel to the device.
        warp_s: Augmenting one pixel.
        product_flops_per_s: Of a large matrix product on the same cores, for comparison.
        framework_bytes: Host memory of a worker that has done nothing yet.
        spread: The median step over the fastest, of most networks; near 1 on a quiet machine.
        load: How many cores were at work for others; None if unknown.
        measured: UTC, ISO 8601.
    """

    start_s: float
    build_s: float
    build_layer_s: float
    call_s: float
    score_s: float
    flop_s: float
    activation_byte_s: float
    parameter_byte_s: float
    pixel_s: float
    warp_s: float
    product_flops_per_s: float
    framework_bytes: int
    spread: float = 1.0
    load: float | None = None
    measured: str = ""

    def seconds(self, cost: Cost) -> float:
        """Return what some work takes."""
        return (
            cost.calls * self.call_s
            + cost.flops * self.flop_s
            + cost.activation_bytes * self.activation_byte_s
            + cost.parameter_bytes * self.parameter_byte_s
        )

    def building_s(self, layers: int) -> float:
        """Return what building and compiling a network of so many layers takes."""
        return self.build_s + layers * self.build_layer_s

    def age_s(self, now: datetime) -> float:
        """Return how long ago it was measured."""
        return (now - datetime.fromisoformat(self.measured)).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpeed:
    """Seconds that pictures take on one core, whatever the backend.

    Attributes:
        decode_s: Decoding one photograph and making it smaller.
        draw_s: Drawing one picture and writing it as a file.
    """

    decode_s: float
    draw_s: float


class CalibrationStore:
    """Measured tempos in the cache, each under all that decides it.

    Args:
        cache: The folder ``tempos`` below it holds them.
        machine: The device's name, with its cores.
    """

    def __init__(self, cache: Path, *, machine: str) -> None:
        self._folder = cache / "tempos"
        self._machine = machine

    def load(
        self, plugin: str, options: Mapping[str, Any], *, code: str | None = None
    ) -> BackendSpeed | None:
        """Return what was measured of a backend as it is now; None where nothing was.

        Args:
            code: What tells its code; None for what this process would import.
        """
        fields = self._read(lambda: self._backend_file(plugin, options, code))
        try:
            return None if fields is None else BackendSpeed(**fields)
        except TypeError:
            return None

    def save(
        self,
        plugin: str,
        options: Mapping[str, Any],
        tempo: BackendSpeed,
        *,
        code: str | None = None,
    ) -> None:
        """Keep what was measured of a backend; ``code`` as for ``load``."""
        self._write(self._backend_file(plugin, options, code), asdict(tempo))

    def load_images(self) -> ImageSpeed | None:
        """Return what was measured of pictures; None where nothing was."""
        fields = self._read(self._images_file)
        try:
            return None if fields is None else ImageSpeed(**fields)
        except TypeError:
            return None

    def save_images(self, tempo: ImageSpeed) -> None:
        """Keep what was measured of pictures."""
        self._write(self._images_file(), asdict(tempo))

    def _read(self, locate: Callable[[], Path]) -> dict[str, Any] | None:
        try:
            fields = json.loads(locate().read_text(encoding="utf-8"))
        except (OSError, ValueError, PluginError):
            return None
        return fields if isinstance(fields, dict) else None

    def _write(self, file: Path, fields: Mapping[str, Any]) -> None:
        # A cache that cannot be written keeps nothing.
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(f".{os.getpid()}")
            partial.write_text(json.dumps(fields), encoding="utf-8")
            partial.replace(file)

    def _backend_file(self, plugin: str, options: Mapping[str, Any], code: str | None) -> Path:
        own = code_digest(find(plugin)) if code is None else code
        return self._file(plugin, [plugin, dict(options), own])

    def _images_file(self) -> Path:
        return self._file("images", [__version__])

    def _file(self, stem: str, facts: list[Any]) -> Path:
        text = json.dumps([_FORMAT, self._machine, *facts], sort_keys=True)
        return self._folder / f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"


def now() -> datetime:
    """Return the time of day, in UTC."""
    return datetime.now(UTC)

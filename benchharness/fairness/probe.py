"""Probe: one backend's numbers for a cell's work, small enough to keep."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchharness.files import save_arrays
from benchharness.model.work import Setting

Array = NDArray[Any]
# Arrays up to so many values are kept whole; larger ones are folded into so many.
_WHOLE = 2**20
_FOLDED = 2**16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Probe:
    """One backend's answers for one cell.

    Attributes:
        arrays: By stage and array, for example ``gradients``, ``conv1/kernel``; float64 or int64,
            large ones folded.
        settings: What the backend says of itself while it is probed.
        deviations: Where that is not what the core had stated, one sentence each.
        is_deep: Whether so many layers are passed that rounding may grow.
    """

    arrays: Mapping[str, Mapping[str, Array]]
    settings: Mapping[str, Setting]
    deviations: tuple[str, ...]
    is_deep: bool

    def write(self, path: Path) -> None:
        """Write the probe to a safetensors file."""
        flat = {
            f"{stage}|{name}": np.ascontiguousarray(array)
            for stage, arrays in self.arrays.items()
            for name, array in arrays.items()
        }
        facts = {
            "settings": dict(self.settings),
            "deviations": list(self.deviations),
            "is_deep": self.is_deep,
        }
        save_arrays(path, flat, metadata={"facts": json.dumps(facts)})

    @classmethod
    def read(cls, path: Path) -> Probe:
        """Return the probe that ``write`` wrote; OSError for none, ValueError for a damaged one."""
        from safetensors import SafetensorError, safe_open

        arrays: dict[str, dict[str, Array]] = {}
        try:
            with safe_open(path, framework="numpy") as file:
                facts = json.loads(file.metadata()["facts"])
                for key in file.keys():  # noqa: SIM118 (no mapping)
                    stage, _, name = key.partition("|")
                    arrays.setdefault(stage, {})[name] = file.get_tensor(key)
            deviations = tuple(facts.pop("deviations"))
            return cls(arrays=arrays, deviations=deviations, **facts)
        except (SafetensorError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: expected a probe, found: {error}") from error


def fold(array: Array) -> Array:
    """Return the values as float64, flat; more than 2^20 as sums over few, with random signs.

    Folding is linear, and keeps the norm of what it folds to about half a percent: the distance of
    two folded arrays is that of the arrays. Signs follow from the place alone, so that arrays of
    one shape are folded alike everywhere.

    Source:
        Charikar, Chen and Farach-Colton, "Finding frequent items in data streams" (2002), with
        the place modulo the length in place of a hash.
    """
    flat = array.reshape(-1)
    if flat.size <= _WHOLE:
        return flat.astype(np.float64)
    folded = np.zeros(_FOLDED)
    random = np.random.Generator(np.random.Philox(flat.size))
    for start in range(0, flat.size, _WHOLE):
        part = flat[start : start + _WHOLE]
        signs = random.integers(0, 2, part.size, dtype=np.int8) * 2 - 1
        signed = np.zeros(-(-part.size // _FOLDED) * _FOLDED)
        signed[: part.size] = part * signs
        folded += signed.reshape(-1, _FOLDED).sum(axis=0)
    return folded

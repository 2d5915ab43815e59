"""Trained weights on disk: safetensors files, replaced as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchharness.errors import WeightsError
from benchharness.files import save_arrays


def write_arrays(path: Path, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Write float32 arrays by name; the file appears only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    save_arrays(temporary, {name: np.ascontiguousarray(array) for name, array in arrays.items()})
    temporary.replace(path)


def read_arrays(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the arrays that ``write_arrays`` wrote; a WeightsError where that fails."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{path}: expected stored weights, found none to read: {error}"
        ) from error

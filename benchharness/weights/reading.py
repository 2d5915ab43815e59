"""Conversion of weights in a framework's own format to safetensors, in a worker.

A damaged file of a foreign format harms that process alone, and a framework that reads it is
imported there and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchharness.errors import WeightsError
from benchharness.files import save_arrays, writable
from benchharness.model.backbones import BACKBONES
from benchharness.model.network import Network
from benchharness.plugins import read_weights

if TYPE_CHECKING:
    from benchharness.worker.progress import Channel
    from benchharness.worker.request import WorkerRequest


def run_job(request: WorkerRequest, channel: Channel) -> None:
    """Convert one file; a WeightsError where it cannot be read, written, or holds others."""
    wanted = request.arguments
    network, out = BACKBONES[wanted["backbone"]].network(), Path(wanted["out"])
    arrays = read(Path(wanted["file"]), network)
    with writable(out, error=WeightsError):
        save_arrays(out, arrays, metadata=wanted["metadata"])
        _put_in_order(out)


def read(file: Path, network: Network) -> dict[str, NDArray[np.float32]]:
    """Return the weights of a network from a file of Keras's or of a plugin's framework.

    A BenchError where it cannot be read, or holds another network.
    """
    weights = _of_keras(file, network) if file.suffix == ".h5" else read_weights(file, network)
    arrays = {}
    for name, parameter in network.parameters().items():
        array = weights.get(name)
        if array is None or array.shape != parameter.shape:
            actual = "none of that name" if array is None else f"shape {array.shape}"
            raise WeightsError(f"{file}: {name}: expected shape {parameter.shape}, found {actual}")
        arrays[name] = np.ascontiguousarray(array, dtype=np.float32)
    return arrays


def _of_keras(file: Path, network: Network) -> Mapping[str, NDArray[np.float32]]:
    """Return the arrays of a weights file as Keras 1 and 2 wrote them, already in our layout."""
    import h5py

    parts = {4: "kernel", 1: "bias"}
    arrays = {}
    try:
        with h5py.File(file, "r") as content:
            for layer in network.learning_layers():
                for name in content[layer].attrs["weight_names"]:
                    text = name.decode() if isinstance(name, bytes) else name
                    array = np.asarray(_inside(content, f"{layer}/{text}"), np.float32)
                    arrays[f"{layer}/{parts.get(array.ndim, text)}"] = array
    except (OSError, KeyError, RuntimeError) as error:
        raise WeightsError(
            f"{file}: expected a weights file of Keras, found one that cannot be read: {error}"
        ) from error
    return arrays


def _inside(content: Any, path: str) -> Any:
    """Return an array of an HDF5 file; a WeightsError where its bytes are in another file."""
    import h5py

    place = content
    for part in path.split("/"):
        is_outside = isinstance(place.get(part, getlink=True), h5py.ExternalLink)
        place = None if is_outside else place[part]
        if place is None or getattr(place, "is_virtual", False) or getattr(place, "external", None):
            raise WeightsError(
                f"{content.filename}: {path}: expected an array in this file, found a way into "
                "another file; do not trust its source"
            )
    return place


def _put_in_order(file: Path) -> None:
    """Sort the metadata of a safetensors file, whose order is another each time it is written.

    The same weights are to have the same digest, or a cache that was rebuilt would pass for
    other weights.
    """
    with file.open("r+b") as content:
        length = int.from_bytes(content.read(8), "little")
        head = json.loads(content.read(length))
        head["__metadata__"] = dict(sorted(head["__metadata__"].items()))
        text = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode()
        content.seek(8)
        # The tensors begin where they did; blanks before them are part of the format.
        content.write(text.ljust(length))

"""Pretrained weights: found, checked, read; never unpickled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchharness.errors import WeightsError
from benchharness.model.network import Network
from benchharness.weights.backbones import BACKBONES


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretrained:
    """Where a backbone's weights come from.

    Attributes:
        backbone: For example ``vgg16``.
        path: The safetensors file; None for random initial weights.
        digest: SHA-256 of the file, hexadecimal; ``random`` without a file.
        reason: Why there is no file, for the announcement; empty where there is one.
    """

    backbone: str
    path: Path | None
    digest: str
    reason: str = ""

    @property
    def is_random(self) -> bool:
        """Whether the weights are drawn, not learnt."""
        return self.path is None

    def as_dict(self) -> dict[str, str | None]:
        """Return the record as JSON-able values."""
        return {
            "backbone": self.backbone,
            "path": str(self.path) if self.path else None,
            "digest": self.digest,
            "reason": self.reason,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, str | None]) -> Pretrained:
        """Return the record that ``as_dict`` wrote."""
        path = values["path"]
        return cls(
            backbone=values["backbone"] or "",
            path=Path(path) if path else None,
            digest=values["digest"] or "",
            reason=values["reason"] or "",
        )


def random_weights(backbone: str, *, reason: str) -> Pretrained:
    """Return the record of weights that are drawn from the trial's seed."""
    return Pretrained(backbone=backbone, path=None, digest="random", reason=reason)


def find_pretrained(
    backbone: str, *, path: Path | None, environment: Mapping[str, str], fallback: str | None
) -> Pretrained:
    """Return where the pretrained weights of a backbone are.

    Args:
        path: A file or folder that the suite names; wins over the environment.
        environment: ``BENCHHARNESS_WEIGHTS`` names a file or the folder that holds it.
        fallback: ``random`` to go on without a file, None to refuse.

    Raises:
        WeightsError: A named file is not there, or none is found and there is no fallback.
    """
    file = BACKBONES[backbone].file
    if path is None and environment.get("BENCHHARNESS_WEIGHTS"):
        path = Path(environment["BENCHHARNESS_WEIGHTS"])
    if path is not None:
        found = path / file if path.is_dir() else path
        if not found.is_file():
            raise WeightsError(
                f"weights of {backbone}: expected the file {found}, found none; "
                "set BENCHHARNESS_WEIGHTS to the folder that holds it"
            )
        return Pretrained(backbone=backbone, path=found.resolve(), digest=file_digest(found))
    reason = f"no {file} was found; set BENCHHARNESS_WEIGHTS to the folder that holds it"
    if fallback == "random":
        return random_weights(backbone, reason=reason)
    raise WeightsError(
        f'weights of {backbone}: {reason}, or write weights_fallback = "random" in the suite'
    )


def read_pretrained(pretrained: Pretrained, network: Network) -> dict[str, NDArray[np.float32]]:
    """Return the arrays of the network's layers that the file holds, as float32.

    Raises:
        WeightsError: The file is damaged, or an array is missing or of another shape.
    """
    from safetensors import SafetensorError, safe_open

    expected = network.parameters()
    try:
        with safe_open(str(pretrained.path), framework="numpy") as file:
            names = set(file.keys())
            missing = sorted(set(expected) - names)
            if missing:
                raise WeightsError(
                    f"{pretrained.path}: expected an array {missing[0]}, found none of that name"
                )
            arrays = {name: file.get_tensor(name) for name in expected}
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{pretrained.path}: expected a safetensors file, found one that cannot be read "
            f"({error}); fetch it again"
        ) from error
    for name, parameter in expected.items():
        if arrays[name].shape != parameter.shape:
            raise WeightsError(
                f"{pretrained.path}: {name}: expected shape {parameter.shape}, "
                f"found {arrays[name].shape}"
            )
    return {name: np.asarray(array, np.float32) for name, array in arrays.items()}


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

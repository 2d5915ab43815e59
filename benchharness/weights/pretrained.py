"""Pretrained weights: found, checked and read; never unpickled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchharness.download.fetcher import Fetcher
from benchharness.errors import WeightsError
from benchharness.files import expanded, file_digest
from benchharness.model.backbones import BACKBONES, Release
from benchharness.model.image_files import nature
from benchharness.model.network import Network
from benchharness.weights.published import FOREIGN, adopt, adopt_from, find_published

_EMBEDDED = Path(__file__).parent / "embedded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretrained:
    """Where a backbone's weights come from.

    Attributes:
        backbone: For example ``vgg16``.
        release: Which of its pretrained weights, for example ``imagenet``; ``random`` for none.
        preprocessing: What their inputs went through when they were trained.
        path: The safetensors file; None for random initial weights.
        digest: SHA-256 of the file, hexadecimal; ``random`` without a file.
        reason: Why there is no file, for the announcement; empty where there is one.
        origin: What was published, and where it was found; empty where the file says so.
    """

    backbone: str
    release: str
    preprocessing: str
    path: Path | None
    digest: str
    reason: str = ""
    origin: str = ""

    @property
    def is_random(self) -> bool:
        """Whether the weights are random."""
        return self.path is None

    def as_dict(self) -> dict[str, str | None]:
        """Return the record as JSON-able values."""
        return {**asdict(self), "path": str(self.path) if self.path else None}

    @classmethod
    def from_dict(cls, values: Mapping[str, str | None]) -> Pretrained:
        """Return the record that ``as_dict`` wrote."""
        texts = {name: value or "" for name, value in values.items() if name != "path"}
        path = values["path"]
        return cls(**texts, path=Path(path) if path else None)


def random_weights(backbone: str, *, reason: str) -> Pretrained:
    """Return the record of weights that are drawn from the trial's seed."""
    # Its inputs are those of the weights that it stands in for.
    preferred = next(iter(BACKBONES[backbone].releases.values()))
    return Pretrained(
        backbone=backbone,
        release="random",
        preprocessing=preferred.preprocessing,
        path=None,
        digest="random",
        reason=reason,
    )


def find_pretrained(
    backbone: str,
    releases: Mapping[str, Release],
    *,
    path: Path | None,
    environment: Mapping[str, str],
    fallback: str | None,
    fetcher: Fetcher | None = None,
) -> Pretrained:
    """Return where the pretrained weights of a backbone are.

    A file or folder that the suite names goes first, then what is embedded, then the one in
    ``BENCHHARNESS_WEIGHTS``; then what was converted or downloaded before, what frameworks have in
    their caches, and what can be downloaded.

    Args:
        releases: Which of its weights will do, the preferred first; at least one.
        fallback: ``random`` to continue without a file, None to refuse.
        fetcher: Keeps and fetches published weights; None to look at named files alone.

    Raises:
        WeightsError: A named file is not there or holds other weights, or none is found and there
            is no fallback.
    """

    def record(release: str, file: Path, origin: str = "") -> Pretrained:
        return Pretrained(
            backbone=backbone,
            release=release,
            preprocessing=releases[release].preprocessing,
            path=file.resolve(),
            digest=file_digest(file),
            origin=origin,
        )

    embedded = next((name for name, release in releases.items() if release.is_embedded), None)
    if path is None and embedded is not None:
        return record(embedded, _EMBEDDED / releases[embedded].file)
    preferred = next(iter(releases.values())).file
    if path is None and environment.get("BENCHHARNESS_WEIGHTS"):
        path = expanded(environment["BENCHHARNESS_WEIGHTS"])
    if path is not None:
        if path.is_file() and path.suffix in FOREIGN and fetcher is not None:
            return record(*adopt(backbone, releases, path, fetcher=fetcher))
        if path.is_file():
            return record(_release_of(backbone, releases, path), path)
        for name, release in releases.items():
            if (path / release.file).is_file():
                return record(name, path / release.file)
        if fetcher and (published := adopt_from(backbone, releases, path, fetcher=fetcher)):
            return record(*published)
        raise WeightsError(
            f"weights of {backbone}: expected the file "
            f"{path if path.suffix else path / preferred}, found none; "
            "set BENCHHARNESS_WEIGHTS to the folder that holds it"
        )
    why = ""
    if fetcher is not None:
        try:
            published = find_published(backbone, releases, environment=environment, fetcher=fetcher)
        except WeightsError as error:
            why = f" (not downloaded: {error})"
        else:
            return record(*published)
    reason = f"no {preferred} was found{why}; set BENCHHARNESS_WEIGHTS to the folder that holds it"
    if fallback == "random":
        return random_weights(backbone, reason=reason)
    raise WeightsError(
        f'weights of {backbone}: {reason}, or write weights_fallback = "random" in the suite'
    )


def _release_of(backbone: str, wanted: Mapping[str, Release], path: Path) -> str:
    """Return which release a file holds: by its name, else by what it says of its inputs.

    A WeightsError where it is none of those that are wanted.
    """
    from safetensors import SafetensorError, safe_open

    releases = BACKBONES[backbone].releases
    metadata: Mapping[str, str] = {}
    # Reading the arrays will say what is wrong with the file.
    with suppress(SafetensorError, OSError), safe_open(str(path), framework="numpy") as file:
        metadata = file.metadata() or {}
    stated = metadata.get("preprocessing", "").replace("-", "_")
    names = [name for name, release in releases.items() if release.file == path.name]
    names += [name for name, release in releases.items() if release.preprocessing == stated]
    name = (names or list(releases))[0]
    if name not in wanted:
        raise WeightsError(
            f"{path}: expected weights of {backbone}, release {' or '.join(wanted)}, "
            f"found release {name}, which learnt with another preprocessing; "
            f'write weights = "{name}" in the suite, or name another file'
        )
    return name


def require_arrays(pretrained: Pretrained) -> None:
    """Refuse weights whose file does not hold the arrays of their backbone; reads its header only.

    Raises:
        WeightsError: The file is damaged, or an array is missing or of another shape.
    """
    if pretrained.path is not None:
        with _opened(pretrained, BACKBONES[pretrained.backbone].network()):
            pass


def read_pretrained(pretrained: Pretrained, network: Network) -> dict[str, NDArray[np.float32]]:
    """Return the arrays of the network's layers that the file holds, as float32.

    Raises:
        WeightsError: The file is damaged, or an array is missing or of another shape.
    """
    with _opened(pretrained, network) as file:
        return {
            name: np.asarray(file.get_tensor(name), np.float32) for name in network.parameters()
        }


@contextmanager
def _opened(pretrained: Pretrained, network: Network) -> Iterator[Any]:
    """Open a file that holds the network's arrays; a WeightsError where it does not."""
    from safetensors import SafetensorError, safe_open

    path = pretrained.path
    try:
        with safe_open(str(path), framework="numpy") as file:
            names = set(file.keys())
            for name, parameter in network.parameters().items():
                if name not in names:
                    raise WeightsError(f"{path}: expected an array {name}, found none of that name")
                shape = tuple(file.get_slice(name).get_shape())
                if shape != parameter.shape:
                    raise WeightsError(
                        f"{path}: {name}: expected shape {parameter.shape}, found {shape}"
                    )
            yield file
    except (SafetensorError, OSError) as error:
        kind = path and nature(path)
        raise WeightsError(
            f"{path}: expected a safetensors file, found "
            + (kind or f"one that cannot be read ({error}); fetch it again")
        ) from error

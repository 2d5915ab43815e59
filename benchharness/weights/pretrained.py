"""Pretrained weights: found, checked and read, or converted once; never unpickled."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchharness.download.caches import keras_home, torch_checkpoints
from benchharness.download.fetcher import Fetcher
from benchharness.download.manifest import build_folder, damages, read_manifest
from benchharness.download.registry import RemoteFile, RemoteResource, weights_home
from benchharness.errors import FetchError, RunError, WeightsError
from benchharness.files import expanded, file_digest
from benchharness.model.backbones import BACKBONES, Release
from benchharness.model.image_files import nature
from benchharness.model.network import Network
from benchharness.plugins import install_command, weight_readers
from benchharness.worker.request import WorkerRequest, run_in_worker

_EMBEDDED = Path(__file__).parent / "embedded"
# Formats in which weights are published, and which are converted.
_FOREIGN = (".h5", ".pth")
_LONGEST_S = 600.0


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
    def from_dict(cls, values: Mapping[str, Any]) -> Pretrained:
        """Return the record that ``as_dict`` wrote."""
        path = values["path"]
        return cls(**{**values, "path": Path(path) if path else None})


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
    embedded = next((name for name, release in releases.items() if release.is_embedded), None)
    if path is None and embedded is not None:
        release = releases[embedded]
        return _record(backbone, embedded, release, _EMBEDDED / release.file)
    if path is None and environment.get("BENCHHARNESS_WEIGHTS"):
        path = expanded(environment["BENCHHARNESS_WEIGHTS"])
    preferred = next(iter(releases.values())).file
    offers = [
        _Offer(
            backbone=backbone,
            name=name,
            release=release,
            home=home,
            folder=fetcher.folder / Path(release.file).stem,
        )
        for name, release in releases.items()
        if fetcher and (home := fetcher.homes.get(weights_home(backbone, name)))
    ]
    if path is not None:
        if path.is_file() and path.suffix in _FOREIGN and fetcher is not None:
            if published := _as_published((offer, path) for offer in offers):
                return published
            files = [offer.published for offer in offers]
            wanted = " or ".join(f"{file.name} ({file.sha256})" for file in files)
            raise WeightsError(
                f"{path}: expected a safetensors file, or {wanted or 'nothing else'}, "
                f"found {nature(path) or f'SHA-256 {file_digest(path)}'}"
            )
        if path.is_file():
            name = _release_of(backbone, releases, path)
            return _record(backbone, name, releases[name], path)
        for name, release in releases.items():
            if (path / release.file).is_file():
                return _record(backbone, name, release, path / release.file)
        if published := _as_published((offer, path / offer.published.name) for offer in offers):
            return published
        raise WeightsError(
            f"weights of {backbone}: expected the file "
            f"{path if path.suffix else path / preferred}, found none; "
            "set BENCHHARNESS_WEIGHTS to the folder that holds it"
        )
    why = ""
    if fetcher is not None:
        try:
            return _first_available(offers, environment=environment, fetcher=fetcher)
        except WeightsError as error:
            why = f" (not downloaded: {error})"
    reason = f"no {preferred} was found{why}; set BENCHHARNESS_WEIGHTS to the folder that holds it"
    if fallback == "random":
        return random_weights(backbone, reason=reason)
    raise WeightsError(
        f'weights of {backbone}: {reason}, or write weights_fallback = "random" in the suite'
    )


def _record(backbone: str, name: str, release: Release, file: Path, origin: str = "") -> Pretrained:
    return Pretrained(
        backbone=backbone,
        release=name,
        preprocessing=release.preprocessing,
        path=file.resolve(),
        digest=file_digest(file),
        origin=origin,
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


# --- Published weights, converted once to safetensors and kept with their origin -----------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    """A release with its public home, and the folder that keeps its file once it is converted."""

    backbone: str
    name: str
    release: Release
    home: RemoteResource
    folder: Path

    @property
    def published(self) -> RemoteFile:
        return self.home.files[0]

    @property
    def file(self) -> Path:
        return self.folder / self.release.file

    def kept(self) -> Pretrained:
        """Return the release that was converted before."""
        manifest = read_manifest(self.folder)
        origin = manifest.source if manifest else str(self.folder)
        return _record(self.backbone, self.name, self.release, self.file, origin)

    def downloaded(self, fetcher: Fetcher) -> Pretrained:
        """Return the release from its public home; only the converted file is kept.

        Raises:
            FetchError: It cannot be downloaded.
            WeightsError: Nothing here can read it.
        """
        name = self.published.name
        if Path(name).suffix != ".h5" and not weight_readers():
            raise WeightsError(
                f"{name}: expected a plugin that reads it, found none; "
                f"install one with: {install_command('torch')}"
            )
        folder = fetcher.fetch(weights_home(self.backbone, self.name))
        source = f"{name}, downloaded from {self.home.publisher}"
        pretrained = self.converted(folder / name, source=source)
        shutil.rmtree(folder, ignore_errors=True)
        return pretrained

    def converted(self, file: Path, *, source: str) -> Pretrained:
        """Return the release, converted in a separate process unless it is there already."""

        def convert(building: Path) -> Mapping[str, str]:
            out = building / self.release.file
            metadata = {
                "source": source,
                "source_sha256": self.published.sha256,
                "release": self.name,
                "preprocessing": self.release.preprocessing,
            }
            arguments = {"file": str(file), "out": str(out), "backbone": self.backbone}
            request = WorkerRequest(
                job="convert-weights", arguments={**arguments, "metadata": metadata}
            )
            try:
                *_, finished = run_in_worker(request, timeout_s=_LONGEST_S)
            except subprocess.TimeoutExpired as error:
                raise WeightsError(
                    f"{file}: expected to be read within {_LONGEST_S:.0f} s, found it was not"
                ) from error
            except RunError as error:
                raise WeightsError(f"{file}: reading it {error}") from error
            if finished["status"] != "ok":
                raise WeightsError(finished["reason"])
            return {out.name: file_digest(out)}

        what, remark = "to write converted weights", self.home.remark
        build_folder(
            self.folder, convert, source=source, remark=remark, what=what, error=WeightsError
        )
        return self.kept()


def _first_available(
    offers: Sequence[_Offer], *, environment: Mapping[str, str], fetcher: Fetcher
) -> Pretrained:
    """Return the first release that is available; a WeightsError says why none is.

    What was converted before goes first, then what frameworks have in their caches, then what can
    be downloaded.
    """
    damaged = []
    for offer in offers:
        if offer.file.is_file():
            damage = next(damages(offer.folder), "")
            if not damage:
                return offer.kept()
            damaged.append(damage)
    keras, torch = keras_home(environment), torch_checkpoints(environment)
    places = [place for place in (keras and keras / "models", torch) if place]
    for offer in offers:
        # What cannot be read in a framework's cache keeps nobody from downloading another.
        try:
            files = [place / offer.published.name for place in places]
            if published := _as_published((offer, file) for file in files):
                return published
        except WeightsError as error:
            damaged.append(str(error))
    reasons = [*damaged]
    for offer in offers:
        try:
            return offer.downloaded(fetcher)
        except (FetchError, WeightsError) as error:
            reasons.append(str(error))
    if refusal := fetcher.refusal():
        reasons = [*damaged, refusal]
    raise WeightsError("; ".join(reasons) or "it has no public home")


def _as_published(candidates: Iterable[tuple[_Offer, Path]]) -> Pretrained | None:
    """Return the first release of which a file is, byte for byte, what was published; converted.

    So no release is mistaken for another, whatever its file is called.
    """
    for offer, file in candidates:
        published = offer.published
        # The size spares reading half a gigabyte of something else.
        is_alike = file.is_file() and file.stat().st_size == published.size_bytes
        if is_alike and file_digest(file) == published.sha256:
            return offer.converted(file, source=f"{file.name} in {file.parent}")
    return None


# --- Reading -------------------------------------------------------------------------------------


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

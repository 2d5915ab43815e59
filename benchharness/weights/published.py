"""Published weights: converted once to safetensors, and kept with their origin."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

from benchharness.download.caches import keras_home, torch_checkpoints
from benchharness.download.fetcher import Fetcher
from benchharness.download.manifest import Manifest, damages, read_manifest, write_manifest
from benchharness.download.registry import RemoteResource, weights_home
from benchharness.errors import FetchError, RunError, WeightsError
from benchharness.files import atomic_dir, build_lock, file_digest, remove_dir, writable
from benchharness.model.backbones import Release
from benchharness.model.image_files import nature
from benchharness.plugins import install_command, weight_readers
from benchharness.worker.request import WorkerRequest, run_in_worker

FOREIGN = (".h5", ".pth")
_LONGEST_S = 600.0


class PublishedWeights(NamedTuple):
    """Published weights, converted: the release, its safetensors file, what it was and where."""

    release: str
    path: Path
    origin: str


def find_published(
    backbone: str,
    releases: Mapping[str, Release],
    *,
    environment: Mapping[str, str],
    fetcher: Fetcher,
) -> PublishedWeights:
    """Return the first release that is available.

    What was converted before goes first, then what frameworks have in their caches, then what can
    be downloaded. From a cache only the very bytes that were published are taken, so that no
    release is mistaken for another, whatever its file is called.

    Raises:
        WeightsError: None is available; says why.
    """
    offers = _offers(backbone, releases, fetcher)
    damaged = []
    for offer in offers:
        if (offer.folder / offer.file).is_file():
            damage = next(damages(offer.folder), "")
            if not damage:
                return offer.kept()
            damaged.append(damage)
    keras, torch = keras_home(environment), torch_checkpoints(environment)
    places = [place for place in (keras and keras / "models", torch) if place]
    for offer in offers:
        # What cannot be read in a framework's cache keeps nobody from downloading another.
        try:
            if published := _in_folders([offer], places):
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


def adopt(
    backbone: str, releases: Mapping[str, Release], file: Path, *, fetcher: Fetcher
) -> PublishedWeights:
    """Return the weights in a file as it was published, converted; else a WeightsError."""
    offers = _offers(backbone, releases, fetcher)
    digest = file_digest(file)
    for offer in offers:
        if offer.sha256 == digest:
            return offer.converted(file, source=f"{file.name} in {file.parent}")
    wanted = " or ".join(f"{offer.name} ({offer.sha256})" for offer in offers)
    raise WeightsError(
        f"{file}: expected a safetensors file, or {wanted or 'nothing else'}, "
        f"found {nature(file) or f'SHA-256 {digest}'}"
    )


def adopt_from(
    backbone: str, releases: Mapping[str, Release], folder: Path, *, fetcher: Fetcher
) -> PublishedWeights | None:
    """Return the first release whose file is in a folder as it was published; None for none."""
    return _in_folders(_offers(backbone, releases, fetcher), [folder])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    """A release with its public home, and the folder that keeps its file once it is converted."""

    backbone: str
    release: str
    preprocessing: str
    home: RemoteResource
    folder: Path
    file: str

    @property
    def name(self) -> str:
        return self.home.files[0].name

    @property
    def sha256(self) -> str:
        return self.home.files[0].sha256

    def is_published(self, file: Path) -> bool:
        """Return whether a file is, byte for byte, what was published."""
        # The size spares reading half a gigabyte of something else.
        return (
            file.is_file()
            and file.stat().st_size == self.home.files[0].size_bytes
            and file_digest(file) == self.sha256
        )

    def kept(self) -> PublishedWeights:
        """Return the release that was converted before."""
        manifest = read_manifest(self.folder)
        origin = manifest.source if manifest else str(self.folder)
        return PublishedWeights(self.release, self.folder / self.file, origin)

    def downloaded(self, fetcher: Fetcher) -> PublishedWeights:
        """Return the release from its public home; only the converted file is kept.

        Raises:
            FetchError: It cannot be downloaded.
            WeightsError: Nothing here can read it.
        """
        if Path(self.name).suffix != ".h5" and not weight_readers():
            raise WeightsError(
                f"{self.name}: expected a plugin that reads it, found none; "
                f"install one with: {install_command('torch')}"
            )
        folder = fetcher.fetch(weights_home(self.backbone, self.release))
        source = f"{self.name}, downloaded from {self.home.publisher}"
        published = self.converted(folder / self.name, source=source)
        shutil.rmtree(folder, ignore_errors=True)
        return published

    def converted(self, file: Path, *, source: str) -> PublishedWeights:
        """Return the release, converted unless another process has just done it."""
        what = "to write converted weights"
        with writable(self.folder, what=what, error=WeightsError), build_lock(self.folder):
            if any(damages(self.folder)):
                with atomic_dir(self.folder) as building:
                    self._convert(file, building / self.file, source=source)
                    digests = {self.file: file_digest(building / self.file)}
                    manifest = Manifest(source=source, remark=self.home.remark, files=digests)
                    write_manifest(building, manifest)
                    remove_dir(self.folder)
        return self.kept()

    def _convert(self, file: Path, out: Path, *, source: str) -> None:
        """Write a published file as safetensors, read in a separate process."""
        metadata = {
            "source": source,
            "source_sha256": self.sha256,
            "release": self.release,
            "preprocessing": self.preprocessing,
        }
        paths = {"file": str(file), "out": str(out)}
        request = WorkerRequest(
            job="convert-weights",
            arguments={**paths, "backbone": self.backbone, "metadata": metadata},
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


def _offers(backbone: str, releases: Mapping[str, Release], fetcher: Fetcher) -> list[_Offer]:
    return [
        _Offer(
            backbone=backbone,
            release=name,
            preprocessing=release.preprocessing,
            home=home,
            folder=fetcher.folder / Path(release.file).stem,
            file=release.file,
        )
        for name, release in releases.items()
        if (home := fetcher.homes.get(weights_home(backbone, name)))
    ]


def _in_folders(offers: Iterable[_Offer], folders: Sequence[Path]) -> PublishedWeights | None:
    for offer, folder in product(offers, folders):
        if offer.is_published(file := folder / offer.name):
            return offer.converted(file, source=f"{file.name} in {folder}")
    return None

"""Published weights: converted once to safetensors, and kept with word of where they came from."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchharness.download.caches import keras_home, torch_checkpoints
from benchharness.download.fetcher import Fetcher
from benchharness.download.registry import RemoteResource, weights_home
from benchharness.download.stock import (
    Manifest,
    atomic_dir,
    damages,
    read_manifest,
    write_manifest,
)
from benchharness.errors import FetchError, WeightsError
from benchharness.files import ANOTHER_CACHE, file_digest, unwritten
from benchharness.model.backbones import Release
from benchharness.model.signatures import nature
from benchharness.plugins import install_command, weight_readers
from benchharness.subprocesses import python_environment

FOREIGN = (".h5", ".pth")
_LONGEST_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Weights as somebody published them, converted.

    Attributes:
        release: Which they are.
        path: The safetensors file.
        origin: What was published, and where it was found.
    """

    release: str
    path: Path
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    """One release with its public home.

    Attributes:
        kept: Where its weights are once they are converted.
    """

    backbone: str
    name: str
    release: Release
    home: RemoteResource
    kept: Path


def find_published(
    backbone: str,
    releases: Mapping[str, Release],
    *,
    environment: Mapping[str, str],
    fetcher: Fetcher,
) -> Published:
    """Return the first release that can be had.

    What was converted before goes first, then what frameworks have in their caches, then what can
    be downloaded. From a cache only the very bytes that were published are taken, so that no
    release is mistaken for another, whatever its file is called.

    Args:
        releases: Which will do, the preferred first.
        environment: Tells where frameworks keep what they have downloaded.

    Raises:
        WeightsError: None can be had; says why.
    """
    offers = list(_offers(backbone, releases, fetcher))
    found_damaged = []
    for offer in offers:
        if (offer.kept / offer.release.file).is_file():
            damage = next(damages(offer.kept), "")
            if not damage:
                return _published(offer)
            found_damaged.append(damage)
    for offer in offers:
        for cached in _cached(offer.home, environment):
            return _converted(offer, cached, source=f"{cached.name} in {cached.parent}", at=fetcher)
    reasons = [*found_damaged]
    for offer in offers:
        try:
            return _downloaded(offer, fetcher)
        except (FetchError, WeightsError) as error:
            reasons.append(str(error))
    if refusal := fetcher.refusal():
        reasons = [*found_damaged, refusal]
    raise WeightsError("; ".join(reasons) or "it has no public home")


def adopt(
    backbone: str, releases: Mapping[str, Release], file: Path, *, fetcher: Fetcher
) -> Published:
    """Return the weights in a file as it was published, converted.

    Raises:
        WeightsError: It is none of the admitted releases, or cannot be converted.
    """
    offers = list(_offers(backbone, releases, fetcher))
    digest = file_digest(file)
    for offer in offers:
        if offer.home.files[0].sha256 == digest:
            return _converted(offer, file, source=f"{file.name} in {file.parent}", at=fetcher)
    wanted = " or ".join(f"{o.home.files[0].name} ({o.home.files[0].sha256})" for o in offers)
    raise WeightsError(
        f"{file}: expected a safetensors file, or {wanted or 'nothing else'}, "
        f"found {nature(file) or f'SHA-256 {digest}'}"
    )


def adopt_from(
    backbone: str, releases: Mapping[str, Release], folder: Path, *, fetcher: Fetcher
) -> Published | None:
    """Return the first release whose file lies in a folder as it was published; None for none.

    Raises:
        WeightsError: It cannot be converted.
    """
    for offer in _offers(backbone, releases, fetcher):
        file = folder / offer.home.files[0].name
        if _is_published(file, offer.home):
            return _converted(offer, file, source=f"{file.name} in {folder}", at=fetcher)
    return None


def _offers(backbone: str, releases: Mapping[str, Release], fetcher: Fetcher) -> Iterator[_Offer]:
    for name, release in releases.items():
        home = fetcher.homes.get(weights_home(backbone, name))
        if home is not None:
            kept = fetcher.folder / Path(release.file).stem
            yield _Offer(backbone=backbone, name=name, release=release, home=home, kept=kept)


def _cached(home: RemoteResource, environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield the published file wherever a framework keeps it."""
    keras, torch = keras_home(environment), torch_checkpoints(environment)
    for place in (keras / "models" if keras else None, torch):
        if place is not None and _is_published(file := place / home.files[0].name, home):
            yield file


def _is_published(file: Path, home: RemoteResource) -> bool:
    """Return whether a file is, byte for byte, what was published."""
    published = home.files[0]
    # The size spares reading half a gigabyte of something else.
    return (
        file.is_file()
        and file.stat().st_size == published.size_bytes
        and file_digest(file) == published.sha256
    )


def _downloaded(offer: _Offer, fetcher: Fetcher) -> Published:
    """Return a release from its public home, of which only the converted file is kept.

    Raises:
        FetchError: It cannot be had.
        WeightsError: Nothing here can read it.
    """
    name = offer.home.files[0].name
    if Path(name).suffix != ".h5" and not weight_readers():
        raise WeightsError(
            f"{name}: expected a plugin that reads it, found none; "
            f"install one with: {install_command('torch')}"
        )
    folder = fetcher.obtain(weights_home(offer.backbone, offer.name))
    source = f"{name}, downloaded from {offer.home.publisher}"
    published = _converted(offer, folder / name, source=source, at=fetcher)
    shutil.rmtree(folder, ignore_errors=True)
    return published


def _converted(offer: _Offer, file: Path, *, source: str, at: Fetcher) -> Published:
    """Return a release, converted unless another process has just done it.

    Raises:
        WeightsError: The file cannot be read, or the converted one not be written.
    """
    try:
        with at.locked(offer.kept.name):
            if any(damages(offer.kept)):
                with atomic_dir(offer.kept) as building:
                    _convert(offer, file, building / offer.release.file, source=source)
                    digests = {offer.release.file: file_digest(building / offer.release.file)}
                    manifest = Manifest(source=source, remark=offer.home.remark, files=digests)
                    write_manifest(building, manifest)
    except OSError as error:
        raise WeightsError(
            f"{offer.kept}: expected to write converted weights, found: "
            f"{unwritten(error, elsewhere=ANOTHER_CACHE)}"
        ) from error
    return _published(offer)


def _convert(offer: _Offer, file: Path, out: Path, *, source: str) -> None:
    """Write a published file as safetensors, read in a process of its own."""
    metadata = {
        "source": source,
        "source_sha256": offer.home.files[0].sha256,
        "release": offer.name,
        "preprocessing": offer.release.preprocessing,
    }
    arguments = [str(file), offer.backbone, str(out), json.dumps(metadata)]
    command = [sys.executable, "-m", "benchharness.weights.reading", *arguments]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_LONGEST_S,
            env=python_environment(),
        )
    except subprocess.TimeoutExpired as error:
        raise WeightsError(
            f"{file}: expected to be read within {_LONGEST_S:.0f} s, found it was not"
        ) from error
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise WeightsError(words[-1])


def _published(offer: _Offer) -> Published:
    manifest = read_manifest(offer.kept)
    origin = manifest.source if manifest else str(offer.kept)
    return Published(release=offer.name, path=offer.kept / offer.release.file, origin=origin)

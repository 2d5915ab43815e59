"""Downloads: published resources, each fetched once, checked and kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchharness.download.archive import unpack
from benchharness.download.manifest import build_folder, damages
from benchharness.download.registry import REGISTRY, RemoteResource
from benchharness.download.transfer import Timeouts, UnreachableError, download
from benchharness.errors import FetchError
from benchharness.files import require_free_space

OnDownload = Callable[[str, int, int], None]

_SPARE_BYTES = 50_000_000


class DamagedError(FetchError):
    """A downloaded resource is damaged, and cannot be downloaded again."""


@dataclass(slots=True, kw_only=True)
class Fetcher:
    """Downloads what has a public home and keeps it.

    Without a network, one failure is enough for all that follows: nothing is tried again.

    Attributes:
        folder: Where a folder for each resource appears.
        homes: What can be fetched, by name.
        is_offline: Whether the network is not to be touched.
        on_download: Called with what is fetched, bytes there are, and bytes in all.
        announce: Called with one line when something begins or is given up.
        skip_verify: Whether what is there is taken for whole, as those do who only look.
    """

    folder: Path
    homes: Mapping[str, RemoteResource] = field(default_factory=lambda: REGISTRY)
    is_offline: bool = False
    timeouts: Timeouts = field(default_factory=Timeouts)
    on_download: OnDownload = lambda what, done, count: None
    announce: Callable[[str], None] = lambda line: None
    skip_verify: bool = False
    _whole: set[str] = field(default_factory=set)
    _failures: dict[str, FetchError] = field(default_factory=dict)
    _outage: str = ""

    def fetch(self, name: str) -> Path:
        """Return the folder of a resource, a key of ``homes``, downloaded unless whole already.

        Raises:
            DamagedError: It is there, damaged, and cannot be downloaded again.
            FetchError: It is not there and cannot be downloaded.
        """
        if not self._is_whole(name):
            if name in self._failures:
                raise self._failures[name]
            try:
                self._fetch(name, self.homes[name], self.folder / name)
            except FetchError as error:
                self._failures[name] = error
                raise
            self._whole.add(name)
        return self.folder / name

    def may_fetch(self, name: str) -> bool:
        """Return whether a resource has a home and nothing speaks against fetching it."""
        return name in self.homes and name not in self._failures and not self.refusal()

    def refusal(self) -> str:
        """Return why nothing is fetched: the user's wish, or an outage; empty if all is well."""
        return "offline mode" if self.is_offline else self._outage

    def offline(self) -> Fetcher:
        """Return a fetcher that finds what is there and downloads nothing."""
        return Fetcher(folder=self.folder, homes=self.homes, is_offline=True, skip_verify=True)

    def _fetch(self, name: str, home: RemoteResource, target: Path) -> None:
        if refusal := self.refusal():
            if target.is_dir() and (damage := next(damages(target), "")):
                raise DamagedError(
                    f"{damage}; not downloaded again: {refusal}; retry online or delete {target}"
                )
            raise FetchError(f"{name}: {home.source} was not fetched: {refusal}")
        incoming = self.folder / f".{name}.incoming"

        def fill(building: Path) -> Mapping[str, str]:
            kept = sum(path.stat().st_size for path in incoming.glob("*"))
            needed = home.needed_bytes - kept + _SPARE_BYTES
            require_free_space(self.folder, needed=needed, what=home.source, error=FetchError)
            self.announce(f"fetching {name}: {home.source}, {home.size_bytes / 1e6:,.0f} MB")
            for file in home.files:
                progress = partial(self.on_download, file.name)
                download(file, incoming, timeouts=self.timeouts, progress=progress)
            if home.unpacking:
                archive = incoming / home.files[0].name
                progress = partial(self.on_download, f"unpacking {archive.name}")
                digests = unpack(archive, building, limits=home.unpacking, progress=progress)
            else:
                for file in home.files:
                    (incoming / file.name).rename(building / file.name)
                digests = {file.name: file.sha256 for file in home.files}
            # While no other process may download into it.
            shutil.rmtree(incoming, ignore_errors=True)
            return digests

        source, what = home.source, f"to write {home.source}"
        try:
            build_folder(
                target, fill, source=source, remark=home.remark, what=what, error=FetchError
            )
        except UnreachableError as error:
            self._outage = "no network"
            hosts = ", ".join(dict.fromkeys(file.hosts for file in home.files))
            self.announce(f"no network, going on without downloads: cannot reach {hosts}")
            raise FetchError(f"{name}: {error}") from error

    def _is_whole(self, name: str) -> bool:
        """Return whether a resource is there, as it was fetched; a process reads it once."""
        target = self.folder / name
        if not target.is_dir():
            return False
        if not self.skip_verify and name not in self._whole:
            if damage := next(damages(target), ""):
                self.announce(f"WARNING: damaged in the cache, to be fetched again: {damage}")
                return False
            self._whole.add(name)
        return True

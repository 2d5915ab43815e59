"""What a session fetches: each thing once, without a network not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from benchharness.download.archive import unpack
from benchharness.download.download import UnreachableError, download
from benchharness.download.registry import REGISTRY, RemoteResource
from benchharness.download.stock import Manifest, atomic_dir, damages, write_manifest
from benchharness.download.transfer import Progress, Timeouts
from benchharness.errors import FetchError
from benchharness.files import ANOTHER_CACHE, unwritten
from benchharness.locks import locked


class DamagedError(FetchError):
    """What was fetched is no longer what it was, and cannot be fetched anew."""


OnDownload = Callable[[str, int, int], None]

_SPARE_BYTES = 50_000_000


@dataclass(slots=True, kw_only=True)
class Fetcher:
    """Fetches what has a public home and keeps it.

    Without a network, one failure is enough for all that follows: nothing is tried again.

    Attributes:
        folder: Where a folder for each thing appears.
        homes: What can be fetched, by name.
        is_offline: Whether the network is not to be touched.
        on_download: Called with what is fetched, bytes there are, and bytes in all.
        announce: Called with one line when something begins or is given up.
        skip_verify: Whether what is there is taken for whole, as those do who only look.
    """

    folder: Path
    homes: Mapping[str, RemoteResource] = field(default_factory=lambda: REGISTRY)
    is_offline: bool = False
    patience: Timeouts = field(default_factory=Timeouts)
    on_download: OnDownload | None = None
    announce: Callable[[str], None] | None = None
    skip_verify: bool = False
    _whole: set[str] = field(default_factory=set)
    _failures: dict[str, FetchError] = field(default_factory=dict)
    _outage: str = ""

    def obtain(self, name: str) -> Path:
        """Return the folder of a thing, fetched and checked unless it is there already, and whole.

        Args:
            name: A key of ``homes``.

        Raises:
            DamagedError: It is there, damaged, and cannot be had anew.
            FetchError: It is not there and cannot be had.
        """
        target = self.folder / name
        if target.is_dir() and self._is_whole(name, target):
            return target
        if name not in self._failures:
            try:
                return self._fetch(name, target)
            except FetchError as error:
                self._failures[name] = error
        raise self._failures[name]

    def may_fetch(self, name: str) -> bool:
        """Return whether a thing has a home here and nothing speaks against fetching it."""
        return name in self.homes and name not in self._failures and not self.refusal()

    def refusal(self) -> str:
        """Return why nothing is fetched: the user's wish, or an outage; empty if all is well."""
        return "offline, as asked" if self.is_offline else self._outage

    def at_rest(self) -> Fetcher:
        """Return one that finds what is there and fetches nothing."""
        return Fetcher(folder=self.folder, homes=self.homes, is_offline=True, skip_verify=True)

    def locked(self, name: str) -> AbstractContextManager[bool]:
        """Return the lock that processes hold while they make the folder of a thing."""
        return locked(self.folder / f".{name}.lock")

    def _fetch(self, name: str, target: Path) -> Path:
        home = self.homes[name]
        if refusal := self.refusal():
            if damage := next(damages(target), "") if target.is_dir() else "":
                raise DamagedError(
                    f"{damage}; it was not fetched anew: {refusal}; "
                    f"fetch it with a network, or remove {target}"
                )
            raise FetchError(f"{name}: {home.source} was not fetched: {refusal}")
        try:
            with self.locked(name):
                # Another process may have fetched it while we waited.
                if not (target.is_dir() and self._is_whole(name, target)):
                    self._build(name, home, target)
                self._whole.add(name)
        except UnreachableError as error:
            self._outage = "no network"
            hosts = ", ".join(dict.fromkeys(file.hosts for file in home.files))
            self._say(f"no network, going on without downloads: cannot reach {hosts}")
            raise FetchError(f"{name}: {error}") from error
        except OSError as error:
            raise FetchError(
                f"{target}: expected to write {home.source}, found: "
                f"{unwritten(error, elsewhere=ANOTHER_CACHE)}"
            ) from error
        return target

    def _build(self, name: str, home: RemoteResource, target: Path) -> None:
        incoming = self.folder / f".{name}.incoming"
        self._require_space(home, incoming)
        self._say(f"fetching {name}: {home.source}, {home.size_bytes / 1e6:,.0f} MB")
        files = [
            download(
                file, incoming, patience=self.patience, progress=self._progress(f"{file.name}")
            )
            for file in home.files
        ]
        with atomic_dir(target) as building:
            if home.unpacking:
                progress = self._progress(f"unpacking {files[0].name}")
                digests = unpack(files[0], building, limits=home.unpacking, progress=progress)
            else:
                digests = {file.name: file.sha256 for file in home.files}
                for path in files:
                    path.rename(building / path.name)
            write_manifest(
                building, Manifest(source=home.source, remark=home.remark, files=digests)
            )
        shutil.rmtree(incoming, ignore_errors=True)

    def _is_whole(self, name: str, target: Path) -> bool:
        """Return whether a thing is as it was fetched; a process asks that once."""
        if self.skip_verify or name in self._whole:
            return True
        damage = next(damages(target), "")
        if damage:
            self._say(f"WARNING: damaged in the cache, to be fetched anew: {damage}")
            return False
        self._whole.add(name)
        return True

    def _require_space(self, home: RemoteResource, incoming: Path) -> None:
        kept = sum(path.stat().st_size for path in incoming.glob("*"))
        needed = home.needed_bytes - kept + _SPARE_BYTES
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise FetchError(
                f"{self.folder}: expected {needed / 1e6:,.0f} MB of free space for "
                f"{home.source}, found {free / 1e6:,.0f} MB; free some space, or {ANOTHER_CACHE}"
            )

    def _progress(self, what: str) -> Progress | None:
        on_download = self.on_download
        if on_download is None:
            return None
        return lambda done, count: on_download(what, done, count)

    def _say(self, line: str) -> None:
        if self.announce is not None:
            self.announce(line)

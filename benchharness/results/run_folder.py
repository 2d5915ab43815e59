"""Folders of runs: ``<results>/<suite>/<UTC time>-<token>/``, records.jsonl their truth."""

from __future__ import annotations

import errno
import itertools
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchharness.errors import RunError
from benchharness.files import (
    ANOTHER_RESULTS,
    atomic_write_text,
    require_free_space,
    sync,
    writable,
)
from benchharness.results import journal
from benchharness.results.record import Record, in_order, without_nan
from benchharness.text import escape_control_chars

LOGGER = logging.getLogger(__name__)

RECORDS = "records.jsonl"
LATEST = "latest"
# Of a zip: more than any run has, so that none can fill a disk.
_MOST_FILES, _MOST_BYTES = 100_000, 4 * 2**30
# What ``RunFolder.at`` calls a run.
_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d{6}Z-.+")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """Where one run keeps its records, logs and weights."""

    path: Path

    @classmethod
    def create(
        cls,
        results_dir: Path,
        suite_name: str,
        *,
        now: datetime,
        token: str,
        run: dict[str, Any] | None = None,
    ) -> RunFolder:
        """Make the folder of a new run and let the suite's ``latest`` point at it.

        It gets its name once it is complete, so that a run which can be found can be resumed.
        Where a file system knows no links, ``latest`` is a text file with the run's name, or there
        is none; both are logged.

        Args:
            suite_name: One folder name.
            now: With a time zone.
            token: Distinguishes runs of the same second.
            run: What ``write_run`` is to store first; None for nothing.

        Raises:
            RunError: The folder cannot be made or exists, or the suite's name is a path.
        """
        if "/" in suite_name or not suite_name.strip("."):
            raise RunError(
                f"{results_dir}: expected a suite name that can be a folder's, "
                f"found {suite_name!r}; rename the suite"
            )
        folder = cls.at(results_dir, suite_name, now=now, token=token)
        suite = folder.path.parent
        hidden = cls(path=suite / f".{folder.path.name}")
        try:
            with writable(folder.path, elsewhere=ANOTHER_RESULTS):
                for path in (suite, hidden.path, hidden.logs, hidden.weights):
                    path.mkdir(parents=True, exist_ok=path == suite)
                if run is not None:
                    hidden.write_run(run)
                (hidden.path / RECORDS).touch()
                sync(hidden.path)
                if folder.path.exists():
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
                hidden.path.rename(folder.path)
                sync(suite)
        except RunError:
            shutil.rmtree(hidden.path, ignore_errors=True)
            raise
        _point(suite / LATEST, folder.path.name)
        return folder

    @classmethod
    def at(cls, results_dir: Path, suite_name: str, *, now: datetime, token: str) -> RunFolder:
        """Return what ``create`` makes of the same arguments, made or not."""
        name = f"{now.astimezone(UTC):%Y-%m-%dT%H%M%SZ}-{token}"
        return cls(path=results_dir / suite_name / name)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Return the run that was recorded in a folder, else raise a RunError."""
        if not _is_run(path):
            raise RunError(
                f"{path}: expected the folder of a run, found no {RECORDS} in it; "
                "name a folder that `benchharness run` has made"
            )
        return cls(path=path)

    @property
    def name(self) -> str:
        """The run's name: UTC time and token."""
        return self.path.resolve().name

    @property
    def suite(self) -> str:
        """Name of the suite that was run."""
        return self.path.resolve().parent.name

    @property
    def logs(self) -> Path:
        """Folder of what the trials printed."""
        return self.path / "logs"

    @property
    def weights(self) -> Path:
        """Folder of what the trials learnt."""
        return self.path / "weights"

    def log_path(self, trial_id: str) -> Path:
        """Return the file of a trial's output."""
        return self.logs / f"{trial_id}.log"

    def set_aside_log(self, trial_id: str) -> None:
        """Keep what an earlier attempt at a trial has printed, under the next free number."""
        log = self.log_path(trial_id)
        if log.exists():
            names = (log.with_suffix(f".{number}.log") for number in itertools.count(1))
            with writable(log, elsewhere=ANOTHER_RESULTS):
                log.rename(next(path for path in names if not path.exists()))

    def append(self, record: Record) -> None:
        """Store the record of a finished trial; when this returns, it survives a power cut.

        Raises:
            RunError: It could not be written, and no part of it was.
        """
        with writable(self.path / RECORDS, elsewhere=ANOTHER_RESULTS):
            journal.append(self.path / RECORDS, record)

    def records(self) -> tuple[list[Record], list[str]]:
        """Return the last record of each trial, and one message per line that cannot be read.

        Those of a cluster are in the order of the plan, others in that in which they ended.
        """
        with _readable(self.path / RECORDS):
            records, problems = journal.read(self.path / RECORDS)
        last = {record["id"]: record for record in records}
        return in_order(last.values()), problems

    def write_run(self, run: dict[str, Any]) -> None:
        """Replace run.json: the resolved suite, the environment and the digests."""
        self._write("run.json", run)

    def write_certificates(self, certificates: dict[str, Any]) -> None:
        """Replace certificate.json: every pair of cells, its verdict and its figures."""
        self._write("certificate.json", certificates)

    def read_certificates(self) -> dict[str, Any]:
        """Return what ``write_certificates`` stored; empty where nothing was proven.

        Raises:
            RunError: It is damaged.
        """
        path = self.path / "certificate.json"
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise RunError(
                f"{path}: expected JSON, found: {error}; remove the file to do without it"
            ) from error
        return content

    def write_comparison(self, comparison: dict[str, Any]) -> None:
        """Replace comparison.json: the verdicts on the run's two sides."""
        self._write("comparison.json", comparison)

    def read_run(self) -> dict[str, Any]:
        """Return what ``write_run`` stored, else raise a RunError."""
        path = self.path / "run.json"
        with _readable(path):
            run: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return run

    def _write(self, name: str, content: dict[str, Any]) -> None:
        path = self.path / name
        with writable(path, elsewhere=ANOTHER_RESULTS):
            text = json.dumps(without_nan(content), indent=2, ensure_ascii=False)
            atomic_write_text(path, text + "\n")


def require_room(results_dir: Path, *, needed: int) -> None:
    """Refuse a place that cannot be written or has fewer bytes, before anything is done for a run.

    Where it is missing, the folder counts in which it would be made.
    """
    with writable(results_dir, elsewhere=ANOTHER_RESULTS):
        places = (results_dir, *results_dir.absolute().parents)
        # A link that leads nowhere counts: no folder can be made in its place.
        folder = next(place for place in places if place.exists() or place.is_symlink())
        # Only writing tells: permissions say nothing of quotas and read-only disks.
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0")
            probe.flush()
            os.fsync(probe.fileno())
    require_free_space(
        results_dir, needed=needed, what="results", error=RunError, elsewhere=ANOTHER_RESULTS
    )


def find_run(path: Path, results_dir: Path) -> RunFolder:
    """Return the run a user means: by its folder, its suite's folder or its suite's name.

    A suite means its latest run, or the newest that is left when that one was removed. Raises a
    RunError where nothing was recorded under that name.
    """
    for place in (path, results_dir / path):
        is_text_file = place.name == LATEST and place.is_file()
        folder = _latest_of(place.parent) if is_text_file else place
        if folder and _is_run(folder):
            return RunFolder.open(folder)
        if runs := runs_of(place):
            return runs[-1]
    folders = sorted(results_dir.iterdir()) if results_dir.is_dir() else []
    names = [folder.name for folder in folders if runs_of(folder)]
    held = "no runs yet: `benchharness run SUITE` makes one"
    if names:
        held = f"runs of: {', '.join(names)}"
    raise RunError(
        f"{path}: expected a run's folder, a suite's folder or a suite's name, found nothing "
        f"recorded; {results_dir} holds {held}"
    )


@contextmanager
def open_run(path: Path, results_dir: Path) -> Iterator[RunFolder]:
    """Yield the run that a user means, see ``find_run``; that of a zip is unpacked meanwhile.

    Raises:
        RunError: There is no such run, or not exactly one in the zip.
        FetchError: The zip is damaged, or not to be trusted.
    """
    if path.suffix != ".zip" or not path.is_file():
        yield find_run(path, results_dir)
        return
    # Not at the top: few runs come in a zip.
    from benchharness.download.archive import unpack
    from benchharness.download.registry import ArchiveLimits

    with tempfile.TemporaryDirectory(prefix="benchharness-") as folder:
        target = Path(folder) / path.stem
        target.mkdir()
        limits = ArchiveLimits(wanted="(?s).*", most_files=_MOST_FILES, most_bytes=_MOST_BYTES)
        unpack(path, target, limits=limits)
        runs = sorted(records.parent for records in target.rglob(RECORDS))
        if len(runs) != 1:
            raise RunError(
                f"{path}: expected the folder of one run, with its {RECORDS}, found {len(runs)}; "
                "zip the folder that `benchharness run` has made"
            )
        yield RunFolder.open(runs[0])


def runs_of(suite: Path) -> list[RunFolder]:
    """Return the runs in a suite's folder by age, the latest last; none when it is no such."""
    if not suite.is_dir():
        return []
    latest = _latest_of(suite)
    # Hidden is what a process was still making when it was ended.
    shown = [path for path in suite.iterdir() if not path.name.startswith(".")]
    runs = [path for path in shown if _is_run(path) and not path.is_symlink()]
    named = {path for path in runs if _NAME.fullmatch(path.name)}
    # Folders of other names come first, but for copies of a run, as of a ``latest`` followed.
    known = {_first_line(path) for path in named} if len(named) < len(runs) else set()
    runs = [path for path in runs if path in named or _first_line(path) not in known - {b""}]
    runs.sort(key=lambda path: (path.resolve() == latest, path in named, path.name))
    return [RunFolder.open(path) for path in runs]


def _first_line(run: Path) -> bytes:
    try:
        with (run / RECORDS).open("rb") as file:
            return file.readline()
    except OSError:
        return b""


def _is_run(path: Path) -> bool:
    return (path / RECORDS).is_file()


def _point(link: Path, target: str) -> None:
    """Let ``latest`` be a link to a run, else a text file with its name, else nothing."""
    temporary = link.with_name(f".{link.name}-{target}")
    try:
        temporary.symlink_to(target, target_is_directory=True)
        temporary.replace(link)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        try:
            atomic_write_text(link, f"{target}\n")
            instead = "a text file with its name is in its place"
        except OSError:
            instead = "left unchanged; the run continues"
        reason = error.strerror or str(error)
        problem = f"{link}: expected to make a link to the newest run, {target}, found: {reason}"
        LOGGER.warning(escape_control_chars(f"{problem}; {instead}"))


def _latest_of(suite: Path) -> Path | None:
    """Return the run that a suite's ``latest`` names, as a link or in words; perhaps gone."""
    link = suite / LATEST
    if link.is_symlink():
        return link.resolve()
    try:
        return (suite / Path(link.read_text(encoding="utf-8").strip()).name).resolve()
    except (OSError, ValueError):
        return None


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = f"{path}: expected JSON, found: {error}"
        if isinstance(error, OSError):
            reason = f"cannot read {path}: {error.strerror}"
        raise RunError(f"{reason}; choose another run, or repeat this one") from error

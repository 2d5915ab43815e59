"""Merge of runs of one suite, made on several machines or days, into one run folder.

Trials of each further run are numbered on: with three trials in the first run, those of the second
are trials 4, 5 and 6, of all backends alike, so that pairs stay pairs. Each record names its run in
``source``.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchharness.errors import Problem, SuiteError
from benchharness.files import json_digest, sync, writable
from benchharness.model.cell import CellKey
from benchharness.results import journal
from benchharness.results.cells import record_key, record_label
from benchharness.results.record import Record, in_present_format
from benchharness.results.run_folder import RECORDS, RunFolder

# What a merge changes in a record; the rest tells whether two records are one trial.
_CHANGED = ("id", "trial", "max_trials", "source", "host", "machine", "log")
# Facts of a source that the merged run keeps beside those of the first.
_FACTS = (
    "started",
    "machine",
    "device",
    "profile",
    "benchharness",
    "commit",
    "environment",
    "variables",
    "asked",
    "looks",
    "hosts",
)
# Of them those that only a source has, not the merged run.
_OF_ONE = ("asked", "looks", "hosts")

Difference = tuple[str, Problem]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A run to merge.

    Attributes:
        run: Its run.json.
        records: All that can be read, as written; ``damages`` name the others.
        before: By benchmark, how many trials the sources before it have.
    """

    folder: RunFolder
    run: Mapping[str, Any]
    records: Sequence[Record]
    damages: Sequence[str]
    before: Mapping[str, int]

    @classmethod
    def read(cls, folder: RunFolder, *, before: Mapping[str, int]) -> Self:
        """Return a run's source; raise a RunError where it cannot be read."""
        _, damages = folder.records()
        # Not by ``records``, which makes older ones look like new ones, and keeps the last alone.
        written = map(journal.decode, (folder.path / RECORDS).read_bytes().split(b"\n"))
        return cls(
            folder=folder,
            run=folder.read_run(),
            records=[r for r in written if r is not None and in_present_format(r) is not None],
            damages=damages,
            before=before,
        )

    @property
    def after(self) -> dict[str, int]:
        """Number of trials of each benchmark before the next source."""
        after = dict(self.before)
        for record in self.records:
            name, trial = record["benchmark"], self.number(record["benchmark"], record["trial"])
            after[name] = max(after.get(name, 0), trial)
        return after

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.name

    @property
    def names(self) -> set[str]:
        """Its name, and those of the runs that it was merged from."""
        return {self.name, *(facts["name"] for facts in self.run.get("merged", ()))}

    @property
    def machine(self) -> str:
        """Its kind of machine; that of an older run is put together from what it recorded."""
        known = self.run.get("environment") or {}
        words = (known.get("cpu"), f"{known.get('cores')} cores", known.get("machine"))
        return str(self.run.get("machine") or ", ".join(map(str, words)))

    @property
    def cells(self) -> dict[CellKey, Mapping[str, Any]]:
        """The cells of its resolved plan."""
        planned = (self.run.get("resolved") or {}).get("cells", ())
        return {record_key(cell): cell for cell in planned}

    def number(self, benchmark: str, trial: int) -> int:
        """Return the number of one of its trials in the merged run."""
        return self.before.get(benchmark, 0) + trial

    def describe(self) -> list[dict[str, Any]]:
        """Return what the merged run says of it; of a merged run, what that says of its sources.

        ``before``, and by cell the planned and most trials, are what `verify` needs to check each
        source against its plan.
        """
        if merged := self.run.get("merged"):
            return [{**facts, "before": self._after_others(facts["before"])} for facts in merged]
        facts = {name: self.run[name] for name in _FACTS if name in self.run}
        return [
            {
                "name": self.name,
                **facts,
                "machine": self.machine,
                "before": self.before,
                "trials": {
                    record_label(cell): [cell["trials"], cell.get("max_trials")]
                    for cell in self.cells.values()
                },
            }
        ]

    def _after_others(self, before: Mapping[str, int]) -> dict[str, int]:
        return {name: self.number(name, before.get(name, 0)) for name in {**self.before, **before}}


def merge(
    folders: Sequence[RunFolder], output: Path, *, ignore: Sequence[str] = ()
) -> tuple[RunFolder, list[str]]:
    """Write the merged run, and return it with a line on each of its sources and on differences.

    Args:
        folders: Two or more, in the order in which trials are numbered.
        output: The folder to make.
        ignore: Kinds of differences to allow: ``code``.

    Raises:
        SuiteError: The runs are not of one suite, data, weights and code; two hold the same trial;
            or the folder exists.
        RunError: A run cannot be read, or the folder cannot be written.
    """
    sources: list[Source] = []
    for folder in folders:
        sources.append(Source.read(folder, before=sources[-1].after if sources else {}))
    problems = list(_problems(sources, output))
    differences = [pair for other in sources[1:] for pair in _differences(sources[0], other)]
    problems += [problem for kind, problem in differences if kind not in ignore]
    if problems:
        raise SuiteError("merge", problems)
    notes = [*_notes(sources), *(f"differs, as allowed: {problem}" for _, problem in differences)]
    with writable(output, elsewhere="choose another --output"):
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as place:
            folder = RunFolder(path=Path(place) / output.name)
            folder.logs.mkdir(parents=True)
            _write(folder, sources)
            sync(folder.path)
            # Complete, or not there.
            folder.path.rename(output)
    return RunFolder.open(output), notes


def _write(folder: RunFolder, sources: Sequence[Source]) -> None:
    (folder.path / RECORDS).write_bytes(b"".join(map(journal.encode, _renumbered(sources))))
    folder.write_run(_merged_run(sources))
    certificates: list[dict[str, Any]] = []
    proofs: dict[str, Any] = {}
    for source in sources:
        if source.folder.logs.is_dir():
            shutil.copytree(source.folder.logs, folder.logs / source.name)
        if read := source.folder.read_certificates():
            proofs = read
            certificates += [{"source": source.name, **each} for each in proofs["certificates"]]
    if proofs:
        folder.write_certificates({**proofs, "certificates": certificates})


def _merged_run(sources: Sequence[Source]) -> dict[str, Any]:
    """Return run.json of the first run, with all trials, and without what can be resumed."""
    first = sources[0].run
    run = {name: value for name, value in first.items() if name not in _OF_ONE}
    cells = []
    for key, cell in sources[0].cells.items():
        trials = sum(source.cells[key]["trials"] for source in sources)
        cells.append({**cell, "trials": trials, "max_trials": _most(sources, key)})
    return run | {
        "machine": "; ".join(dict.fromkeys(source.machine for source in sources)),
        "resolved": {**(first.get("resolved") or {}), "cells": cells},
        "merged": [facts for source in sources for facts in source.describe()],
    }


def _renumbered(sources: Sequence[Source]) -> Iterator[Record]:
    """Yield all records with their place in the merged run."""
    for source in sources:
        for record in source.records:
            metrics = dict(record["metrics"])
            if head := metrics.get("head_from"):
                name, backend, number = head.rsplit(" ", 2)
                metrics["head_from"] = f"{name} {backend} {source.number(name, int(number))}"
            log = record.get("log")
            yield {
                **record,
                # The same trial on two machines has one id.
                "id": json_digest([record["id"], source.name], length=16),
                "trial": source.number(record["benchmark"], record["trial"]),
                "max_trials": _most(sources, record_key(record)),
                "metrics": metrics,
                "log": f"logs/{source.name}/{log.removeprefix('logs/')}" if log else "",
                "source": record.get("source") or source.name,
                # Unknown hosts differ: trials of two runs are never taken for neighbours.
                "host": record.get("host") or source.name,
                "machine": record.get("machine") or source.machine,
            }


def _most(sources: Sequence[Source], key: CellKey) -> int | None:
    """Return up to how many trials looks decided in all runs; None where numbers were fixed."""
    cells = [source.cells[key] for source in sources if key in source.cells]
    if not any(cell.get("max_trials") for cell in cells):
        return None
    return sum(int(cell.get("max_trials") or cell["trials"]) for cell in cells)


def _problems(sources: Sequence[Source], output: Path) -> Iterator[Problem]:
    """Yield what makes the runs no sources of a merge, whatever they are of."""
    if output.exists() or output.is_symlink():
        hint = "choose another, or remove it"
        yield Problem(where="--output", expected="a new folder", found=str(output), hint=hint)
    known: dict[str, str] = {}
    names: set[str] = set()
    devices: dict[str, tuple[Any, str]] = {}
    for source in sources:
        where = source.name
        if twice_named := source.names & names:
            expected = "runs whose folders have different names"
            found = f"{', '.join(sorted(twice_named))} twice"
            hint = "rename one, or leave it out if it is the same run"
            yield Problem(where=where, expected=expected, found=found, hint=hint)
        names |= source.names
        own = source.run.get("device")
        device, name = devices.setdefault(source.machine, (own, where))
        if own != device:
            # One machine has one row in the tables.
            expected = f"the device {device}, as in {name} on the same machine"
            hint = "merge runs on one device of a machine"
            yield Problem(where=where, expected=expected, found=str(own), hint=hint)
        if (source.folder.path / "comparison.json").is_file():
            expected, hint = "a run of `benchharness run`", "a verdict cannot be merged"
            yield Problem(where=where, expected=expected, found="a comparison", hint=hint)
        same = {_identity(record): record for record in source.records}
        if same_trials := [record for identity, record in same.items() if identity in known]:
            label = f"{record_label(same_trials[0])}, trial {same_trials[0]['trial']}"
            expected = "trials that no other run has"
            found = f"{len(same_trials)} of {known[_identity(same_trials[0])]} ({label})"
            yield Problem(where=where, expected=expected, found=found, hint="leave it out")
        known |= dict.fromkeys(same, source.name)


def _differences(first: Source, other: Source) -> Iterator[Difference]:
    """Yield what must not differ between two runs, by kind."""
    hints = {
        "suite": "merge runs of one suite, with one profile and the same --backend and --benchmark",
        "data": f"run the suite again with the data of {first.name}",
        "weights": f"run the suite again with the weights of {first.name}",
        "code": "--ignore code merges all the same",
    }
    for kind, where, ours, theirs in _compared(first, other):
        if ours != theirs:
            expected, found = f"{ours}, as in {first.name}", f"{theirs} in {other.name}"
            problem = Problem(where=where, expected=expected, found=found, hint=hints[kind])
            yield kind, problem


def _compared(first: Source, other: Source) -> Iterator[tuple[str, str, Any, Any]]:
    """Yield what has to be the same in two runs: its kind, its name, and both values."""
    a, b = first.run, other.run
    plans = a.get("resolved") or {}, b.get("resolved") or {}
    for name in ("name", "seed"):
        yield "suite", f"suite: {name}", plans[0].get(name), plans[1].get(name)
    tables = [plan.get("backend") or {} for plan in plans]
    for backend in {**tables[0], **tables[1]}:
        for name in ("plugin", "options"):
            ours, theirs = ((table.get(backend) or {}).get(name) for table in tables)
            yield "suite", f"backend {backend}: {name}", ours, theirs
    for key in {**first.cells, **other.cells}:
        ours, theirs = first.cells.get(key), other.cells.get(key)
        if ours is None or theirs is None:
            words = ["planned" if cell else "not planned" for cell in (ours, theirs)]
            yield "suite", record_label(ours or theirs or {}), words[0], words[1]
            continue
        mine, others = ours["settings"], theirs["settings"]
        for name in sorted({*mine, *others}):
            yield "suite", f"{record_label(ours)}: {name}", mine.get(name), others.get(name)
    for kind, name in (("data", "dataset"), ("weights", "weights")):
        yield kind, kind, _content(first, name), _content(other, name)
    yield "code", "benchharness", a.get("benchharness"), b.get("benchharness")
    codes = a.get("code") or {}, b.get("code") or {}
    for backend in {**codes[0], **codes[1]}:
        yield "code", f"backend {backend}", codes[0].get(backend), codes[1].get(backend)


def _content(source: Source, kind: str) -> str:
    known = source.run.get(kind) or {}
    name = known.get("name") or known.get("origin") or "none"
    return f"{name} ({known.get('digest') or 'no digest'})"


def _notes(sources: Sequence[Source]) -> Iterator[str]:
    for source in sources:
        run, commit = source.run, source.run.get("commit") or {}
        count = len({record["id"] for record in source.records})
        planned = sum(cell["trials"] for cell in source.cells.values())
        trials = f"{count} of {planned} trials" if count < planned else f"{count} trials"
        facts = (
            run.get("started"),
            source.machine,
            f"commit {str(commit.get('id') or 'unknown')[:12]}",
            trials,
        )
        yield f"{source.name}: {', '.join(map(str, facts))}"
        yield from source.damages
    versions = list(map(_versions, sources))
    for name in sorted({name for known in versions for name in known}):
        values = dict.fromkeys(str(known.get(name) or "none") for known in versions)
        if len(values) > 1:
            yield f"{name} differs: {', '.join(values)}"


def _versions(source: Source) -> dict[str, Any]:
    """Return the versions and variables of a source, by name."""
    known = source.run.get("environment") or {}
    system = {name: known.get(name) for name in ("python", "system")}
    return {**system, **(known.get("packages") or {}), **(source.run.get("variables") or {})}


def _identity(record: Record) -> str:
    """Return what two records of one trial have in common."""
    metrics = {**record["metrics"], "head_from": None}
    kept = {name: value for name, value in record.items() if name not in _CHANGED}
    return json.dumps({**kept, "metrics": metrics}, sort_keys=True)

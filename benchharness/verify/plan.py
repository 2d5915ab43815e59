"""Verification of a run against its plan: trials, settings, data and looks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from benchharness.model.cell import CellKey, CellName, cell_key
from benchharness.results.cells import cells_of, record_key, record_label
from benchharness.results.comparisons import comparisons_of, family_size
from benchharness.results.record import Record, without_nan
from benchharness.verify.findings import Findings
from benchharness.verify.trials import place

Facts = Mapping[str, Any]
Counts = tuple[Any, ...]
_SPLITS = ("train", "validation", "test")

# More than anybody runs of a cell: numbers of a file from elsewhere decide how long we count.
_MOST_TRIALS = 100_000


def sessions_of(
    run: Facts, records: Sequence[Record], findings: Findings
) -> list[tuple[Facts, Sequence[Record]]]:
    """Return a run with its records, or each of the runs that it was merged from."""
    if "merged" not in run:
        return [(run, records)]
    sessions: list[tuple[Facts, Sequence[Record]]] = []
    for source in run["merged"]:
        cells = []
        for cell in run["resolved"]["cells"]:
            trials, most = source["trials"][record_label(cell)]
            cells.append({**cell, "trials": trials, "max_trials": most})
        session = {**run, **source, "resolved": {**run["resolved"], "cells": cells}}
        sessions.append((session, [r for r in records if r.get("source") == source["name"]]))
    names = [source["name"] for source in run["merged"]]
    for record in records:
        if (source := record.get("source")) not in names:
            findings.add(f"{place(record)}: source", f"one of {', '.join(names)}", source)
    return sessions


def check_plan(run: Facts, records: Sequence[Record], findings: Findings) -> None:
    """Compare the trials, their settings and seeds with the resolved plan in run.json."""
    plan = run.get("resolved") or {}
    if not plan.get("cells"):
        findings.skip("planned trials, which run.json does not record")
        return
    trials: dict[CellKey, dict[int, Record]] = {record_key(cell): {} for cell in plan["cells"]}
    # Of a run that others were merged with.
    before = run.get("before") or {}
    for record in records:
        of_cell = trials.get(record_key(record))
        number = record["trial"] - before.get(record["benchmark"], 0)
        if of_cell is None:
            findings.add(place(record), "a cell of the plan in run.json", "none")
        elif number in of_cell:
            findings.add(place(record), "one record", "two")
        else:
            of_cell[number] = record
    # A comparison, or a session of tests, decides by itself how many there are.
    is_counted = "asked" in run
    if not is_counted:
        findings.skip("missing trials: run.json does not say how many were asked for")
    looks = {
        (_line(look), name): look for look in run.get("looks", ()) for name in look["backends"]
    }
    for cell in plan["cells"]:
        recorded = trials[record_key(cell)]
        most = (cell.get("max_trials") or cell["trials"]) if is_counted else math.inf
        look = looks.get((_line(cell), cell["backend"]))
        count = look["trials"] if look else cell["trials"] if is_counted else 0
        last = max([count, *recorded])
        if last > _MOST_TRIALS:
            findings.add(f"{record_label(cell)}: trials", f"at most {_MOST_TRIALS:,}", last)
            continue
        is_looked_at = is_counted and cell.get("max_trials") and "looks" in run
        # There are none of a cell that never came to an end.
        if is_looked_at and look is None and any(r["status"] == "ok" for r in recorded.values()):
            where = f"run.json: looks: {record_label(cell)}"
            findings.add(where, "the look that ended its trials", "none")
        for number in range(1, last + 1):
            findings.figures += 1
            if number not in recorded:
                trial = number + before.get(cell["benchmark"], 0)
                where = f"records.jsonl: {record_label(cell)}, trial {trial}"
                findings.add(where, "a record, as planned", "none: not run, or removed")
            elif number > most:
                findings.add(place(recorded[number]), f"at most {most} trials", number)
        for number, record in recorded.items():
            for name, value in cell["settings"].items():
                at = f"{place(record)}: setting {name}"
                findings.compare(at, value, record["settings"].get(name))
            findings.compare(f"{place(record)}: seed", plan["seed"] + number - 1, record["seed"])


def check_inputs(run: Facts, records: Sequence[Record], findings: Findings) -> None:
    """Compare the digests of data and weights, and the machine, with those of the trials."""
    dataset = run.get("dataset") or {}
    slices: dict[str, set[Counts]] = {}
    for part in dataset.get("slices") or ():
        slices.setdefault(part["digest"], set()).add(tuple(part.get(name) for name in _SPLITS))
    if slices:
        expected = "-".join(sorted(digest[:12] for digest in slices))
        findings.compare("run.json: dataset: digest", expected, dataset.get("digest"))
    weights = str((run.get("weights") or {}).get("digest")).split("-")
    for record in records:
        if record["status"] == "ok" and slices:
            stated = slices.get(str(record.get("data"))) or set().union(*slices.values())
            counts = tuple(record.get(f"{name}_count") for name in _SPLITS)
            findings.figures += 1
            if counts not in stated:
                known = " or ".join(map(str, sorted(stated, key=str)))
                findings.add(f"{place(record)}: images of {', '.join(_SPLITS)}", known, counts)
        if "data" not in record:
            findings.skip("data and weights of older trials, which do not name them")
        else:
            if record["data"] not in slices:
                expected, found = f"{record['data']} of {place(record)}", ", ".join(sorted(slices))
                findings.add("run.json: dataset: digest", expected, found or "none")
            if record["weights"] and record["weights"][:12] not in weights:
                found = ", ".join(weights)
                findings.add("run.json: weights", f"{record['weights']} of {place(record)}", found)
        if "machine" in record:
            # Of a cluster each host has its own.
            hosts = run.get("hosts") or {}
            machine = hosts.get(record["host"], run).get("machine")
            findings.compare(f"{place(record)}: machine", machine, record["machine"])


def check_looks(run: Facts, records: Sequence[Record], findings: Findings) -> None:
    """Compare what ended benchmarks whose number of trials is ``auto`` with their trials."""
    if not run.get("looks"):
        return
    # Not at the top: the statistics take a second to load.
    from benchharness.measure.sequential import looks

    cells = run["resolved"]["cells"]
    names = [field.name for field in fields(CellName)]
    planned = [CellName(**{name: cell[name] for name in names}) for cell in cells]
    recorded = cells_of(records)
    machines = len({cell.machine for cell in recorded})
    known = [(pair, logs) for pair in comparisons_of(recorded) if (logs := pair.logs())]
    found = looks(
        [logs for _, logs in known],
        hosts=[pair.hosts() for pair, _ in known],
        comparisons=family_size(planned) * max(machines, 1),
        max_trials=max(cell.get("max_trials") or cell["trials"] for cell in cells),
    )
    by_pair = {}
    for (pair, _), look in zip(known, found, strict=True):
        machine = pair.a.machine if machines > 1 else None
        by_pair[pair.a.group_key, pair.a.backend, pair.b.backend, machine] = look
    for shown in run["looks"]:
        for pair in shown["pairs"]:
            where = f"run.json: look at {shown['benchmark']}, {' and '.join(pair['backends'])}"
            key = (_line(shown), *pair["backends"], pair.get("machine"))
            for name in ("verdict", "ratio", "low", "high"):
                # JSON has no word for infinity.
                expected = without_nan(getattr(by_pair.get(key), name, None))
                findings.compare(f"{where}: {name}", expected, pair[name])


def _line(of: Facts) -> CellKey:
    return cell_key(of["benchmark"], of["matrix"], of["track"])

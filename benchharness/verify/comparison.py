"""Verification of comparison.json: verdicts from the recorded trials of both sides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchharness.compare.comparison import FAILED, OK, REGRESSION, UNDECIDABLE
from benchharness.compare.verdict import MISSES, WORSE, Criteria, Trials, Verdict
from benchharness.model.cell import cell_key
from benchharness.results.cells import record_key
from benchharness.results.record import Record
from benchharness.verify.findings import Findings
from benchharness.verify.trials import place


def check_comparison(
    content: Mapping[str, Any], records: Sequence[Record], findings: Findings
) -> None:
    """Compare every verdict with what the trials give at its limit and level."""
    compared = {
        cell_key(cell["benchmark"], cell["matrix"], cell["track"], backend)
        for cell in content["cells"]
        for backend in cell["backends"]
    }
    heads = {record["settings"].get("head_from") for record in records}
    for record in records:
        findings.figures += 1
        # Some run for the heads alone that others start from.
        if record_key(record) not in compared and record["benchmark"] not in heads:
            findings.add("comparison.json: cells", f"one with {place(record)}", "none")
    findings.skip("limits and columns of comparison.json, which are as its author chose them")
    for cell in content["cells"]:
        sides = []
        for backend in cell["backends"]:
            key = cell_key(cell["benchmark"], cell["matrix"], cell["track"], backend)
            of_side = [record for record in records if record_key(record) == key]
            sides.append(sorted(of_side, key=lambda record: int(record["trial"])))
        where = f"comparison.json: {cell['cell']}"
        trials = Trials(a=sides[0], b=sides[1])
        findings.compare(f"{where}: failure", trials.failure(), cell["failure"])
        findings.compare(f"{where}: skipped", trials.is_skipped, cell["skipped"])
        if not cell["failure"] and not cell["verdicts"]:
            findings.add(f"{where}: verdicts", "at least one", "none")
        for recorded in cell["verdicts"]:
            verdict = next(_verdicts(recorded, cell["benchmark"], *sides), None)
            for name in ("word", "change", "low", "high", "pairs"):
                at = f"{where}: {recorded['column']}: {name}"
                findings.compare(at, getattr(verdict, name, None), recorded[name])
    verdicts = [verdict for cell in content["cells"] for verdict in cell["verdicts"]]
    code = OK
    if any(verdict["word"] in WORSE for verdict in verdicts):
        code = REGRESSION
    elif any(cell["failure"] and not cell["skipped"] for cell in content["cells"]):
        code = FAILED
    elif any(v["word"] == "undecidable" and v["is_required"] for v in verdicts) or (
        not verdicts and not all(cell["skipped"] for cell in content["cells"])
    ):
        code = UNDECIDABLE
    findings.compare("comparison.json: exit_code", code, content["exit_code"])


def _verdicts(
    recorded: Mapping[str, Any], benchmark: str, a: list[Record], b: list[Record]
) -> Iterator[Verdict]:
    """Yield the verdict on a column: on all pairs, or on as many as there were at its last look."""
    column, level = recorded["column"], recorded["level"]
    columns = () if column == MISSES else (column,)
    criteria = Criteria(columns=columns, requested=dict.fromkeys(columns, recorded["threshold"]))
    for count in range(min(len(a), len(b)), 0, -1):
        trials = Trials(a=a[:count], b=b[:count])
        verdicts = trials.verdicts(criteria, benchmark, level=level, level_of_misses=level)
        yield from (v for v in verdicts if v.column == column and v.pairs == recorded["pairs"])

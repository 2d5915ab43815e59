"""Verification of a run folder: all its files against its records, and these against samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchharness.errors import RunError
from benchharness.report.markdown import MARKDOWN
from benchharness.results import journal
from benchharness.results.record import Record, in_order, in_present_format
from benchharness.results.run_folder import RECORDS, RunFolder
from benchharness.results.tables import TABLES
from benchharness.verify.comparison import check_comparison
from benchharness.verify.findings import Findings
from benchharness.verify.plan import check_inputs, check_looks, check_plan, sessions_of
from benchharness.verify.proofs import check_certificates, check_proofs
from benchharness.verify.reports import CHART, PAGE, check_reports
from benchharness.verify.tables import check_tables
from benchharness.verify.trials import check_trial

CERTIFICATE, COMPARISON, RUN = "certificate.json", "comparison.json", "run.json"
_READ = {RECORDS, RUN, CERTIFICATE, COMPARISON, PAGE, MARKDOWN, CHART, *TABLES}


def verify_run(folder: RunFolder) -> Findings:
    """Return what does not follow from the samples of a run, and what could not be checked.

    Raises:
        RunError: The records cannot be read.
    """
    findings = Findings()
    records = _read_records(folder.path / RECORDS, findings)
    for record in records:
        with findings.reading(f"{RECORDS}: {record.get('id')}"):
            check_trial(record, findings)
    try:
        run = folder.read_run()
    except RunError as error:
        findings.add(RUN, "what `benchharness run` wrote", str(error))
        run = {}
    certificate = _read_json(folder.path / CERTIFICATE, findings)
    certificates = certificate.get("certificates", [])
    with findings.reading(CERTIFICATE):
        if certificate:
            check_certificates(certificate, run, findings)
    with findings.reading(RUN):
        for session, recorded in sessions_of(run, records, findings):
            for check in (check_plan, check_inputs, check_looks):
                check(session, recorded, findings)
    with findings.reading(f"{RECORDS}: proofs"):
        check_proofs(records, certificates, run, findings)
    with findings.reading("CSV files"):
        files = {name: folder.path / name for name in TABLES if (folder.path / name).is_file()}
        check_tables({n: _text(file) for n, file in files.items()}, records, findings)
    with findings.reading("reports"):
        check_reports(folder.path, run, records, certificates, findings)
    with findings.reading(COMPARISON):
        if comparison := _read_json(folder.path / COMPARISON, findings):
            check_comparison(comparison, records, findings)
    others = sorted(path.name for path in folder.path.iterdir() if path.name not in _READ)
    if others:
        findings.skip(f"{', '.join(others)}, which are not read")
    return findings


def _read_records(path: Path, findings: Findings) -> Sequence[Record]:
    """Return the last record of each trial; lines that are none, and trials replaced, are found."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}; choose another run") from error
    last: dict[str, tuple[int, Record]] = {}
    for number, line in enumerate(lines, start=1):
        where = f"{RECORDS}: line {number}"
        with findings.reading(where):
            written = journal.decode(line)
            record = in_present_format(written) if written else None
            if record is None and line:
                expected = "a record with its checksum, of a known format"
                findings.add(where, expected, f"{len(line)} bytes that are none")
            if record is None:
                continue
            before, earlier = last.get(record["id"], (0, record))
            # A failed trial is repeated by --resume; one that went well is not.
            if before and earlier["status"] in ("ok", "skipped"):
                findings.add(f"{where}: id", "a new one", f"that of line {before}")
            last[record["id"]] = number, record
    return in_order(record for _, record in last.values())


def _read_json(path: Path, findings: Findings) -> dict[str, Any]:
    """Return the content of a file; empty where there is none, or it is damaged."""
    if not path.is_file():
        return {}
    with findings.reading(path.name):
        return dict(json.loads(_text(path)))
    return {}


def _text(path: Path) -> str:
    with path.open(encoding="utf-8", newline="") as file:
        return file.read()

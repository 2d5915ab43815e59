"""Verification of what was written from records for people: report.html, report.md, chart.svg."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from benchharness import __version__
from benchharness.report.markdown import MARKDOWN, markdown
from benchharness.report.rows import UNKNOWN
from benchharness.report.table import Report
from benchharness.results.record import Record
from benchharness.verify.findings import Findings
from benchharness.verify.tables import check_tables

PAGE, CHART = "report.html", "chart.svg"
_CSV = "data:text/csv;charset=utf-8;base64,"
_REFERENCE = "reference"


class _Texts(HTMLParser):
    """Texts of a page by section, each with its tag, and the files that the page carries."""

    def __init__(self) -> None:
        super().__init__()
        self.section = ""
        self.texts: dict[str, list[tuple[str, list[str]]]] = {}
        self.files: dict[str, str] = {}
        self._open: list[tuple[str, list[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if tag == "section":
            self.section = known.get("id") or ""
        if tag in ("p", "dt", "dd", "td") or known.get("class") == "beside":
            self._open.append((tag, []))
            self.texts.setdefault(self.section, []).append(self._open[-1])
        if name := known.get("download"):
            code = (known.get("href") or "").removeprefix(_CSV)
            self.files[name] = b64decode(code).decode()

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1][0] == tag:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open:
            self._open[-1][1].append(data)

    def of(self, section: str, *tags: str) -> list[str]:
        """Return the texts of some tags of a section, in order."""
        known = self.texts.get(section, ())
        return ["".join(parts).strip() for tag, parts in known if tag in tags]


def check_reports(
    folder: Path,
    run: Mapping[str, Any],
    records: Sequence[Record],
    certificates: Sequence[Mapping[str, Any]],
    findings: Findings,
) -> None:
    """Compare answers, tables and certificates in a run's files with those of its records."""
    names = [name for name in (PAGE, MARKDOWN, CHART) if (folder / name).is_file()]
    if names and (version := run.get("benchharness")) != __version__:
        words = f"written by benchharness {version}, which has other words than {__version__}"
        findings.skip(f"{', '.join(names)}, {words}")
        return
    report: Report | None = None
    with findings.reading("run.json"):
        report = Report.of(run, records)
    if report is None:
        return
    for name in names:
        text = (folder / name).read_text(encoding="utf-8")
        with findings.reading(name):
            if name == MARKDOWN:
                lines = markdown(run, list(records)).splitlines()
                expected = [(f"line {n}", line) for n, line in enumerate(lines, start=1)]
                _compare_texts(MARKDOWN, expected, text.splitlines(), findings)
            elif name == CHART:
                _check_chart(report, text, findings)
            else:
                _check_page(report, text, certificates, findings)


def _check_chart(report: Report, text: str, findings: Findings) -> None:
    root = ElementTree.fromstring(text)
    shown = " ".join(" ".join(element.itertext()) for element in root.iter() if element.text)
    # Lines are broken to fit the picture.
    words = re.sub(r"\s+", " ", shown)
    for answer in report.answers:
        findings.figures += 1
        if answer.said not in words:
            findings.add(f"{CHART}: {answer.subject}", answer.said, "another answer")
    findings.skip("drawings of charts")


def _check_page(
    report: Report, text: str, certificates: Sequence[Mapping[str, Any]], findings: Findings
) -> None:
    page = _Texts()
    page.feed(text)
    header = page.of("", "p")
    for line in filter(None, (report.setting, report.missing_trials, report.inputs)):
        findings.figures += 1
        if not any(shown.startswith(line) for shown in header):
            findings.add(f"{PAGE}: header", line, "not there")
    answers: list[tuple[str, str]] = []
    # Overall answers lead.
    for answer in sorted(report.answers, key=lambda answer: not answer.is_overall):
        texts = [answer.subject, answer.said, *answer.beside]
        if answer.is_overall:
            # On one kind of machine it goes without saying what they are about.
            subject = "" if answer.subject == "overall" else f"{answer.subject}: "
            texts = [subject + answer.said, "; ".join(answer.beside)]
        answers += [(answer.subject, text) for text in texts]
    if answers:
        found = page.of("answers", "p", "dt", "dd", "span")
        _compare_texts(f"{PAGE}: answer", answers, found, findings)
    groups = report.groups(is_detailed=True)
    cells = [
        (f"{row.label}, {group.title}", cell.strip())
        for index, row in enumerate(report.rows)
        for group in groups
        for cell in group.rows[index]
    ]
    _compare_texts(f"{PAGE}: table", cells, page.of("table", "td"), findings)
    notes = [*(report.legend(groups) if report.rows else ()), *report.notes]
    words = [(note.label, text.strip()) for note in notes for text in (note.label, note.text)]
    _compare_texts(f"{PAGE}: note", words, page.of("table", "dt", "dd"), findings)
    _compare_texts(f"{PAGE}: certificate", list(_figures(certificates)), _proofs(page), findings)
    if page.files:
        check_tables(page.files, report.records, findings, within=PAGE)
    else:
        findings.skip(f"CSV files within {PAGE}, which it lacks")
    findings.skip(f"settings, environment, charts and scripts of {PAGE}")


def _proofs(page: _Texts) -> list[str]:
    """Return distances and tolerances of the page's certificates; each row ends in a meaning."""
    cells = page.of("proofs", "td")
    unsaid = " beyond the tolerance"
    return [cell.removesuffix(unsaid) for place, cell in enumerate(cells) if place % 5 != 4]


def _figures(certificates: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield distances and tolerances of certificates as the page has them, each with its stage."""
    for certificate in certificates:
        a, b = certificate["backends"]
        stages: dict[str, dict[object, Mapping[str, Any]]] = {}
        for stage in certificate["stages"]:
            stages.setdefault(stage["stage"], {})[tuple(stage["between"])] = stage
        for name, sides in stages.items():
            where = f"{certificate['benchmark']}, {a} and {b}: {name}"
            for pair in ((a, b), (a, _REFERENCE), (b, _REFERENCE)):
                yield where, _distance(sides[pair]["off"]) if pair in sides else UNKNOWN
            yield where, f"{next(iter(sides.values()))['tolerance']:g}"


def _distance(off: float | None) -> str:
    if off is None:
        return "of another kind"
    return f"{off:.1e}" if off else "0"


def _compare_texts(
    where: str, expected: Sequence[tuple[str, str]], found: Sequence[str], findings: Findings
) -> None:
    """Compare texts one by one, each with its place, where there are as many."""
    if len(expected) != len(found):
        findings.add(where, f"{len(expected)} texts", f"{len(found)}")
        return
    for (place, text), written in zip(expected, found, strict=True):
        findings.compare(f"{where}: {place}", text, written)

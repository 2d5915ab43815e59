"""A comparison as JUnit XML, which CI systems show as tests."""

from __future__ import annotations

from xml.etree import ElementTree

from benchharness.compare.comparison import CellComparison, Comparison
from benchharness.compare.verdict import Verdict
from benchharness.report.comparison import busy_words, headline, missed_words

# What XML 1.0 cannot hold at all.
_FORBIDDEN = {code: None for code in range(32) if code not in (9, 10, 13)}


def junit(comparison: Comparison) -> str:
    """Return an XML document: a test suite, and in it a test for each cell and column.

    What is worse is a failure, what is undecided and matters too; a cell whose trials failed is an
    error, one that neither side can do is skipped.
    """
    suite = ElementTree.Element("testsuite", name=_text(f"benchharness compare {comparison.suite}"))
    for cell in comparison.cells:
        if not cell.verdicts:
            _add_failed(suite, cell)
        for verdict in cell.verdicts:
            _add(suite, cell, verdict, busy=busy_words(comparison))
    counts = {
        name: str(len(suite.findall(f"testcase/{name}")))
        for name in ("failure", "error", "skipped")
    }
    suite.set("tests", str(len(suite)))
    suite.set("failures", counts["failure"])
    suite.set("errors", counts["error"])
    suite.set("skipped", counts["skipped"])
    suite.set("time", f"{60 * (comparison.minutes or 0):.1f}")
    ElementTree.SubElement(suite, "system-out").text = _text(
        "\n".join([headline(comparison), *comparison.notes])
    )
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add(suite: ElementTree.Element, cell: CellComparison, verdict: Verdict, *, busy: str) -> None:
    case = _case(suite, cell, verdict.column)
    said = (
        missed_words(verdict)
        if verdict.misses is not None
        else f"{verdict.word}: change {verdict.change}, interval {verdict.low} to {verdict.high}, "
        f"threshold {verdict.threshold}, {verdict.pairs} pairs"
    )
    message = _text(f"{said}; {busy}" if busy else said)
    if verdict.is_worse or verdict.is_undecided:
        ElementTree.SubElement(case, "failure", type=verdict.word, message=message)
    elif verdict.word == "undecidable":
        ElementTree.SubElement(case, "skipped", message=message)
    else:
        ElementTree.SubElement(case, "system-out").text = message


def _add_failed(suite: ElementTree.Element, cell: CellComparison) -> None:
    case = _case(suite, cell, "trials")
    kind = "skipped" if cell.is_skipped else "error"
    ElementTree.SubElement(case, kind, message=_text(cell.failure))


def _case(suite: ElementTree.Element, cell: CellComparison, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname=_text(cell.label), name=name)


def _text(text: str) -> str:
    return text.translate(_FORBIDDEN)

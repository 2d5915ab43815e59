"""All problems of a suite's document at once: wrong values, and what does not go together."""

from __future__ import annotations

import difflib
from typing import Any

from benchharness.errors import Problem
from benchharness.suite.agreement import disagreements
from benchharness.suite.file import SuiteFile
from benchharness.suite.findings import Finding
from benchharness.suite.settings import STRATEGIES, setting_names
from benchharness.suite.text import KeyPath
from benchharness.suite.values import Document, benchmark_names, wrong_values

PLACEHOLDERS: Document = {"name": "a", "dataset": {"source": "drawn"}}


def problems_of(document: Document) -> list[Problem]:
    """Return every problem of a document, each once."""
    found = wrong_values(document)
    if sound := _sound_part(document, found):
        doubtful = _doubtful(found)
        clashes = disagreements(sound, names=benchmark_names(document))
        found += [clash for clash in clashes if doubtful.isdisjoint(clash.at)]
    return list(dict.fromkeys(finding.problem(document) for finding in found))


def _sound_part(document: Document, found: list[Finding]) -> SuiteFile | None:
    """Return the suite without what is wrong in it; None when nothing is left."""
    sound: Document = {**PLACEHOLDERS, **document}
    while found:
        # A value that is missing makes the table wrong that lacks it.
        wrong = {one.at[:-1] if one.found == "nothing" else one.at for one in found}
        smaller = PLACEHOLDERS | _without(sound, (), wrong)
        if smaller == sound:
            return None
        sound, found = smaller, wrong_values(smaller)
    return SuiteFile.model_validate(sound)


def _without(value: Any, at: KeyPath, wrong: set[KeyPath]) -> Any:
    """Return a value without the parts that stand at the given places."""
    if isinstance(value, dict):
        kept = {key: (*at, key) for key in value if (*at, key) not in wrong}
        return {key: _without(value[key], place, wrong) for key, place in kept.items()}
    if isinstance(value, list):
        items = [(item, (*at, index)) for index, item in enumerate(value)]
        return [_without(item, place, wrong) for item, place in items if place not in wrong]
    return value


def _doubtful(found: list[Finding]) -> set[str | int]:
    """Return the settings whose value is not known for sure, as a table states them wrongly."""
    known = {key for strategy in STRATEGIES for key in setting_names(strategy)}
    written = {part for one in found for part in one.at if isinstance(part, str)}
    meant = (difflib.get_close_matches(key[:100], known, n=1) for key in written)
    return {key for keys in meant for key in keys}

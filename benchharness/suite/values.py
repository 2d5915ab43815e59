"""What is wrong with values and keys, each taken by itself.

Works on the document as TOML gave it: a mistake in one table must not hide those in another.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from benchharness.suite.file import Benchmark, DatasetSettings, Overridable, SuiteFile
from benchharness.suite.findings import Finding, check, check_value, unknown_key
from benchharness.suite.settings import STRATEGIES, setting_names
from benchharness.text import quote, suggest

Document = Mapping[str, Any]
Strategies = tuple[str, ...]
MOST_POINTS = 1000


def wrong_values(document: Document) -> list[Finding]:
    """Return every wrong value and key of a suite's document."""
    return [*check(SuiteFile, document), *_tables(document)]


def benchmark_names(document: Document) -> list[str]:
    """Return the names of the benchmarks that have one, each once."""
    names = [entry.get("name") for _, entry in _entries(document)]
    return list(dict.fromkeys(name for name in names if isinstance(name, str)))


def _tables(document: Document) -> Iterator[Finding]:
    """Yield what is wrong with the settings of each table."""
    for one in _settings(_table(document.get("defaults")), tuple(STRATEGIES)):
        yield one.under("defaults")
    for index, entry in _entries(document):
        for one in _extras(entry, _strategies(entry), known=tuple(Benchmark.model_fields)):
            yield one.under("benchmark", index)
    yield from _repeated_names(document)
    for name, profile in _table(document.get("profiles")).items():
        for one in _profile(_table(profile), document):
            yield one.under("profiles", name)


def _settings(
    table: Document, strategies: Strategies, *, also: tuple[str, ...] = ()
) -> Iterator[Finding]:
    """Yield unknown keys, and values that no strategy which knows the key accepts."""
    known = list(dict.fromkeys(key for name in strategies for key in setting_names(name)))
    for key, value in table.items():
        if key in known:
            yield from (one.under(key) for one in _value(key, value, strategies))
        else:
            yield unknown_key(key, [*known, *also], hint=_elsewhere(key))


def _value(key: str, value: Any, strategies: Strategies) -> list[Finding]:
    """Return what is wrong with a value, when it is wrong for every strategy that knows the key."""
    owners = [STRATEGIES[name] for name in strategies if key in setting_names(name)]
    found = [check_value(owner, key, value) for owner in owners]
    return found[0] if all(found) else []


def _elsewhere(key: str) -> str:
    """Return the hint that names the strategies which know a key; empty when none does."""
    owners = [name for name in STRATEGIES if key in setting_names(name)]
    return f"a setting of strategy {' and '.join(owners)} only" if owners else ""


def _extras(
    table: Document, strategies: Strategies, *, known: tuple[str, ...]
) -> Iterator[Finding]:
    """Yield what is wrong with the settings and the matrix of a benchmark's table."""
    own = {key: value for key, value in table.items() if key not in known}
    yield from _settings(own, strategies, also=known)
    matrix = _table(table.get("matrix"))
    axes = {key: values for key, values in matrix.items() if isinstance(values, list)}
    for one in _matrix(axes, strategies):
        yield one.under("matrix")


def _matrix(axes: Mapping[str, list[Any]], strategies: Strategies) -> Iterator[Finding]:
    """Yield unknown keys, unacceptable values, and more points than anyone would run."""
    for key, values in axes.items():
        known = [name for name in strategies if key in setting_names(name)]
        if not known:
            yield from _settings({key: values}, strategies)
        for index, value in enumerate(values if known else []):
            yield from (one.under(key, index) for one in _value(key, value, strategies))
    points = math.prod(len(values) for values in axes.values())
    if points > MOST_POINTS:
        yield Finding(at=(), expected=f"at most {MOST_POINTS} combinations", found=str(points))


def _repeated_names(document: Document) -> Iterator[Finding]:
    """Yield the benchmarks whose name an earlier one has."""
    seen: set[str] = set()
    for index, entry in _entries(document):
        name = entry.get("name")
        if isinstance(name, str) and name in seen:
            yield Finding(
                at=("benchmark", index, "name"),
                expected="a name of its own",
                found="that of an earlier benchmark",
            )
        seen.add(str(name))


def _profile(profile: Document, document: Document) -> Iterator[Finding]:
    """Yield what is wrong with the tables of a profile."""
    names = benchmark_names(document)
    strategies = {str(entry.get("name")): _strategies(entry) for _, entry in _entries(document)}
    for one in check(DatasetSettings, {"source": "drawn"} | _table(profile.get("dataset"))):
        yield one.under("dataset")
    for one in _settings(_table(profile.get("defaults")), tuple(STRATEGIES)):
        yield one.under("defaults")
    for index, name in enumerate(_list(profile.get("benchmarks"))):
        if isinstance(name, str) and name not in names:
            yield _unknown_benchmark(name, names).under("benchmarks", index)
    for name, override in _table(profile.get("benchmark")).items():
        if name not in names:
            yield _unknown_benchmark(name, names).under("benchmark", name)
            continue
        for one in _extras(
            _table(override), strategies[name], known=tuple(Overridable.model_fields)
        ):
            yield one.under("benchmark", name)


def _unknown_benchmark(name: str, known: list[str]) -> Finding:
    """Return the finding of a name that no benchmark has."""
    return Finding(
        at=(),
        expected="the name of a benchmark of this suite",
        found=quote(name),
        hint=suggest(name, known),
    )


def _strategies(entry: Document) -> Strategies:
    """Return the strategy of a benchmark, or all when it names none that we know."""
    strategy = entry.get("strategy")
    return (strategy,) if isinstance(strategy, str) and strategy in STRATEGIES else (*STRATEGIES,)


def _entries(document: Document) -> list[tuple[int, Document]]:
    """Return the benchmarks that are tables, each with its place."""
    entries = enumerate(_list(document.get("benchmark")))
    return [(index, entry) for index, entry in entries if isinstance(entry, dict)]


def _table(value: Any) -> dict[str, Any]:
    """Return the table, or an empty one where something else stands."""
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    """Return the list, or an empty one where something else stands."""
    return value if isinstance(value, list) else []

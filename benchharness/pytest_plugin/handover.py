"""Samples of our own for pytest-benchmark, which takes none from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest

from benchharness.errors import RunError

# Of pytest-benchmark: `hand_over` was tried with 5.2.0, 5.2.3, 5.3.0 and 5.3.1, and says so where
# another is otherwise. 5.1 cannot fail a median.
FIRST, BEFORE = (5, 2), (6,)
_SESSION = "pytest-benchmark"


def session_of(config: pytest.Config) -> Any | None:
    """Return pytest-benchmark's session; None where it is not installed or switched off."""
    return config.pluginmanager.get_plugin(_SESSION)


def require_pytest_benchmark(config: pytest.Config) -> None:
    """Refuse to go on without a pytest-benchmark that we know how to hand samples to.

    Raises:
        RunError: There is none, or another.
    """
    expected = f"pytest-benchmark {_dotted(FIRST)} or newer, before {_dotted(BEFORE)}"
    try:
        found = version(_SESSION)
    except PackageNotFoundError:
        found = "none"
    if found == "none" or not FIRST <= _numbers(found) < BEFORE:
        raise RunError(
            f"{_SESSION}: expected {expected}, found {found}; "
            "install it with: pip install 'benchharness[pytest]'"
        )
    if session_of(config) is None:
        raise RunError(
            f"{_SESSION}: expected it to be loaded, found it switched off; "
            "leave out -p no:benchmark, or name it with -p pytest_benchmark.plugin"
        )


def report_samples(
    item: pytest.Item,
    samples: Sequence[float],
    *,
    extra_info: Mapping[str, Any],
    group: str | None = None,
    params: Mapping[str, Any] | None = None,
) -> None:
    """Let pytest-benchmark report an item by samples that it has not taken.

    Where benchmarks are disabled it only learns that the item has been seen to.

    Everything private that we use of pytest-benchmark stands here: the making of its fixture,
    ``_mode`` and ``_make_stats``.

    Args:
        item: A test with the fixture ``benchmark``, or an item of ours without fixtures.
        samples: Seconds of each round.
        group: Of the table; None for the fixture's own.
        params: As of a parametrised test; None for the fixture's own.

    Raises:
        RunError: The item was timed before, or pytest-benchmark has changed.
    """
    make_fixture: Any = import_module("pytest_benchmark.fixture").BenchmarkFixture
    session = session_of(item.config)
    try:
        assert session is not None
        fixture = getattr(item, "funcargs", {}).get("benchmark")
        if fixture is None:
            fixture = make_fixture(
                item,
                add_stats=session.benchmarks.append,
                logger=session.logger,
                warner=item.warn,
                disabled=session.disabled,
                **session.options,
            )
        if fixture._mode:
            raise RunError(f"{item.nodeid}: expected one timing, found another before it")
        fixture._mode = "benchharness"
        if session.disabled:
            return
        fixture.group = group or fixture.group
        if params is not None:
            fixture.param, fixture.params = item.name, dict(params)
        fixture.extra_info.update(extra_info)
        stats = fixture._make_stats(1)
        for seconds in samples:
            stats.update(seconds)
    except (AttributeError, TypeError) as error:
        raise RunError(
            f"{_SESSION} {version(_SESSION)}: expected it to take samples as {_dotted(FIRST)} "
            f"does, found: {error}; install another with: pip install 'benchharness[pytest]'"
        ) from error


def _numbers(text: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with."""
    leading = text.split("+", maxsplit=1)[0].split(".")[:2]
    return tuple(int(part) for part in leading if part.isdigit())


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))

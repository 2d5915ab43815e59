"""Samples for pytest-benchmark, which takes none from outside, and the facts stored with them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import pytest
from packaging.specifiers import SpecifierSet

from benchharness import __version__
from benchharness.compare.verdict import Criteria
from benchharness.errors import RunError
from benchharness.files import json_digest
from benchharness.measure.blocks import low_decile
from benchharness.measure.machine import fingerprint, machine_label, recorded_variables
from benchharness.results.cells import cells_of
from benchharness.results.record import Record
from benchharness.run.requests import backend_plugin
from benchharness.suite.plan import PlannedCell

if TYPE_CHECKING:
    from benchharness.pytest_plugin.suites import CellItem
    from benchharness.run.runner import Runner
    from benchharness.run.session import Session

# Of pytest-benchmark: `report_samples` was tried with 5.2.0, 5.2.3, 5.3.0 and 5.3.1, and raises an
# error if another differs. 5.1 cannot fail a median.
_FIRST, _BEFORE = "5.2", "6"
_SESSION = "pytest-benchmark"
_INSTALL = "pip install 'benchharness[pytest]'"
# Medians over the trials, beside the times.
_METRICS = (
    "test_top1",
    "validation_top1",
    "train_images_per_s",
    "feed_images_per_s",
    "peak_host_bytes",
    "peak_device_bytes",
)


def session_of(config: pytest.Config) -> Any | None:
    """Return pytest-benchmark's session; None if it is not installed or switched off."""
    return config.pluginmanager.get_plugin(_SESSION)


def require_pytest_benchmark(config: pytest.Config) -> None:
    """Require a version of pytest-benchmark that we know how to hand samples to."""
    try:
        found = version(_SESSION)
    except PackageNotFoundError:
        found = "none"
    supported = SpecifierSet(f">={_FIRST},<{_BEFORE}")
    if found == "none" or not supported.contains(found, prereleases=True):
        raise RunError(
            f"{_SESSION}: expected {_SESSION} {_FIRST} or newer, before {_BEFORE}, "
            f"found {found}; install it with: {_INSTALL}"
        )
    if session_of(config) is None:
        raise RunError(
            f"{_SESSION}: expected it to be loaded, found it switched off; "
            "leave out -p no:benchmark, or name it with -p pytest_benchmark.plugin"
        )


def is_stored(config: pytest.Config) -> bool:
    """Return whether the session stores its samples, or compares them with stored ones."""
    names = ("save", "autosave", "json", "compare")
    benchmarks = session_of(config)
    return benchmarks is not None and any(getattr(benchmarks, name, None) for name in names)


def report_samples(
    item: pytest.Item,
    samples: Sequence[float],
    *,
    extra_info: Mapping[str, Any],
    group: str | None = None,
    params: Mapping[str, Any] | None = None,
    suffix: str = "",
) -> None:
    """Let pytest-benchmark report an item by samples that it has not taken.

    If benchmarks are disabled it only learns that the item has run. Everything private that we use
    of pytest-benchmark is here: making its fixture, ``_mode`` and ``_make_stats``.

    Args:
        item: A test with the fixture ``benchmark``, or an item of ours without fixtures.
        samples: Seconds of each round.
        extra_info: Stored with them.
        group: Of the table; None for the fixture's own.
        params: As of a parametrised test; None for the fixture's own.
        suffix: Of the name, for further samples of one item.
    """
    make_fixture: Any = import_module("pytest_benchmark.fixture").BenchmarkFixture
    session = session_of(item.config)
    try:
        assert session is not None
        # The samples of another side are further ones of the same item.
        fixture = None if suffix else getattr(item, "funcargs", {}).get("benchmark")
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
        fixture.name, fixture.fullname = f"{fixture.name}{suffix}", f"{fixture.fullname}{suffix}"
        if params is not None:
            fixture.param, fixture.params = item.name, dict(params)
        fixture.extra_info.update(extra_info)
        stats = fixture._make_stats(1)
        for seconds in samples:
            stats.update(seconds)
    except (AttributeError, TypeError) as error:
        raise RunError(
            f"{_SESSION} {version(_SESSION)}: expected it to take samples as {_FIRST} does, "
            f"found: {error}; install another with: {_INSTALL}"
        ) from error


def seconds_per_step(records: Iterable[Record]) -> list[float]:
    """Return a round for each block of steps that was timed, in running order.

    A block counts with the mean of its steps: the device is waited for at its edges alone.
    """
    return [
        seconds / steps for record in records for _, steps, seconds in record["blocks"] if steps
    ]


def item_name(cell: PlannedCell) -> str:
    """Return the name of a cell's item: ``simple_cnn[batch_size=64]-torch``."""
    track = "" if cell.track == "equal" else f"-{cell.track}"
    return f"{_point(cell)}-{cell.backend}{track}"


def report_cell(
    item: CellItem, records: Sequence[Record], facts: Mapping[str, Any], *, suffix: str = ""
) -> None:
    """Let pytest-benchmark report the trials of a cell, beside those of its rivals."""
    cell = item.cell
    track = "" if cell.track == "equal" else f" ({cell.track})"
    own = {"benchmark": cell.benchmark, "backend": cell.backend, "track": cell.track}
    report_samples(
        item,
        seconds_per_step(records),
        extra_info=facts,
        group=f"{item.suite.suite_session.plan.suite.name}: {_point(cell)}{track}",
        params={**cell.matrix, **own},
        suffix=suffix,
    )


def stored_limit(criteria: Criteria, benchmark: str = "") -> float:
    """Return the limit of a step's time where the baseline is of another time, a share.

    Less the third of it by which the yardstick may have moved, equal code may still differ by the
    drift.
    """
    return max(criteria.threshold(benchmark, "step_ms_p50"), 1.5 * criteria.drift)


def cell_facts(
    session: Session, runner: Runner, cell: PlannedCell, records: Sequence[Record]
) -> dict[str, Any]:
    """Return the ``extra_info`` of a cell whose trials are all ok, JSON-able."""
    (result,) = cells_of(records)
    plan, inputs = runner.plan, runner.inputs
    settings = cell.settings.model_dump(mode="json")
    pretrained = inputs.pretrained(cell)
    plugin, options = backend_plugin(plan, cell.backend)
    criteria = Criteria.of(plan.suite.regression_settings(profile=plan.profile), thresholds={})
    step_s = [seconds_per_step([record]) for record in records]
    return {
        "benchharness": __version__,
        "kind": "cell",
        "unit": "seconds per step",
        "suite": plan.suite.name,
        "profile": plan.profile,
        "benchmark": cell.benchmark,
        "strategy": cell.strategy,
        "backend": cell.backend,
        "track": cell.track,
        "matrix": dict(cell.matrix),
        "batch_size": cell.settings.batch_size,
        "proof": result.proof,
        "proofs": {other: result.proof_against(other) for other in records[0]["proofs"]},
        "machine": machine_label(fingerprint()),
        "device": session.device.name,
        "precision": cell.settings.precision,
        "dataset": {"name": inputs.dataset.title, "digest": inputs.prepared(cell).digest},
        "weights": pretrained and {"name": pretrained.backbone, "digest": pretrained.digest},
        "settings": {**settings, **recorded_variables(session.places.environment)},
        "settings_digest": json_digest(settings, length=16),
        "options": {"plugin": plugin, **options},
        "versions": records[-1]["versions"],
        **{name: result.median(name) for name in _METRICS if result.values(name)},
        "trials": [record["id"] for record in records],
        "trial_step_s": [low_decile(seconds) for seconds in step_s if seconds],
        "rounds": sum(map(len, step_s)),
        "limit": stored_limit(criteria, cell.benchmark),
    }


def _point(cell: PlannedCell) -> str:
    """Return a benchmark and the point of its matrix."""

    def shown(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))

    settings = ",".join(f"{name}={shown(value)}" for name, value in cell.matrix.items())
    return f"{cell.benchmark}[{settings}]" if settings else cell.benchmark

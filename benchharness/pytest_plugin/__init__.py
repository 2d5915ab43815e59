"""Plugin for pytest: it collects suites, and hands their times to pytest-benchmark.

Loaded in every pytest session of everybody who has us installed, so it imports nothing of ours
before there is a suite, or a test with the fixture ``benchharness``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchharness.pytest_plugin.options import SUITES
from benchharness.pytest_plugin.options import pytest_addoption as pytest_addoption

if TYPE_CHECKING:
    from benchharness.pytest_plugin.timing import Bench

_BENCHMARK = re.compile(r"^\s*\[\[\s*benchmark\s*\]\]", re.M)
_DATASET = re.compile(r"^\s*\[\s*dataset\s*\]", re.M)
# No suite is longer, and no other file needs to be read for it.
_LONGEST_BYTES = 1_000_000


def pytest_configure(config: pytest.Config) -> None:
    """Add the fixture ``benchharness``, and refuse a comparison that nothing would be timed for."""
    is_distributed = config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput")
    if is_distributed and config.getoption("against") is not None:
        raise pytest.UsageError(
            "--against: expected one process at a time, found pytest-xdist, under which nothing is "
            "timed; leave out its options, or add -n 0"
        )
    offered = WithBenchmark if _has_benchmark(config) else WithoutBenchmark
    config.pluginmanager.register(offered(), "benchharness-fixture")


class WithBenchmark:
    """Holder of the fixture, if pytest-benchmark is there to report."""

    @pytest.fixture
    def benchharness(self, request: pytest.FixtureRequest, benchmark: Any) -> Bench:
        """Time a step of a framework, the device waited for at both edges of a block of steps.

        ``benchharness(backend="torch").time(step)``, or
        ``benchharness.time(step, synchronize=torch.cuda.synchronize)``.
        """
        from benchharness.pytest_plugin.samples import require_pytest_benchmark
        from benchharness.pytest_plugin.timing import Bench

        require_pytest_benchmark(request.config)
        return Bench(request.node, is_timed=not benchmark.disabled)


class WithoutBenchmark:
    """Holder of the fixture without pytest-benchmark."""

    @pytest.fixture
    def benchharness(self) -> None:
        """Time a step of a framework; needs pytest-benchmark."""
        pytest.fail(
            "fixture benchharness: expected pytest-benchmark, found none; "
            "install it with: pip install 'benchharness[pytest]'",
            pytrace=False,
        )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Return the collector of a suite, and nothing for any other file."""
    is_toml = file_path.suffix == ".toml" and _is_asked_for(file_path, parent.config)
    if not is_toml or not _is_suite(file_path):
        return None
    from benchharness.pytest_plugin.suites import SuiteCollector

    return SuiteCollector.from_parent(parent, path=file_path)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Add what judges baselines and compares steps, if anything of ours is to be timed."""
    has_suites = SUITES in session.config.stash
    has_steps = any("benchharness" in getattr(item, "fixturenames", ()) for item in session.items)
    config, benchmarks = session.config, session.config.pluginmanager.get_plugin("pytest-benchmark")
    if (has_suites or has_steps) and benchmarks is not None:
        from benchharness.pytest_plugin.gate import BaselineGate

        config.pluginmanager.register(BaselineGate(config, benchmarks), "benchharness-gate")
    is_compared = config.getoption("against") is not None
    if is_compared and session.items and not (has_suites or has_steps):
        raise pytest.UsageError(
            "--against: expected a suite, or a test with the fixture benchharness, found none"
        )
    if has_steps and is_compared:
        from benchharness.pytest_plugin.steps import StepsAgainst

        config.pluginmanager.register(StepsAgainst(config), "benchharness-steps")


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_benchmark_compare_machine_info(
    machine_info: dict[str, Any], compared_benchmark: dict[str, Any]
) -> None:
    """Describe this machine to pytest-benchmark as it is described in the file beside it.

    It compares before anything is collected, when nobody can know that ours will be added.
    """
    if "benchharness" in compared_benchmark.get("machine_info", {}):
        from benchharness.measure.machine import fingerprint

        machine_info.setdefault("benchharness", fingerprint())


def _is_asked_for(path: Path, config: pytest.Config) -> bool:
    """Return whether suites are to be collected here.

    They may train for hours: a bare ``pytest`` skips them, unless it has ``--benchmark-only``, or
    names their folder in ``testpaths``.
    """
    if not _has_benchmark(config):
        # A suite that is named fails with what it needs.
        names = (name.split("::", maxsplit=1)[0] for name in config.args)
        return path in {Path(config.invocation_params.dir, name) for name in names}
    is_bare = config.args_source is pytest.Config.ArgsSource.INVOCATION_DIR
    return not is_bare or bool(config.getoption("benchmark_only", False))


def _is_suite(path: Path) -> bool:
    """Return whether a TOML file has the tables of a suite; cheap, for every file is asked."""
    try:
        if path.stat().st_size > _LONGEST_BYTES:
            return False
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return bool(_BENCHMARK.search(text) and _DATASET.search(text))


def _has_benchmark(config: pytest.Config) -> bool:
    return any(map(config.pluginmanager.has_plugin, ("benchmark", "pytest_benchmark.plugin")))

"""Fixture ``benchharness``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from benchharness.pytest_plugin.timing import Bench


class Offered:
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


class Refused:
    """Holder of the fixture without pytest-benchmark."""

    @pytest.fixture
    def benchharness(self) -> None:
        """Time a step of a framework; needs pytest-benchmark."""
        pytest.fail(
            "fixture benchharness: expected pytest-benchmark, found none; "
            "install it with: pip install 'benchharness[pytest]'",
            pytrace=False,
        )

"""Contract that every backend must pass, as a class for pytest to run.

A plugin author writes, in a test module::

    from benchharness.testing import BackendContract

    class TestMyBackend(BackendContract):
        @pytest.fixture
        def backend(self):
            return MyBackend()
"""

from __future__ import annotations

import pytest

from benchharness.api import Backend, Execution
from benchharness.testing.contract_numbers import (
    Augmentation,
    DropoutClause,
    Features,
    Gradients,
    Logits,
    MeanScores,
    Optimizers,
    PreprocessingClause,
)
from benchharness.testing.contract_settings import Settings, Switches
from benchharness.testing.contract_timing import Replay, Synchronization
from benchharness.testing.contract_training import (
    Counts,
    Frozen,
    Order,
    RoundTrip,
    Seeds,
    Shapes,
    Steps,
)
from benchharness.testing.tasks import CPU


class BackendContract(
    RoundTrip,
    Shapes,
    Counts,
    Frozen,
    Seeds,
    Steps,
    Order,
    Logits,
    Gradients,
    Optimizers,
    PreprocessingClause,
    Augmentation,
    Features,
    MeanScores,
    DropoutClause,
    Synchronization,
    Replay,
    Settings,
    Switches,
):
    """What the core relies on, each fact a test; numbers are compared with the NumPy reference.

    Tests take seconds: networks are tiny, and computed by default on the CPU in float32.
    """

    @pytest.fixture
    def backend(self) -> Backend:
        """Return the backend under test; override this."""
        raise NotImplementedError(f"{type(self).__name__}: override the fixture 'backend'")

    @pytest.fixture
    def execution(self) -> Execution:
        """Return how to compute; override it to hold a backend to the contract on its GPU."""
        return CPU

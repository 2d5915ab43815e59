"""The contract every backend must pass, as a class for pytest to run.

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
from benchharness.testing.contract_images import ImagesContract
from benchharness.testing.contract_learning import LearningContract
from benchharness.testing.contract_messages import MessagesContract
from benchharness.testing.contract_numbers import NumbersContract
from benchharness.testing.contract_replay import ReplayContract
from benchharness.testing.contract_scores import ScoresContract
from benchharness.testing.contract_settings import SettingsContract
from benchharness.testing.contract_steps import StepsContract
from benchharness.testing.contract_synchrony import SynchronyContract
from benchharness.testing.contract_witness import WitnessContract
from benchharness.testing.tasks import CPU


class BackendContract(
    SettingsContract,
    MessagesContract,
    LearningContract,
    StepsContract,
    SynchronyContract,
    ScoresContract,
    NumbersContract,
    ImagesContract,
    WitnessContract,
    ReplayContract,
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

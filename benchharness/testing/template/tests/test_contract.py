"""newbackend keeps the contract of benchharness."""

from __future__ import annotations

import pytest
from benchharness_newbackend.plugin import benchharness_backend

from benchharness.api import Backend
from benchharness.testing import BackendContract, PluginContract


class TestBackend(BackendContract):
    """Work, numbers and reports are as they were asked for."""

    @pytest.fixture
    def backend(self) -> Backend:
        """Return the backend without options."""
        return benchharness_backend(options={})


class TestPlugin(PluginContract):
    """The package is light to list, and says what it lacks."""

    @pytest.fixture
    def plugin(self) -> str:
        """Return the name of the entry point."""
        return "newbackend"

"""Every backend here keeps the contract; test_contract_sabotage shows that it can be broken."""

from __future__ import annotations

from importlib import import_module

import pytest
from frameworks import require

from benchharness.api import Backend
from benchharness.testing import BackendContract, PluginContract
from benchharness.testing.plugin import benchharness_backend


class TestNumpy(BackendContract):
    """The reference keeps the contract it defines."""

    @pytest.fixture
    def backend(self) -> Backend:
        """Return the reference as its plugin gives it."""
        return benchharness_backend(options={})


class TestNumpyInFloat32(BackendContract):
    """The tolerances leave room for float32 rounding."""

    @pytest.fixture
    def backend(self) -> Backend:
        """Return the reference, computing in float32."""
        return benchharness_backend(options={"dtype": "float32"})


@pytest.mark.full
class TestTorch(BackendContract):
    """The PyTorch plugin keeps the contract."""

    @pytest.fixture
    def backend(self) -> Backend:
        """Return the plugin's backend; skipped where the plugin is not installed."""
        return plugin_backend("benchharness_torch")


@pytest.mark.full
class TestKeras(BackendContract):
    """The Keras plugin keeps the contract on its default engine."""

    @pytest.fixture
    def backend(self) -> Backend:
        """Return the plugin's backend; skipped where the plugin is not installed."""
        return plugin_backend("benchharness_keras")


@pytest.mark.full
class TestJax(BackendContract):
    """The JAX plugin keeps the contract."""

    @pytest.fixture
    def backend(self) -> Backend:
        """Return the plugin's backend; skipped where the plugin is not installed."""
        return plugin_backend("benchharness_jax")


@pytest.mark.full
class TestPlugins(PluginContract):
    """Our plugins are light to list, import the API alone, and say what they lack."""

    @pytest.fixture(params=["keras", "torch", "jax"])
    def plugin(self, request: pytest.FixtureRequest) -> str:
        """Return the name of a plugin; skipped where it is not installed."""
        name: str = request.param
        require(name)
        return name


def plugin_backend(package: str) -> Backend:
    """Return the backend of an installed plugin, without options."""
    require(package.removeprefix("benchharness_"))
    return import_module(f"{package}.plugin").benchharness_backend(options={})

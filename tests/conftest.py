"""Conditions of every test: no network, and no framework's cache of this machine."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, settings
from web_server import Server, serving

from benchharness import plugins

with suppress(ImportError):
    # Its LLVM ends a process that has loaded TensorFlow's before, and these tests load both.
    import triton  # noqa: F401

if _worker := os.environ.get("PYTEST_XDIST_WORKER"):
    # Hosts wait for other runs' trials on them, which tests beside this one are not.
    os.environ["BENCHHARNESS_HOST"] = f"{platform.node()}-{_worker}"
# What a test starts is no worker of this session, and finds the width of its terminal itself.
for _name in [*(name for name in os.environ if name.startswith("PYTEST_XDIST_")), "COLUMNS"]:
    os.environ.pop(_name, None)

# An example may wait for a core for longer than the fifth of a second that Hypothesis gives it.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

_EMPTY = tempfile.TemporaryDirectory(prefix="benchharness-tests-")
# Inherited by every process that a test starts; a test of downloads has a server of its own.
os.environ.update(
    BENCHHARNESS_OFFLINE="1",
    # Drawing the page takes longer than a small run, and is the matter of few tests.
    BENCHHARNESS_NO_PLUGIN="html",
    # Tests look at JAX's numbers, not at its speed, and most of their time would go by compiling.
    JAX_DISABLE_MOST_OPTIMIZATIONS="1",
    KERAS_HOME=f"{_EMPTY.name}/keras",
    TORCH_HOME=f"{_EMPTY.name}/torch",
)


def pytest_configure(config: pytest.Config) -> None:
    """Only try what tests/benchmarks would time, unless benchmarks are what is asked for."""
    if not config.getoption("benchmark_only", False):
        config.option.benchmark_disable = True


@pytest.fixture(scope="module")
def pages() -> Iterator[None]:
    """Let the runs of a module have their pages, as users' runs have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(plugins.DISABLED_VAR)
        plugins.installed.cache_clear()
        yield
    plugins.installed.cache_clear()


@pytest.fixture
def server() -> Iterator[Server]:
    """Run a web server for one test."""
    with serving() as running:
        yield running

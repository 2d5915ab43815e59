"""Requirements of tests: a backend that is installed here."""

from __future__ import annotations

import pytest

from benchharness.errors import PluginError
from benchharness.plugins import find, obstacle


def require(backend: str) -> None:
    """Skip a test of a backend whose plugin or framework is not to be had here, and say which."""
    try:
        found = obstacle(find(backend))
    except PluginError as error:
        pytest.skip(str(error))
    if found:
        pytest.skip(str(found))

"""What all tests share."""

from __future__ import annotations

import contextlib

import pytest


def pytest_collection_finish(session: pytest.Session) -> None:
    """Import PyTorch before any test imports TensorFlow.

    In one process, PyTorch 2.15 after TensorFlow 2.21 aborts (both carry an LLVM); the other way
    round works. Trials never meet this: each has a process, and a framework, of its own.
    """
    if any(item.get_closest_marker("full") for item in session.items):
        with contextlib.suppress(ImportError):
            import torch  # noqa: F401

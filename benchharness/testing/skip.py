"""Refusing is allowed: what a backend says it cannot do is passed over, and said."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from benchharness.api import UnsupportedError


class Contract:
    """Checks of which each is passed over where the backend refuses what it asks for."""

    def __init_subclass__(cls) -> None:
        """Let every check of a part of the contract be refused."""
        super().__init_subclass__()
        for name, check in list(vars(cls).items()):
            if name.startswith("test_"):
                setattr(cls, name, skip_if_unsupported(check))


def skip_if_unsupported(check: Callable[..., None]) -> Callable[..., None]:
    """Return a check that is skipped, with the backend's reason, where the backend refuses."""

    @functools.wraps(check)
    def checked(*arguments: Any, **given: Any) -> None:
        try:
            check(*arguments, **given)
        except UnsupportedError as refusal:
            pytest.skip(f"refused, as the contract allows: {refusal}")

    return checked

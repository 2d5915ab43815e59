"""Contract of a backend or a package, run as ``plugin check`` runs it, in this process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

from benchharness.api import Backend
from benchharness.testing.assertions import Subject
from benchharness.testing.check import (
    CheckResult,
    ClauseResult,
    ContractSession,
    TestBackend,
    TestPackage,
)


def check_backend(backend: Backend, *clauses: str) -> dict[str, ClauseResult]:
    """Return the outcome of each of the clauses, all where none is named."""
    return _run(TestBackend, Subject(backend), clauses)


def check_package(plugin: str, *clauses: str) -> dict[str, ClauseResult]:
    """Return the outcome of each of the clauses of an installed package."""
    return _run(TestPackage, (plugin, {}), clauses)


def _run(contract: type, subject: object, clauses: Sequence[str]) -> dict[str, Any]:
    results: dict[str, ClauseResult] = {}

    def emit(event: dict[str, Any]) -> None:
        if event["event"] == "clause":
            name, checks = event["clause"], [CheckResult(**check) for check in event["checks"]]
            results[name] = ClauseResult(name=name, title=name, checks=tuple(checks))

    # A session inside another: neither the plugins nor the options of that one are for it.
    variables = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "", "PYTEST_PLUGINS": ""}
    with patch.dict(os.environ, variables):
        ContractSession(subject=subject, emit=emit, clauses=clauses).run(contract)
    return results

"""Checks before a run: known backends, frameworks that this Python supports, proven pairs."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace

from benchharness.errors import Problem, RunError, SuiteError
from benchharness.fairness.certificate import Certificate
from benchharness.plugins import disabled, installed, obstacle
from benchharness.run.requests import backend_plugin
from benchharness.suite.plan import Plan
from benchharness.text import did_you_mean


def require_known_backends(plan: Plan) -> None:
    """Refuse a misspelt backend; one that is merely not installed leaves failed rows instead.

    Raises:
        SuiteError: Every backend whose name is nearly that of an installed one is named.
    """
    problems = []
    for plugin in _local_plugins(plan).values():
        if plugin in (*installed(), *disabled()):
            continue
        if hint := did_you_mean(plugin, installed()):
            problems.append(
                Problem(
                    where="backends",
                    expected=f"an installed plugin ({', '.join(installed())})",
                    found=f'"{plugin}"',
                    hint=hint,
                )
            )
    if problems:
        raise SuiteError(str(plan.suite.path), problems)


def without_unsupported(plan: Plan, *, requested: Sequence[str]) -> tuple[Plan, list[str]]:
    """Return a plan without the backends that this Python does not support, and a warning for each.

    Args:
        requested: Backends that the user has named; they are refused and not left out.

    Raises:
        SuiteError: Such a backend was requested, or there is no other.
    """
    unsupported = {
        backend: reason
        for backend, plugin in _local_plugins(plan).items()
        if plugin in installed() and (reason := obstacle(installed()[plugin]))
    }
    cells = tuple(cell for cell in plan.cells if cell.backend not in unsupported)
    problems = [
        Problem(
            where=f'backend "{backend}"',
            expected="a framework that this Python supports",
            found=str(reason),
            hint=reason.remedy,
        )
        for backend, reason in unsupported.items()
        if backend in requested or not cells
    ]
    if problems:
        raise SuiteError(str(plan.suite.path), problems)
    warnings = [
        f"WARNING: {backend} is skipped: {reason}; {reason.remedy}"
        for backend, reason in unsupported.items()
    ]
    return replace(plan, cells=cells), warnings


def absent_backends(plan: Plan, *, elsewhere: Container[str]) -> list[str]:
    """Return a warning for each backend that is not installed: its trials will fail.

    Args:
        elsewhere: Backends whose code is not what this process would import.
    """
    return [
        f"WARNING: {backend} is not installed, and its trials fail; "
        "benchharness list shows what is installed"
        for backend, plugin in _local_plugins(plan).items()
        if backend not in elsewhere and plugin not in (*installed(), *disabled())
    ]


def _local_plugins(plan: Plan) -> dict[str, str]:
    """Return the plugin of each backend that runs on the interpreter of this process."""
    tables = plan.suite.backend
    return {
        cell.backend: backend_plugin(plan, cell.backend)[0]
        for cell in plan.cells
        if cell.backend not in tables or not tables[cell.backend].has_own_interpreter
    }


def require_proven(certificates: Sequence[Certificate]) -> None:
    """Refuse to time pairs that are not proven to do the same work.

    Raises:
        RunError: A pair is not proven; every such pair is named.
    """
    unproven = [
        f"{certificate.name}: {certificate.verdict}"
        for certificate in certificates
        if not certificate.is_proven
    ]
    if unproven:
        raise RunError(
            f"not every pair of backends is proven to do the same work: {'; '.join(unproven)} "
            "(nothing was timed; to time it anyway, leave out --require-proof)"
        )

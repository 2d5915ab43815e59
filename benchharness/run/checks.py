"""Reasons not to begin: backends that nobody has, work that is not proven to be the same."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace

from benchharness.errors import Problem, RunError, SuiteError
from benchharness.fairness.certificate import Certificate
from benchharness.plugins import Obstacle, barred, installed, obstacle
from benchharness.run.requests import backend_plugin
from benchharness.suite.plan import Plan


def require_known_backends(plan: Plan) -> None:
    """Refuse a misspelt backend; one that is merely not installed leaves failed rows instead.

    Raises:
        SuiteError: Every backend whose name is nearly that of an installed one is named.
    """
    problems = []
    for backend in dict.fromkeys(cell.backend for cell in plan.cells):
        plugin, _ = backend_plugin(plan, backend)
        if backend in plan.suite.backend and plan.suite.backend[backend].has_own_interpreter:
            continue
        near = difflib.get_close_matches(plugin, installed(), n=1)
        if plugin not in (*installed(), *barred()) and near:
            problems.append(
                Problem(
                    where="backends",
                    expected=f"an installed plugin ({', '.join(installed())})",
                    found=f'"{plugin}"',
                    hint=f'did you mean "{near[0]}"?',
                )
            )
    if problems:
        raise SuiteError(str(plan.suite.path), problems)


def without_wheelless(plan: Plan, *, asked: Sequence[str]) -> tuple[Plan, list[str]]:
    """Return a plan without the backends that cannot run on this Python, and a line for each.

    Args:
        asked: Backends that the user has named; they are refused and not left out.

    Raises:
        SuiteError: Such a backend was asked for, or there is no other.
    """
    found: dict[str, Obstacle] = {}
    for backend in dict.fromkeys(cell.backend for cell in plan.cells):
        table, (plugin, _) = plan.suite.backend.get(backend), backend_plugin(plan, backend)
        has_own_interpreter = table is not None and table.has_own_interpreter
        if (
            not has_own_interpreter
            and plugin in installed()
            and (one := obstacle(installed()[plugin]))
        ):
            found[backend] = one
    cells = tuple(cell for cell in plan.cells if cell.backend not in found)
    refused = [name for name in found if name in asked or not cells]
    if refused:
        problems = [
            Problem(
                where=f'backend "{name}"',
                expected="a framework that this Python can have",
                found=str(found[name]),
                hint=found[name].remedy,
            )
            for name in refused
        ]
        raise SuiteError(str(plan.suite.path), problems)
    lines = [f"WARNING: {name} is left out: {one}; {one.remedy}" for name, one in found.items()]
    return replace(plan, cells=cells), lines


def told_absent(plan: Plan) -> list[str]:
    """Return a line for each backend that is not installed, so that its trials will fail."""
    return [
        f"WARNING: {name} is not installed, and its trials fail; benchharness list shows what is"
        for name in dict.fromkeys(cell.backend for cell in plan.cells)
        if not (name in plan.suite.backend and plan.suite.backend[name].has_own_interpreter)
        and backend_plugin(plan, name)[0] not in (*installed(), *barred())
    ]


def require_proven(certificates: Sequence[Certificate]) -> None:
    """Refuse to time what is not proven to be the same work.

    Raises:
        RunError: The verdict of a pair is another than proven; every such pair is named.
    """
    unproven = [
        f"{certificate.name}: {certificate.verdict}"
        for certificate in certificates
        if not certificate.is_proven
    ]
    if unproven:
        raise RunError(
            "proof: expected every pair of backends to be proven to do the same work, found "
            + "; ".join(unproven)
            + " (nothing was timed; leave out --require-proof to time it all the same)"
        )

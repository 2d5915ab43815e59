"""Reasons not to begin: backends that nobody has, work that is not proven to be the same."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from benchharness.errors import Problem, RunError, SuiteError
from benchharness.fairness.certificate import Certificate
from benchharness.plugins import barred, installed
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
        if backend in plan.suite.backend and plan.suite.backend[backend].is_apart:
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

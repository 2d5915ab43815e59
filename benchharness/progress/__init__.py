"""How a run goes on, told in one of four ways: live, as lines, as JSON, or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TextIO

from benchharness.run.events import Observer, unobserved


def watch(
    *,
    as_json: bool = False,
    is_quiet: bool = False,
    output: TextIO | None = None,
    errors: TextIO | None = None,
    environment: Mapping[str, str] = os.environ,
) -> AbstractContextManager[Observer]:
    """Return what observes a run, with the observers that plugins add.

    To be entered before it begins and left after its end; the arguments are those of ``watcher``.
    """
    from benchharness.progress.observers import WithObservers

    return WithObservers(
        watcher(
            as_json=as_json,
            is_quiet=is_quiet,
            output=output,
            errors=errors,
            environment=environment,
        )
    )


def watcher(
    *,
    as_json: bool = False,
    is_quiet: bool = False,
    output: TextIO | None = None,
    errors: TextIO | None = None,
    environment: Mapping[str, str] = os.environ,
) -> AbstractContextManager[Observer]:
    """Return what tells the user how a run goes on.

    Args:
        as_json: Every event as a JSON object on a line of the output.
        is_quiet: Say nothing.
        output: None for standard output.
        errors: Where people are told; None for standard error. A terminal gets a live picture,
            anything else plain lines.
        environment: Variables of the process.
    """
    errors = errors or sys.stderr
    if as_json:
        from benchharness.progress.jsonlines import JsonLines

        return JsonLines(output or sys.stdout)
    if is_quiet:
        return nullcontext(unobserved)
    if errors.isatty() and environment.get("TERM", "dumb") != "dumb":
        from benchharness.progress.live import Live

        return Live(errors)
    from benchharness.progress.plain import Lines

    return Lines(errors)

"""Progress of a run: live on a terminal, as lines, as JSON, or not at all."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext

from benchharness.run.events import Observer, unobserved


def watch(*, as_json: bool = False, is_quiet: bool = False) -> AbstractContextManager[Observer]:
    """Return the observer of a run, plugins' observers included, see ``reporter``.

    Enter it before the run begins and leave it after its end.

    Raises:
        SuiteError: A tracker is asked for that is unknown or not installed.
    """
    from benchharness.progress.json_reporter import with_observers

    return with_observers(reporter(as_json=as_json, is_quiet=is_quiet))


def reporter(*, as_json: bool = False, is_quiet: bool = False) -> AbstractContextManager[Observer]:
    """Return what reports a run to the user, on standard error unless asked otherwise.

    A terminal gets live progress, anything else plain lines.

    Args:
        as_json: Print every event as a JSON object on a line of standard output.
        is_quiet: Print nothing.
    """
    if as_json:
        from benchharness.progress.json_reporter import json_reporter

        return json_reporter(sys.stdout)
    if is_quiet:
        return nullcontext(unobserved)
    if sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        from benchharness.progress.live import LiveReporter

        return LiveReporter(sys.stderr)
    from benchharness.progress.plain import PlainReporter

    return nullcontext(PlainReporter(sys.stderr))

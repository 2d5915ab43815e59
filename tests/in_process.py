"""Workers' jobs that are done in the process of a command or of a test: frameworks start once.

Started as ``python -P in_process.py COMMANDS``, a JSON list of lists of words; prints a JSON list
of ``[exit code, standard output, standard error]``.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock


def run_commands(
    commands: Sequence[Sequence[str]], *, folder: Path, environment: Mapping[str, str]
) -> list[subprocess.CompletedProcess[str]]:
    """Run commands one after the other in a process of their own."""
    done = subprocess.run(
        [sys.executable, "-P", __file__, json.dumps(commands)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [
        subprocess.CompletedProcess(command, code, out, err)
        for command, (code, out, err) in zip(commands, json.loads(done.stdout), strict=True)
    ]


def _steps_here(executor: Any, request: Any, *, on_event: Any, **places: Any) -> Any:
    """Do a worker's job, in place of ``LocalExecutor.steps``."""
    from benchharness.measure.clock import PhaseClock, now_s
    from benchharness.measure.meters import make_meters
    from benchharness.run.process.exit import Outcome
    from benchharness.worker.main import _run
    from benchharness.worker.progress import Channel

    # As it comes to a worker and back: as JSON.
    request.write(places["request_file"])
    request = type(request).read(places["request_file"])
    outcome, began_s = Outcome(), now_s()

    def emit(event: Mapping[str, Any]) -> None:
        event = json.loads(json.dumps(event))
        outcome.add(event)
        on_event(event)

    clock = PhaseClock(
        started_s=began_s, on_phase=lambda name: emit({"event": "phase", "phase": name})
    )
    with redirect_stdout(sys.stderr), mock.patch.dict(os.environ, executor.environment):
        emit(_run(request, Channel(emit=emit, clock=clock), has_log=True))
    meters = make_meters(os.getpid(), gpu=None, base_bytes=None)
    # A generator, as that is; it never stops.
    yield from ()
    outcome.end(wall_s=now_s() - began_s, meters=meters)
    return outcome


@contextmanager
def workers_here() -> Iterator[None]:
    """Have workers' jobs done in this process, which saves starting others; they leave no log."""
    from benchharness.run.process.executor import LocalExecutor

    with mock.patch.object(LocalExecutor, "steps", _steps_here):
        yield


def _main(commands: list[list[str]]) -> list[tuple[int, str, str]]:
    from benchharness.cli import main

    results = []
    with workers_here():
        for command in commands:
            sys.argv = ["benchharness", *command]
            with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
                try:
                    main()
                except SystemExit as end:
                    results.append((int(end.code or 0), out.getvalue(), err.getvalue()))
    return results


if __name__ == "__main__":
    print(json.dumps(_main(json.loads(sys.argv[1]))))

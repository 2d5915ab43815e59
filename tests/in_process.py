"""Workers' jobs that are done in the process of a command or of a test: frameworks start once.

Started as ``python -P in_process.py``: reads lines of JSON, ``[folder, words]``, and answers each
with a line, ``[exit code, standard output, standard error]``.
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


class Commands:
    """A process that carries out commands one after the other, workers' jobs among them.

    Args:
        environment: Of the process.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, command: Sequence[str], *, folder: Path) -> subprocess.CompletedProcess[str]:
        """Carry out a command, without its program's name, as if started in a folder."""
        assert self._process.stdin and self._process.stdout
        print(json.dumps([str(folder), command]), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, f"the process ended during {command}"
        code, out, err = json.loads(answer)
        return subprocess.CompletedProcess(command, code, out, err)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def run_commands(
    commands: Sequence[Sequence[str]], *, folder: Path, environment: Mapping[str, str]
) -> list[subprocess.CompletedProcess[str]]:
    """Carry out commands one after the other in a process of their own."""
    process = Commands(environment)
    try:
        return [process.run(command, folder=folder) for command in commands]
    finally:
        process.close()


def _steps_here(executor: Any, request: Any, *, on_event: Any, **places: Any) -> Any:
    """Do a worker's job, in place of ``LocalExecutor.steps``."""
    from benchharness.measure.clock import PhaseClock, now_s
    from benchharness.measure.meters import make_meters
    from benchharness.run.process.exit import Outcome
    from benchharness.worker.main import carry_out
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
        carry_out(request, Channel(emit=emit, clock=clock), has_log=True)
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


def _main() -> None:
    from benchharness.cli import main

    # What a framework prints by itself must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    inherited = dict(os.environ)
    for line in sys.stdin:
        folder, command = json.loads(line)
        os.chdir(folder)
        sys.argv = ["benchharness", *command]
        # A command's variables end with it.
        os.environ.clear()
        os.environ |= inherited
        code = 0
        with (
            workers_here(),
            redirect_stdout(io.StringIO()) as out,
            redirect_stderr(io.StringIO()) as err,
        ):
            try:
                main()
            except SystemExit as end:
                code = int(end.code or 0)
        print(json.dumps([code, out.getvalue(), err.getvalue()]), file=answers, flush=True)


if __name__ == "__main__":
    _main()

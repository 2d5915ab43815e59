"""Executor: carries out a request in a worker process, and returns how it ended."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from benchharness.errors import CancelledError
from benchharness.measure.clock import now_s
from benchharness.measure.gpu import open_gpu, wait_until_released
from benchharness.measure.machine import oom_kill_count, recorded_variables
from benchharness.measure.meters import base_bytes, make_meters
from benchharness.run.process.exit import Outcome, diagnose_exit, log_tail
from benchharness.run.process.reaper import WORKER_ID, kill_tree, shared_reaper
from benchharness.subprocesses import python_environment
from benchharness.worker.progress import YIELD
from benchharness.worker.request import WorkerRequest, worker_command

T = TypeVar("T")
# Stops wherever another trial may be at work, and returns the result. Closed before its end, it
# ends what it has started.
TrialSteps = Generator[None, None, T]
Event = Mapping[str, Any]
OnEvent = Callable[[Event], None]
# Why there are no more events: none will come, none came for too long, time is up, or nobody waits.
Stop = Literal["ended", "silent", "late", "cancelled"]

# How often we check whether a silent worker is still there.
_POLL_S = 0.5
# What a worker needs to end by itself, after its last event and without one.
_PATIENCE_S, _IMPATIENCE_S = 30.0, 1.0

# glibc's allocator keeps what is freed, up to 1 GB of it. As it comes it gives memory back to the
# system now and then, and each page that is touched again costs a fault: bringing images to PyTorch
# took 0.3 or 0.6 ms a step, from one epoch to the next, and Adam of Keras on PyTorch 16 or 24 ms.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalExecutor:
    """Runs workers on this machine, of which one is at work at any time.

    Attributes:
        gpu: Selects the GPU that they see, for its driver; empty for none.
        silence_s: Longest a worker may report nothing; None for no limit.
        code: Digest of the code that its workers import; empty for what this process would import.
        is_cancelled: Asked every half second whether to end the worker.
    """

    environment: Mapping[str, str]
    gpu: str = ""
    silence_s: float | None = None
    python: str = sys.executable
    code: str = ""
    is_cancelled: Callable[[], bool] = _never

    @property
    def variables(self) -> dict[str, str]:
        """The part of the environment that is part of what is measured."""
        return recorded_variables(self.environment)

    def run(
        self, request: WorkerRequest, *, request_file: Path, log: Path, on_event: OnEvent
    ) -> Outcome:
        """Carry out a request without a pause; the arguments are those of ``steps``."""
        (outcome,) = run_interleaved(
            [self.steps(request, request_file=request_file, log=log, on_event=on_event)]
        )
        return outcome

    def steps(
        self,
        request: WorkerRequest,
        *,
        request_file: Path,
        log: Path,
        on_event: OnEvent,
        limit_s: float | None = None,
        can_pause: bool = False,
    ) -> TrialSteps[Outcome]:
        """Carry out a request and return how it ended; never raises for what a worker does.

        Its processes are gone then, and the GPU's memory is free again, or the outcome says how
        much is not. The log takes everything that the worker prints.

        Args:
            limit_s: Longest it may be at work altogether; None for no limit.
            can_pause: Whether it stops before each epoch, so that another may be at work.

        Raises:
            CancelledError: ``is_cancelled`` has said so.
        """
        outcome = Outcome()
        gpu = open_gpu(self.gpu) if self.gpu else None
        used_bytes, oom_kills = base_bytes(gpu), oom_kill_count()
        started_s = now_s()
        event: Event | Stop | None = None
        replace(request, spawned_s=started_s).write(request_file)
        # Also when the user interrupts: nothing of ours outlives us.
        with contextlib.ExitStack() as resources:
            worker = WorkerProcess(
                worker_command(request_file, python=self.python),
                environment=self.environment,
                log=log,
                can_pause=can_pause,
            )
            # Whoever has closed its pipe is on its way out, and its exit code will say why.
            resources.callback(lambda: worker.end(is_patient=outcome.is_final or event == "ended"))
            meters = resources.enter_context(
                make_meters(worker.process.pid, gpu=gpu, base_bytes=used_bytes)
            )
            while True:
                left_s = None if limit_s is None else limit_s - (now_s() - started_s)
                event = worker.next_event(
                    silence_s=self.silence_s, limit_s=left_s, is_cancelled=self.is_cancelled
                )
                if event == "cancelled":
                    raise CancelledError("the trial was cancelled")
                if isinstance(event, str):
                    break
                if event["event"] == YIELD:
                    # The clocks stand still while another is at work.
                    paused_s = now_s()
                    yield
                    started_s += now_s() - paused_s
                    worker.resume()
                    continue
                meters.on_event(event)
                outcome.add(event)
                on_event(event)
                if outcome.is_final:
                    # Processes that a plugin has left may hold the pipe open.
                    break
        outcome.end(wall_s=now_s() - started_s, meters=meters)
        tail = log_tail(log)
        if event == "silent":
            outcome.status, outcome.is_retryable = "timeout", True
            outcome.reason = (
                f"no progress for {self.silence_s:g} s: the worker hangs, or --timeout is "
                "too short for a silent phase such as compilation"
            )
        elif event == "late":
            outcome.status = "timeout"
            outcome.reason = (
                f"exceeded time_limit_s = {limit_s:g}; reduce the work or raise the limit"
            )
        elif not outcome.is_final:
            outcome.status, outcome.reason = diagnose_exit(
                worker.process.returncode, tail, oom_kills=oom_kill_count() - oom_kills
            )
            outcome.is_retryable = outcome.status == "failed"
        if outcome.status not in ("ok", "skipped"):
            outcome.log_tail = tail
        outcome.unreleased_device_bytes = wait_until_released(used_bytes, lambda: base_bytes(gpu))
        return outcome


def run_interleaved(trials: Sequence[TrialSteps[T]]) -> list[T]:
    """Carry out trials until all have ended, each up to its next stop, every other round reversed.

    Of two that is A B, B A, ...: drift, and disturbances longer than a stretch, hit both alike.
    Where one raises, the others are ended.
    """
    results: dict[int, T] = {}
    waiting = list(enumerate(trials))
    with contextlib.ExitStack() as started:
        for trial in trials:
            started.callback(trial.close)
        while waiting:
            for place, trial in waiting:
                try:
                    next(trial)
                except StopIteration as end:
                    results[place] = end.value
            waiting = [pair for pair in reversed(waiting) if pair[0] not in results]
    return [results[place] for place in range(len(trials))]


class WorkerProcess:
    """A process that carries out one request; to be ended with ``end``."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        can_pause: bool = False,
    ) -> None:
        """Start the process, which may pause before each epoch and prints to the log.

        The command lacks its last arguments: the descriptor for its events, and that on which it is
        resumed.
        """
        # In the environment of all that it starts.
        self._worker_id = secrets.token_hex(8)
        self._lines: deque[bytes] = deque()
        self._partial_line = b""
        with contextlib.ExitStack() as inherited, contextlib.ExitStack() as ours:
            self._events_fd, *theirs = os.pipe()
            ours.callback(os.close, self._events_fd)
            if can_pause:
                reader, self._resume_fd = os.pipe()
                ours.callback(os.close, self._resume_fd)
                theirs.append(reader)
            for fd in theirs:
                inherited.callback(os.close, fd)
            with log.open("wb") as output:
                self.process = subprocess.Popen(
                    [*command, *map(str, theirs)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={
                        **ALLOCATOR,
                        **python_environment(environment),
                        WORKER_ID: self._worker_id,
                    },
                    pass_fds=theirs,
                    # A separate group, so that it can be killed with all its children.
                    start_new_session=True,
                )
            self._descriptors = ours.pop_all()
        shared_reaper().add(self.process.pid, self._worker_id)

    def next_event(
        self,
        *,
        silence_s: float | None = None,
        limit_s: float | None = None,
        is_cancelled: Callable[[], bool] = _never,
    ) -> Event | Stop:
        """Return the worker's next event, or why there is none.

        Waits for a sign of life for ``silence_s``, for the event for ``limit_s``; None: forever.
        """
        heard_s = looked_s = now_s()
        late_s = float("inf") if limit_s is None else heard_s + limit_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._events_fd, selectors.EVENT_READ)
            while not self._lines:
                now = now_s()
                # While this process was stopped it heard nothing, and the worker may have been too.
                heard_s += max(0.0, now - looked_s - 2 * _POLL_S)
                looked_s = now
                silent_s = float("inf") if silence_s is None else heard_s + silence_s
                if is_cancelled():
                    return "cancelled"
                if now >= late_s:
                    return "late"
                # What it said while we were stopped is still in the pipe.
                if now >= silent_s and not selector.select(0):
                    return "silent"
                # Asked before the pipe: what it wrote in between is still read.
                has_ended = self.process.poll() is not None
                wait_s = 0 if has_ended else max(0.0, min(_POLL_S, late_s - now, silent_s - now))
                if not selector.select(wait_s):
                    if has_ended:
                        # A child of its own may hold the pipe open for longer.
                        return "ended"
                    continue
                chunk = os.read(self._events_fd, 65536)
                if not chunk:
                    return "ended"
                heard_s = now_s()
                *lines, self._partial_line = (self._partial_line + chunk).split(b"\n")
                self._lines.extend(lines)
        event: Event = json.loads(self._lines.popleft())
        return event

    def resume(self) -> None:
        """Let a paused worker continue; one that is gone hears nothing."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._resume_fd, b"\n")

    def end(self, *, is_patient: bool) -> None:
        """Wait for a worker that has finished, kill one that has not; its children go with it."""
        try:
            self._await_exit(_PATIENCE_S if is_patient else _IMPATIENCE_S)
        finally:
            kill_tree(self.process.pid, self._worker_id)
            self.process.wait()
            self._descriptors.close()
            shared_reaper().remove(self._worker_id)

    def _await_exit(self, timeout_s: float) -> None:
        # Its number may belong to another process once it has been waited for.
        if self.process.poll() is not None:
            return
        try:
            # Popen.wait polls every 50 ms, which would count towards the trial's wall time.
            exit_fd = os.pidfd_open(self.process.pid)
        except (AttributeError, OSError):
            # No Linux, or one in which this is forbidden.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=timeout_s)
            return
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(exit_fd, selectors.EVENT_READ)
                selector.select(timeout_s)
        finally:
            os.close(exit_fd)

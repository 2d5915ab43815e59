"""Executor: carries out a request in a worker process, and returns how it ended."""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

from benchharness.measure.clock import now_s
from benchharness.measure.gpu import Gpu, open_gpu, wait_until_released
from benchharness.measure.machine import oom_kill_count, recorded_variables
from benchharness.measure.meters import Meters, base_bytes, make_meters
from benchharness.run.process.exit import Outcome, diagnose_exit, log_tail
from benchharness.run.process.worker_process import OnEvent, Stop, WorkerProcess
from benchharness.worker.progress import YIELD
from benchharness.worker.request import WorkerRequest, worker_command

T = TypeVar("T")
# Stops wherever another trial may be at work, and returns the result. Closed before its end, it
# ends what it has started.
TrialSteps = Generator[None, None, T]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalExecutor:
    """Runs workers on this machine, of which one is at work at any time.

    Attributes:
        environment: Of the workers.
        gpu: Selects the GPU that they see, for its driver; empty for none.
        silence_s: Longest a worker may report nothing; None for no limit.
        python: The workers' interpreter.
        code: Digest of the code that its workers import; empty for what this process would import.
    """

    environment: Mapping[str, str]
    gpu: str = ""
    silence_s: float | None = None
    python: str = sys.executable
    code: str = ""

    @property
    def variables(self) -> dict[str, str]:
        """The part of the environment that is part of what is measured."""
        return recorded_variables(self.environment)

    def run(
        self,
        request: WorkerRequest,
        *,
        request_file: Path,
        log: Path,
        on_event: OnEvent,
        limit_s: float | None = None,
    ) -> Outcome:
        """Carry out a request and return how it ended; never raises for what a worker does.

        Its processes are gone then, and the GPU's memory is free again, or the outcome says how
        much is not.

        Args:
            request_file: Where to write the request.
            log: Takes everything the worker prints.
            on_event: Called with each event as it comes.
            limit_s: Longest it may be at work altogether; None for no limit.
        """
        running = RunningWorker(
            executor=self,
            request=request,
            request_file=request_file,
            log=log,
            on_event=on_event,
            limit_s=limit_s,
        )
        outcome = running.resume()
        assert outcome is not None
        return outcome

    def steps(
        self,
        request: WorkerRequest,
        *,
        request_file: Path,
        log: Path,
        on_event: OnEvent,
        limit_s: float | None = None,
    ) -> TrialSteps[Outcome]:
        """Carry out a trial that pauses before each epoch, so that another may be at work.

        The arguments are those of ``run``.
        """
        running = RunningWorker(
            executor=self,
            request=request,
            request_file=request_file,
            log=log,
            on_event=on_event,
            limit_s=limit_s,
            can_pause=True,
        )
        try:
            while (outcome := running.resume()) is None:
                yield
            return outcome
        finally:
            running.close()


@dataclass(slots=True, kw_only=True)
class RunningWorker:
    """A request that is being carried out, from pause to pause.

    Attributes:
        can_pause: Whether it pauses before each epoch.
    """

    executor: LocalExecutor
    request: WorkerRequest
    request_file: Path
    log: Path
    on_event: OnEvent
    limit_s: float | None = None
    can_pause: bool = False
    _outcome: Outcome = field(default_factory=Outcome)
    _resources: ExitStack = field(default_factory=ExitStack)
    _worker: WorkerProcess | None = None
    _meters: Meters = field(init=False)
    _gpu: Gpu | None = None
    _used_bytes: int | None = None
    _oom_kills: int = 0
    _started_s: float = 0.0
    _paused_s: float = 0.0

    def resume(self) -> Outcome | None:
        """Start the worker or let it continue; return its outcome, or None where it pauses."""
        try:
            if self._worker is None:
                self._worker = self._start()
            else:
                # The clocks stand still while another is at work.
                self._started_s += now_s() - self._paused_s
                self._worker.resume()
            stop = self._listen(self._worker)
        except BaseException:
            # Also when the user interrupts: nothing of ours outlives us.
            self.close()
            raise
        if stop == "paused":
            self._paused_s = now_s()
            return None
        self.close()
        self._outcome.end(wall_s=now_s() - self._started_s, meters=self._meters)
        self._conclude(stop, self._worker.process.returncode)
        return self._outcome

    def close(self) -> None:
        """End the worker's processes, all of them."""
        self._resources.close()

    def _start(self) -> WorkerProcess:
        executor = self.executor
        self._gpu = open_gpu(executor.gpu) if executor.gpu else None
        self._used_bytes = base_bytes(self._gpu)
        self._oom_kills = oom_kill_count()
        self._started_s = now_s()
        replace(self.request, spawned_s=self._started_s).write(self.request_file)
        worker = WorkerProcess.start(
            worker_command(self.request_file, python=executor.python),
            environment=executor.environment,
            log=self.log,
            can_pause=self.can_pause,
        )
        self._resources.callback(lambda: worker.end(is_patient=self._outcome.is_final))
        self._meters = make_meters(worker.process.pid, gpu=self._gpu, base_bytes=self._used_bytes)
        self._resources.enter_context(self._meters)
        return worker

    def _listen(self, worker: WorkerProcess) -> Stop | Literal["paused"]:
        """Take events until the worker pauses, has no more, or its time has run out."""
        while True:
            left_s = None if self.limit_s is None else self.limit_s - (now_s() - self._started_s)
            event = worker.next_event(silence_s=self.executor.silence_s, limit_s=left_s)
            if isinstance(event, str):
                return event
            if event["event"] == YIELD:
                return "paused"
            self._meters.on_event(event)
            self._outcome.add(event)
            self.on_event(event)

    def _conclude(self, stop: Stop | Literal["paused"], code: int) -> None:
        """Complete the outcome of a worker whose processes are gone."""
        outcome, tail = self._outcome, log_tail(self.log)
        if stop == "silent":
            outcome.status, outcome.is_retryable = "timeout", True
            outcome.reason = (
                f"no progress for {self.executor.silence_s:g} s: the worker hangs, or --timeout is "
                "too short for a silent phase such as compilation"
            )
        elif stop == "late":
            outcome.status, outcome.is_retryable = "timeout", False
            outcome.reason = (
                f"exceeded time_limit_s = {self.limit_s:g}; reduce the work or raise the limit"
            )
        elif not outcome.is_final:
            reason = diagnose_exit(code, tail, oom_kills=oom_kill_count() - self._oom_kills)
            outcome.status, outcome.reason = reason.status, reason.sentence(tail)
            outcome.is_retryable = reason.status == "failed"
        if outcome.status not in ("ok", "skipped"):
            outcome.log_tail = tail
        outcome.unreleased_device_bytes = wait_until_released(
            self._used_bytes, lambda: base_bytes(self._gpu)
        )


def run_interleaved(trials: Sequence[TrialSteps[T]]) -> list[T]:
    """Carry out trials until all have ended, each up to its next stop, every other round reversed.

    Of two that is A B, B A, ...: drift, and disturbances longer than a stretch, hit both alike.
    Where one raises, the others are ended.
    """
    results: dict[int, T] = {}
    waiting = list(enumerate(trials))
    with ExitStack() as started:
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

"""Carrying out a trial in a process of its own, and seeing how it ended."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchharness.doctor.probe_request import GaugeRequest
from benchharness.measure.clock import now_s
from benchharness.measure.gpu import open_gpu, wait_until_released
from benchharness.measure.machine import oom_kill_count, recorded_variables
from benchharness.measure.meters import base_bytes, make_meters
from benchharness.run.process.exit import examine, last_words
from benchharness.run.process.interleave import Course, run_to_completion
from benchharness.run.process.outcome import Outcome
from benchharness.run.process.process import TURN, OnEvent, TimeoutKind, Worker
from benchharness.worker.probe_request import ProbeRequest
from benchharness.worker.request import TrialRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalExecutor:
    """Runs trials on this machine, of which one is at work at any time.

    Attributes:
        environment: Of the workers.
        gpu: Selects the GPU that they see, for its driver; empty for none.
        silence_s: Longest a worker may tell nothing; None for no limit.
        python: The workers' interpreter.
        code: Tells the code that its workers import; empty for what this process would import.
    """

    environment: Mapping[str, str]
    gpu: str = ""
    silence_s: float | None = None
    python: str = sys.executable
    code: str = ""

    @property
    def variables(self) -> dict[str, str]:
        """What of the environment is part of what is measured."""
        return recorded_variables(self.environment)

    def run(
        self,
        request: TrialRequest | ProbeRequest | GaugeRequest,
        *,
        request_file: Path,
        log: Path,
        on_event: OnEvent,
        limit_s: float | None = None,
    ) -> Outcome:
        """Carry out one trial and return how it ended; the arguments are those of ``course``."""
        return run_to_completion(
            self.course(
                request, request_file=request_file, log=log, on_event=on_event, limit_s=limit_s
            )
        )

    def course(
        self,
        request: TrialRequest | ProbeRequest | GaugeRequest,
        *,
        request_file: Path,
        log: Path,
        on_event: OnEvent,
        limit_s: float | None = None,
        takes_turns: bool = False,
    ) -> Course[Outcome]:
        """Carry out one trial and return how it ended; never raises for what a worker does.

        Its processes are gone then, and the GPU's memory is free again, or the outcome says how
        much is not.

        Args:
            request_file: Where to write the request.
            log: Takes everything the worker prints.
            on_event: Told of each event as it comes.
            limit_s: Longest it may be at work altogether; None for no limit.
            takes_turns: Whether to stop before each epoch, so that another worker may be at work.
        """
        gpu = open_gpu(self.gpu) if self.gpu else None
        used_bytes = base_bytes(gpu)
        kills = oom_kill_count()
        request = replace(request, spawned_s=now_s())
        request.write(request_file)
        outcome = Outcome()
        worker = Worker.start(
            [self.python, "-m", request.program, str(request_file)],
            environment=self.environment,
            log=log,
            takes_turns=takes_turns,
        )
        silence: TimeoutKind = ""
        stood_s = 0.0
        try:
            meters = make_meters(worker.process.pid, gpu=gpu, base_bytes=used_bytes)

            def take(event: Mapping[str, object]) -> None:
                meters.take(event)
                outcome.take(event)
                on_event(event)

            with meters:
                while True:
                    spent_s = now_s() - request.spawned_s - stood_s
                    left_s = None if limit_s is None else limit_s - spent_s
                    stop = worker.listen(take, silence_s=self.silence_s, limit_s=left_s)
                    if stop != TURN:
                        silence = stop
                        break
                    stopped_s = now_s()
                    yield
                    stood_s += now_s() - stopped_s
                    worker.resume()
        finally:
            # Also when the user interrupts: nothing of ours outlives us.
            worker.end(patient=outcome.is_final)
            wall_s = now_s() - request.spawned_s - stood_s
        outcome.end(wall_s=wall_s, meters=meters)
        if silence:
            outcome.status = "timeout"
            outcome.reason = self._lateness(silence, limit_s)
            outcome.is_retryable = silence == "silent"
        elif not outcome.is_final:
            words = last_words(log)
            death = examine(
                worker.process.returncode, words, oom_kill_count=oom_kill_count() - kills
            )
            outcome.status, outcome.reason = death.status, death.reason(words)
            outcome.is_retryable = death.status == "failed"
        if outcome.status not in ("ok", "skipped"):
            outcome.last_words = last_words(log)
        outcome.held_bytes = wait_until_released(used_bytes, lambda: base_bytes(gpu))
        return outcome

    def _lateness(self, silence: TimeoutKind, limit_s: float | None) -> str:
        if silence == "silent":
            return (
                f"no sign of life for {self.silence_s:g} s; it hangs, or --timeout is shorter than "
                "what it does without a word, as compiling"
            )
        return (
            f"still running after the {limit_s:g} s that it was given; ask for less, or give it "
            "more time"
        )

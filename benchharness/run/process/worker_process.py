"""Worker process: started in a separate group, listened to, ended with all its children."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from benchharness.measure.clock import now_s
from benchharness.run.process.reaper import WORKER_ID, kill_tree, shared_reaper
from benchharness.subprocesses import python_environment

Event = Mapping[str, Any]
OnEvent = Callable[[Event], None]
# Why there are no more events: none will come, none came for too long, or time is up.
Stop = Literal["ended", "silent", "late"]

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


@dataclass(slots=True, kw_only=True)
class WorkerProcess:
    """A process that carries out one request.

    Attributes:
        events_fd: Descriptor that its events are read from.
        worker_id: In the environment of all that it starts.
        resume_fd: Descriptor that resumes it after a pause; None where it never pauses.
    """

    process: subprocess.Popen[bytes]
    events_fd: int
    worker_id: str
    resume_fd: int | None = None
    _lines: deque[bytes] = field(default_factory=deque)
    _partial_line: bytes = b""

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        can_pause: bool = False,
    ) -> Self:
        """Start a worker.

        Args:
            command: Lacks its last arguments: the descriptor to which events are to be written, and
                that on which the worker is resumed.
            environment: Of the worker.
            log: Takes everything that it prints.
            can_pause: Whether it is to wait, before each epoch, to be resumed.
        """
        worker_id = secrets.token_hex(8)
        events_fd, writer = os.pipe()
        reader, resume_fd = os.pipe() if can_pause else (None, None)
        inherited = [fd for fd in (writer, reader) if fd is not None]
        try:
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [*command, *map(str, inherited)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**ALLOCATOR, **python_environment(environment), WORKER_ID: worker_id},
                    pass_fds=inherited,
                    # A separate group, so that it can be killed with all its children.
                    start_new_session=True,
                )
        except BaseException:
            for fd in (events_fd, resume_fd):
                if fd is not None:
                    os.close(fd)
            raise
        finally:
            for fd in inherited:
                os.close(fd)
        shared_reaper().add(process.pid, worker_id)
        return cls(process=process, events_fd=events_fd, worker_id=worker_id, resume_fd=resume_fd)

    def next_event(
        self, *, silence_s: float | None = None, limit_s: float | None = None
    ) -> Event | Stop:
        """Return the worker's next event, or why there is none.

        Args:
            silence_s: Longest to wait for a sign of life; None for no limit.
            limit_s: Longest to wait for the event; None for no limit.
        """
        began_s = heard_s = now_s()
        with selectors.DefaultSelector() as selector:
            selector.register(self.events_fd, selectors.EVENT_READ)
            while not self._lines:
                now = now_s()
                if limit_s is not None and now - began_s >= limit_s:
                    return "late"
                if silence_s is not None and now - heard_s >= silence_s:
                    return "silent"
                # Asked before the pipe: what it wrote in between is still read.
                has_ended = self.process.poll() is not None
                ends = [began_s + limit_s] if limit_s is not None else []
                ends += [heard_s + silence_s] if silence_s is not None else []
                wait_s = min([_POLL_S, *(end - now for end in ends)])
                if not selector.select(0 if has_ended else wait_s):
                    if has_ended:
                        # A child of its own may hold the pipe open for longer.
                        return "ended"
                    continue
                chunk = os.read(self.events_fd, 65536)
                if not chunk:
                    return "ended"
                heard_s = now_s()
                *lines, self._partial_line = (self._partial_line + chunk).split(b"\n")
                self._lines.extend(lines)
        event: Event = json.loads(self._lines.popleft())
        return event

    def resume(self) -> None:
        """Let a paused worker continue; one that is gone hears nothing."""
        assert self.resume_fd is not None
        with contextlib.suppress(BrokenPipeError):
            os.write(self.resume_fd, b"\n")

    def end(self, *, is_patient: bool) -> None:
        """Wait for a worker that has finished, kill one that has not; its children go with it."""
        try:
            self._await_exit(_PATIENCE_S if is_patient else _IMPATIENCE_S)
        finally:
            kill_tree(self.process.pid, self.worker_id)
            self.process.wait()
            os.close(self.events_fd)
            if self.resume_fd is not None:
                os.close(self.resume_fd)
            shared_reaper().remove(self.worker_id)

    def _await_exit(self, timeout_s: float) -> None:
        """Wait until the process has ended, or its time has run out."""
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

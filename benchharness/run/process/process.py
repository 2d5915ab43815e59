"""A worker's process: started in a group of its own, listened to, ended with all its children."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from benchharness.measure.clock import now_s
from benchharness.run.process.reaper import MARK, end_tree
from benchharness.run.process.watch import watch
from benchharness.subprocesses import python_environment

OnEvent = Callable[[Mapping[str, Any]], None]
# How often we look whether a worker is still there, while it tells nothing.
_LOOK_S = 0.5
# What a worker needs to end by itself, after its last event and without one.
_PATIENCE_S, _IMPATIENCE_S = 30.0, 1.0

TimeoutKind = Literal["", "silent", "late"]
Stop = Literal[TimeoutKind, "turn"]
# The event of a worker that waits to be told to go on.
TURN: Final = "turn"

# glibc's allocator keeps what is freed, up to 1 GB of it. As it comes it gives memory back to the
# system now and then, and each page that is touched again costs a fault: bringing images to PyTorch
# took 0.3 or 0.6 ms a step, from one epoch to the next, and Adam of Keras on PyTorch 16 or 24 ms.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A process that carries out one request.

    Attributes:
        events: Descriptor that its events are read from.
        mark: In the environment of all that it starts.
        turns: Descriptor that tells it to go on; None where it never waits.
    """

    process: subprocess.Popen[bytes]
    events: int
    mark: str
    turns: int | None = None

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        takes_turns: bool = False,
    ) -> Self:
        """Start a worker.

        Args:
            command: Lacks its last words: the descriptor to which events are to be written, and
                that on which the worker is told to go on.
            environment: Of the worker.
            log: Takes everything that it prints.
            takes_turns: Whether it is to wait, before each epoch, to be told to go on.
        """
        mark = secrets.token_hex(8)
        reader, writer = os.pipe()
        turn_reader, turn_writer = os.pipe() if takes_turns else (None, None)
        given = [fd for fd in (writer, turn_reader) if fd is not None]
        try:
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [*command, *map(str, given)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**ALLOCATOR, **python_environment(environment), MARK: mark},
                    pass_fds=given,
                    # A group of its own, so that it can be ended with all its children.
                    start_new_session=True,
                )
        except BaseException:
            for kept in (reader, turn_writer):
                if kept is not None:
                    os.close(kept)
            raise
        finally:
            for fd in given:
                os.close(fd)
        watch().begin(process.pid, mark)
        return cls(process=process, events=reader, mark=mark, turns=turn_writer)

    def resume(self) -> None:
        """Tell a worker that waits for its turn to go on; one that is gone hears nothing."""
        assert self.turns is not None
        with contextlib.suppress(BrokenPipeError):
            os.write(self.turns, b"\n")

    def listen(self, take: OnEvent, *, silence_s: float | None, limit_s: float | None) -> Stop:
        """Take events until the worker has no more, waits for its turn, or its time has run out.

        Args:
            silence_s: Longest it may tell nothing; None for no limit.
            limit_s: Longest it may take; None for no limit.

        Returns:
            ``silent`` or ``late`` where it is to be ended, ``turn`` where it is to be told to go
            on, else nothing.
        """
        began_s = heard_s = now_s()
        pending = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.events, selectors.EVENT_READ)
            while True:
                now = now_s()
                if limit_s is not None and now - began_s >= limit_s:
                    return "late"
                if silence_s is not None and now - heard_s >= silence_s:
                    return "silent"
                # Asked before the pipe: what it wrote in between is still read.
                has_ended = self.process.poll() is not None
                ends = [began_s + limit_s] if limit_s is not None else []
                ends += [heard_s + silence_s] if silence_s is not None else []
                wait_s = min([_LOOK_S, *(end - now for end in ends)])
                if not selector.select(0 if has_ended else wait_s):
                    if has_ended:
                        # A child of its own may hold the pipe open for longer.
                        return ""
                    continue
                chunk = os.read(self.events, 65536)
                if not chunk:
                    return ""
                heard_s = now_s()
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    if event["event"] == TURN:
                        # It says nothing more before it is told to go on.
                        return TURN
                    take(event)

    def end(self, *, patient: bool) -> None:
        """Wait for a worker that has finished, end one that has not; its children go with it."""
        try:
            self._await_exit(_PATIENCE_S if patient else _IMPATIENCE_S)
        finally:
            end_tree(self.process.pid, self.mark)
            self.process.wait()
            os.close(self.events)
            if self.turns is not None:
                os.close(self.turns)
            watch().end(self.mark)

    def _await_exit(self, timeout_s: float) -> None:
        """Wait until the process has ended, or its time has run out."""
        # Its number may belong to another process once it has been waited for.
        if self.process.poll() is not None:
            return
        try:
            # Popen.wait looks every 50 ms, which would count towards the trial's wall time.
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

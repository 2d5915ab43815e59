"""Reaper: kills what a worker has started, also when the runner itself is gone.

Run as a program, it is one small process beside a run: it reads which workers live, a line each,
and when the other end of its pipe closes, for whatever reason, it kills those left. Then it imports
next to nothing, so that it is there before the first worker, and costs no memory.
"""

from __future__ import annotations

import os
import signal
import sys
import time

# In the environment of a worker and so of all that it starts, wherever in the system that goes.
WORKER_ID = "BENCHHARNESS_WORKER"
_PROCESSES = "/proc"
# Processes that start meanwhile are killed in the next round; one that holds much memory takes a
# moment to go.
_ROUNDS, _PAUSE_S = 100, 0.02


class Reaper:
    """The reaper's process; it notices by itself when this process is gone."""

    def __init__(self) -> None:
        import subprocess

        self._process: subprocess.Popen[str] = subprocess.Popen(
            # Isolated and without site: it needs nothing, and nothing may keep it from starting.
            [sys.executable, "-I", "-S", os.path.abspath(__file__)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Whoever kills our group, or presses Ctrl-C in our terminal, does not end the reaper.
            start_new_session=True,
            text=True,
        )

    def add(self, group: int, worker_id: str) -> None:
        """Watch a worker: its process group, and the id of all that it starts."""
        self._write(f"{group} {worker_id}\n")

    def remove(self, worker_id: str) -> None:
        """Watch a worker no longer, whose processes are gone."""
        self._write(f"- {worker_id}\n")

    def close(self) -> None:
        """Let it kill what is left, and end."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except OSError:
            pass
        self._process.wait()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except (OSError, ValueError):
            # Without the reaper a worker still dies with us, by the kernel's hand.
            pass


def shared_reaper() -> Reaper:
    """Return the reaper of this process; it is started with the first worker."""
    import atexit

    global _shared
    if _shared is None:
        _shared = Reaper()
        atexit.register(_shared.close)
    return _shared


_shared: Reaper | None = None


def kill_tree(group: int, worker_id: str) -> None:
    """Kill a process group, and every process that carries the worker's id.

    A child that has left the group, or whose parent is gone, still has the id; where there is
    no /proc, the group is all that can be found.
    """
    for _ in range(_ROUNDS):
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        wanted = f"\0{WORKER_ID}={worker_id}\0".encode()
        left = [pid for pid, variables in _processes() if wanted in variables]
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if not left:
            return
        time.sleep(_PAUSE_S)


def _processes() -> list[tuple[int, bytes]]:
    """Return the processes and their environments, in which zero bytes surround each variable.

    Those that have ended have none.
    """
    processes = []
    for name in os.listdir(_PROCESSES) if os.path.isdir(_PROCESSES) else ():
        if not name.isdigit():
            continue
        try:
            with open(f"{_PROCESSES}/{name}/environ", "rb") as file:
                processes.append((int(name), b"\0" + file.read()))
        except OSError:
            # Another user's, or it has just ended.
            continue
    return processes


def workers_with(variable: str, value: str) -> list[int]:
    """Return the workers of any run in whose environment a variable is as given, or is missing."""
    worker, name = (f"\0{text}=".encode() for text in (WORKER_ID, variable))
    return [
        pid
        for pid, variables in _processes()
        if worker in variables
        and (name not in variables or name + value.encode() + b"\0" in variables)
    ]


def main() -> None:
    """Keep the list of living workers until the writer is gone, then kill them."""
    alive: dict[str, int] = {}
    for line in sys.stdin:
        group, worker_id = line.split()
        if group == "-":
            alive.pop(worker_id, None)
        else:
            alive[worker_id] = int(group)
    for worker_id, process_group in alive.items():
        kill_tree(process_group, worker_id)


if __name__ == "__main__":
    main()

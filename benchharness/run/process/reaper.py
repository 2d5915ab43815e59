"""Ending what a worker has started, also when the runner that started the worker is gone.

Run as a program, this is the warden: one small process beside a run. It reads which workers live,
a line each, and when the other end of its pipe closes, for whatever reason, it ends those left.
It imports next to nothing, so that it is there before the first worker, and costs no memory.
"""

from __future__ import annotations

import os
import signal
import sys
import time

# In the environment of a worker and so of all that it starts, wherever in the system that goes.
MARK = "BENCHHARNESS_WORKER"
_PROCESSES = "/proc"
# What is being started while the others are ended is found in the next round; a process that
# holds much memory takes a moment to go.
_ROUNDS, _PAUSE_S = 100, 0.02


def end_tree(group: int, mark: str) -> None:
    """End a process group, and every process that carries the mark.

    A child that has left the group, or whose parent is gone, still has the mark; where there is
    no /proc, the group is all that can be found.
    """
    for _ in range(_ROUNDS):
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        left = marked(mark)
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if not left:
            return
        time.sleep(_PAUSE_S)


def marked(mark: str) -> list[int]:
    """Return the processes whose environment carries a mark; those that have ended carry none."""
    wanted = f"{MARK}={mark}\0".encode()
    found = []
    for name in os.listdir(_PROCESSES) if os.path.isdir(_PROCESSES) else ():
        if not name.isdigit():
            continue
        try:
            with open(f"{_PROCESSES}/{name}/environ", "rb") as file:
                if wanted in file.read():
                    found.append(int(name))
        except OSError:
            # Another user's, or it has just ended.
            continue
    return found


def main() -> None:
    """Keep the list of living workers until nobody writes it any more, then end them."""
    alive: dict[str, int] = {}
    for line in sys.stdin:
        group, mark = line.split()
        if group == "-":
            alive.pop(mark, None)
        else:
            alive[mark] = int(group)
    for mark, group in alive.items():
        end_tree(group, mark)


if __name__ == "__main__":
    main()

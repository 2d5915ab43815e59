"""Machine: its GPU and driver, processor, memory, and the versions of what matters.

python tools/gpu_first/machine.py --device cuda:0

The exit code is 1 where a GPU is asked for and the driver does not answer.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from importlib.metadata import distributions

# State of the device before anything runs: clocks, power, memory, what else is on it.
QUERIES = (["nvidia-smi"], ["nvidia-smi", "-q", "-d", "CLOCK,POWER,PERFORMANCE,MEMORY"])
VARIABLES = ("CUDA", "NVIDIA", "XLA", "JAX", "TORCH", "CUBLAS", "KERAS", "OMP")


def main() -> None:
    """Print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", required=True)
    is_cpu = parser.parse_args().device == "cpu"
    codes = [] if is_cpu else [ask(command) for command in QUERIES]
    ask(["lscpu"])
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    print(f"memory {memory_gib:.0f} GiB, {len(os.sched_getaffinity(0))} cores to use")
    for name, value in sorted(os.environ.items()):
        if name.startswith(VARIABLES):
            print(f"{name}={value}")
    for name, version in sorted(
        {(distribution.name, distribution.version) for distribution in distributions()}
    ):
        print(f"{name}=={version}")
    print(f"Python {platform.python_version()}, {platform.platform()}")
    sys.exit(any(codes))


def ask(command: list[str]) -> int:
    """Print what a program says; return its exit code."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(error)
        return 1
    print(done.stdout + done.stderr)
    return done.returncode


if __name__ == "__main__":
    main()

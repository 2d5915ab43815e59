"""Yardstick of a machine: fixed work, timed beside results that are stored for later comparison.

A matrix product of NumPy, and a bare training step of a framework. Neither runs code of a backend's
plugin, so a change of that does not move them.
"""

from __future__ import annotations

import gc
import importlib
import json
import math
import os
import subprocess
import sys
import timeit
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib.metadata import version
from statistics import median
from typing import Any, Self

from benchharness.measure.blocks import low_decile
from benchharness.measure.clock import now_s, set_affinity
from benchharness.subprocesses import python_environment

# Variables of a process that leaves the memory of a device to others.
SHARED_DEVICE = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
# In the order in which one is chosen of those that a backend requires.
FRAMEWORKS = ("tensorflow", "torch", "jax")
# A product of 0.03 GFLOP; a step of three of 256 rows and 256 units.
_SIZE = 256
# Blocks are short enough that some fall between bursts of other programs' work.
_BLOCKS, _BLOCK_S = 25, 0.01

# Seconds by what was done, the version of its library included.
Readings = dict[str, float]


class Yardstick:
    """The work, ready to be timed in this process."""

    def __init__(self, framework: str = "") -> None:
        """Prepare it; without a framework, or if that does not start, it is the product alone."""
        self._work = {f"product of numpy {version('numpy')}": _product()}
        with suppress(Exception):
            if framework:
                self._work[f"step of {framework} {version(framework)}"] = _STEPS[framework]()

    def read(self) -> Readings:
        """Return the seconds of each kind of work."""
        return {name: _seconds(work) for name, work in self._work.items()}


class YardstickProcess:
    """A yardstick in a process of its own, which waits between readings.

    Args:
        framework: Of ``FRAMEWORKS``; empty for none.
        python: Interpreter of the workers whose conditions it shares.
        environment: Of these.
        threads: CPU cores that it may use; 0 for all.
    """

    def __init__(
        self, framework: str, *, python: str, environment: Mapping[str, str], threads: int
    ) -> None:
        self._process = subprocess.Popen(
            [python, "-m", __name__, framework, str(threads)],
            env=python_environment({**SHARED_DEVICE, **environment}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # Ctrl-C is for who uses it.
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def read(self) -> Readings:
        """Return a reading; nothing if the process has ended."""
        assert self._process.stdin and self._process.stdout
        line = ""
        with suppress(BrokenPipeError):
            self._process.stdin.write("\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        readings: Readings = json.loads(line or "{}")
        return readings


def framework_of(distributions: Iterable[str], *, engine: object = None) -> str:
    """Return the framework of a backend, of the distributions that its plugin requires.

    ``engine`` is what an option says it uses; empty for no framework that is known.
    """
    known = [name for name in FRAMEWORKS if name in {*distributions}]
    return str(engine) if engine in known else known[0] if known else ""


def joined(readings: Iterable[Readings]) -> dict[str, list[float]]:
    """Return the seconds of all readings by kind of work."""
    seconds: dict[str, list[float]] = {}
    for reading in readings:
        for kind, taken_s in reading.items():
            seconds.setdefault(kind, []).append(taken_s)
    return seconds


def movement(now: Mapping[str, list[float]], then: Mapping[str, list[float]]) -> float | None:
    """Return how much slower the machine has become: a share, below 0 if faster.

    Both are the seconds of all readings by kind of work. Of the kinds that they share, the one
    that moved most counts; None if they have none in common.
    """
    shares = [median(now[kind]) / median(then[kind]) - 1 for kind in now.keys() & then.keys()]
    return max(shares, key=abs, default=None)


def _seconds(work: Callable[[], object]) -> float:
    """Return the seconds that the work takes, in the faster blocks."""
    # Collecting garbage is part of the work that this stands for.
    timer = timeit.Timer(work, gc.enable, timer=now_s)
    count = max(1, math.ceil(_BLOCK_S / max(timer.timeit(1), 1e-6)))
    return low_decile(timer.repeat(_BLOCKS, count)) / count


def _product() -> Callable[[], object]:
    import numpy as np

    left, right = np.random.default_rng(0).random((2, _SIZE, _SIZE), np.float32)
    out = np.empty_like(left)
    return lambda: np.matmul(left, right, out=out)


def _torch_step() -> Callable[[], object]:
    torch: Any = importlib.import_module("torch")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    values = torch.ones(_SIZE, _SIZE, device=device)
    weights = torch.full((_SIZE, _SIZE), 1e-3, device=device, requires_grad=True)

    def step() -> None:
        (gradient,) = torch.autograd.grad((values @ weights).square().mean(), weights)
        (weights.detach() - 1e-3 * gradient).sum().item()

    step()
    return step


def _tensorflow_step() -> Callable[[], object]:
    tf: Any = importlib.import_module("tensorflow")
    values = tf.ones((_SIZE, _SIZE))
    weights = tf.Variable(tf.fill((_SIZE, _SIZE), 1e-3))

    def step() -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(values @ weights))
        return tf.reduce_sum(weights - 1e-3 * tape.gradient(loss, weights))

    compiled = tf.function(step)
    compiled()
    return lambda: compiled().numpy()


def _jax_step() -> Callable[[], object]:
    jax: Any = importlib.import_module("jax")
    jnp: Any = importlib.import_module("jax.numpy")
    values, weights = jnp.ones((_SIZE, _SIZE)), jnp.full((_SIZE, _SIZE), 1e-3)

    def step(weights: Any) -> Any:
        gradient = jax.grad(lambda given: jnp.square(values @ given).mean())(weights)
        return (weights - 1e-3 * gradient).sum()

    compiled = jax.jit(step)
    compiled(weights)
    return lambda: float(compiled(weights))


_STEPS = {"tensorflow": _tensorflow_step, "torch": _torch_step, "jax": _jax_step}


def main() -> None:
    """Print a reading, a line of JSON, for each line of standard input."""
    framework, threads = sys.argv[1:]
    # Readings go to standard output, what a framework prints to standard error.
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as readings:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        set_affinity(int(threads))
        yardstick = Yardstick(framework)
        for _ in sys.stdin:
            print(json.dumps(yardstick.read()), file=readings, flush=True)


if __name__ == "__main__":
    main()

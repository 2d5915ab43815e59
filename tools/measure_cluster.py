"""Measure what a trial costs on a large cluster beside the trial itself: time, memory, the table.

    python tools/measure_cluster.py --trials 10000 --hosts 200

All is in one process: a dask scheduler, as many workers, each of which pretends to be a host, and
the client, whose code is that of ``benchharness run --cluster``. Only what runs on a host is
pretended: a trial sleeps for 10 ms and returns the record that a real one has left. Printed are
milliseconds for each trial, the growth of memory from a fifth of the trials to the last, and the
seconds from the last trial to the CSV files, and to the answers.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import distributed
import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from clusters import SUITE

from benchharness.cluster import host as on_host
from benchharness.cluster import session as cluster_session
from benchharness.cluster.connection import RESOURCE
from benchharness.cluster.host import HostInfo, HostSetup, TrialOrder, TrialResult
from benchharness.cluster.host import _open as open_host
from benchharness.report.summary import answers_in
from benchharness.run.events import Event, TrialFinished, unobserved
from benchharness.run.options import RunOptions
from benchharness.run.session import open_session, start_run

# Two of a network, and two of feeding at each of many batch sizes.
SIZES = [*range(1, 50)]
CELLS = 2 + 2 * len(SIZES)
MATRIX = f"matrix = {{ batch_size = {SIZES} }}\n"
SLEEP_S = 0.010


def main() -> int:
    """Run, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--trials", type=int, default=10_000, help="in all, of a hundred cells, at most 1000 each"
    )
    parser.add_argument("--hosts", type=int, default=200)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="measure-cluster-") as folder:
        measure(Path(folder), trials=asked.trials // CELLS, hosts=asked.hosts)
    return 0


def measure(folder: Path, *, trials: int, hosts: int) -> None:
    """Print the figures of so many trials of each cell on so many hosts."""
    suite = folder / "tiny.toml"
    suite.write_text(SUITE.format(trials=trials, epochs=2) + MATRIX)
    options = RunOptions(
        suite=suite, results=folder / "results", proof="no", device="cpu", cluster="pretended"
    )
    process, memory, ends_s = psutil.Process(), dict[int, int](), list[float]()
    points = (CELLS * trials // 5, CELLS * trials)

    def observe(event: Event) -> None:
        if isinstance(event, TrialFinished):
            ends_s.append(time.monotonic())
            if len(ends_s) in points:
                memory[len(ends_s)] = process.memory_info().rss

    with (
        pretended_hosts(options, hosts),
        cluster_session.open_cluster_run(options, observe) as runner,
    ):
        runner.prove()
        began_s = time.monotonic()
        runner.run(observe)
        tables_s = time.monotonic() - ends_s[-1]
        run, records = runner.folder.read_run(), runner.folder.records()[0]
        print(*answers_in(run, records)[:2], sep="\n", file=sys.stderr)
        answers_s = time.monotonic() - ends_s[-1]
        count = len(ends_s)
        figures = {
            "trials": count,
            "hosts": hosts,
            "ms_each": 1e3 * (ends_s[-1] - began_s) / count,
            "ideal_ms_each": 1e3 * SLEEP_S / hosts,
            "memory_mb_after_a_fifth": memory[points[0]] / 1e6,
            "memory_mb_after_all": memory[points[1]] / 1e6,
            "csv_files_s": tables_s,
            "csv_files_and_answers_s": answers_s,
        }
        # Before the pretended cluster is closed, which takes dask a while.
        print(json.dumps(figures, indent=2), flush=True)


@contextmanager
def pretended_hosts(options: RunOptions, count: int) -> Iterator[None]:
    """Let a cluster of pretended hosts be connected to in the block."""
    suite = options.suite.with_name("one.toml")
    suite.write_text(SUITE.format(trials=1, epochs=2))
    local = replace(options, suite=suite, cluster=None)
    with start_run(open_session(local), unobserved) as runner:
        records = {(r["benchmark"], r["backend"]): r for r in runner.run(unobserved)}

    def inspect(setup: HostSetup) -> HostInfo:
        info = open_host(setup).info
        return replace(info, name=f"host{distributed.get_worker().name}", machine="kind")

    def run_trial(setup: HostSetup, order: TrialOrder, topic: str) -> TrialResult:
        time.sleep(SLEEP_S)
        benchmark, _, _, backend = order.cell
        runner = open_host(setup).runner
        (cell,) = (cell for cell in runner.plan.cells if cell.key == order.cell)
        (trial,) = runner.plan.turn([cell], order.index)
        record = records[benchmark, backend] | {
            "id": runner.requests.trial_id(trial),
            "matrix": dict(cell.matrix),
            "trial": trial.index,
            "seed": trial.seed,
            "host": f"host{distributed.get_worker().name}",
            "machine": "kind",
        }
        return TrialResult(record=record, log=b"", weights=None, events=[])

    @contextmanager
    def connect(address: str) -> Iterator[Any]:
        with (
            distributed.LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                processes=False,
                dashboard_address=None,
                resources={RESOURCE: 1},
                silence_logs="CRITICAL",
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client

    with (
        mock.patch.object(on_host, "inspect", by_reference(inspect)),
        mock.patch.object(on_host, "run_trial", by_reference(run_trial)),
        mock.patch.object(cluster_session, "connect", connect),
    ):
        yield


def by_reference(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that is sent to workers by its name, as the one it stands for."""
    function.__module__, function.__qualname__ = on_host.__name__, function.__name__
    return function


if __name__ == "__main__":
    sys.exit(main())

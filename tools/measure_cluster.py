"""Measure what a trial costs on a large cluster beside the trial itself: time, memory, the table.

    python tools/measure_cluster.py --trials 10000 --hosts 200

The client is that of ``benchharness run --cluster``. In one other process are a dask scheduler and
as many workers, each of which pretends to be a host: a trial sleeps for 10 ms and returns the
record that a real one has left. Printed are milliseconds for each trial, how many of them the
client's processor time is, the growth of the client's memory from a fifth of the trials to the
last, and the seconds from the last trial to the CSV files, and to the answers.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import dask
import distributed
import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from clusters import SUITE

from benchharness.cluster import host as on_host
from benchharness.cluster.connection import RESOURCE
from benchharness.cluster.host import HostInfo, HostSetup, TrialOrder, TrialResult
from benchharness.cluster.host import _open as open_host
from benchharness.cluster.session import open_cluster_run
from benchharness.report.summary import answers_in
from benchharness.results.record import Record
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
    options = RunOptions(suite=suite, results=folder / "results", proof="no", device="cpu")
    process, memory, ends_s = psutil.Process(), dict[int, int](), list[float]()
    points = (CELLS * trials // 5, CELLS * trials)

    def observe(event: Event) -> None:
        if isinstance(event, TrialFinished):
            ends_s.append(time.monotonic())
            if len(ends_s) in points:
                memory[len(ends_s)] = process.memory_info().rss

    with (
        pretended_cluster(records_of_one(options), hosts) as address,
        open_cluster_run(replace(options, cluster=address), observe) as runner,
    ):
        runner.prove(unobserved)
        began_s, began_cpu_s = time.monotonic(), time.process_time()
        runner.run(observe)
        tables_s = time.monotonic() - ends_s[-1]
        cpu_s = time.process_time() - began_cpu_s - tables_s
        run, records = runner.folder.read_run(), runner.folder.records()[0]
        print(*answers_in(run, records)[:2], sep="\n", file=sys.stderr)
        answers_s = time.monotonic() - ends_s[-1]
        count = len(ends_s)
        figures = {
            "trials": count,
            "hosts": hosts,
            "ms_each": 1e3 * (ends_s[-1] - began_s) / count,
            "ms_each_of_client_cpu": 1e3 * cpu_s / count,
            "client_mb_after_a_fifth": memory[points[0]] / 1e6,
            "client_mb_after_all": memory[points[1]] / 1e6,
            "csv_files_s": tables_s,
            "csv_files_and_answers_s": answers_s,
        }
        print(json.dumps(figures, indent=2), flush=True)


def records_of_one(options: RunOptions) -> dict[tuple[str, str], Record]:
    """Return a real record of each benchmark and backend."""
    suite = options.suite.with_name("one.toml")
    suite.write_text(SUITE.format(trials=1, epochs=2))
    with start_run(open_session(replace(options, suite=suite)), unobserved) as runner:
        return {(r["benchmark"], r["backend"]): r for r in runner.run(unobserved)}


@contextmanager
def pretended_cluster(records: dict[tuple[str, str], Record], hosts: int) -> Iterator[str]:
    """Run a scheduler and workers in another process for the block; yield its address."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(records, hosts, theirs), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        # Closing hundreds of workers one by one takes dask a while.
        process.kill()
        process.join()


def serve(records: dict[tuple[str, str], Record], hosts: int, client: Connection) -> None:
    """Be scheduler and workers, whose trials end with one of the records."""

    def name() -> str:
        return f"host{distributed.get_worker().name}"

    def inspect(setup: HostSetup) -> HostInfo:
        return replace(open_host(setup).info, name=name(), machine="kind")

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
            "host": name(),
            "machine": "kind",
        }
        return TrialResult(record=record, log=b"", weights=None, events=[])

    on_host.inspect, on_host.run_trial = inspect, run_trial
    # Every worker would look after the whole process.
    dask.config.set(
        {
            "distributed.worker.profile.enabled": False,
            "distributed.admin.tick.interval": "1 minute",
            "distributed.admin.system-monitor.interval": "1 minute",
        }
    )
    cluster = distributed.LocalCluster(
        n_workers=hosts,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        # The limit of one is the limit of all, and each would collect garbage for it.
        memory_limit=0,
        dashboard_address=None,
        resources={RESOURCE: 1},
        silence_logs="CRITICAL",
    )
    client.send(cluster.scheduler_address)
    threading.Event().wait()


if __name__ == "__main__":
    sys.exit(main())

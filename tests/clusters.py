"""Clusters of a test: a real scheduler and real workers, each of which is a host of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local_processes import wait_for

from benchharness.results.run_folder import RunFolder

SUITE = """
name = "tiny"
trials = {trials}
backends = ["numpy", "other"]

[backend.other]
plugin = "numpy"

[dataset]
source = "drawn"

[defaults]
image_size = 16
train_images = 24
test_images = 8
batch_size = 5

[[benchmark]]
name = "small"
strategy = "simple_cnn"
filters = [2]
dense = 4
epochs = {epochs}

[[benchmark]]
name = "feed"
strategy = "dataset"
"""


class Cluster:
    """A dask scheduler and its workers, to be closed.

    Attributes:
        file: Where the scheduler says where it is.
        workers: The nanny of each host's worker.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "scheduler.json"
        words = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        self.scheduler = self._dask([*words, "--scheduler-file", str(self.file)], {})
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        wait_for(self.file.exists)

    def add(self, host: str, machine: str = "kind", **variables: str) -> None:
        """Start the worker of a host, which has a cache of its own."""
        words = ["worker", "--scheduler-file", str(self.file), "--nthreads", "1", "--no-dashboard"]
        own = {"BENCHHARNESS_HOST": host, "BENCHHARNESS_MACHINE": machine}
        cache = {"BENCHHARNESS_CACHE": str(self.folder / f"cache-{host}")}
        self.workers[host] = self._dask(
            [*words, "--host", "127.0.0.1"], {**own, **cache, **variables}
        )

    def stop(self, host: str) -> None:
        """End a host as a batch system does whose time is up: by SIGTERM."""
        nanny = self.workers.pop(host)
        nanny.terminate()
        nanny.wait()

    def remove(self, host: str) -> None:
        """Kill a host: the nanny first, which would start its worker again."""
        nanny = self.workers.pop(host)
        worker = children(nanny.pid)
        nanny.kill()
        nanny.wait()
        for pid in worker:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                continue

    def close(self) -> None:
        """End all of it."""
        for host in list(self.workers):
            self.remove(host)
        self.scheduler.kill()
        self.scheduler.wait()

    def _dask(self, words: Sequence[str], variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *words],
            cwd=self.folder,
            env={**os.environ, **variables},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


@contextmanager
def cluster_of(folder: Path, hosts: Mapping[str, str]) -> Iterator[Cluster]:
    """Run a cluster of hosts, each of a kind of machine, for the block."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(folder)
    try:
        for host, machine in hosts.items():
            cluster.add(host, machine)
        yield cluster
    finally:
        cluster.close()


def write_suite(folder: Path, *, trials: int, epochs: int = 2) -> Path:
    """Write a suite of four cells, and return its file."""
    suite = folder / "tiny.toml"
    suite.write_text(SUITE.format(trials=trials, epochs=epochs))
    return suite


def start_run(folder: Path, *words: str, **variables: str) -> subprocess.Popen[str]:
    """Start ``benchharness run tiny.toml`` in a folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "benchharness", "run", "tiny.toml", "--no-proof", *words],
        cwd=folder,
        env={**os.environ, "BENCHHARNESS_CACHE": str(folder / "cache"), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, *words: str, code: int = 0, **variables: str) -> str:
    """Carry the run out; return standard output and error, in this order."""
    process = start_run(folder, *words, **variables)
    out, err = process.communicate(timeout=1200)
    assert process.returncode == code, out + err
    return out + err


def records(folder: Path) -> list[dict[str, Any]]:
    """Return the records of the latest run in a folder, none where there is none."""
    latest = folder / "results/tiny/latest"
    return RunFolder.open(latest).records()[0] if latest.exists() else []


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        if parent == pid:
            found.append(int(entry.name))
    return found


def trials_at_work(folder: Path) -> list[str]:
    """Return the processes of trials below a folder, or whose request is."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"benchharness.worker" in words and any(str(folder).encode() in w for w in words):
            found.append(process.name)
    return found


def wait_until_trial_runs(folder: Path) -> None:
    """Return once some trial is at work."""
    wait_for(lambda: bool(trials_at_work(folder)))
    time.sleep(0.2)

"""Kill parts of a cluster at random moments, go on each time, and count what was lost.

python tools/kill_cluster.py --kills 100

A small suite runs once on this machine. Then it runs again and again on a dask cluster of three
hosts, all of which are processes here; at random moments the process of a worker, its nanny, a
trial, the client or, once, the scheduler is killed by SIGKILL, and replaced. ``--resume`` and
``--only-failed`` go on. What is counted is what ``kill_campaign.py`` counts.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import kill_campaign
from kill_campaign import (
    LONGEST_S,
    Campaign,
    family,
    is_alive,
    rows,
    worker_ids,
)

HOSTS = ("a", "b", "c")
# What is killed, and how often in ten kills.
VICTIMS = ("worker", "worker", "worker", "nanny", "nanny", "trial", "trial", "client", "client")


@dataclass(slots=True)
class Cluster:
    """A scheduler and a worker for each host, with its nanny; what has died is started again."""

    folder: Path
    environment: dict[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        """File in which the scheduler says where it is."""
        return self.folder / "scheduler.json"

    def start(self) -> None:
        """Start what is not there."""
        scheduler = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        if self._start("scheduler", [*scheduler, "--scheduler-file", str(self.file)], {}):
            while not self.file.exists():
                time.sleep(0.05)
        for host in HOSTS:
            worker = ["worker", "--scheduler-file", str(self.file), "--nthreads", "1"]
            own = {"BENCHHARNESS_HOST": host, "BENCHHARNESS_MACHINE": "kind"}
            self._start(host, [*worker, "--no-dashboard", "--host", "127.0.0.1"], own)

    def _start(self, name: str, words: list[str], own: dict[str, str]) -> bool:
        process = self.processes.get(name)
        if process is not None and process.poll() is None:
            return False
        if name == "scheduler":
            self.file.unlink(missing_ok=True)
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "dask", *words],
                cwd=self.folder,
                env={**self.environment, **own},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return True

    def stop(self) -> None:
        """End all."""
        for process in self.processes.values():
            process.kill()
            process.wait()


@dataclass(slots=True)
class ClusterCampaign(Campaign):
    """The campaign on a cluster.

    Attributes:
        killed: How often each part was killed.
        left: Kills that are still to be made.
    """

    cluster: Cluster | None = None
    killed: Counter[str] = field(default_factory=Counter)
    left: int = 0

    def run_on_cluster(self, *, kills: int) -> kill_campaign.Losses:
        """Kill so many parts, and return what was lost."""
        calm = self.folder / "calm"
        began_s = time.monotonic()
        Campaign._session(self, calm, disturbed=False)
        self.pace_s = (time.monotonic() - began_s) / (4 * self.trials)
        environment = {**os.environ, "KILL_CAMPAIGN": self.token}
        self.cluster = Cluster(folder=self.folder, environment=environment)
        self.left = kills
        try:
            while self.left > 0:
                results = self.folder / f"run{self.losses.runs}"
                while not self._is_done(results):
                    self._step(results, workers=0, parents=0)
                self.losses.runs += 1
                self._judge(results, calm)
        finally:
            self.cluster.stop()
        return self.losses

    def _session(
        self,
        results: Path,
        *options: str,
        disturbed: bool,
        worker_kills: int = 0,
        parent_kills: int = 0,
    ) -> list[str]:
        """Run the command on the cluster, killing meanwhile; return the trials it has begun."""
        assert self.cluster is not None
        self.cluster.start()
        self.losses.sessions += 1
        cluster = ("--retries", "2", "--cluster", str(self.cluster.file))
        client = self._start(results, *cluster, *options)
        enemy = threading.Thread(target=self._disturb, args=(client, results))
        enemy.start()
        client.wait(timeout=LONGEST_S)
        enemy.join()
        self.losses.torn_before_healing += self._torn(results)
        # A trial whose host is lost begins again: that is no second run of one that has finished.
        return list(dict.fromkeys(self._ended(client)))

    def _disturb(self, client: subprocess.Popen[bytes], results: Path) -> None:
        """Kill parts at random moments while the client lives."""
        assert self.cluster is not None
        while client.poll() is None and self.left > 0:
            time.sleep(self.generator.uniform(0.0, 3 * self.pace_s))
            victim = self.generator.choice(VICTIMS)
            if not self.killed["scheduler"] and self.left <= 10:
                victim = "scheduler"
            if pids := self._pids(victim, client):
                os.kill(self.generator.choice(pids), signal.SIGKILL)
                self.killed[victim] += 1
                self.left -= 1
            if victim != "scheduler":
                self.cluster.start()

    def _pids(self, victim: str, client: subprocess.Popen[bytes]) -> list[int]:
        assert self.cluster is not None
        nannies = [self.cluster.processes[host].pid for host in HOSTS]
        match victim:
            case "client":
                return [client.pid] if client.poll() is None else []
            case "scheduler":
                return [self.cluster.processes["scheduler"].pid]
            case "nanny":
                return [pid for pid in nannies if is_alive(pid)]
            case "trial":
                return worker_ids(self.token)
        return [pid for pid in family(self.token) if _parent(pid) in nannies and _is_worker(pid)]

    def _rows(self, table: Path) -> list[dict[str, str]]:
        """Return the rows by cell and trial: on a cluster trials end in any order."""
        names = ("benchmark", "backend", "trial", "epoch")
        return sorted(rows(table), key=lambda row: [row.get(name, "") for name in names])

    def _count_orphans(self) -> None:
        """Count trials that are left; the cluster itself stays."""
        deadline_s = time.monotonic() + kill_campaign.GRACE_S
        while (left := worker_ids(self.token)) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        self.losses.orphans += len(left)
        for pid in left:
            os.kill(pid, signal.SIGKILL)


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


def _is_worker(pid: int) -> bool:
    """Whether it is the process of a dask worker, not what multiprocessing has beside it."""
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def main() -> int:
    """Read the options, run the campaign and print its losses as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=100, help="how many parts to kill")
    parser.add_argument("--trials", type=int, default=4, help="trials of each of four cells")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    asked = parser.parse_args()
    kill_campaign.MEASURED |= {"host", "machine", "attempts"}
    with tempfile.TemporaryDirectory(prefix="kill-cluster-") as folder:
        campaign = ClusterCampaign(
            folder=Path(folder), trials=asked.trials, generator=random.Random(asked.seed)
        )
        losses = campaign.run_on_cluster(kills=asked.kills)
    print(json.dumps({"killed": campaign.killed, **asdict(losses)}, indent=2, default=sorted))
    return 0 if losses.is_whole else 1


if __name__ == "__main__":
    sys.exit(main())

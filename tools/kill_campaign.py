"""Kill workers and runs at random moments, go on each time, and count what was lost.

python tools/kill_campaign.py --workers 200 --parents 100

A small suite runs once undisturbed. Then it runs again and again; at random moments a worker is
killed, or the whole run, by SIGKILL, and the next command goes on: ``--resume`` does what is
missing, ``--only-failed`` what failed. Each time all that was recorded before has to be there
still, no trial that has a record may be started again, and no process may be left. In the end the
tables have to be those of the undisturbed run, but for what a clock or a meter says.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchharness.results import journal
from benchharness.results.columns import EPOCH, METRICS

SUITE = """
name = "victim"
trials = {trials}
backends = ["numpy", "other"]

[backend.other]
plugin = "numpy"

[dataset]
source = "drawn"

[[benchmark]]
name = "small"
strategy = "simple_cnn"
image_size = 16
train_images = 24
test_images = 8
filters = [2]
dense = 4
batch_size = 5
epochs = 3

[[benchmark]]
name = "feed"
strategy = "dataset"
image_size = 16
train_images = 24
test_images = 8
"""
# A clock or a meter says these; all others follow from the seed.
MEASURED_UNITS = {"s", "ms", "images/s", "bytes", "FLOP/s", "cores", "J", "MHz"}
MEASURED = {
    *(column.name for column in (*METRICS, *EPOCH) if column.unit in MEASURED_UNITS),
    *("input_wait_fraction", "outside_fraction", "device_utilization", "fraction_of_peak"),
    *("throttled", "started"),
}
# What the kernel needs to end processes that were killed.
GRACE_S = 60.0
LONGEST_S = 300.0


@dataclass(slots=True)
class Losses:
    """What the campaign has done, and what must be zero."""

    workers_killed: int = 0
    parents_killed: int = 0
    runs: int = 0
    sessions: int = 0
    finished: int = 0
    torn_before_healing: int = 0
    finished_lost: int = 0
    torn_lines: int = 0
    run_twice: int = 0
    orphans: int = 0
    tables_unlike: int = 0
    unlike: set[str] = field(default_factory=set)

    @property
    def is_whole(self) -> bool:
        """Whether nothing was lost, torn, done twice, left behind or changed."""
        return not any(
            (
                self.finished_lost,
                self.torn_lines,
                self.run_twice,
                self.orphans,
                self.tables_unlike,
            )
        )


@dataclass(slots=True)
class Campaign:
    """A suite, a folder, and a generator of random moments.

    Attributes:
        pace_s: About as long as a trial takes; kills fall within some of these.
    """

    folder: Path
    trials: int
    generator: random.Random
    pace_s: float = 3.0
    losses: Losses = field(default_factory=Losses)
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    def __post_init__(self) -> None:
        (self.folder / "victim.toml").write_text(SUITE.format(trials=self.trials))

    def run(self, *, workers: int, parents: int) -> Losses:
        """Kill so many, and return what was lost."""
        losses, calm = self.losses, self.folder / "calm"
        began_s = time.monotonic()
        self._session(calm, disturbed=False)
        self.pace_s = (time.monotonic() - began_s) / (4 * self.trials)
        while losses.workers_killed < workers or losses.parents_killed < parents:
            results = self.folder / f"run{losses.runs}"
            while not self._is_done(results):
                self._step(results, workers=workers, parents=parents)
            losses.runs += 1
            self._judge(results, calm)
        return losses

    def _step(self, results: Path, *, workers: int, parents: int) -> None:
        """Go on with a run, and kill what is to be killed meanwhile."""
        before = self._records(results)
        is_complete = len(before) == 4 * self.trials
        started = self._session(
            results,
            "--only-failed" if is_complete else "--resume",
            disturbed=True,
            worker_kills=workers - self.losses.workers_killed,
            parent_kills=parents - self.losses.parents_killed,
        )
        after = self._records(results)
        had = {trial for trial, status in before.items() if status == "ok" or not is_complete}
        self.losses.run_twice += len(had & set(started))
        self.losses.run_twice += sum(count > 1 for count in Counter(started).values())
        self.losses.finished_lost += len(set(before) - set(after))
        # A trial that was ok stays so.
        self.losses.finished_lost += sum(
            status == "ok" and after.get(trial) != "ok" for trial, status in before.items()
        )

    def _session(
        self,
        results: Path,
        *options: str,
        disturbed: bool,
        worker_kills: int = 0,
        parent_kills: int = 0,
    ) -> list[str]:
        """Run the command, killing meanwhile; return the trials that it has begun."""
        self.losses.sessions += disturbed
        process = self._start(results, *options)
        enemy = threading.Thread(target=self._hunt, args=(process, worker_kills))
        if disturbed and worker_kills > 0:
            enemy.start()
        if disturbed and parent_kills > 0:
            self._kill_parent(process)
        process.wait(timeout=LONGEST_S)
        if enemy.ident is not None:
            enemy.join()
        if disturbed:
            self.losses.torn_before_healing += self._torn(results)
        return self._ended(process)

    def _start(self, results: Path, *options: str) -> subprocess.Popen[bytes]:
        """Start the command."""
        with (
            (self.folder / "events.jsonl").open("wb") as events,
            (self.folder / "errors.txt").open("ab") as errors,
        ):
            return subprocess.Popen(
                [
                    *(sys.executable, "-m", "benchharness", "run", "victim.toml", "--json"),
                    *("--no-proof", "--results", str(results), *options),
                ],
                cwd=self.folder,
                env={**os.environ, "KILL_CAMPAIGN": self.token},
                stdout=events,
                stderr=errors,
            )

    def _ended(self, process: subprocess.Popen[bytes]) -> list[str]:
        """Count what a command that has ended left behind; return the trials it has begun."""
        require_understood(process, self.folder)
        self._count_orphans()
        return [
            event["trial_id"]
            for line in (self.folder / "events.jsonl").read_text().splitlines()
            if line.endswith("}") and (event := json.loads(line))["event"] == "trial_started"
        ]

    def _kill_parent(self, process: subprocess.Popen[bytes]) -> None:
        # The first seconds are those of starting and reading data, a trial takes about as long.
        moment_s = self.generator.uniform(0.0, 4 * self.pace_s)
        try:
            process.wait(timeout=moment_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            self.losses.parents_killed += 1

    def _hunt(self, process: subprocess.Popen[bytes], kills: int) -> None:
        """Kill workers of a run, each at a random moment of its life, while there are any."""
        spared: set[int] = set()
        while process.poll() is None and kills > 0:
            for pid in worker_ids(self.token):
                if pid in spared:
                    continue
                spared.add(pid)
                time.sleep(self.generator.uniform(0.0, self.pace_s))
                if is_alive(pid):
                    os.kill(pid, signal.SIGKILL)
                    self.losses.workers_killed += 1
                    kills -= 1
            time.sleep(0.02)

    def _count_orphans(self) -> None:
        deadline_s = time.monotonic() + GRACE_S
        while (left := family(self.token)) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        self.losses.orphans += len(left)
        for pid in left:
            os.kill(pid, signal.SIGKILL)

    def _records(self, results: Path) -> dict[str, str]:
        """Return the status of each recorded trial, as a reader finds it."""
        path = results / "victim/latest/records.jsonl"
        if not path.exists():
            return {}
        records, _ = journal.read(path)
        return {record["id"]: record["status"] for record in records}

    def _torn(self, results: Path) -> int:
        path = results / "victim/latest/records.jsonl"
        return len(journal.read(path)[1]) if path.exists() else 0

    def _rows(self, table: Path) -> list[dict[str, str]]:
        return list(rows(table))

    def _is_done(self, results: Path) -> bool:
        statuses = self._records(results)
        return len(statuses) == 4 * self.trials and set(statuses.values()) == {"ok"}

    def _judge(self, results: Path, calm: Path) -> None:
        """Compare a finished run with the undisturbed one."""
        path = results / "victim/latest/records.jsonl"
        records, problems = journal.read(path)
        self.losses.torn_lines += len(problems)
        ok = Counter(record["id"] for record in records if record["status"] == "ok")
        self.losses.finished += len(ok)
        self.losses.run_twice += sum(count > 1 for count in ok.values())
        report = [sys.executable, "-m", "benchharness", "report", str(path.parent)]
        subprocess.run(report, check=True, cwd=self.folder, capture_output=True)
        for table in ("trials.csv", "epochs.csv"):
            own, other = (self._rows(where / "victim/latest" / table) for where in (results, calm))
            self.losses.tables_unlike += own != other
            self.losses.unlike |= {
                f"{table}: {name}"
                for ours, theirs in zip(own, other, strict=False)
                for name in ours
                if ours[name] != theirs.get(name)
            }


def require_understood(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Stop the campaign where a run is refused, as when the code was changed meanwhile."""
    if process.returncode == 2:
        last = (folder / "errors.txt").read_text().splitlines()[-1]
        raise RuntimeError(f"the run is refused, and would be forever: {last}")


def rows(table: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a table without what a clock or a meter says."""
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield {name: _rounded(value) for name, value in row.items() if name not in MEASURED}


def _rounded(value: str) -> str:
    """Return a number to five digits: sums of matrix products differ in the last by alignment."""
    try:
        return f"{float(value):.4e}" if "." in value else value
    except ValueError:
        return value


def family(token: str) -> list[int]:
    """Return the living processes whose environment has the campaign's token."""
    wanted = f"KILL_CAMPAIGN={token}".encode()
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if wanted in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
            except OSError:
                continue
    return found


def worker_ids(token: str) -> list[int]:
    """Return those of the family that carry out a trial."""
    found = []
    for pid in family(token):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"benchharness.worker" in words:
            found.append(pid)
    return found


def is_alive(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def main() -> int:
    """Read the options, run the campaign and print its losses as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--workers", type=int, default=200, help="how many workers to kill")
    parser.add_argument("--parents", type=int, default=100, help="how many runs to kill")
    parser.add_argument("--trials", type=int, default=4, help="trials of each of four cells")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kill-campaign-") as folder:
        campaign = Campaign(
            folder=Path(folder), trials=asked.trials, generator=random.Random(asked.seed)
        )
        losses = campaign.run(workers=asked.workers, parents=asked.parents)
    print(json.dumps(asdict(losses), indent=2, default=sorted))
    return 0 if losses.is_whole else 1


if __name__ == "__main__":
    sys.exit(main())

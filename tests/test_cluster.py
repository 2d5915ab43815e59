"""Runs on a cluster: a real scheduler, and workers that are hosts of their own."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from clusters import (
    Cluster,
    cluster_of,
    records,
    run,
    start_run,
    trials_at_work,
    wait_until_trial_runs,
    write_suite,
)
from documents import blocks
from kill_campaign import MEASURED
from local_processes import wait_for

from benchharness.cli import cli
from benchharness.cluster import host as on_host
from benchharness.cluster import session as cluster_session
from benchharness.cluster.connection import job_options, read_cluster_file
from benchharness.cluster.host import HostSetup
from benchharness.cluster.runner import ClusterRunner
from benchharness.errors import CancelledError, RunError
from benchharness.exit_codes import exit_code
from benchharness.results.cells import cells_of
from benchharness.results.comparisons import comparisons_of
from benchharness.results.run_folder import RunFolder
from benchharness.run.events import unobserved
from benchharness.run.locks import lock_file
from benchharness.run.options import RunOptions

distributed = pytest.importorskip("distributed")
pytestmark = [pytest.mark.full, pytest.mark.slow]

# Epochs of a trial that takes a few seconds.
LONG = 150


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Yield a cluster of three hosts, two of which are of another kind."""
    folder = tmp_path_factory.mktemp("cluster")
    with cluster_of(folder, {"a": "fast", "b": "slow", "c": "slow"}) as started:
        yield started


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Cluster]:
    """Yield a cluster of two hosts of one kind, which a test may kill."""
    with cluster_of(tmp_path / "hosts", {"a": "kind", "b": "kind"}) as started:
        yield started


def span(record: dict[str, Any]) -> tuple[datetime, datetime]:
    """Return when a trial began and ended."""
    began = datetime.fromisoformat(record["started"])
    return began, began + timedelta(seconds=record["metrics"]["wall_s"])


def rows(folder: Path) -> list[dict[str, str]]:
    """Return the rows of trials.csv without what is measured, and where."""
    with (folder / "results/tiny/latest/trials.csv").open(newline="") as file:
        return sorted(
            (
                {
                    name: value
                    for name, value in row.items()
                    if name not in MEASURED | {"host", "machine"}
                }
                for row in csv.DictReader(file)
            ),
            key=repr,
        )


def test_a_run_on_hosts_is_the_run_on_this_machine(cluster: Cluster, tmp_path: Path) -> None:
    """Records are the same but for what is measured; no two trials overlap on a host."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        write_suite(folder, trials=2)

    run(here)
    said = run(there, "--cluster", str(cluster.file))

    assert rows(there) == rows(here)
    done = records(there)
    assert len({record["id"] for record in done}) == 8
    # Whichever host was first.
    assert [record["benchmark"] for record in done] == ["small"] * 4 + ["feed"] * 4
    by_host = defaultdict(list)
    for record in done:
        by_host[record["host"]].append(span(record))
    for spans in by_host.values():
        ordered = sorted(spans)
        assert all(end <= began for (_, end), (began, _) in pairwise(ordered))
    # All backends of a repetition run on one host, all repetitions on one kind of machine.
    repetitions = Counter((r["benchmark"], r["trial"], r["host"]) for r in done)
    assert set(repetitions.values()) == {2}
    kinds = {(r["benchmark"], r["machine"]) for r in done}
    assert len(kinds) == len({benchmark for benchmark, _ in kinds})
    named = {"a": "fast", "b": "slow", "c": "slow"}
    assert all(named[record["host"]] == record["machine"] for record in done)
    # Who does what is said while it happens, and what each has printed is kept here.
    assert f", host {done[0]['host']}, trial" in said
    assert all((there / "results/tiny/latest" / r["log"]).exists() for r in done if r["log"])
    described = RunFolder.open(there / "results/tiny/latest").read_run()["hosts"]
    assert {name: host["machine"] for name, host in described.items()} == named
    # Nothing of the run is left on the hosts.
    assert not [*cluster.folder.glob("cache-*/cluster/*")]


def test_equal_work_is_proven_for_each_kind_of_machine(cluster: Cluster, tmp_path: Path) -> None:
    """Arithmetic depends on the machine: a certificate of another kind proves nothing."""
    write_suite(tmp_path, trials=1)

    said = run(tmp_path, "--proof", "--cluster", str(cluster.file))

    folder = tmp_path / "results/tiny/latest"
    certificates = json.loads((folder / "certificate.json").read_text())["certificates"]
    assert Counter(c["machine"] for c in certificates) == {"fast": 2, "slow": 2}
    assert {record["proof"] for record in records(tmp_path)} == {"proven"}
    assert "proving equal work on a: fast" in said
    verified = CliRunner().invoke(cli, ["verify", str(folder)], standalone_mode=False)
    assert verified.return_value == 0, verified.output


def test_heads_travel_to_the_hosts_that_build_on_them(cluster: Cluster, tmp_path: Path) -> None:
    """A fine-tuning starts from the head that another host may have trained."""
    suite = write_suite(tmp_path, trials=1)
    suite.write_text(
        suite.read_text().replace("image_size = 16", "image_size = 32")
        + '[[benchmark]]\nname = "head"\nstrategy = "bottleneck"\n'
        'backbone = "vgg_mini"\nweights = "random"\ndense = 4\nepochs = 1\n'
        '[[benchmark]]\nname = "tune"\nstrategy = "fine_tune"\nhead_from = "head"\n'
        'backbone = "vgg_mini"\nweights = "random"\ndense = 4\nepochs = 1\n'
    )

    run(tmp_path, "--cluster", str(cluster.file), "--benchmark", "tune", "--trials", "2")

    tuned = [record for record in records(tmp_path) if record["benchmark"] == "tune"]
    assert [record["status"] for record in tuned] == ["ok"] * 4
    assert {record["metrics"]["head_from"] for record in tuned} == {
        "head numpy 1",
        "head numpy 2",
    }


@pytest.mark.parametrize("retries", [0, 1])
def test_a_lost_host_costs_the_trial_in_hand(hosts: Cluster, tmp_path: Path, retries: int) -> None:
    """It is repeated on another host where retries are left, else a row names the host."""
    write_suite(tmp_path, trials=2, epochs=LONG)
    process = start_run(tmp_path, "--cluster", str(hosts.file), "--retries", str(retries))
    wait_until_trial_runs(hosts.folder / "cache-a")

    hosts.remove("a")
    out, err = process.communicate(timeout=1200)

    done = records(tmp_path)
    failed = [record for record in done if record["status"] != "ok"]
    assert len(done) == 8
    assert process.returncode == (0 if retries else 1), out + err
    if retries:
        (repeated,) = [record for record in done if record["attempts"]]
        assert repeated["attempts"][0]["reason"] == "host a was lost during the trial"
        assert repeated["host"] == "b"
        assert not failed
    else:
        (lost,) = failed
        assert (lost["host"], lost["reason"]) == ("a", "host a was lost during the trial")
    # No trial outlives its host.
    assert not trials_at_work(hosts.folder)


def test_a_host_that_is_told_to_end_is_lost_too(hosts: Cluster, tmp_path: Path) -> None:
    """A job whose time is up ends its worker in order, and the trial in hand with it."""
    write_suite(tmp_path, trials=2, epochs=LONG)
    process = start_run(tmp_path, "--cluster", str(hosts.file))
    wait_until_trial_runs(hosts.folder / "cache-a")

    hosts.stop("a")
    _, err = process.communicate(timeout=1200)

    (lost,) = [record for record in records(tmp_path) if record["status"] != "ok"]
    assert (lost["host"], lost["reason"]) == ("a", "host a was lost during the trial")
    assert "is left out" not in err
    assert not trials_at_work(hosts.folder)


def test_a_host_is_not_inspected_while_it_times_a_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding images takes the processor; whoever no longer waits is not served afterwards."""
    monkeypatch.setenv("BENCHHARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BENCHHARNESS_HOST", tmp_path.name)
    asked: list[bool] = [False, False, True]
    monkeypatch.setattr(on_host, "is_cancelled", lambda: asked.pop(0))
    setup = HostSetup(
        run="run", suite="", options=RunOptions(suite=write_suite(tmp_path, trials=1))
    )
    lock = lock_file(f"host-{tmp_path.name}")

    # Another process, as a lock does not exclude its own.
    words = "import sys; from pathlib import Path; from benchharness.locks import Lock; "
    words += "lock = Lock.acquire(Path(sys.argv[1])); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", words, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(CancelledError):
            on_host.inspect(setup)

    assert not asked
    assert not (tmp_path / "cache").exists()


def test_a_host_that_comes_later_takes_part(hosts: Cluster, tmp_path: Path) -> None:
    """Workers of a batch system come one by one."""
    hosts.remove("a")
    hosts.remove("b")
    write_suite(tmp_path, trials=4, epochs=LONG)
    process = start_run(tmp_path, "--cluster", str(hosts.file))
    assert process.stderr is not None
    assert "waiting for a host" in process.stderr.readline()
    hosts.add("c")
    wait_until_trial_runs(hosts.folder / "cache-c")
    hosts.add("d")

    out, err = process.communicate(timeout=1200)

    assert process.returncode == 0, out + err
    assert {record["host"] for record in records(tmp_path)} == {"c", "d"}


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_ends_is_resumed_and_leaves_nothing_behind(
    hosts: Cluster, tmp_path: Path, ending: signal.Signals
) -> None:
    """Ctrl-C ends the trials on all hosts; so does a client that dies. Nothing runs twice."""
    write_suite(tmp_path, trials=2, epochs=LONG)
    process = start_run(tmp_path, "--cluster", str(hosts.file))
    wait_for(lambda: len(records(tmp_path)) >= 2)

    process.send_signal(ending)
    process.communicate(timeout=1200)

    assert process.returncode == (130 if ending == signal.SIGINT else -signal.SIGKILL)
    wait_for(lambda: not trials_at_work(hosts.folder))
    before = {record["id"]: record["started"] for record in records(tmp_path)}
    run(tmp_path, "--cluster", str(hosts.file), "--resume")
    after = {record["id"]: record["started"] for record in records(tmp_path)}
    assert len(after) == 8
    assert before.items() <= after.items()


def test_a_scheduler_that_is_gone_ends_the_run_resumably(hosts: Cluster, tmp_path: Path) -> None:
    """Finished trials are kept, and the reason is said."""
    write_suite(tmp_path, trials=2, epochs=LONG)
    process = start_run(tmp_path, "--cluster", str(hosts.file))
    wait_for(lambda: len(records(tmp_path)) >= 1)

    hosts.scheduler.kill()
    _, err = process.communicate(timeout=1200)

    assert process.returncode == 1
    assert "the connection to the scheduler is lost; finished trials are saved" in err
    assert "Traceback" not in err
    assert records(tmp_path)
    wait_for(lambda: not trials_at_work(hosts.folder))


def test_a_host_that_would_do_something_else_is_left_out(hosts: Cluster, tmp_path: Path) -> None:
    """It is named with what differs, before the first trial; doctor says so too."""
    hosts.add("odd", OMP_NUM_THREADS="3")
    wait_for(lambda: len(hosts.workers) == 3)
    write_suite(tmp_path, trials=1)

    # The worker may not have joined when the run begins, so that doctor asks until it has.
    def doctor() -> str:
        result = CliRunner().invoke(
            cli,
            ["doctor", str(tmp_path / "tiny.toml"), "--cluster", str(hosts.file), "--json"],
            env={"BENCHHARNESS_CACHE": str(tmp_path / "cache")},
        )
        return result.output

    wait_for(lambda: '"odd"' in doctor())
    checks = doctor()
    said = run(tmp_path, "--cluster", str(hosts.file))

    different = "OMP_NUM_THREADS: expected none, found 3"
    assert different in checks
    assert f"WARNING: odd is left out: {different}" in said
    assert "odd" not in {record["host"] for record in records(tmp_path)}
    for host in ("a", "b"):
        hosts.remove(host)
    alone = run(tmp_path, "--cluster", str(hosts.file), code=1)
    assert f"no host can carry out this run: odd: {different}" in alone


def test_processes_of_this_machine_are_a_cluster(tmp_path: Path) -> None:
    """One trial at a time runs on them, as they are on one host; all are gone afterwards."""
    write_suite(tmp_path, trials=2)

    run(tmp_path, "--cluster", "local:2", BENCHHARNESS_HOST="here")

    spans = sorted(map(span, records(tmp_path)))
    assert len(spans) == 8
    assert all(end <= began for (_, end), (began, _) in pairwise(spans))
    assert {record["host"] for record in records(tmp_path)} == {"here"}


def test_workers_that_share_a_host_are_hosts_of_their_own(tmp_path: Path) -> None:
    """Each has its own order of trials, in which those of a repetition are neighbours."""
    write_suite(tmp_path, trials=2)

    run(tmp_path, "--cluster", "local:2", "--share-host", BENCHHARNESS_HOST="here")

    done = records(tmp_path)
    assert len({record["host"] for record in done}) == 2
    assert all(record["host"].startswith("here ") for record in done)
    assert [len(c.couples) for c in comparisons_of(cells_of(done))] == [2, 2]


def test_variables_that_the_user_has_set_everywhere_are_no_difference(
    hosts: Cluster, tmp_path: Path
) -> None:
    """Also where dask would set the same."""
    for host in ("a", "b"):
        hosts.remove(host)
    hosts.add("c", OMP_NUM_THREADS="1")
    write_suite(tmp_path, trials=1)

    said = run(tmp_path, "--cluster", str(hosts.file), OMP_NUM_THREADS="1")

    assert "left out" not in said
    assert {record["host"] for record in records(tmp_path)} == {"c"}


def test_a_worker_without_benchharness_is_left_out(hosts: Cluster, tmp_path: Path) -> None:
    """It is named; the others carry out the run."""
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/sitecustomize.py").write_text(
        "import sys; sys.modules['benchharness'] = None"
    )
    hosts.add("bare", PYTHONPATH=str(tmp_path / "hidden"))
    wait_for(lambda: workers_of(hosts) == 3)
    write_suite(tmp_path, trials=1)

    said = run(tmp_path, "--cluster", str(hosts.file))

    assert re.search(r"WARNING: tcp\S+ is left out: ModuleNotFoundError", said)
    assert {record["host"] for record in records(tmp_path)} <= {"a", "b"}


def workers_of(cluster: Cluster) -> int:
    """Return how many workers have joined."""
    with distributed.Client(scheduler_file=str(cluster.file), set_as_default=False) as client:
        return len(client.scheduler_info(n_workers=-1)["workers"])


def test_the_record_of_a_lost_host_says_what_was_proven(hosts: Cluster, tmp_path: Path) -> None:
    """As those of other trials do, so that everything follows."""
    write_suite(tmp_path, trials=2, epochs=LONG)
    process = start_run(tmp_path, "--proof", "--cluster", str(hosts.file))
    # Its first trial is over, and it is at the other backend's.
    wait_for(lambda: "a" in {record["host"] for record in records(tmp_path)})
    wait_until_trial_runs(hosts.folder / "cache-a")
    hosts.remove("a")
    out, err = process.communicate(timeout=1200)

    assert process.returncode == 1, out + err
    (lost,) = [record for record in records(tmp_path) if record["status"] != "ok"]
    assert lost["proof"] == "proven"
    folder = str(tmp_path / "results/tiny/latest")
    verified = CliRunner().invoke(cli, ["verify", folder], standalone_mode=False)
    assert verified.return_value == 0, verified.output


def test_certificates_of_kinds_that_are_gone_are_kept(tmp_path: Path) -> None:
    """A resumed run has records that build on them."""
    folder = RunFolder(path=tmp_path)
    folder.write_run({"hosts": {"a": {"machine": "slow"}}})
    folder.write_certificates({"certificates": [{"machine": "slow"}, {"machine": "fast"}]})
    made = {"fast": {"certificates": [{"benchmark": "new"}]}}
    runner: Any = SimpleNamespace(
        folder=folder, hosts=SimpleNamespace(usable={}, certificates=made)
    )

    ClusterRunner._describe_hosts(runner)

    assert folder.read_certificates()["certificates"] == [
        {"machine": "slow"},
        {"benchmark": "new", "machine": "fast"},
    ]


@pytest.mark.parametrize(
    ("recorded", "wanted"),
    [("CPUs of a cluster", "cpu"), ("GPUs of a cluster", "cuda"), ("AMD EPYC", "auto")],
)
def test_a_resumed_run_has_the_device_that_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: str, wanted: str
) -> None:
    """Whatever hosts there are now."""
    place = tmp_path / "results/tiny/2026-01-01T000000Z-0000"
    place.mkdir(parents=True)
    (place / "records.jsonl").touch()
    RunFolder(path=place).write_run({"suite": "tiny", "device": recorded})
    asked = list[str]()

    def choose(client: Any, device: str, observe: Any) -> None:
        asked.append(device)
        raise RunError("enough")

    monkeypatch.setattr(cluster_session, "choose_cluster_device", choose)
    options = RunOptions(
        suite=write_suite(tmp_path, trials=1), results=tmp_path / "results", resume=place
    )

    with pytest.raises(RunError, match="enough"):
        cluster_session._open_session(None, options, unobserved)

    assert asked == [wanted]


def test_looks_decide_on_a_cluster_too(cluster: Cluster, tmp_path: Path) -> None:
    """A round of trials follows another until each benchmark is decided."""
    write_suite(tmp_path, trials=1)

    run(tmp_path, "--cluster", str(cluster.file), "--trials", "auto", "--max-trials", "4")

    looks = RunFolder.open(tmp_path / "results/tiny/latest").read_run()["looks"]
    trials = Counter(record["benchmark"] for record in records(tmp_path))
    assert {look["benchmark"] for look in looks} == {"small", "feed"}
    assert all(6 <= count <= 8 for count in trials.values())


# What submits a job starts it here: the file it is given, or its standard input.
SUBMIT = """#!{python}
import pathlib, re, subprocess, sys
script = pathlib.Path(sys.argv[-1] if len(sys.argv) > 1 else "/dev/stdin").read_text()
folder = pathlib.Path({folder!r})
(folder / "job.sh").write_text(script)
if condor := re.search("Arguments = .-c '(.*)'.", script):
    script = condor[1].replace("''", "'").replace('""', '"')
process = subprocess.Popen(["bash", "-c", script], stdin=subprocess.DEVNULL,
    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
(folder / "pid").write_text(str(process.pid))
print({answer!r})
"""
CANCEL = """#!{python}
import os, pathlib, signal, sys
pathlib.Path({folder!r}, "cancelled").write_text(sys.argv[-1])
os.killpg(int(pathlib.Path({folder!r}, "pid").read_text()), signal.SIGTERM)
"""
JOBS = """
[cluster]
system = "{system}"
jobs = 1

[cluster.options]
cores = 1
memory = "2GB"
interface = "lo"
{options}
"""


@pytest.mark.parametrize(
    ("system", "programs", "answer", "job", "options", "wanted"),
    [
        (
            "slurm",
            ("sbatch", "scancel"),
            "Submitted batch job 17",
            "17",
            'queue = "gpu"\nwalltime = "00:10:00"\njob_extra_directives = ["--gres=gpu:1"]',
            ["-p gpu", "-n 1", "--cpus-per-task=1", "--mem=2G", "-t 00:10:00", "--gres=gpu:1"],
        ),
        (
            "pbs",
            ("qsub", "qdel"),
            "17.server",
            "17",
            'queue = "gpu"\nwalltime = "00:10:00"\njob_extra_directives = ["-l ngpus=1"]',
            ["#PBS -q gpu", "-l select=1:ncpus=1:mem=1908MB", "walltime=00:10:00", "-l ngpus=1"],
        ),
        (
            "sge",
            ("qsub", "qdel"),
            'Your job 17 ("dask-worker") has been submitted',
            "17",
            'queue = "gpu"\nwalltime = "00:10:00"\nresource_spec = "gpu=1"',
            ["#$ -q gpu", "#$ -l gpu=1", "#$ -l h_rt=00:10:00"],
        ),
        (
            "lsf",
            ("bsub", "bkill"),
            "Job <17> is submitted to queue <gpu>.",
            "17",
            'queue = "gpu"\nwalltime = "00:10"\njob_extra_directives = ["-gpu num=1"]',
            ["#BSUB -q gpu", "#BSUB -n 1", "#BSUB -W 00:10", "#BSUB -gpu num=1"],
        ),
        (
            "htcondor",
            ("condor_submit", "condor_rm"),
            "1 job(s) submitted to cluster 17.",
            "17.0",
            'disk = "1GB"\njob_extra_directives = { request_gpus = "1" }',
            ["MY.DaskWorkerCores = 1", "request_gpus = 1", "Queue"],
        ),
    ],
    ids=["slurm", "pbs", "sge", "lsf", "htcondor"],
)
def test_jobs_of_a_batch_system_carry_out_the_trials(
    tmp_path: Path,
    system: str,
    programs: tuple[str, str],
    answer: str,
    job: str,
    options: str,
    wanted: list[str],
) -> None:
    """The job that dask-jobqueue submits starts a worker, and is cancelled after the run."""
    pytest.importorskip("dask_jobqueue")
    (tmp_path / "bin").mkdir()
    for name, text in zip(programs, (SUBMIT, CANCEL), strict=True):
        program = tmp_path / "bin" / name
        program.write_text(text.format(python=sys.executable, folder=str(tmp_path), answer=answer))
        program.chmod(0o755)
    (tmp_path / "jobs.toml").write_text(JOBS.format(system=system, options=options))
    write_suite(tmp_path, trials=1)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"

    words = ("--cluster", "jobs.toml", "--benchmark", "feed", "--no-proof")
    run(tmp_path, *words, PATH=path, BENCHHARNESS_HOST="node7")

    assert [record["host"] for record in records(tmp_path)] == ["node7"] * 2
    script = (tmp_path / "job.sh").read_text()
    wanted = [*wanted, "distributed.cli.dask_worker", "--nthreads 1 --resources benchharness=1"]
    assert [line for line in wanted if line not in script] == []
    assert (tmp_path / "cancelled").read_text() == job
    pid = (tmp_path / "pid").read_text()
    wait_for(lambda: not Path("/proc", pid).exists() or _is_zombie(pid))


def test_a_run_whose_jobs_are_all_over_ends(tmp_path: Path) -> None:
    """Nobody would come any more; finished trials are kept."""
    pytest.importorskip("dask_jobqueue")
    (tmp_path / "bin").mkdir()
    for name, text in (("sbatch", SUBMIT), ("scancel", CANCEL)):
        program = tmp_path / "bin" / name
        words = {"python": sys.executable, "folder": str(tmp_path), "answer": "job 17"}
        program.write_text(text.format(**words))
        program.chmod(0o755)
    (tmp_path / "jobs.toml").write_text(JOBS.format(system="slurm", options=""))
    write_suite(tmp_path, trials=2, epochs=LONG)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    process = start_run(
        tmp_path,
        "--cluster",
        "jobs.toml",
        PATH=path,
        DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT="1s",
    )
    wait_for(lambda: len(records(tmp_path)) >= 1)

    os.killpg(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    _, err = process.communicate(timeout=1200)

    assert process.returncode == 1
    assert "no host is left; finished trials are saved, --resume runs what is missing" in err
    assert "Traceback" not in err


def _is_zombie(pid: str) -> bool:
    try:
        return Path("/proc", pid, "stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        # It is gone since it was seen.
        return True


def test_the_documented_script_is_what_slurm_gets(tmp_path: Path) -> None:
    """The page shows what dask-jobqueue makes of the page's file."""
    dask_jobqueue = pytest.importorskip("dask_jobqueue")
    (described,) = (block for block in blocks("toml") if block.kind == "cluster")
    (tmp_path / "slurm.toml").write_text(described.text)
    queue = read_cluster_file(tmp_path / "slurm.toml")

    with dask_jobqueue.SLURMCluster(**job_options(queue)) as jobs:
        script = jobs.job_script().splitlines()

    (shown,) = (block.text for block in blocks("text") if "#SBATCH" in block.text)
    assert [line for line in script if line.startswith("#SBATCH")] == [
        line for line in shown.splitlines() if line.startswith("#SBATCH")
    ]
    options = script[-1].partition("--name")[2] or script[-2].partition("--name")[2]
    assert " ".join(options.split()) in " ".join(shown.replace("\\\n", " ").split())


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("echo 'sbatch: error: invalid partition' >&2; exit 1", "sbatch: error: invalid partition"),
        ("", "No such file or directory: 'sbatch'"),
    ],
    ids=["refused", "no such program"],
)
def test_jobs_that_are_not_taken_are_told(tmp_path: Path, program: str, reason: str) -> None:
    """Instead of waiting for their hosts for ever."""
    pytest.importorskip("dask_jobqueue")
    (tmp_path / "bin").mkdir()
    if program:
        (tmp_path / "bin/sbatch").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "bin/sbatch").chmod(0o755)
    (tmp_path / "jobs.toml").write_text(JOBS.format(system="slurm", options=""))
    write_suite(tmp_path, trials=1)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"

    said = run(tmp_path, "--cluster", "jobs.toml", code=1, PATH=path)

    assert "--cluster jobs.toml: a job could not be submitted: " in said
    assert reason in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            "[cluster]\nsystem = 'slurm'",
            ["cluster.jobs: expected a whole number, at least 1"],
        ),
        (
            "[cluster]\nsystem = 'slrum'\njobs = 0",
            ['found "slrum" (did you mean "slurm"?)', "cluster.jobs: expected"],
        ),
        ("[cluster]\nsystem = 'pbs'\njobs = 1\nqueue = 'x'", ["queue: expected a known key"]),
        ("jobs = 1", ["cluster: expected a table"]),
        (
            "[cluster]\nsystem = 'slurm'\njobs = 1\n[cluster.options]\ncorse = 1",
            ["cluster.options: expected arguments of dask_jobqueue.SLURMCluster, found Got"],
        ),
    ],
)
def test_a_cluster_file_is_answered_with_every_problem(
    tmp_path: Path, text: str, problems: list[str]
) -> None:
    """Key, what was expected, what was found; exit 2, and nothing is submitted."""
    pytest.importorskip("dask_jobqueue")
    (tmp_path / "cluster.toml").write_text(text)
    write_suite(tmp_path, trials=1)

    said = run(tmp_path, "--cluster", "cluster.toml", code=2)

    assert [problem for problem in problems if problem not in said] == []
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("module", "address"), [("distributed", "local:1"), ("dask_jobqueue", "cluster.toml")]
)
def test_without_the_extra_the_command_that_installs_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, address: str
) -> None:
    """Before anything is read or run."""
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "cluster.toml").write_text("[cluster]\nsystem = 'slurm'\njobs = 1")
    monkeypatch.chdir(tmp_path)
    write_suite(tmp_path, trials=1)

    done = CliRunner().invoke(cli, ["run", "tiny.toml", "--cluster", address])

    assert done.exception is not None
    assert exit_code(done.exception) == 2
    assert 'pip install "benchharness[cluster]"' in str(done.exception)


def test_an_address_without_a_scheduler_is_refused(tmp_path: Path) -> None:
    """The file that a scheduler writes is there before it is; so is a name that is wrong."""
    write_suite(tmp_path, trials=1)

    said = run(tmp_path, "--cluster", "nowhere.json", code=2)

    assert "--cluster: expected the file of a running dask scheduler" in said
    assert "Traceback" not in said

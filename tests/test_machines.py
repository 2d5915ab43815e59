"""Machines as people have them: no home, closed streams, file systems that lack something.

Mounts and other users are real where root may make them. What no mount here can show, a file
system without links or without locks, is a call that answers as such a one does.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from results_records import record

from benchharness.download.caches import cache_folder
from benchharness.errors import RunError
from benchharness.locks import Lock, LockedError, locked
from benchharness.measure.git import describe_commit
from benchharness.results import journal
from benchharness.results.run_folder import LATEST, find_run, runs_of
from benchharness.run.locks import lock_gpu

pytestmark = pytest.mark.slow

SUITE = """
name = "tiny"
trials = 1
backends = ["{backend}"]
[dataset]
source = "drawn"
[[benchmark]]
name = "small"
strategy = "simple_cnn"
image_size = 16
train_images = 12
test_images = 4
filters = [2]
dense = 4
batch_size = 5
epochs = 1
"""
RUN = "run tiny.toml --no-proof"
# What a file system answers, put in place of the call.
NO_LINKS = """
import errno, os
def refuse(*arguments, **others):
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))
os.symlink = refuse
"""
NO_LOCKS = """
import errno, fcntl, os
def refuse(descriptor, operation):
    raise OSError(errno.{name}, os.strerror(errno.{name}))
fcntl.flock = refuse
"""
HOLD = """
import sys
from pathlib import Path
from benchharness.locks import Lock
lock = Lock.acquire(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.readline()
"""
STRANGER = (
    "setpriv --reuid 54321 --regid 54321 --clear-groups "
    # Reads the tests' Python wherever it is; writes nowhere.
    "--inh-caps=+dac_read_search --ambient-caps=+dac_read_search"
)


@pytest.fixture
def desk() -> Iterator[Path]:
    """A folder that everybody may use, with a suite in it."""
    folder = Path(tempfile.mkdtemp(prefix="benchharness-desk-"))
    folder.chmod(0o777)
    (folder / "tiny.toml").write_text(SUITE.format(backend="numpy"), encoding="utf-8")
    yield folder
    shutil.rmtree(folder)


def shell(desk: Path, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a folder; ``bh`` in it is benchharness."""
    program = shlex.join([sys.executable, "-m", "benchharness"])
    return subprocess.run(
        ["bash", "-c", script.replace("bh ", f"{program} ")],
        cwd=desk,
        env={**os.environ, "BENCHHARNESS_CACHE": str(desk / "cache"), **variables},
        capture_output=True,
        text=True,
        timeout=900,
    )


def stands_in(desk: Path, source: str) -> dict[str, str]:
    """Return the variables of a Python whose system calls answer as that source has it."""
    folder = desk / "stand-in"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(source, encoding="utf-8")
    return {"PYTHONPATH": str(folder)}


def require(command: str) -> None:
    """Skip where a command is not permitted."""
    if subprocess.run(["bash", "-c", command], capture_output=True).returncode:
        pytest.skip(f"not permitted here: {command}")


def assert_whole(done: subprocess.CompletedProcess[str], results: Path) -> None:
    """Exit code 0, the table on standard output, and a record that is ok."""
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "small" in done.stdout and "records, CSV files and logs: " in done.stdout
    records, problems = find_run(Path("tiny"), results).records()
    assert ([one["status"] for one in records], problems) == (["ok"], [])


class TestHome:
    """Where the user has no home folder, or one that nobody can write."""

    def test_an_unknown_user_without_a_home_has_table_and_report(self, desk: Path):
        """No HOME, no entry in the password file, nothing else in the environment."""
        require(f"{STRANGER} true")
        strange = f"{STRANGER} env -i PATH=$PATH TMPDIR={desk} bh "

        done = shell(desk, strange + RUN)
        listed = shell(desk, strange + "list")
        again = shell(desk, strange + "report tiny")

        assert_whole(done, desk / "results")
        (told,) = [line for line in done.stderr.splitlines() if "BENCHHARNESS_CACHE" in line]
        assert "are kept in " in told and "nothing written" not in done.stderr
        assert (find_run(Path("tiny"), desk / "results").path / "report.html").is_file()
        assert (listed.returncode, again.returncode) == (0, 0)

    def test_a_container_that_is_read_only_but_for_one_folder(self, desk: Path):
        """The home folder is there and read-only; colours and any language but C are off."""
        require("unshare -m true")
        mount = f"mount --bind {desk} {desk} && mount -o remount,bind,ro / && cd {desk}"
        home = f"HOME=/root TMPDIR={desk}"
        without = "env -u BENCHHARNESS_CACHE -u BENCHHARNESS_NO_PLUGIN"
        run = f"! touch ~/probe && {without} {home} NO_COLOR=1 LC_ALL=C bh {RUN}"

        done = shell(desk, f"unshare -m bash -c {shlex.quote(f'{mount} && {run}')}")

        assert_whole(done, desk / "results")
        assert (
            f"cannot be written: downloads and prepared images are kept in {desk}/" in done.stderr
        )
        assert "\x1b" not in done.stdout + done.stderr

    @pytest.mark.parametrize("home", ["file", "file/below", "nowhere"])
    def test_a_home_that_is_no_folder_gives_a_temporary_cache(
        self, tmp_path: Path, monkeypatch, caplog, home: str
    ):
        """Told once; one that is only missing is made, as ever."""
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("HOME", str(tmp_path / home))
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

        found = {cache_folder({}) for _ in range(2)}

        if home == "nowhere":
            assert found == {tmp_path / "nowhere/.cache/benchharness"}
        else:
            assert found == {tmp_path / f"benchharness-{os.getuid()}"}
            assert caplog.text.count("BENCHHARNESS_CACHE names a folder that stays") == 1

    def test_a_temporary_cache_that_somebody_else_prepared_is_not_used(
        self, tmp_path: Path, monkeypatch
    ):
        """Where everybody writes, a folder that others may write can hold anything."""
        (tmp_path / f"benchharness-{os.getuid()}").mkdir()
        (tmp_path / f"benchharness-{os.getuid()}").chmod(0o777)
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("HOME", str(tmp_path / "file"))
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

        found = cache_folder({})

        assert found.parent == tmp_path
        assert found.stat().st_mode & 0o777 == 0o700

    def test_a_tilde_is_the_home_folder_wherever_a_path_is_named(self, desk: Path):
        """In options that the shell leaves alone, and in variables."""
        home = desk / "home"
        for name, colour in (("cats", "red"), ("dogs", "blue")):
            (home / "pets/train" / name).mkdir(parents=True)
            for number in range(8):
                _picture(home / f"pets/train/{name}/{number}.png", colour, number)
        suite = (desk / "tiny.toml").read_text().replace('"drawn"', '"folder"')
        (desk / "tiny.toml").write_text(suite)
        variables = {"HOME": str(home), "BENCHHARNESS_CACHE": "~/cache"}

        named = shell(desk, f"bh {RUN} --data='~/pets' --results='~/one'", **variables)
        found = shell(desk, f"bh {RUN} --results='~/two'", BENCHHARNESS_DATA="~/pets", **variables)

        assert_whole(named, home / "one")
        assert_whole(found, home / "two")
        assert (home / "cache/prepared").is_dir()
        assert not list(desk.glob("~*"))


def _picture(path: Path, colour: str, number: int) -> None:
    from PIL import Image

    image = Image.new("RGB", (16, 16), colour)
    image.putpixel((number, number), (0, 255, 0))
    image.save(path)


class TestStreams:
    """Whoever starts a run may have closed what it prints to."""

    def test_a_run_without_standard_streams_has_whole_files(self, desk: Path):
        """No file takes a closed stream's number, so nothing is printed into a record."""
        done = shell(desk, f"bh {RUN} <&- >&- 2>&-")

        run = find_run(Path("tiny"), desk / "results")
        assert done.returncode == 0
        assert [one["status"] for one in run.records()[0]] == ["ok"]
        assert (run.path / "records.jsonl").read_bytes().count(b"\n") == 1
        assert json.loads((run.path / "run.json").read_text())["suite"] == "tiny"
        assert (run.path / "trials.csv").read_text().startswith("benchmark,")

    @pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
    def test_each_stream_may_be_missing_alone(self, desk: Path, closed: str):
        """Reading, printing, or telling of errors."""
        done = shell(desk, f"bh list {closed}")

        assert done.returncode == 0
        assert ("backends" in done.stdout) == (closed != ">&-")


class TestReports:
    """What cannot be drawn takes nothing from what was measured."""

    def test_a_chart_that_fails_hides_neither_table_nor_exit_code(self, desk: Path):
        """A library that is installed and broken, as without fonts or a display."""
        folder = desk / "broken"
        folder.mkdir()
        (folder / "vl_convert.py").write_text("raise OSError('no fonts here')")

        done = shell(desk, f"bh {RUN}", PYTHONPATH=str(folder), BENCHHARNESS_NO_PLUGIN="")

        assert_whole(done, desk / "results")
        if "not installed" not in done.stderr:
            assert "nothing written: OSError: no fonts here" in done.stderr

    def test_a_run_that_cannot_be_written_is_still_shown(self, desk: Path):
        """Its tables and its report are left as they are."""
        require("unshare -m true")
        shell(desk, f"bh {RUN}")
        inner = "mount --bind results results && mount -o remount,bind,ro results && bh report tiny"

        done = shell(desk, f"unshare -m bash -c {shlex.quote(inner)}")

        assert_whole(done, desk / "results")
        assert "warning: " in done.stderr and "Read-only file system" in done.stderr


class TestLatest:
    """A link to the newest run, where there can be one."""

    def test_without_links_a_text_file_names_the_newest_run(self, desk: Path):
        """The run goes on; the file leads to it as the link does."""
        lacking = stands_in(desk, NO_LINKS)
        shell(desk, f"bh {RUN}", **lacking)

        done = shell(desk, f"bh {RUN}", **lacking)
        shown = shell(desk, "bh report results/tiny/latest", COLUMNS="400", **lacking)

        folder = desk / "results/tiny"
        names = sorted(path.name for path in folder.iterdir())
        assert_whole(done, desk / "results")
        assert done.stderr.count("latest: expected to make a link to the newest run") == 1
        assert len(names) == 3 and names[-1] == LATEST
        assert (folder / LATEST).read_text().strip() == names[1]
        assert f"{names[1]}" in shown.stdout
        assert [run.name for run in runs_of(folder)] == names[:2]

    def test_a_file_system_without_links_has_whole_runs(self, desk: Path):
        """On a real one, of the kind that sticks and cameras have."""
        require(f"truncate -s 32M {desk}/stick && mkfs.vfat {desk}/stick && mkdir {desk}/results")
        require(f"mount -o loop {desk}/stick {desk}/results")
        try:
            done = shell(desk, f"bh {RUN}")
            names = sorted(path.name for path in (desk / "results/tiny").iterdir())

            assert_whole(done, desk / "results")
            assert len(names) == 2 and names[-1] == LATEST
        finally:
            subprocess.run(["umount", "--lazy", desk / "results"], check=True)

    def test_a_folder_in_its_place_is_left_alone(self, desk: Path):
        """The user's own, with something in it; no run is left behind half made."""
        kept = desk / "results/tiny/latest/mine"
        kept.mkdir(parents=True)

        done = shell(desk, f"bh {RUN}")

        assert_whole(done, desk / "results")
        assert "latest: expected to make a link" in done.stderr
        assert "Is a directory; left unchanged; the run continues" in done.stderr
        assert kept.is_dir()
        assert len(list((desk / "results/tiny").iterdir())) == 2

    def test_a_copy_of_latest_counts_once(self, tmp_path: Path):
        """As cp -rL and many a drive make it: a folder with the newest run's files."""
        suite = tmp_path / "tiny"
        names = ["2026-11-23T120000Z-aaaa", "2026-11-23T120100Z-bbbb"]
        for name in names:
            (suite / name).mkdir(parents=True)
            journal.append(suite / name / "records.jsonl", record(id=name))
        shutil.copytree(suite / names[0], suite / LATEST)

        assert [run.name for run in runs_of(suite)] == names

        shutil.rmtree(suite / names[0])

        assert [run.name for run in runs_of(suite)] == [LATEST, names[1]]


class TestLocks:
    """Held between processes, told where they are waited for, missed nowhere."""

    @pytest.mark.parametrize("name", ["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
    def test_a_file_system_without_locks_is_told_once_and_used(self, desk: Path, name: str):
        """Old lock files, which hold nothing, are in nobody's way."""
        shell(desk, f"bh {RUN}")
        shutil.rmtree(desk / "cache/prepared")
        lacking = stands_in(desk, NO_LOCKS.format(name=name))

        done = shell(desk, f"bh {RUN} --results again", **lacking)
        shown = shell(desk, "bh report tiny", **lacking)

        assert list((desk / "cache/locks").iterdir())
        assert_whole(done, desk / "again")
        assert_whole(shown, desk / "results")
        assert done.stderr.count("has no locks (") == 1
        assert "has no locks" not in shown.stderr

    def test_a_wait_is_told_with_the_holder_and_bounded(self, tmp_path: Path, caplog):
        """After two seconds; what is left in the file of an earlier holder is not believed."""
        file = tmp_path / "a.lock"
        with subprocess.Popen(
            [sys.executable, "-c", HOLD, str(file)], stdin=-1, stdout=-1, text=True
        ) as other:
            assert other.stdout.readline() == "held\n"
            with caplog.at_level(logging.WARNING), pytest.raises(LockedError) as refusal:
                Lock.acquire(file, longest_s=6)
            other.stdin.write("\n")
            other.stdin.flush()
            Lock.acquire(file, longest_s=60).release()

        assert f"waiting for process {other.pid} (" in caplog.records[0].message
        assert str(file) in caplog.records[0].message
        assert f"locked by process {other.pid} (" in str(refusal.value)
        assert "for more than 6 s; wait for that process, or end it" in str(refusal.value)

    def test_a_run_tells_whom_it_waits_for_and_goes_on(self, desk: Path):
        """The announcement is among the others, on standard error."""
        shell(desk, f"bh {RUN}")
        shutil.rmtree(desk / "cache/prepared")
        (file,) = (desk / "cache/locks").glob("prepared-*.lock")
        with (
            subprocess.Popen(
                [sys.executable, "-c", HOLD, str(file)], stdin=-1, stdout=-1, text=True
            ) as other,
            (desk / "told").open("w") as told,
        ):
            assert other.stdout.readline() == "held\n"
            run = subprocess.Popen(
                [sys.executable, "-m", "benchharness", *RUN.split(), "--results", "again"],
                cwd=desk,
                env={**os.environ, "BENCHHARNESS_CACHE": str(desk / "cache")},
                stdout=subprocess.DEVNULL,
                stderr=told,
            )
            while "waiting for" not in (desk / "told").read_text():
                assert run.poll() is None, (desk / "told").read_text()
                time.sleep(0.05)
            other.communicate("\n")

        assert run.wait(timeout=900) == 0
        assert f"WARNING: waiting for process {other.pid} (" in (desk / "told").read_text()

    def test_an_old_file_is_no_holder(self, tmp_path: Path):
        """Whatever it says: only the system knows who holds a lock."""
        file = tmp_path / "a.lock"
        file.write_text(f"{os.getppid()} somewhere\n")

        with locked(file, longest_s=0) as is_held:
            assert is_held

    def test_a_gpu_whose_lock_cannot_be_made_is_refused_in_words(self, tmp_path: Path):
        """A container may have no folder for it."""
        with pytest.raises(RunError, match=r"cuda:7: cannot lock .*No such file.*TMPDIR"):
            lock_gpu(7, "cuda:7", folder=tmp_path / "none")


class TestGit:
    """Commits of repositories that others own."""

    @pytest.fixture
    def repository(self, tmp_path: Path, monkeypatch) -> Path:
        """A commit in a folder of another user's; no settings of this machine."""
        if os.getuid() or shutil.which("git") is None:
            pytest.skip("needs git, and root to give a folder to another user")
        for name in [name for name in os.environ if name.startswith(("GIT_", "SUDO_"))]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
        folder = tmp_path / "project"
        folder.mkdir()
        commit = "git -c user.name=a -c user.email=a commit -q --allow-empty -m first"
        subprocess.run(["bash", "-c", f"git init -q && {commit}"], cwd=folder, check=True)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 54321, 54321)
        return folder

    def test_dubious_ownership_is_told_with_gits_advice(self, repository: Path):
        """In run.json in place of the commit."""
        found = describe_commit(repository)

        assert list(found) == ["unknown"]
        assert "detected dubious ownership in repository" in found["unknown"]
        advice = f"git config --global --add safe.directory {repository}"
        assert found["unknown"].endswith(advice)

    def test_trust_that_the_environment_gives_is_kept(self, repository: Path, monkeypatch):
        """As CI systems give it; what points to another repository is not."""
        monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
        monkeypatch.setenv("GIT_CONFIG_KEY_0", "safe.directory")
        monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(repository))
        monkeypatch.setenv("GIT_DIR", str(repository / "nowhere"))

        found = describe_commit(repository)

        assert len(found["id"]) == 40 and found["is_dirty"] is False

    def test_a_run_outside_of_any_repository_says_so(self, desk: Path):
        """The reason is in run.json."""
        shell(desk, f"bh {RUN}")

        run = find_run(Path("tiny"), desk / "results").read_run()

        assert "not a git repository" in run["commit"]["unknown"]


@pytest.mark.full
def test_a_loader_without_shared_memory_ends_its_trial_with_its_words(desk: Path):
    """On a real /dev/shm of 1 MB: told before the trial, and no wait without end."""
    require("unshare -m mount -t tmpfs -o size=1m none /dev/shm")
    feed_files(desk, epochs=2)
    inner = f"mount -t tmpfs -o size=1m none /dev/shm && bh doctor tiny.toml; bh {RUN}"

    done = shell(desk, f"unshare -m bash -c {shlex.quote(inner)}")

    ((failed,), _) = find_run(Path("tiny"), desk / "results").records()
    assert done.returncode == 1
    assert "WARNING: /dev/shm: 1 MB free; loading files in processes" in done.stderr
    assert "shared memory" in done.stdout and "--shm-size" in done.stdout
    assert failed["status"] == "oom"
    assert "unable to allocate shared memory" in failed["reason"]
    assert "No space left on device" in failed["reason"]


@pytest.mark.full
def test_a_loader_that_is_killed_ends_its_trial_with_its_words(desk: Path):
    """By somebody, or by the kernel for want of memory: no wait without end."""
    feed_files(desk, epochs=10_000)
    command = shlex.split(f"{sys.executable} -m benchharness {RUN}")
    environment = {**os.environ, "BENCHHARNESS_CACHE": str(desk / "cache")}

    with subprocess.Popen(command, cwd=desk, env=environment, stdout=subprocess.DEVNULL) as run:
        deadline_s = time.monotonic() + 600
        while not (loaders := loaders_of(run.pid)) and time.monotonic() < deadline_s:
            time.sleep(0.2)
        for loader in loaders[:1]:
            loader.kill()
        try:
            code = run.wait(timeout=600)
        finally:
            run.kill()

    ((failed,), _) = find_run(Path("tiny"), desk / "results").records()
    assert code == 1
    assert failed["status"] == "failed"
    assert "DataLoader worker" in failed["reason"]


def feed_files(desk: Path, *, epochs: int) -> None:
    """Make pictures, and a suite that brings them from their files to PyTorch."""
    pytest.importorskip("torch")
    for name in ("a", "b"):
        (desk / "shm/train" / name).mkdir(parents=True)
        for number in range(40):
            _picture(desk / f"shm/train/{name}/{number}.png", "red", number % 16)
    suite = SUITE.format(backend="torch").replace('"drawn"', '"folder"\npath = "shm"')
    feed = suite.partition("strategy")[0] + (
        'strategy = "dataset"\nimage_size = 224\nbatch_size = 16\ninput = "files"\n'
        f"epochs = {epochs}\n"
    )
    (desk / "tiny.toml").write_text(feed)


def loaders_of(run: int) -> list[psutil.Process]:
    """Return the processes that a trial's worker has begun."""
    found = []
    for process in psutil.Process(run).children(recursive=True):
        with suppress(psutil.Error):
            parent = process.parent()
            # A loader is a fork of its worker; another program that it calls is none.
            lines = (process.cmdline(), parent.cmdline() if parent else [])
            if all("benchharness.worker" in line for line in lines):
                found.append(process)
    return found

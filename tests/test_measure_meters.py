"""Memory of real process trees; energy and GPU readings from counters that tests turn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from nvml import FakeNvml

from benchharness.measure.clock import CpuTimer, others_seconds
from benchharness.measure.energy_meter import find_rapl
from benchharness.measure.gpu import ForeignProcess, Gpu, foreign_processes, open_gpu
from benchharness.measure.meters import Meters, base_bytes, peak_rss_bytes, tree

BEGIN = {"event": "timing", "state": "begin"}
END = {"event": "timing", "state": "end"}
# Beyond the largest process id that a kernel gives.
NOBODY = 2**30

FAMILY = """
import subprocess, sys
code = "held = bytearray(b'x') * 200_000_000; print('held', flush=True); input()"
child = subprocess.Popen(
    [sys.executable, "-c", code],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
)
print(child.stdout.readline().strip(), flush=True)
input()
child.communicate("\\n")
"""


def gpu_meters(nvml: FakeNvml, **fields) -> Meters:
    """Return meters of a process that is not there, on the fake GPU."""
    gpu = Gpu(nvml, 0)
    return Meters(pid=NOBODY, gpu=gpu, **fields)


def test_memory_of_a_child_counts_towards_its_parent():
    """A worker whose child holds 200 MB is seen to use them."""
    worker = subprocess.Popen(
        [sys.executable, "-c", FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    assert worker.stdout.readline().strip() == "held"
    meters = Meters(pid=worker.pid)
    meters.sample()
    members = tree(worker.pid)
    worker.communicate("\n")

    assert len(members) == 2
    assert members[worker.pid] < 100e6
    assert meters.metrics()["peak_host_bytes"] > 200e6


def test_the_peak_stays_when_memory_is_given_back_and_the_process_has_ended():
    """Sampling a process that is gone finds nothing, and forgets nothing."""
    worker = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True)
    meters = Meters(pid=worker.pid)
    meters.sample()
    peak = meters.metrics()["peak_host_bytes"]
    worker.communicate("\n")
    meters.sample()

    assert tree(worker.pid) == {}
    assert meters.metrics()["peak_host_bytes"] == peak > 0


def test_a_process_has_its_own_peak_and_not_that_of_its_parent():
    """A small program started by one that holds 300 MB reports a small peak."""
    held = bytearray(b"x") * 300_000_000
    code = "from benchharness.measure.meters import peak_rss_bytes; print(peak_rss_bytes())"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert peak_rss_bytes() > len(held)
    assert 1e6 < int(answer.stdout) < 200e6


def rapl(
    root: Path, name: str, energy_uj: int, range_uj: int = 1_000_000, *, of: str = "package-0"
) -> Path:
    """Return a counter's folder as Linux shows it."""
    folder = root / name
    folder.mkdir(exist_ok=True)
    (folder / "name").write_text(f"{of}\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return folder


def test_packages_add_up_and_their_parts_do_not_count_twice(tmp_path: Path):
    """Two packages draw 0.2 and 0.3 J; the cores, a part of the first, are in it already.

    So are both packages in the whole machine, which some count too.
    """
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        rapl(tmp_path, name, 100_000)
    rapl(tmp_path, "intel-rapl:2", 100_000, of="psys")
    read = find_rapl(tmp_path)
    rapl(tmp_path, "intel-rapl:0", 300_000)
    rapl(tmp_path, "intel-rapl:1", 400_000)
    rapl(tmp_path, "intel-rapl:0:0", 900_000, of="core")
    rapl(tmp_path, "intel-rapl:2", 900_000, of="psys")

    assert read is not None
    assert read() == pytest.approx(0.5)


def test_a_counter_that_wraps_around_goes_on_counting(tmp_path: Path):
    """From 0.9 J over the end of its range at 1 J to 0.2 J: 0.3 J."""
    rapl(tmp_path, "intel-rapl:0", 900_000)
    read = find_rapl(tmp_path)
    rapl(tmp_path, "intel-rapl:0", 200_000)

    assert read is not None
    assert read() == pytest.approx(0.3)
    assert read() == pytest.approx(0.3)


def test_without_readable_counters_energy_is_unknown(tmp_path: Path):
    """No folder, and a folder without a counter that we may read."""
    absent = find_rapl(tmp_path / "nowhere")
    (tmp_path / "intel-rapl:0").mkdir()

    assert absent is None
    assert find_rapl(tmp_path) is None


def test_energy_counts_while_work_is_timed():
    """10 J before, 2 J and 3 J during two timed stretches, 100 J between them."""
    nvml = FakeNvml()
    meters = gpu_meters(nvml)
    meters.sample()
    nvml.energy_mj += 10_000
    for drawn_mj in (2_000, 3_000):
        meters.on_event(BEGIN)
        for _ in range(5):
            meters.sample()
        nvml.energy_mj += drawn_mj
        meters.on_event(END)
        nvml.energy_mj += 100_000
        meters.sample()

    metrics = meters.metrics()
    assert metrics["energy_j"] == pytest.approx(5.0)
    assert metrics["energy_source"] == "nvml"


def test_utilisation_clock_and_throttling_are_those_of_the_timed_part():
    """Samples outside do not count; idling is not throttling."""
    nvml = FakeNvml()
    meters = gpu_meters(nvml)
    nvml.gpu_percent, nvml.reasons = 0, 0x80
    meters.sample()
    meters.on_event(BEGIN)
    for nvml.gpu_percent, nvml.reasons in 4 * ((90, 0x01), (100, 0x04), (80, 0x44)):
        meters.sample()
    meters.on_event(END)

    metrics = meters.metrics()
    assert metrics["device_utilization"] == pytest.approx(0.9)
    assert metrics["device_clock_mhz"] == 1980
    assert metrics["throttled"] == "power cap, hardware thermal"


def test_of_timed_work_of_a_moment_the_driver_tells_nothing():
    """Nine readings: utilisation, clock and energy are those of some time before."""
    nvml = FakeNvml()
    nvml.reasons = 0x04
    meters = gpu_meters(nvml)
    meters.on_event(BEGIN)
    for _ in range(9):
        meters.sample()
    few = meters.metrics()
    meters.sample()

    assert few.keys() == {"throttled", "foreign_cores"}
    assert meters.metrics().keys() - few.keys() == {
        "energy_j",
        "energy_source",
        "device_utilization",
        "device_clock_mhz",
    }


def test_what_the_driver_does_not_tell_is_absent_and_never_zero():
    """An old GPU without an energy counter, in a container that hides utilisation and memory."""
    nvml = FakeNvml()
    nvml.silent = {
        "nvmlDeviceGetTotalEnergyConsumption",
        "nvmlDeviceGetUtilizationRates",
        "nvmlDeviceGetClockInfo",
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetComputeRunningProcesses",
        "nvmlDeviceGetCurrentClocksThrottleReasons",
    }
    meters = gpu_meters(nvml, base_bytes=base_bytes(Gpu(nvml, 0)))
    meters.on_event(BEGIN)
    meters.sample()
    meters.on_event(END)

    found = meters.metrics()
    assert "foreign_cores" in found
    assert found.keys() <= {"foreign_cores"}


def test_device_memory_is_that_of_the_workers_processes(monkeypatch: pytest.MonkeyPatch):
    """Others hold 700 of the 1000 bytes in use."""
    monkeypatch.setattr("benchharness.measure.meters.tree", lambda pid: {7: 1})
    meters = gpu_meters(FakeNvml(), base_bytes=200)
    meters.sample()

    assert meters.metrics()["peak_device_bytes"] == 300


def test_where_process_ids_are_hidden_device_memory_is_what_came_on_top():
    """In a container the driver's ids are others: 1000 bytes in use, 200 before the worker."""
    meters = gpu_meters(FakeNvml(), base_bytes=200)
    meters.sample()

    assert meters.metrics()["peak_device_bytes"] == 800


def test_processes_of_others_on_the_gpu_are_named(monkeypatch: pytest.MonkeyPatch):
    """Those that the driver knows, asked before any of ours is there."""
    nvml = FakeNvml()
    nvml.running = [SimpleNamespace(pid=9, usedGpuMemory=None)]
    monkeypatch.setitem(sys.modules, "pynvml", nvml)

    found = foreign_processes("0")
    assert found == (ForeignProcess(pid=9, name="python", bytes=None),)


def test_without_a_driver_there_is_no_gpu_to_read(monkeypatch: pytest.MonkeyPatch):
    """No library, no error."""
    monkeypatch.setitem(sys.modules, "pynvml", None)

    assert open_gpu("0") is None
    assert foreign_processes("0") == ()


def test_cores_at_work_for_others_are_counted_from_the_timed_part_to_the_end_of_work():
    """Two readings: 3 s of others in 2 s; what follows the work does not count."""
    spent_s, now_s = [100.0], [0.0]
    meters = Meters(pid=NOBODY, others=lambda: spent_s[0], now=lambda: now_s[0])
    spent_s[0] += 50
    for event in (BEGIN, END, BEGIN, END):
        meters.on_event(event)
        now_s[0] += 0.5
        spent_s[0] += 0.75
    meters.on_event({"event": "phase", "phase": "calibrate"})
    now_s[0], spent_s[0] = 9.0, 999.0

    assert meters.metrics()["foreign_cores"] == pytest.approx(1.5)


def test_a_process_of_another_tree_is_foreign_and_one_of_ours_is_not():
    """One that computes below us, and the same seen by a process that is not its parent."""
    seen = (
        "import time; from benchharness.measure.clock import CpuTimer, others_seconds; "
        "began = others_seconds(); print(flush=True); input(); print(others_seconds() - began)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", seen], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdout.readline()
        before_s = others_seconds()
        used = "import time\nwhile time.process_time() < 1: pass\nprint(time.process_time())"
        burnt_s = float(subprocess.check_output([sys.executable, "-c", used], text=True))
        ours_s = others_seconds() - before_s
        told, _ = other.communicate("\n")

    # The kernel counts in hundredths of a second, of each core and kind by itself.
    assert float(told) > burnt_s - 0.2
    assert float(told) - ours_s > burnt_s - 0.2


@pytest.mark.parametrize(
    ("readings", "steps", "seconds"),
    [
        # From 1 to 3 and from 10 to 14 seconds; what lies between is evaluation.
        ([1.0, 3.0, 10.0, 14.0], ["start", "stop", "start", "stop", "stop"], 6.0),
        # Two starts in a row go on with the same stretch.
        ([1.0, 5.0], ["start", "start", "stop"], 4.0),
    ],
)
def test_only_timed_stretches_are_added_up(readings: list[float], steps: list[str], seconds: float):
    """However often they are begun and ended."""
    now = iter(readings)
    timer = CpuTimer(now=lambda: next(now), threads_now=dict)

    for step in steps:
        getattr(timer, step)()

    assert timer.seconds == seconds


def test_threads_that_share_the_work_are_counted():
    """Beside the busiest, who did a quarter as much or more; only of timed work."""
    seconds = iter([{1: 0.0, 2: 5.0}, {1: 4.0, 2: 7.0, 3: 0.5}])
    timer = CpuTimer(now=lambda: 0.0, threads_now=lambda: next(seconds))

    for step in (timer.start, timer.stop, timer.stop):
        step()

    assert timer.threads == {1: 4.0, 2: 2.0, 3: 0.5}
    assert timer.sharing == 2


def test_memory_of_checking_the_clock_is_not_the_works(monkeypatch):
    """The yardstick's matrices, and steps that are timed again, are ours."""
    held = iter([{1: 500}, {1: 700}, {1: 900}])
    monkeypatch.setattr("benchharness.measure.meters.tree", lambda pid: next(held))
    meters = Meters(pid=1)

    meters.sample()
    meters.on_event({"event": "phase", "phase": "train"})
    meters.sample()
    meters.on_event({"event": "phase", "phase": "calibrate"})
    meters.sample()

    assert meters.metrics()["peak_host_bytes"] == 700

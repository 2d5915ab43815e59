"""Checks of the doctor: what is ok, what is a warning, what is missing."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from suite_files import BOTTLENECK, CNN, PETS, suite_of

from benchharness.data.info import DatasetInfo
from benchharness.doctor import suite as checked
from benchharness.doctor.backends import BackendStatus, backend_checks
from benchharness.doctor.check import Check, DoctorReport, Section, machine_checks
from benchharness.doctor.data import Resource, resource_checks, weights_checks
from benchharness.doctor.report import extra_checks
from benchharness.doctor.suite import time_check
from benchharness.measure.gpu import Accelerator, ForeignProcess, GpuState
from benchharness.measure.machine import Machine
from benchharness.report.preview import resources_text
from benchharness.report.views import doctor_outcome, doctor_view
from benchharness.run.device import Device
from benchharness.run.estimate import (
    AvailableMemory,
    CellMemory,
    ResourceEstimate,
    duration_text,
    memory_problems,
    memory_text,
    warnings,
)
from benchharness.suite.plan import PlannedCell
from benchharness.suite.resolve import resolve
from benchharness.suite.settings import SimpleCnnSettings

MACHINE = Machine(
    cpu="a processor",
    cores=4,
    load=0.2,
    memory_bytes=16_000_000_000,
    free_bytes=12_000_000_000,
    python="3.11.7",
    system="Linux 6",
)
GPU = GpuState(
    accelerator=Accelerator(index=0, name="H100", memory_bytes=80_000_000_000, driver="570.1")
)


def marks(findings: Any) -> dict[str, str]:
    """Return the mark of each subject."""
    return {finding.subject: finding.mark for finding in findings}


def only(findings: Any, subject: str) -> Check:
    """Return the one finding about a subject."""
    (found,) = [finding for finding in findings if finding.subject == subject]
    return found


def cell(benchmark: str = "cnn", backend: str = "torch", **matrix: Any) -> PlannedCell:
    """Return a cell."""
    return PlannedCell(
        benchmark=benchmark,
        strategy="simple_cnn",
        backend=backend,
        track="equal",
        matrix=matrix,
        settings=SimpleCnnSettings(),
        published=None,
        trials=1,
    )


def memory_marks(cells: Any, memory: AvailableMemory) -> dict[str, str]:
    """Return the mark of each benchmark's memory."""
    return {one.cell.benchmark: mark for one, mark, _ in memory_problems(cells, memory)}


def needing(host: int, *, device: int = 0, learning: int = 0, **names: Any) -> CellMemory:
    """Return a cell that needs so much, of which some for what learns."""
    parts = {"weights": learning, "activations": (device or host) - learning}
    if device:
        return CellMemory(cell=cell(**names), host={"copies": host}, device=parts)
    return CellMemory(cell=cell(**names), host=parts)


def test_a_quiet_machine_is_well():
    """Nothing to do, whether or not anybody counts energy."""
    assert set(marks(machine_checks(MACHINE)).values()) == {"ok"}


@pytest.mark.parametrize(
    ("changes", "subject", "words"),
    [
        # Timing beside others means little.
        ({"load": 3.0}, "load", "end other programs"),
        # A container with the time of one core and a half: frameworks would start four threads.
        ({"quota": 1.5}, "processor", "threads = 1"),
        # The CPU computes, and not in silence.
        ({"gpu_trouble": "no driver"}, "gpu", "no driver"),
        ({"gpus": (replace(GPU, mode="prohibited"),)}, "cuda:0", "nvidia-smi"),
        (
            {"gpus": (replace(GPU, processes=(ForeignProcess(pid=7, name="a", bytes=2**31),)),)},
            "cuda:0",
            "end it",
        ),
        # The files are there.
        ({"energy": "locked"}, "energy", "sudo chmod"),
    ],
)
def test_what_disturbs_a_measurement_is_a_warning_with_its_remedy(
    changes: dict[str, Any], subject: str, words: str
):
    """Everything else about that machine is well."""
    checks = machine_checks(replace(MACHINE, **changes))

    (found,) = [check for check in checks if check.mark != "ok"]
    assert (found.mark, found.subject) == ("warn", subject)
    assert words in found.text + found.remedy


def test_a_gpu_tells_what_it_is():
    """In one line."""
    state = replace(GPU, free_bytes=70_000_000_000, cuda="12.8", mode="exclusive process")
    found = only(machine_checks(replace(MACHINE, gpus=(state,))), "cuda:0")

    assert found.text == "H100, 80.0 GB, 70.0 GB free, driver 570.1, CUDA 12.8, exclusive process"


def test_a_backend_that_the_suite_needs_is_missed_and_another_is_not():
    """Broken alike, one of them stops the suite."""
    broken = BackendStatus(backend="torch", plugin="torch", reason="gone", remedy="pip install it")
    other = replace(broken, backend="keras")

    found = marks(backend_checks([broken, other], needed=("torch",)))

    assert found == {"torch": "missing", "keras": "warn"}


def test_a_healthy_backend_tells_versions_device_and_threads():
    """What a stranger asks first."""
    health = BackendStatus(
        backend="torch",
        plugin="torch",
        distribution="benchharness-torch 0.1.0",
        versions={"torch": "2.15"},
        device="cpu",
        threads=2,
        import_s=1.24,
    )

    found = only(backend_checks([health], needed=()), "torch")

    assert found.mark == "ok"
    assert found.text == (
        "benchharness-torch 0.1.0; torch 2.15; on cpu; 2 threads; imported in 1.2 s"
    )


def test_without_any_backend_the_command_is_named():
    """An empty installation is told what to do."""
    found = only(backend_checks([], needed=()), "backends")

    assert found.mark == "missing" and "pip install -e plugins/benchharness-torch" in found.remedy


@pytest.mark.parametrize(
    ("free_bytes", "is_writable", "mark", "words"),
    [
        (10**9, True, "missing", "1.0 GB free, 2.0 GB in it, the suite may need 3.0 GB"),
        (4 * 10**9, True, "ok", "4.0 GB free"),
        (10**12, False, "missing", "cannot be written: no permission to write in "),
    ],
)
def test_a_folder_must_be_writable_and_have_room(
    monkeypatch, tmp_path: Path, free_bytes: int, is_writable: bool, mark: str, words: str
):
    """What the suite needs against what is free."""
    monkeypatch.setattr(checked.shutil, "disk_usage", lambda path: SimpleNamespace(free=free_bytes))
    monkeypatch.setattr(checked.os, "access", lambda path, mode: is_writable or mode == os.F_OK)

    found = checked.folder_check("cache", tmp_path, needed_bytes=3 * 10**9, held_bytes=2 * 10**9)

    assert found.mark == mark and words in found.text


def test_an_optional_package_names_the_command():
    """Nothing stops for want of it."""
    found = only(extra_checks({"report": {"altair": "6.0", "vl-convert-python": None}}), "report")

    assert found.mark == "warn"
    assert found.remedy == "pip install vl-convert-python"


def test_what_is_not_here_is_worth_a_warning_with_how_to_get_it():
    """No suite has asked for it yet."""
    supplies = [
        Resource(name="here", place="/data"),
        Resource(name="gone", place="", remedy="fetch"),
    ]

    assert marks(resource_checks(supplies)) == {"here": "ok", "gone": "warn"}


MEMORY = AvailableMemory(host_bytes=16 * 10**9, free_bytes=12 * 10**9)


@pytest.mark.parametrize(
    ("host", "learning", "mark"),
    [
        (11 * 10**9, 10**9, "ok"),
        (13 * 10**9, 10**9, "warn"),
        (40 * 10**9, 11 * 10**9, "warn"),
        (40 * 10**9, 17 * 10**9, "missing"),
    ],
)
def test_memory_that_is_not_free_warns_and_what_can_never_fit_is_missed(host, learning, mark):
    """An estimate warns; weights, gradients and moments larger than all there is are certain."""
    assert memory_marks([needing(host, learning=learning)], MEMORY) == {"cnn": mark}


def test_of_a_benchmark_the_hungriest_cell_is_told_with_its_point():
    """Two batch sizes on two backends: one line."""
    cells = [
        needing(13 * 10**9, batch_size=100),
        needing(20 * 10**9, learning=11 * 10**9, batch_size=200, backend="keras"),
    ]

    ((found, mark, remedy),) = memory_problems(cells, MEMORY)

    text = memory_text(found, MEMORY)
    assert "20.0 GB of memory on keras batch_size=200" in text
    assert "11.0 GB for weights, gradients, optimizer state" in text
    assert "12.0 GB free" in text
    assert mark == "warn" and "image_size" in remedy


@pytest.mark.parametrize(("free_bytes", "count"), [(10**9, 1), (60 * 10**9, 0)])
def test_a_run_is_warned_before_anything_is_decoded(tmp_path: Path, free_bytes: int, count: int):
    """The published network, 698 million parameters, on a machine of 64 GB."""
    suite = suite_of(tmp_path, PETS + CNN + "image_size = 150\n")
    estimate = ResourceEstimate(
        plan=resolve(suite, profile=None, backends=("torch",)),
        device=Device(kind="cpu", index=None, name="a processor"),
        facts=DatasetInfo.of_drawn(),
    )

    lines = warnings(estimate, (), host=lambda: (64 * 10**9, free_bytes))

    assert len(lines) == count
    assert all(line.startswith("WARNING: cnn needs about 2") for line in lines)
    assert all("11.2 GB for weights, gradients, optimizer state" in line for line in lines)


def test_a_preview_tells_the_time_of_the_last_run_and_the_most_memory():
    """Before a first run nobody knows the time."""
    cells = [needing(2 * 10**9, benchmark="large"), needing(10**9, benchmark="small")]

    assert resources_text(240.0, cells) == (
        "time: about 4 min, by the last run; most memory: 2.0 GB (large)"
    )
    assert resources_text(None, cells) == (
        "most memory: 2.0 GB (large); time: unknown before a first run"
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (45.4, "45 s"), (170.0, "3 min"), (9000.0, "2.5 h")]
)
def test_a_duration_has_the_unit_that_people_use(seconds: float, text: str):
    """Never closer than it is known."""
    assert duration_text(seconds) == text


def test_on_a_gpu_its_own_memory_is_what_counts():
    """The host has room enough; the GPU has 8 GB, or 3 of them free."""
    gpu = replace(MEMORY, gpu_bytes=8 * 10**9)
    cells = [needing(10**9, device=5 * 10**9, learning=4 * 10**9)]

    assert memory_marks(cells, gpu) == {"cnn": "ok"}
    assert memory_marks(cells, replace(gpu, gpu_free_bytes=3 * 10**9)) == {"cnn": "warn"}
    assert memory_marks(cells, replace(gpu, gpu_bytes=3 * 10**9)) == {"cnn": "missing"}


def test_the_time_of_the_last_run_is_told_with_a_warning_on_a_busy_machine():
    """And no time before a first run."""
    quiet, busy = (time_check(240.0, is_busy=is_busy) for is_busy in (False, True))

    assert quiet.text == busy.text == "about 4 min, by the last run"
    assert (quiet.mark, busy.mark) == ("ok", "warn")
    assert "machine is busy" in busy.remedy
    assert time_check(None, is_busy=True).text == "unknown before a first run"


def weights(tmp_path: Path, extra: str, resource: Resource) -> Check:
    """Return what is said of the weights of a suite with a bottleneck."""
    plan = resolve(suite_of(tmp_path, extra + PETS + BOTTLENECK), profile=None)
    other = Resource(name="vgg16 imagenet_torchvision", place="")
    return only(weights_checks(plan, [resource, other]), "weights")


@pytest.mark.parametrize(
    ("extra", "resource", "mark"),
    [
        ("", {"place": "/weights"}, "ok"),
        ("", {"place": "", "download_bytes": 5, "remedy": "downloaded by itself"}, "warn"),
        ('weights_fallback = "random"\n', {"place": ""}, "warn"),
        ("", {"place": ""}, "missing"),
    ],
)
def test_weights_are_missed_where_they_can_neither_be_had_nor_replaced(
    tmp_path: Path, extra: str, resource: dict[str, Any], mark: str
):
    """Here, to be downloaded, to be drawn; else the suite cannot run."""
    assert weights(tmp_path, extra, Resource(name="vgg16 imagenet", **resource)).mark == mark


def report(*findings: Check) -> DoctorReport:
    """Return a report of one section."""
    return DoctorReport(
        title="suite pets", sections=(Section(title="machine", findings=findings),), facts={"x": 1}
    )


SUCCESS = Check(mark="ok", subject="memory", text="16.0 GB")
ODD = Check(mark="warn", subject="load", text="busy", remedy="wait")
GONE = Check(mark="missing", subject="torch", text="not installed", remedy="pip install it")


def test_a_suite_can_run_unless_something_is_missing():
    """Warnings do not stop it."""
    assert report(SUCCESS, ODD).is_able
    assert not report(SUCCESS, GONE).is_able
    assert doctor_outcome(report(SUCCESS, ODD)) == "ready; 1 warning"
    assert doctor_outcome(report(GONE, SUCCESS)) == "missing: torch; no warnings"


def test_programs_get_every_finding_and_the_facts():
    """One object, all of it plain."""
    found = report(SUCCESS, GONE).as_dict()

    assert (found["format"], found["is_able"], found["x"]) == (1, False, 1)
    assert found["sections"][0]["findings"][1] == {
        "mark": "missing",
        "subject": "torch",
        "text": "not installed",
        "remedy": "pip install it",
    }


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_sections_fit_the_terminal_with_a_mark_on_each_line(width: int):
    """No line is longer than the terminal; the remedy stands below what it mends."""
    long = replace(GONE, text="words " * 40)
    console = Console(width=width, record=True, file=None, force_terminal=False, quiet=False)
    with console.capture() as captured:
        console.print(doctor_view(report(SUCCESS, ODD, long)))
    lines = captured.get().splitlines()

    assert max(map(len, lines)) <= width
    assert [line.split()[0] for line in lines if line[:7].strip()][2:5] == ["ok", "warn", "missing"]
    assert any("-> pip install it" in line for line in lines)

"""Backends and meters on an NVIDIA GPU; skipped where there is none."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchharness.api import Execution, Optimizer
from benchharness.measure.gpu import Accelerator, find_accelerators, open_gpu
from benchharness.measure.meters import Meters, base_bytes
from benchharness.run.device import choose_device
from benchharness.testing.tasks import (
    learn,
    make_batches,
    make_fingerprint_spec,
    make_task,
    small_cnn,
)

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.full,
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]

SUITES = Path(__file__).parent.parent / "suites"
GPU = Execution(device="gpu", threads=1)
HELD_BYTES = 2**30
HOLD = f"""
import torch
held = torch.ones({HELD_BYTES}, dtype=torch.uint8, device="cuda")
torch.cuda.synchronize()
print("held", flush=True)
input()
"""
IDENTIFY = """
import torch
print(torch.cuda.device_count(), torch.cuda.get_device_properties(0).uuid)
"""


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    """Return the first GPU, as NVML or nvidia-smi tells of it."""
    return find_accelerators()[0]


def benchharness(folder: Path, *arguments: str, timeout_s: float) -> str:
    """Return what a command on the GPU prints; it must end well, and in time."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "benchharness", *arguments, "--device", "cuda:0"],
        env={**os.environ, "BENCHHARNESS_CACHE": str(folder / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_worker_computes_on_the_gpu_that_the_driver_calls_so():
    """For each GPU: CUDA, in a worker's environment, has that one and no other."""
    accelerators = find_accelerators()
    assert accelerators
    if any(not one.uuid.startswith("GPU-") for one in accelerators):
        pytest.skip("a GPU is split into MIG instances, which CUDA may name otherwise")

    for one in accelerators:
        device = choose_device(f"cuda:{one.index}", accelerators)
        told = subprocess.run(
            [sys.executable, "-P", "-c", IDENTIFY],
            env=device.environment(os.environ),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        count, uuid = told.split()

        assert count == "1"
        assert one.uuid.removeprefix("GPU-") == uuid.removeprefix("GPU-")


def test_memory_of_a_worker_on_the_gpu_is_seen(accelerator: Accelerator):
    """A GiB that a process holds, with what CUDA takes for itself."""
    pytest.importorskip("pynvml")
    gpu = open_gpu(accelerator.selector)
    assert gpu is not None
    before = base_bytes(gpu)
    device = choose_device(f"cuda:{accelerator.index}", [accelerator])
    with subprocess.Popen(
        [sys.executable, "-P", "-c", HOLD],
        env=device.environment(os.environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline().strip() == "held"
        meters = Meters(pid=worker.pid, gpu=gpu, base_bytes=before)
        meters.sample()
        worker.communicate("\n")

    assert HELD_BYTES <= meters.metrics()["peak_device_bytes"] < HELD_BYTES + 2 * 2**30


def test_synchronize_waits_for_what_pytorch_has_queued():
    """Some tenths of a second of products: queued in a moment, and done afterwards."""
    from benchharness_torch.data import synchronize

    device = torch.device("cuda:0")
    matrix = torch.randn(8192, 8192, device=device)
    product = matrix @ matrix
    torch.cuda.synchronize()
    end = torch.cuda.Event()
    for _ in range(50):
        torch.matmul(matrix, matrix, out=product)
    end.record()

    assert not end.query()
    synchronize(device)
    assert end.query()


@pytest.mark.parametrize("is_held", [False, True], ids=["copied", "held"])
def test_a_step_in_pytorch_copies_from_pinned_memory_alone(is_held: bool):
    """A copy from pageable memory makes the host wait; images on the GPU are not copied at all."""
    from benchharness_torch.training import TorchBackend

    batches = make_batches(is_augmented=True)
    images = np.concatenate([batch.inputs for batch in batches])
    task = make_task(
        small_cnn(),
        optimizer=Optimizer(name="sgd", lr=0.01, momentum=0.9),
        is_augmented=True,
        execution=GPU,
        fingerprint_spec=make_fingerprint_spec(),
    )
    if is_held:
        task = replace(task, inputs=images)
        batches = [
            replace(batch, inputs=np.empty((len(batch), 0, 0, 0), np.uint8)) for batch in batches
        ]
    training = TorchBackend().train(task)
    learn(training, batches)
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]

    with torch.profiler.profile(activities=activities) as profile:
        learn(training, batches)
        training.synchronize()

    copies = [event.name for event in profile.events() if event.name.startswith("Memcpy HtoD")]
    # Inputs or their ids, labels, and the two arrays of the warp.
    assert len(copies) == 4 * len(batches)
    assert {"Pinned" in name for name in copies} == {True}


def test_images_stay_on_the_gpu_where_they_fit(tmp_path: Path):
    """As the record of a trial says, with the GPU's own columns."""
    benchharness(
        tmp_path,
        *("run", str(SUITES / "smoke.toml"), "--benchmark", "simple_cnn", "--backend", "torch"),
        *("--no-proof", "--results", str(tmp_path / "results")),
        timeout_s=120,
    )

    file = tmp_path / "results/smoke/latest/records.jsonl"
    (record,) = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    assert record["status"] == "ok"
    assert record["effective"]["inputs"] == "on the device"
    assert record["effective"]["device"] == "cuda:0"
    assert record["metrics"]["peak_source"] == "backend"


def test_the_smoke_suite_is_proven_in_time(tmp_path: Path):
    """In PyTorch and JAX; determinism on a GPU may be slow, and a proof ends by its time limit."""
    if importlib.util.find_spec("benchharness_jax") is None:
        pytest.skip("needs benchharness-jax")
    if not any(importlib.util.find_spec(f"jax_cuda{version}_plugin") for version in (12, 13)):
        pytest.skip("needs JAX with CUDA")

    told = benchharness(
        tmp_path,
        *("certify", str(SUITES / "smoke.toml"), "--backend", "torch", "--backend", "jax"),
        timeout_s=180,
    )

    assert "proven" in told

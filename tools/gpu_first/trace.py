"""Trace of 30 training steps of the PyTorch backend: fine-tuning of VGG16's last block.

python tools/gpu_first/trace.py --device gpu --output FOLDER

writes trace.json.gz for a trace viewer and prints where the time of a step goes.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

CEILINGS = Path(__file__).parents[2] / "tests" / "benchmarks" / "ceilings"
STEPS, LISTED = 30, 40
# Each makes the host wait for the device, or the device for the host.
WAITING = ("Synchronize", "Memcpy", "aten::item", "aten::_local_scalar_dense", "cudaMalloc")


def load(name: str) -> ModuleType:
    """Return a program of the ceilings; their folder holds a torch.py and is on no import path."""
    spec = importlib.util.spec_from_file_location(f"ceilings_{name}", CEILINGS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Trace, and say what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", required=True, choices=["cpu", "gpu"])
    parser.add_argument("--output", required=True, type=Path)
    options = parser.parse_args()
    is_gpu = options.device == "gpu"
    name = "fine_tune_150" if is_gpu else "head_small"
    runner, harness = load("run"), load("harness")
    work = harness.SETTINGS["work"][name]
    with tempfile.TemporaryDirectory() as folder:
        runner.write_data(name, Path(folder), images=STEPS * work["batch"])
        inputs, labels = (np.load(Path(folder) / name / f"{of}.npy") for of in ("inputs", "labels"))
    job = harness.Job(
        work=work,
        backend=harness.load_backend("torch", options={}),
        inputs=inputs,
        labels=labels,
        threads=torch.get_num_threads(),
        rounds=harness.Rounds(pipe=None, steps=STEPS),
    )
    training, epochs = job.backend.train(job.task()), job.epochs(3)

    def epoch(number: int) -> float:
        training.synchronize()
        began_s = time.perf_counter()
        training.train([epochs[number]], after_step=lambda: None, after_epoch=lambda scores: None)
        training.synchronize()
        return time.perf_counter() - began_s

    epoch(0)
    plain_s = epoch(1)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_gpu else [])]
    with profile(activities=activities) as traced:
        traced_s = epoch(2)
    options.output.mkdir(parents=True, exist_ok=True)
    traced.export_chrome_trace(str(options.output / "trace.json.gz"))
    key = "self_cuda_time_total" if is_gpu else "self_cpu_time_total"
    table = traced.key_averages().table(sort_by=key, row_limit=LISTED, max_name_column_width=60)
    (options.output / "operations.txt").write_text(table, encoding="utf-8")
    print(table)
    print(f"{name}, {STEPS} steps of {work['batch']} images")
    report(list(traced.events()), plain_s=plain_s, traced_s=traced_s)


def report(events: list[Any], *, plain_s: float, traced_s: float) -> None:
    """Print what a step consists of."""
    on_device = [event for event in events if event.device_type == DeviceType.CUDA]
    # An annotation spans the kernels below it.
    kernels = [event for event in on_device if not event.is_user_annotation]
    busy_us = sum(event.time_range.elapsed_us() for event in kernels)
    waits = Counter(event.name for event in events if any(word in event.name for word in WAITING))
    for call, count in waits.most_common():
        print(f"{count / STEPS:8.2f} a step  {call}")
    operations = sum(event.name.startswith("aten::") for event in events)
    print(f"{operations / STEPS:8.1f} operations a step")
    print(f"{len(kernels) / STEPS:8.1f} kernels and copies a step")
    print(f"{1e3 * traced_s / STEPS:8.3f} ms a step while traced")
    if kernels:
        print(
            f"{busy_us / 1e3 / STEPS:8.3f} ms a step in kernels and copies, copies beside included"
        )
    print(f"{1e3 * plain_s / STEPS:8.3f} ms a step")


if __name__ == "__main__":
    main()

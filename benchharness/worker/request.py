"""Request to a worker process: one job, as JSON, and the short way to have one done."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from benchharness.errors import RunError
from benchharness.subprocesses import python_environment

Job = Literal["trial", "probe", "inspect", "load", "check", "convert-weights"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRequest:
    """Everything a worker needs; it looks nowhere else. Each job reads the fields it is about.

    Attributes:
        job: Carry out a trial, probe cells for a certificate, inspect whether a backend works, load
            a plugin and observe that, check it against the contract, or convert weights.
        plugin: Entry point of the backend.
        threads: CPU cores that the worker may use; 0 for all.
        spawned_s: Monotonic seconds at which the worker was started.
        arguments: Of the small jobs: ``load`` and ``convert-weights``.
        cells: Of ``probe``: its cells, one after the other.
        probe_file: Where such a cell's probe goes.
        is_reference: Whether it is the slow backend, which leaves out what takes too long.
        settings: A benchmark's settings, as ``settings_from_dict`` reads them.
        prepared: The dataset, as ``Prepared.from_dict`` reads it.
        pretrained: Backbone weights, as ``Pretrained.from_dict`` reads them; None for none.
        head_file: Safetensors file of a trained head to start from; None for fresh weights.
        weights_file: Where to write what was learnt, for another benchmark; None to keep nothing.
        features_folder: Cache of extracted features.
        files: Image files for the backend's own loader, as ``FileSource`` takes them; None where
            training reads prepared images.
        native: What the suite states of the optimizer, in the native track; None in the equal one.
        resident_bytes: Most that all inputs may have to stay on the device; 0 on a CPU, where
            they are in its memory already.
    """

    job: Job = "trial"
    plugin: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    device: Literal["cpu", "gpu"] = "cpu"
    threads: int = 0
    seed: int = 0
    spawned_s: float = 0.0
    arguments: Mapping[str, Any] = field(default_factory=dict)
    cells: tuple[WorkerRequest, ...] = ()
    probe_file: str = ""
    is_reference: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    prepared: Mapping[str, Any] = field(default_factory=dict)
    pretrained: Mapping[str, Any] | None = None
    head_file: str | None = None
    weights_file: str | None = None
    features_folder: str = ""
    files: Mapping[str, Any] | None = None
    native: Mapping[str, str | float] | None = None
    resident_bytes: int = 0

    def write(self, path: Path) -> None:
        """Write the request as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> WorkerRequest:
        """Return the request that ``write`` wrote."""
        data = json.loads(path.read_text(encoding="utf-8"))
        cells = tuple(cls(**cell | {"cells": ()}) for cell in data.pop("cells"))
        return cls(cells=cells, **data)


def worker_command(request_file: Path, *, python: str = sys.executable) -> list[str]:
    """Return the command of a worker, without the descriptors of its pipes."""
    return [python, "-m", "benchharness.worker", str(request_file)]


def run_in_worker(
    request: WorkerRequest, *, timeout_s: float | None = None
) -> list[dict[str, Any]]:
    """Have a short job done in a separate process and return its events.

    Raises:
        RunError: The process died before that.
        subprocess.TimeoutExpired: It took longer.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "request.json")
        replace(request, spawned_s=time.monotonic()).write(file)
        done = subprocess.run(
            worker_command(file),
            capture_output=True,
            text=True,
            check=False,
            env=python_environment(),
            stdin=subprocess.DEVNULL,
            timeout=timeout_s,
        )
    events: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode or not events or events[-1]["event"] != "finished":
        last_line = done.stderr.strip().rpartition("\n")[2]
        raise RunError(f"ended the process with exit code {done.returncode}: {last_line}")
    return events

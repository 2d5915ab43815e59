"""Measure how often pytest's gates are right: ``--against``, saved baselines, a user's own test.

Each session is a process of its own, as a user starts it, on suites/ci.toml or on a plain step of
PyTorch: equal code, or with work planted in the side to judge.

    python tools/measure_pytest_gate.py FOLDER --equal 20 --slower 10 --hungrier 10 \
        --stored 20 --stored-slower 10 --own 10 --own-slower 10

Sessions are appended to FOLDER/sessions.jsonl as they end; started again, the tool goes on where it
was. ``--summary`` prints what has been found.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from pytest_sessions import Session, ended, start
from repositories import GitRepository
from slow_backends import LAGGARD

from benchharness.results.run_folder import RunFolder

SUITE = Path(__file__).parents[1] / "suites/ci.toml"
BACKENDS = ("keras", "torch")
PYPROJECT = """
[project]
name = "laggard"
version = "1.0"
dependencies = ["benchharness"]

[project.entry-points.benchharness]
laggard = "laggard.plugin"
"""
# A user's step: a small network of PyTorch that takes so many gradients.
OWN = """
import torch

model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
images = torch.rand(64, 256)


def test_step(benchharness):
    def step():
        for _ in range({gradients}):
            loss = model(images).square().mean()
            loss.backward()
        return loss

    benchharness(backend="torch", device="cpu").time(step)
"""
# What is planted in the side that is judged, by the kind of session.
KINDS: dict[str, dict[str, float]] = {
    "equal": {},
    "slower": {"slower": 0.10},
    "hungrier": {"hungrier": 0.05},
    "stored": {},
    "stored_slower": {"slower": 0.30},
    "own": {},
    "own_slower": {"slower": 0.20},
}


def main() -> int:
    """Run what is missing, then print a summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    for kind in KINDS:
        parser.add_argument(f"--{kind.replace('_', '-')}", type=int, default=0, help="sessions")
    parser.add_argument("--backend", choices=BACKENDS, action="append", help="default: both")
    parser.add_argument("--wait", type=float, default=0, help="minutes from saving to comparing")
    parser.add_argument("--summary", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    wait_s = 60 * arguments.wait
    if wait_s and not arguments.summary:
        # What waits is saved first: the other sessions fill the time.
        for kind, backend, number in _missing(folder, arguments):
            if kind.startswith("stored"):
                _baseline(folder, kind, backend, number)
    while not arguments.summary and (missing := _missing(folder, arguments)):
        left_s, wanted = min(
            ((max(0.0, wait_s - _age_s(folder, *wanted)), wanted) for wanted in missing),
            key=lambda item: item[0],
        )
        time.sleep(left_s)
        session = _measure(folder, *wanted)
        kind, backend, _ = wanted
        with (folder / "sessions.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(session) + "\n")
        print(kind, backend, session["code"], *session["verdicts"], sep="\n    ", flush=True)
    print(*_summary(_sessions(folder)), sep="\n")
    return 0


def _sessions(folder: Path) -> list[dict[str, Any]]:
    file = folder / "sessions.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def _missing(folder: Path, arguments: argparse.Namespace) -> list[tuple[str, str, int]]:
    """Return kind, backend and number of the sessions to run, the kinds spread over the time."""
    done = Counter((session["kind"], session["backend"]) for session in _sessions(folder))
    wanted = []
    for kind in KINDS:
        backends = ["torch"] if kind.startswith("own") else arguments.backend or BACKENDS
        for number in range(getattr(arguments, kind)):
            for backend in backends:
                if number >= done[kind, backend]:
                    wanted.append((number / getattr(arguments, kind), (kind, backend, number)))
    return [item for _, item in sorted(wanted, key=lambda item: item[0])]


def _storage(folder: Path, kind: str, backend: str, number: int) -> Path:
    return folder / f"baselines/{kind}-{backend}-{number}"


def _age_s(folder: Path, kind: str, backend: str, number: int) -> float:
    """Return how long ago the session's baseline was saved, without end where it needs none."""
    if not kind.startswith("stored"):
        return math.inf
    storage = _storage(folder, kind, backend, number)
    return time.time() - storage.stat().st_mtime if storage.exists() else math.inf


def _baseline(folder: Path, kind: str, backend: str, number: int) -> Path:
    """Return where pytest-benchmark stores the session's baseline, and save it if there is none."""
    storage = _storage(folder, kind, backend, number)
    if not storage.exists():
        words = [f"--benchharness-backend={backend}", "--benchmark-only", "-q"]
        words += ["--benchmark-autosave", f"--benchmark-storage={storage}"]
        saved = _pytest(_repository(folder), "ci.toml", *words)
        if not storage.exists():
            raise SystemExit(f"no baseline was saved: {saved.text}")
    return storage


def _measure(folder: Path, kind: str, backend: str, number: int) -> dict[str, Any]:
    """Run a session, and return what it says."""
    repository = _repository(folder)
    planted = KINDS[kind]
    words = [f"--benchharness-backend={backend}", "--benchmark-only", "-q"]
    waited_s = 0.0
    if kind.startswith("stored"):
        storage = _baseline(folder, kind, backend, number)
        waited_s = _age_s(folder, kind, backend, number)
        words = ["ci.toml", *words, "--benchmark-compare", f"--benchmark-storage={storage}"]
    else:
        suite = "test_own.py" if kind.startswith("own") else "ci.toml"
        words = [suite, *words, "--against", "rev:HEAD"]
    _write(repository, planted, hungrier_mb=_megabytes(repository, backend, planted))
    began_s = time.monotonic()
    done = _pytest(repository, *words)
    minutes = (time.monotonic() - began_s) / 60
    repository.git("checkout", "--quiet", ".")
    (folder / "last.txt").write_text(done.text)
    pattern = r"REGRESSION|UNDECIDABLE|no regression in|^(FAILED|passed|undecided) .*baseline"
    verdicts = [line for line in done.text.splitlines() if re.search(pattern, line)]
    fields = {"kind": kind, "backend": backend, "code": done.code, "minutes": round(minutes, 2)}
    return {**fields, "wait_s": round(waited_s), "verdicts": verdicts}


def _repository(folder: Path) -> GitRepository:
    """Return the repository of a plugin that wraps both backends, of a suite and a user's test."""
    top = folder / "repository"
    if top.exists():
        made = object.__new__(GitRepository)
        made.top = top
        return made
    made = GitRepository(top)
    suite = SUITE.read_text(encoding="utf-8")
    for name in BACKENDS:
        suite += f'\n[backend.{name}]\nplugin = "laggard"\n'
        suite += f'options = {{ plugin = "benchharness_{name}.plugin" }}\n'
    (top / "ci.toml").write_text(suite)
    (top / "pyproject.toml").write_text(PYPROJECT)
    (top / ".gitignore").write_text("/results/\n/cache/\n/.benchmarks/\n__pycache__/\n")
    # As if it were installed, for what runs without a worktree.
    package = top / "src/laggard-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: laggard\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[benchharness]\nlaggard = laggard.plugin\n")
    _write(made, {}, hungrier_mb=0)
    made.commit("equal")
    return made


def _write(repository: GitRepository, planted: dict[str, float], *, hungrier_mb: int) -> None:
    """Write plugin and test, with what is planted."""
    options = {"slower": planted.get("slower", 0.0), "hungrier_mb": hungrier_mb}
    package = repository.top / "src/laggard"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").touch()
    text = LAGGARD.replace("**options)", f"**{{**options, **{options}}})")
    (package / "plugin.py").write_text(text)
    gradients = round(10 * (1 + planted.get("slower", 0.0)))
    (repository.top / "test_own.py").write_text(OWN.format(gradients=gradients))


def _megabytes(repository: GitRepository, backend: str, planted: dict[str, float]) -> int:
    """Return the memory to plant: a share of what the backend took in the last comparison."""
    share = planted.get("hungrier", 0.0)
    for run in sorted(repository.top.glob("results/comparisons/ci/2*"), reverse=bool(share)):
        records, _ = RunFolder(path=run).records()
        own = [record for record in records if record["backend"].startswith(backend)]
        taken = [record["metrics"]["peak_host_bytes"] for record in own if record["metrics"]]
        if share and taken:
            return round(share * median(taken) / 2**20)
    if share:
        raise SystemExit(f"no comparison of equal code with {backend}: --equal 1")
    return 0


def _pytest(repository: GitRepository, *arguments: str) -> Session:
    variables = {
        "PYTHONPATH": str(repository.top / "src"),
        "COLUMNS": "200",
        # As the suite has it: threads that wait for each other show the neighbour.
        "OMP_NUM_THREADS": "1",
    }
    return ended(start(repository.top, *arguments, **variables), timeout_s=3600)


def _summary(sessions: list[dict[str, Any]]) -> Iterator[str]:
    """Yield lines of a Markdown table: what was planted how often, and what pytest said."""
    yield "| session | of | exit codes | got worse | undecided | minutes |"
    yield "|---|---|---|---|---|---|"
    for kind in KINDS:
        for backend in BACKENDS:
            own = [s for s in sessions if (s["kind"], s["backend"]) == (kind, backend)]
            if not own:
                continue
            codes = Counter(str(session["code"]) for session in own).most_common()
            counted = ", ".join(f"{count} x {code}" for code, count in codes)
            worse, undecided = (
                sum(any(re.search(words, line) for line in s["verdicts"]) for s in own)
                for words in ("REGRESSION|^FAILED", "UNDECIDABLE|^undecided")
            )
            minutes = sorted(session["minutes"] for session in own)
            took = f"{minutes[0]:.1f} to {minutes[-1]:.1f}"
            row = [kind, f"{len(own)} {backend}", counted, str(worse), str(undecided), took]
            yield f"| {' | '.join(row)} |"


if __name__ == "__main__":
    raise SystemExit(main())

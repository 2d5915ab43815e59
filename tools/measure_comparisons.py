"""Measure how often ``benchharness compare`` is right: equal code, planted slowness and memory.

Each comparison is a process of its own, as a user starts it, of one small cell of a real backend
against the same, or against one whose steps last 10 % longer, that holds 5 % more memory, or both.

    python tools/measure_comparisons.py FOLDER --equal 10 --slower 5 --hungrier 5 --both 5

Comparisons are appended to FOLDER/comparisons.jsonl as they end; started again, the tool goes on
where it was. ``--summary`` prints what has been found.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from slow_backends import benchharness, install

from benchharness.results.run_folder import RunFolder

SUITE = """
name = "comparisons"
trials = 1
seed = 5
backends = ["keras", "torch"]

[backend.keras]
plugin = "laggard"
options = { plugin = "benchharness_keras.plugin" }

[backend.torch]
plugin = "laggard"
options = { plugin = "benchharness_torch.plugin" }

[dataset]
source = "drawn"

[defaults]
image_size = 32
train_images = 960
test_images = 40
batch_size = 32
threads = 1
dense = 32
dropout = 0.0

[[benchmark]]
name = "cnn"
strategy = "simple_cnn"
filters = [16, 32]
epochs = 12
"""
SLOWER, HUNGRIER = 0.10, 0.05
# What is planted in B, by the kind of comparison. Equal ones come first: they tell the memory.
KINDS = {
    "equal": (),
    "slower": ("slower",),
    "hungrier": ("hungrier_mb",),
    "both": ("slower", "hungrier_mb"),
}


def main() -> int:
    """Run what is missing, then print a summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    for kind, planted in KINDS.items():
        what = f"B {' and '.join(planted)}" if planted else "equal code"
        parser.add_argument(f"--{kind}", type=int, default=1, help=f"per backend, with {what}")
    parser.add_argument("--summary", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    if not (folder / "laggard.py").exists():
        install(folder, SUITE)
    if not arguments.summary:
        counts = {kind: getattr(arguments, kind) for kind in KINDS}
        for kind, backend in missing(folder, counts):
            comparison = compare(folder, kind, backend)
            with (folder / "comparisons.jsonl").open("a") as file:
                file.write(json.dumps(comparison) + "\n")
            print(
                kind,
                backend,
                comparison["exit_code"],
                *comparison["verdicts"],
                sep="\n    ",
                flush=True,
            )
    print(*summary(found(folder)), sep="\n")
    return 0


def found(folder: Path) -> list[dict[str, Any]]:
    """Return the comparisons that were made."""
    file = folder / "comparisons.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def missing(folder: Path, counts: dict[str, int]) -> Iterator[tuple[str, str]]:
    """Yield kind and backend of the comparisons to make, the kinds spread over the time."""
    done = Counter((comparison["kind"], comparison["backend"]) for comparison in found(folder))
    rounds = max(counts.values())
    for number in range(1, rounds + 1):
        for kind, count in counts.items():
            for backend in ("keras", "torch"):
                if done[kind, backend] < ceil(number * count / rounds):
                    done[kind, backend] += 1
                    yield kind, backend


def compare(folder: Path, kind: str, backend: str) -> dict[str, Any]:
    """Return what one comparison says."""
    values = {"slower": str(SLOWER)}
    if "hungrier_mb" in KINDS[kind]:
        values["hungrier_mb"] = str(round(HUNGRIER * host_bytes(folder, backend) / 2**20))
    options = [f"options.{name}={values[name]}" for name in KINDS[kind]]
    began_s = time.monotonic()
    done = benchharness(
        folder, "compare", "lagging.toml", "--backend", backend, "--json", "--max-minutes", "10",
        *(part for option in options or ["options.slower=0.0"] for part in ("--set", option)),
        timeout_s=3600,
    )  # fmt: skip
    events = [json.loads(line) for line in done.stdout.splitlines()]
    (made,) = (event["comparison"] for event in events if event["event"] == "comparison")
    (cell,) = made["cells"]
    return {
        "kind": kind,
        "backend": backend,
        "exit_code": done.returncode,
        "minutes": (time.monotonic() - began_s) / 60,
        "verdicts": cell["verdicts"],
    }


def host_bytes(folder: Path, backend: str) -> float:
    """Return the memory that a backend takes in the first comparison, which is of equal code."""
    for run in sorted((folder / "results/comparisons/comparisons").glob("2*")):
        records, _ = RunFolder(path=run).records()
        own = [record for record in records if record["backend"].startswith(backend)]
        if own:
            return median(record["metrics"]["peak_host_bytes"] for record in own)
    raise SystemExit(f"no comparison of equal code with {backend} in {folder}: --equal 1")


def summary(comparisons: list[dict[str, Any]]) -> Iterator[str]:
    """Yield lines of a Markdown table: who was compared how often, and what it said."""
    yield "| comparison | of | exit codes | best epoch | training | memory | pairs | minutes |"
    yield "|---|---|---|---|---|---|---|---|"
    for kind in KINDS:
        for backend in ("keras", "torch"):
            own = [c for c in comparisons if (c["kind"], c["backend"]) == (kind, backend)]
            if own:
                yield f"| {kind} | {len(own)} {backend} | {_row(own)} |"


def _row(own: list[dict[str, Any]]) -> str:
    cells = [_counts(comparison["exit_code"] for comparison in own)]
    for column in ("best_epoch_s", "train_images_per_s", "peak_host_bytes"):
        cells.append(_counts(_verdict(comparison, column)["word"] for comparison in own))
    pairs = [max(verdict["pairs"] for verdict in comparison["verdicts"]) for comparison in own]
    minutes = [comparison["minutes"] for comparison in own]
    cells.append(f"{min(pairs)} to {max(pairs)}, median {median(pairs):g}")
    cells.append(f"{min(minutes):.1f} to {max(minutes):.1f}, {sum(minutes):.0f} in all")
    return " | ".join(cells)


def _verdict(comparison: dict[str, Any], column: str) -> dict[str, Any]:
    return next(verdict for verdict in comparison["verdicts"] if verdict["column"] == column)


def _counts(words: Any) -> str:
    return ", ".join(f"{count} x {word}" for word, count in Counter(map(str, words)).most_common())


if __name__ == "__main__":
    raise SystemExit(main())

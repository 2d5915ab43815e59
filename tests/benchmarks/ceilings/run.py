"""Comparison of every backend with the ceiling of its framework, round by round.

A ceiling is a plain program that imports a framework and nothing of ours, in its fastest idiom. The
share is the harness's speed over the ceiling's, median of paired rounds that take turns. Run with
``make bench``, or for some rows:

    python -P tests/benchmarks/ceilings/run.py --backend torch --work head_small --rounds 10

``--device gpu`` takes the work that is for a GPU, in the backends whose ceilings have one.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import platform
import re
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchharness.run.process.executor import ALLOCATOR

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[2]
PUBLISHED = ROOT / "results" / "reference" / "ceilings"
SETTINGS = tomllib.loads((FOLDER / "settings.toml").read_text(encoding="utf-8"))
# Program of each backend's ceiling, and what KERAS_BACKEND must say.
CEILINGS = {
    "torch": ("torch.py", None),
    "keras": ("keras.py", "tensorflow"),
    "keras-jax": ("keras.py", "jax"),
    "keras-torch": ("keras.py", "torch"),
    "jax": ("jax.py", None),
}
ON_GPU = ("torch", "jax")
# Compiling VGG16 takes the longest; what is silent for longer has hung.
REPLY_S = 300.0

Commands = Callable[..., tuple[Sequence[str], Sequence[str]]]


class ProgramError(Exception):
    """A program ended, hung or replied nonsense."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One work in one backend.

    Attributes:
        ceiling_step_ms: Median of the ceiling's rounds.
        harness_step_ms: Median of the harness's rounds.
        idiom: The ceiling's fastest.
        share: Harness speed over ceiling speed, median of paired rounds, 1 where they are equal.
        share_p25: Lower quartile of the pairs' shares.
        share_p75: Upper quartile.
        bar: Share to reach.
        verdict: ``ok``, ``short`` of the bar, ``skipped`` (no framework) or ``failed``.
        pairs: Of rounds.
        round_steps: Steps of a round.
        reason: Of a row without figures.
    """

    work: str
    backend: str
    verdict: str
    share: float | None = None
    share_p25: float | None = None
    share_p75: float | None = None
    bar: float | None = None
    ceiling_step_ms: float | None = None
    harness_step_ms: float | None = None
    idiom: str = ""
    pairs: int = 0
    round_steps: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Step time of one idiom, as it was tried.

    Attributes:
        step_ms: Shortest epoch over its steps; None where the idiom failed.
        reason: Why it failed.
    """

    work: str
    backend: str
    idiom: str
    step_ms: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """Machine, versions and time of a comparison; no name of the machine."""

    processor: str
    threads: int
    memory_gib: float
    python: str
    versions: Mapping[str, str]
    commit: str
    started: str
    minutes: float
    load_before: float
    load_after: float


class Program:
    """A process that answers requests, one JSON object a line, and waits on its pipe between."""

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=dict(environment),
        )

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *details: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            assert pipe is not None
            pipe.close()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Return the reply to a request.

        Raises:
            ProgramError: The program has ended, or is silent for too long.
        """
        pipe: IO[bytes] | None = self._process.stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps(request).encode() + b"\n")
            pipe.flush()
        except BrokenPipeError:
            raise ProgramError(self._last_words()) from None
        return self.receive()

    def receive(self) -> dict[str, Any]:
        """Return the next reply.

        Raises:
            ProgramError: The program has ended, or is silent for too long.
        """
        pipe: IO[bytes] | None = self._process.stdout
        assert pipe is not None
        if not select.select([pipe], [], [], REPLY_S)[0]:
            raise ProgramError(f"no reply for {REPLY_S:.0f} s")
        line = pipe.readline()
        if not line:
            raise ProgramError(self._last_words())
        reply: dict[str, Any] = json.loads(line)
        return reply

    def _last_words(self) -> str:
        """Return the first line of the error that a program ended with, or its last line."""
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        errors = [
            line for line in lines if re.match(r"[\w.]+(Error|Exception|Exit|Interrupt)\b", line)
        ]
        said = errors or [line.strip() for line in lines if line.strip()]
        return said[-1][:300] if said else f"exit code {self._process.returncode}, no message"


def program_commands(
    *, backend: str, work: str, data: Path, threads: int
) -> tuple[Sequence[str], Sequence[str]]:
    """Return the commands that start a ceiling and the harness."""
    shared = ["--work", work, "--data", str(data), "--threads", str(threads)]
    # -P keeps the folder off the import path, where torch.py would hide PyTorch.
    python = [sys.executable, "-P"]
    ceiling = [*python, str(FOLDER / CEILINGS[backend][0]), *shared]
    harness = [*python, str(FOLDER / "harness.py"), "--backend", backend, *shared]
    return ceiling, harness


def environment_of(backend: str, *, device: str = "cpu") -> dict[str, str]:
    """Return the environment of both programs of a backend."""
    engine = CEILINGS[backend][1]
    kept = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    # Without these, TensorFlow and XLA fill the pipe of messages with remarks on missing GPUs.
    kept |= {"TF_CPP_MIN_LOG_LEVEL": "3"}
    if device == "cpu":
        kept |= {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    else:
        # Both programs are on the device at the same time.
        kept |= {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    # The memory of a trial, for both: what is compared is the adapter.
    return {**ALLOCATOR, **kept, **({"KERAS_BACKEND": engine} if engine else {})}


def device_of(work: str) -> str:
    """Return where a work is done, ``cpu`` or ``gpu``."""
    return str(SETTINGS["work"][work].get("device", "cpu"))


def write_data(work: str, folder: Path, *, images: int | None = None) -> None:
    """Write ``WORK/inputs.npy`` and ``WORK/labels.npy``: noise, brighter where the label is 1.

    One label in ten is wrong, so that the loss stays away from zero, where arithmetic on denormal
    numbers would be what is timed.
    """
    settings = SETTINGS["work"][work]
    generator, count = np.random.default_rng(0), images or settings["images"]
    classes = np.arange(count) % 2
    shape = (count, *settings["input"])
    offsets = classes.reshape(-1, *[1] * len(settings["input"]))
    if "preprocessing" in settings:
        inputs = (generator.integers(0, 192, shape) + 64 * offsets).astype(np.uint8)
    else:
        # Features of a network end in a ReLU.
        noise = generator.standard_normal(shape, dtype=np.float32)
        inputs = np.maximum(noise + np.float32(0.3) * offsets, 0).astype(np.float32)
    labels = np.where(generator.random(count) < 0.1, 1 - classes, classes).astype(np.int32)
    (folder / work).mkdir()
    np.save(folder / work / "inputs.npy", inputs)
    np.save(folder / work / "labels.npy", labels)


def bar_for(step_ms: float) -> float:
    """Return the share to reach where a step of the ceiling takes so many milliseconds."""
    bars = sorted(SETTINGS["bar"], key=lambda bar: bar["step_ms_from"])
    bar = [bar for bar in bars if step_ms >= bar["step_ms_from"]][-1]
    return float(bar.get("share") or step_ms / (step_ms + bar["added_ms"]))


def summarize(
    *,
    work: str,
    backend: str,
    idiom: str,
    round_steps: int,
    ceiling_s: Sequence[float],
    harness_s: Sequence[float],
) -> Row:
    """Return the row of some paired rounds.

    Args:
        round_steps: Steps of a round.
        ceiling_s: Seconds of a step in each of the ceiling's rounds.
        harness_s: Seconds of a step in each of the harness's rounds, each beside its pair.
    """
    shares = [ceiling / harness for ceiling, harness in zip(ceiling_s, harness_s, strict=True)]
    step_ms = 1e3 * statistics.median(ceiling_s)
    share, bar = statistics.median(shares), bar_for(step_ms)
    low, _, high = statistics.quantiles(shares, n=4) if len(shares) > 1 else [share] * 3
    return Row(
        work=work,
        backend=backend,
        verdict="ok" if share >= bar else "short",
        share=share,
        share_p25=low,
        share_p75=high,
        bar=bar,
        ceiling_step_ms=step_ms,
        harness_step_ms=1e3 * statistics.median(harness_s),
        idiom=idiom,
        pairs=len(shares),
        round_steps=round_steps,
    )


def compare(
    *,
    backend: str,
    work: str,
    data: Path,
    threads: int,
    rounds: int,
    restarts: int,
    commands: Commands,
) -> tuple[Row, list[Trial], Mapping[str, str]]:
    """Return the row of one work in one backend, its idioms, and the framework's versions.

    Raises:
        ProgramError: One of the programs failed.
    """
    measure = SETTINGS["measure"]
    seconds: list[tuple[float, float]] = []
    tried: dict[str, Any] = {}
    for restart in range(restarts):
        with started(backend=backend, work=work, data=data, threads=threads, commands=commands) as (
            ceiling,
            harness,
            versions,
        ):
            found = ceiling.ask(do="prepare", epochs=0)
            epochs = max(1, round(measure["round_s"] / found["epoch_s"]))
            harness.ask(do="prepare", epochs=(rounds + 1) * epochs)
            # The first round of a loop may still compile, and fills buffers and caches.
            steps = ceiling.ask(do="round", epochs=epochs)["steps"]
            harness.ask(do="round", epochs=epochs)
            step_ms = 1e3 * found["epoch_s"] * epochs / steps
            is_repeated = step_ms < measure["restart_below_ms"]
            count = -(-rounds // restarts) if is_repeated else rounds
            seconds += [
                (ours / steps, theirs / steps)
                for ours, theirs in paired_rounds(ceiling, harness, epochs=epochs, rounds=count)
            ]
        if restart == 0:
            tried, round_steps = found, steps
        if not is_repeated:
            break
    row = summarize(
        work=work,
        backend=backend,
        idiom=tried["idiom"],
        round_steps=round_steps,
        ceiling_s=[ours for ours, _ in seconds],
        harness_s=[theirs for _, theirs in seconds],
    )
    trials = [
        Trial(work=work, backend=backend, idiom=idiom, step_ms=None, reason=found)
        if isinstance(found, str)
        else Trial(work=work, backend=backend, idiom=idiom, step_ms=1e3 * found)
        for idiom, found in tried["idioms"].items()
    ]
    return row, trials, versions


@contextmanager
def started(
    *, backend: str, work: str, data: Path, threads: int, commands: Commands
) -> Iterator[tuple[Program, Program, Mapping[str, str]]]:
    """Start a ceiling and the harness, and give both with the framework's versions."""
    environment = environment_of(backend, device=device_of(work))
    ceiling_command, harness_command = commands(
        backend=backend, work=work, data=data, threads=threads
    )
    with (
        Program(ceiling_command, environment=environment) as ceiling,
        Program(harness_command, environment=environment) as harness,
    ):
        # Both import their framework at the same time; from here on, only one is ever at work.
        versions = ceiling.receive()["versions"]
        harness.receive()
        yield ceiling, harness, versions


def paired_rounds(
    ceiling: Program, harness: Program, *, epochs: int, rounds: int
) -> list[tuple[float, float]]:
    """Return the seconds of rounds of so many epochs, the ceiling's and the harness's."""
    measure = SETTINGS["measure"]
    seconds: dict[Program, list[float]] = {ceiling: [], harness: []}
    until_s = time.monotonic() + measure["row_s"]
    for number in range(rounds):
        # A B B A: drift of the machine meets both alike.
        for program in (ceiling, harness) if number % 2 == 0 else (harness, ceiling):
            seconds[program].append(program.ask(do="round", epochs=epochs)["seconds"])
        if time.monotonic() > until_s and number + 1 >= measure["rounds_min"]:
            break
    return list(zip(seconds[ceiling], seconds[harness], strict=True))


def without_figures(*, backend: str, work: str, reason: str) -> Row:
    """Return the row of a comparison that could not be made."""
    is_absent = "No module named" in reason or "cannot be imported" in reason
    verdict = "skipped" if is_absent or "expected an installed plugin" in reason else "failed"
    return Row(work=work, backend=backend, verdict=verdict, reason=reason)


def build_table(rows: Iterable[Row]) -> Table:
    """Return the rows as a table for a terminal."""
    table = Table(title="Share of the ceiling's speed that each backend reaches")
    for name in ("work", "backend", "fastest idiom"):
        table.add_column(name, overflow="fold")
    for name in ("ceiling ms/step", "harness ms/step", "share", "quartiles", "bar"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for row in rows:
        style = "" if row.verdict == "ok" else "bold red" if row.verdict != "skipped" else "dim"
        table.add_row(*cells(row), style=style)
    return table


def cells(row: Row) -> list[str]:
    """Return a row as text, in the table's columns."""
    if row.share is None:
        return [row.work, row.backend, row.reason, *["-"] * 5, row.verdict]
    return [
        row.work,
        row.backend,
        row.idiom,
        f"{row.ceiling_step_ms:.3f}",
        f"{row.harness_step_ms:.3f}",
        f"{row.share:.3f}",
        f"{row.share_p25:.3f}-{row.share_p75:.3f}",
        f"{row.bar:.2f}",
        row.verdict,
    ]


def write_csv(file: Path, records: Sequence[Row] | Sequence[Trial]) -> None:
    """Write records, unrounded, a column for each field."""
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, [field.name for field in fields(records[0])])
        writer.writeheader()
        writer.writerows(asdict(record) for record in records)


def write_markdown(file: Path, rows: Sequence[Row], circumstances: Circumstances) -> None:
    """Write the table with the circumstances above it."""
    header = ["work", "backend", "fastest idiom", "ceiling ms/step", "harness ms/step"]
    header += ["share", "quartiles", "bar", "verdict"]
    versions = ", ".join(f"{name} {text}" for name, text in circumstances.versions.items())
    short = [f"{row.work} in {row.backend}" for row in rows if row.verdict == "short"]
    lines = [
        "# Ceilings",
        "",
        "Speed of each backend in benchharness over the speed of a plain program of its",
        "framework (`tests/benchmarks/ceilings`), median of paired rounds. `make bench` measures",
        "it again; `ceilings.csv` holds the figures unrounded, `idioms.csv` each idiom's.",
        "",
        f"- {circumstances.processor}, {circumstances.threads} threads, "
        f"{circumstances.memory_gib:.0f} GiB, Python {circumstances.python}",
        f"- {versions}",
        f"- benchharness {circumstances.commit}, {circumstances.started}, "
        f"{circumstances.minutes:.0f} min",
        f"- load average {circumstances.load_before:.2f} before, "
        f"{circumstances.load_after:.2f} after (a quiet machine: below 0.5 before, and no more "
        "than the threads after)",
        f"- short of the bar: {', '.join(short) or 'none'}",
        "",
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
        *(f"| {' | '.join(cells(row))} |" for row in rows),
        "",
    ]
    file.write_text("\n".join(lines), encoding="utf-8")


def processor_name() -> str:
    """Return the processor's model."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def commit() -> str:
    """Return the commit of the working tree, marked where it has changes."""
    command = ["git", "describe", "--always", "--dirty=+changes"]
    try:
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown commit"
    return found.stdout.strip() or "unknown commit"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", action="append", choices=CEILINGS, help="repeatable")
    parser.add_argument("--work", action="append", choices=SETTINGS["work"], help="repeatable")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="of the work")
    parser.add_argument("--rounds", type=int, default=SETTINGS["measure"]["rounds"])
    parser.add_argument("--restarts", type=int, default=SETTINGS["measure"]["restarts"])
    parser.add_argument("--threads", type=int, default=SETTINGS["measure"]["threads"])
    parser.add_argument("--output", type=Path, help="folder for CSV and Markdown")
    parser.add_argument(
        "--publish", action="store_true", help=f"write the whole table to {PUBLISHED.name}/"
    )
    options = parser.parse_args(arguments)
    for name in ("rounds", "restarts", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name}: expected at least 1, got {getattr(options, name)}")
    if options.publish and (
        options.backend or options.work or options.output or options.device == "gpu"
    ):
        parser.error("--publish: expected no --backend, --work, --output or --device gpu beside it")
    for name in options.work or ():
        if device_of(name) != options.device:
            parser.error(f"--work: {name} expects --device {device_of(name)}")
    if options.device == "gpu" and not set(options.backend or ON_GPU) <= set(ON_GPU):
        parser.error(f"--backend: expected {' or '.join(ON_GPU)} with --device gpu")
    if options.publish:
        options.output = PUBLISHED
    return options


def main(arguments: Sequence[str] | None = None, *, commands: Commands = program_commands) -> int:
    """Compare, print and write; the exit code is 1 where a row falls short or failed."""
    options, console = parse(arguments), Console()
    if not console.is_terminal:
        console.width = 140
    cores = sorted(os.sched_getaffinity(0))
    threads = min(options.threads, len(cores))
    # Inherited by both programs, before their frameworks count cores.
    os.sched_setaffinity(0, cores[:threads])
    began_s, load_before = time.monotonic(), os.getloadavg()[0]
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    rows: list[Row] = []
    trials: list[Trial] = []
    versions: dict[str, str] = {}
    all_work = [work for work in SETTINGS["work"] if device_of(work) == options.device]
    for work in options.work or all_work:
        with tempfile.TemporaryDirectory(prefix="ceilings-") as folder:
            write_data(work, Path(folder))
            for backend in options.backend or (CEILINGS if options.device == "cpu" else ON_GPU):
                try:
                    row, tried, found = compare(
                        backend=backend,
                        work=work,
                        data=Path(folder),
                        threads=threads,
                        rounds=options.rounds,
                        restarts=options.restarts,
                        commands=commands,
                    )
                except ProgramError as error:
                    row, tried, found = (
                        without_figures(backend=backend, work=work, reason=str(error)), [], {},
                    )  # fmt: skip
                rows.append(row)
                trials += tried
                versions |= found
                console.print(" | ".join(cells(row)), style="dim", soft_wrap=True)
    os.sched_setaffinity(0, cores)
    circumstances = Circumstances(
        processor=processor_name(),
        threads=threads,
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        python=platform.python_version(),
        versions=versions,
        commit=commit(),
        started=started,
        minutes=(time.monotonic() - began_s) / 60,
        load_before=load_before,
        load_after=os.getloadavg()[0],
    )
    console.print(build_table(rows))
    console.print(
        f"load average {load_before:.2f} before, {circumstances.load_after:.2f} after, "
        f"{circumstances.minutes:.1f} min"
    )
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        write_csv(options.output / "ceilings.csv", rows)
        if trials:
            write_csv(options.output / "idioms.csv", trials)
        write_markdown(options.output / "README.md", rows, circumstances)
    return report_failures(rows, console)


def report_failures(rows: Iterable[Row], console: Console) -> int:
    """Name what falls short or failed; return the exit code."""
    code = 0
    for row in rows:
        if row.verdict == "short":
            console.print(
                f"{row.work} in {row.backend}: expected a share of at least {row.bar:.2f}, "
                f"found {row.share:.3f}",
                soft_wrap=True,
            )
        elif row.verdict == "failed":
            console.print(f"{row.work} in {row.backend}: {row.reason}", soft_wrap=True)
        code |= row.verdict in ("short", "failed")
    return int(code)


if __name__ == "__main__":
    # Ended by a signal, it still ends its programs and removes its data.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())

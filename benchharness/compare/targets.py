"""Targets of a comparison: what the user named as A and B."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchharness.compare.overrides import Overrides
from benchharness.errors import Problem, RunError, SuiteError
from benchharness.plugins import installed
from benchharness.results.run_folder import RunFolder, find_run
from benchharness.suite.file import SuiteFile
from benchharness.suite.load import load

# The revision that stands for the working tree, changes included.
WORKTREE = "."


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSpec:
    """Target as the user named it: a backend, revision, recorded run, or the suite as written."""

    kind: Literal["run", "rev", "backend", "written"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A or B, to be run.

    Attributes:
        label: The user's name for it.
        backend: The only backend it runs; None for all of the suite.
        overrides: Settings that differ from the suite.
        revision: Git revision whose code runs; None for the installed code.
    """

    label: str
    backend: str | None = None
    overrides: Overrides = field(default_factory=Overrides)
    revision: str | None = None

    @property
    def suffix(self) -> str:
        """Its difference from the other side of the same backend; empty for none."""
        code = "worktree" if self.revision == WORKTREE else self.revision or ""
        return " ".join(filter(None, [code, *self.overrides.written]))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """A or B, as it was recorded; all of its backends, or the only one that counts."""

    label: str
    run: RunFolder
    backend: str | None = None


def parse_targets(
    a: str, b: str | None, *, suite: Path | None, has_overrides: bool, results: Path
) -> tuple[Path | None, tuple[TargetSpec, TargetSpec]]:
    """Return the suite and its two targets.

    Args:
        a: A target; or a suite alone, whose variants are then compared.
        b: The other target; None for the working tree of A's repository, if A is a revision.
        suite: What both run; may be None for recorded runs.
        has_overrides: Whether a side has settings that differ from the suite.

    Raises:
        SuiteError: There is only one target, nothing to run, or one is recorded and the other not.
    """
    if b is None and suite is None and a.endswith(".toml"):
        if not has_overrides:
            expected = "--set key=value beside a suite alone, or a second side"
            raise invalid_targets(a, expected=expected, found="neither")
        written = TargetSpec(kind="written", text="")
        return Path(a), (written, written)
    known = [*backends_of(load(suite)), *installed()] if suite else []
    target_a = parse_target(a, backends=known, results=results)
    if b is None and target_a.kind != "rev":
        raise invalid_targets(a, expected=f"a second side to compare {a} with", found="none")
    b = b or f"rev:{WORKTREE}"
    target_b = parse_target(b, backends=known, results=results)
    if (target_a.kind == "run") != (target_b.kind == "run"):
        raise invalid_targets(
            f"{a}, {b}",
            expected="two sides that are both recorded, or both to be run",
            found=f"a {target_a.kind} and a {target_b.kind}",
            hint="timings of different times differ on most machines: run both",
        )
    if target_a.kind != "run" and suite is None:
        expected = "--suite, which both are to run, or two recorded runs"
        raise invalid_targets(f"{a}, {b}", expected=expected, found="neither")
    return suite, (target_a, target_b)


def parse_target(text: str, *, backends: Collection[str], results: Path) -> TargetSpec:
    """Return what a text names: ``KIND:TEXT``, a backend, a recorded run, or else a revision."""
    kind, colon, rest = text.partition(":")
    match kind:
        case "run" | "rev" | "backend" if colon:
            return TargetSpec(kind=kind, text=rest)
    if text in backends:
        return TargetSpec(kind="backend", text=text)
    try:
        recorded_run(text, results=results)
    except (RunError, OSError, ValueError):
        return TargetSpec(kind="rev", text=text)
    return TargetSpec(kind="run", text=text)


def recorded_run(text: str, *, results: Path) -> RecordedRun:
    """Return a recorded run, or ``RUN@BACKEND``: one backend of it.

    Raises:
        RunError: Nothing was recorded under that name, or not of that backend.
    """
    try:
        return RecordedRun(label=text, run=find_run(Path(text), results))
    except RunError:
        name, at, backend = text.rpartition("@")
        if not at:
            raise
    run = find_run(Path(name), results)
    known = list(dict.fromkeys(record["backend"] for record in run.records()[0]))
    if backend not in known:
        raise RunError(
            f"{text}: expected a backend of {run.path} ({', '.join(known) or 'none'}), "
            f"found {backend!r}"
        )
    return RecordedRun(label=text, run=run, backend=backend)


def side_of(target: TargetSpec, overrides: Overrides) -> Side:
    """Return the side of a target that is to be run."""
    return Side(
        label=" ".join(filter(None, [target.text, *overrides.written])) or "as written",
        backend=target.text if target.kind == "backend" else None,
        overrides=overrides,
        revision=target.text if target.kind == "rev" else None,
    )


def backends_of(suite: SuiteFile) -> list[str]:
    """Return every backend that a suite names anywhere."""
    lists = [suite.backends, tuple(suite.backend)]
    lists += [benchmark.backends for benchmark in suite.benchmark]
    lists += [profile.backends for profile in suite.profiles.values()]
    return list(dict.fromkeys(name for names in lists for name in names or ()))


def invalid_targets(where: str, *, expected: str, found: str, hint: str = "") -> SuiteError:
    """Return the error for targets that cannot be compared."""
    problem = Problem(where=where, expected=expected, found=found, hint=hint)
    return SuiteError("compare", [problem])

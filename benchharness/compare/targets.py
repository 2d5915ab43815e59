"""What is compared: the two sides, A and B, and what they mean to the user who named them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from benchharness.compare.overrides import Changes
from benchharness.errors import Problem, RunError, SuiteError
from benchharness.plugins import installed
from benchharness.results.run_folder import RunFolder, find_run
from benchharness.suite.file import SuiteFile
from benchharness.suite.load import load


class Checkout(Protocol):
    """A git revision, ready for workers, as ``revisions.prepare`` returns it.

    Attributes:
        label: What was asked for, and its commit.
        commit: Full hash; of the commit below, where the files lie changed.
        is_dirty: Whether they do.
        python: Interpreter of the workers.
        environment: Variables that they need beside their own.
    """

    label: str
    commit: str
    is_dirty: bool
    python: str
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two, to be run afresh.

    Attributes:
        label: What the user calls it.
        backend: The only backend it runs; None for all of the suite.
        changes: Settings that it lays over the suite.
        revision: Whose code runs, as git understands it; None for what is installed here.
    """

    label: str
    backend: str | None = None
    changes: Changes = field(default_factory=Changes)
    revision: str | None = None

    @property
    def suffix(self) -> str:
        """What tells it from the other side of the same backend; empty where nothing does."""
        code = "worktree" if self.revision == "." else self.revision or ""
        return " ".join(filter(None, [code, *self.changes.written]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One of the two, as it was recorded.

    Attributes:
        label: What the user calls it.
        backend: The only backend of the run that counts; None for all.
    """

    label: str
    run: RunFolder
    backend: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSpec:
    """What the user wrote for a side, told apart.

    Attributes:
        kind: ``backend`` of a suite, revision of git (``rev``), recorded ``run``, or the suite as
            ``written``.
        text: Without the kind.
    """

    kind: Literal["run", "rev", "backend", "written"]
    text: str


def parse_targets(
    a: str, b: str | None, *, suite: Path | None, is_changed: bool, results: Path
) -> tuple[Path | None, tuple[TargetSpec, TargetSpec]]:
    """Return the suite and what its two sides are.

    Args:
        a: A side; or a suite alone, whose variants are then compared.
        b: The other side; None for the files of A's repository as they lie, where A is a revision.
        suite: What both run; may be None for recorded sides.
        is_changed: Whether a side lays settings over the suite.
        results: Where runs are recorded.

    Raises:
        SuiteError: There is only one side, nothing to run, or one side is recorded and the other
            is to be run.
    """
    if b is None and suite is None and a.endswith(".toml"):
        if not is_changed:
            raise invalid_targets(
                a,
                expected="--set key=value beside a suite alone, or a second side",
                found="neither",
            )
        return Path(a), (TargetSpec(kind="written", text=""), TargetSpec(kind="written", text=""))
    known = [*backends_of(load(suite)), *installed()] if suite else []
    ours = name_side(a, backends=known, results=results)
    if b is None and ours.kind != "rev":
        raise invalid_targets(a, expected=f"a second side to compare {a} with", found="none")
    theirs = name_side(b or "rev:.", backends=known, results=results)
    if (ours.kind == "run") != (theirs.kind == "run"):
        raise invalid_targets(
            f"{a}, {b}",
            expected="two sides that are both recorded, or both to be run",
            found=f"a {ours.kind} and a {theirs.kind}",
            hint="timings of different times differ on most machines: run both",
        )
    if ours.kind != "run" and suite is None:
        raise invalid_targets(
            f"{a}, {b or 'rev:.'}",
            expected="--suite, which both are to run, or two recorded runs",
            found="neither",
        )
    return suite, (ours, theirs)


def name_side(text: str, *, backends: Collection[str], results: Path) -> TargetSpec:
    """Return what a text names: ``KIND:TEXT``, a backend, a recorded run, or else a revision.

    Args:
        backends: That the suite may run; empty without a suite.
        results: Where runs are recorded.
    """
    kind, colon, rest = text.partition(":")
    match kind:
        case "run" | "rev" | "backend" if colon:
            return TargetSpec(kind=kind, text=rest)
    if text in backends:
        return TargetSpec(kind="backend", text=text)
    if _is_recorded(text, results):
        return TargetSpec(kind="run", text=text)
    return TargetSpec(kind="rev", text=text)


def recorded_side(text: str, *, results: Path) -> Recorded:
    """Return a recorded side: a run, or ``RUN@BACKEND`` for one backend of it.

    Raises:
        RunError: Nothing was recorded under that name, or not of that backend.
    """
    try:
        return Recorded(label=text, run=find_run(Path(text), results))
    except RunError:
        name, at, backend = text.rpartition("@")
        if not at:
            raise
    run = find_run(Path(name), results)
    records, _ = run.records()
    known = list(dict.fromkeys(record["backend"] for record in records))
    if backend not in known:
        raise RunError(
            f"{text}: expected a backend of {run.path} ({', '.join(known) or 'none'}), "
            f"found {backend!r}"
        )
    return Recorded(label=text, run=run, backend=backend)


def fresh_side(named: TargetSpec, changes: Changes) -> Side:
    """Return a side that is to be run."""
    backend = named.text if named.kind == "backend" else None
    revision = named.text if named.kind == "rev" else None
    words = [named.text] if named.kind != "written" else []
    label = " ".join([*words, *changes.written]) or "as written"
    return Side(label=label, backend=backend, changes=changes, revision=revision)


def backends_of(suite: SuiteFile) -> list[str]:
    """Return every backend that a suite names anywhere."""
    lists: list[Sequence[str]] = [suite.backends or (), tuple(suite.backend)]
    lists += [benchmark.backends or () for benchmark in suite.benchmark]
    lists += [profile.backends or () for profile in suite.profiles.values()]
    return list(dict.fromkeys(name for names in lists for name in names))


def invalid_targets(where: str, *, expected: str, found: str, hint: str = "") -> SuiteError:
    """Return the refusal of sides that cannot be compared."""
    problem = Problem(where=where, expected=expected, found=found, hint=hint)
    return SuiteError("compare", [problem])


def _is_recorded(text: str, results: Path) -> bool:
    try:
        recorded_side(text, results=results)
    except (RunError, OSError, ValueError):
        return False
    return True

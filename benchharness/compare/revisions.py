"""A git revision as a side of a comparison: its files, an interpreter, and what to import first."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import Distribution
from pathlib import Path
from types import TracebackType
from typing import Self

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from benchharness.compare.environments import Requirements, interpreter_for, read_pins
from benchharness.compare.overlay import Overlay
from benchharness.compare.projects import ROOT, Project, find_projects, source_of
from benchharness.compare.repository import Repository, scratch, short
from benchharness.environments.dependencies import installed_as
from benchharness.errors import Problem, SuiteError
from benchharness.plugins import installed
from benchharness.subprocesses import python_environment

Tell = Callable[[str], None]

# The files as they lie, changes included.
WORKTREE = "."


@dataclass(slots=True, kw_only=True)
class Checkout:
    """A revision, ready for workers; a context manager that removes what was made for it.

    Attributes:
        label: For people: what was asked for, and its commit.
        commit: Full hash; that of the commit below, for the files as they lie.
        is_dirty: Whether the files differ from the commit.
        top: Folder of the files.
        projects: Names of the distributions that come from it.
        python: Interpreter of the workers.
        environment: Variables that the workers need beside their own.
    """

    label: str
    commit: str
    is_dirty: bool
    top: Path
    projects: tuple[str, ...]
    python: str
    environment: Mapping[str, str]
    _made: ExitStack = field(default_factory=ExitStack, repr=False)

    def close(self) -> None:
        """Remove the worktree; a second call does nothing."""
        self._made.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def prepare(
    revision: str,
    *,
    repository: Path,
    cache: Path,
    tell: Tell,
    plugins: Collection[str] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Checkout:
    """Make a revision ready for workers.

    Args:
        revision: As git understands it; ``.`` for the files as they lie.
        repository: A folder of it.
        cache: Keeps environments between calls, and the worktree until it is closed.
        tell: Told, a line at a time, of what takes long and of what the revision leaves out.
        plugins: Backends' plugins that will be used; None for all that are installed.
        environment: Variables of the workers.

    Raises:
        SuiteError: The folder is no repository, or there is no such revision.
        RunError: It cannot be checked out, its packages cannot be installed, or its code is not
            what workers would import.
    """
    found = Repository.containing(repository)
    home = cache / "revisions"
    with ExitStack() as made:
        folder = made.enter_context(scratch(home / "worktrees", prefix="side-"))
        commit, is_dirty, top = _take(found, revision, folder, tell)
        projects = _projects(found, revision, top)
        requirements, laid = _requirements(projects, pins=read_pins(top), plugins=plugins)
        python = interpreter_for(
            requirements, cache=home / "environments", environment=environment, tell=tell
        )
        overlay = Overlay.write(laid, folder / "metadata")
        variables = overlay.variables(environment)
        overlay.check(python, {**environment, **variables})
        _compile(python, projects, {**environment, **variables})
        return Checkout(
            label=_label(revision, commit, is_dirty=is_dirty),
            commit=commit,
            is_dirty=is_dirty,
            top=top,
            projects=tuple(project.name for project in projects),
            python=str(python),
            environment=variables,
            _made=made.pop_all(),
        )


def _take(
    repository: Repository, revision: str, folder: Path, tell: Tell
) -> tuple[str, bool, Path]:
    """Return a revision's commit, whether its files differ from it, and where they lie."""
    if revision == WORKTREE:
        return repository.head(), bool(repository.changes()), repository.top
    commit = repository.commit(revision)
    _tell_changes(repository, revision, commit, tell)
    repository.add_worktree(commit, folder / "files")
    return commit, False, folder / "files"


def _requirements(
    projects: Sequence[Project], *, pins: Sequence[str], plugins: Collection[str] | None
) -> tuple[Requirements, Sequence[Project]]:
    """Return what the revision's projects need, and which projects to lay before everything."""
    needed = Requirements.of(projects, pins=pins)
    if not needed.unmet():
        return needed, projects
    # A fresh environment knows nothing of what is installed here beside the repository.
    editable, published = _companions(projects, plugins)
    laid = [*projects, *editable]
    return Requirements.of(laid, pins=pins, also=published), laid


def _projects(repository: Repository, revision: str, top: Path) -> list[Project]:
    """Return the revision's projects.

    Raises:
        SuiteError: It holds none of ours, or none that this Python can run.
    """
    projects = find_projects(top)
    problems = [
        Problem(
            where=f"rev:{revision}: {project.name}: requires-python",
            expected=f"one that admits this Python, {platform.python_version()}",
            found=project.requires_python,
        )
        for project in projects
        if not SpecifierSet(project.requires_python).contains(platform.python_version())
    ]
    if not projects:
        expected = "a pyproject.toml of benchharness or of a plugin for it"
        problems = [Problem(where=f"rev:{revision}", expected=expected, found="none")]
    if problems:
        raise SuiteError(str(repository.top), problems)
    return projects


def _companions(
    projects: Sequence[Project], plugins: Collection[str] | None
) -> tuple[list[Project], list[str]]:
    """Return what workers need beside the repository's projects.

    Returns:
        The projects that are installed as they lie in a folder, and the requirements for others.
    """
    own = {canonicalize_name(project.name) for project in projects}
    needed: list[Distribution | None] = [installed_as(ROOT)]
    needed += [
        entry.dist for name, entry in installed().items() if plugins is None or name in plugins
    ]
    editable: dict[str, Project] = {}
    published: dict[str, str] = {}
    for known in filter(None, needed):
        name = canonicalize_name(known.name)
        if name in own:
            continue
        source = source_of(known)
        if source is None:
            published[name] = f"{known.name}=={known.version}"
        else:
            editable[name] = source
    return list(editable.values()), list(published.values())


def _tell_changes(repository: Repository, revision: str, commit: str, tell: Tell) -> None:
    """Say what lies in the folder and is not measured, where the user could believe it were."""
    changed = repository.changes() if commit == repository.head() else []
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        tell(
            f"rev:{revision} is the commit {short(commit)}, without the changes in "
            f"{changed[0]}{more}; rev:{WORKTREE} is the files as they lie"
        )


def _compile(python: Path, projects: Sequence[Project], environment: Mapping[str, str]) -> None:
    """Compile the code beforehand: the first trial would else pay for it, on one side only."""
    packages = [str(project.source / module) for project in projects for module in project.modules]
    subprocess.run(
        [str(python), "-m", "compileall", "-q", *packages],
        env=python_environment(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )


def _label(revision: str, commit: str, *, is_dirty: bool) -> str:
    if revision == WORKTREE:
        base = short(commit) or "no commit yet"
        return f"the files as they lie ({base}{', changed' if is_dirty else ''})"
    return revision if commit.startswith(revision) else f"{revision} ({short(commit)})"

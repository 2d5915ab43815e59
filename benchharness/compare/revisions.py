"""Git revisions as sides of a comparison: a worktree of their files, and what to import first."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from benchharness.compare.projects import (
    Project,
    Requirements,
    Tell,
    companions,
    find_projects,
    interpreter_for,
    read_pins,
)
from benchharness.compare.targets import WORKTREE
from benchharness.errors import Problem, RunError, SuiteError
from benchharness.locks import Lock, LockedError, locked
from benchharness.measure.git import GitError, changes, git
from benchharness.plugins import GROUP
from benchharness.subprocesses import python_environment
from benchharness.text import closest
from benchharness.worker.request import WorkerRequest

_NO_HOOKS = ("-c", f"core.hooksPath={os.devnull}")
_CHECK_TIMEOUT_S = 120
# Run by the revision's interpreter, which finds what its workers will find; imports no framework.
_CHECK = f"""
import importlib.metadata, importlib.util, json, sys
def origin(module):
    spec = importlib.util.find_spec(module)
    return (spec and spec.origin) or ""
entries = importlib.metadata.entry_points(group={GROUP!r})
origins = {{module: origin(module) for module in json.loads(sys.argv[1])}}
origins |= {{entry.name: origin(entry.module.partition(".")[0]) for entry in entries}}
from dataclasses import fields
try:
    from benchharness.worker.request import WorkerRequest
    request = sorted(field.name for field in fields(WorkerRequest))
except ImportError:
    request = []
print(json.dumps({{"origins": origins, "request": request}}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """Revision that is ready for workers.

    Attributes:
        label: For people: the revision as written, and its commit.
        commit: Full hash; of the working tree, that of the commit below.
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


@contextmanager
def check_out(
    revision: str,
    *,
    repository: Path,
    cache: Path,
    tell: Tell,
    plugins: Collection[str] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Iterator[Checkout]:
    """Make a revision ready for workers, and remove its worktree afterwards.

    The user's files and index are not touched, and no hook runs.

    Args:
        revision: As git understands it; ``.`` for the working tree.
        repository: A folder of it.
        cache: Keeps environments between calls, and the worktree meanwhile.
        tell: Receives what takes long and what the revision leaves out, a line at a time.
        plugins: Backends' plugins that will be used; None for all that are installed.
        environment: Variables of the workers.

    Raises:
        SuiteError: The folder is no repository, or there is no such revision.
        RunError: It cannot be checked out, its packages cannot be installed, or its code is not
            what workers would import.
    """
    top = _top_of(repository)
    with _worktree_folder(cache / "revisions/worktrees") as folder:
        files = folder / "files"
        if revision == WORKTREE:
            commit, is_dirty, files = _head(top), bool(changes(top)), top
            modified = ", modified" if is_dirty else ""
            label = f"working tree ({_short(commit) or 'no commit yet'}{modified})"
        else:
            commit, is_dirty = _resolve(top, revision), False
            is_hash = commit.startswith(revision)
            label = revision if is_hash else f"{revision} ({_short(commit)})"
            _tell_left_out_changes(top, revision, commit, tell)
            git(top, *_NO_HOOKS, "worktree", "add", "--quiet", "--detach", str(files), commit)

        projects = _projects(top, revision, files)
        importable, pins = projects, read_pins(files)
        requirements = Requirements.of(projects, pins=pins)
        if requirements.unmet():
            # A new environment knows nothing of what is installed here beside the repository.
            editable, published = companions(projects, plugins)
            importable = [*projects, *editable]
            requirements = Requirements.of(importable, pins=pins, also=published)
        python = interpreter_for(
            requirements, cache=cache / "revisions/environments", environment=environment, tell=tell
        )
        variables = _import_path(importable, folder / "metadata", environment)
        _check_imports(python, importable, {**environment, **variables}, folder=folder)
        _compile(python, projects, {**environment, **variables})
        yield Checkout(
            label=label,
            commit=commit,
            is_dirty=is_dirty,
            top=files,
            projects=tuple(project.name for project in projects),
            python=str(python),
            environment=variables,
        )


@contextmanager
def open_worktree(
    revision: str, *, repository: Path, cache: Path, tell: Tell
) -> Iterator[tuple[Path, Path, str]]:
    """Give the top of a repository, a worktree of a revision, and its label; remove it afterwards.

    For code that nobody has to install. The arguments and errors are those of ``check_out``.
    """
    top = _top_of(repository)
    commit = _resolve(top, revision)
    _tell_left_out_changes(top, revision, commit, tell)
    with _worktree_folder(cache / "revisions/worktrees") as folder:
        files = folder / "files"
        git(top, *_NO_HOOKS, "worktree", "add", "--quiet", "--detach", str(files), commit)
        yield top, files, f"{revision} ({_short(commit)})"


# --- Repository ----------------------------------------------------------------------------------


def _top_of(folder: Path) -> Path:
    """Return the top folder of the repository that a folder belongs to."""
    try:
        return Path(git(folder, "rev-parse", "--show-toplevel"))
    except GitError as error:
        hint = "revisions are those of the folder you are in; go to the project's"
        problem = Problem(
            where="repository",
            expected="a folder of a git repository with files",
            found=str(error).partition("rev-parse: ")[2] or str(error),
            hint=hint if "not a git repository" in str(error) else "",
        )
        raise SuiteError(str(folder.resolve()), [problem]) from error


def _resolve(top: Path, revision: str) -> str:
    """Return the full hash of a revision."""
    try:
        options = ("--verify", "--quiet", "--end-of-options")
        return git(top, "rev-parse", *options, f"{revision}^{{commit}}")
    except GitError as error:
        problem = Problem(
            where=f"rev:{revision}",
            expected="a commit, branch or tag",
            found="none of that name",
            hint=_revision_hint(top, revision),
        )
        raise SuiteError(str(top), [problem]) from error


def _revision_hint(top: Path, revision: str) -> str:
    with suppress(GitError):
        if git(top, "rev-parse", "--is-shallow-repository") == "true":
            return "this is a shallow clone; fetch what is missing: git fetch --unshallow"
    names = git(top, "for-each-ref", "--format=%(refname:short)").split()
    near = closest(revision, [*names, "HEAD"], count=3)
    return f"did you mean {' or '.join(near)}?" if near else "git log shows what there is"


def _head(top: Path) -> str:
    """Return the full hash of the commit that is checked out; empty before the first."""
    try:
        return git(top, "rev-parse", "--verify", "--quiet", "HEAD")
    except GitError:
        return ""


def _short(commit: str) -> str:
    return commit[:9]


def _tell_left_out_changes(top: Path, revision: str, commit: str, tell: Tell) -> None:
    """Tell that changes are not measured, if the user could believe that they are."""
    changed = changes(top) if commit == _head(top) else []
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        tell(
            f"rev:{revision} is the commit {_short(commit)}, without the changes in "
            f"{changed[0]}{more}; rev:{WORKTREE} is the working tree"
        )


@contextmanager
def _worktree_folder(below: Path) -> Iterator[Path]:
    """Give an empty folder, and remove it with the worktrees in it.

    Folders that killed processes left are removed first: nobody holds their locks.
    """
    with locked(below / "making"):
        for file in below.glob("*.lock"):
            with suppress(LockedError), locked(file, longest_s=0) as is_held:
                if is_held:
                    _remove(file.with_suffix(""))
                    file.unlink(missing_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="side-", dir=below))
        lock_file = folder.with_name(f"{folder.name}.lock")
        lock = Lock.acquire(lock_file)
    try:
        yield folder
    finally:
        _remove(folder)
        lock.release()
        lock_file.unlink(missing_ok=True)


def _remove(folder: Path) -> None:
    """Remove a folder, and its worktrees from the lists of their repositories."""
    for mark in folder.glob("*/.git"):
        with suppress(GitError):
            git(mark.parent, *_NO_HOOKS, "worktree", "remove", "--force", str(mark.parent))
    shutil.rmtree(folder, ignore_errors=True)


# --- Code ----------------------------------------------------------------------------------------


def _projects(top: Path, revision: str, files: Path) -> list[Project]:
    """Return the projects of a revision.

    Raises:
        SuiteError: It holds none of ours, or none that this Python can run.
    """
    projects = find_projects(files)
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
        raise SuiteError(str(top), problems)
    return projects


def _import_path(
    projects: Sequence[Project], metadata: Path, environment: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables with which a process imports the projects before anything else."""
    for project in projects:
        project.write_metadata(metadata)
    sources = dict.fromkeys(str(project.source) for project in projects)
    behind = filter(None, [environment.get("PYTHONPATH")])
    return {"PYTHONPATH": os.pathsep.join([str(metadata), *sources, *behind])}


def _check_imports(
    python: Path, projects: Sequence[Project], environment: Mapping[str, str], *, folder: Path
) -> None:
    """Ask an interpreter from where it would import the projects.

    Raises:
        RunError: From another folder; or its workers would not understand our requests.
    """
    modules = [module for project in projects for module in project.modules]
    done = subprocess.run(
        [str(python), "-c", _CHECK, json.dumps(modules)],
        cwd=folder,
        env=python_environment(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_CHECK_TIMEOUT_S,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise RunError(
            f"{python}: expected the revision's benchharness to be importable, found: {last}"
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    for project in projects:
        for name in (*project.entry_points.get(GROUP, ()), *project.modules):
            origin = answer["origins"].get(name, "")
            if not origin or not Path(origin).is_relative_to(project.source):
                raise RunError(
                    f"{name}: expected the revision's code to be imported from {project.source}, "
                    f"found {origin or 'nothing to import'}; a package that has to be compiled, or "
                    "is not where its pyproject.toml says, cannot be compared by revision"
                )
    ours = sorted(field.name for field in fields(WorkerRequest))
    if answer["request"] != ours:
        differing = ", ".join(sorted(set(ours) ^ set(answer["request"])))
        raise RunError(
            "requests to workers: expected the revision to understand those of this version, "
            f"found other fields: {differing}; run the suite in each revision with "
            "`benchharness run`, then compare the recorded runs"
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

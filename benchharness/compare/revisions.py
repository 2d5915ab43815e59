"""Git revisions as sides of a comparison: a worktree of their files, ready for workers."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchharness.compare.projects import (
    Requirements,
    check_imports,
    companions,
    find_projects,
    interpreter_for,
    read_pins,
    require_usable,
)
from benchharness.compare.targets import WORKTREE
from benchharness.environments.build import Tell
from benchharness.errors import Problem, SuiteError
from benchharness.locks import Lock, LockedError, locked
from benchharness.measure.git import GitError, changes, git, new_files
from benchharness.subprocesses import python_environment
from benchharness.text import closest

_NO_HOOKS = ("-c", f"core.hooksPath={os.devnull}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """Revision that is ready for workers.

    Attributes:
        label: For people: the revision as written, and its commit.
        commit: Full hash; of the working tree, that of the commit below.
        is_dirty: Whether the files differ from the commit, or hold new Python files.
        projects: Names of the distributions that come from it.
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
            commit, files, modified = _head(top), top, ", modified" if changes(top) else ""
            is_dirty = bool(modified or new_files(top, "*.py"))
            label = f"working tree ({commit[:9] or 'no commit yet'}{modified})"
        else:
            commit, is_dirty = _add_worktree(files, top, revision, tell), False
            label = revision if commit.startswith(revision) else f"{revision} ({commit[:9]})"

        projects = find_projects(files)
        require_usable(projects, top=top, revision=revision)
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
        for project in importable:
            project.write_metadata(folder / "metadata")
        sources = dict.fromkeys(str(project.source) for project in importable)
        path = [str(folder / "metadata"), *sources, environment.get("PYTHONPATH", "")]
        variables = {"PYTHONPATH": os.pathsep.join(filter(None, path))}
        process = python_environment({**environment, **variables})
        check_imports(python, importable, process, folder=folder)
        # Compiled beforehand: the first trial would else pay for it, on one side only.
        packages = [str(each.source / module) for each in projects for module in each.modules]
        subprocess.run(
            [str(python), "-m", "compileall", "-q", *packages],
            env=process,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
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
    with _worktree_folder(cache / "revisions/worktrees") as folder:
        commit = _add_worktree(folder / "files", top, revision, tell)
        yield top, folder / "files", f"{revision} ({commit[:9]})"


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
        hint = "git log shows what there is"
        with suppress(GitError):
            names = git(top, "for-each-ref", "--format=%(refname:short)").split()
            if near := closest(revision, [*names, "HEAD"], count=3):
                hint = f"did you mean {' or '.join(near)}?"
            if git(top, "rev-parse", "--is-shallow-repository") == "true":
                hint = "this is a shallow clone; fetch what is missing: git fetch --unshallow"
        problem = Problem(
            where=f"rev:{revision}",
            expected="a commit, branch or tag",
            found="none of that name",
            hint=hint,
        )
        raise SuiteError(str(top), [problem]) from error


def _head(top: Path) -> str:
    """Return the full hash of the commit that is checked out; empty before the first."""
    try:
        return git(top, "rev-parse", "--verify", "--quiet", "HEAD")
    except GitError:
        return ""


def _add_worktree(files: Path, top: Path, revision: str, tell: Tell) -> str:
    """Check a revision out into a folder, and return its full hash."""
    commit = _resolve(top, revision)
    # The user could believe that changes are measured.
    if commit == _head(top) and (changed := changes(top)):
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        tell(
            f"rev:{revision} is the commit {commit[:9]}, without the changes in "
            f"{changed[0]}{more}; rev:{WORKTREE} is the working tree"
        )
    git(top, *_NO_HOOKS, "worktree", "add", "--quiet", "--detach", str(files), commit)
    return commit


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

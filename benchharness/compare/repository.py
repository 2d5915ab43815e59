"""The user's git repository, of which only revisions are taken."""

from __future__ import annotations

import difflib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchharness.errors import Problem, SuiteError
from benchharness.locks import Lock, LockedError, locked
from benchharness.measure.git import GitError, changes, git

_SHORT = 9
_GO_THERE = "revisions are those of the folder you are in; go to the project's"
_HOOKLESS = ("-c", f"core.hooksPath={os.devnull}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A git repository.

    Attributes:
        top: The folder that holds all of its files.
    """

    top: Path

    @classmethod
    def containing(cls, folder: Path) -> Repository:
        """Return the repository that a folder belongs to.

        Raises:
            SuiteError: It belongs to none.
        """
        try:
            return cls(top=Path(git(folder, "rev-parse", "--show-toplevel")))
        except GitError as error:
            raise SuiteError(
                str(folder.resolve()),
                [
                    Problem(
                        where="repository",
                        expected="a folder of a git repository with files",
                        found=str(error).partition("rev-parse: ")[2] or str(error),
                        hint=_GO_THERE if "not a git repository" in str(error) else "",
                    )
                ],
            ) from error

    def commit(self, revision: str) -> str:
        """Return the full hash that a revision means.

        Raises:
            SuiteError: There is no such revision; the nearest names are said.
        """
        asked = ("--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        try:
            return git(self.top, "rev-parse", *asked)
        except GitError as error:
            problem = Problem(
                where=f"rev:{revision}",
                expected="a commit, branch or tag",
                found="none of that name",
                hint=self._hint(revision),
            )
            raise SuiteError(str(self.top), [problem]) from error

    def head(self) -> str:
        """Return the full hash of the commit that is checked out; empty before the first."""
        try:
            return git(self.top, "rev-parse", "--verify", "--quiet", "HEAD")
        except GitError:
            return ""

    def changes(self) -> list[str]:
        """Return the tracked files that differ from the commit that is checked out."""
        return changes(self.top)

    def add_worktree(self, commit: str, folder: Path) -> None:
        """Make a folder with the files of a commit, within a ``scratch`` folder.

        Neither the user's files nor the index are touched, and no hook runs.

        Raises:
            GitError: It cannot be made.
        """
        add = ("worktree", "add", "--quiet", "--detach", str(folder), commit)
        git(self.top, *_HOOKLESS, *add)

    def _hint(self, revision: str) -> str:
        with suppress(GitError):
            if git(self.top, "rev-parse", "--is-shallow-repository") == "true":
                return "this is a shallow clone; fetch what is missing: git fetch --unshallow"
        names = git(self.top, "for-each-ref", "--format=%(refname:short)").split()
        near = difflib.get_close_matches(revision, [*names, "HEAD"], n=3)
        return f"did you mean {' or '.join(near)}?" if near else "git log shows what there is"


def short(commit: str) -> str:
    """Return a hash as people quote it."""
    return commit[:_SHORT]


@contextmanager
def scratch(below: Path, *, prefix: str) -> Iterator[Path]:
    """Give an empty folder, and remove it with the worktrees in it.

    Args:
        below: Where to make it; what killed processes of ours left there is removed.
        prefix: Of its name.
    """
    with locked(below / "making"):
        _sweep(below)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=below))
        lock = Lock.acquire(_lock_of(folder))
    try:
        yield folder
    finally:
        _remove(folder)
        lock.release()
        _lock_of(folder).unlink(missing_ok=True)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _sweep(below: Path) -> None:
    """Remove the folders whose process is gone: nobody holds their locks."""
    for file in below.glob("*.lock"):
        with suppress(LockedError), locked(file, longest_s=0) as is_held:
            if is_held:
                _remove(file.with_suffix(""))
                file.unlink(missing_ok=True)


def _remove(folder: Path) -> None:
    """Remove a folder, and from their repositories what those remember of worktrees in it."""
    for mark in folder.glob("*/.git"):
        with suppress(GitError):
            git(mark.parent, *_HOOKLESS, "worktree", "remove", "--force", str(mark.parent))
    shutil.rmtree(folder, ignore_errors=True)

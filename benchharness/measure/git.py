"""Git of a folder: its commit and changed files, read and never written."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from benchharness.errors import RunError

_PATIENCE_S = 120
# Of what git says: advice takes three.
_LINES = 4


class GitError(RunError):
    """Git is missing, or failed."""


def git(folder: Path, *arguments: str) -> str:
    """Return what git prints in a folder, without the last line's end.

    Raises:
        GitError: Git is not installed, or refused; its own words say why, and what to do.
    """
    command = shutil.which("git")
    if command is None:
        raise GitError(f"{folder}: expected git to be installed, found none; install it")
    # A git that never prompts, and looks only where it is pointed: within a hook, git sets GIT_DIR
    # and its like, which would turn every command to that repository. Settings say whom git trusts.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_")
        or name.startswith(("GIT_CONFIG_", "GIT_CEILING_", "GIT_DISCOVERY_"))
    } | {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            [command, "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            errors="surrogateescape",
            stdin=subprocess.DEVNULL,
            env=environment,
            timeout=_PATIENCE_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GitError(f"{folder}: git {arguments[0]}: {error}") from error
    if done.returncode:
        # From its first fatal word, or else from its first.
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        first = next((n for n, line in enumerate(lines) if line.startswith("fatal: ")), 0)
        reason = " ".join(lines[first:][:_LINES])
        raise GitError(f"{folder}: git {arguments[0]}: {reason or f'exit code {done.returncode}'}")
    return done.stdout.removesuffix("\n")


def describe_commit(folder: Path) -> dict[str, str | bool]:
    """Return the commit that a folder's files come from.

    ``id``, ``time`` (ISO 8601), ``branch`` (empty when none is checked out) and ``is_dirty``:
    whether tracked files differ from it. Where it cannot be read ``unknown`` alone: why.
    """
    try:
        commit, time = git(folder, "log", "-1", "--no-show-signature", "--format=%H %cI").split()
        branch = git(folder, "branch", "--show-current")
        return {"id": commit, "time": time, "branch": branch, "is_dirty": bool(changes(folder))}
    except GitError as error:
        return {"unknown": str(error)}


def new_files(folder: Path, pattern: str) -> list[str]:
    """Return the files below a folder that match, and that git neither tracks nor ignores."""
    options = ("--others", "--exclude-standard", "-z")
    return [name for name in git(folder, "ls-files", *options, "--", pattern).split("\0") if name]


def changes(folder: Path) -> list[str]:
    """Return the tracked files below a folder's top that differ from the commit."""
    lines = git(folder, "status", "--porcelain", "-z", "--untracked-files=no").split("\0")
    return [line[3:] for line in lines if line[2:3] == " "]

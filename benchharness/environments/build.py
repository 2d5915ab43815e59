"""Building a set of packages: by uv where it is here, else by venv and pip; whole or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchharness.errors import RunError
from benchharness.files import atomic_dir, build_lock
from benchharness.locks import LONGEST_S
from benchharness.subprocesses import python_environment

# Called with a message before anything that takes long.
Tell = Callable[[str], None]

CONSTRAINTS = "constraints.txt"
REQUIREMENTS = "requirements.txt"
_LAST_LINES = 6
# What an installer says where it has not reached what it would have downloaded.
_UNREACHED = (
    "connection",
    "dns error",
    "error sending request",
    "network",
    "timed out",
    "unreachable",
)


def build_once(folder: Path, build: Callable[[Path], None]) -> bool:
    """Build a folder unless it is there; return whether it was built.

    ``build`` fills an empty folder beside its place, which is then renamed: it is never half
    there, and built by one process at a time.
    """
    with build_lock(folder, longest_s=LONGEST_S):
        if is_new := not folder.is_dir():
            with atomic_dir(folder) as beside:
                build(beside)
    return is_new


def create(folder: Path, *, python: Path, environment: Mapping[str, str], name: str) -> None:
    """Turn an empty folder into an environment of an interpreter, with nothing installed.

    Raises a RunError that calls it by its name.
    """
    command = [str(python), "-m", "venv", str(folder)]
    if uv := shutil.which("uv"):
        command = [uv, "venv", "--quiet", "--relocatable", "--allow-existing"]
        command += ["--python", str(python), str(folder)]
    _run(command, environment, name=name)


def fill(
    folder: Path,
    *,
    python: Path,
    requirements: Sequence[str],
    pins: Sequence[str] = (),
    held: Sequence[str],
    environment: Mapping[str, str],
    name: str,
    tell: Tell,
) -> None:
    """Turn an empty folder into an environment with requirements, which it keeps in files.

    What the pins name is installed only where something requires it. What is held beside them are
    the versions installed here, which count where they can.

    Raises:
        RunError: As ``create``, or the installer failed; its last lines say why.
    """
    create(folder, python=python, environment=environment, name=name)
    inside, is_offline = str(python_of(folder)), _is_offline(environment)
    if uv := shutil.which("uv"):
        # As pip does unasked: a worker that compiles what it imports needs more time and memory.
        command = [uv, "pip", "install", "--compile-bytecode", "--python", inside]
        command += ["--offline"] * is_offline
    else:
        command = [inside, "-m", "pip", "install", *["--no-index"] * is_offline]
    wanted, constraints = folder / REQUIREMENTS, folder / CONSTRAINTS
    command += ["--quiet", "-r", str(wanted), "-c", str(constraints)]
    wanted.write_text("".join(f"{line}\n" for line in requirements), encoding="utf-8")

    def install(versions: Sequence[str]) -> None:
        constraints.write_text("".join(f"{line}\n" for line in versions), encoding="utf-8")
        _run(command, environment, name=name)

    try:
        install([*pins, *held])
    except RunError:
        tell("cannot keep the current versions of other packages; retrying without pins")
        install(pins)


def python_of(folder: Path) -> Path:
    """Return the interpreter of an environment."""
    return folder / "bin/python"


def isolated_env_vars(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a process of another interpreter, which finds its own packages only.

    Left out is what would put ours before its own.
    """
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    kept = {name: value for name, value in environment.items() if name not in ours}
    return {**python_environment(kept), "PYTHONNOUSERSITE": "1"}


def _is_offline(environment: Mapping[str, str]) -> bool:
    return environment.get("BENCHHARNESS_OFFLINE") == "1"


def _run(command: Sequence[str], environment: Mapping[str, str], *, name: str) -> None:
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=python_environment({"PATH": os.defpath, **environment}),
        )
    except OSError as error:
        raise RunError(f"{command[0]}: expected to be able to start it, found: {error}") from error
    if not done.returncode:
        return
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    said = " / ".join(lines[-_LAST_LINES:]) or f"exit code {done.returncode}"
    if _is_offline(environment):
        said += " (offline; building an environment needs a network once)"
    elif any(words in done.stdout.lower() for words in _UNREACHED):
        said += (
            " (building takes a network, once; UV_FIND_LINKS or PIP_FIND_LINKS may name a folder "
            "of wheels instead)"
        )
    raise RunError(f"{name}: expected {Path(command[0]).name} to install it, found: {said}")

"""Interpreters and their packages, asked in a process; no framework is imported for it.

A suite is data, and a path in it would otherwise decide which program runs: an interpreter that it
names by a path is started only once the user trusts it. ``benchharness env sync`` states that
trust, as it does for packages; commands on the PATH are trusted already.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from sysconfig import get_platform
from typing import Any

from benchharness import __version__
from benchharness.environments.build import isolated_env_vars
from benchharness.environments.install import CORE, origin_of
from benchharness.errors import Problem
from benchharness.files import atomic_write_bytes
from benchharness.plugins import GROUP, OURS, installed, package_digest

# Run by the other interpreter, which may have nothing of ours, or an older one.
_SCRIPT = f"""
import json, platform, sys, sysconfig
from importlib.metadata import distributions, entry_points
def name(dist):
    return dist.metadata["Name"] if dist else ""
def release(dist):
    return f"{{name(dist)}} {{dist.version}}" if dist else "unknown distribution"
entries = entry_points(group={GROUP!r})
facts = {{
    "python": platform.python_version(),
    "implementation": sys.implementation.name,
    "platform": sysconfig.get_platform(),
    "packages": {{name(dist): dist.version for dist in distributions() if name(dist)}},
    "plugins": {{entry.name: release(entry.dist) for entry in entries}},
    "core": "", "place": "", "code": {{}}, "obstacle": "",
}}
try:
    import benchharness
    from benchharness.plugins import code_digest, package_digest
    facts["place"] = benchharness.__file__
    facts["core"] = package_digest("benchharness")
    facts["code"] = {{entry.name: code_digest(entry) for entry in entries}}
except Exception as error:
    facts["obstacle"] = f"{{type(error).__name__}}: {{error}}"
print(json.dumps(facts))
"""
_PATIENCE_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """An interpreter and the packages that it would import.

    Attributes:
        python: Its version.
        platform: Operating system and processor that it was built for.
        packages: Versions by distribution.
        plugins: By entry point, the distribution that each came with.
        core: Digest of its benchharness's code; empty where it has none.
        place: Where that would be imported from.
        code: Digest of each plugin's code and of the versions of what it requires.
        obstacle: Why its benchharness could not be imported; empty where it could.
    """

    path: Path
    python: str
    implementation: str
    platform: str
    packages: Mapping[str, str]
    plugins: Mapping[str, str] = field(default_factory=dict)
    core: str = ""
    place: str = ""
    code: Mapping[str, str] = field(default_factory=dict)
    obstacle: str = ""

    @property
    def identity(self) -> str:
        """What packages are built for."""
        return f"{self.implementation} {self.python} {self.platform}"

    @property
    def digest(self) -> str:
        """Tells what is in it: the version of Python and of every package."""
        packages = (f"{name}=={version}" for name, version in sorted(self.packages.items()))
        facts = [self.identity, *packages]
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]

    def code_digest(self, plugin: str) -> str:
        """Return a digest of the code that does a plugin's work there."""
        return f"{self.digest} {self.code.get(plugin, '')}"

    def problem(self, plugin: str, *, where: str, remedy: str = "") -> Problem | None:
        """Return why a plugin's workers cannot run there; None where they can.

        Without a remedy it names the installer's command.
        """
        if mismatch := self._mismatch():
            expected = f"the benchharness that runs here, {__version__}, in {self.path}"
            source, found = origin_of(CORE), mismatch
        elif plugin not in self.plugins:
            expected = f'the plugin "{plugin}" in {self.path}'
            found = ", ".join(self.plugins) or "none"
            entry = installed().get(plugin)
            if entry is not None and entry.dist is not None:
                source = origin_of(entry.dist.name)
            else:
                source = f"-e {OURS[plugin]}" if plugin in OURS else ""
        else:
            return None
        install = f"install it with: {self.path} -m pip install {source}" if source else ""
        return Problem(where=where, expected=expected, found=found, hint=remedy or install)

    def _mismatch(self) -> str:
        """Return its benchharness, where that is not the running one.

        Another could not read our requests, or would read the clock otherwise.
        """
        version = self.packages.get(CORE)
        if version is None and not self.core:
            return "none"
        if version not in (None, __version__):
            return str(version)
        if self.obstacle:
            return self.obstacle
        if self.core != package_digest(CORE):
            return f"other code of that version, in {Path(self.place).parent}"
        return ""

    def as_dict(self) -> dict[str, Any]:
        """Return its entry in run.json."""
        return {
            "python": self.python,
            "implementation": self.implementation,
            "digest": self.digest,
            "packages": dict(sorted(self.packages.items(), key=lambda item: item[0].lower())),
        }


class TrustedInterpreters:
    """Interpreters that the user trusts, remembered in the cache."""

    def __init__(self, cache: Path) -> None:
        self._file = cache / "environments" / "interpreters.json"

    def is_trusted(self, program: Path) -> bool:
        """Return whether a program may be started."""
        return _resolved(program) in self._names()

    def trust(self, program: Path) -> None:
        """Remember that a program may be started; raise an OSError if nothing can be written."""
        names = sorted({*self._names(), _resolved(program)})
        self._file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_bytes(self._file, json.dumps(names, indent=2).encode())

    def _names(self) -> list[str]:
        """Return what is remembered; nothing where that cannot be read: it is asked for again."""
        try:
            names = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return names if isinstance(names, list) else []


def _resolved(program: Path) -> str:
    """Return the path of a program, and what it resolves to."""
    return f"{program.absolute()} -> {program.resolve()}"


def is_path(written: str) -> bool:
    """Return whether a suite names an interpreter by a path, and not as a command."""
    return os.sep in written or written.startswith("~")


class UnusableError(Exception):
    """An interpreter is missing or does not answer; the message says which."""


def find_program(written: str, *, beside: Path) -> Path:
    """Return the interpreter that a suite names: a path, or ``python3.12``, or ``3.12`` alone.

    Args:
        beside: The path that the suite means by it.

    Raises:
        UnusableError: There is none.
    """
    if is_path(written):
        folder = beside / "bin" / "python"
        program = folder if folder.is_file() else beside
        if not program.is_file():
            raise UnusableError(f"{program}" if program.exists() else f"nothing at {program}")
        return program
    command = f"python{written}" if written[:1].isdigit() else written
    on_path = shutil.which(command)
    if on_path is None:
        raise UnusableError(f"no {command} on the PATH")
    return Path(on_path)


def current_interpreter() -> tuple[Path, str]:
    """Return the running interpreter and its identity."""
    identity = f"{sys.implementation.name} {platform.python_version()} {get_platform()}"
    return Path(sys.executable), identity


def inspect_interpreter(path: Path, environment: Mapping[str, str]) -> Interpreter:
    """Return an interpreter's version, packages and plugins.

    Raises:
        UnusableError: It cannot be started, or is no Python that we know how to ask.
    """
    variables = tuple(sorted(isolated_env_vars(environment).items()))
    # Packages that come or go change their folder, and what is asked once is not asked again.
    folders = path.parent.parent.glob("lib/python3*/site-packages")
    age_ns = max((folder.stat().st_mtime_ns for folder in folders), default=0)
    return _inspect(path, variables, age_ns)


@functools.lru_cache(maxsize=32)
def _inspect(path: Path, variables: tuple[tuple[str, str], ...], age_ns: int) -> Interpreter:
    try:
        done = subprocess.run(
            [str(path), "-c", _SCRIPT],
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE_S,
        )
    except OSError as error:
        raise UnusableError(f"{path}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise UnusableError(f"{path}: no answer within {_PATIENCE_S} s") from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise UnusableError(f"{path}, which says: {said}")
    try:
        return Interpreter(path=path, **json.loads(done.stdout.splitlines()[-1]))
    except (ValueError, IndexError, TypeError) as error:
        raise UnusableError(f"{path}, which does not answer as Python does") from error

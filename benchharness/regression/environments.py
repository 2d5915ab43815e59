"""The packages around a revision's code: those that are here where they serve, else a set built.

A revision is measured among the packages of the environment that runs us whenever that has all
that the revision asks for, in versions that it admits and its constraints pin: two revisions then
differ in their own code alone. Where it has not, the packages are installed apart, once for each
set of requirements, and kept in the cache.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import Distribution
from pathlib import Path
from sysconfig import get_platform

from filelock import FileLock
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from benchharness.errors import RunError
from benchharness.regression.projects import ROOT, Project, installed_as, source_of

Tell = Callable[[str], None]

CONSTRAINTS = "constraints.txt"
# Extras that a worker never imports from.
_FOR_PEOPLE = frozenset({"dev", "test", "tests", "testing", "lint", "docs", "report"})
_LAST_LINES = 6
_MARK = "complete.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What some projects need beside each other's code.

    Attributes:
        wanted: Requirements as text, sorted; none of them a project of the set.
        pins: The lines of the revision's constraints.
        held: Versions that are here already, of all that the revision says nothing about.
    """

    wanted: tuple[str, ...]
    pins: tuple[str, ...]
    held: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, projects: Sequence[Project], *, pins: Sequence[str], also: Sequence[str] = ()
    ) -> Requirements:
        """Return what projects need, and some more.

        Extras count where all that they need is installed.
        """
        own: set[str] = {canonicalize_name(project.name) for project in projects}
        texts = (text for project in projects for text in _texts(project, own))
        foreign = {text for text in texts if canonicalize_name(Requirement(text).name) not in own}
        return cls(wanted=tuple(sorted({*foreign, *also})), pins=tuple(pins))

    @property
    def digest(self) -> str:
        """Tells sets apart: equal requirements on an equal interpreter give one environment."""
        interpreter = [sys.implementation.name, platform.python_version(), get_platform()]
        facts = [*interpreter, *self.wanted, "--", *self.pins, "--", *self.held]
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]

    def unmet(self) -> list[str]:
        """Return what the environment that runs us lacks, one requirement after the other."""
        missing = (one for one in self._asked(self._reached()) if not _admits(one))
        return list(dict.fromkeys(f"{one.name}{one.specifier}" for one in missing))

    def holding(self) -> Requirements:
        """Return the same, with the versions that are here held where nothing is unmet.

        Else a set built for one pin would bring the newest of everything, and the comparison be
        of all that.
        """
        reached = self._reached()
        unmet = {canonicalize_name(one.name) for one in self._asked(reached) if not _admits(one)}
        held = sorted(
            f"{name}=={Version(known.version).public}"
            for name, known in reached.items()
            if name not in unmet and source_of(known) is None
        )
        return replace(self, held=tuple(held))

    def _reached(self) -> dict[str, Distribution]:
        # Whoever is a worker imports us.
        return _reached([*_requirements(self.wanted), Requirement(ROOT)])

    def _asked(self, reached: Mapping[str, Distribution]) -> Iterator[Requirement]:
        """Yield what decides; pins of what no worker comes to import, as of a linter, do not."""
        yield from _requirements(self.wanted)
        pins = _requirements(self.pins)
        yield from (pin for pin in pins if canonicalize_name(pin.name) in reached)


def read_pins(top: Path) -> tuple[str, ...]:
    """Return the lines of a revision's constraints, comments left out; none without the file."""
    file = top / CONSTRAINTS
    if not file.is_file():
        return ()
    lines = (line.partition("#")[0].strip() for line in file.read_text("utf-8").splitlines())
    return tuple(line for line in lines if line)


def interpreter_for(
    requirements: Requirements, *, cache: Path, environment: Mapping[str, str], tell: Tell
) -> Path:
    """Return an interpreter that has what is required: ours, or one of a set built for it.

    Args:
        cache: Keeps the sets.
        environment: Variables of the process.
        tell: Told what has to be built, and why.

    Raises:
        RunError: It cannot be built; the installer's last lines say why.
    """
    unmet = requirements.unmet()
    if not unmet:
        return Path(sys.executable)
    cache.mkdir(parents=True, exist_ok=True)
    why = f"as here is no {', no '.join(unmet)}"
    try:
        return _kept(requirements.holding(), cache, environment, tell, why)
    except RunError:
        why = "now with other versions than those that are here, as these did not go together"
        return _kept(requirements, cache, environment, tell, why)


def _kept(
    requirements: Requirements, cache: Path, environment: Mapping[str, str], tell: Tell, why: str
) -> Path:
    """Return the interpreter of a set, built where the cache has none.

    Raises:
        RunError: It cannot be built.
    """
    folder = cache / requirements.digest
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / _MARK).is_file():
            tell(f"building an environment, {why}: {folder}")
            try:
                _build(folder, requirements, environment)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
    return _python(folder)


def _build(folder: Path, requirements: Requirements, environment: Mapping[str, str]) -> None:
    """Install what is required into a fresh environment; the mark is written last."""
    # What a killed process has left.
    shutil.rmtree(folder, ignore_errors=True)
    uv = shutil.which("uv")
    make = [uv, "venv", "--quiet", "--python"] if uv else [sys.executable, "-m", "venv"]
    _run([*make, *([sys.executable] if uv else []), str(folder)], environment)
    wanted, pins = folder / "requirements.txt", folder / CONSTRAINTS
    wanted.write_text("\n".join(requirements.wanted) + "\n", encoding="utf-8")
    lines = [*requirements.pins, *requirements.held]
    pins.write_text("\n".join(lines) + "\n", encoding="utf-8")
    python, is_offline = str(_python(folder)), environment.get("BENCHHARNESS_OFFLINE") == "1"
    if uv:
        # As pip does unasked: a worker that compiles what it imports needs more time and memory.
        install = [uv, "pip", "install", "--compile-bytecode", "--python", python]
        install += ["--offline"] * is_offline
    else:
        install = [python, "-m", "pip", "install", *["--no-index"] * is_offline]
    _run([*install, "--quiet", "-r", str(wanted), "-c", str(pins)], environment)
    (folder / _MARK).write_text(json.dumps(asdict(requirements), indent=1), encoding="utf-8")


def _run(command: Sequence[str], environment: Mapping[str, str]) -> None:
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=dict(environment),
        )
    except OSError as error:
        raise RunError(f"{command[0]}: expected to be able to start it, found: {error}") from error
    if done.returncode:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        said = " / ".join(lines[-_LAST_LINES:]) or f"exit code {done.returncode}"
        raise RunError(
            f"environment of the revision: expected {Path(command[0]).name} to install it, "
            f"found: {said} (its packages can be put into this environment instead)"
        )


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def _texts(project: Project, own: set[str]) -> Iterator[str]:
    """Yield the requirements of a project, those of its extras in use among them."""
    yield from project.dependencies
    for extra, texts in project.extras.items():
        if extra not in _FOR_PEOPLE and all(_is_met(text, own) for text in texts):
            yield from texts


def _is_met(text: str, own: set[str]) -> bool:
    requirement = Requirement(text)
    return canonicalize_name(requirement.name) in own or installed_as(requirement.name) is not None


def _admits(requirement: Requirement) -> bool:
    """Return whether what is installed here is what a requirement asks for, if it asks at all."""
    if not _applies(requirement, frozenset()):
        return True
    found = installed_as(requirement.name)
    return found is not None and requirement.specifier.contains(found.version, prereleases=True)


def _reached(requirements: Iterable[Requirement]) -> dict[str, Distribution]:
    """Return the installed distributions that requirements lead to, by canonical name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [one for one in requirements if _applies(one, frozenset())]
    while waiting:
        requirement = waiting.pop()
        extras = frozenset(requirement.extras)
        key = (canonicalize_name(requirement.name), extras)
        known = installed_as(requirement.name)
        if key in seen or known is None:
            continue
        seen.add(key)
        found[key[0]] = known
        waiting += [one for one in _requirements(known.requires or ()) if _applies(one, extras)]
    return found


def _applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def _requirements(texts: Iterable[str]) -> Iterator[Requirement]:
    """Yield the requirements among some lines; constraints also hold options and addresses."""
    for text in texts:
        with suppress(InvalidRequirement):
            yield Requirement(text)

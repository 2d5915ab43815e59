"""The packages around a revision's code: those that are here where they serve, else a set built.

A revision is measured among the packages of the environment that runs us whenever that has all
that the revision asks for, in versions that it admits and its constraints pin: two revisions then
differ in their own code alone. Where it has not, the packages are installed apart, once for each
set of requirements, and kept in the cache.
"""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import Distribution
from pathlib import Path
from sysconfig import get_platform

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from benchharness.compare.projects import ROOT, Project, source_of
from benchharness.environments.build import CONSTRAINTS, build_once, create, install, python_of
from benchharness.environments.dependencies import applies, installed_as, reached, understood
from benchharness.errors import RunError

Tell = Callable[[str], None]

# Extras that a worker never imports from.
_FOR_PEOPLE = frozenset({"dev", "test", "tests", "testing", "lint", "docs", "report"})
_NAME = "environment of the revision"


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
        known_here = self._reached()
        unmet = {canonicalize_name(one.name) for one in self._asked(known_here) if not _admits(one)}
        held = sorted(
            f"{name}=={Version(known.version).public}"
            for name, known in known_here.items()
            if name not in unmet and source_of(known) is None
        )
        return replace(self, held=tuple(held))

    def _reached(self) -> dict[str, Distribution]:
        # Whoever is a worker imports us.
        return reached([*understood(self.wanted), Requirement(ROOT)])

    def _asked(self, known_here: Mapping[str, Distribution]) -> Iterator[Requirement]:
        """Yield what decides; pins of what no worker comes to import, as of a linter, do not."""
        yield from understood(self.wanted)
        pins = understood(self.pins)
        yield from (pin for pin in pins if canonicalize_name(pin.name) in known_here)


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

    def build(beside: Path) -> None:
        tell(f"building an environment, {why}: {folder}")
        create(beside, python=Path(sys.executable), environment=environment, name=_NAME)
        pins = [*requirements.pins, *requirements.held]
        install(beside, wanted=requirements.wanted, pins=pins, environment=environment, name=_NAME)

    build_once(folder, build)
    return python_of(folder)


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
    if not applies(requirement, frozenset()):
        return True
    found = installed_as(requirement.name)
    return found is not None and requirement.specifier.contains(found.version, prereleases=True)

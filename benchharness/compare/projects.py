"""Projects of a repository: their description, and an interpreter with the packages they need.

A revision is measured among the packages of the environment that runs us whenever that has all
that the revision requires, in versions that it admits and its constraints pin: two revisions then
differ in their own code alone. Otherwise the packages are installed into a virtual environment,
once for each set of requirements, and kept in the cache.
"""

from __future__ import annotations

import json
import platform
import sys
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import Distribution
from pathlib import Path
from sysconfig import get_platform
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from benchharness.environments.build import CONSTRAINTS, build_once, create, install, python_of
from benchharness.environments.dependencies import (
    applies,
    dependency_closure,
    installed_as,
    parse_requirements,
)
from benchharness.errors import RunError
from benchharness.files import json_digest
from benchharness.measure.git import git
from benchharness.plugins import GROUP, installed

Tell = Callable[[str], None]

ROOT = "benchharness"
FILE = "pyproject.toml"
# Deeper than plugins/NAME lie examples, fixtures and what others have vendored.
_DEEPEST = 3
_NAME = "environment of the revision"
# Extras that a worker never imports from.
_DEVELOPMENT_EXTRAS = frozenset({"dev", "test", "tests", "testing", "lint", "docs", "report"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """Distribution as its pyproject.toml describes it.

    Attributes:
        version: As written, or as installed if it is computed.
        requires_python: A specifier; empty for any.
        extras: Name to requirements.
        entry_points: Group to name to object.
        source: The folder that has to be on the import path.
    """

    name: str
    version: str
    requires_python: str
    dependencies: tuple[str, ...]
    extras: Mapping[str, tuple[str, ...]]
    entry_points: Mapping[str, Mapping[str, str]]
    source: Path

    @property
    def modules(self) -> tuple[str, ...]:
        """The packages that workers import from it."""
        targets = self.entry_points.get(GROUP, {}).values()
        packages = [target.partition(":")[0].partition(".")[0] for target in targets]
        return tuple(dict.fromkeys(packages or [canonicalize_name(self.name).replace("-", "_")]))

    def write_metadata(self, folder: Path) -> None:
        """Write the ``.dist-info`` that an installer would have written.

        Versions, requirements and entry points are read from it: a backend may have been added or
        renamed since the installed revision. Installing instead would build a wheel, which takes
        the project's build backend, and as a rule a network.
        """
        lines = ["Metadata-Version: 2.1", f"Name: {self.name}", f"Version: {self.version}"]
        lines += [f"Requires-Dist: {text}" for text in self.dependencies]
        for extra, texts in self.extras.items():
            lines.append(f"Provides-Extra: {extra}")
            for requirement in map(Requirement, texts):
                marker = f"({requirement.marker}) and " if requirement.marker else ""
                requirement.marker = None
                lines.append(f'Requires-Dist: {requirement} ; {marker}extra == "{extra}"')
        entries = []
        for group, targets in self.entry_points.items():
            entries += [f"[{group}]", *(f"{name} = {target}" for name, target in targets.items())]
        place = folder / f"{self.name.replace('-', '_')}-{self.version}.dist-info"
        place.mkdir(parents=True)
        (place / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (place / "entry_points.txt").write_text("\n".join(entries) + "\n", encoding="utf-8")


def find_projects(top: Path) -> list[Project]:
    """Return benchharness and its plugins, and what else of a repository is installed.

    Args:
        top: The folder that holds all of the repository's files.

    Raises:
        RunError: A project's file cannot be read.
    """
    # Files of the commit, or new; files that git ignores are no part of a revision.
    pattern = f":(glob)**/{FILE}"
    listed = git(top, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", pattern)
    paths = (Path(name) for name in listed.split("\0") if name)
    near = sorted(path for path in paths if len(path.parts) <= _DEEPEST)
    projects = (_read_project(top / path) for path in near if (top / path).is_file())
    return [project for project in projects if project is not None and _is_ours(project)]


def companions(
    projects: Sequence[Project], plugins: Collection[str] | None
) -> tuple[list[Project], list[str]]:
    """Return what workers need beside the repository's projects.

    Args:
        projects: Of the repository.
        plugins: Backends' plugins that will be used; None for all that are installed.

    Returns:
        The projects of editable installations, and the requirements for other distributions.
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
        source = _editable_project(known)
        if source is None:
            published[name] = f"{known.name}=={known.version}"
        else:
            editable[name] = source
    return list(editable.values()), list(published.values())


def _is_ours(project: Project) -> bool:
    name = canonicalize_name(project.name)
    return name == ROOT or GROUP in project.entry_points or installed_as(name) is not None


def _editable_project(known: Distribution) -> Project | None:
    """Return the project that an editable distribution is imported from; None for any other."""
    origin = json.loads(known.read_text("direct_url.json") or "{}")
    if not origin.get("dir_info", {}).get("editable"):
        return None
    file = Path(url2pathname(urlsplit(origin["url"]).path)) / FILE
    return _read_project(file) if file.is_file() else None


def _read_project(file: Path) -> Project | None:
    """Return the project that a file describes; None if it holds only the settings of tools."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        table = content.get("project")
        if table is None:
            return None
        return _parse_project(file.parent, table, content.get("tool", {}))
    except (OSError, ValueError, TypeError, AttributeError, InvalidRequirement) as error:
        raise RunError(f"{file}: expected the description of a project, found: {error}") from error


def _parse_project(folder: Path, table: Mapping[str, Any], tool: Mapping[str, Any]) -> Project:
    name = str(table["name"]) if "name" in table else folder.name
    computed = set(table.get("dynamic", ()))
    known = installed_as(name) if computed else None
    entry_points = {
        group: dict(entries) for group, entries in table.get("entry-points", {}).items()
    }
    if known is not None and "entry-points" in computed:
        for entry in known.entry_points:
            entry_points.setdefault(entry.group, {})[entry.name] = entry.value
    dependencies = tuple(map(str, table.get("dependencies", ())))
    if known is not None and "dependencies" in computed:
        dependencies = tuple(known.requires or ())
    for text in dependencies:
        Requirement(text)
    extras = table.get("optional-dependencies", {})
    project = Project(
        name=name,
        version=str(table.get("version") or (known.version if known else "0")),
        requires_python=str(table.get("requires-python", "")),
        dependencies=dependencies,
        extras={extra: tuple(map(str, texts)) for extra, texts in extras.items()},
        entry_points=entry_points,
        source=folder,
    )
    for place in _source_folders(tool):
        source = folder / place
        if all(
            (source / module / "__init__.py").is_file() or (source / f"{module}.py").is_file()
            for module in project.modules
        ):
            return replace(project, source=source)
    return project


def _source_folders(tool: Mapping[str, Any]) -> Iterator[str]:
    """Yield where build tools say that packages are, then the usual folders."""
    wheel = tool.get("hatch", {}).get("build", {}).get("targets", {}).get("wheel", {})
    yield from (str(Path(package).parent) for package in wheel.get("packages", ()))
    setuptools = tool.get("setuptools", {})
    if isinstance(setuptools.get("packages"), Mapping):
        yield from setuptools["packages"].get("find", {}).get("where", ())
    yield from filter(None, [setuptools.get("package-dir", {}).get("")])
    yield from ("src", ".")


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """Packages that some projects need beside each other's code.

    Attributes:
        wanted: Requirements as text, sorted; none of them a project of the set.
        pins: The lines of the revision's constraints.
        held: Installed versions of all packages that the revision says nothing about.
    """

    wanted: tuple[str, ...]
    pins: tuple[str, ...]
    held: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, projects: Sequence[Project], *, pins: Sequence[str], also: Sequence[str] = ()
    ) -> Requirements:
        """Return the requirements of projects, and some more.

        Extras count if all that they need is installed.
        """
        own: set[str] = {canonicalize_name(project.name) for project in projects}

        def is_met(text: str) -> bool:
            name = Requirement(text).name
            return canonicalize_name(name) in own or installed_as(name) is not None

        texts = [text for project in projects for text in project.dependencies]
        for project in projects:
            for extra, required in project.extras.items():
                if extra not in _DEVELOPMENT_EXTRAS and all(map(is_met, required)):
                    texts += required
        foreign = {text for text in texts if canonicalize_name(Requirement(text).name) not in own}
        return cls(wanted=tuple(sorted({*foreign, *also})), pins=tuple(pins))

    @property
    def digest(self) -> str:
        """Key of the environment that has them, on this interpreter."""
        interpreter = [sys.implementation.name, platform.python_version(), get_platform()]
        return json_digest([interpreter, self.wanted, self.pins, self.held], length=16)

    def unmet(self) -> list[str]:
        """Return the requirements that the environment that runs us does not meet."""
        missing = (
            requirement
            for requirement in self._deciding(self._closure())
            if not _is_met(requirement)
        )
        return list(
            dict.fromkeys(f"{requirement.name}{requirement.specifier}" for requirement in missing)
        )

    def with_installed_versions(self) -> Requirements:
        """Return the same, with the installed versions held of whatever is met.

        Otherwise an environment built for one pin would have the newest version of everything, and
        the comparison would be of all that.
        """
        closure = self._closure()
        unmet = {
            canonicalize_name(requirement.name)
            for requirement in self._deciding(closure)
            if not _is_met(requirement)
        }
        held = sorted(
            f"{name}=={Version(known.version).public}"
            for name, known in closure.items()
            if name not in unmet and _editable_project(known) is None
        )
        return replace(self, held=tuple(held))

    def _closure(self) -> dict[str, Distribution]:
        # Every worker imports us.
        return dependency_closure([*parse_requirements(self.wanted), Requirement(ROOT)])

    def _deciding(self, closure: Mapping[str, Distribution]) -> Iterator[Requirement]:
        """Yield what has to be met; not pins of what no worker imports, such as a linter."""
        yield from parse_requirements(self.wanted)
        pins = parse_requirements(self.pins)
        yield from (pin for pin in pins if canonicalize_name(pin.name) in closure)


def _is_met(requirement: Requirement) -> bool:
    """Return whether the installed version meets a requirement, or it asks for nothing here."""
    if not applies(requirement, frozenset()):
        return True
    known = installed_as(requirement.name)
    return known is not None and requirement.specifier.contains(known.version, prereleases=True)


def read_pins(top: Path) -> tuple[str, ...]:
    """Return the lines of a revision's constraints without comments; none without the file."""
    file = top / CONSTRAINTS
    if not file.is_file():
        return ()
    lines = (line.partition("#")[0].strip() for line in file.read_text("utf-8").splitlines())
    return tuple(line for line in lines if line)


def interpreter_for(
    requirements: Requirements, *, cache: Path, environment: Mapping[str, str], tell: Tell
) -> Path:
    """Return an interpreter that has what is required: ours, or that of a built environment.

    Args:
        cache: Keeps the environments.
        environment: Variables of the process.
        tell: Receives what has to be built, and why.

    Raises:
        RunError: It cannot be built; the installer's last lines say why.
    """

    def built(wanted: Requirements, reason: str) -> Path:
        folder = cache / wanted.digest

        def build(beside: Path) -> None:
            tell(f"building an environment, because {reason}: {folder}")
            create(beside, python=Path(sys.executable), environment=environment, name=_NAME)
            pins = [*wanted.pins, *wanted.held]
            install(
                beside, requirements=wanted.wanted, pins=pins, environment=environment, name=_NAME
            )

        build_once(folder, build)
        return python_of(folder)

    unmet = requirements.unmet()
    if not unmet:
        return Path(sys.executable)
    try:
        return built(requirements.with_installed_versions(), f"{', '.join(unmet)} is missing here")
    except RunError:
        return built(requirements, "the versions installed here conflict")

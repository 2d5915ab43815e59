"""Projects of a revision: what they require, and an interpreter that imports their code.

A revision is measured among the packages of the environment that runs us whenever that has all
that the revision requires, in versions that it admits and its constraints pin: two revisions then
differ in their own code alone. Otherwise the packages are installed into a virtual environment,
once for each set of requirements, and kept in the cache.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from importlib.metadata import Distribution
from pathlib import Path
from sysconfig import get_platform
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from benchharness.environments.build import CONSTRAINTS, Tell, build_once, fill, python_of
from benchharness.environments.install import (
    CORE,
    applies,
    dependency_closure,
    installed_as,
    name_of,
    parse_requirements,
    source_of,
)
from benchharness.errors import Problem, RunError, SuiteError
from benchharness.files import json_digest
from benchharness.measure.git import git
from benchharness.plugins import GROUP, installed
from benchharness.worker.request import WorkerRequest

FILE = "pyproject.toml"
# Deeper than plugins/NAME lie examples, fixtures and what others have vendored.
_DEEPEST = 3
# Extras that a worker never imports from.
_DEVELOPMENT_EXTRAS = (
    *("dev", "test", "tests", "testing", "lint", "docs", "report"),
    *("cluster", "mlflow", "tensorboard", "wandb"),
)
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


@dataclass(frozen=True, kw_only=True)
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

    @cached_property
    def key(self) -> str:
        """Its name as installers compare it."""
        return canonicalize_name(self.name)

    @property
    def modules(self) -> tuple[str, ...]:
        """The packages that workers import from it."""
        targets = self.entry_points.get(GROUP, {}).values()
        packages = [target.partition(":")[0].partition(".")[0] for target in targets]
        return tuple(dict.fromkeys(packages or [self.key.replace("-", "_")]))

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
    """Return benchharness and its plugins, and what else of a repository is installed."""
    # Files of the commit, or new; files that git ignores are no part of a revision.
    pattern = f":(glob)**/{FILE}"
    listed = git(top, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", pattern)
    paths = (Path(name) for name in listed.split("\0") if name)
    near = sorted(path for path in paths if len(path.parts) <= _DEEPEST)
    projects = filter(None, (_read_project(top / path) for path in near if (top / path).is_file()))
    return [
        each
        for each in projects
        if each.key == CORE or GROUP in each.entry_points or installed_as(each.key)
    ]


def require_usable(projects: Sequence[Project], *, top: Path, revision: str) -> None:
    """Refuse a revision that holds nothing of ours, or nothing that this Python can run."""
    python = platform.python_version()
    problems = [
        Problem(
            where=f"rev:{revision}: {project.name}: requires-python",
            expected=f"one that admits this Python, {python}",
            found=project.requires_python,
        )
        for project in projects
        if not SpecifierSet(project.requires_python).contains(python)
    ]
    if not projects:
        expected = f"a {FILE} of benchharness or of a plugin for it"
        problems = [Problem(where=f"rev:{revision}", expected=expected, found="none")]
    if problems:
        raise SuiteError(str(top), problems)


def companions(
    projects: Sequence[Project], plugins: Collection[str] | None
) -> tuple[list[Project], list[str]]:
    """Return editable projects that workers need beside these, and requirements for the rest."""
    needed = [installed_as(CORE)]
    needed += [
        entry.dist for name, entry in installed().items() if plugins is None or name in plugins
    ]
    editable: dict[str, Project] = {}
    published: dict[str, str] = {}
    for known in filter(None, needed):
        name = canonicalize_name(known.name)
        if any(project.key == name for project in projects):
            continue
        if source := _editable_project(known):
            editable[name] = source
        else:
            published[name] = f"{known.name}=={known.version}"
    return list(editable.values()), list(published.values())


def _editable_project(known: Distribution) -> Project | None:
    """Return the project that an editable distribution is imported from; None for any other."""
    folder, is_editable = source_of(known)
    file = folder / FILE if folder and is_editable else None
    return _read_project(file) if file and file.is_file() else None


def _read_project(file: Path) -> Project | None:
    """Return the project that a file describes; None if it holds only the settings of tools."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        if "project" not in content:
            return None
        return _parse_project(file.parent, content["project"], content.get("tool", {}))
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
    # Where build tools say that packages are, then the usual folders.
    wheel = tool.get("hatch", {}).get("build", {}).get("targets", {}).get("wheel", {})
    setuptools = tool.get("setuptools", {})
    found = setuptools.get("packages")
    places = [
        *(str(Path(package).parent) for package in wheel.get("packages", ())),
        *(found.get("find", {}).get("where", ()) if isinstance(found, Mapping) else ()),
        setuptools.get("package-dir", {}).get("") or "src",
        "src",
        ".",
    ]
    for source in (folder / place for place in places):
        if all(
            (source / module / "__init__.py").is_file() or (source / f"{module}.py").is_file()
            for module in project.modules
        ):
            return replace(project, source=source)
    return project


def check_imports(
    python: Path, projects: Sequence[Project], environment: Mapping[str, str], *, folder: Path
) -> None:
    """Refuse an interpreter that would import other code, or not understand our requests."""
    modules = [module for project in projects for module in project.modules]
    try:
        done = subprocess.run(
            [str(python), "-c", _CHECK, json.dumps(modules)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_CHECK_TIMEOUT_S,
        )
        lines = done.stderr.strip().splitlines() or ["nothing"]
        failure = lines[-1] if done.returncode else ""
    except subprocess.TimeoutExpired:
        failure = f"no answer within {_CHECK_TIMEOUT_S:g} s"
    if failure:
        raise RunError(
            f"{python}: expected the revision's benchharness to be importable, found: {failure}"
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
    if differing := {field.name for field in fields(WorkerRequest)} ^ set(answer["request"]):
        raise RunError(
            "requests to workers: expected the revision to understand those of this version, "
            f"found other fields: {', '.join(sorted(differing))}; run the suite in each revision "
            "with `benchharness run`, then compare the recorded runs"
        )


# --- Packages ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """Packages that some projects need beside each other's code.

    Attributes:
        wanted: Requirements as text, sorted; none of them a project of the set.
        pins: The lines of the revision's constraints.
    """

    wanted: tuple[str, ...]
    pins: tuple[str, ...]

    @classmethod
    def of(
        cls, projects: Sequence[Project], *, pins: Sequence[str], also: Sequence[str] = ()
    ) -> Requirements:
        """Return the requirements of projects, and some more.

        Extras count if all that they need is installed.
        """
        keys = {project.key for project in projects}
        texts = [text for project in projects for text in project.dependencies]
        for project in projects:
            for extra, required in project.extras.items():
                names = map(name_of, required)
                is_met = all(name in keys or installed_as(name) for name in names)
                if is_met and extra not in _DEVELOPMENT_EXTRAS:
                    texts += required
        foreign = {text for text in texts if name_of(text) not in keys}
        return cls(wanted=tuple(sorted({*foreign, *also})), pins=tuple(pins))

    def unmet(self) -> list[str]:
        """Return the requirements that the environment that runs us does not meet."""
        # Pins of what no worker imports, such as a linter, do not count.
        pins = parse_requirements(self.pins)
        deciding = (pin for pin in pins if canonicalize_name(pin.name) in self._closure)
        unmet = (
            f"{each.name}{each.specifier}"
            for each in (*parse_requirements(self.wanted), *deciding)
            if applies(each, frozenset())
            and not (
                (known := installed_as(each.name))
                and each.specifier.contains(known.version, prereleases=True)
            )
        )
        return list(dict.fromkeys(unmet))

    def held(self) -> list[str]:
        """Return the installed versions of all packages that the revision says nothing about.

        Otherwise an environment built for one pin would have the newest version of everything, and
        the comparison would be of all that.
        """
        unmet = {*map(name_of, self.unmet())}
        return sorted(
            f"{name}=={Version(known.version).public}"
            for name, known in self._closure.items()
            if name not in unmet and _editable_project(known) is None
        )

    @cached_property
    def _closure(self) -> dict[str, Distribution]:
        """All installed packages that a worker may import; every worker imports us."""
        return dependency_closure([*parse_requirements(self.wanted), Requirement(CORE)])


def read_pins(top: Path) -> tuple[str, ...]:
    """Return the lines of a revision's constraints without comments; none without the file."""
    file = top / CONSTRAINTS
    text = file.read_text("utf-8") if file.is_file() else ""
    return tuple(filter(None, (line.partition("#")[0].strip() for line in text.splitlines())))


def interpreter_for(
    requirements: Requirements, *, cache: Path, environment: Mapping[str, str], tell: Tell
) -> Path:
    """Return an interpreter that has what is required: ours, or that of an environment in a cache.

    Raises:
        RunError: It cannot be built; the installer's last lines say why.
    """
    unmet = requirements.unmet()
    if not unmet:
        return Path(sys.executable)
    wanted, pins, held = requirements.wanted, requirements.pins, requirements.held()
    interpreter = [sys.implementation.name, platform.python_version(), get_platform()]
    folder = cache / json_digest([interpreter, wanted, pins, held], length=16)

    def build(beside: Path) -> None:
        tell(f"building an environment, because {', '.join(unmet)} is missing here: {folder}")
        fill(
            beside,
            python=Path(sys.executable),
            requirements=wanted,
            pins=pins,
            held=held,
            environment=environment,
            name="environment of the revision",
            tell=tell,
        )

    build_once(folder, build)
    return python_of(folder)

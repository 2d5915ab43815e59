"""The distributions that a repository holds: what they are called, need, offer, and where."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from benchharness.environments.dependencies import installed_as
from benchharness.errors import RunError
from benchharness.measure.git import git
from benchharness.plugins import GROUP

ROOT = "benchharness"
FILE = "pyproject.toml"
# Deeper than plugins/NAME lie examples, fixtures and what others have vendored.
_DEEPEST = 3
_ANY = f":(glob)**/{FILE}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """One distribution as its pyproject.toml describes it.

    Attributes:
        folder: Where that file lies.
        version: As written, or as installed where it is computed.
        requires_python: A specifier; empty for any.
        extras: Name to requirements.
        entry_points: Group to name to object.
        source: What has to be on the import path.
    """

    folder: Path
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
        found = [target.partition(":")[0] for target in self.entry_points.get(GROUP, {}).values()]
        tops = [module.partition(".")[0] for module in found]
        return tuple(dict.fromkeys(tops or [_module(self.name)]))

    def metadata(self) -> str:
        """Return METADATA, as an installer would write it."""
        lines = ["Metadata-Version: 2.1", f"Name: {self.name}", f"Version: {self.version}"]
        lines += [f"Requires-Dist: {text}" for text in self.dependencies]
        for extra, texts in self.extras.items():
            lines.append(f"Provides-Extra: {extra}")
            lines += [f"Requires-Dist: {_of_extra(text, extra)}" for text in texts]
        return "\n".join(lines) + "\n"

    def entry_points_file(self) -> str:
        """Return entry_points.txt, as an installer would write it."""
        return "\n".join(
            line
            for group, entries in self.entry_points.items()
            for line in [f"[{group}]", *(f"{name} = {of}" for name, of in entries.items()), ""]
        )


def find_projects(top: Path) -> list[Project]:
    """Return ours: benchharness and its plugins, and what else of a repository is installed.

    Args:
        top: The folder that holds all of the repository's files.

    Raises:
        RunError: A project's file cannot be read.
    """
    found = (_read(file) for file in _files(top))
    return [one for one in found if one is not None and _is_ours(one)]


def source_of(known: Distribution) -> Project | None:
    """Return the project that an editable distribution is imported from; None for any other.

    Raises:
        RunError: The project's file cannot be read.
    """
    origin = json.loads(known.read_text("direct_url.json") or "{}")
    if not origin.get("dir_info", {}).get("editable"):
        return None
    folder = Path(url2pathname(urlsplit(origin["url"]).path))
    return _read(folder / FILE) if (folder / FILE).is_file() else None


def _files(top: Path) -> list[Path]:
    """Return the projects' files, of the commit or new; what git ignores is nobody's revision."""
    listed = git(top, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", _ANY)
    paths = [Path(name) for name in listed.split("\0") if name]
    near = sorted(path for path in paths if len(path.parts) <= _DEEPEST)
    return [top / path for path in near if (top / path).is_file()]


def _is_ours(project: Project) -> bool:
    name = canonicalize_name(project.name)
    return name == ROOT or GROUP in project.entry_points or installed_as(name) is not None


def _read(file: Path) -> Project | None:
    """Return the project that a file describes; None where it describes a tool's settings only."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        table = content.get("project")
        return None if table is None else _project(file.parent, table, content.get("tool", {}))
    except (OSError, ValueError, TypeError, AttributeError, InvalidRequirement) as error:
        raise RunError(f"{file}: expected the description of a project, found: {error}") from error


def _project(folder: Path, table: Mapping[str, Any], tool: Mapping[str, Any]) -> Project:
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
    project = Project(
        folder=folder,
        name=name,
        version=str(table.get("version") or (known.version if known else "0")),
        requires_python=str(table.get("requires-python", "")),
        dependencies=dependencies,
        extras={
            extra: tuple(map(str, texts))
            for extra, texts in table.get("optional-dependencies", {}).items()
        },
        entry_points=entry_points,
        source=folder,
    )
    return _placed(project, tool)


def _placed(project: Project, tool: Mapping[str, Any]) -> Project:
    """Return the project with the folder in which its packages lie."""
    folders = list(dict.fromkeys(project.folder / place for place in _sources(tool)))
    for folder in folders:
        if all(_holds(folder, module) for module in project.modules):
            return replace(project, source=folder)
    return project


def _sources(tool: Mapping[str, Any]) -> Iterator[str]:
    """Yield where build tools say that packages lie, then where they lie by custom."""
    wheel = tool.get("hatch", {}).get("build", {}).get("targets", {}).get("wheel", {})
    yield from (str(Path(package).parent) for package in wheel.get("packages", ()))
    setuptools = tool.get("setuptools", {})
    if isinstance(setuptools.get("packages"), Mapping):
        yield from setuptools["packages"].get("find", {}).get("where", ())
    yield from filter(None, [setuptools.get("package-dir", {}).get("")])
    yield from ("src", ".")


def _holds(folder: Path, module: str) -> bool:
    return (folder / module / "__init__.py").is_file() or (folder / f"{module}.py").is_file()


def _module(name: str) -> str:
    return str(canonicalize_name(name)).replace("-", "_")


def _of_extra(text: str, extra: str) -> str:
    requirement = Requirement(text)
    marker = f"({requirement.marker}) and " if requirement.marker else ""
    requirement.marker = None
    return f'{requirement} ; {marker}extra == "{extra}"'

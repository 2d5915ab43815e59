"""A revision's code before everything else that an interpreter can import."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from benchharness.compare.projects import Project
from benchharness.errors import RunError
from benchharness.plugins import GROUP
from benchharness.subprocesses import python_environment
from benchharness.worker.request import WorkerRequest

# Run by the revision's interpreter, which finds what its workers will find; imports no framework.
_CHECK = f"""
import importlib.metadata, importlib.util, json, sys
def origin(module):
    spec = importlib.util.find_spec(module)
    return (spec and spec.origin) or ""
entries = importlib.metadata.entry_points(group={GROUP!r})
plugins = {{entry.name: origin(entry.module.partition(".")[0]) for entry in entries}}
modules = {{module: origin(module) for module in json.loads(sys.argv[1])}}
from dataclasses import fields
try:
    from benchharness.worker.request import WorkerRequest
    request = sorted(field.name for field in fields(WorkerRequest))
except ImportError:
    request = []
print(json.dumps({{"plugins": plugins, "modules": modules, "request": request}}))
"""
_PATIENCE_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """Projects whose code and metadata a process finds first.

    Attributes:
        metadata: Folder of the descriptions that an installer would have written.
    """

    projects: tuple[Project, ...]
    metadata: Path

    @classmethod
    def write(cls, projects: Sequence[Project], folder: Path) -> Overlay:
        """Describe projects in an empty folder.

        Entry points are read from descriptions, and those of the installed distributions are of
        another revision: a backend may have been added or renamed since.
        """
        for project in projects:
            place = folder / f"{project.name.replace('-', '_')}-{project.version}.dist-info"
            place.mkdir(parents=True)
            (place / "METADATA").write_text(project.metadata(), encoding="utf-8")
            (place / "entry_points.txt").write_text(project.entry_points_file(), encoding="utf-8")
        return cls(projects=tuple(projects), metadata=folder)

    def variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the variables that put the projects first.

        Args:
            environment: Of the process; what it has on its path stays there, behind.
        """
        sources = dict.fromkeys(str(project.source) for project in self.projects)
        behind = filter(None, [environment.get("PYTHONPATH")])
        return {"PYTHONPATH": os.pathsep.join([str(self.metadata), *sources, *behind])}

    def check(self, python: Path, environment: Mapping[str, str]) -> None:
        """Ask an interpreter where it would import the projects from.

        Args:
            environment: All variables of a worker.

        Raises:
            RunError: From elsewhere; or its workers would not understand our requests.
        """
        found = self._ask(python, environment)
        for project in self.projects:
            plugins = dict.fromkeys(project.entry_points.get(GROUP, ()), project)
            self._check_origins(project, {name: found["plugins"].get(name, "") for name in plugins})
            self._check_origins(project, {name: found["modules"][name] for name in project.modules})
        ours = sorted(field.name for field in fields(WorkerRequest))
        if found["request"] != ours:
            differing = ", ".join(sorted(set(ours) ^ set(found["request"])))
            raise RunError(
                "requests to workers: expected the revision to understand those of this version, "
                f"found other fields: {differing}; run the suite in each revision with "
                "`benchharness run`, then compare the recorded runs"
            )

    def _check_origins(self, project: Project, origins: Mapping[str, str]) -> None:
        for name, origin in origins.items():
            if not origin or not Path(origin).is_relative_to(project.source):
                raise RunError(
                    f"{name}: expected the revision's code to be imported from {project.source}, "
                    f"found {origin or 'nothing to import'}; a package that has to be compiled, or "
                    "lies elsewhere than its pyproject.toml says, cannot be compared by revision"
                )

    def _ask(self, python: Path, environment: Mapping[str, str]) -> dict[str, Any]:
        modules = [module for project in self.projects for module in project.modules]
        done = subprocess.run(
            [str(python), "-c", _CHECK, json.dumps(modules)],
            cwd=self.metadata,
            env=python_environment(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE_S,
        )
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            raise RunError(
                f"{python}: expected the revision's benchharness to be importable, found: {said}"
            )
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

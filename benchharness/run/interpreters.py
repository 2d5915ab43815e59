"""Interpreters of backends whose workers do not run on the interpreter of this process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchharness.environments.build import isolated_env_vars
from benchharness.environments.interpreter import (
    Interpreter,
    TrustedInterpreters,
    UnusableError,
    current_interpreter,
    find_program,
    inspect_interpreter,
    is_path,
)
from benchharness.environments.spec import EnvironmentSpec
from benchharness.environments.store import Environments, Reference
from benchharness.errors import Problem, SuiteError
from benchharness.files import writable
from benchharness.run.process.executor import LocalExecutor
from benchharness.suite.file import SuiteFile


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendInterpreter:
    """Interpreter of a backend's workers.

    Its requirements are empty for a given interpreter; the remedy is the command that reinstalls
    what is broken there.
    """

    backend: str
    plugin: str
    interpreter: Interpreter
    requirements: tuple[str, ...] = ()
    remedy: str = ""

    @property
    def code(self) -> str:
        """Digest of the code that does their work."""
        return self.interpreter.code_digest(self.plugin)

    @property
    def distribution(self) -> str:
        """Name and version of the plugin's distribution there."""
        return self.interpreter.plugins[self.plugin]

    def with_interpreter(self, executor: LocalExecutor) -> LocalExecutor:
        """Return an executor whose workers run on this interpreter."""
        return replace(
            executor,
            python=str(self.interpreter.path),
            environment=isolated_env_vars(executor.environment),
            code=self.code,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return its entry in run.json; no path of this machine."""
        requirements = {"requirements": list(self.requirements)} if self.requirements else {}
        return requirements | self.interpreter.as_dict()


@dataclass(frozen=True, slots=True, kw_only=True)
class InterpreterResolver:
    """Finds the interpreters of a suite's backends; environments are kept in ``cache``.

    ``may_trust`` says whether the user hereby allows the interpreters to be started.
    """

    suite: SuiteFile
    cache: Path
    environment: Mapping[str, str]
    may_trust: bool = False

    def isolated_backends(self, backends: Iterable[str]) -> list[str]:
        """Return the backends that have their own interpreter or environment."""
        tables = self.suite.backend
        return [
            name
            for name in dict.fromkeys(backends)
            if name in tables and tables[name].has_own_interpreter
        ]

    def interpreters(self, backends: Iterable[str]) -> dict[str, BackendInterpreter]:
        """Return each isolated backend's interpreter; a SuiteError names unusable ones."""
        interpreters: dict[str, BackendInterpreter] = {}
        problems: list[Problem] = []
        for backend in self.isolated_backends(backends):
            try:
                interpreters[backend] = self.of(backend)
            except SuiteError as error:
                problems += error.problems
        if problems:
            raise SuiteError(str(self.suite.path), problems)
        return interpreters

    def of(self, backend: str) -> BackendInterpreter:
        """Return the interpreter of an isolated backend, or raise a SuiteError."""
        table, where = self.suite.backend[backend], f'backend "{backend}"'
        plugin, remedy = table.plugin or backend, ""
        if table.requirements is None:
            path = self._base(backend)
        else:
            path, remedy = self._environment(backend), self._sync
        interpreter = self._inspect(path, where=where, remedy=remedy)
        if problem := interpreter.problem(plugin, where=where, remedy=remedy):
            raise self._refusal(problem)
        pip = f"{path} -m pip install --force-reinstall {interpreter.plugins[plugin].split()[0]}"
        rebuild = f"benchharness env sync {self.suite.path} --rebuild"
        return BackendInterpreter(
            backend=backend,
            plugin=plugin,
            interpreter=interpreter,
            requirements=table.requirements or (),
            remedy=pip if table.requirements is None else rebuild,
        )

    def spec(self, backend: str) -> tuple[EnvironmentSpec, Path]:
        """Return a backend's environment, as specified, and the interpreter to build it from."""
        table = self.suite.backend[backend]
        path, identity = current_interpreter()
        if table.python is not None:
            path = self._base(backend)
            identity = self._inspect(path, where=f'backend "{backend}"').identity
        plugin, requirements = table.plugin or backend, table.requirements or ()
        return EnvironmentSpec.of(plugin, requirements, python=identity), path

    def reference(self, backend: str) -> Reference:
        """Return the reference of a backend to its environment."""
        return Reference(suite=str(self.suite.path.absolute()), backend=backend)

    def _environment(self, backend: str) -> Path:
        """Return the interpreter of the environment built for a backend as the suite states it."""
        store = Environments(self.cache)
        spec, _ = self.spec(backend)
        if current := store.find(spec):
            return current.program
        earlier = store.latest_for(self.reference(backend))
        if earlier is None:
            there = "none built for it"
        elif earlier.requirements != spec.requirements:
            there = f"one of {', '.join(earlier.requirements)}, which the suite no longer states"
        else:
            there = "an outdated one (Python, plugin or benchharness changed)"
        requirements = ", ".join(self.suite.backend[backend].requirements or ())
        raise self._refusal(
            Problem(
                where=f'backend "{backend}"',
                expected=f"an environment of {requirements}",
                found=there,
                hint=self._sync,
            )
        )

    def _base(self, backend: str) -> Path:
        """Return the program of a backend's table, if the user trusts one that only it names."""
        written, where = self.suite.backend[backend].python or "", f'backend "{backend}": python'
        try:
            program = find_program(written, beside=self.suite.resolve_path(written))
        except UnusableError as error:
            problem = Problem(where=where, expected="an interpreter", found=str(error))
            raise self._refusal(problem) from error
        trusted = TrustedInterpreters(self.cache)
        if not is_path(written) or trusted.is_trusted(program):
            return program
        if not self.may_trust:
            raise self._refusal(
                Problem(
                    where=where,
                    expected="a trusted interpreter",
                    found=str(program),
                    hint=f"if it may, {self._sync}",
                )
            )
        with writable(self.cache, what=f"to remember {program} there"):
            trusted.trust(program)
        return program

    def _inspect(self, path: Path, *, where: str, remedy: str = "") -> Interpreter:
        try:
            return inspect_interpreter(path, self.environment)
        except UnusableError as error:
            problem = Problem(
                where=where, expected="an interpreter that answers", found=str(error), hint=remedy
            )
            raise self._refusal(problem) from error

    @property
    def _sync(self) -> str:
        return f"run: benchharness env sync {self.suite.path}"

    def _refusal(self, problem: Problem) -> SuiteError:
        return SuiteError(str(self.suite.path), [problem])

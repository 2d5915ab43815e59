"""Interpreters of backends whose workers do not run on the interpreter of this process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchharness.environments.build import isolated_env_vars
from benchharness.environments.interpreter import (
    Interpreter,
    UnusableError,
    current_interpreter,
    find_program,
    inspect_interpreter,
)
from benchharness.environments.spec import EnvironmentSpec
from benchharness.environments.store import Environment, Environments, Reference
from benchharness.environments.trust import TrustedInterpreters, is_path
from benchharness.errors import Problem, RunError, SuiteError
from benchharness.files import ANOTHER_CACHE, unwritten
from benchharness.run.process.executor import LocalExecutor
from benchharness.suite.file import BackendTable, SuiteFile


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendInterpreter:
    """Interpreter of a backend's workers.

    Attributes:
        requirements: That its environment was built for; empty for a given interpreter.
        remedy: The command that reinstalls what is broken there.
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
    """Finds the interpreters of a suite's backends.

    Attributes:
        cache: Keeps the environments.
        environment: Variables of the process.
        may_trust: Whether the user hereby allows the interpreters to be started.
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
        """Return the interpreter of each isolated backend.

        Raises:
            SuiteError: Some cannot be used; each is named.
        """
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
        """Return the interpreter of an isolated backend.

        Raises:
            SuiteError: It cannot be used.
        """
        table = self.suite.backend[backend]
        where, plugin = f'backend "{backend}"', table.plugin or backend
        remedy = "" if table.requirements is None else self._sync
        if table.requirements is None:
            path = self._base(table, where=where)
        else:
            path = self._environment(backend, table, where=where).program
        interpreter = self._inspect(path, where=where, remedy=remedy)
        if problem := interpreter.problem(plugin, where=where, remedy=remedy):
            raise self._refusal(problem)
        pip = f"{path} -m pip install --force-reinstall {interpreter.plugins[plugin].split()[0]}"
        return BackendInterpreter(
            backend=backend,
            plugin=plugin,
            interpreter=interpreter,
            requirements=table.requirements or (),
            remedy=pip
            if table.requirements is None
            else f"benchharness env sync {self.suite.path} --rebuild",
        )

    def spec(self, backend: str) -> tuple[EnvironmentSpec, Path]:
        """Return a backend's environment, as specified, and the interpreter to build it from.

        Raises:
            SuiteError: That interpreter cannot be used.
        """
        table = self.suite.backend[backend]
        where = f'backend "{backend}"'
        path, identity = current_interpreter()
        if table.python is not None:
            path = self._base(table, where=where)
            identity = self._inspect(path, where=where).identity
        spec = EnvironmentSpec.of(
            table.plugin or backend, table.requirements or (), python=identity
        )
        return spec, path

    def reference(self, backend: str) -> Reference:
        """Return the reference of a backend to its environment."""
        return Reference(suite=str(self.suite.path.absolute()), backend=backend)

    def _environment(self, backend: str, table: BackendTable, *, where: str) -> Environment:
        """Return the environment that was built for a backend as the suite states it now.

        Raises:
            SuiteError: There is none.
        """
        store = Environments(self.cache)
        spec, _ = self.spec(backend)
        current = store.find(spec)
        if current is not None:
            return current
        requirements = ", ".join(table.requirements or ())
        earlier = store.latest_for(self.reference(backend))
        if earlier is None:
            there = "none built for it"
        elif earlier.requirements != spec.requirements:
            there = f"one of {', '.join(earlier.requirements)}, which the suite no longer states"
        else:
            there = "an outdated one (Python, plugin or benchharness changed)"
        raise self._refusal(
            Problem(
                where=where,
                expected=f"an environment of {requirements}",
                found=there,
                hint=self._sync,
            )
        )

    def _base(self, table: BackendTable, *, where: str) -> Path:
        written = table.python or ""
        try:
            program = find_program(written, beside=self.suite.resolve_path(written))
        except UnusableError as error:
            raise self._refusal(
                Problem(where=f"{where}: python", expected="an interpreter", found=str(error))
            ) from error
        if is_path(written):
            self._require_trusted(program, where=where)
        return program

    def _require_trusted(self, program: Path, *, where: str) -> None:
        """Refuse a program that only the suite names, unless the user trusts it.

        Raises:
            SuiteError: The user has not allowed it to be started.
        """
        trusted = TrustedInterpreters(self.cache)
        if trusted.is_trusted(program):
            return
        if not self.may_trust:
            problem = Problem(
                where=f"{where}: python",
                expected="a trusted interpreter",
                found=str(program),
                hint=f"if it may, {self._sync}",
            )
            raise self._refusal(problem)
        try:
            trusted.trust(program)
        except OSError as error:
            raise RunError(
                f"{self.cache}: expected to remember {program} there, found: "
                f"{unwritten(error, elsewhere=ANOTHER_CACHE)}"
            ) from error

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

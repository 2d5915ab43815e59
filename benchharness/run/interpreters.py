"""Where the workers of a suite's backends live, for those that are not to live with us."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchharness.environments.build import apart
from benchharness.environments.interpreter import (
    Interpreter,
    UnusableError,
    find_program,
    look,
    this,
)
from benchharness.environments.spec import EnvironmentSpec
from benchharness.environments.store import Environment, Environments, Use
from benchharness.environments.trust import TrustedInterpreters, is_path
from benchharness.errors import Problem, RunError, SuiteError
from benchharness.files import ANOTHER_CACHE, unwritten
from benchharness.run.process.executor import LocalExecutor
from benchharness.suite.file import BackendTable, SuiteFile


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendInterpreter:
    """Where a backend's workers live.

    Attributes:
        requirements: That its environment was built for; empty for an interpreter as it was found.
        remedy: The command that installs anew what is broken there.
    """

    backend: str
    plugin: str
    interpreter: Interpreter
    requirements: tuple[str, ...] = ()
    remedy: str = ""

    @property
    def code(self) -> str:
        """What tells the code that does their work from any other."""
        return self.interpreter.code_of(self.plugin)

    @property
    def distribution(self) -> str:
        """Name and version of what the plugin came with there."""
        return self.interpreter.plugins[self.plugin]

    def with_interpreter(self, executor: LocalExecutor) -> LocalExecutor:
        """Return an executor as it is, but for the interpreter that its workers have."""
        return replace(
            executor,
            python=str(self.interpreter.path),
            environment=apart(executor.environment),
            code=self.code,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return what run.json tells of it; no path of this machine."""
        asked = {"requirements": list(self.requirements)} if self.requirements else {}
        return asked | self.interpreter.as_dict()


@dataclass(frozen=True, slots=True, kw_only=True)
class InterpreterResolver:
    """Finds the quarters of a suite's backends.

    Attributes:
        cache: Keeps the environments.
        environment: Variables of the process.
        introduces: Whether the user says by this that the interpreters may be started.
    """

    suite: SuiteFile
    cache: Path
    environment: Mapping[str, str]
    may_trust: bool = False

    def apart(self, backends: Iterable[str]) -> list[str]:
        """Return the backends that do not live with us."""
        tables = self.suite.backend
        return [
            name
            for name in dict.fromkeys(backends)
            if name in tables and tables[name].has_own_interpreter
        ]

    def quarters(self, backends: Iterable[str]) -> dict[str, BackendInterpreter]:
        """Return the quarters of each backend that does not live with us.

        Raises:
            SuiteError: Some cannot be used; every one of them is told.
        """
        found: dict[str, BackendInterpreter] = {}
        problems: list[Problem] = []
        for backend in self.apart(backends):
            try:
                found[backend] = self.of(backend)
            except SuiteError as error:
                problems += error.problems
        if problems:
            raise SuiteError(str(self.suite.path), problems)
        return found

    def of(self, backend: str) -> BackendInterpreter:
        """Return the quarters of a backend that does not live with us.

        Raises:
            SuiteError: They cannot be used.
        """
        table = self.suite.backend[backend]
        where, plugin = f'backend "{backend}"', table.plugin or backend
        remedy = "" if table.requirements is None else self._sync
        if table.requirements is None:
            path = self._base(table, where=where)
        else:
            path = self._environment(backend, table, where=where).program
        interpreter = self._look(path, where=where, remedy=remedy)
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

    def recipe(self, backend: str) -> tuple[EnvironmentSpec, Path]:
        """Return what a backend's environment is made of, and the interpreter to build it from.

        Raises:
            SuiteError: That interpreter cannot be used.
        """
        table = self.suite.backend[backend]
        where = f'backend "{backend}"'
        path, identity = this()
        if table.python is not None:
            path = self._base(table, where=where)
            identity = self._look(path, where=where).identity
        recipe = EnvironmentSpec.of(
            table.plugin or backend, table.requirements or (), python=identity
        )
        return recipe, path

    def use(self, backend: str) -> Use:
        """Return by what name a backend asks for its environment."""
        return Use(suite=str(self.suite.path.absolute()), backend=backend)

    def _environment(self, backend: str, table: BackendTable, *, where: str) -> Environment:
        """Return the environment that was built for a backend as the suite states it now.

        Raises:
            SuiteError: There is none.
        """
        store = Environments(self.cache)
        recipe, _ = self.recipe(backend)
        found = store.find(recipe)
        if found is not None:
            return found
        asked = ", ".join(table.requirements or ())
        earlier = store.last_of(self.use(backend))
        if earlier is None:
            there = "none built for it"
        elif earlier.requirements != recipe.requirements:
            there = f"the one built for {', '.join(earlier.requirements)} before that was changed"
        else:
            there = "one built for another Python, plugin or benchharness than those of now"
        raise self._refusal(
            Problem(
                where=where,
                expected=f"an environment of {asked}",
                found=there,
                hint=self._sync,
            )
        )

    def _base(self, table: BackendTable, *, where: str) -> Path:
        written = table.python or ""
        try:
            found = find_program(written, beside=self.suite.resolve_path(written))
        except UnusableError as error:
            raise self._refusal(
                Problem(where=f"{where}: python", expected="an interpreter", found=str(error))
            ) from error
        if is_path(written):
            self._meet(found, where=where)
        return found

    def _meet(self, program: Path, *, where: str) -> None:
        """Have nothing to do with a program that the suite alone has named.

        Raises:
            SuiteError: The user has not said that it may be started.
        """
        known = TrustedInterpreters(self.cache)
        if known.knows(program):
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
            known.add(program)
        except OSError as error:
            raise RunError(
                f"{self.cache}: expected to remember {program} there, found: "
                f"{unwritten(error, elsewhere=ANOTHER_CACHE)}"
            ) from error

    def _look(self, path: Path, *, where: str, remedy: str = "") -> Interpreter:
        try:
            return look(path, self.environment)
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

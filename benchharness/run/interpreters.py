"""Interpreters of backends whose workers do not run on that of this process, and their upkeep."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchharness.download.caches import cache_folder
from benchharness.environments.build import Tell, isolated_env_vars
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
from benchharness.environments.store import Environment, Environments, Reference
from benchharness.errors import BenchError, Problem, SuiteError
from benchharness.files import writable
from benchharness.run.process.executor import LocalExecutor
from benchharness.suite.file import SuiteFile
from benchharness.suite.load import load
from benchharness.text import quote, suggest


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendInterpreter:
    """Interpreter of a backend's workers.

    Its requirements are empty for a given interpreter; the remedy is the command that reinstalls
    what is broken there.
    """

    plugin: str
    interpreter: Interpreter
    requirements: tuple[str, ...] = ()
    remedy: str = ""

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
            code=self.interpreter.code_digest(self.plugin),
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
            raise SuiteError(str(self.suite.path), [problem])
        pip = f"{path} -m pip install --force-reinstall {interpreter.plugins[plugin].split()[0]}"
        rebuild = f"benchharness env sync {self.suite.path} --rebuild"
        return BackendInterpreter(
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
        expected = f"an environment of {requirements}"
        raise self._refusal(f'backend "{backend}"', expected, there, hint=self._sync)

    def _base(self, backend: str) -> Path:
        """Return the program of a backend's table, if the user trusts one that only it names."""
        written, where = self.suite.backend[backend].python or "", f'backend "{backend}": python'
        try:
            program = find_program(written, beside=self.suite.resolve_path(written))
        except UnusableError as error:
            raise self._refusal(where, "an interpreter", error) from error
        trusted = TrustedInterpreters(self.cache)
        if not is_path(written) or trusted.is_trusted(program):
            return program
        if not self.may_trust:
            hint = f"if it may, {self._sync}"
            raise self._refusal(where, "a trusted interpreter", program, hint=hint)
        with writable(self.cache, what=f"to remember {program} there"):
            trusted.trust(program)
        return program

    def _inspect(self, path: Path, *, where: str, remedy: str = "") -> Interpreter:
        try:
            return inspect_interpreter(path, self.environment)
        except UnusableError as error:
            expected = "an interpreter that answers"
            raise self._refusal(where, expected, error, hint=remedy) from error

    @property
    def _sync(self) -> str:
        return f"run: benchharness env sync {self.suite.path}"

    def _refusal(self, where: str, expected: str, found: object, *, hint: str = "") -> SuiteError:
        problem = Problem(where=where, expected=expected, found=str(found), hint=hint)
        return SuiteError(str(self.suite.path), [problem])


def sync_environments(
    suite: Path,
    *,
    backends: tuple[str, ...] = (),
    rebuild: bool = False,
    environment: Mapping[str, str] = os.environ,
    tell: Tell,
) -> Iterator[str | BenchError]:
    """Build the missing environments of a suite; its interpreters are trusted from then on.

    Args:
        backends: As the user selects; empty for all.
        rebuild: Whether to build existing environments again.
        tell: Called with a message before anything that takes long.

    Yields:
        Of each backend the description of its interpreter, or why it is not ready.

    Raises:
        SuiteError: The suite is invalid, or has no such backend with an interpreter of its own.
    """
    resolver = _resolver(suite, environment, may_trust=True)
    known = resolver.isolated_backends(resolver.suite.backend)
    problems = [
        Problem(
            where="--backend",
            expected="a backend of the suite that states python or requirements",
            found=quote(name),
            hint=suggest(name, known),
        )
        for name in backends
        if name not in known
    ]
    if not known:
        problems = [
            Problem(
                where="backend",
                expected="requirements of a backend, to build an environment for",
                found="none",
                hint='for example [backend.NAME] with requirements = ["numpy==2.*"]',
            )
        ]
    if problems:
        raise SuiteError(str(suite), problems)
    for backend in backends or known:
        try:
            yield f"{backend}: {_sync(resolver, backend, rebuild=rebuild, tell=tell)}"
        except BenchError as error:
            yield error


def _sync(resolver: InterpreterResolver, backend: str, *, rebuild: bool, tell: Tell) -> str:
    how = "as it is"
    if resolver.suite.backend[backend].requirements is not None:
        spec, base = resolver.spec(backend)
        began_s = time.monotonic()
        built, is_new = Environments(resolver.cache).sync(
            spec,
            reference=resolver.reference(backend),
            base=base,
            environment=resolver.environment,
            tell=tell,
            rebuild=rebuild,
        )
        how = f"built in {time.monotonic() - began_s:.0f} s" if is_new else "there already"
        if chosen := ", ".join(f"{name} {version}" for name, version in built.chosen.items()):
            how += f": {chosen}"
    interpreter = resolver.of(backend).interpreter
    return (
        f"python {interpreter.python}, {len(interpreter.packages)} packages "
        f"({interpreter.digest}) in {interpreter.path.parent.parent}, {how}"
    )


def unused_environments(
    store: Environments, *, environment: Mapping[str, str]
) -> list[Environment]:
    """Return the environments that no suite requires any more."""
    return [
        built
        for built in store.all()
        if not any(_is_required(use, built, environment) for use in built.uses)
    ]


def _is_required(reference: Reference, built: Environment, environment: Mapping[str, str]) -> bool:
    try:
        resolver = _resolver(Path(reference.suite), environment)
        if reference.backend not in resolver.isolated_backends([reference.backend]):
            return False
        return resolver.spec(reference.backend)[0].digest == built.digest
    except BenchError:
        return False


def _resolver(
    suite: Path, environment: Mapping[str, str], *, may_trust: bool = False
) -> InterpreterResolver:
    return InterpreterResolver(
        suite=load(suite),
        cache=cache_folder(environment),
        environment=environment,
        may_trust=may_trust,
    )

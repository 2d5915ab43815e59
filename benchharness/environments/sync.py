"""Synchronisation of a suite's environments, and those that no suite requires any more."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchharness.download.caches import cache_folder
from benchharness.environments.store import Environment, Environments, Reference
from benchharness.errors import BenchError, Problem, SuiteError
from benchharness.run.interpreters import InterpreterResolver
from benchharness.suite.load import load
from benchharness.text import quote, suggest

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncResult:
    """Result of one backend.

    Attributes:
        text: Description of its interpreter; empty where it is not ready.
        error: Why it is not ready.
    """

    backend: str
    text: str = ""
    error: BenchError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSync:
    """Prepares the interpreters of a suite's backends.

    Attributes:
        backends: The isolated backends that the user selected.
    """

    resolver: InterpreterResolver
    backends: tuple[str, ...]

    @classmethod
    def of(
        cls,
        suite: Path,
        *,
        backends: tuple[str, ...] = (),
        environment: Mapping[str, str] = os.environ,
    ) -> EnvironmentSync:
        """Return the synchronisation of a suite.

        Args:
            suite: Its file.
            backends: As the user selects; empty for all.
            environment: Variables of the process.

        Raises:
            SuiteError: The suite is invalid, or has no such backend with an interpreter of its own.
        """
        loaded = load(suite)
        resolver = InterpreterResolver(
            suite=loaded,
            cache=cache_folder(environment),
            environment=environment,
            may_trust=True,
        )
        known = resolver.isolated_backends(loaded.backend)
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
            problem = Problem(
                where="backend",
                expected="requirements of a backend, to build an environment for",
                found="none",
                hint='for example [backend.NAME] with requirements = ["numpy==2.*"]',
            )
            problems = [problem]
        if problems:
            raise SuiteError(str(suite), problems)
        return cls(resolver=resolver, backends=backends or tuple(known))

    def sync_environments(self, *, rebuild: bool = False, tell: Tell) -> Iterator[SyncResult]:
        """Build the missing environments, and yield the result of each backend.

        Args:
            rebuild: Whether to build existing environments again.
            tell: Called with a message before anything that takes long.
        """
        for backend in self.backends:
            try:
                text = self._sync(backend, rebuild=rebuild, tell=tell)
            except BenchError as error:
                yield SyncResult(backend=backend, error=error)
            else:
                yield SyncResult(backend=backend, text=f"{backend}: {text}")

    def _sync(self, backend: str, *, rebuild: bool, tell: Tell) -> str:
        if self.resolver.suite.backend[backend].requirements is None:
            return f"{_interpreter_text(self.resolver, backend)}, as it is"
        spec, base = self.resolver.spec(backend)
        began_s = time.monotonic()
        environment, is_new = Environments(self.resolver.cache).sync(
            spec,
            reference=self.resolver.reference(backend),
            base=base,
            environment=self.resolver.environment,
            tell=tell,
            rebuild=rebuild,
        )
        how = f"built in {time.monotonic() - began_s:.0f} s" if is_new else "there already"
        chosen = ", ".join(f"{name} {version}" for name, version in environment.chosen.items())
        return (
            f"{_interpreter_text(self.resolver, backend)}, {how}{f': {chosen}' if chosen else ''}"
        )


def unused(store: Environments, *, environment: Mapping[str, str]) -> list[Environment]:
    """Return the environments that no suite requires any more."""
    return [
        built
        for built in store.all()
        if not any(_is_required(use, built, environment) for use in built.uses)
    ]


def _is_required(reference: Reference, built: Environment, environment: Mapping[str, str]) -> bool:
    """Return whether a suite's backend still requires an environment."""
    try:
        resolver = InterpreterResolver(
            suite=load(Path(reference.suite)),
            cache=cache_folder(environment),
            environment=environment,
        )
        if reference.backend not in resolver.isolated_backends([reference.backend]):
            return False
        return resolver.spec(reference.backend)[0].digest == built.digest
    except BenchError:
        return False


def _interpreter_text(resolver: InterpreterResolver, backend: str) -> str:
    """Return the description of a backend's interpreter."""
    interpreter = resolver.of(backend).interpreter
    return (
        f"python {interpreter.python}, {len(interpreter.packages)} packages "
        f"({interpreter.digest}) in {interpreter.path.parent.parent}"
    )

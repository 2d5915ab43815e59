"""Making the environments of a suite ready, and telling which of them no suite asks for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchharness.download.caches import cache_folder
from benchharness.environments.store import Environment, Environments, Use
from benchharness.errors import BenchError, Problem, SuiteError
from benchharness.run.interpreters import InterpreterResolver
from benchharness.suite.load import load
from benchharness.text import quote, suggest

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncResult:
    """Whether a backend's interpreter is ready.

    Attributes:
        text: Which it is, in words; empty where it is not ready.
        error: Why it is not.
    """

    backend: str
    text: str = ""
    error: BenchError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSync:
    """Makes the interpreters of a suite's backends ready.

    Attributes:
        backends: Those that have one of their own, and are asked for.
    """

    ward: InterpreterResolver
    backends: tuple[str, ...]

    @classmethod
    def of(
        cls,
        suite: Path,
        *,
        backends: tuple[str, ...] = (),
        environment: Mapping[str, str] = os.environ,
    ) -> EnvironmentSync:
        """Return the maker of a suite.

        Args:
            suite: Its file.
            backends: As the user asks for; empty for all.
            environment: Variables of the process.

        Raises:
            SuiteError: The suite is not understood, or has no such backend with an interpreter of
                its own.
        """
        loaded = load(suite)
        ward = InterpreterResolver(
            suite=loaded,
            cache=cache_folder(environment),
            environment=environment,
            may_trust=True,
        )
        known = ward.apart(loaded.backend)
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
        return cls(ward=ward, backends=backends or tuple(known))

    def ready(self, *, rebuild: bool = False, tell: Tell) -> Iterator[SyncResult]:
        """Yield whether each backend's interpreter is ready, having built what is to be built.

        Args:
            rebuild: Whether to build again what is there.
            tell: Told before anything that takes long.
        """
        for backend in self.backends:
            try:
                text = self._ready(backend, rebuild=rebuild, tell=tell)
            except BenchError as error:
                yield SyncResult(backend=backend, error=error)
            else:
                yield SyncResult(backend=backend, text=f"{backend}: {text}")

    def _ready(self, backend: str, *, rebuild: bool, tell: Tell) -> str:
        if self.ward.suite.backend[backend].requirements is None:
            return f"{_told(self.ward, backend)}, as it is"
        recipe, base = self.ward.recipe(backend)
        began_s = time.monotonic()
        found, is_new = Environments(self.ward.cache).sync(
            recipe,
            use=self.ward.use(backend),
            base=base,
            environment=self.ward.environment,
            tell=tell,
            rebuild=rebuild,
        )
        how = f"built in {time.monotonic() - began_s:.0f} s" if is_new else "there already"
        chosen = ", ".join(f"{name} {version}" for name, version in found.chosen.items())
        return f"{_told(self.ward, backend)}, {how}{f': {chosen}' if chosen else ''}"


def unused(store: Environments, *, environment: Mapping[str, str]) -> list[Environment]:
    """Return the environments that no suite asks for any more."""
    return [
        one for one in store.every() if not any(_asks(use, one, environment) for use in one.uses)
    ]


def _asks(use: Use, one: Environment, environment: Mapping[str, str]) -> bool:
    """Return whether a suite's backend still asks for an environment."""
    try:
        ward = InterpreterResolver(
            suite=load(Path(use.suite)), cache=cache_folder(environment), environment=environment
        )
        if use.backend not in ward.apart([use.backend]):
            return False
        return ward.recipe(use.backend)[0].digest == one.digest
    except BenchError:
        return False


def _told(ward: InterpreterResolver, backend: str) -> str:
    """Return which interpreter a backend has, once it has one that can be used."""
    interpreter = ward.of(backend).interpreter
    return (
        f"python {interpreter.python}, {len(interpreter.packages)} packages "
        f"({interpreter.digest}) in {interpreter.path.parent.parent}"
    )

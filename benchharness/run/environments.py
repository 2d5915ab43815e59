"""Synchronisation of a suite's environments, and those that no suite requires any more."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchharness.download.caches import cache_folder
from benchharness.environments.store import Environment, Environments, Reference
from benchharness.errors import BenchError, Problem, SuiteError
from benchharness.run.interpreters import InterpreterResolver
from benchharness.suite.load import load
from benchharness.text import quote, suggest

Tell = Callable[[str], None]


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
        problem = Problem(
            where="backend",
            expected="requirements of a backend, to build an environment for",
            found="none",
            hint='for example [backend.NAME] with requirements = ["numpy==2.*"]',
        )
        problems = [problem]
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

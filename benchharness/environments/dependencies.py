"""Distributions that are installed here, and their dependencies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name


def installed_as(name: str) -> Distribution | None:
    """Return the distribution that is installed under a name; None where none is."""
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def dependency_closure(requirements: Iterable[Requirement]) -> dict[str, Distribution]:
    """Return the installed distributions that requirements lead to, by canonical name."""
    closure: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [candidate for candidate in requirements if applies(candidate, frozenset())]
    while waiting:
        requirement = waiting.pop()
        extras = frozenset(requirement.extras)
        key = (canonicalize_name(requirement.name), extras)
        known = installed_as(requirement.name)
        if key in seen or known is None:
            continue
        seen.add(key)
        closure[key[0]] = known
        waiting += [
            candidate
            for candidate in parse_requirements(known.requires or ())
            if applies(candidate, extras)
        ]
    return closure


def applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    """Return whether a requirement's marker holds here, with some extras."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def parse_requirements(texts: Iterable[str]) -> Iterator[Requirement]:
    """Yield the requirements among some lines; constraints also hold options and addresses."""
    for text in texts:
        with suppress(InvalidRequirement):
            yield Requirement(text)

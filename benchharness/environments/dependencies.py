"""Distributions that are installed here: which, and what they lead to."""

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


def reached(requirements: Iterable[Requirement]) -> dict[str, Distribution]:
    """Return the installed distributions that requirements lead to, by canonical name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [one for one in requirements if applies(one, frozenset())]
    while waiting:
        requirement = waiting.pop()
        extras = frozenset(requirement.extras)
        key = (canonicalize_name(requirement.name), extras)
        known = installed_as(requirement.name)
        if key in seen or known is None:
            continue
        seen.add(key)
        found[key[0]] = known
        waiting += [one for one in understood(known.requires or ()) if applies(one, extras)]
    return found


def applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    """Return whether a requirement asks for anything here, with some extras."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def understood(texts: Iterable[str]) -> Iterator[Requirement]:
    """Yield the requirements among some lines; constraints also hold options and addresses."""
    for text in texts:
        with suppress(InvalidRequirement):
            yield Requirement(text)

"""Specification of an environment: a suite's requirements, and those of benchharness."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from benchharness.environments.install import (
    CORE,
    dependency_closure,
    installed_as,
    name_of,
    needs,
    source_of,
)
from benchharness.plugins import installed, package_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSpec:
    """Everything that decides an environment.

    Attributes:
        requirements: As the suite states them.
        python: Identity of the interpreter that it is for.
        copied: Name and version of the distributions that are copied from here.
        to_install: Everything to install: the suite's requirements, and those of what is copied.
        code: Digest of the plugin's code, where it is copied: its version may stay when it changes.
    """

    plugin: str
    requirements: tuple[str, ...]
    python: str
    copied: tuple[str, ...]
    to_install: tuple[str, ...]
    code: tuple[str, ...] = ()

    @classmethod
    def of(cls, plugin: str, requirements: Sequence[str], *, python: str) -> EnvironmentSpec:
        """Return the specification of a backend's environment.

        A requirement of ours, as ``benchharness-keras[jax]``, stands for what its extras require.
        """
        entry = installed().get(plugin)
        dist = entry.dist if entry else None
        # Copied: the core, and the plugin if it is installed here.
        ours = {canonicalize_name(each.name): each for each in (installed_as(CORE), dist) if each}
        # Of "cpython 3.12.1 linux-x86_64".
        version = ".".join(python.split()[1].split(".")[:2])
        texts: list[str] = []
        for text in requirements:
            stated = Requirement(text)
            name = canonicalize_name(stated.name)
            if name in ours and not stated.specifier.contains(ours[name].version, prereleases=True):
                # Another version than the one that is here is for the installer to find.
                del ours[name]
            known = ours.get(name)
            texts += needs(known, frozenset(stated.extras), python=version) if known else [text]
        for known in ours.values():
            texts += needs(known, python=version)
        foreign = {text for text in texts if name_of(text) not in ours}
        # An editable one is not copied: its code is read where it is.
        is_copy = (
            dist is not None and canonicalize_name(dist.name) in ours and not source_of(dist)[1]
        )
        code = (package_digest(entry.module.partition(".")[0]),) if entry and is_copy else ()
        return cls(
            code=code,
            plugin=plugin,
            requirements=tuple(requirements),
            python=python,
            copied=tuple(f"{known.name}=={known.version}" for known in ours.values()),
            to_install=tuple(sorted(foreign)),
        )

    @property
    def digest(self) -> str:
        """Name of the environment: equal specifications share one."""
        facts = [self.plugin, self.python, *self.copied, "--", *self.to_install, *self.code]
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]

    def pins(self) -> tuple[str, ...]:
        """Return the installed versions of what the core requires, but for those stated.

        Two environments then differ only in what they are built to differ in.
        """
        named = {*map(name_of, self.requirements), *map(name_of, self.copied)}
        return tuple(
            f"{name}=={Version(known.version).public}"
            for name, known in sorted(dependency_closure([Requirement(CORE)]).items())
            if name not in named
        )

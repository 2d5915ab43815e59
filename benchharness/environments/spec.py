"""What an environment is made of: what a suite asks for, and what ours need beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from benchharness.environments.dependencies import installed_as, reached
from benchharness.environments.install import CORE, needs
from benchharness.plugins import installed


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSpec:
    """What decides an environment.

    Attributes:
        plugin: Entry point of the backend.
        requirements: As the suite states them.
        python: Identity of the interpreter that it is for.
        brought: Name and version of the distributions that are brought as they are here.
        wanted: All that is to be installed: the suite's requirements, and what ours require.
    """

    plugin: str
    requirements: tuple[str, ...]
    python: str
    brought: tuple[str, ...]
    wanted: tuple[str, ...]

    @classmethod
    def of(cls, plugin: str, requirements: Sequence[str], *, python: str) -> EnvironmentSpec:
        """Return the recipe of what a suite asks for.

        A requirement of ours, as ``benchharness-keras[jax]``, stands for what its extras require.
        """
        own = _ours(plugin)
        # Of "cpython 3.12.1 linux-x86_64".
        version = ".".join(python.split()[1].split(".")[:2])
        texts: list[str] = []
        for text in requirements:
            asked = Requirement(text)
            name = canonicalize_name(asked.name)
            if name in own and not asked.specifier.contains(own[name].version, prereleases=True):
                # Another version than the one that is here is for the installer to find.
                del own[name]
            known = own.get(name)
            extras = frozenset(asked.extras)
            texts += needs(known, extras, python=version) if known else [text]
        for known in own.values():
            texts += needs(known, python=version)
        foreign = (text for text in texts if canonicalize_name(Requirement(text).name) not in own)
        return cls(
            plugin=plugin,
            requirements=tuple(requirements),
            python=python,
            brought=tuple(f"{known.name}=={known.version}" for known in own.values()),
            wanted=tuple(sorted(set(foreign))),
        )

    @property
    def digest(self) -> str:
        """Tells environments apart: equal recipes share one."""
        facts = [self.plugin, self.python, *self.brought, "--", *self.wanted]
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]

    def held(self) -> tuple[str, ...]:
        """Return the versions that are here of what the core computes with, but for those asked.

        Two environments are then to differ in what they are built to differ in.
        """
        texts = [*self.requirements, *self.brought]
        named = {canonicalize_name(Requirement(text).name) for text in texts}
        return tuple(
            f"{name}=={Version(known.version).public}"
            for name, known in sorted(reached([Requirement(CORE)]).items())
            if name not in named
        )


def _ours(plugin: str) -> dict[str, Distribution]:
    """Return the distributions that are brought from here: the core, and the plugin if it is here.

    By canonical name.
    """
    entry = installed().get(plugin)
    candidates = [installed_as(CORE), entry.dist if entry else None]
    return {canonicalize_name(one.name): one for one in candidates if one is not None}

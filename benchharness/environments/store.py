"""Environments that were built, each in the cache under the digest of its specification."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchharness.environments.build import Tell, build_once, fill, python_of
from benchharness.environments.install import copy_distribution, installed_as
from benchharness.environments.interpreter import UnusableError, inspect_interpreter
from benchharness.environments.spec import EnvironmentSpec
from benchharness.errors import RunError
from benchharness.files import atomic_write_text, unwritten, writable

_MARK = "environment.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A backend, as a suite calls it, that requires an environment; the suite's absolute path."""

    suite: str
    backend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """An environment that was built.

    Attributes:
        requirements: As the suite stated them.
        packages: Versions by distribution.
        built: UTC, ISO 8601.
        uses: The backends that require it.
    """

    folder: Path
    plugin: str
    requirements: tuple[str, ...]
    python: str
    packages: Mapping[str, str]
    built: str
    uses: tuple[Reference, ...]

    @property
    def digest(self) -> str:
        """Its name."""
        return self.folder.name

    @property
    def program(self) -> Path:
        """Its interpreter."""
        return python_of(self.folder)

    @property
    def chosen(self) -> dict[str, str]:
        """The versions of what the suite requires by name."""
        versions = {canonicalize_name(name): version for name, version in self.packages.items()}
        names = (Requirement(text).name for text in self.requirements)
        return {
            name: versions[key] for name in names if (key := canonicalize_name(name)) in versions
        }

    def size_bytes(self) -> int:
        """Return its size on disk, with files that the installer shares with others."""
        return sum(file.lstat().st_size for file in self.folder.rglob("*") if not file.is_dir())


class Environments:
    """All environments of a cache."""

    def __init__(self, cache: Path) -> None:
        self._folder = cache / "environments"

    def all(self) -> list[Environment]:
        """Return all, the newest first, without damaged ones."""
        environments = filter(None, map(_read, self._folder.glob(f"[!.]*/{_MARK}")))
        return sorted(environments, key=lambda environment: environment.built, reverse=True)

    def find(self, spec: EnvironmentSpec) -> Environment | None:
        """Return the environment of a specification; None where it has not been built."""
        return _read(self._folder / spec.digest / _MARK)

    def latest_for(self, reference: Reference) -> Environment | None:
        """Return the newest that was built for a suite's backend, whatever it requires now."""
        return next((built for built in self.all() if reference in built.uses), None)

    def named(self, name: str) -> list[Environment]:
        """Return those whose digest starts with a name, or whose backend has it."""
        return [
            built
            for built in self.all()
            if built.digest.startswith(name) or any(use.backend == name for use in built.uses)
        ]

    def sync(
        self,
        spec: EnvironmentSpec,
        *,
        reference: Reference,
        base: Path,
        environment: Mapping[str, str],
        tell: Tell,
        rebuild: bool = False,
    ) -> tuple[Environment, bool]:
        """Return the environment that a backend requires, and whether it had to be built.

        Args:
            base: The interpreter to build it from.
            rebuild: Whether to build an existing one again.

        Raises:
            RunError: It cannot be built; nothing of it is left.
        """
        folder = self._folder / spec.digest

        def build(beside: Path) -> None:
            _build(beside, spec, reference, base=base, environment=environment, tell=tell)

        with writable(folder, what="to be able to keep an environment there"):
            if folder.is_dir() and (rebuild or not self._serves(spec, environment)):
                _remove(folder)
            is_new = build_once(folder, build)
            built = self.find(spec)
            if built is None:
                raise RunError(f"{folder}: expected an environment, found none that can be read")
            if reference not in built.uses:
                built = replace(built, uses=(*built.uses, reference))
                content = json.loads((folder / _MARK).read_text(encoding="utf-8"))
                _write(folder, content | {"uses": [asdict(use) for use in built.uses]})
            return built, is_new

    def _serves(self, spec: EnvironmentSpec, environment: Mapping[str, str]) -> bool:
        """Whether the environment is whole, and has the code that runs here."""
        built = self.find(spec)
        try:
            return built is not None and not inspect_interpreter(
                built.program, environment
            ).problem(spec.plugin, where="")
        except UnusableError:
            return False

    def remove(self, built: Environment) -> None:
        """Remove an environment."""
        try:
            _remove(built.folder)
        except OSError as error:
            raise RunError(
                f"{built.folder}: expected to remove it, found: {unwritten(error)}"
            ) from error


def _build(
    folder: Path,
    spec: EnvironmentSpec,
    reference: Reference,
    *,
    base: Path,
    environment: Mapping[str, str],
    tell: Tell,
) -> None:
    name = f"environment of {reference.backend}"
    tell(f"building an environment for {reference.backend}: {', '.join(spec.requirements)}")
    fill(
        folder,
        python=base,
        requirements=spec.to_install,
        held=spec.pins(),
        environment=environment,
        name=name,
        tell=tell,
    )
    for text in spec.copied:
        if known := installed_as(Requirement(text).name):
            copy_distribution(known, folder)
    try:
        inside = inspect_interpreter(python_of(folder), environment)
    except UnusableError as error:
        raise RunError(f"{name}: expected an interpreter, found {error}") from error
    remedy = f"add the distribution of {spec.plugin} to its requirements"
    if problem := inside.problem(spec.plugin, where=name, remedy=remedy):
        raise RunError(str(problem))
    content = {
        "plugin": spec.plugin,
        "requirements": spec.requirements,
        "python": inside.python,
        "packages": inside.packages,
        "built": datetime.now(UTC).isoformat(timespec="seconds"),
        "uses": [asdict(reference)],
        "recipe": asdict(spec),
    }
    _write(folder, content)


def _remove(folder: Path) -> None:
    """Remove an environment: first its name, then its files."""
    gone = folder.with_name(f".{folder.name}.removed")
    shutil.rmtree(gone, ignore_errors=True)
    folder.rename(gone)
    shutil.rmtree(gone)


def _write(folder: Path, content: Mapping[str, object]) -> None:
    atomic_write_text(folder / _MARK, json.dumps(content, indent=1) + "\n")


def _read(mark: Path) -> Environment | None:
    try:
        content = json.loads(mark.read_text(encoding="utf-8"))
        return Environment(
            folder=mark.parent,
            plugin=content["plugin"],
            requirements=tuple(content["requirements"]),
            python=content["python"],
            packages=content["packages"],
            built=content["built"],
            uses=tuple(Reference(**use) for use in content["uses"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None

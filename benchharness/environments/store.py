"""The environments that have been built, each in the cache under the digest of its recipe."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchharness.environments.build import build_once, create, install, python_of
from benchharness.environments.dependencies import installed_as
from benchharness.environments.install import bring
from benchharness.environments.interpreter import UnusableError, look
from benchharness.environments.spec import EnvironmentSpec
from benchharness.errors import RunError
from benchharness.files import ANOTHER_CACHE, unwritten

Tell = Callable[[str], None]

_MARK = "environment.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """Who has asked for an environment.

    Attributes:
        suite: Absolute path of its file.
        backend: As the suite calls it.
    """

    suite: str
    backend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """One that was built.

    Attributes:
        plugin: Entry point of the backend.
        requirements: As the suite stated them.
        python: Version of its interpreter.
        packages: Versions by distribution.
        built: UTC, ISO 8601.
        uses: Who has asked for it.
    """

    folder: Path
    plugin: str
    requirements: tuple[str, ...]
    python: str
    packages: Mapping[str, str]
    built: str
    uses: tuple[Use, ...]

    @property
    def digest(self) -> str:
        """The name it goes by."""
        return self.folder.name

    @property
    def program(self) -> Path:
        """Its interpreter."""
        return python_of(self.folder)

    @property
    def chosen(self) -> dict[str, str]:
        """The versions of what the suite has asked for by name."""
        versions = {canonicalize_name(name): one for name, one in self.packages.items()}
        names = (Requirement(text).name for text in self.requirements)
        keys = {name: canonicalize_name(name) for name in names}
        return {name: versions[key] for name, key in keys.items() if key in versions}

    def size_bytes(self) -> int:
        """Return what it takes on disk, files that the installer shares with others included."""
        return sum(file.lstat().st_size for file in self.folder.rglob("*") if not file.is_dir())


class Environments:
    """All environments of a cache.

    Args:
        cache: The folder ``environments`` below it holds them.
    """

    def __init__(self, cache: Path) -> None:
        self._folder = cache / "environments"

    def every(self) -> list[Environment]:
        """Return all that are there, the newest first; what is damaged is not there."""
        marks = self._folder.glob(f"[!.]*/{_MARK}") if self._folder.is_dir() else ()
        found = [one for mark in marks if (one := _read(mark)) is not None]
        return sorted(found, key=lambda one: one.built, reverse=True)

    def find(self, recipe: EnvironmentSpec) -> Environment | None:
        """Return the environment of a recipe; None where it has not been built."""
        return _read(self._folder / recipe.digest / _MARK)

    def last_of(self, use: Use) -> Environment | None:
        """Return the newest that was built for a suite's backend, whatever it asks for now."""
        return next((one for one in self.every() if use in one.uses), None)

    def named(self, name: str) -> list[Environment]:
        """Return those that a digest's first letters mean, or the backend of a suite."""
        return [
            one
            for one in self.every()
            if one.digest.startswith(name) or any(use.backend == name for use in one.uses)
        ]

    def sync(
        self,
        recipe: EnvironmentSpec,
        *,
        use: Use,
        base: Path,
        environment: Mapping[str, str],
        tell: Tell,
        rebuild: bool = False,
    ) -> tuple[Environment, bool]:
        """Return the environment of a recipe, and whether it had to be built.

        Args:
            use: Who asks for it.
            base: The interpreter to build it from.
            environment: Variables of the process.
            tell: Told before anything that takes long.
            rebuild: Whether to build it again where it is there.

        Raises:
            RunError: It cannot be built; nothing of it is left.
        """
        folder = self._folder / recipe.digest

        def build(beside: Path) -> None:
            tell(f"building an environment for {use.backend}: {', '.join(recipe.requirements)}")
            _build(beside, recipe, use, base=base, environment=environment, tell=tell)

        try:
            if folder.is_dir() and (rebuild or not self._serves(recipe, environment)):
                _remove(folder)
            is_new = build_once(folder, build)
            found = self.find(recipe)
            if found is None:
                raise RunError(f"{folder}: expected an environment, found none that can be read")
            return _used(found, use), is_new
        except OSError as error:
            raise RunError(
                f"{folder}: expected to be able to keep an environment there, found: "
                f"{unwritten(error, elsewhere=ANOTHER_CACHE)}"
            ) from error

    def _serves(self, recipe: EnvironmentSpec, environment: Mapping[str, str]) -> bool:
        """Whether what was built is whole, and still has the code that runs here."""
        found = self.find(recipe)
        try:
            return found is not None and not look(found.program, environment).problem(
                recipe.plugin, where=""
            )
        except UnusableError:
            return False

    def remove(self, found: Environment) -> None:
        """Remove one, at once for whoever looks for it.

        Raises:
            RunError: Its files cannot be removed.
        """
        try:
            _remove(found.folder)
        except OSError as error:
            raise RunError(
                f"{found.folder}: expected to remove it, found: {unwritten(error)}"
            ) from error


def _build(
    folder: Path,
    recipe: EnvironmentSpec,
    use: Use,
    *,
    base: Path,
    environment: Mapping[str, str],
    tell: Tell,
) -> None:
    name = f"environment of {use.backend}"
    create(folder, python=base, environment=environment, name=name)
    fill = partial(install, folder, wanted=recipe.wanted, environment=environment, name=name)
    try:
        fill(pins=recipe.held())
    except RunError:
        tell("not with the versions that are here of everything else; trying with others")
        fill(pins=())
    for text in recipe.brought:
        known = installed_as(Requirement(text).name)
        if known is not None:
            bring(known, folder)
    try:
        inside = look(python_of(folder), environment)
    except UnusableError as error:
        raise RunError(f"{name}: expected an interpreter, found {error}") from error
    remedy = f"add the distribution of {recipe.plugin} to its requirements"
    if problem := inside.problem(recipe.plugin, where=name, remedy=remedy):
        raise RunError(str(problem))
    content = {
        "plugin": recipe.plugin,
        "requirements": list(recipe.requirements),
        "python": inside.python,
        "packages": dict(inside.packages),
        "built": datetime.now(UTC).isoformat(timespec="seconds"),
        "uses": [asdict(use)],
        "recipe": asdict(recipe),
    }
    _write(folder, content)


def _remove(folder: Path) -> None:
    """Remove an environment: at once for whoever looks for it, then its files."""
    gone = folder.with_name(f".{folder.name}.removed")
    shutil.rmtree(gone, ignore_errors=True)
    folder.rename(gone)
    shutil.rmtree(gone)


def _used(found: Environment, use: Use) -> Environment:
    """Return an environment whose record names one more use of it."""
    if use in found.uses:
        return found
    content = json.loads((found.folder / _MARK).read_text(encoding="utf-8"))
    uses = (*found.uses, use)
    _write(found.folder, content | {"uses": [asdict(one) for one in uses]})
    return replace(found, uses=uses)


def _write(folder: Path, content: Mapping[str, Any]) -> None:
    unfinished = folder / f"{_MARK}.partial"
    unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(folder / _MARK)


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
            uses=tuple(Use(**use) for use in content["uses"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None

"""Plugins: backends and extensions, listed by their entry points and loaded one by one."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchharness.errors import PluginError
from benchharness.text import closest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pluggy import HookCaller, PluginManager

    from benchharness.model.network import Network
    from benchharness.model.work import Backend, Setting

    Hook = Callable[..., Any]
    WeightReader = Callable[..., Mapping[str, NDArray[np.float32]] | None]

GROUP = "benchharness"
# Each kind of extension, whose entry points are in the group benchharness.KIND, and its hook.
KINDS: Mapping[str, str] = {
    "datasets": "benchharness_dataset",
    "meters": "benchharness_meter",
    "reports": "benchharness_report",
    "observers": "benchharness_observer",
    "commands": "benchharness_command",
}
# Versions that we support, and the one that runs us.
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
# The slow backend that comes with us and computes in float64.
REFERENCE = "numpy"
# The backends that come with the project, and where they are in its folder.
OURS = {
    "torch": "plugins/benchharness-torch",
    "jax": "plugins/benchharness-jax",
    "keras": "'plugins/benchharness-keras[tensorflow]'",
    "keras-jax": "'plugins/benchharness-keras[jax]'",
    "keras-torch": "'plugins/benchharness-keras[torch]'",
}
# Names of disabled plugins, with commas between them; inherited by every process of ours.
DISABLED_VAR = "BENCHHARNESS_NO_PLUGIN"
# What a plugin's module says of the API that it was written for.
DECLARATION = "benchharness_api"


@functools.cache
def installed(group: str = GROUP) -> Mapping[str, EntryPoint]:
    """Return the enabled plugins of a group by name, of backends by default; imports none."""
    entries = sorted(entry_points(group=group), key=lambda entry: entry.name)
    return {entry.name: entry for entry in entries if entry.name not in disabled()}


def installed_names() -> list[str]:
    """Return the names of all enabled plugins, of every group."""
    groups = (GROUP, *(f"{GROUP}.{kind}" for kind in KINDS))
    return sorted({name for group in groups for name in installed(group)})


def disabled() -> tuple[str, ...]:
    """Return the names of the plugins that the user has disabled."""
    return tuple(filter(None, map(str.strip, os.environ.get(DISABLED_VAR, "").split(","))))


def disable(names: Iterable[str]) -> None:
    """Disable plugins, in this process and in all that it starts."""
    os.environ[DISABLED_VAR] = ",".join(dict.fromkeys([*disabled(), *names]))
    installed.cache_clear()


def distribution(entry: EntryPoint) -> str:
    """Return the name and version of the distribution that a plugin came with."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown distribution"


def title(entry: EntryPoint) -> str:
    """Return what to call a plugin in a message, for example ``backend mine (mine 1.0)``."""
    kind = "backend" if entry.group == GROUP else entry.group.rpartition(".")[2].removesuffix("s")
    return f"{kind} {entry.name} ({distribution(entry)})"


def find(name: str) -> EntryPoint:
    """Return the installed backend plugin of that name.

    Raises:
        PluginError: None is installed, or it is disabled; the message names the nearest, or how
            to install it.
    """
    plugins = installed()
    if name in plugins:
        return plugins[name]
    if name in disabled():
        raise PluginError(
            f"backend {name}: plugin disabled by --no-plugin or {DISABLED_VAR}; "
            "remove that to use it"
        )
    if command := install_command(name):
        remedy = f"install it with: {command}"
    elif near := closest(name, plugins):
        remedy = f"did you mean {near[0]}?"
    else:
        remedy = "benchharness list shows what is installed"
    known = ", ".join(plugins) or "none"
    raise PluginError(
        f"backend {name}: expected an installed plugin ({known}), found none; {remedy}"
    )


def install_command(name: str) -> str:
    """Return how a backend of this project is installed, in the project's folder; else nothing.

    A name that we do not know may be anybody's: pip would fetch and run what it finds under it.
    """
    return f"pip install -e {OURS[name]}" if name in OURS else ""


@functools.cache
def _manager() -> PluginManager:
    """Return the manager of all plugins that this process has loaded."""
    # Not at the top: listing plugins needs neither pluggy nor NumPy.
    import pluggy

    from benchharness import hookspecs

    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    return manager


def load(entry: EntryPoint) -> object:
    """Import and register one plugin, and return its module.

    Raises:
        PluginError: It cannot be imported, implements an unknown hook, or was written for another
            version of ``benchharness.api``.
    """
    from pluggy import PluginValidationError

    manager = _manager()
    try:
        module: object = entry.load()
        if not manager.is_registered(module):
            _require_version(entry, getattr(module, DECLARATION, None))
            try:
                # One module may be the plugin of several entry points.
                manager.register(module, name=f"{entry.value} {id(module)}")
                # A misspelt hook would otherwise be silent.
                manager.check_pending()
            except PluginValidationError:
                if manager.is_registered(module):
                    manager.unregister(module)
                raise
    except (ImportError, PluginValidationError) as error:
        raise PluginError(f"{title(entry)}: {error}") from error
    return module


def _require_version(entry: EntryPoint, declared: object) -> None:
    """Refuse a plugin that was written for what this benchharness does not offer.

    One that declares nothing is taken at its word; ``benchharness plugin check`` asks for it.
    """
    from benchharness.api import API_VERSION

    if declared is None:
        return
    major, minor = map(int, API_VERSION.split("."))
    match = re.fullmatch(r"(\d+)\.(\d+)", declared) if isinstance(declared, str) else None
    wanted = (int(match[1]), int(match[2])) if match else (0, 0)
    if (major, 0) <= wanted <= (major, minor):
        return
    older = entry.dist.name if entry.dist else entry.name
    if wanted > (major, minor):
        older = "benchharness"
    raise PluginError(
        f"{title(entry)}: {DECLARATION}: expected version {major}.0 to {API_VERSION} of "
        f"benchharness.api, found {declared!r}; install a newer {older}"
    )


def load_hook(entry: EntryPoint, name: str, *, remedy: str = "") -> Hook:
    """Import one plugin and return a hook that calls this plugin alone.

    Raises:
        PluginError: As ``load`` does, or the plugin does not implement the hook.
    """
    module = load(entry)

    def alone() -> HookCaller:
        others = [plugin for plugin in _manager().get_plugins() if plugin is not module]
        return _manager().subset_hook_caller(name, others)

    if not alone().get_hookimpls():
        raise PluginError(f"{title(entry)}: expected the hook {name}, found none{remedy}")
    # One caller per call: pluggy adds plugins that are loaded later to an existing one.
    return lambda **arguments: alone()(**arguments)


def load_backend(name: str, *, options: Mapping[str, Setting]) -> Backend:
    """Import one plugin and return its backend.

    Raises:
        PluginError: As ``find`` and ``load`` do, or the plugin refuses its options.
    """
    entry = find(name)
    hook = load_hook(entry, "benchharness_backend")
    try:
        backend: Backend | None = hook(options=options)
    except PluginError as error:
        if missing := obstacle(entry):
            raise PluginError(f"backend {name}: {missing}; {missing.remedy}") from error
        raise
    if backend is None:
        raise PluginError(
            f"{title(entry)}: expected the hook benchharness_backend to return "
            "a backend, found nothing"
        )
    return backend


def load_synchronize(name: str, *, device: str) -> Callable[[], None]:
    """Import a backend's plugin and return what waits for its framework's device.

    Args:
        device: ``cpu`` or ``cuda:N``, as the driver counts.

    Raises:
        PluginError: As ``find`` and ``load`` do, or the plugin does not know how to wait.
    """
    remedy = "; pass synchronize=... to wait for the device"
    hook = load_hook(find(name), "benchharness_synchronize", remedy=remedy)
    synchronize: Callable[[], None] = hook(device=device)
    return synchronize


def weight_readers() -> Mapping[str, WeightReader]:
    """Return the hooks that read weights in a framework's own format, by plugin.

    Imports their modules, and no framework. A plugin that cannot be imported reads nothing.
    """
    readers: dict[str, WeightReader] = {}
    for name, entry in installed().items():
        # Nobody asked for this plugin by name: whatever is wrong with it is no concern here.
        with suppress(Exception):
            readers[name] = load_hook(entry, "benchharness_read_weights")
    return readers


def read_weights(path: Path, network: Network) -> Mapping[str, NDArray[np.float32]]:
    """Return a network's weights from a file of some framework's own format.

    Raises:
        PluginError: No installed plugin knows the format, or the file holds another network.
    """
    for read in weight_readers().values():
        weights = read(path=path, network=network)
        if weights is not None:
            return weights
    raise PluginError(
        f"{path}: expected a plugin that reads {path.suffix} files, found none; "
        f"install one with: {install_command('torch')}"
    )


def extensions(kind: str) -> Mapping[str, EntryPoint]:
    """Return the enabled extensions of a kind, a key of ``KINDS``, by name; imports none."""
    return installed(f"{GROUP}.{kind}")


def load_extension(kind: str, name: str) -> Hook:
    """Import one extension and return its hook, as ``load_hook`` does."""
    return load_hook(extensions(kind)[name], KINDS[kind])


def hooks(kind: str) -> Iterator[tuple[str, Hook]]:
    """Yield the name and the hook of each extension of a kind that can be loaded.

    Nobody asked for these by name, so a broken one ends nothing; ``broken`` reports it.
    """
    for name in extensions(kind):
        with suppress(Exception):
            yield name, load_extension(kind, name)


def broken(*kinds: str) -> Iterator[str]:
    """Yield what is wrong with each extension of the kinds that cannot be loaded."""
    for kind in kinds:
        for name, entry in extensions(kind).items():
            try:
                load_extension(kind, name)
            except PluginError as error:
                yield str(error)
            except Exception as error:
                yield f"{title(entry)}: {type(error).__name__}: {error}"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A framework, by its distribution, that has no wheel for this Python.

    Attributes:
        pythons: Versions that it has one for, of those that we support.
        others: Backends of the same distribution that have all that they require.
    """

    requirement: str
    pythons: tuple[str, ...]
    others: tuple[str, ...]

    def __str__(self) -> str:
        """Return what is wrong, in words."""
        return f"{self.requirement} has no wheel for Python {_PYTHON}"

    @property
    def remedy(self) -> str:
        """Pythons that bring the backend, and backends beside it that run here."""
        here = f"; {', '.join(self.others)} of the same plugin can run here" if self.others else ""
        return f"Python {', '.join(self.pythons)} brings it{here}"


def obstacle(entry: EntryPoint) -> Obstacle | None:
    """Return what keeps a backend from ever running on this Python; None where nothing does.

    A plugin says so in its metadata: its entry point names the extra that brings the backend's
    framework, and what the extra requires has a marker that leaves this version of Python out.
    """
    for requirement, pythons in _extra_requirements(entry).items():
        if installed_version(requirement) is None and _PYTHON not in pythons:
            beside = entry.dist.entry_points.select(group=entry.group) if entry.dist else ()
            others = (
                other.name
                for other in beside
                if other.extras and all(map(installed_version, _extra_requirements(other)))
            )
            return Obstacle(requirement, pythons, tuple(others))
    return None


def _extra_requirements(entry: EntryPoint) -> dict[str, tuple[str, ...]]:
    """Return what a backend's extras require, each with the versions of Python that it is for."""
    # Not at the top: most backends name no extra, and listing them is to stay instant.
    from packaging.requirements import Requirement

    result = {}
    for text in entry.dist.requires or [] if entry.dist and entry.extras else []:
        requirement = Requirement(text)
        marker = requirement.marker
        pythons = tuple(
            python
            for python in PYTHONS
            if marker is not None
            and any(
                marker.evaluate({"extra": extra, "python_version": python})
                for extra in entry.extras
            )
        )
        if pythons:
            result[requirement.name] = pythons
    return result


def code_digest(entry: EntryPoint) -> str:
    """Return a digest of a plugin's own code and of the versions of what it requires.

    Imports nothing of the plugin.
    """
    package = entry.module.split(".")[0]
    facts = [distribution(entry), package_digest(package)]
    facts += [f"{name} {required}" for name, required in requirements(entry)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def requirements(entry: EntryPoint) -> list[tuple[str, str]]:
    """Return name and version of each installed distribution that a plugin requires."""
    texts = entry.dist.requires or [] if entry.dist else []
    names = sorted({re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in texts})
    return [(name, found) for name in names if (found := installed_version(name))]


@functools.cache
def package_digest(package: str) -> str:
    """Return a digest of the Python files of an installed package, or of a module's only one."""
    spec = find_spec(package)
    folders = spec.submodule_search_locations or [] if spec else []
    files = [file for folder in folders for file in Path(folder).rglob("*.py")]
    if spec and not folders and spec.origin and spec.has_location:
        files = [Path(spec.origin)]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def installed_version(package: str) -> str | None:
    """Return the version of an installed distribution; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None

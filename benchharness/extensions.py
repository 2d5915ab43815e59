"""What plugins add beside backends: one group of entry points for each kind, loaded when used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

from benchharness.errors import PluginError
from benchharness.plugins import installed, load, title

if TYPE_CHECKING:
    from pluggy import HookCaller

# Each kind, and the hook that a plugin of that kind implements.
KINDS: Mapping[str, str] = {
    "datasets": "benchharness_dataset",
    "meters": "benchharness_meter",
    "reports": "benchharness_report",
    "observers": "benchharness_observer",
    "commands": "benchharness_command",
}


def extensions(kind: str) -> Mapping[str, EntryPoint]:
    """Return the installed extensions of a kind by name; imports none.

    Args:
        kind: A key of ``KINDS``.
    """
    return installed(f"benchharness.{kind}")


def load_extension(kind: str, name: str) -> HookCaller:
    """Import one extension and return its hook.

    Raises:
        PluginError: It cannot be imported, or does not implement the hook of its kind.
    """
    entry = extensions(kind)[name]
    hook: HookCaller = getattr(load(entry).hook, KINDS[kind])
    if not hook.get_hookimpls():
        raise PluginError(f"{title(entry)}: expected the hook {KINDS[kind]}, found none")
    return hook


def hooks(kind: str) -> Iterator[tuple[str, HookCaller]]:
    """Yield the name and the hook of each extension of a kind that can be loaded.

    Nobody asked for these by name, so one that is broken ends nothing; ``broken`` tells of it.
    """
    for name in extensions(kind):
        try:
            yield name, load_extension(kind, name)
        except Exception:
            continue


def broken(*kinds: str) -> Iterator[str]:
    """Yield for each extension of the kinds that cannot be loaded what is wrong with it."""
    for kind in kinds:
        for name, entry in extensions(kind).items():
            try:
                load_extension(kind, name)
            except PluginError as error:
                yield str(error)
            except Exception as error:
                yield f"{title(entry)}: {type(error).__name__}: {error}"

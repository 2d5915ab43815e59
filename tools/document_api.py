"""Write the reference in docs/plugins.md, from the docstrings of hooks and API.

python tools/document_api.py
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

from benchharness import api, hookspecs
from benchharness.plugins import GROUP, KINDS

DOCUMENT = Path(__file__).parent.parent / "docs/plugins.md"
_HEADING = "## Reference\n"
# Names for types and values have no docstrings of their own.
_NAMES = {
    "API_VERSION": f"Version of this surface, `{api.API_VERSION}`.",
    "AfterEpoch": "Called with the scores of an epoch.",
    "AfterStep": "Called when a step has been handed to the device.",
    "Batches": "A sequence of `Batch`, gathered when asked for, so a backend may prefetch.",
    "Event": "An event of a run, as `--json` prints it.",
    "Layer": "`Conv`, `MaxPool`, `Flatten`, `Dropout` or `Dense`.",
    "Measured": "What a meter may tell: text, a number, or yes and no.",
    "Observer": "Called with each event of a run.",
    "Setting": "Text, a number, yes and no, or None.",
    "hookimpl": "Marks a function of a plugin's module as its implementation of a hook.",
}


def main() -> None:
    """Replace everything below the heading."""
    kept, _ = DOCUMENT.read_text(encoding="utf-8").split(_HEADING)
    DOCUMENT.write_text(kept + _HEADING + tables(), encoding="utf-8")


def tables() -> str:
    """Return what stands below the heading."""
    hooks = "".join(f"| `{name}` | `{group}` | {text} |\n" for name, group, text in _hooks())
    names = "".join(f"| `{name}` | {_first_line(name)} |\n" for name in api.__all__)
    return (
        "\nHooks, which a plugin's module implements with `@hookimpl`; in full in\n"
        "`benchharness/hookspecs.py`.\n"
        f"\n| hook | group of entry points | |\n|---|---|---|\n{hooks}"
        f"\nWhat `benchharness.api` holds, version {api.API_VERSION}.\n"
        f"\n| name | |\n|---|---|\n{names}"
    )


def _hooks() -> Iterator[tuple[str, str, str]]:
    groups = {hook: f"benchharness.{kind}" for kind, hook in KINDS.items()}
    for name, function in vars(hookspecs).items():
        if name.startswith("benchharness_"):
            text = (inspect.getdoc(function) or "").splitlines()[0].replace("``", "`")
            yield name, groups.get(name, GROUP), text


def _first_line(name: str) -> str:
    if name in _NAMES:
        return _NAMES[name]
    return (inspect.getdoc(getattr(api, name)) or "").splitlines()[0].replace("``", "`")


if __name__ == "__main__":
    main()

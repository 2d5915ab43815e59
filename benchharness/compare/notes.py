"""What a reader of a comparison must know besides its verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchharness.compare.comparison import CellComparison, unproven

_LONGEST = 160


def unequal_work(cells: Sequence[CellComparison], *, asked: str = "") -> Iterator[str]:
    """Yield where the sides do not do the same work, or nobody has shown that they do.

    Args:
        asked: The settings in which they differ because the user wants to compare them.
    """
    for verdict, labels in unproven(cells).items():
        why = verdict if len(verdict) <= _LONGEST else f"{verdict[: _LONGEST - 3]}..."
        if asked:
            yield f"not the same work, as asked by {asked}: {', '.join(labels)}"
        else:
            yield f"not proven to be the same work: {', '.join(labels)}: {why}"


def software(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    """Yield what two runs' environments have in other versions."""
    for name in ("python", "system"):
        if ours.get(name) != theirs.get(name):
            yield f"{name}: A {ours.get(name)}, B {theirs.get(name)}"
    one, other = ours.get("packages", {}), theirs.get("packages", {})
    for name in sorted(one.keys() | other.keys()):
        if one.get(name) != other.get(name):
            yield f"{name}: A {one.get(name, 'absent')}, B {other.get(name, 'absent')}"

"""Effective settings of the backends side by side, those that differ first."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchharness.fairness.settings import decides_work, differences
from benchharness.report.numbers import UNKNOWN
from benchharness.report.rows import Line, printable


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting with its values.

    Attributes:
        values: A text per backend, in the page's order.
        where: The lines that have these values; empty for all that tell any.
        kind: ``work`` where it differs and decides the work, ``speed`` where it differs and does
            not, ``same`` where all backends that report it agree.
    """

    name: str
    values: tuple[str, ...]
    where: str
    kind: str


def settings_of(lines: Sequence[Line], backends: Sequence[str]) -> list[Setting]:
    """Return every effective setting of a run, equal ones of several lines in one row."""
    places: dict[tuple[str, tuple[str, ...], str], list[str]] = {}
    for line in lines:
        for name, values, kind in _of_line(line, backends):
            places.setdefault((name, values, kind), []).append(line.name)
    told = {name for names in places.values() for name in names}
    found = [
        Setting(name=name, values=values, kind=kind, where=_where(names, told))
        for (name, values, kind), names in places.items()
    ]
    return sorted(found, key=lambda setting: ("work", "speed", "same").index(setting.kind))


def _of_line(line: Line, backends: Sequence[str]) -> list[tuple[str, tuple[str, ...], str]]:
    told = {cell.backend: cell.trials[-1].get("effective") or {} for cell in line.recorded}
    known = {backend: settings for backend, settings in told.items() if settings}
    differing = {one.setting for one in differences(known)} if len(known) > 1 else set()
    names = dict.fromkeys(name for settings in known.values() for name in settings)
    return [
        (
            printable(name),
            tuple(_shown(known.get(backend, {}), name) for backend in backends),
            ("work" if decides_work(name) else "speed") if name in differing else "same",
        )
        for name in names
    ]


def _shown(settings: Mapping[str, Any], name: str) -> str:
    if name not in settings or settings[name] is None:
        return UNKNOWN
    return printable(settings[name]) or "nothing"


def _where(names: Sequence[str], told: Collection[str]) -> str:
    return "" if len(names) == len(told) else ", ".join(names)

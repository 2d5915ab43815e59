"""Overrides of settings on one side of a comparison: ``--set key=value``."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from benchharness.errors import Problem
from benchharness.suite.errors import FieldError, check
from benchharness.suite.load import conflicts_of
from benchharness.suite.plan import Plan, PlannedCell
from benchharness.suite.settings import STRATEGIES, StrategySettings, setting_names
from benchharness.text import quote, suggest


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """Settings of one side that differ from the suite.

    Attributes:
        option: Of the command line, for messages.
        settings: Key to value; tables are merged with the tables below them, key by key.
        options: Of the backend's plugin.
        written: Each as the user wrote it.
    """

    option: str = "--set"
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    written: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether any setting differs."""
        return bool(self.written)

    def apply(self, settings: StrategySettings) -> StrategySettings:
        """Return settings with the overrides that their strategy knows.

        Raises:
            pydantic.ValidationError: The strategy does not accept a value.
        """
        return STRATEGIES[settings.strategy].model_validate(self._merged(settings))

    def problems(self, plan: Plan) -> list[Problem]:
        """Return what is wrong with the overrides, on the cells of a plan."""
        strategies = {cell.strategy for cell in plan.cells}
        known = list(dict.fromkeys(key for name in strategies for key in setting_names(name)))
        problems = [
            Problem(
                where=key,
                expected="a setting of a chosen benchmark, or options.NAME",
                found="an unknown key",
                hint=suggest(key, known),
            )
            for key in self.settings
            if key not in known
        ] or [error.problem({}) for cell in plan.cells for error in self._errors(cell)]
        named = (replace(each, where=f"{self.option} {each.where}") for each in problems)
        return list(dict.fromkeys(named))

    def _errors(self, cell: PlannedCell) -> Iterator[FieldError]:
        for key in self.settings.keys() & cell.matrix.keys():
            yield FieldError(
                at=(key,),
                expected="a key that no matrix varies",
                found=f"one that benchmark {quote(cell.benchmark)} varies",
            )
        wrong = check(STRATEGIES[cell.strategy], self._merged(cell.settings))
        yield from wrong or conflicts_of(self.apply(cell.settings))

    def _merged(self, settings: StrategySettings) -> dict[str, Any]:
        known = setting_names(settings.strategy)
        above = {key: value for key, value in self.settings.items() if key in known}
        return _deep_merge(settings.model_dump(mode="json"), above)


def parse_overrides(texts: Sequence[str], *, option: str) -> tuple[Overrides, list[Problem]]:
    """Return the overrides that the user wrote, and what could not be understood of them.

    Args:
        texts: Each ``key=value``, the value as TOML writes it or plain text; ``optimizer.lr=0.1``
            sets one key of a table, ``options.engine=jax`` an option of the plugin.
        option: Of the command line, for messages.
    """
    settings: dict[str, Any] = {}
    problems = []
    for text in texts:
        key, sign, value = text.partition("=")
        path = key.strip().split(".")
        if not sign or not all(path):
            problems.append(Problem(where=option, expected="key=value", found=quote(text)))
            continue
        override: Any = value.strip()
        # Else it is plain text.
        with suppress(tomllib.TOMLDecodeError):
            override = tomllib.loads(f"value = {override}")["value"]
        for part in reversed(path):
            override = {part: override}
        settings = _deep_merge(settings, override)
    options = settings.pop("options", {})
    if not isinstance(options, dict):
        where, expected = f"{option} options", "options.NAME=value"
        problems.append(Problem(where=where, expected=expected, found="options=value"))
        options = {}
    overrides = Overrides(option=option, settings=settings, options=options, written=tuple(texts))
    return overrides, problems


def _deep_merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return two tables merged, key by key; None stands for an absent key."""
    merged = {key: value for key, value in below.items() if value is not None}
    for key, value in above.items():
        if isinstance(merged.get(key), dict) and isinstance(value, dict):
            value = _deep_merge(merged[key], value)
        merged[key] = value
    return merged

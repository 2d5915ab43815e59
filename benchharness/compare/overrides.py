"""Settings that one side lays over a suite: ``--set key=value``."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchharness.errors import Problem
from benchharness.suite.errors import FieldError, check
from benchharness.suite.plan import Cell, Plan
from benchharness.suite.settings import STRATEGIES, StrategySettings, setting_names
from benchharness.suite.validate import conflicts_of
from benchharness.text import quote, suggest

# Keys that concern the plugin rather than its work.
OPTIONS = "options"


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a side does otherwise than the suite states.

    Attributes:
        option: Of the command line, for messages.
        settings: Key to value; tables are laid over the tables below them, key by key.
        options: Of the backend's plugin.
        written: Each as the user wrote it.
    """

    option: str = "--set"
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    written: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is changed."""
        return bool(self.written)

    def apply(self, settings: StrategySettings) -> StrategySettings:
        """Return settings with the changes that their strategy knows.

        Raises:
            pydantic.ValidationError: A value is not what the strategy accepts.
        """
        return STRATEGIES[settings.strategy].model_validate(self._merged(settings))

    def problems(self, plan: Plan) -> list[Problem]:
        """Return what is wrong with the changes, on the cells of a plan."""
        strategies = {cell.strategy for cell in plan.cells}
        known = list(dict.fromkeys(key for name in strategies for key in setting_names(name)))
        found = [
            Problem(
                where=f"{self.option} {key}",
                expected="a setting of a chosen benchmark, or options.NAME",
                found="an unknown key",
                hint=suggest(key, known),
            )
            for key in self.settings
            if key not in known
        ]
        if not found:
            findings = (one for cell in plan.cells for one in self._findings(cell))
            found = [self._named(finding) for finding in findings]
        return list(dict.fromkeys(found))

    def _named(self, finding: FieldError) -> Problem:
        problem = finding.problem({})
        return Problem(
            where=f"{self.option} {problem.where}",
            expected=problem.expected,
            found=problem.found,
            hint=problem.hint,
        )

    def _findings(self, cell: Cell) -> Iterator[FieldError]:
        for key in self.settings.keys() & cell.matrix.keys():
            yield FieldError(
                at=(key,),
                expected="a key that no matrix varies",
                found=f"one that benchmark {quote(cell.benchmark)} varies",
            )
        wrong = check(STRATEGIES[cell.strategy], self._merged(cell.settings))
        yield from wrong or conflicts_of(self.apply(cell.settings))

    def _merged(self, settings: StrategySettings) -> dict[str, Any]:
        """Return all settings as a suite would write them."""
        known = setting_names(settings.strategy)
        own = {key: value for key, value in self.settings.items() if key in known}
        return _deep_merge(settings.model_dump(mode="json"), own)


def parse_overrides(texts: Sequence[str], *, option: str) -> tuple[Changes, list[Problem]]:
    """Return the changes that the user wrote, and what could not be understood of them.

    Args:
        texts: Each ``key=value``, the value as TOML writes it or plain text; ``optimizer.lr=0.1``
            changes one key of a table, ``options.engine=jax`` an option of the plugin.
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
        change: Any = _value(value.strip())
        for part in reversed(path):
            change = {part: change}
        settings = _deep_merge(settings, change)
    options = settings.pop(OPTIONS, {})
    if not isinstance(options, dict):
        problems.append(
            Problem(where=f"{option} options", expected="options.NAME=value", found="options=value")
        )
        options = {}
    changes = Changes(option=option, settings=settings, options=options, written=tuple(texts))
    return changes, problems


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _deep_merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return two tables merged, key by key; None stands for an absent key."""
    merged = {key: value for key, value in below.items() if value is not None}
    for key, value in above.items():
        own = merged.get(key)
        if isinstance(own, dict) and isinstance(value, dict):
            value = _deep_merge(own, value)
        merged[key] = value
    return merged

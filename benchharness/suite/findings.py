"""Mistakes at places of a suite's document, and the validator's findings said as such."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import ErrorDetails

from benchharness.errors import Problem
from benchharness.suite.expectation import describe, schema_at
from benchharness.suite.settings import STRATEGIES, setting_names
from benchharness.suite.text import KeyPath, dotted, place, show
from benchharness.text import did_you_mean, suggest

PLAIN_VALUE = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?|true|false")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One mistake, and the keys that lead to it.

    Attributes:
        at: Keys from the top of the document, and places in its lists from 0.
    """

    at: KeyPath
    expected: str
    found: str
    hint: str = ""

    def under(self, *keys: str | int) -> Finding:
        """Return the finding in a table that stands under these keys."""
        return replace(self, at=(*keys, *self.at))

    def problem(self, document: Mapping[str, Any]) -> Problem:
        """Return the finding as the reader sees it."""
        where = place(self.at, document)
        return Problem(where=where, expected=self.expected, found=self.found, hint=self.hint)


def check(model: type[BaseModel], table: Any) -> list[Finding]:
    """Return what is wrong with a table, by the model that will read it."""
    try:
        model.model_validate(table)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        return [_finding(detail, model) for detail in details if not _is_echo(detail, details)]
    return []


def check_value(model: type[BaseModel], key: str, value: Any) -> list[Finding]:
    """Return what is wrong with one value of a table; places are counted inside the value."""
    return [replace(finding, at=finding.at[1:]) for finding in check(model, {key: value})]


def unknown_key(key: str, known: Iterable[str], *, hint: str = "") -> Finding:
    """Return the finding of a key that nothing reads, with the nearest spelling."""
    hint = hint or suggest(key, known)
    return Finding(at=(key,), expected="a known key", found="an unknown one", hint=hint)


def _is_echo(detail: ErrorDetails, details: list[ErrorDetails]) -> bool:
    """Whether a list is called too short only because its items are wrong, which are told too."""
    at = detail["loc"]
    return detail["type"] == "too_short" and any(
        len(other["loc"]) > len(at) and other["loc"][: len(at)] == at for other in details
    )


def _finding(detail: ErrorDetails, model: type[BaseModel]) -> Finding:
    """Return what the validator says in our words."""
    at, found = detail["loc"], detail["input"]
    if at[-1:] == ("[key]",):
        names = schema_at(model, at[:-2])["propertyNames"]
        known = names.get("enum") or [names["const"]]
        return unknown_key(str(at[-2]), known).under(*at[:-2])
    if detail["type"] == "extra_forbidden":
        known = schema_at(model, at[:-1])["properties"]
        return unknown_key(str(at[-1]), known, hint=_misplaced(str(at[-1]))).under(*at[:-1])
    schema = schema_at(model, at)
    if detail["type"] == "missing":
        return Finding(at=at, expected=describe(schema), found="nothing")
    hint = _remedy(found, schema=schema, at=at)
    return Finding(at=at, expected=describe(schema), found=show(found), hint=hint)


def _misplaced(key: str) -> str:
    """Return where a setting belongs that stands outside the tables of settings."""
    if any(key in setting_names(strategy) for strategy in STRATEGIES):
        return "a setting: it belongs under defaults, or in a benchmark"
    return ""


def _remedy(found: Any, *, schema: JsonSchemaValue, at: KeyPath) -> str:
    """Return how to mend a value, empty where the expectation says it."""
    if "anyOf" in schema:
        remedies = (_remedy(found, schema=one, at=at) for one in schema["anyOf"])
        return next(filter(None, remedies), "")
    kind = schema.get("type")
    if isinstance(found, dict) and kind == "array" and "$ref" in schema.get("items", {}):
        return f"write [[{dotted(at)}]], with two brackets"
    if isinstance(found, list) and kind == "object":
        return f"write [{dotted(at)}], with one bracket"
    if isinstance(found, str) and kind in ("integer", "number", "boolean"):
        return "write it without quotes" if PLAIN_VALUE.fullmatch(found) else ""
    if isinstance(found, str) and "enum" in schema:
        return did_you_mean(found, schema["enum"])
    return ""

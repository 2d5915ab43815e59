"""Errors of a suite file: where, what was expected, what was found, and the remedy."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import ErrorDetails

from benchharness.errors import Problem, SuiteError
from benchharness.suite.file import (
    BackendTable,
    DatasetSettings,
    Published,
    Regression,
    UnknownBenchmark,
)
from benchharness.suite.settings import (
    SETTINGS,
    STRATEGIES,
    AugmentationSettings,
    OptimizerSettings,
    StrictModel,
    setting_names,
)
from benchharness.text import as_key, did_you_mean, join_or, quote, suggest

KeyPath = tuple[str | int, ...]
NAMED_TABLES = {"benchmark": "benchmark", "backend": "backend", "profiles": "profile"}
PLAIN_VALUE = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?|true|false")
TYPES = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "object": "a table",
}
ITEMS = {"string": "names", "integer": "whole numbers"}
LIMITS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}
# The table that a key belongs in which somebody has written into another.
HOMES = {
    key: table
    for table, model in (
        ("published", Published),
        ("backend.NAME", BackendTable),
        ("dataset", DatasetSettings),
        ("regression", Regression),
        ("augmentation", AugmentationSettings),
        ("optimizer", OptimizerSettings),
    )
    for key in model.model_fields
    if key != "name"
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One error at a place of a suite's document.

    Attributes:
        at: Keys from the top of the document, and indices of its lists.
    """

    at: KeyPath
    expected: str
    found: str
    hint: str = ""

    def under(self, *keys: str | int) -> FieldError:
        """Return the error of a table that is found under these keys."""
        return replace(self, at=(*keys, *self.at))

    def problem(self, document: Mapping[str, Any]) -> Problem:
        """Return the error as the user reads it; the document names its benchmarks."""
        where = format_path(self.at, document)
        return Problem(where=where, expected=self.expected, found=self.found, hint=self.hint)


def refusal(path: Path, where: str, expected: str, found: str, hint: str = "") -> SuiteError:
    """Return the error of a suite's file, or of an option beside it, that has a single problem."""
    problem = Problem(where=where, expected=expected, found=found, hint=hint)
    return SuiteError(str(path), [problem])


def check(model: type[StrictModel], table: Any) -> list[FieldError]:
    """Return what is wrong with a table, by the model that will read it."""
    try:
        model.model_validate(table)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        return [
            error
            for detail in details
            if not _is_echo(detail, details)
            for error in _field_errors(detail, model)
        ]
    return []


def unknown_key(key: str, known: Iterable[str]) -> FieldError:
    """Return the error of a key that is not known: where it belongs, or its nearest spelling."""
    known = list(known)
    if key in SETTINGS and "image_size" in known:
        owners = [name for name in STRATEGIES if key in setting_names(name)]
        hint = f"a setting of strategy {' and '.join(owners)} only"
    elif key in SETTINGS:
        hint = "a setting: it belongs under defaults, or in a benchmark"
    elif key in HOMES:
        hint = f"{key} belongs in {HOMES[key]}"
    else:
        hint = suggest(key, known)
    return FieldError((key,), "a known key", "an unknown one", hint)


def _is_echo(detail: ErrorDetails, details: list[ErrorDetails]) -> bool:
    """Return whether a list is called too short only because its items are wrong."""
    at = detail["loc"]
    return detail["type"] == "too_short" and any(
        len(other["loc"]) > len(at) and other["loc"][: len(at)] == at for other in details
    )


def _field_errors(detail: ErrorDetails, model: type[StrictModel]) -> list[FieldError]:
    """Return pydantic's error in our words, and all errors of a benchmark of no known strategy."""
    loc, found = detail["loc"], detail["input"]
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return [error.under(*loc) for error in check(UnknownBenchmark, found)]
    # The tag of a benchmark's model is no key of the document.
    at = tuple(part for index, part in enumerate(loc) if index != 2 or loc[0] != "benchmark")
    if loc[-1:] == ("[key]",):
        names = _schema_at(model, loc[:-2])["propertyNames"]
        known = names.get("enum") or [names["const"]]
        return [unknown_key(str(at[-2]), known).under(*at[:-2])]
    if detail["type"] == "extra_forbidden":
        known = _schema_at(model, loc[:-1])["properties"]
        return [unknown_key(str(at[-1]), known).under(*at[:-1])]
    schema = _schema_at(model, loc)
    if detail["type"] == "missing":
        return [FieldError(at, _expected(schema), "nothing")]
    hint = _remedy(found, schema=schema, at=at)
    return [FieldError(at, _expected(schema), format_value(found), hint)]


def _schema_at(model: type[StrictModel], loc: KeyPath) -> JsonSchemaValue:
    """Return the schema of the value at a place inside a table, empty where none is known."""
    root = model.toml_schema()
    node: Any = root
    for part in loc:
        if isinstance(part, int):
            node = node.get("items", {})
        elif "oneOf" in node:
            node = root["$defs"][part]
        else:
            node = node.get("properties", {}).get(part) or node.get("additionalProperties")
        node = node if isinstance(node, dict) else {}
        if "$ref" in node:
            node = root["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return dict(node)


def _remedy(found: Any, *, schema: JsonSchemaValue, at: KeyPath) -> str:
    """Return how to correct a value, empty where the expectation says it."""
    if "anyOf" in schema:
        remedies = (_remedy(found, schema=option, at=at) for option in schema["anyOf"])
        return next(filter(None, remedies), "")
    kind = schema.get("type")
    if (
        isinstance(found, dict)
        and kind == "array"
        and schema.get("items", {}).keys() & {"$ref", "oneOf"}
    ):
        return f"write [[{_dotted(at)}]], with two brackets"
    if isinstance(found, list) and kind == "object" and not any(isinstance(key, int) for key in at):
        return f"write [{_dotted(at)}], with one bracket"
    if isinstance(found, str) and kind in ("integer", "number", "boolean"):
        return "write it without quotes" if PLAIN_VALUE.fullmatch(found) else ""
    return did_you_mean(found, schema.get("enum", ())) if isinstance(found, str) else ""


def _expected(schema: Mapping[str, Any]) -> str:
    """Return in words what a JSON schema accepts."""
    kind = schema.get("type")
    if "oneOf" in schema:
        return TYPES["object"]
    if "anyOf" in schema:
        return " or ".join(map(_expected, schema["anyOf"]))
    if "const" in schema:
        return quote(schema["const"])
    if "enum" in schema:
        return join_or(schema["enum"])
    if kind == "array":
        items = schema.get("items", {})
        count = "of one or more" if schema.get("minItems") else "of"
        different = " different" if schema.get("uniqueItems") else ""
        if items.get("format") == "requirement":
            return f'a list {count}{different} requirements, for example ["numpy==2.*"]'
        is_table = items.keys() & {"$ref", "oneOf"}
        things = "tables" if is_table else ITEMS.get(items.get("type"), "values")
        each = f", each {join_or(items['enum'])}" if "enum" in items else ""
        return f"a list {count}{different} {things}{each}"
    if kind == "string":
        if schema.get("format") == "requirement":
            return 'a requirement as pip takes it, for example "numpy==2.*"'
        if "A-Z" in schema.get("pattern", ""):
            return "up to 80 letters, digits, '.', '_' or '-', the first a letter or digit"
        return "text on one line, not empty" if "pattern" in schema else "text"
    if kind == "object" and "minProperties" in schema:
        return "a table of one or more keys"
    return TYPES.get(str(kind), "text, a number, true or false") + _range(schema)


def _range(schema: Mapping[str, Any]) -> str:
    """Return the range of a number as the end of a phrase; empty when it has none."""
    if schema.keys() >= {"minimum", "maximum"}:
        return f" from {schema['minimum']} to {schema['maximum']}"
    parts = [f"{word} {schema[limit]}" for limit, word in LIMITS.items() if limit in schema]
    return f", {' and '.join(parts)}" if parts else ""


def format_value(value: Any) -> str:
    """Return a value much as its file spells it, long ones by their type alone."""
    match value:
        case str():
            return quote(value)
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case datetime.date() | datetime.time():
            return "a date or time"
        case []:
            return "an empty list"
        case list() | tuple():
            short = ", ".join(format_value(item) for item in value[:5])
            return f"[{short}, ...]" if len(value) > 5 else f"[{short}]"
        case _:
            return "a table" if value else "an empty table"


def format_path(at: KeyPath, document: Mapping[str, Any]) -> str:
    """Return where a key is, for example ``profile "cpu": dataset.source``, in a document."""
    parts: list[str] = []
    while len(at) > 1 and at[0] in NAMED_TABLES:
        name: Any = at[1]
        if isinstance(name, int):
            entry = document["benchmark"][name]
            written = entry.get("name") if isinstance(entry, dict) else None
            name = written if isinstance(written, str) else name + 1
        shown = quote(name) if isinstance(name, str) else name
        parts.append(f"{NAMED_TABLES[str(at[0])]} {shown}")
        at = at[2:]
        if parts[0].startswith("backend"):
            break
    return ": ".join([*parts, _dotted(at)] if at else parts)


def _dotted(at: KeyPath) -> str:
    """Return keys as TOML dots them; items of a list are counted from 1."""
    text = ""
    for part in at:
        if isinstance(part, int):
            text += f", item {part + 1}"
        else:
            text += f".{as_key(part)}" if text else as_key(part)
    return text

"""What each place of a table accepts: as JSON Schema, and in words."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from benchharness.suite.text import KeyPath
from benchharness.text import join_or

KINDS = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "object": "a table",
}
ITEMS = {"string": "names", "integer": "whole numbers"}


class TomlSchema(GenerateJsonSchema):
    """JSON Schema of what TOML can say: there is no null, a key is absent instead."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Return the schema of the value when it is there."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Return the schema with its default, unless that is to be absent."""
        if schema.get("default") is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Return the schema of a table, described by the first line of its docstring."""
        table = super().model_schema(schema)
        return table | {"description": table.get("description", "").split("\n")[0]}

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Return False: a title would repeat the key."""
        return False


@cache
def schema_of(model: type[BaseModel]) -> JsonSchemaValue:
    """Return the JSON schema of a table."""
    return model.model_json_schema(schema_generator=TomlSchema)


def schema_at(model: type[BaseModel], at: KeyPath) -> JsonSchemaValue:
    """Return the schema of the value at a place inside a table, empty where none is known."""
    root = schema_of(model)
    node: Any = root
    for part in at:
        if isinstance(part, int):
            node = node.get("items", {})
        else:
            node = node.get("properties", {}).get(part) or node.get("additionalProperties")
        node = node if isinstance(node, dict) else {}
        if "$ref" in node:
            node = root["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return dict(node)


def describe(schema: Mapping[str, Any]) -> str:
    """Return what a JSON schema accepts."""
    kind = schema.get("type")
    if "anyOf" in schema:
        return " or ".join(describe(one) for one in schema["anyOf"])
    if "const" in schema:
        return join_or([schema["const"]])
    if "enum" in schema:
        return join_or(schema["enum"])
    if kind == "array":
        return _describe_list(schema)
    if kind == "string":
        return _describe_text(schema)
    if kind == "object" and "minProperties" in schema:
        return "a table of one or more keys"
    return KINDS.get(str(kind), "text, a number, true or false") + _range(schema)


def _describe_list(schema: Mapping[str, Any]) -> str:
    """Return what a list must hold."""
    some = "of one or more" if schema.get("minItems") else "of"
    different = " different" if schema.get("uniqueItems") else ""
    items = schema.get("items", {})
    if items.get("format") == "requirement":
        return f'a list {some}{different} requirements, for example ["numpy==2.*"]'
    kind = "tables" if "$ref" in items else ITEMS.get(items.get("type"), "values")
    each = f", each {join_or(items['enum'])}" if "enum" in items else ""
    return f"a list {some}{different} {kind}{each}"


def _describe_text(schema: Mapping[str, Any]) -> str:
    """Return what text must look like."""
    if schema.get("format") == "requirement":
        return 'a requirement as pip takes it, for example "numpy==2.*"'
    if "A-Z" in schema.get("pattern", ""):
        return "up to 80 letters, digits, '.', '_' or '-', the first a letter or digit"
    return "text on one line, not empty" if "pattern" in schema else "text"


def _range(schema: Mapping[str, Any]) -> str:
    """Return the range of a number as the end of a phrase; empty when it has none."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    limits = {
        "at least": low,
        "above": schema.get("exclusiveMinimum"),
        "at most": high,
        "below": schema.get("exclusiveMaximum"),
    }
    parts = [f"{word} {limit}" for word, limit in limits.items() if limit is not None]
    return f", {' and '.join(parts)}" if parts else ""

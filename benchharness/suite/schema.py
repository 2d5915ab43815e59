"""The JSON Schema of a suite file, by which editors complete, explain and check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from benchharness.suite.expectation import TomlSchema
from benchharness.suite.file import Benchmark, SuiteFile
from benchharness.suite.settings import STRATEGIES

Schema = dict[str, Any]


def json_schema() -> Schema:
    """Return the schema, JSON Schema 2020-12.

    A benchmark is one of several tables, told apart by ``strategy``, so that an editor offers only
    the keys which that strategy knows.
    """
    models: list[type[BaseModel]] = [SuiteFile, *STRATEGIES.values()]
    definitions = _definitions(models)
    root, *strategies = (definitions.pop(model.__name__) for model in models)
    settings = {
        name: _without(definition["properties"], "strategy")
        for name, definition in zip(STRATEGIES, strategies, strict=True)
    }
    tables = _named_tables(definitions, settings)
    root["properties"]["defaults"] = {"$ref": "#/$defs/Defaults"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **root,
        "title": "benchharness suite",
        "$defs": definitions | tables,
    }


def _definitions(models: Sequence[type[BaseModel]]) -> Schema:
    """Return the schema of each model, and of each that stands in one, by class name."""
    pairs: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (model, "validation") for model in models
    ]
    definitions: Schema = models_json_schema(pairs, schema_generator=TomlSchema)[1]["$defs"]
    return definitions


def _named_tables(definitions: Schema, settings: Mapping[str, Schema]) -> Schema:
    """Return the tables that hold settings, by the names that others refer to them with."""
    every = _changes({key: value for known in settings.values() for key, value in known.items()})
    extras = definitions["Overridable"]["properties"]
    profile = definitions["Profile"]
    profile["properties"]["defaults"] = {"$ref": "#/$defs/Defaults"}
    profile["properties"]["dataset"] = _table(
        "Keys of [dataset] to change.",
        _changes(definitions["DatasetSettings"]["properties"]),
    )
    return {
        "Profile": profile,
        "Defaults": _table("Settings, for every benchmark that knows them.", every),
        "Overridable": _table(
            "What to change in one benchmark.", every | extras | {"matrix": _matrix(every, least=0)}
        ),
        "Benchmark": {"oneOf": [{"$ref": f"#/$defs/{name}"} for name in settings]},
        **{
            name: _benchmark(definitions["Benchmark"]["properties"], name, known)
            for name, known in settings.items()
        },
    }


def _benchmark(common: Schema, strategy: str, settings: Schema) -> Schema:
    """Return the table of a benchmark of one strategy."""
    chosen = {"const": strategy, "description": STRATEGIES[strategy].__doc__}
    properties = {**common, "strategy": chosen, "matrix": _matrix(settings, least=1), **settings}
    required = [key for key, field in Benchmark.model_fields.items() if field.is_required()]
    return _table(f"A benchmark of strategy {strategy}.", properties) | {"required": required}


def _matrix(settings: Schema, *, least: int) -> Schema:
    """Return the table that gives each of some settings a list of values."""
    axes = {
        key: {"type": "array", "items": value, "minItems": 1, "uniqueItems": True}
        for key, value in _changes(settings).items()
    }
    description = Benchmark.model_fields["matrix"].description or ""
    return _table(description, axes) | {"minProperties": least}


def _table(description: str, properties: Schema) -> Schema:
    """Return the schema of a table with these keys and no others."""
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "additionalProperties": False,
    }


def _changes(properties: Schema) -> Schema:
    """Return the keys without their defaults: absent, they change nothing."""
    return {key: _without(value, "default") for key, value in properties.items()}


def _without(table: Schema, key: str) -> Schema:
    """Return a table without one key."""
    return {name: value for name, value in table.items() if name != key}

"""Whatever a file holds, the loader gives a suite or a SuiteError."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from benchharness.errors import SuiteError
from benchharness.suite.file import Benchmark, BenchmarkOptions, Profile, SuiteFile
from benchharness.suite.load import load
from benchharness.suite.resolve import resolve
from benchharness.suite.settings import STRATEGIES, OptimizerSettings, setting_names

MODELS = (SuiteFile, Benchmark, BenchmarkOptions, Profile, OptimizerSettings)
WORDS = sorted(
    {key for model in MODELS for key in model.model_fields}
    | {key for strategy in STRATEGIES for key in setting_names(strategy)}
    | {*STRATEGIES, "cpu", "vgg16", "drawn", "sgd", "adam", "random", "softmax", "all", "a"}
)
keys = st.sampled_from(WORDS) | st.text(max_size=4)
scalars = (
    st.sampled_from(WORDS)
    | st.text(max_size=4)
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.integers(0, 40)
    | st.floats()
    | st.dates()
    | st.times()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
tables = st.dictionaries(keys, values, max_size=4)
benchmarks = st.builds(
    lambda name, strategy, rest: {"name": name, "strategy": strategy} | rest,
    st.sampled_from(["a", "cpu", "all"]),
    st.sampled_from(sorted(STRATEGIES)),
    tables,
)
profiles = st.dictionaries(
    keys, st.fixed_dictionaries({}, optional={"defaults": tables, "benchmark": tables}), max_size=2
)
documents = tables | st.builds(
    lambda entries, rest, **more: (
        {"name": "a", "dataset": {"source": "drawn"}} | more | {"benchmark": entries} | rest
    ),
    st.lists(benchmarks, max_size=3),
    tables,
    defaults=tables,
    profiles=profiles,
)
quick = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def toml(value: Any) -> str:
    """Return a value as inline TOML."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list():
            return f"[{', '.join(toml(item) for item in value)}]"
        case dict():
            return f"{{{', '.join(f'{toml(key)} = {toml(item)}' for key, item in value.items())}}}"
        case datetime.date() | datetime.time():
            return value.isoformat()
        case _:
            return str(value)


def written(path: Path, document: dict[str, Any]) -> Path:
    """Write a document to a file and return the file."""
    text = "".join(f"{toml(key)} = {toml(value)}\n" for key, value in document.items())
    path.write_text(text, encoding="utf-8")
    return path


def lines_of_loading(path: Path) -> list[str]:
    """Return what loading says against a file; loaded suites must also resolve or be refused."""
    try:
        plan = resolve(load(path), profile=None, backends=("torch",))
    except SuiteError as error:
        return error.lines()
    json.dumps(plan.as_dict(), allow_nan=False)
    return []


@quick
@given(
    data=st.binary(max_size=60) | st.text(alphabet='a1.=[]{}"\n#,-', max_size=60).map(str.encode)
)
def test_bytes_are_refused_in_words(tmp_path: Path, data: bytes) -> None:
    """No file is a suite by accident, and none ends in a traceback."""
    path = tmp_path / "garbage.toml"
    path.write_bytes(data)

    lines = lines_of_loading(path)

    assert lines
    assert all(line.startswith(str(path)) and "\n" not in line for line in lines)


@quick
@given(document=documents)
def test_documents_are_read_or_refused_in_words(tmp_path: Path, document: dict[str, Any]) -> None:
    """Known keys with any values lead to a plan, or to problems of one line each."""
    path = tmp_path / "garbage.toml"

    lines = lines_of_loading(written(path, document))

    assert all(line.startswith(str(path)) and "\n" not in line for line in lines)
    assert not any(word in line for line in lines for word in ("pydantic", "http", "Input should"))


def test_some_documents_are_read(tmp_path: Path) -> None:
    """The generator reaches past the loader, so that planning is tried as well."""
    path = tmp_path / "garbage.toml"

    found = find(documents, lambda document: not lines_of_loading(written(path, document)))

    assert found["benchmark"]

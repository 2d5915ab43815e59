"""TOML files, read as suites: syntax, tables, rules between settings; all errors at once."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchharness.errors import Problem, SuiteError
from benchharness.model.backbones import BACKBONES
from benchharness.plugins import OURS, installed
from benchharness.suite.errors import (
    FieldError,
    KeyPath,
    check,
    format_path,
    format_value,
    refusal,
    unknown_key,
)
from benchharness.suite.file import BenchmarkOptions, Profile, SuiteFile
from benchharness.suite.resolve import (
    ResolvedBenchmark,
    backends_without_head,
    matrix_of,
    merge_dataset,
    merge_settings,
)
from benchharness.suite.settings import (
    SETTINGS,
    STRATEGIES,
    BottleneckSettings,
    FeedSettings,
    FineTuneSettings,
    OptimizerSettings,
    StrategySettings,
    TransferSettings,
    setting_names,
)
from benchharness.text import closest, did_you_mean, join_or, quote, suggest

Document = Mapping[str, Any]

POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
DEEPEST = 20
LARGEST = 2**63 - 1
PLACEHOLDERS: Document = {"name": "a", "dataset": {"source": "drawn"}}
MOST_POINTS = 1000
USED_BY_ALL = {"name", "lr", "weight_decay"}
USED_BY = {
    "sgd": {"momentum", "nesterov"},
    "adam": {"beta_1", "beta_2", "epsilon"},
    "rmsprop": {"rho", "epsilon"},
}
# What decides the shape of a head, and the features that it has learnt from.
HEAD_KEYS = ("image_size", "dense", "output", "backbone", "weights", "preprocessing")


def load(path: Path) -> SuiteFile:
    """Return the suite of a file.

    Raises:
        SuiteError: It cannot be read, or says something that is not understood. All its problems
            are in the error.
    """
    document = _read(path)
    if problems := _problems_of(document):
        raise SuiteError(str(path), problems)
    return SuiteFile.model_validate(document, context={"path": path})


# --- Syntax --------------------------------------------------------------------------------------


def _read(path: Path) -> dict[str, Any]:
    """Return the document of a TOML file, with or without byte order mark and Windows line ends."""
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "a name that no file can have"
        siblings = path.parent.glob("*.toml") if path.parent.is_dir() else ()
        found = (reason or "an unreadable file").lower()
        hint = did_you_mean(path.name, [file.name for file in siblings])
        raise refusal(path, "file", "a suite in TOML", found, hint) from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"the byte 0x{data[error.start]:02x}"
        hint = "save the file as UTF-8"
        raise refusal(path, f"line {line}", "UTF-8 text", found, hint) from error
    excess = f"numbers of 64 bits and at most {DEEPEST} levels of tables and lists", "more"
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        position = POSITION.search(str(error))
        reason = POSITION.sub("", str(error))
        if position is None or position[1] is None:
            where, shown = "end of file", "an unfinished text"
            raise refusal(path, where, "TOML", shown, reason) from error
        # Cut by hand: splitlines() would also cut at characters that TOML does not count as ends.
        shown = text.replace("\r\n", "\n").split("\n")[int(position[1]) - 1].strip()
        where = f"line {position[1]}, column {position[2]}"
        raise refusal(path, where, "TOML", quote(shown), reason) from error
    # tomllib recurses into nested lists, and leaves numbers of many digits to int().
    except (RecursionError, ValueError) as error:
        raise refusal(path, "a value", *excess) from error
    open_values: list[tuple[KeyPath, Any]] = [((), document)]
    while open_values:
        at, value = open_values.pop()
        if len(at) > DEEPEST or (isinstance(value, int) and abs(value) > LARGEST):
            raise refusal(path, format_path(at[:3], document), *excess)
        if isinstance(value, dict):
            open_values += [((*at, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            open_values += [((*at, index), item) for index, item in enumerate(value)]
    return document


# --- Tables --------------------------------------------------------------------------------------


def _problems_of(document: Document) -> list[Problem]:
    """Return every problem of a document, each once."""
    errors = _errors_of_tables(document)
    if suite := _valid_part(document, errors):
        # Rules do not count where a value, or what is perhaps its misspelt key, is wrong.
        doubtful = {
            setting
            for error in errors
            for key in error.at
            if isinstance(key, str)
            for setting in closest(key, SETTINGS)
        }
        names = _entries(document)
        conflicts = always = list(_conflicts_under(suite, Profile(), names))
        for name, profile in suite.profiles.items():
            under = _conflicts_under(suite, profile, names)
            conflicts = conflicts + [
                each.under("profiles", name) for each in under if each not in always
            ]
        errors += [conflict for conflict in conflicts if doubtful.isdisjoint(conflict.at)]
    return list(dict.fromkeys(error.problem(document) for error in errors))


def _valid_part(document: Document, errors: list[FieldError]) -> SuiteFile | None:
    """Return the suite without what is wrong in it; None when nothing is left."""
    valid: Document = {**PLACEHOLDERS, **document}
    while errors:
        # A missing value makes its whole table wrong.
        wrong = {error.at[:-1] if error.found == "nothing" else error.at for error in errors}
        smaller = PLACEHOLDERS | _without(valid, (), wrong)
        if smaller == valid:
            return None
        valid, errors = smaller, _errors_of_tables(smaller)
    return SuiteFile.model_validate(valid)


def _without(value: Any, at: KeyPath, wrong: Collection[KeyPath]) -> Any:
    """Return a value without its parts at the given places."""
    if isinstance(value, dict):
        keys = [key for key in value if (*at, key) not in wrong]
        return {key: _without(value[key], (*at, key), wrong) for key in keys}
    if isinstance(value, list):
        places = [(item, (*at, index)) for index, item in enumerate(value)]
        return [_without(item, place, wrong) for item, place in places if place not in wrong]
    return value


def _errors_of_tables(document: Document) -> list[FieldError]:
    """Return the errors of each table by its model, and of names and keys across tables."""
    errors = [*_errors_between_tables(document)]
    refused = [error.at for error in errors]
    # What is refused as a whole is not checked inside.
    return [
        error
        for error in check(SuiteFile, document)
        if not any(error.at[: len(at)] == at for at in refused)
    ] + errors


def _errors_between_tables(document: Document) -> Iterator[FieldError]:
    """Yield names that are wrong, settings of other strategies, and too many combinations."""

    def unknown_benchmark(name: str, *at: str | int) -> FieldError:
        expected = "the name of a benchmark of this suite"
        return FieldError(at, expected, quote(name), suggest(name, entries))

    seen: set[str] = set()
    for index, entry in enumerate(_list(document.get("benchmark"))):
        name = _table(entry).get("name")
        if isinstance(name, str) and name in seen:
            expected, found = "a unique name", "that of an earlier benchmark"
            yield FieldError(("benchmark", index, "name"), expected, found)
        seen.add(str(name))
        yield from _too_many_points(entry, "benchmark", index)
    entries = _entries(document)
    for name, profile in _table(document.get("profiles")).items():
        for index, benchmark in enumerate(_list(_table(profile).get("benchmarks"))):
            if isinstance(benchmark, str) and benchmark not in entries:
                yield unknown_benchmark(benchmark, "profiles", name, "benchmarks", index)
        for benchmark, override in _table(_table(profile).get("benchmark")).items():
            at = ("profiles", name, "benchmark", benchmark)
            if benchmark not in entries:
                yield unknown_benchmark(benchmark, *at)
                continue
            yield from _too_many_points(override, *at)
            strategy = entries[benchmark].get("strategy")
            if isinstance(strategy, str) and strategy in STRATEGIES:
                known = setting_names(strategy)
                matrix = _table(_table(override).get("matrix"))
                for keys, below in ((_table(override), at), (matrix, (*at, "matrix"))):
                    for key in (keys.keys() & SETTINGS.keys()) - {*known}:
                        yield unknown_key(key, known).under(*below)
    yield from _misspelt_backends(document)


def _misspelt_backends(document: Document) -> Iterator[FieldError]:
    """Yield tables of backends that are nowhere listed, and whose names resemble one that is.

    Others may be meant for `--backend`.
    """
    profiles = [*map(_table, _table(document.get("profiles")).values())]
    overrides = [entry for table in profiles for entry in _table(table.get("benchmark")).values()]
    tables = [document, *profiles, *_list(document.get("benchmark")), *overrides]
    listed = [
        name
        for table in tables
        for name in _list(_table(table).get("backends"))
        if isinstance(name, str)
    ]
    for name, table in _table(document.get("backend")).items():
        # A plugin of its own name may be meant, or one that the table names.
        if name in listed or name in (*installed(), *OURS) or "plugin" in _table(table):
            continue
        if hint := did_you_mean(name, listed):
            expected = "the name of a backend of this suite"
            yield FieldError(("backend", name), expected, quote(name), hint)


def _too_many_points(table: Any, *at: str | int) -> Iterator[FieldError]:
    matrix = _table(_table(table).get("matrix"))
    points = math.prod(len(values) for values in matrix.values() if isinstance(values, list))
    if points > MOST_POINTS:
        expected = f"at most {MOST_POINTS} combinations"
        yield FieldError((*at, "matrix"), expected, str(points))


def _entries(document: Document) -> dict[str, Document]:
    """Return the tables of benchmarks that have a name."""
    entries = map(_table, _list(document.get("benchmark")))
    return {entry["name"]: entry for entry in entries if isinstance(entry.get("name"), str)}


def _table(value: Any) -> Document:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


# --- Rules between settings ----------------------------------------------------------------------


def _conflicts_under(
    suite: SuiteFile, profile: Profile, names: Collection[str]
) -> Iterator[FieldError]:
    """Yield what conflicts under a profile in the valid part of a suite.

    The names are those of all its benchmarks, also of the invalid ones.
    """
    resolved: dict[str, ResolvedBenchmark] = {}
    for benchmark in suite.benchmark:
        try:
            resolved[benchmark.name] = merge_settings(suite, benchmark, profile)
        except ValidationError:
            continue
    dataset = merge_dataset(suite, profile)
    for name, each in resolved.items():
        for settings in each.points:
            for conflict in conflicts_of(settings):
                yield conflict.under("benchmark", name)
            if settings.input == "files" and not dataset.has_files:
                reason = f"dataset {dataset.source} has no image files"
                yield _no_files(reason).under("benchmark", name)
        for head in each.heads:
            yield from (
                error.under("benchmark", name)
                for error in _head_conflicts(each, head, resolved=resolved, names=names)
            )
    for benchmark in suite.benchmark:
        override = profile.benchmark.get(benchmark.name, BenchmarkOptions())
        for key in override.settings.keys() & matrix_of(benchmark, override).keys():
            at, expected = ("benchmark", benchmark.name, key), "no value (the matrix sets it)"
            hint = "write matrix = {} beside it to remove the matrix"
            yield FieldError(at, expected, "a value", hint)


def conflicts_of(settings: StrategySettings) -> Iterator[FieldError]:
    """Yield what conflicts in settings after merging, each under the key to change."""
    if not isinstance(settings, FeedSettings):
        yield from _optimizer_conflicts(settings.optimizer)
    if isinstance(settings, TransferSettings):
        yield from _backbone_conflicts(settings)
    elif settings.preprocessing == "pretrained":
        expected = 'any preprocessing except "pretrained" (no backbone)'
        yield FieldError(("preprocessing",), expected, quote("pretrained"))
    once = ""
    if isinstance(settings, BottleneckSettings):
        once = "a bottleneck computes the features of an image once"
    elif isinstance(settings, FineTuneSettings) and settings.reuse_frozen:
        once = "reuse_frozen computes the frozen blocks of an image once"
        if settings.trainable == "all":
            expected = 'false beside trainable = "all", which freezes nothing'
            yield FieldError(("reuse_frozen",), expected, "true")
    if once and not settings.augmentation.is_identity:
        hint = "write augmentation = {} here"
        yield FieldError(("augmentation",), f"none, for {once}", "varied images", hint)
    if settings.input == "files" and not settings.trains_on_images:
        yield _no_files("training reads stored features here")


def _optimizer_conflicts(optimizer: OptimizerSettings) -> Iterator[FieldError]:
    """Yield constants that the chosen rule would not use."""
    used = USED_BY_ALL | USED_BY[optimizer.name]
    for key, field in OptimizerSettings.model_fields.items():
        value = getattr(optimizer, key)
        if key not in used and value != field.default:
            expected, found = f"only what {optimizer.name} uses", f"{key} = {format_value(value)}"
            hint = f"{join_or(name for name in USED_BY if key in USED_BY[name])} uses it"
            yield FieldError(("optimizer", key), expected, found, hint)
    if optimizer.nesterov and not optimizer.momentum:
        expected = "a number above 0 beside nesterov = true"
        yield FieldError(("optimizer", "momentum"), expected, format_value(optimizer.momentum))


def _backbone_conflicts(settings: TransferSettings) -> Iterator[FieldError]:
    """Yield why images or weights do not fit the backbone."""
    backbone = BACKBONES[settings.backbone]
    if settings.image_size < backbone.smallest_image:
        expected = f"at least {backbone.smallest_image} for {settings.backbone}"
        yield FieldError(("image_size",), expected, format_value(settings.image_size))
    known = ("pretrained", *backbone.releases, "random")
    if settings.weights not in known:
        expected = f"{join_or(known)} for {settings.backbone}"
        yield FieldError(("weights",), expected, quote(settings.weights))
    elif settings.weights != "random" and not settings.releases:
        needed = dict.fromkeys(each.preprocessing for each in backbone.releases.values())
        expected = f'"pretrained": these weights need {join_or(needed)}'
        hint = "this preprocessing belongs to other weights"
        yield FieldError(("preprocessing",), expected, quote(settings.preprocessing), hint)


def _no_files(reason: str) -> FieldError:
    hint = 'write input = "prepared" here'
    return FieldError(("input",), f'"prepared", for {reason}', '"files"', hint)


def _head_conflicts(
    benchmark: ResolvedBenchmark,
    head: str,
    *,
    resolved: Mapping[str, ResolvedBenchmark],
    names: Collection[str],
) -> Iterator[FieldError]:
    """Yield why a benchmark cannot take its head from the one it names."""
    bottleneck = resolved.get(head)
    if head not in names or (bottleneck and bottleneck.strategy != "bottleneck"):
        known = [name for name, other in resolved.items() if other.strategy == "bottleneck"]
        expected = "the name of a bottleneck benchmark"
        yield FieldError(("head_from",), expected, quote(head), suggest(head, known or names))
        return
    if bottleneck is None:
        # It is invalid by itself, which is reported there.
        return
    if bottleneck.matrices[0]:
        expected = "a benchmark without a matrix, which has one head"
        yield FieldError(("head_from",), expected, quote(head))
        return
    yield from backends_without_head(benchmark, bottleneck)
    if missing := [track for track in benchmark.tracks if track not in bottleneck.tracks]:
        expected = f"tracks that benchmark {quote(head)} runs in too, "
        expected += "for head_from takes the head from there"
        yield FieldError(("tracks",), expected, join_or(missing, word="and"))
    for settings in benchmark.points:
        for key in HEAD_KEYS if getattr(settings, "head_from", None) == head else ():
            theirs, ours = getattr(bottleneck.points[0], key), getattr(settings, key)
            if theirs != ours:
                expected = f"{format_value(theirs)} as in benchmark {quote(head)}"
                hint = "head_from takes its head, which fits only the same network"
                yield FieldError((key,), expected, format_value(ours), hint)

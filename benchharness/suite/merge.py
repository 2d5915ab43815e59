"""Defaults, benchmark, profile and matrix laid over one another.

From below: built-in default, ``[defaults]``, the benchmark, the profile's defaults, the profile's
table for the benchmark, a point of the matrix. What lies above replaces a value as a whole, tables
included.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from benchharness.suite.file import (
    Benchmark,
    DatasetSettings,
    Overridable,
    Profile,
    Published,
    SuiteFile,
    Track,
)
from benchharness.suite.settings import STRATEGIES, StrategySettings, setting_names


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point of a benchmark's matrix.

    Attributes:
        matrix: The varied settings, as written; empty when nothing is varied.
        settings: All settings.
    """

    matrix: Mapping[str, Any]
    settings: StrategySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedBenchmark:
    """A benchmark, as it runs under a profile.

    Attributes:
        max_trials: At most so many, where ``trials`` is ``auto``.
        backends: Those it runs on; empty when it runs on none of those asked for.
    """

    name: str
    strategy: str
    trials: int | Literal["auto"]
    max_trials: int
    tracks: tuple[Track, ...]
    backends: tuple[str, ...]
    published: Published | None
    points: tuple[Point, ...]


def settle(
    suite: SuiteFile,
    benchmark: Benchmark,
    profile: Profile,
    *,
    asked: tuple[str, ...] = (),
    tracks: tuple[Track, ...] = (),
) -> ResolvedBenchmark:
    """Return a benchmark under a profile; an empty profile changes nothing.

    Args:
        suite: The suite it stands in.
        benchmark: As its table states it.
        profile: What to lay over it.
        asked: The backends to run on, in place of the suite's and the profile's; empty for those.
        tracks: The tracks to run in, likewise.

    Raises:
        pydantic.ValidationError: A value is wrong; `checks` has said so when the file was loaded.
    """
    override = profile.benchmark.get(benchmark.name, Overridable())
    return ResolvedBenchmark(
        name=benchmark.name,
        strategy=benchmark.strategy,
        trials=override.trials or profile.trials or benchmark.trials or suite.trials,
        max_trials=override.max_trials
        or profile.max_trials
        or benchmark.max_trials
        or suite.max_trials,
        tracks=tracks or override.tracks or profile.tracks or benchmark.tracks or suite.tracks,
        backends=_backends(suite, benchmark, profile, asked),
        published=_published(benchmark, override),
        points=_points(suite, benchmark, profile, override),
    )


def dataset(suite: SuiteFile, profile: Profile) -> DatasetSettings:
    """Return the dataset under a profile."""
    written = suite.dataset.model_dump(exclude_unset=True)
    if profile.dataset.get("source", suite.dataset.source) != suite.dataset.source:
        # A path says where one source lies; another source does not lie there.
        written.pop("path", None)
    return DatasetSettings.model_validate(written | profile.dataset)


def matrix_of(benchmark: Benchmark, override: Overridable) -> Mapping[str, tuple[Any, ...]]:
    """Return the settings that a benchmark varies, under a profile's table for it."""
    return (benchmark.matrix if override.matrix is None else override.matrix) or {}


def _backends(
    suite: SuiteFile, benchmark: Benchmark, profile: Profile, asked: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the backends of a benchmark: its own list limits the others, and never grows."""
    override = profile.benchmark.get(benchmark.name, Overridable())
    if override.backends and not asked:
        return override.backends
    general = asked or profile.backends
    own = override.backends or benchmark.backends
    if own and general:
        return tuple(name for name in own if name in general)
    return own or general or suite.backends or ()


def _points(
    suite: SuiteFile, benchmark: Benchmark, profile: Profile, override: Overridable
) -> tuple[Point, ...]:
    """Return every combination of the matrix's values, the last key varying fastest."""
    known = setting_names(benchmark.strategy)
    written = {key: suite.defaults[key] for key in known if key in suite.defaults}
    written |= benchmark.settings
    written |= {key: profile.defaults[key] for key in known if key in profile.defaults}
    written |= override.settings
    axes = matrix_of(benchmark, override)
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    build = STRATEGIES[benchmark.strategy].model_validate
    return tuple(Point(matrix=point, settings=build(written | point)) for point in points)


def _published(benchmark: Benchmark, override: Overridable) -> Published | None:
    """Return the figures to show beside ours; an empty table takes them away."""
    published = benchmark.published if override.published is None else override.published
    return published if published and published.model_fields_set else None

"""Plan of a run, resolved from a suite and what the user asks for.

From below: built-in default, ``[defaults]``, the benchmark, the profile's defaults, the profile's
table for the benchmark, a point of the matrix. What comes later replaces a value as a whole, tables
included.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from benchharness.errors import Problem, SuiteError
from benchharness.suite.errors import FieldError, refusal
from benchharness.suite.file import (
    AUTO,
    FEWEST_TRIALS,
    MOST_TRIALS,
    Benchmark,
    BenchmarkOptions,
    DatasetSettings,
    Profile,
    Published,
    SuiteFile,
    Track,
)
from benchharness.suite.plan import Plan, PlannedCell
from benchharness.suite.settings import STRATEGIES, StrategySettings, setting_names
from benchharness.text import join_or, quote, suggest

OFFLINE = "offline"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedBenchmark:
    """A benchmark, as it runs under a profile.

    Attributes:
        max_trials: At most so many, where ``trials`` is ``auto``.
        backends: Those it runs on; empty when it runs on none of those asked for.
        matrices: The varied settings of each point of its matrix, as written.
        points: All settings of each point.
    """

    name: str
    strategy: str
    trials: int | Literal["auto"]
    max_trials: int
    tracks: tuple[Track, ...]
    backends: tuple[str, ...]
    published: Published | None
    matrices: tuple[Mapping[str, Any], ...]
    points: tuple[StrategySettings, ...]

    @property
    def heads(self) -> tuple[str, ...]:
        """The benchmarks that it takes heads from."""
        heads = (getattr(settings, "head_from", None) for settings in self.points)
        return tuple(dict.fromkeys(name for name in heads if name))


def choose_profile(
    suite: SuiteFile,
    *,
    requested: str | None,
    has_accelerator: bool,
    has_weights: Callable[[], bool] = lambda: True,
) -> str | None:
    """Return the profile to use: the requested one, else the one for this kind of machine.

    A profile called ``offline`` goes first where pretrained weights are unavailable; one called
    ``cpu`` or ``gpu`` goes before others that name the device.

    Args:
        requested: By the user; None to choose.
        has_weights: Tells whether the suite's pretrained weights are available, which may take a
            download; asked only where the answer matters.

    Raises:
        SuiteError: The suite has no profile of the requested name.
    """
    if requested is not None:
        _require_known(suite, "--profile", [requested], suite.profiles)
        return requested
    if OFFLINE in suite.profiles and not has_weights():
        return OFFLINE
    kind = "gpu" if has_accelerator else "cpu"
    if kind in suite.profiles and suite.profiles[kind].device in (None, kind):
        return kind
    return next((name for name, each in suite.profiles.items() if each.device == kind), None)


def resolve(
    suite: SuiteFile,
    *,
    profile: str | None,
    backends: tuple[str, ...] = (),
    benchmarks: tuple[str, ...] = (),
    trials: int | Literal["auto"] | None = None,
    max_trials: int | None = None,
    max_minutes: float | None = None,
    tracks: tuple[str, ...] = (),
) -> Plan:
    """Return what a run will do: what is given replaces what the suite and the profile say.

    Args:
        backends: A benchmark's own list still limits where that benchmark runs.
        max_trials: Of benchmarks whose ``trials`` is ``auto``.

    Raises:
        SuiteError: An unknown name, or nothing to run.
    """
    if profile is not None:
        _require_known(suite, "--profile", [profile], suite.profiles)
    names = [benchmark.name for benchmark in suite.benchmark]
    _require_known(suite, "--benchmark", benchmarks, names)
    if unknown := [name for name in tracks if name not in get_args(Track)]:
        expected, found = join_or(get_args(Track)), join_or(unknown, word="and")
        raise refusal(suite.path, "--track", expected, found)
    overrides = suite.profiles[profile] if profile is not None else Profile()
    asked = tuple(dict.fromkeys(backends))
    asked_tracks = tuple(track for track in get_args(Track) if track in tracks)
    resolved = {
        benchmark.name: merge_settings(
            suite, benchmark, overrides, asked=asked, tracks=asked_tracks
        )
        for benchmark in suite.benchmark
    }
    chosen = [name for name in names if name in (benchmarks or overrides.benchmarks or names)]
    # In file order, but heads are trained before they are needed.
    order = list(dict.fromkeys(each for name in chosen for each in (*resolved[name].heads, name)))
    if not any(resolved[name].backends for name in order):
        if asked:
            expected = "a backend that a chosen benchmark may run on"
            raise refusal(suite.path, "--backend", expected, join_or(asked, word="and"))
        expected = 'a list, for example ["keras", "torch"]'
        raise refusal(suite.path, "backends", expected, "none", "or name one with --backend")
    headless = [
        error.under("benchmark", name).problem({})
        for name in order
        for head in resolved[name].heads
        for error in backends_without_head(resolved[name], resolved[head])
    ]
    if headless:
        raise SuiteError(str(suite.path), headless)
    dataset = merge_dataset(suite, overrides)
    running = [
        replace(
            resolved[name],
            trials=resolved[name].trials if trials is None else trials,
            max_trials=max_trials or resolved[name].max_trials,
        )
        for name in order
    ]
    _require_limits(suite, running, trials=trials, max_trials=max_trials, max_minutes=max_minutes)
    added = tuple(name for name in order if name not in chosen)
    return Plan(
        suite=suite,
        profile=profile,
        dataset=dataset,
        cells=tuple(
            cell
            for benchmark in running
            for cell in _cells(suite, benchmark, dataset, is_added=benchmark.name in added)
        ),
        added=added,
        left_out=tuple(name for name in order if not resolved[name].backends),
        # Those whose native track would read files if the dataset had any.
        fileless=tuple(
            each.name
            for each in running
            if "native" in each.tracks
            and not dataset.has_files
            and any(point.input is None and point.trains_on_images for point in each.points)
        ),
        max_minutes=max_minutes or overrides.max_minutes or suite.max_minutes,
    )


def merge_settings(
    suite: SuiteFile,
    benchmark: Benchmark,
    profile: Profile,
    *,
    asked: tuple[str, ...] = (),
    tracks: tuple[Track, ...] = (),
) -> ResolvedBenchmark:
    """Return a benchmark under a profile, on the backends and tracks asked for, if any.

    Raises:
        pydantic.ValidationError: A value is wrong; loading the file has reported it.
    """
    override = profile.benchmark.get(benchmark.name, BenchmarkOptions())
    known = setting_names(benchmark.strategy)
    written = {key: suite.defaults[key] for key in known if key in suite.defaults}
    written |= benchmark.settings
    written |= {key: profile.defaults[key] for key in known if key in profile.defaults}
    written |= override.settings
    axes = matrix_of(benchmark, override)
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    build = STRATEGIES[benchmark.strategy].model_validate
    # An empty table of published figures takes the benchmark's away.
    published = benchmark.published if override.published is None else override.published
    # The most specific table wins.
    tables = (override, profile, benchmark, suite)

    def first(key: str) -> Any:
        return next(filter(None, (getattr(table, key) for table in tables)))

    # A benchmark's own list of backends limits the others, and never grows.
    listed, general = override.backends or benchmark.backends, asked or profile.backends
    backends = listed or general or suite.backends or ()
    if listed and general and (asked or not override.backends):
        backends = tuple(name for name in listed if name in general)
    return ResolvedBenchmark(
        name=benchmark.name,
        strategy=benchmark.strategy,
        trials=first("trials"),
        max_trials=first("max_trials"),
        tracks=tracks or first("tracks"),
        backends=backends,
        published=published if published and published.model_fields_set else None,
        matrices=tuple(points),
        points=tuple(build(written | point) for point in points),
    )


def matrix_of(benchmark: Benchmark, override: BenchmarkOptions) -> Mapping[str, list[Any]]:
    """Return the settings that a benchmark varies, under a profile's table for it."""
    return (benchmark.matrix if override.matrix is None else override.matrix) or {}


def merge_dataset(suite: SuiteFile, profile: Profile) -> DatasetSettings:
    """Return the dataset under a profile."""
    written = suite.dataset.model_dump(exclude_unset=True)
    if profile.dataset.get("source", suite.dataset.source) != suite.dataset.source:
        # The path is of the suite's source, and not of the profile's.
        written.pop("path", None)
    return DatasetSettings.model_validate({**written, **profile.dataset})


def backends_without_head(
    benchmark: ResolvedBenchmark, bottleneck: ResolvedBenchmark
) -> Iterator[FieldError]:
    """Yield the backends of a benchmark on which the head that it starts from is not trained."""
    if missing := [name for name in benchmark.backends if name not in bottleneck.backends]:
        expected = f"backends that benchmark {quote(bottleneck.name)} runs on too, "
        expected += "for head_from takes the head from there"
        yield FieldError(("backends",), expected, join_or(missing, word="and"))


def _cells(
    suite: SuiteFile, benchmark: ResolvedBenchmark, dataset: DatasetSettings, *, is_added: bool
) -> Iterator[PlannedCell]:
    """Yield the cells of a benchmark, point after point of its matrix, track after track."""
    # A single backend has no rival; of a benchmark that was not requested, its heads are enough.
    has_looks = benchmark.trials == AUTO and len(benchmark.backends) > 1 and not is_added
    points = zip(benchmark.matrices, benchmark.points, strict=True)
    for (matrix, settings), track, backend in itertools.product(
        points, benchmark.tracks, benchmark.backends
    ):
        changes: dict[str, Any] = {}
        if settings.input is None:
            is_loaded = track == "native" and settings.trains_on_images and dataset.has_files
            changes["input"] = "files" if is_loaded else "prepared"
        table = suite.backend.get(backend)
        if table is not None and table.compile is not None:
            changes["compile"] = table.compile
        yield PlannedCell(
            benchmark=benchmark.name,
            strategy=benchmark.strategy,
            backend=backend,
            track=track,
            matrix=matrix,
            settings=settings.model_copy(update=changes),
            published=benchmark.published,
            trials=FEWEST_TRIALS if benchmark.trials == AUTO else benchmark.trials,
            max_trials=benchmark.max_trials if has_looks else None,
        )


def _require_limits(
    suite: SuiteFile,
    running: Iterable[ResolvedBenchmark],
    *,
    trials: int | Literal["auto"] | None,
    max_trials: int | None,
    max_minutes: float | None,
) -> None:
    """Raise an error for limits that a suite could not state either, or that have no effect."""
    if trials not in (None, AUTO) and not 1 <= int(trials) <= MOST_TRIALS:
        expected = f'a number from 1 to {MOST_TRIALS}, or "auto"'
        raise refusal(suite.path, "--trials", expected, str(trials))
    if max_trials is not None and not FEWEST_TRIALS <= max_trials <= MOST_TRIALS:
        expected = f"a number from {FEWEST_TRIALS} to {MOST_TRIALS}"
        raise refusal(suite.path, "--max-trials", expected, str(max_trials))
    if max_minutes is not None and not max_minutes > 0:
        raise refusal(suite.path, "--max-minutes", "more than 0", f"{max_minutes:g}")
    if not any(benchmark.trials == AUTO for benchmark in running):
        for option, value in (("--max-trials", max_trials), ("--max-minutes", max_minutes)):
            if value is not None:
                expected = "a benchmark whose number of trials is auto"
                raise refusal(suite.path, option, expected, "none", hint="add --trials auto")


def _require_known(
    suite: SuiteFile, option: str, names: Iterable[str], known: Iterable[str]
) -> None:
    """Raise an error for names that the suite does not have."""
    known, expected = list(known), "a name that the suite has"
    problems = [
        Problem(where=option, expected=expected, found=quote(name), hint=suggest(name, known))
        for name in names
        if name not in known
    ]
    if problems:
        raise SuiteError(str(suite.path), problems)

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
from benchharness.suite.errors import FieldError
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
from benchharness.suite.plan import Cell, Plan
from benchharness.suite.settings import STRATEGIES, StrategySettings, setting_names
from benchharness.text import join_or, quote, suggest

OFFLINE = "offline"


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixPoint:
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
    points: tuple[MatrixPoint, ...]

    @property
    def heads(self) -> tuple[str, ...]:
        """The benchmarks that it takes heads from."""
        heads = (getattr(point.settings, "head_from", None) for point in self.points)
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
        has_accelerator: Whether the machine has a GPU.
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
    """Return what a run will do.

    Args:
        suite: As loaded.
        profile: Name of the profile to apply; None for none.
        backends: In place of the suite's and the profile's; a benchmark's own list still limits
            where that benchmark runs.
        benchmarks: In place of the profile's choice; empty for that.
        trials: In place of every other number of trials.
        max_trials: In place of every other, where ``trials`` is ``auto``.
        max_minutes: In place of the suite's and the profile's.
        tracks: In place of every other choice of tracks; empty for the suite's.

    Raises:
        SuiteError: An unknown name, or nothing to run.
    """
    if profile is not None:
        _require_known(suite, "--profile", [profile], suite.profiles)
    names = [benchmark.name for benchmark in suite.benchmark]
    _require_known(suite, "--benchmark", benchmarks, names)
    if unknown := [name for name in tracks if name not in get_args(Track)]:
        expected, found = join_or(get_args(Track)), join_or(unknown, word="and")
        raise _refusal(suite, "--track", expected, found)
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
    _require_backends(suite, order, resolved, asked)
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
        fileless=tuple(each.name for each in running if _lacks_files(each, dataset)),
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
    """Return a benchmark under a profile; an empty profile changes nothing.

    Args:
        suite: The suite of the benchmark.
        benchmark: As its table states it.
        profile: What overrides it.
        asked: The backends to run on, in place of the suite's and the profile's; empty for those.
        tracks: The tracks to run in, likewise.

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
        published=published if published and published.model_fields_set else None,
        points=tuple(
            MatrixPoint(matrix=point, settings=build(written | point)) for point in points
        ),
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
        yield FieldError(
            at=("benchmark", benchmark.name, "backends"),
            expected=f"backends that benchmark {quote(bottleneck.name)} runs on too, "
            "for head_from takes the head from there",
            found=join_or(missing, word="and"),
        )


def _backends(
    suite: SuiteFile, benchmark: Benchmark, profile: Profile, asked: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the backends of a benchmark: its own list limits the others, and never grows."""
    override = profile.benchmark.get(benchmark.name, BenchmarkOptions())
    if override.backends and not asked:
        return override.backends
    general = asked or profile.backends
    own = override.backends or benchmark.backends
    if own and general:
        return tuple(name for name in own if name in general)
    return own or general or suite.backends or ()


def _cells(
    suite: SuiteFile, benchmark: ResolvedBenchmark, dataset: DatasetSettings, *, is_added: bool
) -> list[Cell]:
    """Return the cells of a benchmark, point after point of its matrix, track after track."""
    # A single backend has no rival; of a benchmark that was not requested, its heads are enough.
    has_looks = benchmark.trials == AUTO and len(benchmark.backends) > 1 and not is_added
    return [
        Cell(
            benchmark=benchmark.name,
            strategy=benchmark.strategy,
            backend=backend,
            track=track,
            matrix=point.matrix,
            settings=_cell_settings(point.settings, suite, backend, track, dataset),
            published=benchmark.published,
            trials=FEWEST_TRIALS if benchmark.trials == AUTO else benchmark.trials,
            max_trials=benchmark.max_trials if has_looks else None,
        )
        for point in benchmark.points
        for track in benchmark.tracks
        for backend in benchmark.backends
    ]


def _cell_settings(
    settings: StrategySettings,
    suite: SuiteFile,
    backend: str,
    track: Track,
    dataset: DatasetSettings,
) -> StrategySettings:
    """Return the settings with the track's input and the backend's own choice of compiling."""
    changes: dict[str, Any] = {}
    if settings.input is None:
        is_loaded = track == "native" and settings.trains_on_images and dataset.has_files
        changes["input"] = "files" if is_loaded else "prepared"
    table = suite.backend.get(backend)
    if table is not None and table.compile is not None:
        changes["compile"] = table.compile
    return settings.model_copy(update=changes)


def _lacks_files(benchmark: ResolvedBenchmark, dataset: DatasetSettings) -> bool:
    """Return whether the native track would read files here if the dataset had any."""
    settings = (point.settings for point in benchmark.points)
    return (
        "native" in benchmark.tracks
        and not dataset.has_files
        and any(each.input is None and each.trains_on_images for each in settings)
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
        raise _refusal(suite, "--trials", expected, str(trials))
    if max_trials is not None and not FEWEST_TRIALS <= max_trials <= MOST_TRIALS:
        expected = f"a number from {FEWEST_TRIALS} to {MOST_TRIALS}"
        raise _refusal(suite, "--max-trials", expected, str(max_trials))
    if max_minutes is not None and not max_minutes > 0:
        raise _refusal(suite, "--max-minutes", "more than 0", f"{max_minutes:g}")
    if not any(benchmark.trials == AUTO for benchmark in running):
        for option, value in (("--max-trials", max_trials), ("--max-minutes", max_minutes)):
            if value is not None:
                expected = "a benchmark whose number of trials is auto"
                raise _refusal(suite, option, expected, "none", hint="add --trials auto")


def _require_known(
    suite: SuiteFile, option: str, names: Iterable[str], known: Iterable[str]
) -> None:
    """Raise an error for names that the suite does not have."""
    known = list(known)
    problems = [
        Problem(
            where=option,
            expected="a name that the suite has",
            found=quote(name),
            hint=suggest(name, known),
        )
        for name in names
        if name not in known
    ]
    if problems:
        raise SuiteError(str(suite.path), problems)


def _require_backends(
    suite: SuiteFile,
    order: list[str],
    resolved: Mapping[str, ResolvedBenchmark],
    asked: tuple[str, ...],
) -> None:
    """Raise an error for a run without backends, or with a backend that lacks its head."""
    if not any(resolved[name].backends for name in order):
        if asked:
            expected = "a backend that a chosen benchmark may run on"
            raise _refusal(suite, "--backend", expected, join_or(asked, word="and"))
        expected = 'a list, for example ["keras", "torch"]'
        raise _refusal(suite, "backends", expected, "none", "or name one with --backend")
    missing = [
        error.problem({})
        for name in order
        for head in resolved[name].heads
        for error in backends_without_head(resolved[name], resolved[head])
    ]
    if missing:
        raise SuiteError(str(suite.path), missing)


def _refusal(suite: SuiteFile, where: str, expected: str, found: str, hint: str = "") -> SuiteError:
    problem = Problem(where=where, expected=expected, found=found, hint=hint)
    return SuiteError(str(suite.path), [problem])

"""From a suite and what the user asks for to a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Literal, get_args

from benchharness.errors import Problem, SuiteError
from benchharness.suite.agreement import head_backends, heads
from benchharness.suite.file import (
    AUTO,
    FEWEST_TRIALS,
    MOST_TRIALS,
    DatasetSettings,
    Profile,
    SuiteFile,
    Track,
)
from benchharness.suite.merge import ResolvedBenchmark, dataset, settle
from benchharness.suite.plan import Cell, Plan
from benchharness.suite.settings import StrategySettings
from benchharness.text import join_or, quote, suggest

OFFLINE = "offline"


def choose_profile(
    suite: SuiteFile,
    *,
    requested: str | None,
    has_accelerator: bool,
    has_weights: Callable[[], bool] = lambda: True,
) -> str | None:
    """Return the profile to use: the requested one, else the one for this kind of machine.

    A profile called ``offline`` goes first where pretrained weights cannot be had; one called
    ``cpu`` or ``gpu`` goes before others that name the device.

    Args:
        requested: By the user; None to choose.
        has_accelerator: Whether the machine has a GPU.
        has_weights: Tells whether the suite's pretrained weights can be had, which may take a
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
    fitting = (name for name, profile in suite.profiles.items() if profile.device == kind)
    return next(fitting, None)


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
        profile: Name of the profile to lay over it; None for none.
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
    every = [benchmark.name for benchmark in suite.benchmark]
    _require_known(suite, "--benchmark", benchmarks, every)
    _require_numbers(suite, trials=trials, max_trials=max_trials, max_minutes=max_minutes)
    overlay = suite.profiles[profile] if profile is not None else Profile()
    asked = tuple(dict.fromkeys(backends))
    asked_tracks = _known_tracks(suite, tracks)
    settled = {
        one.name: settle(suite, one, overlay, asked=asked, tracks=asked_tracks)
        for one in suite.benchmark
    }
    chosen = tuple(name for name in every if name in (benchmarks or overlay.benchmarks or every))
    order = _running_order(chosen, settled)
    _require_backends(suite, order, settled, asked)
    images = dataset(suite, overlay)
    running = [settled[name] for name in order]
    if trials is not None:
        running = [replace(one, trials=trials) for one in running]
    if max_trials is not None:
        running = [replace(one, max_trials=max_trials) for one in running]
    _require_looks(suite, running, max_trials=max_trials, max_minutes=max_minutes)
    added = tuple(name for name in order if name not in chosen)
    return Plan(
        suite=suite,
        profile=profile,
        dataset=images,
        cells=tuple(
            cell
            for one in running
            for cell in _cells(suite, one, images, is_added=one.name in added)
        ),
        added=added,
        left_out=tuple(name for name in order if not settled[name].backends),
        fileless=tuple(one.name for one in running if _lacks_files(one, images)),
        max_minutes=max_minutes or overlay.max_minutes or suite.max_minutes,
    )


def _cells(
    suite: SuiteFile, settled: ResolvedBenchmark, images: DatasetSettings, *, is_added: bool
) -> list[Cell]:
    """Return the cells of a benchmark, point after point of its matrix, track after track."""
    # One backend has no rival to be told from; of what nobody asked for, the heads are enough.
    has_looks = settled.trials == AUTO and len(settled.backends) > 1 and not is_added
    return [
        Cell(
            benchmark=settled.name,
            strategy=settled.strategy,
            backend=backend,
            track=track,
            matrix=point.matrix,
            settings=_with_compile(
                _with_input(point.settings, track=track, images=images), suite, backend
            ),
            published=settled.published,
            trials=FEWEST_TRIALS if settled.trials == AUTO else settled.trials,
            max_trials=settled.max_trials if has_looks else None,
        )
        for point in settled.points
        for track in settled.tracks
        for backend in settled.backends
    ]


def _require_numbers(
    suite: SuiteFile,
    *,
    trials: int | Literal["auto"] | None,
    max_trials: int | None,
    max_minutes: float | None,
) -> None:
    """Refuse numbers of trials and minutes that a suite could not state either."""
    if trials not in (None, AUTO) and not 1 <= int(trials) <= MOST_TRIALS:
        raise _refusal(
            suite, "--trials", f'a number from 1 to {MOST_TRIALS}, or "auto"', str(trials)
        )
    if max_trials is not None and not FEWEST_TRIALS <= max_trials <= MOST_TRIALS:
        expected = f"a number from {FEWEST_TRIALS} to {MOST_TRIALS}"
        raise _refusal(suite, "--max-trials", expected, str(max_trials))
    if max_minutes is not None and not max_minutes > 0:
        raise _refusal(suite, "--max-minutes", "more than 0", f"{max_minutes:g}")


def _require_looks(
    suite: SuiteFile,
    running: Iterable[ResolvedBenchmark],
    *,
    max_trials: int | None,
    max_minutes: float | None,
) -> None:
    """Refuse a limit to what is not limited: fixed numbers of trials."""
    if any(one.trials == AUTO for one in running):
        return
    for option, value in (("--max-trials", max_trials), ("--max-minutes", max_minutes)):
        if value is not None:
            raise _refusal(
                suite,
                option,
                "a benchmark whose number of trials is auto",
                "none",
                hint="add --trials auto",
            )


def _with_input(
    settings: StrategySettings, *, track: Track, images: DatasetSettings
) -> StrategySettings:
    """Return the settings with what training reads, where they leave that to the track."""
    if settings.input is not None:
        return settings
    is_loaded = track == "native" and settings.trains_on_images and images.has_files
    return settings.model_copy(update={"input": "files" if is_loaded else "prepared"})


def _with_compile(settings: StrategySettings, suite: SuiteFile, backend: str) -> StrategySettings:
    """Return the settings with what the backend's own table says of compiling."""
    table = suite.backend.get(backend)
    if table is None or table.compile is None:
        return settings
    return settings.model_copy(update={"compile": table.compile})


def _lacks_files(settled: ResolvedBenchmark, images: DatasetSettings) -> bool:
    """Whether the native track would read files here if the dataset had any."""
    return (
        "native" in settled.tracks
        and not images.has_files
        and any(p.settings.input is None and p.settings.trains_on_images for p in settled.points)
    )


def _known_tracks(suite: SuiteFile, names: tuple[str, ...]) -> tuple[Track, ...]:
    """Return the tracks asked for, each once.

    Raises:
        SuiteError: One of them does not exist.
    """
    tracks: tuple[Track, ...] = get_args(Track)
    unknown = [name for name in names if name not in tracks]
    if unknown:
        raise _refusal(suite, "--track", join_or(tracks), join_or(unknown, word="and"))
    return tuple(track for track in tracks if track in names)


def _running_order(chosen: Iterable[str], settled: Mapping[str, ResolvedBenchmark]) -> list[str]:
    """Return the benchmarks in file order, save that heads are trained before they are needed."""
    order: dict[str, None] = {}
    for name in chosen:
        order.update(dict.fromkeys([*heads(settled[name]), name]))
    return list(order)


def _require_known(
    suite: SuiteFile, option: str, names: Iterable[str], known: Iterable[str]
) -> None:
    """Refuse names that the suite does not have."""
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
    settled: Mapping[str, ResolvedBenchmark],
    asked: tuple[str, ...],
) -> None:
    """Refuse a run without backends, or one in which a backend would lack the head it needs."""
    used = {backend for name in order for backend in settled[name].backends}
    if not used and not asked:
        expected = 'a list, for example ["keras", "torch"]'
        raise _refusal(suite, "backends", expected, "none", "or name one with --backend")
    if not used:
        expected = "a backend that a chosen benchmark may run on"
        raise _refusal(suite, "--backend", expected, join_or(asked, word="and"))
    lacking = [
        finding.problem({})
        for name in order
        for head in heads(settled[name])
        for finding in head_backends(settled[name], bottleneck=settled[head])
    ]
    if lacking:
        raise SuiteError(str(suite.path), lacking)


def _refusal(suite: SuiteFile, where: str, expected: str, found: str, hint: str = "") -> SuiteError:
    """Return the error of a request that cannot be carried out."""
    problem = Problem(where=where, expected=expected, found=found, hint=hint)
    return SuiteError(str(suite.path), [problem])

"""Whether benchmarks agree, in themselves and with each other, under each profile."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from pydantic import ValidationError

from benchharness.suite.file import DatasetSettings, Profile, SuiteFile
from benchharness.suite.findings import Finding
from benchharness.suite.merge import ResolvedBenchmark, dataset, matrix_of, settle
from benchharness.suite.rules import clashes, fileless_clash, head_clashes
from benchharness.suite.settings import BottleneckSettings, FineTuneSettings
from benchharness.text import join_or, quote, suggest


def disagreements(suite: SuiteFile, *, names: Collection[str]) -> list[Finding]:
    """Return what clashes without a profile, then what further clashes under each.

    Args:
        suite: The suite, or the part of it that could be read.
        names: All its benchmarks, also those that could not be read.
    """
    always = list(_under(suite, Profile(), names))
    found = list(always)
    for name, profile in suite.profiles.items():
        only_here = [one for one in _under(suite, profile, names) if one not in always]
        found += [one.under("profiles", name) for one in only_here]
    return found


def head_backends(
    settled: ResolvedBenchmark, *, bottleneck: ResolvedBenchmark
) -> Iterator[Finding]:
    """Yield the backends of a benchmark that would find no head to start from."""
    without = [name for name in settled.backends if name not in bottleneck.backends]
    if without:
        yield Finding(
            at=("benchmark", settled.name, "backends"),
            expected=f"backends that benchmark {quote(bottleneck.name)} runs on too, "
            "for head_from takes the head from there",
            found=join_or(without, word="and"),
        )


def head_tracks(settled: ResolvedBenchmark, *, bottleneck: ResolvedBenchmark) -> Iterator[Finding]:
    """Yield the tracks of a benchmark in which it would find no head to start from."""
    without = [name for name in settled.tracks if name not in bottleneck.tracks]
    if without:
        yield Finding(
            at=("benchmark", settled.name, "tracks"),
            expected=f"tracks that benchmark {quote(bottleneck.name)} runs in too, "
            "for head_from takes the head from there",
            found=join_or(without, word="and"),
        )


def heads(settled: ResolvedBenchmark) -> tuple[str, ...]:
    """Return the benchmarks that this one takes heads from."""
    wanted = (getattr(point.settings, "head_from", None) for point in settled.points)
    return tuple(dict.fromkeys(name for name in wanted if name))


def _under(suite: SuiteFile, profile: Profile, names: Collection[str]) -> Iterator[Finding]:
    """Yield what clashes under a profile; what cannot be settled has been reported already."""
    settled = _settled(suite, profile)
    for one in settled.values():
        for point in one.points:
            for clash in clashes(point.settings):
                yield clash.under("benchmark", one.name)
        yield from _fileless(one, dataset(suite, profile))
        for head in heads(one):
            yield from _head(one, head, settled=settled, names=names)
    yield from _unused(suite, profile)


def _fileless(one: ResolvedBenchmark, images: DatasetSettings) -> Iterator[Finding]:
    """Yield where a benchmark is to read files that its dataset does not have."""
    if images.has_files:
        return
    for point in one.points:
        if clash := fileless_clash(point.settings, source=images.source):
            yield clash.under("benchmark", one.name)


def _settled(suite: SuiteFile, profile: Profile) -> dict[str, ResolvedBenchmark]:
    """Return the benchmarks that can be settled, by name."""
    settled = {}
    for benchmark in suite.benchmark:
        try:
            settled[benchmark.name] = settle(suite, benchmark, profile)
        except ValidationError:
            continue
    return settled


def _head(
    one: ResolvedBenchmark,
    head: str,
    *,
    settled: Mapping[str, ResolvedBenchmark],
    names: Collection[str],
) -> Iterator[Finding]:
    """Yield why a benchmark cannot take its head from the one it names."""
    bottlenecks = [name for name, other in settled.items() if other.strategy == "bottleneck"]
    at = ("benchmark", one.name, "head_from")
    if head not in names or (head in settled and head not in bottlenecks):
        yield Finding(
            at=at,
            expected="the name of a bottleneck benchmark",
            found=quote(head),
            hint=suggest(head, bottlenecks or names),
        )
    elif head in settled and settled[head].points[0].matrix:
        yield Finding(
            at=at,
            expected="a benchmark without a matrix, whose head is one and the same",
            found=quote(head),
        )
    elif head in settled:
        yield from head_backends(one, bottleneck=settled[head])
        yield from head_tracks(one, bottleneck=settled[head])
        yield from _shapes(one, bottleneck=settled[head])


def _shapes(one: ResolvedBenchmark, *, bottleneck: ResolvedBenchmark) -> Iterator[Finding]:
    """Yield where the networks differ that are to share a head."""
    source = bottleneck.points[0].settings
    for point in one.points:
        ours = point.settings
        if not isinstance(ours, FineTuneSettings) or not isinstance(source, BottleneckSettings):
            continue
        if ours.head_from == bottleneck.name:
            for clash in head_clashes(ours, name=bottleneck.name, bottleneck=source):
                yield clash.under("benchmark", one.name)


def _unused(suite: SuiteFile, profile: Profile) -> Iterator[Finding]:
    """Yield what a profile sets for a benchmark whose matrix varies it all the same."""
    benchmarks = {benchmark.name: benchmark for benchmark in suite.benchmark}
    for name in profile.benchmark.keys() & benchmarks.keys():
        override = profile.benchmark[name]
        for key in override.settings.keys() & matrix_of(benchmarks[name], override).keys():
            yield Finding(
                at=("benchmark", name, key),
                expected="nothing, for the matrix gives its values",
                found="a value",
                hint="write matrix = {} beside it to take the matrix away",
            )
